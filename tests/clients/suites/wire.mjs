// Plupload's own requests, as they were recorded from a browser (tests/wire), replayed with a session of ours put in: the same
// headers in the same order and case, the same parts in the same order, the same sequence of chunks.

import fs from "node:fs";
import path from "node:path";

import { HERE, bytes, check, cut, equal, finish, openSession, postChunk, postFields, raw, readsBack, rest, start, whole } from "../lib.mjs";

const WIRE = path.join(HERE, "..", "wire");
/** Fields whose recorded values are stand-ins for what a session hands out. */
const FROM_SESSION = ["key", "acl", "policy", "signature", "AWSAccessKeyId", "success_action_status", "filename"];

/** The form posts of a recording, in order: head lines, fields, the file part, and what the recorded server answered. */
function recorded(name) {
  const text = fs.readFileSync(path.join(WIRE, `${name}.txt`), "utf8");
  const posts = text.split(/^>>> \d+\n/m).filter((entry) => entry.startsWith("POST "));
  check(posts.length > 0, `${name} holds no POST`);
  return posts.map((entry) => {
    const [asked, answered] = entry.split(/^<<< /m);
    const at = asked.indexOf("\n\n");
    const boundary = asked.match(/boundary=(\S+)/)[1];
    const parts = asked.slice(at + 2).split(`--${boundary}`).slice(1, -1).map(part);
    const file = parts.find((one) => one.name === "file");
    const number = (field) => Number(parts.find((one) => one.name === field)?.value ?? (field === "chunk" ? 0 : 1));
    const size = Number(file.value.match(/(\d+) bytes in all/)?.[1] ?? file.value.length);
    return { head: asked.slice(0, at).split("\n"), boundary, parts, size, chunk: number("chunk"), chunks: number("chunks"), status: Number(answered.slice(0, 3)) };
  });
}

/** One part: its head lines, its name, its value. */
function part(text) {
  const [head, value] = text.replace(/^\n/, "").replace(/\n$/, "").split(/\n\n([^]*)/);
  return { head: head.split("\n"), name: head.match(/ name="([^"]*)"/)[1], value };
}

/** The request as bytes, with the session's values and the file's bytes in place of the recorded ones. */
function replay(post, session, data) {
  const url = new URL(session.form_post_url);
  const pieces = post.parts.map(({ head, name, value }) => {
    const put = FROM_SESSION.includes(name) ? session.form_post_params[name] : value;
    const body = name === "file" ? data : Buffer.from(put);
    return Buffer.concat([Buffer.from(`--${post.boundary}\r\n${head.join("\r\n")}\r\n\r\n`), body, Buffer.from("\r\n")]);
  });
  const body = Buffer.concat([...pieces, Buffer.from(`--${post.boundary}--\r\n`)]);
  const replaced = { Host: url.host, Connection: "close", "Content-Length": String(body.length) };
  const lines = post.head.slice(1).map((line) => {
    const name = line.slice(0, line.indexOf(":"));
    return replaced[name] ? `${name}: ${replaced[name]}` : line;
  });
  for (const name of Object.keys(replaced)) {
    if (!lines.some((line) => line.startsWith(`${name}:`))) lines.push(`${name}: ${replaced[name]}`);
  }
  return Buffer.concat([Buffer.from([`POST ${url.pathname} HTTP/1.1`, ...lines, "", ""].join("\r\n")), body]);
}

/** Where each recorded chunk's bytes lie in the file, and the file. */
function fileOf(posts) {
  const size = Math.max(...posts.map((post) => post.size));
  const last = posts.find((post) => post.chunk === post.chunks - 1);
  const file = bytes(size * (last.chunks - 1) + last.size);
  return { file, of: (post) => file.subarray(post.chunk * size, post.chunk * size + post.size) };
}

/** Replays a recording; a post that the recorded server failed is cut in its middle, as if it had never arrived. */
async function replayAll(name, { parallel = 1, order = (posts) => posts } = {}) {
  const server = await start();
  const posts = recorded(name);
  const session = await openSession(server, `wire/${name}.bin`);
  const { file, of } = fileOf(posts);
  const waiting = [...order(posts)];
  const worker = async () => {
    for (let post = waiting.shift(); post; post = waiting.shift()) {
      const bytes = replay(post, session, of(post));
      if (post.status >= 500) {
        await cut(session.form_post_url, bytes, bytes.length / 2);
        continue;
      }
      const answer = await raw(session.form_post_url, bytes);
      equal(answer.status, 201, `${name}, chunk ${post.chunk} of ${post.chunks}: ${answer.text.slice(0, 600)}`);
      check(/^access-control-allow-origin: /im.test(answer.text), `no CORS header on ${answer.text.slice(0, 400)}`);
    }
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  // A full set completes by itself; saying the number afterwards changes nothing.
  await whole(server, session);
  await finish(server, session, posts[0].chunks);
  await readsBack(server, session, file);
  await server.stop();
}

function permutations(list) {
  if (list.length < 2) return [list];
  return list.flatMap((first, i) => permutations(list.filter((_, j) => j !== i)).map((rest) => [first, ...rest]));
}

const same = [
  "plupload2-nochunk", "plupload2-smaller-than-chunk", "plupload2-chunked", "plupload2-retry-503",
  "plupload2-retries-exhausted-then-restart", "plupload3-nochunk", "plupload3-smaller-than-chunk", "plupload3-chunked",
  "plupload3-retry-503",
];

/** Both recordings of the silent mistake: every chunk says that it is 0 of 1. */
async function mistake(name) {
  const server = await start();
  const session = await openSession(server, `wire/${name}.bin`);
  const posts = recorded(name);
  const file = bytes(posts.reduce((sum, post) => sum + post.size, 0));
  const answers = [];
  for (const [i, post] of posts.entries()) {
    const at = posts.slice(0, i).reduce((sum, one) => sum + one.size, 0);
    answers.push(await raw(session.form_post_url, replay(post, session, file.subarray(at, at + post.size))));
  }
  equal(answers[0].status, 201, "the first post, which may be a whole file");
  equal(answers[1].status, 400, "the second post, which shows the mistake");
  for (const word of ["chunk", "chunks", "name"]) check(answers[1].text.includes(word), `the explanation does not name ${word}: ${answers[1].text}`);
  await server.stop();
}

export default {
  ...Object.fromEntries(same.map((name) => [`${name}, as recorded`, () => replayAll(name)])),
  "plupload3-parallel-chunks, four at a time": () => replayAll("plupload3-parallel-chunks", { parallel: 4 }),
  "plupload3-parallel-chunks, last first": () => replayAll("plupload3-parallel-chunks", { order: (posts) => [...posts].reverse() }),
  "plupload3-parallel-chunks, each post three times": () => replayAll("plupload3-parallel-chunks", { parallel: 4, order: (posts) => [...posts, ...posts, ...posts] }),
  "plupload2-chunked-xvid-params-verbatim is explained": () => mistake("plupload2-chunked-xvid-params-verbatim"),
  "plupload3-chunked-xvid-params-verbatim is explained": () => mistake("plupload3-chunked-xvid-params-verbatim"),
  "five chunks in each of their 120 orders": async () => {
    const server = await start();
    const file = bytes(4 * 1000 + 500);
    let count = 0;
    for (const order of permutations([0, 1, 2, 3, 4])) {
      const session = await openSession(server, `orders/${order.join("")}.bin`);
      for (const i of order) equal((await postChunk(session, i, 5, file.subarray(i * 1000, (i + 1) * 1000))).status, 201, `order ${order}, chunk ${i}`);
      await whole(server, session);
      await readsBack(server, session, file);
      count += 1;
    }
    equal(count, 120, "orders tried");
    await server.stop();
  },
  "keys with a chunk's number, and no other number": () => numberedKeys(({ chunk, chunks, ...params }) => params),
  "keys with a chunk's number, and the form's own 0 of 1": () => numberedKeys((params) => params),
};

/** The second and third idiom: the key says which chunk it is. */
async function numberedKeys(fieldsOf) {
  const server = await start();
  const file = bytes(2500);
  const session = await openSession(server, "idiom/numbered.bin");
  for (const i of [1, 0, 2]) {
    const fields = { ...fieldsOf(session.form_post_params), key: `${session.form_post_params.key}.${i}` };
    const answer = await postFields(session, fields, file.subarray(i * 1000, (i + 1) * 1000));
    equal(answer.status, 201, `chunk ${i}: ${answer.text}`);
  }
  await finish(server, session, 3);
  await readsBack(server, session, file);
  const { files } = await rest(server, "GET", "/v1/files/");
  equal(files.length, 1, "files that the chunks became");
  await server.stop();
}
