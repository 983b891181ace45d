// Headless Chromium, pages on an origin of their own (so that CORS is real), and what may stand between a browser and the program.

import { createReadStream } from "node:fs";
import http from "node:http";

import { chromium } from "playwright-core";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
/** Longest wait of a page for anything, in milliseconds. */
export const PAGE_MS = 30_000;
/** Longest wait for a post that was to come while another one is held, in milliseconds. */
const TOGETHER_MS = 10_000;
const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8" };

export async function browser() {
  const quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"];
  return chromium.launch({ executablePath: CHROMIUM, headless: true, args: quiet });
}

/** Listens at a free port of the loopback; its URL with this name. The name may also be that of `::1`, which a machine need not have. */
async function listening(server, name) {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://${name}:${server.address().port}`;
}

/**
 * Serves pages. `find` gets a request and gives what is there, as `{type, file}` or `{type, text}`, now or later; nothing for 404.
 */
export async function pageServer(find) {
  const server = http.createServer(async (req, res) => {
    const found = await find(req);
    res.writeHead(found ? 200 : 404, found && { "content-type": TYPES[found.type] ?? found.type });
    if (found?.file) createReadStream(found.file).pipe(res);
    else res.end(found?.text);
  });
  const url = await listening(server, "localhost");
  return {
    url: `${url}/`,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/**
 * Between browser and target: passes everything on, but fails the form posts that `fails(n)` names (n counts from 1), and holds posts
 * back until as many as `together` are there at once.
 */
export async function proxy(target, { fails = () => false, together = 1 } = {}) {
  const { hostname, port, host } = new URL(target);
  let [posts, most] = [0, 0];
  const held = new Set();
  const release = () => {
    for (const pass of held) pass();
    held.clear();
  };
  const server = http.createServer(async (req, res) => {
    if (req.method === "POST") {
      posts += 1;
      if (fails(posts)) {
        req.resume().on("end", () => {
          res.writeHead(503, { "access-control-allow-origin": "*", "content-type": "application/xml", "retry-after": "1" });
          res.end("<Error><Code>SlowDown</Code></Error>");
        });
        return;
      }
      if (most < together) {
        const wait = new Promise((pass) => held.add(pass));
        most = Math.max(most, held.size);
        const late = setTimeout(release, TOGETHER_MS);
        if (held.size === together) release();
        await wait;
        clearTimeout(late);
      }
    }
    const onward = http.request({ hostname, port, path: req.url, method: req.method, headers: { ...req.headers, host } }, (answer) => {
      res.writeHead(answer.statusCode, answer.headers);
      answer.pipe(res);
    });
    onward.on("error", () => res.destroy());
    req.pipe(onward);
  });
  const url = await listening(server, "127.0.0.1");
  return {
    url,
    /** Posts that came. */
    posts: () => posts,
    /** Most posts that were held at once. */
    most: () => most,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
