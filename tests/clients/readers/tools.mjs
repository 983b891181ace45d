// An ordinary day of three programs of the command line, each as its own manual shows: aws (PyPI's), s3cmd and rclone (Debian's).
//
// A job is what tasks.mjs says; what a program says on its standard error when it fails becomes a `Refused`.

import fs from "node:fs";
import path from "node:path";

import { run, temporary } from "../lib.mjs";
import { PYTHON } from "./python.mjs";
import { Refused } from "./worker.mjs";

const MIB = 1 << 20;
let made = 0;

/** A file of this text that nobody has yet. */
function written(text) {
  made += 1;
  const file = path.join(temporary, `given-${made}`);
  fs.writeFileSync(file, text);
  return file;
}

const uri = (job, key = job.key) => `s3://${job.bucket}/${key}`;
const headers = (job) => [...(job.cache ? [`Cache-Control: ${job.cache}`] : []), ...Object.entries(job.meta ?? {}).map(([name, value]) => `x-amz-meta-${name}: ${value}`)];

/** Runs the program; what it printed. `told` finds in its errors what a table shows. */
async function ran(program, args, env, told) {
  const { code, out, err } = await run(program, args, { anyCode: true, env: { PATH: process.env.PATH, HOME: temporary, LC_ALL: "C.UTF-8", ...env } });
  if (code === 0) return out;
  throw new Refused(told(err) ?? `exit code ${code}`, `${args.join(" ").slice(0, 300)}: ${err.slice(-2000)}`);
}

function aws(job, ...args) {
  const env = { AWS_ACCESS_KEY_ID: job.access_key, AWS_SECRET_ACCESS_KEY: job.secret, AWS_DEFAULT_REGION: "us-east-1", AWS_EC2_METADATA_DISABLED: "true" };
  if (job.ca) env.AWS_CA_BUNDLE = job.ca;
  return ran(path.join(path.dirname(PYTHON), "aws"), ["--endpoint-url", job.endpoint, "--output", "json", ...args], env, (err) => {
    return err.match(/An error occurred \((\S+)\) when calling the \w+ operation: /)?.[1];
  });
}

const awsExtra = (job) => [
  ...(job.type ? ["--content-type", job.type] : []),
  ...(job.cache ? ["--cache-control", job.cache] : []),
  ...(job.meta ? ["--metadata", JSON.stringify(job.meta)] : []),
];
const awsTarget = (job) => ["--bucket", job.bucket, "--key", job.key];

const AWS = {
  async make_bucket(job) {
    await aws(job, "s3", "mb", `s3://${job.bucket}`);
    await aws(job, "s3api", "head-bucket", "--bucket", job.bucket);
  },
  remove_bucket: (job) => aws(job, "s3", "rb", `s3://${job.bucket}`),
  buckets: async (job) => ({ buckets: (await aws(job, "s3", "ls")).trim().split("\n").map((line) => line.split(" ").at(-1)) }),

  // To `s3 cp`, a slash at the end is a folder to copy into.
  async put(job) {
    if (job.key.endsWith("/")) await aws(job, "s3api", "put-object", ...awsTarget(job), "--body", job.file);
    else await aws(job, "s3", "cp", "--no-progress", ...awsExtra(job), job.file, uri(job));
  },
  async get(job) {
    if (job.key.endsWith("/")) await aws(job, "s3api", "get-object", ...awsTarget(job), job.file);
    else await aws(job, "s3", "cp", "--no-progress", uri(job), job.file);
  },
  put_parts: (job) => aws(job, "s3", "cp", "--no-progress", job.file, uri(job)),
  range: (job) => aws(job, "s3api", "get-object", ...awsTarget(job), "--range", `bytes=${job.first}-${job.last}`, job.file),

  async head(job) {
    const told = JSON.parse(await aws(job, "s3api", "head-object", ...awsTarget(job)));
    return { size: told.ContentLength, etag: told.ETag.replaceAll('"', ""), type: told.ContentType, cache: told.CacheControl, meta: told.Metadata };
  },

  async list(job) {
    const asked = ["--bucket", job.bucket, "--prefix", job.prefix, "--page-size", String(job.page)];
    if (job.delimiter) asked.push("--delimiter", job.delimiter);
    const told = JSON.parse((await aws(job, "s3api", job.version === 2 ? "list-objects-v2" : "list-objects", ...asked)) || "{}");
    return { keys: (told.Contents ?? []).map((one) => one.Key), prefixes: (told.CommonPrefixes ?? []).map((one) => one.Prefix) };
  },

  remove: (job) => aws(job, "s3api", "delete-object", ...awsTarget(job)),
  async remove_many(job) {
    const list = { Objects: job.keys.map((Key) => ({ Key })) };
    await aws(job, "s3api", "delete-objects", "--bucket", job.bucket, "--delete", `file://${written(JSON.stringify(list))}`);
  },

  async copy(job) {
    const replaced = job.meta ? ["--metadata-directive", "REPLACE"] : [];
    await aws(job, "s3", "cp", "--no-progress", ...replaced, ...awsExtra(job), uri(job, job.from), uri(job));
  },
  presign: async (job) => ({ url: (await aws(job, "s3", "presign", "--expires-in", String(job.seconds), uri(job))).trim() }),
  sync_up: (job) => aws(job, "s3", "sync", "--no-progress", "--delete", job.folder, uri(job, job.prefix)),
  sync_down: (job) => aws(job, "s3", "sync", "--no-progress", "--delete", uri(job, job.prefix), job.folder),
};

function s3cmd(job, ...args) {
  const host = new URL(job.endpoint).host;
  const config = written(`[default]
access_key = ${job.access_key}
secret_key = ${job.secret}
host_base = ${host}
host_bucket = ${host}
use_https = False
multipart_copy_chunk_size_mb = 5
`);
  return ran("s3cmd", ["--config", config, "--no-progress", ...args], {}, (err) => {
    const [, status, code] = err.match(/S3 error: (\d+) \((\w+)\)/) ?? [];
    return status ? `${status} ${code}` : err.match(/Source object '.*' (does not exist)/)?.[1];
  });
}

const S3CMD = {
  make_bucket: (job) => s3cmd(job, "mb", `s3://${job.bucket}`),
  remove_bucket: (job) => s3cmd(job, "rb", `s3://${job.bucket}`),
  buckets: async (job) => ({ buckets: [...(await s3cmd(job, "ls")).matchAll(/s3:\/\/(\S+)/g)].map(([, name]) => name) }),

  put(job) {
    const extra = headers(job).flatMap((line) => ["--add-header", line]);
    return s3cmd(job, "put", ...(job.type ? ["--mime-type", job.type] : []), ...extra, job.file, uri(job));
  },
  put_parts: (job) => s3cmd(job, "put", "--multipart-chunk-size-mb", String(job.part / MIB), job.file, uri(job)),
  get: (job) => s3cmd(job, "get", "--force", uri(job), job.file),

  // It asks for a range when it goes on with a download that was cut.
  async range(job) {
    fs.writeFileSync(job.file, Buffer.alloc(job.first));
    await s3cmd(job, "get", "--continue", uri(job), job.file);
    fs.writeFileSync(job.file, fs.readFileSync(job.file).subarray(job.first, job.last + 1));
  },

  async head(job) {
    const told = await s3cmd(job, "info", uri(job));
    const line = (name) => told.match(new RegExp(`^ +${name}: +(.*)$`, "m"))?.[1];
    const meta = Object.fromEntries([...told.matchAll(/^ +x-amz-meta-(\S+): +(.*)$/gm)].map(([, name, value]) => [name, value]));
    return { size: Number(line("File size")), etag: line("MD5 sum"), type: line("MIME type"), meta };
  },

  async list(job) {
    const told = await s3cmd(job, "ls", ...(job.delimiter ? [] : ["--recursive"]), uri(job, job.prefix));
    const named = (kind) => [...told.matchAll(new RegExp(`^ *(\\S.*\\S)  +s3://${job.bucket}/(.*)$`, "gm"))].filter(([, at]) => (at === "DIR") === kind);
    return { keys: named(false).map(([, , key]) => key), prefixes: named(true).map(([, , key]) => key) };
  },

  remove: (job) => s3cmd(job, "del", uri(job)),
  remove_many: (job) => s3cmd(job, "del", "--recursive", "--force", uri(job, job.prefix)),
  copy: (job) => s3cmd(job, "cp", ...headers(job).flatMap((line) => ["--add-header", line]), uri(job, job.from), uri(job)),
  presign: async (job) => ({ url: (await s3cmd(job, "signurl", uri(job), `+${job.seconds}`)).trim() }),
  sync_up: (job) => s3cmd(job, "sync", "--delete-removed", `${job.folder}/`, uri(job, job.prefix)),
  sync_down: (job) => s3cmd(job, "sync", "--delete-removed", uri(job, job.prefix), `${job.folder}/`),
};

const rcloneFailed = (err) => {
  const [, code, status] = err.match(/(\w+): [^:\n]*\n?\s*status code: (\d+)/) ?? [];
  return status && `${status} ${code}`;
};

function rcloneEnv(job) {
  const remote = { TYPE: "s3", PROVIDER: "Other", ACCESS_KEY_ID: job.access_key, SECRET_ACCESS_KEY: job.secret, ENDPOINT: job.endpoint, REGION: "us-east-1" };
  // What fails is to be seen, and not tried thrice.
  const env = { RCLONE_CONFIG: "", RCLONE_RETRIES: "1", RCLONE_LOW_LEVEL_RETRIES: "1" };
  for (const [name, value] of Object.entries(remote)) env[`RCLONE_CONFIG_BOX_${name}`] = value;
  return env;
}

const rclone = (job, ...args) => ran("rclone", args, rcloneEnv(job), rcloneFailed);

const box = (job, key = job.key) => `box:${job.bucket}/${key}`;

const RCLONE = {
  make_bucket: (job) => rclone(job, "mkdir", `box:${job.bucket}`),
  remove_bucket: (job) => rclone(job, "rmdir", `box:${job.bucket}`),
  buckets: async (job) => ({ buckets: (await rclone(job, "lsf", "box:")).trim().split("\n").map((line) => line.replace(/\/$/, "")) }),

  put(job) {
    const told = { ...(job.type && { "content-type": job.type }), ...(job.cache && { "cache-control": job.cache }), ...job.meta };
    const extra = Object.entries(told).flatMap(([name, value]) => ["--metadata-set", `${name}=${value}`]);
    return rclone(job, "copyto", ...(extra.length ? ["--metadata", ...extra] : []), job.file, box(job));
  },
  put_parts: (job) => rclone(job, "copyto", "--s3-upload-cutoff", `${job.part / MIB}M`, "--s3-chunk-size", `${job.part / MIB}M`, job.file, box(job)),
  // To it, what is not there is an empty folder.
  async get(job) {
    await rclone(job, "copyto", box(job), job.file);
    if (!fs.existsSync(job.file)) throw new Refused("copies nothing", job.key);
  },

  // The bytes are not text.
  async range(job) {
    const cat = 'exec rclone cat --offset "$1" --count "$2" "$3" >"$4"';
    const args = ["-c", cat, "sh", String(job.first), String(job.last - job.first + 1), box(job), job.file];
    await ran("sh", args, rcloneEnv(job), rcloneFailed);
  },

  async head(job) {
    const told = JSON.parse(await rclone(job, "lsjson", "--stat", "--metadata", "--hash", box(job)));
    const { "content-type": _, "cache-control": cache, ...meta } = told.Metadata;
    return { size: told.Size, etag: told.Hashes?.md5, type: told.MimeType, cache, meta };
  },

  async list(job) {
    const asked = ["--s3-list-version", String(job.version), "--s3-list-chunk", String(job.page)];
    const told = await rclone(job, "lsf", ...asked, ...(job.delimiter ? [] : ["--recursive", "--files-only"]), box(job, job.prefix));
    const names = told.split("\n").filter(Boolean).map((name) => job.prefix + name);
    return { keys: names.filter((name) => !name.endsWith("/")), prefixes: names.filter((name) => name.endsWith("/")) };
  },

  remove: (job) => rclone(job, "deletefile", box(job)),
  remove_many: (job) => rclone(job, "delete", box(job, job.prefix)),
  copy: (job) => rclone(job, "copyto", ...(job.part ? ["--s3-copy-cutoff", `${job.part / MIB}M`] : []), box(job, job.from), box(job)),
  presign: async (job) => ({ url: (await rclone(job, "link", "--expire", `${job.seconds}s`, box(job))).trim() }),
  async sync_up(job) {
    await rclone(job, "sync", job.folder, box(job, job.prefix));
    await rclone(job, "check", job.folder, box(job, job.prefix));
  },
  sync_down: (job) => rclone(job, "sync", box(job, job.prefix), job.folder),
};

const playing = (ops) => async (job) => {
  const told = await ops[job.op](job);
  return typeof told === "object" ? told : {};
};

export const inAwsCli = playing(AWS);
export const inS3cmd = playing(S3CMD);
export const inRclone = playing(RCLONE);
