// Forms for plain S3 targets, signed by the AWS SDK with the keys of `pillarbox dev`.

import { createHmac } from "node:crypto";

import { S3Client } from "@aws-sdk/client-s3";
import { createPresignedPost } from "@aws-sdk/s3-presigned-post";

export const ACCESS_KEY = "PILLARBOXDEVACCESS00";
export const SECRET = "pillarbox-dev-secret";
export const BUCKET = "uploads";

/** A form `{url, fields}` for a key, or for all keys of a prefix when it ends in `${filename}`. */
export async function awsForm({ endpoint, key, fields = {}, conditions = [], range, virtual = false, seconds = 600, secret = SECRET }) {
  const client = new S3Client({
    endpoint,
    region: "us-east-1",
    forcePathStyle: !virtual,
    credentials: { accessKeyId: ACCESS_KEY, secretAccessKey: secret },
  });
  const all = [...conditions, ...(range ? [["content-length-range", ...range]] : [])];
  return createPresignedPost(client, { Bucket: BUCKET, Key: key, Fields: fields, Conditions: all, Expires: seconds });
}

const hmac = (hash, key, text) => createHmac(hash, key).update(text);

/** Signs a policy that a client wrote, as FineUploader asks its server to. */
export function signPolicy(version, document, secret = SECRET) {
  const policy = Buffer.from(document).toString("base64");
  if (version === "2") return { policy, signature: hmac("sha1", secret, policy).digest("base64") };
  const credential = JSON.parse(document).conditions.find((one) => one["x-amz-credential"])["x-amz-credential"];
  const [, ...scope] = credential.split("/");
  const key = scope.reduce((made, part) => hmac("sha256", made, part).digest(), `AWS4${secret}`);
  return { policy, signature: hmac("sha256", key, policy).digest("hex") };
}
