// Runs one suite: `node run.mjs NAME [CASE...]`. Prints a line for each case, and `N passed, N failed` last.

import { temporary } from "./lib.mjs";

const [name, ...wanted] = process.argv.slice(2);
const { default: cases } = await import(`./suites/${name}.mjs`);
let [passed, failed] = [0, 0];
for (const [title, test] of Object.entries(cases)) {
  if (wanted.length > 0 && !wanted.includes(title)) continue;
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
if (process.env.KEEP_TEMPORARY) console.log(`kept ${temporary}`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
