// Server-side signers of S3 forms, each unmodified from its registry, and what posts their forms: boto3, minio-py, requests and httpx in
// Python, the AWS SDK and minio-js in Node.js, the AWS SDK in Ruby, curl.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";

import * as minio from "minio";

import { HERE, bytes, check, equal, link, request, rest, run, sha256, start, temporary } from "../lib.mjs";
import { fromNpm, fromPypi, table } from "../matrix.mjs";
import { PYTHON } from "../readers/python.mjs";
import { ACCESS_KEY, BUCKET, SECRET, awsForm } from "../sign.mjs";

const REDIRECT = "http://127.0.0.1:9/done?from=form";
const NAME = "Ünï côde vidéo.mp4";
/** What a form says besides its key. */
const FIELDS = { acl: "private", "Content-Type": "video/mp4", "x-amz-meta-camera": "A1", success_action_status: "201" };

const workers = new Map();

/** A program that takes a job a line and answers each with a line, in order. */
async function ask(program, args, job) {
  if (!workers.has(program)) {
    const child = spawn(program, args, { cwd: path.join(HERE, "signers"), stdio: ["pipe", "pipe", "inherit"] });
    process.on("exit", () => child.kill());
    const ended = new Promise((_, reject) => {
      child.on("error", reject);
      child.on("close", (code) => reject(new Error(`${program} ended with ${code}: did ./tests/run setup install it?`)));
    });
    ended.catch(() => {});
    workers.set(program, { child, ended, lines: readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]() });
  }
  const { child, ended, lines } = workers.get(program);
  child.stdin.write(`${JSON.stringify(job)}\n`);
  const told = JSON.parse((await Promise.race([lines.next(), ended])).value);
  check(!told.error, `${job.client}: ${told.error}`);
  return told;
}

async function minioForm(job) {
  const { hostname, port } = new URL(job.endpoint);
  const client = new minio.Client({ endPoint: hostname, port: Number(port), useSSL: false, accessKey: ACCESS_KEY, secretKey: job.secret, region: "us-east-1" });
  const policy = client.newPostPolicy();
  policy.setBucket(BUCKET);
  const prefix = job.key.replace("${filename}", "");
  if (prefix === job.key) policy.setKey(job.key);
  else policy.setKeyStartsWith(prefix);
  policy.setExpires(new Date(Date.now() + 1000 * job.seconds));
  if (job.range) policy.setContentLengthRange(...job.range);
  if (job.fields["Content-Type"]) policy.setContentType(job.fields["Content-Type"]);
  if (job.fields["x-amz-meta-camera"]) policy.setUserMetaData({ camera: job.fields["x-amz-meta-camera"] });
  const { postURL, formData } = await client.presignedPostPolicy(policy);
  return { url: postURL, fields: { ...formData, key: job.key } };
}

/** Posts a form as Node.js does. */
async function fetchPost({ url, fields }, job) {
  const form = new FormData();
  for (const [name, value] of Object.entries({ ...fields, ...job.altered })) form.append(name, value);
  form.append("file", new Blob([fs.readFileSync(job.file)], { type: "video/mp4" }), job.filename);
  const answer = await fetch(url, { method: "POST", body: form, redirect: "manual" });
  return { status: answer.status, headers: Object.fromEntries(answer.headers), text: await answer.text() };
}

async function curlPost({ url, fields }, job) {
  if (job.virtual) equal(new URL(url).hostname, `${BUCKET}.localhost`, "the host that was signed for");
  const form = Object.entries({ ...fields, ...job.altered }).flatMap(([name, value]) => ["--form-string", `${name}=${value}`]);
  const { out } = await run("curl", ["-sS", "-i", ...form, "-F", `file=@${job.file};filename=${job.filename}`, url]);
  const [head, ...body] = out.replace(/^HTTP\/1.1 100 .*\r\n\r\n/, "").split("\r\n\r\n");
  const [status, ...lines] = head.split("\r\n");
  const headers = lines.map((line) => line.split(/: (.*)/)).map(([name, value]) => [name.toLowerCase(), value]);
  return { status: Number(status.split(" ")[1]), headers: Object.fromEntries(headers), text: body.join("\r\n\r\n") };
}

const inPython = (job) => ask(PYTHON, ["python.py"], job);

/** Who signs and who posts; `without` names what a signer has no word for. */
const CLIENTS = [
  { title: "boto3, V2", version: fromPypi("boto3"), play: inPython },
  { title: "boto3, V4", version: fromPypi("boto3"), play: inPython },
  { title: "minio-py", version: fromPypi("minio"), play: inPython, without: ["virtual"] },
  { title: "httpx", version: fromPypi("httpx"), play: inPython },
  {
    title: "@aws-sdk/s3-presigned-post",
    version: fromNpm("@aws-sdk/s3-presigned-post"),
    play: async (job) => {
      const form = await awsForm(job);
      return job.virtual ? form : fetchPost(form, job);
    },
  },
  {
    title: "minio-js",
    version: fromNpm("minio"),
    play: async (job) => fetchPost(await minioForm(job), job),
    without: ["acl", "success_action_status", "success_action_redirect", "virtual"],
  },
  { title: "Ruby's aws-sdk-s3", version: "Debian's", play: (job) => ask("/usr/bin/ruby", ["ruby.rb"], job) },
  { title: "curl", version: "Debian's", play: async (job) => curlPost(await awsForm(job), job) },
];

let server;
let posted = 0;

export async function after() {
  await server?.stop();
}

/** `test` gets `post(changes)`, which lets the client sign and post a form for a key of its own; what `test` says that it saw. */
async function scene(client, test) {
  server ??= await start();
  const post = async (changes = {}, size = 300_001) => {
    const data = bytes(size);
    const file = path.join(temporary, "signed.mp4");
    fs.writeFileSync(file, data);
    posted += 1;
    const filename = `${posted} ${NAME}`;
    const job = { client: client.title, endpoint: server.url, bucket: BUCKET, access_key: ACCESS_KEY, secret: SECRET, seconds: 600, key: `signed/${posted}.mp4`, fields: FIELDS, altered: {}, virtual: false, file, filename, ...changes };
    job.fields = Object.fromEntries(Object.entries(job.fields).filter(([name]) => !client.without?.includes(name)));
    const told = await client.play(job);
    // Only curl finds every name below localhost, so it posts what has the bucket in front of the host.
    const answer = told.url && !told.status ? await curlPost(told, job) : told;
    return Object.assign(answer, { data, key: job.key.replace("${filename}", filename) });
  };
  return test(post, client);
}

/** The file of a key, if there is one. */
async function fileOf(key) {
  const { files } = await rest(server, "GET", "/v1/files/");
  return files.find((one) => one.name === path.basename(key));
}

/** The post was taken as asked, and its bytes are read back. */
async function taken(answer, status) {
  equal(answer.status, status, `the status; the answer: ${answer.text}`);
  const file = await fileOf(answer.key);
  check(file, `no file ${answer.key}`);
  const md5 = createHash("md5").update(answer.data).digest("hex");
  equal(answer.headers.etag, `"${md5}"`, "the ETag");
  const back = await request(await link(server, { file }));
  equal(sha256(back.body), sha256(answer.data), "the SHA-256 of the bytes read back");
  if (status === 201) {
    equal(answer.text.match(/<Key>(.*)<\/Key>/)?.[1], answer.key, "the key in the PostResponse");
    equal(answer.headers["content-type"], "application/xml", "the type of the PostResponse");
  }
  return String(status);
}

/** The post was refused with this status and code, says so in XML, and left nothing behind. */
async function refused(answer, status, code) {
  const told = `${answer.status} ${answer.text.match(/<Code>(.*)<\/Code>/)?.[1]}`;
  equal(told, `${status} ${code}`, `the refusal; the answer: ${answer.text}`);
  equal(await fileOf(answer.key), undefined, "the file after a refusal");
  return told;
}

const statusOf = (client) => (client.without?.includes("success_action_status") ? 204 : 201);

const NO_WORD = "no word for it";

const TASKS = {
  // Of a size for which curl asks before it sends.
  "upload": async (post, client) => taken(await post({}, 1_500_001), statusOf(client)),

  "`${filename}`": async (post, client) => {
    const answer = await post({ key: "signed/${filename}" });
    return taken(answer, statusOf(client));
  },

  "status 200, 204": async (post) => {
    const told = [];
    for (const status of [200, 204]) {
      const answer = await post({ fields: { success_action_status: String(status) } });
      equal(answer.text, "", "the body");
      told.push(await taken(answer, status));
    }
    return told.join(", ");
  },

  "redirect": async (post) => {
    const answer = await post({ fields: { success_action_redirect: REDIRECT } });
    const told = await taken(answer, 303);
    const { etag } = answer.headers;
    equal(answer.headers.location, `${REDIRECT}&bucket=${BUCKET}&key=${encodeURIComponent(answer.key)}&etag=${encodeURIComponent(etag)}`, "the Location");
    return told;
  },

  "bucket in the host": async (post, client) => {
    const { port } = new URL(server.url);
    const answer = await post({ endpoint: `http://localhost:${port}`, virtual: true });
    equal(answer.headers.location, `http://localhost:${port}/${BUCKET}/${encodeURIComponent(answer.key)}`, "the Location");
    return taken(answer, statusOf(client));
  },

  "over the size": async (post, client) => {
    const told = await refused(await post({ range: [1, 1000] }, 1001), 400, "EntityTooLarge");
    await taken(await post({ range: [1, 1000] }, 1000), statusOf(client));
    return told;
  },

  "under the size": async (post) => refused(await post({ range: [10, 1000] }, 9), 400, "EntityTooSmall"),
  "a field altered": async (post) => refused(await post({ altered: { "Content-Type": "text/html" } }), 403, "AccessDenied"),
  "a field too many": async (post) => refused(await post({ altered: { "x-amz-meta-more": "1" } }), 403, "AccessDenied"),
  "wrong secret": async (post) => refused(await post({ secret: "guessed" }), 403, "SignatureDoesNotMatch"),

  "expired": async (post) => {
    const answer = await post({ seconds: -60 });
    check(answer.text.includes("Policy expired."), `the answer: ${answer.text}`);
    return refused(answer, 403, "AccessDenied");
  },
};

/** What a client must have words for to do a task. */
const NEEDS = { "status 200, 204": "success_action_status", "redirect": "success_action_redirect", "bucket in the host": "virtual" };

const rows = CLIENTS.map((client) => {
  const cell = ([task, test]) => [task, client.without?.includes(NEEDS[task]) ? NO_WORD : () => scene(client, test)];
  return { ...client, cells: Object.fromEntries(Object.entries(TASKS).map(cell)) };
});

const { cases, last } = table("signers", Object.keys(TASKS), rows);
export { cases as default, last };
