// A second opinion by hand: the operations of the readers' last case, compared with the program `s3s-fs`, whose build is too long for every
// run. What it does otherwise than Amazon, and is therefore not asked, stands in readers/second.py.

import path from "node:path";

import { HERE, run, start } from "../lib.mjs";
import { PYTHON } from "../readers/python.mjs";
import { ACCESS_KEY, SECRET } from "../sign.mjs";

const PROGRAM = process.env.CLIENTS_TWIN ?? path.join(HERE, "../../target/tools/bin/s3s-fs");
const cases = {};

for (const seed of ["1", "2", "3"]) {
  cases[`1,000 operations are answered as s3s-fs answers them, seed ${seed}`] = async () => {
    const server = await start();
    try {
      await run(PYTHON, ["second.py", server.url, ACCESS_KEY, SECRET, seed, "1000", PROGRAM], { cwd: path.join(HERE, "readers") });
    } finally {
      await server.stop();
    }
  };
}

export { cases as default };
