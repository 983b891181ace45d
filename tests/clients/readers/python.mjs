// Where the Python of the suites is.

import path from "node:path";

import { HERE } from "../lib.mjs";

export const PYTHON = process.env.CLIENTS_PYTHON ?? path.join(HERE, "../../target/tools/python/bin/python");
