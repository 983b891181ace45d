// What a client of S3 does on an ordinary day, each task a test that compares byte by byte and says what it saw.
//
// A task gets a desk: `play(op, job)` lets the client do one thing, `hand` looks at the server beside it. A job is
// `{client, op, endpoint, ca, access_key, secret, bucket, ...}`, and besides: `key`, `file` to read or write, `prefix`, `keys`, `from`,
// `folder`; `type`, `cache` and `meta` of an object; `first` and `last` byte of a range; `version` of a list or signature, `delimiter`, `page`
// in keys; `part` in bytes; `method` and `seconds` of a signed URL.

import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";

import { bytes, check, equal, finish, openSession, postChunk, request, sha256 } from "../lib.mjs";
import * as hand from "./hand.mjs";
import { Refused } from "./worker.mjs";

const MIB = 1 << 20;
const LARGE = 100 * MIB;
export const SHELF = "shelf";
const MANY = Array.from({ length: 1001 }, (_, i) => `many/${String(i).padStart(4, "0")}`);
const TREE = ["tree-2/x", "tree/a.bin", "tree/b/1.bin", "tree/b/2.bin", "tree/c d/3.bin", "tree/\u00e9/4.bin", "tree/z.bin"];

/** Keys that have led others astray, by what is awkward about them. */
const AWKWARD = {
  "space": "a b.bin",
  "plus": "a+b.bin",
  "percent": "100%/a%2Fb%20c.bin",
  "query": "what?x=1&y=#z.bin",
  "markup": "<a href=\"'\">&amp;.bin",
  "unicode": "\u00fcn\u00ef/c\u00f4de/\u65e5\u672c\u8a9e.bin",
  "not composed": "u\u0308.bin",
  "emoji": "\u{1f600}/\u{1f3f3}\ufe0f\u200d\u{1f308}.bin",
  "right to left": "\u05e9\u05dc\u05d5\u05dd/\u202egpj.bin",
  "signs": "~!*'()@:$,;=[]{}|^`.bin",
  "backslash": "a\\b.bin",
  "dots": "a/../b/./c.bin",
  "slashes": "a//b.bin",
  "slash first": "/a.bin",
  "slash last": "a/b/",
  "newline": "a\nb\tc.bin",
  "1,024 bytes": `${"k".repeat(1020)}.bin`,
};

/** Fills the bucket that every client lists. */
export async function fillShelf(server) {
  await hand.makeBucket(server, SHELF);
  await hand.each([...MANY, ...TREE], (key) => hand.put(server, SHELF, key, Buffer.from(key)));
}

const md5 = (data) => createHash("md5").update(data).digest("hex");
const fileSha = (file) => sha256(fs.readFileSync(file));
const etagOf = ({ headers }) => headers.etag.replaceAll('"', "");

/** What the client says when it cannot do it; it must not be able to. */
async function refusal(doing) {
  const told = await doing.then(() => undefined, (error) => error);
  check(told instanceof Refused, `no refusal: ${told?.stack}`);
  return told.told;
}

/** The client reads the key, and it is what it should be. */
async function reads(desk, key, data, job = {}) {
  const file = desk.place();
  await desk.play("get", { key, file, ...job });
  equal(fileSha(file), sha256(data), `SHA-256 of ${JSON.stringify(key)} as the client read it`);
}

/** The key holds it, whatever the client says. */
async function holds(desk, key, data) {
  const answer = await hand.get(desk.server, desk.bucket, key);
  equal(sha256(answer.body), sha256(data), `SHA-256 of ${JSON.stringify(key)} as it is stored`);
  return answer;
}

/** Everything below a folder: relative paths and what is in the files. */
function tree(folder) {
  const names = fs.readdirSync(folder, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
  const entries = names.map((one) => path.join(one.parentPath, one.name)).map((file) => [path.relative(folder, file), fileSha(file)]);
  return JSON.stringify(entries.sort());
}

/** A file as people have them: older than its upload. S3 tells whole seconds, so aws would send one of this very second again. */
function write(folder, name, data) {
  const aMinuteAgo = Date.now() / 1000 - 60;
  fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
  fs.writeFileSync(path.join(folder, name), data);
  fs.utimesSync(path.join(folder, name), aMinuteAgo, aMinuteAgo);
}

/** The objects below a prefix are the files of a folder. */
async function mirrors(desk, folder, prefix) {
  const names = fs.readdirSync(folder, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
  const files = names.map((one) => path.relative(folder, path.join(one.parentPath, one.name)));
  const keys = await hand.keys(desk.server, desk.bucket, prefix);
  equal(JSON.stringify(keys.map((key) => key.slice(prefix.length)).sort()), JSON.stringify(files.sort()), "the keys of the folder");
  for (const name of files) await holds(desk, prefix + name, fs.readFileSync(path.join(folder, name)));
}

const listed = async (desk) => {
  const query = { "list-type": "2", prefix: desk.prefix };
  return (await hand.send(desk.server, "GET", desk.bucket, "", { query })).text;
};

export const TASKS = {
  async "buckets"(desk) {
    const bucket = `${desk.bucket}-new`;
    await desk.play("make_bucket", { bucket });
    const { buckets } = await desk.play("buckets");
    for (const name of [bucket, SHELF, "uploads"]) check(buckets.includes(name), `no ${name} in the list: ${buckets}`);
    await hand.put(desk.server, bucket, "a", Buffer.from("a"));
    const told = await refusal(desk.play("remove_bucket", { bucket }));
    await hand.remove(desk.server, bucket, "a");
    await desk.play("remove_bucket", { bucket });
    equal((await hand.send(desk.server, "HEAD", bucket)).status, 404, "the status of the bucket that was removed");
    return told;
  },

  async "put, get"(desk) {
    const sizes = [0, 1, 65_537, 3_000_001];
    for (const [i, size] of sizes.entries()) {
      const [key, data] = [`${desk.prefix}${size}.bin`, bytes(size, i)];
      await desk.play("put", { key, file: desk.place(data), stream: i % 2 === 0 });
      await holds(desk, key, data);
      await reads(desk, key, data);
    }
    const [key, data] = [`${desk.prefix}1.bin`, bytes(70_000, 9)];
    await desk.play("put", { key, file: desk.place(data) });
    await reads(desk, key, data);
    return `${sizes.length} sizes`;
  },

  async "a session's file"(desk) {
    const data = bytes(200_003, 3);
    const session = await openSession(desk.server, `readers/${desk.bucket}/\u00fc b.bin`);
    for (const i of [1, 0]) await postChunk(session, i, 2, data.subarray(i * 131_072, (i + 1) * 131_072), desk.server.ca);
    await finish(desk.server, session, 2);
    await reads(desk, session.form_post_params.key, data, { bucket: "uploads" });
    return "read";
  },

  async "100 MiB in parts"(desk) {
    const key = `${desk.prefix}large.bin`;
    await desk.play("put_parts", { key, file: desk.large, part: desk.part });
    const data = fs.readFileSync(desk.large);
    const parts = Array.from({ length: Math.ceil(LARGE / desk.part) }, (_, i) => data.subarray(i * desk.part, (i + 1) * desk.part));
    const etag = etagOf(await hand.send(desk.server, "HEAD", desk.bucket, key));
    equal(etag, `${md5(Buffer.concat(parts.map((part) => Buffer.from(md5(part), "hex"))))}-${parts.length}`, "the ETag");
    await reads(desk, key, data);
    await hand.remove(desk.server, desk.bucket, key);
    return `${parts.length} parts`;
  },

  async "list"(desk) {
    for (const version of desk.lists) {
      const all = await desk.play("list", { bucket: SHELF, prefix: "many/", delimiter: "", version, page: 100 });
      equal(JSON.stringify(all.keys), JSON.stringify(MANY), `the keys of v${version}`);
      const level = await desk.play("list", { bucket: SHELF, prefix: "tree/", delimiter: "/", version, page: 2 });
      equal(JSON.stringify(level.keys), JSON.stringify(["tree/a.bin", "tree/z.bin"]), `the keys of one level, v${version}`);
      equal(JSON.stringify(level.prefixes), JSON.stringify(["tree/b/", "tree/c d/", "tree/\u00e9/"]), `the folders of one level, v${version}`);
    }
    return desk.lists.map((version) => `v${version}`).join(", ");
  },

  async "range"(desk) {
    const [key, data] = [`${desk.prefix}ranges.bin`, bytes(100_003)];
    await hand.put(desk.server, desk.bucket, key, data);
    const ranges = [[0, 0], [65_530, 65_545], [99_000, 100_002]];
    for (const [first, last] of ranges) {
      const file = desk.place();
      await desk.play("range", { key, file, first, last });
      equal(fileSha(file), sha256(data.subarray(first, last + 1)), `SHA-256 of bytes ${first} to ${last}`);
    }
    return `${ranges.length} ranges`;
  },

  async "copy"(desk) {
    const [from, key, data] = [`${desk.prefix}\u00fc +%.bin`, `${desk.prefix}copied.bin`, bytes(30_000)];
    await hand.put(desk.server, desk.bucket, from, data, { "content-type": "text/x-copied", "x-amz-meta-colour": "red" });
    await desk.play("copy", { from, key });
    const { headers } = await holds(desk, key, data);
    equal(headers["x-amz-meta-colour"], "red", "the metadata of the copy");
    equal(headers["content-type"], "text/x-copied", "the type of the copy");
    if (desk.without.includes("replaced metadata")) return "kept";
    await desk.play("copy", { from, key, meta: { colour: "blue" } });
    equal((await holds(desk, key, data)).headers["x-amz-meta-colour"], "blue", "the metadata that was replaced");
    return "kept, replaced";
  },

  async "copy in parts"(desk) {
    const [from, key, data, part] = [`${desk.prefix}a b.bin`, `${desk.prefix}copied.bin`, bytes(16 * MIB + 7), 5 * MIB];
    await hand.put(desk.server, desk.bucket, from, data);
    await desk.play("copy", { from, key, part, size: data.length });
    const [, parts] = etagOf(await holds(desk, key, data)).split("-");
    check(parts > 1, "the copy was made whole");
    return `${parts} parts`;
  },

  async "metadata"(desk) {
    const [key, data] = [`${desk.prefix}told.bin`, bytes(1000)];
    const told = { type: "application/x-told", cache: "max-age=60", meta: { colour: "red", words: "two of them" } };
    await desk.play("put", { key, file: desk.place(data), ...told });
    const { headers } = await hand.send(desk.server, "HEAD", desk.bucket, key);
    const stored = { "content-type": told.type, "cache-control": told.cache, "x-amz-meta-colour": "red", "x-amz-meta-words": "two of them" };
    for (const [name, value] of Object.entries(stored)) equal(headers[name], value, `the header ${name}`);
    const seen = await desk.play("head", { key });
    const known = { size: data.length, etag: md5(data), type: told.type, colour: "red", words: "two of them" };
    for (const [name, value] of Object.entries(known)) equal(seen[name] ?? seen.meta[name], value, `what the client says of ${name}`);
    return "type, cache, 2 names";
  },

  async "awkward keys"(desk) {
    const [made, unable, failed] = [{}, [], []];
    for (const [what, name] of Object.entries(AWKWARD)) {
      const isLong = Buffer.byteLength(name) > 1000;
      const room = isLong ? "" : desk.unable.includes(what) ? "astray/" : desk.prefix;
      const [key, data] = [room + name, Buffer.from(what)];
      const stored = async () => {
        await desk.play("put", { key, file: desk.place(data) });
        await holds(desk, key, data);
        await reads(desk, key, data);
      };
      const error = await stored().then(() => undefined, (why) => why);
      if (!error) made[what] = key;
      else if (desk.unable.includes(what)) unable.push(what);
      else failed.push(`${what}: ${error.message.slice(0, 300)}`);
    }
    equal(failed.join("\n"), "", "keys that failed");
    equal(unable.join(), desk.unable.join(), "keys that the client is unable to store");
    const { keys, prefixes } = await desk.play("list", { prefix: desk.prefix, delimiter: "", version: desk.lists.at(-1), page: 5 });
    const below = Object.entries(made).filter(([, key]) => key.startsWith(desk.prefix));
    const unlisted = below.filter(([, key]) => !keys.includes(key)).map(([what]) => what);
    equal(unlisted.join(), desk.unlisted.join(), "keys that the client lists otherwise");
    equal(keys.length + prefixes.length, below.length, "how many keys the client lists");
    for (const key of Object.values(made).filter((key) => !key.startsWith(desk.prefix))) await desk.play("remove", { key });
    await desk.play("remove_many", { keys: below.map(([, key]) => key), prefix: desk.prefix });
    for (const key of Object.values(made)) check(!(await hand.has(desk.server, desk.bucket, key)), `not removed: ${JSON.stringify(key)}`);
    const all = `${Object.keys(made).length} of ${Object.keys(AWKWARD).length}`;
    const not = [...unable.map((what) => `no ${what}`), ...unlisted.map((what) => `${what} listed otherwise`)];
    return [all, ...not].join(", ");
  },

  async "sync both ways"(desk) {
    const [here, there] = [desk.folder(), desk.folder()];
    for (const [i, name] of ["a.bin", "b c/d+e.bin", "b c/\u00fc\u00ef.bin", "f/g/h%20.bin", "f/\u{1f600}.bin", "i/empty.bin"].entries()) {
      write(here, name, bytes(i === 5 ? 0 : 1000 + i, i));
    }
    const job = { folder: here, prefix: desk.prefix };
    await desk.play("sync_up", job);
    await mirrors(desk, here, desk.prefix);
    const before = await listed(desk);
    await desk.play("sync_up", job);
    equal(await listed(desk), before, "the list after a sync of nothing");
    write(here, "a.bin", bytes(2000, 7));
    write(here, "new/j.bin", bytes(2001, 8));
    fs.rmSync(path.join(here, "f"), { recursive: true });
    await desk.play("sync_up", job);
    await mirrors(desk, here, desk.prefix);
    await desk.play("sync_down", { folder: there, prefix: desk.prefix });
    equal(tree(there), tree(here), "the folder as it came back");
    await hand.put(desk.server, desk.bucket, `${desk.prefix}a.bin`, bytes(3000, 9));
    await hand.remove(desk.server, desk.bucket, `${desk.prefix}new/j.bin`);
    await desk.play("sync_down", { folder: there, prefix: desk.prefix });
    await mirrors(desk, there, desk.prefix);
    return "both";
  },

  async "remove"(desk) {
    const many = Array.from({ length: 120 }, (_, i) => `${desk.prefix}many/${i} \u00fc&.bin`);
    const [stays, goes] = [`${desk.prefix}many.bin`, `${desk.prefix}one.bin`];
    await hand.each([...many, stays, goes], (key) => hand.put(desk.server, desk.bucket, key, Buffer.from(key)));
    await desk.play("remove", { key: goes });
    check(!(await hand.has(desk.server, desk.bucket, goes)), "the object is still there");
    await desk.play("remove_many", { keys: many, prefix: `${desk.prefix}many/` });
    equal(JSON.stringify(await hand.keys(desk.server, desk.bucket, desk.prefix)), JSON.stringify([stays]), "the keys that stay");
    return `1, ${many.length}`;
  },

  async "presign"(desk) {
    const [key, other] = [`${desk.prefix}signed \u00fc+.bin`, `${desk.prefix}other.bin`];
    for (const version of desk.presigns) {
      const data = bytes(5000, version);
      await hand.put(desk.server, desk.bucket, key, data);
      await hand.put(desk.server, desk.bucket, other, data);
      const signed = async (method) => (await desk.play("presign", { key, method, version, seconds: 60 })).url;
      const url = await signed("GET");
      equal(url.includes("AWSAccessKeyId=") ? "V2" : "V4", version, "the version of the signature");
      const { ca } = desk.server;
      equal(sha256((await request(url, { ca })).body), sha256(data), "SHA-256 of what the URL gave");
      equal((await request(url.replace(/signed[^?]*/, "other.bin"), { ca })).status, 403, "the status of the URL of another key");
      equal((await request(url, { ca, method: "DELETE" })).status, 403, "the status of another method");
      if (!desk.methods.includes("PUT")) continue;
      const body = bytes(6000, version);
      const answer = await request(await signed("PUT"), { ca, method: "PUT", body, headers: { "content-length": body.length } });
      equal(answer.status, 200, `the status of a PUT: ${answer.text}`);
      await holds(desk, key, body);
    }
    return `${desk.methods.join(", ")} (${desk.presigns.join(", ")})`;
  },

  "missing key": (desk) => refusal(desk.play("get", { key: `${desk.prefix}missing.bin`, file: desk.place() })),

  async "wrong secret"(desk) {
    const key = `${desk.prefix}kept.bin`;
    await hand.put(desk.server, desk.bucket, key, Buffer.from("kept"));
    return refusal(desk.play("get", { key, file: desk.place(), secret: "guessed" }));
  },
};

/** A file of 100 MiB for all of them. */
export function largeFile(folder) {
  const file = path.join(folder, "large.bin");
  fs.writeFileSync(file, bytes(LARGE));
  return file;
}
