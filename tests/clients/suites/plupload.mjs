// Stock Plupload 2 from npm in headless Chromium, on a page of another origin than the target, so that CORS is real.

import fs from "node:fs";
import path from "node:path";

import { PAGE_MS, browser, pageServer, proxy } from "../browser.mjs";
import { HERE, bytes, check, chunkParams, equal, finish, openSession, readsBack, rest, start, startTls, temporary, whole } from "../lib.mjs";

const CHUNK = 64 * 1024;
const PAGE = path.join(HERE, "plupload.html");
const SCRIPT = path.join(HERE, "node_modules/plupload/js/plupload.full.min.js");

const find = ({ url }) => (url === "/plupload.js" ? { type: "js", file: SCRIPT } : { type: "html", file: PAGE });

/** One upload scene: server, session, browser and page; `play` gets them all. */
async function scene(objectKey, size, play, { fails, open: begin = start } = {}) {
  const server = await begin();
  const pages = await pageServer(find);
  const chrome = await browser();
  const between = fails && (await proxy(server.url, { fails }));
  try {
    const session = await openSession(server, objectKey);
    const target = between ? between.url + new URL(session.form_post_url).pathname : session.form_post_url;
    const file = bytes(size);
    const onDisk = path.join(temporary, "Ünï côde vidéo.mp4");
    fs.writeFileSync(onDisk, file);
    const open = async () => {
      const page = await chrome.newPage({ ignoreHTTPSErrors: true });
      page.setDefaultTimeout(PAGE_MS);
      await page.goto(pages.url);
      return page;
    };
    await play({ server, session, target, file, onDisk, open, between });
  } finally {
    await chrome.close();
    between?.close();
    pages.close();
  }
  await server.stop();
}

/** Picks the file as a user does and uploads it; what the page's handlers were told. */
async function upload(page, { target, onDisk, params, options = {} }) {
  await page.evaluate(([url, form, more]) => prepare(url, form, more), [target, params, options]);
  await page.setInputFiles("input[type=file]", onDisk);
  return page.evaluate(() => startUpload());
}

function uploaded(told, chunks) {
  equal(JSON.stringify(told.errors), "[]", "what the Error handler was told");
  equal(told.complete, true, "UploadComplete");
  equal(told.chunks.length, chunks, "chunks that ChunkUploaded was told of");
}

export default {
  "one piece, the parameters as they are": () =>
    scene("plupload/one.mp4", 300_000, async (s) => {
      const told = await upload(await s.open(), { ...s, params: s.session.form_post_params });
      uploaded(told, 0);
      equal(told.status, 201, "the status that FileUploaded was told");
      check(told.response.includes("<PostResponse"), `the answer the page got: ${told.response}`);
      await finish(s.server, s.session, 1);
      await readsBack(s.server, s.session, s.file);
    }),

  "chunked": () =>
    scene("plupload/chunked.mp4", 16 * CHUNK + 17, async (s) => {
      const told = await upload(await s.open(), { ...s, params: chunkParams(s.session), options: { chunk_size: CHUNK } });
      uploaded(told, 17);
      await finish(s.server, s.session, 17);
      await readsBack(s.server, s.session, s.file);
    }),

  "chunked, over TLS and HTTP/2": () =>
    scene(
      "plupload/tls.mp4",
      8 * CHUNK + 17,
      async (s) => {
        const page = await s.open();
        const spoken = new Set();
        const network = await page.context().newCDPSession(page);
        network.on("Network.responseReceived", ({ response }) => {
          if (response.url.startsWith(s.server.url)) spoken.add(response.protocol);
        });
        await network.send("Network.enable");
        uploaded(await upload(page, { ...s, params: chunkParams(s.session), options: { chunk_size: CHUNK } }), 9);
        equal([...spoken].join(), "h2", "the protocols that the browser spoke to the server");
        await finish(s.server, s.session, 9);
        await readsBack(s.server, s.session, s.file);
      },
      { open: startTls },
    ),

  "chunked, whole without the last call": () =>
    scene("plupload/whole.mp4", 2 * CHUNK + 1, async (s) => {
      uploaded(await upload(await s.open(), { ...s, params: chunkParams(s.session), options: { chunk_size: CHUNK } }), 3);
      await whole(s.server, s.session);
      await readsBack(s.server, s.session, s.file);
    }),

  "smaller than a chunk": () =>
    scene("plupload/small.mp4", 1000, async (s) => {
      uploaded(await upload(await s.open(), { ...s, params: chunkParams(s.session), options: { chunk_size: CHUNK } }), 0);
      await finish(s.server, s.session, 1);
      await readsBack(s.server, s.session, s.file);
    }),

  "retried after a 503": () =>
    scene(
      "plupload/retried.mp4",
      3 * CHUNK + 5,
      async (s) => {
        const told = await upload(await s.open(), { ...s, params: chunkParams(s.session), options: { chunk_size: CHUNK, max_retries: 2 } });
        uploaded(told, 4);
        equal(s.between.posts(), 5, "posts that the proxy saw");
        await finish(s.server, s.session, 4);
        await readsBack(s.server, s.session, s.file);
      },
      { fails: (n) => n === 2 },
    ),

  "resumed after the page gave up": () =>
    scene(
      "plupload/resumed.mp4",
      4 * CHUNK + 5,
      async (s) => {
        const page = await s.open();
        const gaveUp = await upload(page, { ...s, params: chunkParams(s.session), options: { chunk_size: CHUNK, max_retries: 1 } });
        equal(gaveUp.errors[0]?.status, 503, "the status that the Error handler was told");
        const before = (await rest(s.server, "GET", `/v1/files/uploads/${s.session.id}`)).upload;
        equal(before.status, "UPLOADING", "the session while the page has given up");
        const told = await page.evaluate(() => resumeUpload());
        equal(told.errors.length, 1, "errors in all");
        equal(told.complete, true, "UploadComplete");
        equal(s.between.posts(), 7, "posts in all: 2 kept, 2 failed, 3 more");
        await finish(s.server, s.session, 5);
        await readsBack(s.server, s.session, s.file);
      },
      { fails: (n) => n === 3 || n === 4 },
    ),

  "resumed by another page that sends everything again": () =>
    scene(
      "plupload/again.mp4",
      4 * CHUNK + 5,
      async (s) => {
        const first = await s.open();
        const gaveUp = await upload(first, { ...s, params: chunkParams(s.session), options: { chunk_size: CHUNK } });
        equal(gaveUp.errors[0]?.status, 503, "the status that the Error handler was told");
        await first.close();
        const fresh = (await rest(s.server, "GET", `/v1/files/uploads/${s.session.id}?form_post_params=true`)).upload;
        uploaded(await upload(await s.open(), { ...s, params: chunkParams(fresh), options: { chunk_size: CHUNK } }), 5);
        await finish(s.server, s.session, 5);
        await readsBack(s.server, s.session, s.file);
      },
      { fails: (n) => n === 3 },
    ),

  "the trap: chunked with the parameters as they are is explained in the page": () =>
    scene("plupload/trap.mp4", 3 * CHUNK, async (s) => {
      const told = await upload(await s.open(), { ...s, params: s.session.form_post_params, options: { chunk_size: CHUNK } });
      equal(told.errors.length, 1, "errors that the page was told");
      equal(told.errors[0].status, 400, "the status that the Error handler was told");
      for (const word of ["chunk", "chunks", "name", "multipart_params"]) {
        check(told.errors[0].response.includes(word), `the explanation does not name ${word}: ${told.errors[0].response}`);
      }
    }),

  "a refused form tells the page why": () =>
    scene("plupload/refused.mp4", 1000, async (s) => {
      const params = { ...s.session.form_post_params, signature: "AAAAAAAAAAAAAAAAAAAAAAAAAAA=" };
      const told = await upload(await s.open(), { ...s, params });
      equal(told.errors[0]?.status, 403, "the status that the Error handler was told");
      check(told.errors[0].response.includes("<Code>SignatureDoesNotMatch</Code>"), `the answer: ${told.errors[0].response}`);
    }),
};
