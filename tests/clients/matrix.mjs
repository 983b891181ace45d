// Tables of clients and tasks, each cell a case that says what it saw, kept in MATRIX.md.
//
// A cell holds nothing that differs from run to run. A last case fails when the committed table shows anything else than was seen;
// `WRITE_MATRIX=1 node run.mjs SUITE` writes what was seen.

import fs from "node:fs";
import path from "node:path";

import { HERE, check } from "./lib.mjs";

const FILE = path.join(HERE, "MATRIX.md");
const PINNED = JSON.parse(fs.readFileSync(path.join(HERE, "package.json"), "utf8")).devDependencies;
const LOCKED = fs.readFileSync(path.join(HERE, "rust", "Cargo.lock"), "utf8");
const REQUIRED = fs.readFileSync(path.join(HERE, "requirements.txt"), "utf8").split("\n").map((line) => line.split("=="));

/** The pinned version of a client from npm. */
export const fromNpm = (name) => pinned(name, PINNED[name]?.replace(/^npm:.*@/, ""));

/** The pinned version of a client from PyPI. */
export const fromPypi = (name) => pinned(name, REQUIRED.find(([one]) => one === name)?.[1]);

/** The pinned version of a client from crates.io. */
export const fromCargo = (name) => pinned(name, LOCKED.match(new RegExp(`name = "${name}"\nversion = "(.*)"`))?.[1]);

function pinned(name, version) {
  check(version, `no version is pinned for ${name}`);
  return version;
}

/**
 * The cases of a table, and the last one, which compares. Each row is `{title, version, cells}`; a cell is a test that resolves to what
 * it saw, or a text that says why there is none.
 */
export function table(section, columns, rows) {
  const seen = new Map();
  const cases = {};
  for (const { title, cells } of rows) {
    for (const column of columns) {
      const cell = cells[column];
      check(cell !== undefined, `${title} has no cell for ${column}`);
      const place = `${title}: ${column.replaceAll("`", "")}`;
      if (typeof cell === "string") seen.set(place, cell);
      else cases[place] = async () => seen.set(place, await cell());
    }
  }
  const compared = () => {
    const lines = rows.map(({ title, version, cells }) => {
      const told = Object.keys(cells).map((column) => seen.get(`${title}: ${column.replaceAll("`", "")}`) ?? "**FAILED**");
      return `| ${[title, version, ...told].join(" | ")} |`;
    });
    const head = [`| ${["client", "version", ...columns].join(" | ")} |`, `|${" --- |".repeat(columns.length + 2)}`];
    compare(section, [...head, ...lines].join("\n"));
  };
  return { cases, last: { [`the table of ${section} in MATRIX.md is what was seen`]: compared } };
}

function compare(section, told) {
  const committed = fs.readFileSync(FILE, "utf8");
  const marks = [`<!-- ${section} -->\n`, `\n<!-- end of ${section} -->`];
  const [before, rest] = committed.split(marks[0]);
  const [had, after] = rest?.split(marks[1]) ?? [];
  check(after !== undefined, `MATRIX.md has no place for ${section}`);
  if (had === told) return;
  if (process.env.WRITE_MATRIX) fs.writeFileSync(FILE, before + marks[0] + told + marks[1] + after);
  const lines = told.split("\n").filter((line) => !had.split("\n").includes(line));
  check(process.env.WRITE_MATRIX, `MATRIX.md shows something else than was seen, or in another order:\n${lines.join("\n")}`);
}
