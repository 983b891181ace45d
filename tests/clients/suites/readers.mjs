// Readers and writers of S3, each unmodified from its registry, and the tasks of their ordinary day.
//
// boto3 and minio-py run in one Python, and once more with awscrt; the SDKs for JavaScript here; those for Rust in a program of their own
// (readers/rust); aws, s3cmd and rclone are started as a user does.

import fs from "node:fs";
import path from "node:path";

import { HERE, run, start, startTls, temporary } from "../lib.mjs";
import { fromCargo, fromNpm, fromPypi, table } from "../matrix.mjs";
import { makeBucket } from "../readers/hand.mjs";
import { inAws, inMinio } from "../readers/node.mjs";
import { PYTHON } from "../readers/python.mjs";
import { TASKS, fillShelf, largeFile } from "../readers/tasks.mjs";
import { inAwsCli, inRclone, inS3cmd } from "../readers/tools.mjs";
import { worker } from "../readers/worker.mjs";
import { ACCESS_KEY, SECRET } from "../sign.mjs";

const MIB = 1 << 20;
const NO_WORD = "no word for it";
const READERS = path.join(HERE, "readers");
const inPython = worker(PYTHON, ["python.py", "without-awscrt"], { cwd: READERS });
const inRust = worker(process.env.CLIENTS_RUST ?? path.join(HERE, "../../target/clients/debug/pillarbox-readers"), []);
const withAwscrt = worker(PYTHON, ["python.py"], { cwd: READERS });

/** Where TLS changes nothing of what a program that takes a second to start asks for. */
const AS_WITHOUT_TLS = Object.fromEntries(
  ["buckets", "list", "range", "copy", "metadata", "awkward keys", "remove", "presign", "missing key"].map((task) => [task, "as without TLS"]),
);

/**
 * Who reads and writes. `lists` and `presigns`: the versions that it has; `without`: what it has no word for; `unable`: the awkward keys that
 * it refuses or changes itself; `unlisted`: those that its list shows otherwise; `part`: its size of parts; `instead`: what a cell says of a task
 * that is not done.
 */
const CLIENTS = [
  { title: "boto3", version: fromPypi("boto3"), client: "boto3", play: inPython, presigns: ["V2", "V4"] },
  { title: "boto3, https", version: fromPypi("boto3"), client: "boto3", play: inPython, presigns: ["V2", "V4"], tls: true },
  { title: "boto3 with awscrt", version: fromPypi("awscrt"), client: "boto3 with awscrt", play: withAwscrt, presigns: ["V2", "V4"] },
  { title: "boto3 with awscrt, https", version: fromPypi("awscrt"), client: "boto3 with awscrt", play: withAwscrt, presigns: ["V2", "V4"], tls: true },
  { title: "aws", version: fromPypi("awscli"), play: inAwsCli, presigns: ["V2"], methods: ["GET"] },
  { title: "aws, https", version: fromPypi("awscli"), play: inAwsCli, presigns: ["V2"], methods: ["GET"], tls: true, instead: AS_WITHOUT_TLS },
  { title: "s3cmd", version: "Debian's", play: inS3cmd, lists: [1], presigns: ["V2"], methods: ["GET"], unable: ["slash last", "newline"] },
  { title: "rclone", version: "Debian's", play: inRclone, methods: ["GET"], without: ["replaced metadata"], unable: ["dots", "slashes", "slash first", "slash last"], unlisted: ["newline"] },
  { title: "@aws-sdk/client-s3", version: fromNpm("@aws-sdk/client-s3"), play: inAws },
  { title: "@aws-sdk/client-s3, https", version: fromNpm("@aws-sdk/client-s3"), play: inAws, tls: true },
  { title: "minio-js", version: fromNpm("minio"), play: inMinio, part: 64 * MIB, instead: { "copy in parts": "begins each range at 0" } },
  { title: "minio-py", version: fromPypi("minio"), client: "minio-py", play: inPython, unable: ["dots"], unlisted: ["slash last"] },
  { title: "Rust's aws-sdk-s3", version: fromCargo("aws-sdk-s3"), client: "aws-sdk-s3", play: inRust },
  { title: "Rust's object_store", version: fromCargo("object_store"), client: "object_store", play: inRust, lists: [2], instead: { "buckets": NO_WORD, "copy in parts": NO_WORD }, without: ["replaced metadata"], unable: ["dots", "slashes", "slash first", "slash last", "newline"] },
];

/** The tests that object_store publishes for whoever implements its trait; each wants a bucket of its own. */
const PUBLISHED = [
  "put_get_delete_list",
  "put_get_delete_list, unsigned payload",
  "put_get_delete_list, SHA-256",
  "put_get_delete_list, CRC-64/NVME",
  "put_get_attributes",
  "get_opts",
  "put_opts",
  "stream_get",
  "list_uses_directories_correctly",
  "list_with_delimiter",
  "list_with_offset_exclusivity",
  "list_paginated",
  "get_nonexistent_object",
  "rename_and_copy",
  "copy_if_not_exists",
  "copy_rename_nonexistent_object",
  "multipart",
  "multipart_with_opts",
  "multipart_put_part_out_of_order",
  "multipart_race_condition",
  "multipart_out_of_order",
];

const SYNC = [inAwsCli, inS3cmd, inRclone];

let servers;
let large;

/** Two servers, one with TLS, with the bucket that all list. */
async function started(tls) {
  servers ??= Promise.all([start(), startTls()]).then(async (both) => {
    for (const server of both) await fillShelf(server);
    large = largeFile(temporary);
    return both;
  });
  return (await servers)[tls ? 1 : 0];
}

export async function after() {
  for (const server of (await servers) ?? []) await server.stop();
}

/** Where a client does one task: a bucket of its own, folders and files. */
async function desk(client, row, task) {
  const server = await started(client.tls);
  const bucket = `reader-${row}-${task}`;
  await makeBucket(server, bucket);
  const home = fs.mkdtempSync(path.join(temporary, "desk-"));
  let made = 0;
  const base = { client: client.client, endpoint: server.url, access_key: ACCESS_KEY, secret: SECRET, bucket };
  const options = { lists: [1, 2], presigns: ["V4"], methods: ["GET", "PUT"], without: [], unable: [], unlisted: [], part: 8 * MIB };
  return {
    ...options,
    ...client,
    server,
    bucket,
    large,
    prefix: "day/",
    play: (op, job = {}) => client.play({ ...base, ca: server.caFile ?? null, op, ...job }),
    /** A file, with these bytes if there are any. */
    place(data) {
      const file = path.join(home, `${(made += 1)}.bin`);
      if (data) fs.writeFileSync(file, data);
      return file;
    },
    folder: () => fs.mkdtempSync(path.join(home, "folder-")),
    clear: () => fs.rmSync(home, { recursive: true }),
  };
}

const rows = CLIENTS.map((client, row) => {
  const cell = ([task, test], number) => {
    const instead = client.instead?.[task] ?? (task === "sync both ways" && !SYNC.includes(client.play) ? NO_WORD : undefined);
    if (instead) return [task, instead];
    const play = async () => {
      const one = await desk(client, row, number);
      const told = await test(one);
      one.clear();
      return told;
    };
    return [task, play];
  };
  return { ...client, cells: Object.fromEntries(Object.entries(TASKS).map(cell)) };
});

const { cases, last } = table("readers", Object.keys(TASKS), rows);

for (const [number, test] of PUBLISHED.entries()) {
  cases[`object_store's own ${test}`] = async () => {
    const server = await started(false);
    const bucket = `published-${number}`;
    await makeBucket(server, bucket);
    await inRust({ client: "object_store", op: "published", test, endpoint: server.url, access_key: ACCESS_KEY, secret: SECRET, bucket });
  };
}

/** Two days of 1,000 operations, so that they can be lived at the same time. */
for (const seed of ["1", "2"]) {
  cases[`1,000 operations are answered as moto answers them, seed ${seed}`] = async () => {
    const server = await started(false);
    await run(PYTHON, ["second.py", server.url, ACCESS_KEY, SECRET, seed, "1000"], { cwd: READERS });
  };
}

export { cases as default, last };
export const lanes = 2;
