"""An ordinary day of boto3 (with and without awscrt) and minio-py, each as its own manual shows.

Reads one job a line from standard input, as JSON, and answers each with one line: what was told, or how the client was refused.
suites/readers.mjs starts it and tasks.mjs says what a job holds. With the argument `without-awscrt`, that library is as if it were not
installed; else boto3 signs and sums with it, and files go through its own transfer manager.
"""

import json
import sys
from datetime import timedelta
from functools import cache

if "without-awscrt" in sys.argv:
    sys.modules["awscrt"] = None

import boto3
import certifi
import minio
import urllib3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from minio.commonconfig import REPLACE, ComposeSource, CopySource
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

REGION = "us-east-1"


class Boto3:
    def __init__(self, endpoint, key, secret, ca):
        self.session = boto3.Session(key, secret, region_name=REGION)
        self.endpoint, self.ca = endpoint, ca
        self.s3 = self.client()

    def client(self, **options):
        return self.session.client("s3", endpoint_url=self.endpoint, verify=self.ca, **options)

    def make_bucket(self, job):
        self.s3.create_bucket(Bucket=job["bucket"])
        self.s3.head_bucket(Bucket=job["bucket"])

    def remove_bucket(self, job):
        self.s3.delete_bucket(Bucket=job["bucket"])

    def buckets(self, _job):
        return {"buckets": [one["Name"] for one in self.s3.list_buckets()["Buckets"]]}

    def put(self, job):
        self.s3.upload_file(job["file"], job["bucket"], job["key"], ExtraArgs=self.extra(job))

    def extra(self, job):
        names = {"type": "ContentType", "cache": "CacheControl", "meta": "Metadata"}
        return {word: job[name] for name, word in names.items() if name in job}

    def put_parts(self, job):
        config = TransferConfig(multipart_threshold=job["part"], multipart_chunksize=job["part"])
        self.s3.upload_file(job["file"], job["bucket"], job["key"], Config=config)

    def get(self, job):
        self.s3.download_file(job["bucket"], job["key"], job["file"])

    def range(self, job):
        answer = self.s3.get_object(Bucket=job["bucket"], Key=job["key"], Range=f"bytes={job['first']}-{job['last']}")
        with open(job["file"], "wb") as file:
            file.write(answer["Body"].read())

    def head(self, job):
        told = self.s3.head_object(Bucket=job["bucket"], Key=job["key"])
        return {
            "size": told["ContentLength"],
            "etag": told["ETag"].strip('"'),
            "type": told["ContentType"],
            "cache": told.get("CacheControl"),
            "meta": told["Metadata"],
        }

    def list(self, job):
        pages = self.s3.get_paginator("list_objects_v2" if job["version"] == 2 else "list_objects")
        asked = {"Bucket": job["bucket"], "Prefix": job["prefix"], "Delimiter": job["delimiter"]}
        keys, prefixes = [], []
        for page in pages.paginate(**asked, PaginationConfig={"PageSize": job["page"]}):
            keys += [one["Key"] for one in page.get("Contents", [])]
            prefixes += [one["Prefix"] for one in page.get("CommonPrefixes", [])]
        return {"keys": keys, "prefixes": prefixes}

    def remove(self, job):
        self.s3.delete_object(Bucket=job["bucket"], Key=job["key"])

    def remove_many(self, job):
        objects = [{"Key": key} for key in job["keys"]]
        told = self.s3.delete_objects(Bucket=job["bucket"], Delete={"Objects": objects})
        if told.get("Errors") or len(told["Deleted"]) != len(objects):
            raise ValueError(f"not removed: {told}")

    def copy(self, job):
        source = {"Bucket": job["bucket"], "Key": job["from"]}
        extra = {**self.extra(job), "MetadataDirective": "REPLACE"} if "meta" in job else {}
        # A threshold says when a copy is made in parts.
        parts = {"multipart_threshold": job["part"], "multipart_chunksize": job["part"]} if "part" in job else {}
        self.s3.copy(source, job["bucket"], job["key"], ExtraArgs=extra, Config=TransferConfig(**parts))

    def presign(self, job):
        s3 = self.client(config=Config(signature_version="s3v4")) if job["version"] == "V4" else self.s3
        what = "put_object" if job["method"] == "PUT" else "get_object"
        asked = {"Bucket": job["bucket"], "Key": job["key"]}
        return {"url": s3.generate_presigned_url(what, Params=asked, ExpiresIn=job["seconds"])}


class WithAwscrt(Boto3):
    """boto3 with awscrt installed: the same client, and the transfer manager of the CRT for what is a file."""

    def __init__(self, *given):
        super().__init__(*given)
        from botocore.session import Session
        from s3transfer import crt

        _, key, secret, _ = given
        session = Session()
        session.set_credentials(key, secret)
        credentials = crt.BotocoreCRTCredentialsWrapper(session.get_credentials()).to_crt_credentials_provider()
        tls = self.endpoint.startswith("https:")
        client = crt.create_s3_crt_client(REGION, credentials, use_ssl=tls, verify=self.ca)
        serializer = crt.BotocoreCRTRequestSerializer(session, {"region_name": REGION, "endpoint_url": self.endpoint})
        # What it leaves behind `with` is done; a future alone may be early.
        self.transfers = lambda: crt.CRTTransferManager(client, serializer)

    def put(self, job):
        with self.transfers() as transfers:
            transfers.upload(job["file"], job["bucket"], job["key"], self.extra(job)).result()

    # The CRT decides itself on the size of parts: 8 MiB.
    put_parts = put

    def get(self, job):
        with self.transfers() as transfers:
            transfers.download(job["bucket"], job["key"], job["file"]).result()


class Minio:
    def __init__(self, endpoint, key, secret, ca):
        http = urllib3.PoolManager(cert_reqs="CERT_REQUIRED", ca_certs=ca or certifi.where(), timeout=60)
        scheme, host = endpoint.split("://")
        self.s3 = minio.Minio(host, key, secret, secure=scheme == "https", region=REGION, http_client=http)

    def make_bucket(self, job):
        self.s3.make_bucket(job["bucket"])
        if not self.s3.bucket_exists(job["bucket"]):
            raise ValueError("the bucket is not there")

    def remove_bucket(self, job):
        self.s3.remove_bucket(job["bucket"])

    def buckets(self, _job):
        return {"buckets": [one.name for one in self.s3.list_buckets()]}

    def put(self, job):
        self.s3.fput_object(job["bucket"], job["key"], job["file"], **self.extra(job))

    def extra(self, job):
        told = {"content_type": job["type"]} if "type" in job else {}
        if "meta" in job:
            told["metadata"] = {**job["meta"], **({"Cache-Control": job["cache"]} if "cache" in job else {})}
        return told

    def put_parts(self, job):
        self.s3.fput_object(job["bucket"], job["key"], job["file"], part_size=job["part"])

    def get(self, job):
        self.s3.fget_object(job["bucket"], job["key"], job["file"])

    def range(self, job):
        answer = self.s3.get_object(job["bucket"], job["key"], job["first"], job["last"] - job["first"] + 1)
        with open(job["file"], "wb") as file:
            file.write(answer.read())
        answer.close()
        answer.release_conn()

    def head(self, job):
        told = self.s3.stat_object(job["bucket"], job["key"])
        prefix = "x-amz-meta-"
        meta = {n.lower().removeprefix(prefix): v for n, v in told.metadata.items() if n.lower().startswith(prefix)}
        cache = told.metadata.get("cache-control")
        return {"size": told.size, "etag": told.etag, "type": told.content_type, "cache": cache, "meta": meta}

    def list(self, job):
        first = {"use_api_v1": job["version"] == 1}
        found = list(self.s3.list_objects(job["bucket"], job["prefix"], recursive=not job["delimiter"], **first))
        keys = [one.object_name for one in found if not one.is_dir]
        return {"keys": keys, "prefixes": [one.object_name for one in found if one.is_dir]}

    def remove(self, job):
        self.s3.remove_object(job["bucket"], job["key"])

    def remove_many(self, job):
        errors = list(self.s3.remove_objects(job["bucket"], [DeleteObject(key) for key in job["keys"]]))
        if errors:
            raise ValueError(f"not removed: {errors}")

    def copy(self, job):
        if "part" in job:
            sources = [
                ComposeSource(job["bucket"], job["from"], offset=at, length=min(job["part"], job["size"] - at))
                for at in range(0, job["size"], job["part"])
            ]
            self.s3.compose_object(job["bucket"], job["key"], sources)
            return
        extra = {"metadata": job["meta"], "metadata_directive": REPLACE} if "meta" in job else {}
        self.s3.copy_object(job["bucket"], job["key"], CopySource(job["bucket"], job["from"]), **extra)

    def presign(self, job):
        lives = timedelta(seconds=job["seconds"])
        presigned = self.s3.presigned_put_object if job["method"] == "PUT" else self.s3.presigned_get_object
        return {"url": presigned(job["bucket"], job["key"], lives)}


CLIENTS = {"boto3": Boto3, "boto3 with awscrt": WithAwscrt, "minio-py": Minio}


@cache
def client(name, *given):
    return CLIENTS[name](*given)


def play(job):
    one = client(job["client"], job["endpoint"], job["access_key"], job["secret"], job["ca"])
    return getattr(one, job["op"])(job) or {}


def refused(error):
    if isinstance(error, ClientError):
        told = error.response
        status, code = told["ResponseMetadata"]["HTTPStatusCode"], told["Error"]["Code"]
        return f"{status}" if code == str(status) else f"{status} {code}"
    if isinstance(error, S3Error):
        return f"{error.response.status} {error.code}"
    if isinstance(error, (ValueError, BotoCoreError)):
        return "its own refusal"
    return type(error).__name__


for line in sys.stdin:
    try:
        told = play(json.loads(line))
    except Exception as error:  # The suite shows it beside the case that it failed.
        told = {"refused": refused(error), "text": repr(error)}
    print(json.dumps(told), flush=True)
