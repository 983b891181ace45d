// An ordinary day of the AWS SDK for JavaScript (its client, its `Upload`, its presigner) and of minio-js, each as its own manual shows.
//
// A job is what tasks.mjs says; what a client throws becomes a `Refused`.

import fs from "node:fs";
import fsp from "node:fs/promises";
import https from "node:https";
import { pipeline } from "node:stream/promises";

import * as aws from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import * as minio from "minio";

import { check } from "../lib.mjs";
import { Refused } from "./worker.mjs";

const REGION = "us-east-1";
const unquoted = (etag) => etag.replaceAll('"', "");

/** Both ask anew with other credentials or another server. */
const cached = new Map();
function once(name, job, make) {
  const at = [name, job.endpoint, job.secret].join(" ");
  if (!cached.has(at)) cached.set(at, make());
  return cached.get(at);
}

const agent = (job) => new https.Agent({ ca: fs.readFileSync(job.ca), keepAlive: true });

const sdk = (job) =>
  once("sdk", job, () => {
    const credentials = { accessKeyId: job.access_key, secretAccessKey: job.secret };
    const trust = job.ca && { requestHandler: { httpsAgent: agent(job) } };
    return new aws.S3Client({ endpoint: job.endpoint, region: REGION, forcePathStyle: true, credentials, ...trust });
  });

const target = (job) => ({ Bucket: job.bucket, Key: job.key });
const extra = (job) => ({ ContentType: job.type, CacheControl: job.cache, Metadata: job.meta });
const source = (job) => `${job.bucket}/${job.from.split("/").map(encodeURIComponent).join("/")}`;

const AWS = {
  async make_bucket(job) {
    await sdk(job).send(new aws.CreateBucketCommand({ Bucket: job.bucket }));
    await sdk(job).send(new aws.HeadBucketCommand({ Bucket: job.bucket }));
  },

  remove_bucket: (job) => sdk(job).send(new aws.DeleteBucketCommand({ Bucket: job.bucket })),

  async buckets(job) {
    const { Buckets } = await sdk(job).send(new aws.ListBucketsCommand({}));
    return { buckets: Buckets.map((one) => one.Name) };
  },

  // What is known whole goes with its checksum in a header, a stream with one in its trailer.
  async put(job) {
    const Body = job.stream ? fs.createReadStream(job.file) : await fsp.readFile(job.file);
    const { size } = await fsp.stat(job.file);
    await sdk(job).send(new aws.PutObjectCommand({ ...target(job), ...extra(job), Body, ContentLength: size }));
  },

  put_parts: (job) => new Upload({ client: sdk(job), partSize: job.part, params: { ...target(job), Body: fs.createReadStream(job.file) } }).done(),

  async get(job) {
    const { Body } = await sdk(job).send(new aws.GetObjectCommand(target(job)));
    await pipeline(Body, fs.createWriteStream(job.file));
  },

  async range(job) {
    const { Body } = await sdk(job).send(new aws.GetObjectCommand({ ...target(job), Range: `bytes=${job.first}-${job.last}` }));
    await pipeline(Body, fs.createWriteStream(job.file));
  },

  async head(job) {
    const told = await sdk(job).send(new aws.HeadObjectCommand(target(job)));
    return { size: told.ContentLength, etag: unquoted(told.ETag), type: told.ContentType, cache: told.CacheControl, meta: told.Metadata };
  },

  async list(job) {
    const asked = { Bucket: job.bucket, Prefix: job.prefix, Delimiter: job.delimiter || undefined, MaxKeys: job.page };
    const found = { keys: [], prefixes: [] };
    const keep = (page) => {
      found.keys.push(...(page.Contents ?? []).map((one) => one.Key));
      found.prefixes.push(...(page.CommonPrefixes ?? []).map((one) => one.Prefix));
    };
    if (job.version === 2) {
      for await (const page of aws.paginateListObjectsV2({ client: sdk(job) }, asked)) keep(page);
      return found;
    }
    for (let page = {}, Marker; page; page = page.IsTruncated && page) {
      page = await sdk(job).send(new aws.ListObjectsCommand({ ...asked, Marker }));
      Marker = page.NextMarker ?? page.Contents?.at(-1)?.Key;
      keep(page);
    }
    return found;
  },

  remove: (job) => sdk(job).send(new aws.DeleteObjectCommand(target(job))),

  async remove_many(job) {
    const Delete = { Objects: job.keys.map((Key) => ({ Key })), Quiet: true };
    const { Errors = [] } = await sdk(job).send(new aws.DeleteObjectsCommand({ Bucket: job.bucket, Delete }));
    check(Errors.length === 0, `not removed: ${JSON.stringify(Errors)}`);
  },

  async copy(job) {
    if (job.part) return copyParts(job);
    const replaced = job.meta && { ...extra(job), MetadataDirective: "REPLACE" };
    await sdk(job).send(new aws.CopyObjectCommand({ ...target(job), CopySource: source(job), ...replaced }));
  },

  async presign(job) {
    const Command = job.method === "PUT" ? aws.PutObjectCommand : aws.GetObjectCommand;
    return { url: await getSignedUrl(sdk(job), new Command(target(job)), { expiresIn: job.seconds }) };
  },
};

async function copyParts(job) {
  const { UploadId } = await sdk(job).send(new aws.CreateMultipartUploadCommand(target(job)));
  const Parts = [];
  for (let at = 0; at < job.size; at += job.part) {
    const CopySourceRange = `bytes=${at}-${Math.min(at + job.part, job.size) - 1}`;
    const part = { ...target(job), UploadId, PartNumber: Parts.length + 1, CopySource: source(job), CopySourceRange };
    const { CopyPartResult } = await sdk(job).send(new aws.UploadPartCopyCommand(part));
    Parts.push({ ETag: CopyPartResult.ETag, PartNumber: part.PartNumber });
  }
  await sdk(job).send(new aws.CompleteMultipartUploadCommand({ ...target(job), UploadId, MultipartUpload: { Parts } }));
}

const box = (job) =>
  once(`minio ${job.part ?? ""}`, job, () => {
    const { hostname, port, protocol } = new URL(job.endpoint);
    const size = job.part && { partSize: job.part };
    return new minio.Client({ endPoint: hostname, port: Number(port), useSSL: protocol === "https:", accessKey: job.access_key, secretKey: job.secret, ...size });
  });

async function entries(stream) {
  const found = { keys: [], prefixes: [] };
  for await (const one of stream) {
    if (one.prefix) found.prefixes.push(one.prefix);
    else found.keys.push(one.name);
  }
  return found;
}

const MINIO = {
  async make_bucket(job) {
    await box(job).makeBucket(job.bucket);
    check(await box(job).bucketExists(job.bucket), "the bucket is not there");
  },
  remove_bucket: (job) => box(job).removeBucket(job.bucket),
  buckets: async (job) => ({ buckets: (await box(job).listBuckets()).map((one) => one.name) }),

  put(job) {
    const named = { "Content-Type": job.type, "Cache-Control": job.cache, ...job.meta };
    const given = Object.entries(named).filter(([, value]) => value !== undefined);
    return box(job).fPutObject(job.bucket, job.key, job.file, Object.fromEntries(given));
  },

  put_parts: (job) => box(job).fPutObject(job.bucket, job.key, job.file),
  get: (job) => box(job).fGetObject(job.bucket, job.key, job.file),

  async range(job) {
    const stream = await box(job).getPartialObject(job.bucket, job.key, job.first, job.last - job.first + 1);
    await pipeline(stream, fs.createWriteStream(job.file));
  },

  async head(job) {
    const { size, etag, metaData } = await box(job).statObject(job.bucket, job.key);
    const { "content-type": type, "cache-control": cache, ...meta } = metaData;
    return { size, etag, type, cache, meta };
  },

  list(job) {
    const whole = !job.delimiter;
    const client = box(job);
    return entries(job.version === 2 ? client.listObjectsV2(job.bucket, job.prefix, whole) : client.listObjects(job.bucket, job.prefix, whole));
  },

  remove: (job) => box(job).removeObject(job.bucket, job.key),
  remove_many: (job) => box(job).removeObjects(job.bucket, job.keys),

  async copy(job) {
    const from = new minio.CopySourceOptions({ Bucket: job.bucket, Object: job.from });
    const replaced = job.meta && { UserMetadata: job.meta, MetadataDirective: "REPLACE" };
    await box(job).copyObject(from, new minio.CopyDestinationOptions({ Bucket: job.bucket, Object: job.key, ...replaced }));
  },

  async presign(job) {
    const signed = job.method === "PUT" ? "presignedPutObject" : "presignedGetObject";
    return { url: await box(job)[signed](job.bucket, job.key, job.seconds) };
  },
};

/** What the client said: the status when it tells it, and the code. */
function refused(error) {
  const told = [error.$metadata?.httpStatusCode, error.code ?? error.name].filter(Boolean).join(" ");
  return new Refused(told, error.stack ?? String(error));
}

const playing = (ops) => async (job) => {
  try {
    return (await ops[job.op](job)) ?? {};
  } catch (error) {
    throw refused(error);
  }
};

export const inAws = playing(AWS);
export const inMinio = playing(MINIO);
