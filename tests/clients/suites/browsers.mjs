// What uploads from pages, each unmodified from npm, in headless Chromium, on a page of another origin than the target.

import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";

import esbuild from "esbuild";

import { PAGE_MS, browser, pageServer, proxy } from "../browser.mjs";
import { HERE, bytes, check, equal, link, openSession, postFields, readsBack, request, rest, sha256, start, temporary, whole } from "../lib.mjs";
import { table } from "../matrix.mjs";
import { ACCESS_KEY, BUCKET, awsForm, signPolicy } from "../sign.mjs";
import { UPLOADERS } from "../uploaders.mjs";

const MIB = 1024 * 1024;
const NAME = "Ünï côde vidéo.mp4";
/** Chunks that are on their way at once, where a client can. */
const TOGETHER = 3;

let opened;
let scenes = 0;
/** Pages that are free: opening one costs more than most uploads. */
const idle = [];
/** What the cases share: the program, the server of the pages with the bundle, the browser. */
function shared() {
  opened ??= (async () => {
    const bundle = path.join(temporary, "uppy.js");
    await esbuild.build({ entryPoints: [path.join(HERE, "pages/uppy.js")], bundle: true, outfile: bundle, logLevel: "error" });
    const server = await start();
    return { server, explains: await explains(server), pages: await pageServer((req) => find(req, bundle)), chrome: await browser() };
  })();
  return opened;
}

/** Whether the program's refusals say where they are explained. */
async function explains(server) {
  const { url, fields } = await awsForm({ endpoint: server.url, key: "explained", secret: "guessed" });
  const { headers } = await postFields({ form_post_url: url }, fields, Buffer.from("x"));
  return headers["x-pillarbox-explain"] !== undefined;
}

export async function after() {
  const { server, pages, chrome } = await shared();
  pages.close();
  await chrome.close();
  await server.stop();
}

/** `/client/0` is the first client's page, `/npm/` holds the packages, `/pages/` our scripts; `/sign/2` and `/sign/4` sign policies. */
async function find(req, bundle) {
  const [kind, ...rest] = new URL(req.url, "http://localhost").pathname.slice(1).split("/");
  const name = rest.join("/");
  if (kind === "npm") return { type: "js", file: path.join(HERE, "node_modules", name) };
  if (kind === "pages") return { type: "js", file: name === "uppy.js" ? bundle : path.join(HERE, "pages", name) };
  if (kind === "done") return { type: "html", text: "<title>Done</title>" };
  if (kind === "sign") return { type: "application/json", text: JSON.stringify(signPolicy(rest[0], await text(req), rest[1])) };
  const client = kind === "client" && UPLOADERS[Number(name)];
  if (!client) return undefined;
  const scripts = ["/pages/kit.js", client.script && `/npm/${client.package}/${client.script}`, `/pages/${client.page}.js`];
  const tags = scripts.filter(Boolean).map((src) => `<script src="${src}"></script>`);
  return { type: "html", text: `<!doctype html><meta charset="utf-8"><title>${client.title}</title><body>${tags.join("")}` };
}

async function text(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts).toString();
}

/**
 * Page, file and a key for it. `play` gets them, with `upload(options)`, which picks the file and gives what the page's handlers were told,
 * and `open()`, which begins with the page anew.
 */
async function scene(client, play, { size = 300_001, slow, ...between } = {}) {
  const { server, explains, pages, chrome } = await shared();
  scenes += 1;
  const key = `browsers/${scenes}.mp4`;
  const middle = Object.keys(between).length > 0 ? await proxy(server.url, between) : undefined;
  const page = (!slow && idle.pop()) || (await chrome.newPage());
  try {
    page.setDefaultTimeout(PAGE_MS);
    if (slow) await slowUploads(page);
    const open = () => page.goto(`${pages.url}client/${UPLOADERS.indexOf(client)}`);
    await open();
    await page.evaluate(() => localStorage.clear());
    const file = bytes(size);
    const onDisk = path.join(fs.mkdtempSync(path.join(temporary, "page-")), NAME);
    fs.writeFileSync(onDisk, file);
    const upload = async (options) => {
      const url = middle ? middle.url + new URL(options.url).pathname : options.url;
      await page.evaluate((all) => prepare(all), { ...client.options, ...options, url });
      await page.setInputFiles("input[type=file]", onDisk);
      return client.page === "form" ? submitted(page) : page.evaluate((ms) => inTime(ms), PAGE_MS);
    };
    const seen = await play({ server, explains, open, key, upload, file, middle });
    if (!slow) idle.push(page);
    return seen;
  } finally {
    if (!idle.includes(page)) await page.close();
    middle?.close();
  }
}

/** Presses the button of a form; what the browser then shows. */
async function submitted(page) {
  const [response] = await Promise.all([page.waitForNavigation(), page.click("input[type=submit]")]);
  const first = await response.request().redirectedFrom()?.response();
  const seen = { status: (first ?? response).status(), text: await response.text(), url: page.url() };
  return seen.status < 400 ? { answers: [seen], errors: [] } : { answers: [], errors: [seen] };
}

/** Slow enough for the browser to tell of progress, which it does 20 times a second. */
async function slowUploads(page) {
  const network = await page.context().newCDPSession(page);
  await network.send("Network.enable");
  await network.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 3 * MIB });
}

/** What a client is told for a plain S3 form; another secret than the key's makes a wrong signature. */
async function s3Form({ server, key }, client, secret) {
  const conditions = (client.adds ?? []).map((name) => ["starts-with", `$${name}`, ""]);
  const { pages } = await shared();
  const success = client.s3 === 303 ? { success_action_redirect: `${pages.url}done?by=form` } : { success_action_status: "201" };
  const { url, fields } = await awsForm({ endpoint: server.url, key, fields: success, conditions, secret });
  return { url, fields, plain: true, key, accessKey: ACCESS_KEY, bucket: BUCKET, secret };
}

/** What a client is told for a session's form, which the session makes ready for it. */
async function sessionForm({ server, key }, client, { chunk } = {}) {
  const session = await openSession(server, key, client.asks && { client: client.asks });
  return { session, url: session.form_post_url, fields: session.form_post_params, chunk };
}

/** The page was told of one success and no error. */
function succeeded(told, status) {
  equal(JSON.stringify(told.errors), "[]", "the errors that the page was told");
  equal(told.answers.length, 1, "the successes that the page was told");
  equal(told.answers[0].status, status, "the status that the page was told");
  return String(status);
}

/** The browser is where the form sent it, with what Amazon adds. */
function redirected(url, { key, file }) {
  const { pathname, searchParams } = new URL(url);
  const told = JSON.stringify([pathname, ...searchParams]);
  const etag = createHash("md5").update(file).digest("hex");
  equal(told, JSON.stringify(["/done", ["by", "form"], ["bucket", BUCKET], ["key", key], ["etag", `"${etag}"`]]), "where the browser is");
}

async function s3ReadsBack({ server, key, file }) {
  const { files } = await rest(server, "GET", "/v1/files/");
  const stored = files.find(({ name }) => name === path.basename(key));
  check(stored, `no file ${key}`);
  const back = await request(await link(server, { file: stored }));
  equal(sha256(back.body), sha256(file), "the SHA-256 of the bytes read back");
}

/** The code of a refusal: in Amazon's XML, in JSON, in text. */
const codeOf = (answer) => [/<Code>(.*?)<\/Code>/, /"code":"(.*?)"/, /\((\w+), request \w+\)/].map((form) => form.exec(answer)?.[1]).find(Boolean);

/** What each client is asked to do; what the cell says. */
const TASKS = {
  "S3 form": (client) =>
    scene(client, async (s) => {
      const told = await s.upload(await s3Form(s, client));
      const seen = succeeded(told, client.s3);
      await s3ReadsBack(s);
      if (client.s3 === 303) redirected(told.answers[0].url, s);
      return seen;
    }),

  "session": (client) =>
    scene(client, async (s) => {
      const { session, ...form } = await sessionForm(s, client);
      const told = await s.upload(form);
      const seen = succeeded(told, client.session);
      await whole(s.server, session);
      await readsBack(s.server, session, s.file);
      const [{ text, url }] = told.answers;
      if (client.answer === "text") equal(text, session.id, "what the client calls the file");
      if (client.answer === "json") equal(JSON.parse(text).id, session.id, "the id in the answer");
      if (client.page === "uppy") check(url.startsWith(`${s.server.url}/`), `where the client says the file is: ${url}`);
      return client.answer ? `${seen} ${client.answer}` : seen;
    }),

  "in chunks": (client) =>
    scene(
      client,
      async (s) => {
        const { session, ...form } = await sessionForm(s, client, { chunk: MIB });
        succeeded(await s.upload(form), client.session);
        await whole(s.server, session);
        await readsBack(s.server, session, s.file);
        return chunksOf(s, session, 6);
      },
      { size: 5 * MIB + 17 },
    ),

  "chunks at once": (client) =>
    scene(
      client,
      async (s) => {
        const { session, ...form } = await sessionForm(s, client, { chunk: MIB });
        succeeded(await s.upload({ ...form, together: TOGETHER }), client.session);
        equal(s.middle.most(), TOGETHER, "posts that were on their way at once");
        await whole(s.server, session);
        await readsBack(s.server, session, s.file);
        return `${TOGETHER}`;
      },
      { size: 5 * MIB + 17, together: TOGETHER },
    ),

  "after a 503": (client) =>
    scene(
      client,
      async (s) => {
        const chunk = client.chunks ? undefined : 100_000;
        const { session, ...form } = client.session.why ? await s3Form(s, client) : await sessionForm(s, client, { chunk });
        const told = await s.upload({ ...form, retry: true });
        equal(told.answers.length, 1, `the successes that the page was told beside ${JSON.stringify(told.errors)}`);
        equal(s.middle.posts(), chunk ? 5 : 2, "posts");
        await (session ? readsBack(s.server, session, s.file) : s3ReadsBack(s));
        return "goes on";
      },
      { fails: (n) => n === 1 },
    ),

  "another page": (client) =>
    scene(
      client,
      async (s) => {
        const { session, ...form } = await sessionForm(s, client, { chunk: 100_000 });
        const gaveUp = await s.upload(form);
        equal(gaveUp.answers.length, 0, "the successes that the first page was told");
        equal(s.middle.posts(), 3, "the posts of the first page");
        await s.open();
        succeeded(await s.upload(form), client.session);
        await whole(s.server, session);
        await readsBack(s.server, session, s.file);
        const again = s.middle.posts() - 3;
        check(again === 2 || again === 4, `the second page posted ${again} of 4 chunks, 2 of which were there`);
        return again === 2 ? "sends the rest" : "sends all again";
      },
      { fails: (n) => n === 3 },
    ),

  "progress": (client) =>
    scene(
      client,
      async (s) => {
        const { session, ...form } = await formOf(s, client);
        const told = await s.upload({ ...form, chunk: client.chunks ? undefined : MIB });
        rises(told.progress, s.file.length);
        return "yes";
      },
      { size: 5 * MIB + 17, slow: true },
    ),

  "refusal": (client) =>
    scene(
      client,
      async (s) => {
        const { session, ...form } = await formOf(s, client, "guessed");
        const told = await s.upload(form);
        equal(told.errors.length, 1, "the errors that the page was told");
        equal(told.answers.length, 0, "the successes that the page was told");
        const [{ status, text, explain }] = told.errors;
        const read = `${status ?? "no status,"} ${codeOf(text)}`;
        equal(read, `${client.blind ? "no status," : "403"} SignatureDoesNotMatch`, `what the page could read of ${text}`);
        if (explain === undefined) return read;
        equal(Boolean(explain), s.explains, `whether the page can read the explanation's address: ${explain}`);
        return explain ? `${read}, explained` : read;
      },
      { size: 8 * MIB },
    ),

  "another file": (client) =>
    scene(client, async (s) => {
      const { session, ...form } = await sessionForm(s, client);
      const first = await postFields(session, session.form_post_params, bytes(1000, 2));
      check(first.status < 300, `the file before was answered ${first.status}: ${first.text}`);
      const told = await s.upload(form);
      equal(told.errors.length, 1, "the errors that the page was told");
      const [{ status, text }] = told.errors;
      return `${status ?? "no status,"} ${codeOf(text)}`;
    }),
};

async function chunksOf({ server }, session, wanted) {
  const { upload } = await rest(server, "GET", `/v1/files/uploads/${session.id}`);
  equal(upload.nb_chunks, wanted, "the session's chunks");
  return `${wanted} chunks`;
}

/** The form that a client is best served with: a session's, else a plain one; with a wrong signature when a secret is guessed. */
async function formOf(s, client, secret) {
  if (client.session.why) return s3Form(s, client, secret);
  const form = await sessionForm(s, client, { chunk: client.chunks ? undefined : MIB });
  if (secret) form.fields = { ...form.fields, signature: "AAAAAAAAAAAAAAAAAAAAAAAAAAA=" };
  return form;
}

/** Progress never falls, and ends with all of it; a client may count the form's own bytes as well. */
function rises(progress, size) {
  check(progress.length > 1, `the page was told of progress ${progress.length} times`);
  progress.slice(1).forEach(([sent], i) => check(sent >= progress[i][0], `progress falls: ${JSON.stringify(progress)}`));
  const [sent, total] = progress.at(-1);
  check(sent >= total && total >= size, `the last progress is ${sent} of ${total} bytes, of a file of ${size}`);
}

/** What a client must be able to do for a task. */
const NEEDS = { "S3 form": "s3", "session": "session", "in chunks": "chunks", "chunks at once": "together", "another page": "chunks", "after a 503": "retries", "progress": "progress", "another file": "session" };

const rows = UPLOADERS.map((client) => {
  const cell = ([task, test]) => [task, client[NEEDS[task]]?.why ?? (() => test(client))];
  return { title: client.title, version: client.version, cells: Object.fromEntries(Object.entries(TASKS).map(cell)) };
});

const { cases, last } = table("pages", Object.keys(TASKS), rows);
export { cases as default, last };
/** How many cases run at once: pages wait more than they work. */
export const lanes = 3;
