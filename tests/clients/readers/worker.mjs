// Clients that live in a program of another language: it takes a job a line and answers each with a line, in order.

import { spawn } from "node:child_process";
import readline from "node:readline";

/** Longest wait for one job, in milliseconds. */
const JOB_MS = 120_000;

/** What a client said when it failed; `told` is what of it a table shows. */
export class Refused extends Error {
  constructor(told, text) {
    super(`${told}: ${text}`);
    this.told = told;
  }
}

/** Starts the program with its first job; jobs wait for each other. */
export function worker(program, args, options = {}) {
  let started;
  let last = Promise.resolve();
  const begin = () => {
    const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"], ...options });
    process.on("exit", () => child.kill());
    const ended = new Promise((_, reject) => {
      child.on("error", reject);
      child.on("close", (code) => reject(new Error(`${program} ended with ${code}: did ./tests/run setup install it?`)));
    });
    ended.catch(() => {});
    return { child, ended, lines: readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]() };
  };
  const play = async (job) => {
    started ??= begin();
    const { child, ended, lines } = started;
    child.stdin.write(`${JSON.stringify(job)}\n`);
    const late = new Promise((_, reject) => setTimeout(reject, JOB_MS, new Error(`${job.op} took longer than ${JOB_MS} ms`)).unref());
    const { value } = await Promise.race([lines.next().then((line) => (line.done ? ended : line)), ended, late]);
    const answer = JSON.parse(value);
    if (answer.refused) throw new Refused(answer.refused, answer.text);
    return answer;
  };
  return (job) => {
    const done = last.then(() => play(job));
    last = done.catch(() => {});
    return done;
  };
}
