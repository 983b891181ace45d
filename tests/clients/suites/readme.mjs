// The README is true: its `sh` blocks are run, in order, in one shell, as a reader would paste them.

import fs from "node:fs";
import path from "node:path";

import { BIN, HERE, check, run, start, temporary } from "../lib.mjs";

export default {
  "every sh block of the README works": async () => {
    const text = fs.readFileSync(path.join(HERE, "..", "..", "README.md"), "utf8");
    const blocks = [...text.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block);
    check(blocks.length >= 10, `the README has only ${blocks.length} sh blocks`);
    const server = await start();
    // The reader's dev server listens on its default port, ours on a free one. Nothing else is changed: the reader pastes the rest.
    const script = blocks
      .map((block, i) => `echo "== block ${i + 1}"\n${block}`)
      .join("\n")
      .replace("URL=http://127.0.0.1:7080", `URL=${server.url}`);
    const folder = path.join(temporary, "reader");
    fs.mkdirSync(folder);
    const env = { ...process.env, PATH: `${path.dirname(path.resolve(BIN))}:${process.env.PATH}` };
    await run("bash", ["-euo", "pipefail", "-c", script], { cwd: folder, env });
    await server.stop();
  },
};
