// A hand of our own beside the clients: requests signed by Amazon's description and sent as they are, so that what a client stored is seen
// without it, and what it is to find is there without it.

import { createHash, createHmac } from "node:crypto";

import { check, request } from "../lib.mjs";
import { ACCESS_KEY, SECRET } from "../sign.mjs";

/** Requests that are under way at once. */
const AT_ONCE = 16;

const hash = (text) => createHash("sha256").update(text).digest("hex");
const hmac = (key, text) => createHmac("sha256", key).update(text);

/** Percent-encodes all but unreserved characters. */
const encode = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

/** One S3 request for a key, signed in its `Authorization` header (SigV4, unsigned payload); the whole answer. */
export function send(server, method, bucket, key = "", { query = {}, headers = {}, body } = {}) {
  const path = `/${bucket}${key && `/${key.split("/").map(encode).join("/")}`}`;
  const asked = Object.entries(query).map(([name, value]) => `${encode(name)}=${encode(value)}`).sort().join("&");
  const date = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const all = { ...headers, host: new URL(server.url).host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": date };
  if (body) all["content-length"] = String(body.length);
  const names = Object.keys(all).sort();
  const canonical = [method, path, asked, ...names.map((name) => `${name}:${all[name]}`), "", names.join(";"), "UNSIGNED-PAYLOAD"].join("\n");
  const scope = [date.slice(0, 8), "us-east-1", "s3", "aws4_request"];
  const signing = scope.reduce((made, part) => hmac(made, part).digest(), `AWS4${SECRET}`);
  const signature = hmac(signing, ["AWS4-HMAC-SHA256", date, scope.join("/"), hash(canonical)].join("\n")).digest("hex");
  all.authorization = `AWS4-HMAC-SHA256 Credential=${ACCESS_KEY}/${scope.join("/")}, SignedHeaders=${names.join(";")}, Signature=${signature}`;
  return request(server.url, { method, headers: all, body, ca: server.ca, path: path + (asked && `?${asked}`) });
}

async function wanted(status, server, method, bucket, key, options) {
  const answer = await send(server, method, bucket, key, options);
  check(answer.status === status, `${method} ${bucket}/${key}: wanted ${status}, got ${answer.status}: ${answer.text.slice(0, 500)}`);
  return answer;
}

export const makeBucket = (server, bucket) => wanted(200, server, "PUT", bucket, "");
export const put = (server, bucket, key, body, headers = {}) => wanted(200, server, "PUT", bucket, key, { body, headers });
export const get = (server, bucket, key) => wanted(200, server, "GET", bucket, key);
export const remove = (server, bucket, key) => wanted(204, server, "DELETE", bucket, key);

/** Whether there is an object of this key. */
export async function has(server, bucket, key) {
  const { status } = await send(server, "HEAD", bucket, key);
  check([200, 404].includes(status), `HEAD ${bucket}/${key}: ${status}`);
  return status === 200;
}

/** Does `work` with each of many, some at once. */
export async function each(many, work) {
  const waiting = [...many];
  const lane = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await work(next);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

/** The keys below a prefix, in the order of the list. */
export async function keys(server, bucket, prefix) {
  const found = [];
  for (let token = ""; token !== undefined; ) {
    const more = token && { "continuation-token": token };
    const query = { "list-type": "2", "encoding-type": "url", prefix, ...more };
    const { text } = await wanted(200, server, "GET", bucket, "", { query });
    found.push(...[...text.matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key]) => decodeURIComponent(key)));
    token = text.match(/<NextContinuationToken>([^<]*)</)?.[1];
  }
  return found;
}
