// Runs one suite: `node run.mjs NAME [CASE...]`. Prints a line for each case, and `N passed, N failed` last.
//
// A suite exports its cases; `lanes`, how many of them may run at once; `last`, a case that sums the others up and runs only when all of
// them did; `after`, what is done at the end.

import { temporary } from "./lib.mjs";

const [name, ...wanted] = process.argv.slice(2);
const { default: cases, lanes = 1, last = {}, after } = await import(`./suites/${name}.mjs`);
let [passed, failed] = [0, 0];

async function play(title, test) {
  const began = Date.now();
  const seconds = () => ((Date.now() - began) / 1000).toFixed(1);
  try {
    await test();
    passed += 1;
    console.log(`ok      ${name}: ${title} (${seconds()} s)`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}: ${title} (${seconds()} s)\n${error.stack ?? error}`);
  }
}

const waiting = Object.entries(cases).filter(([title]) => wanted.length === 0 || wanted.includes(title));
const lane = async () => {
  for (let next = waiting.shift(); next; next = waiting.shift()) await play(...next);
};
await Promise.all(Array.from({ length: lanes }, lane));
if (wanted.length === 0) for (const [title, test] of Object.entries(last)) await play(title, test);
try {
  await after?.();
} catch (error) {
  failed += 1;
  console.log(`FAILED  ${name}: the end\n${error.stack ?? error}`);
}
if (process.env.KEEP_TEMPORARY) console.log(`kept ${temporary}`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
