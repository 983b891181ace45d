// Power switch: the server is killed between chunks and in the middle of one, started again on the same data, and the upload
// goes on. What was acknowledged is there, what was not is missing, and the end is the right file.

import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

import { BIN, PIPELINE, TOKEN, bytes, check, cut, devOn, equal, form, chunkParams, finish, openSession, postChunk, readsBack, rest, run, start, temporary, until, whole } from "../lib.mjs";

const CHUNK = 256 * 1024;

const pieces = (file) => Array.from({ length: Math.ceil(file.length / CHUNK) }, (_, i) => file.subarray(i * CHUNK, (i + 1) * CHUNK));

async function state(server, session) {
  return (await rest(server, "GET", `/v1/files/uploads/${session.id}?form_post_params=true`)).upload;
}

/** Sends half of a chunk's post and resets the connection. */
async function halfPost(session, index, total, data) {
  const fields = Object.entries({ ...chunkParams(session), name: "blob", chunk: index, chunks: total });
  const { body, type } = form(fields, data);
  const url = new URL(session.form_post_url);
  const head = `POST ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\nContent-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n`;
  const raw = Buffer.concat([Buffer.from(head), body]);
  await cut(session.form_post_url, raw, raw.length / 2);
}

function folder(name) {
  const data = path.join(temporary, name);
  fs.mkdirSync(data);
  return data;
}

export default {
  "killed between chunks, started again, goes on": async () => {
    const data = folder("between");
    const file = bytes(11 * CHUNK + 12_345);
    const chunks = pieces(file);
    let server = await start(devOn(data));
    const session = await openSession(server, "restart/between.bin");
    for (const [index, chunk] of chunks.entries()) {
      equal((await postChunk(session, index, chunks.length, chunk)).status, 201, `chunk ${index}`);
      if (index % 3 === 2) {
        await server.kill();
        server = await start(devOn(data, server.url));
        const upload = await state(server, session);
        check(upload.status !== "FAILED", `after a restart the session is ${upload.status}`);
      }
    }
    await finish(server, session, chunks.length);
    await readsBack(server, session, file);
    await server.stop();
  },

  "killed in the middle of a chunk, which then counts as missing": async () => {
    const data = folder("within");
    const file = bytes(6 * CHUNK, 2);
    const chunks = pieces(file);
    let server = await start(devOn(data));
    const session = await openSession(server, "restart/within.bin");
    for (const index of [0, 2, 5]) equal((await postChunk(session, index, 6, chunks[index])).status, 201, `chunk ${index}`);
    await halfPost(session, 3, 6, chunks[3]);
    await server.kill();
    server = await start(devOn(data, server.url));
    const { body } = await refused(server, session, 6);
    for (const missing of [1, 3, 4]) check(body.includes(String(missing)), `the refusal does not name chunk ${missing}: ${body}`);
    const fresh = await state(server, session);
    check(fresh.form_post_params, "GET with form_post_params=true hands out no form");
    for (const index of [4, 3, 1]) equal((await postChunk(fresh, index, 6, chunks[index])).status, 201, `chunk ${index}`);
    await finish(server, session, 6);
    await readsBack(server, session, file);
    await server.stop();
  },

  "pillarbox upload, killed on its way, goes on with --resume": async () => {
    const file = path.join(temporary, "resume.bin");
    fs.writeFileSync(file, bytes(64 * 1024 * 1024, 4));
    const server = await start();
    const args = ["upload", "--url", server.url, "--token", TOKEN, "--chunk-size", "64KiB"];
    // A thousand chunks, one after the other: it must not be through before it is seen to have begun.
    const child = spawn(BIN, [...args, "--parallel", "1", "--pipeline", PIPELINE, file], { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.on("data", (data) => (said += data));
    const [, id] = await until("the session's id", 10_000, () => said.match(/--resume ([0-9a-f]{24})/));
    const session = { id, file: { id } };
    await until("some chunks", 10_000, async () => (await state(server, session)).received_bytes > 0);
    child.kill("SIGKILL");
    const left = await state(server, session);
    equal(left.status, "UPLOADING", "the session when its client was killed");
    await run(BIN, [...args, "--resume", id, file]);
    await whole(server, session);
    await readsBack(server, session, fs.readFileSync(file));
    await server.stop();
  },

  "a whole file is there after kill -9, and after a lost index": async () => {
    const data = folder("whole");
    const file = bytes(3 * CHUNK + 1, 3);
    let server = await start(devOn(data));
    const session = await openSession(server, "restart/whole.bin");
    for (const [index, chunk] of pieces(file).entries()) equal((await postChunk(session, index, 4, chunk)).status, 201, `chunk ${index}`);
    await finish(server, session, 4);
    await server.kill();
    server = await start(devOn(data, server.url));
    await readsBack(server, session, file);
    await server.kill();
    fs.rmSync(path.join(data, "index"), { recursive: true });
    server = await start(devOn(data, server.url));
    await readsBack(server, session, file);
    await server.stop();
  },
};

/** `PUT nb_chunks` while chunks are missing. */
async function refused(server, session, nbChunks) {
  const answer = await rest(server, "PUT", `/v1/files/uploads/${session.id}`, { json: { upload: { nb_chunks: nbChunks } }, status: 400 });
  return { body: JSON.stringify(answer) };
}
