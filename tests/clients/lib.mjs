// What every suite shares: the program under test as a child process, sessions, downloads, checks, test files.
//
// The program is the one named by TESTED_PILLARBOX. Each server listens on ports of the system's choice on the loopback, keeps
// its data in a folder of its own below the run's temporary folder, and is ended by its own process id.

import { spawn } from "node:child_process";
import { createCipheriv, createHash } from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const BIN = process.env.TESTED_PILLARBOX ?? "pillarbox";
export const HERE = path.dirname(fileURLToPath(import.meta.url));
export const PIPELINE = "53a1ac4914eaa8ffa4fce91b";
export const TOKEN = "dev-token";

/** Longest wait for a server to be ready, for a session to be whole, for an answer; in milliseconds. */
const READY_MS = 15_000;
const WHOLE_MS = 30_000;
const ANSWER_MS = 60_000;

export const temporary = fs.mkdtempSync(path.join(process.env.TMPDIR ?? os.tmpdir(), "pillarbox-clients-"));
const children = new Set();
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  fs.rmSync(temporary, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

export function check(condition, message) {
  if (!condition) throw new Error(message);
}

export function equal(actual, expected, what) {
  check(actual === expected, `${what}: wanted ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function until(what, ms, ask) {
  const end = Date.now() + ms;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    check(Date.now() < end, `${what}: not within ${ms} ms`);
    await sleep(25);
  }
}

/** Bytes that repeat nowhere, the same for the same seed. */
export function bytes(length, seed = 1) {
  const key = createHash("md5").update(`seed ${seed}`).digest();
  return createCipheriv("aes-128-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

export const sha256 = (data) => createHash("sha256").update(data).digest("hex");

/** Runs a program to its end; its output as text, or an error that shows it. */
export function run(program, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
    const [out, err] = [[], []];
    child.stdout.on("data", (data) => out.push(data));
    child.stderr.on("data", (data) => err.push(data));
    child.on("error", reject);
    child.on("close", (code) => {
      const text = Buffer.concat(out).toString();
      const error = Buffer.concat(err).toString();
      if (code === 0 || options.anyCode) return resolve({ code, out: text, err: error });
      const line = `${program} ${args.join(" ")}`.slice(0, 300);
      reject(new Error(`${line} ended with ${code}:\n${text.slice(-2000)}\n${error.slice(-2000)}`));
    });
  });
}

/** A running server. */
class Server {
  constructor(child, log) {
    Object.assign(this, { child, log });
    this.ended = new Promise((resolve) => child.on("close", (code, signal) => resolve(signal ?? code)));
    this.ended.then((how) => {
      this.how = how;
      children.delete(child);
    });
  }

  /** Asks it to drain and end, and wants it to end well. */
  async stop() {
    this.child.kill("SIGTERM");
    equal(await this.ended, 0, "the server's exit code after SIGTERM");
  }

  /** Ends it as a power switch would. */
  async kill() {
    this.child.kill("SIGKILL");
    await this.ended;
  }
}

/** Starts `pillarbox ARGS --port-file F` and waits until both listeners accept. */
export async function start(args = ["dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]) {
  const folder = fs.mkdtempSync(path.join(temporary, "server-"));
  const portFile = path.join(folder, "ports");
  const log = path.join(folder, "log");
  const output = fs.openSync(log, "w");
  const child = spawn(BIN, [...args, "--port-file", portFile], { stdio: ["ignore", output, output], cwd: folder });
  child.on("error", (error) => fs.writeSync(output, String(error)));
  children.add(child);
  const server = new Server(child, log);
  await until("the server is ready", READY_MS, () => {
    check(server.how === undefined, `the server ended with ${server.how}:\n${fs.readFileSync(log, "utf8").slice(-2000)}`);
    return fs.existsSync(portFile) && fs.readFileSync(portFile, "utf8").split("\n").filter(Boolean).length >= 2;
  });
  [server.url, server.admin] = fs.readFileSync(portFile, "utf8").split("\n").map((line) => line.trim().replace(/\/$/, ""));
  return server;
}

/** A certificate for the loopback by an authority of our own; its files. */
async function certificate() {
  const at = (name) => path.join(temporary, name);
  const openssl = (...args) => run("openssl", args);
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  await openssl("req", "-x509", ...key, "-keyout", at("ca.key"), "-out", at("ca.crt"), "-subj", "/CN=Test authority", "-days", "2");
  await openssl("req", ...key, "-keyout", at("tls.key"), "-out", at("tls.csr"), "-subj", "/CN=127.0.0.1");
  fs.writeFileSync(at("san"), "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n");
  await openssl("x509", "-req", "-in", at("tls.csr"), "-CA", at("ca.crt"), "-CAkey", at("ca.key"), "-CAcreateserial", "-days", "2", "-extfile", at("san"), "-out", at("tls.crt"));
  fs.chmodSync(at("tls.key"), 0o600);
  return { ca: at("ca.crt"), certificate: at("tls.crt"), key: at("tls.key") };
}

/** Starts `dev` with TLS; the server also holds whom to trust. */
export async function startTls() {
  const files = await certificate();
  const settings = ["--set", `tls.certificate=${files.certificate}`, "--set", `tls.private_key=${files.key}`];
  const server = await start(["dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", ...settings]);
  check(server.url.startsWith("https://"), `the server says its URL is ${server.url}`);
  return Object.assign(server, { ca: fs.readFileSync(files.ca), caFile: files.ca });
}

/** Options of `dev` that keep the data, and the port when there is one. */
export function devOn(data, url) {
  const listen = url ? new URL(url).host : "127.0.0.1:0";
  return ["dev", "--listen", listen, "--admin-listen", "127.0.0.1:0", "--data", data];
}

/** One request; the whole answer. `ca` is the PEM of whom to trust; `path` is sent as it is, dots and all. */
export function request(url, { method = "GET", headers = {}, body, ca, path } = {}) {
  return new Promise((resolve, reject) => {
    const client = url.startsWith("https:") ? https : http;
    const options = { method, headers, ca, agent: false, timeout: ANSWER_MS, ...(path && { path }) };
    const req = client.request(url, options, (res) => {
      const parts = [];
      res.on("data", (part) => parts.push(part));
      res.on("error", reject);
      res.on("end", () => {
        const body = Buffer.concat(parts);
        resolve({ status: res.statusCode, headers: res.headers, body, text: body.toString() });
      });
    });
    req.on("timeout", () => req.destroy(new Error(`no answer from ${url} within ${ANSWER_MS} ms`)));
    req.on("error", reject);
    req.end(body);
  });
}

/** One REST request; its JSON, with the status that was wanted. */
export async function rest(server, method, target, { json, status = 200 } = {}) {
  const headers = { authorization: `Bearer ${server.token ?? TOKEN}`, accept: "application/json" };
  const body = json === undefined ? undefined : Buffer.from(JSON.stringify(json));
  if (body) Object.assign(headers, { "content-type": "application/json", "content-length": body.length });
  const answer = await request(server.url + target, { method, headers, body, ca: server.ca });
  check(answer.status === status, `${method} ${target}: wanted ${status}, got ${answer.status}: ${answer.text.slice(0, 500)}`);
  return JSON.parse(answer.text);
}

/** Starts a session; `asked` is what else it is asked for. */
export async function openSession(server, objectKey, asked = {}) {
  const query = new URLSearchParams({ object_key: objectKey, pipeline_id: server.pipeline ?? PIPELINE, ...asked });
  return (await rest(server, "POST", `/v1/files/uploads/?${query}`)).upload;
}

/** The form of a session for an uploader that numbers its own chunks: less the three that would silence its numbers. */
export function chunkParams(session) {
  const { name, chunk, chunks, ...params } = session.form_post_params;
  return params;
}

/** Finishes a session with its number of chunks and waits until it is whole. */
export async function finish(server, session, nbChunks) {
  await rest(server, "PUT", `/v1/files/uploads/${session.id}`, { json: { upload: { nb_chunks: nbChunks } } });
  await whole(server, session);
}

/** Waits until a session is whole. */
export async function whole(server, session) {
  await until(`session ${session.id} is whole`, WHOLE_MS, async () => {
    const { upload } = await rest(server, "GET", `/v1/files/uploads/${session.id}`);
    check(upload.status !== "FAILED", `the session failed: ${JSON.stringify(upload)}`);
    return upload.status === "COMPLETED";
  });
}

/** The download link of a session's file. */
export async function link(server, session) {
  const target = `/v1/files/downloads/?file_id=${session.file.id}&redirect=true`;
  const headers = { authorization: `Bearer ${server.token ?? TOKEN}` };
  const answer = await request(server.url + target, { headers, ca: server.ca });
  check(answer.status === 302, `${target}: wanted 302, got ${answer.status}: ${answer.text.slice(0, 500)}`);
  return new URL(answer.headers.location, server.url).href;
}

/** Reads a session's file back by its download link and compares it. */
export async function readsBack(server, session, expected) {
  const answer = await request(await link(server, session), { ca: server.ca });
  equal(answer.status, 200, "the download's status");
  equal(answer.body.length, expected.length, "the download's length in bytes");
  equal(sha256(answer.body), sha256(expected), "the download's SHA-256");
}

/** The bytes of a multipart form: fields in order, the file last. */
export function form(fields, file, { boundary = "----PillarboxTestBoundary7d3a", filename = "blob", type = "application/octet-stream" } = {}) {
  const parts = fields.map(([name, value]) => `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`);
  const head = `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="${filename}"\r\nContent-Type: ${type}\r\n\r\n`;
  const body = Buffer.concat([Buffer.from(parts.join("") + head), file, Buffer.from(`\r\n--${boundary}--\r\n`)]);
  return { body, type: `multipart/form-data; boundary=${boundary}` };
}

/** Posts one chunk of a session, numbered as Plupload does. */
export function postChunk(session, index, total, data, ca) {
  const numbered = { ...chunkParams(session), name: session.form_post_params.name, chunk: index, chunks: total };
  return postFields(session, numbered, data, ca);
}

/** Posts a form of these fields and a file. */
export function postFields(session, fields, data, ca) {
  const { body, type } = form(Object.entries(fields), data);
  const headers = { "content-type": type, "content-length": body.length };
  return request(session.form_post_url, { method: "POST", headers, body, ca });
}

/** Sends the first `keep` bytes of what a request needs, then resets the connection. */
export function cut(url, raw, keep) {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = net.connect(Number(port), hostname, () => {
      socket.write(raw.subarray(0, keep), () => {
        socket.resetAndDestroy();
        resolve();
      });
    });
    socket.on("error", reject);
  });
}

/** Sends raw bytes on a connection of their own; the answer's status and text. The request must ask to close. */
export function raw(url, data) {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const parts = [];
    const socket = net.connect(Number(port), hostname, () => socket.write(data));
    socket.setTimeout(ANSWER_MS, () => socket.destroy(new Error("no answer in time")));
    socket.on("data", (part) => parts.push(part));
    socket.on("error", reject);
    socket.on("close", () => {
      const text = Buffer.concat(parts).toString();
      resolve({ status: Number(text.match(/^HTTP\/1\.1 (\d+)/)?.[1]), text });
    });
  });
}
