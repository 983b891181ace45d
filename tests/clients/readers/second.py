"""A second opinion: the same operations, drawn by dice, on Pillarbox and on moto, and the same answers from both.

`second.py ENDPOINT ACCESS_KEY SECRET SEED COUNT` prints how often it did what; it ends with 1 and the operation when the two differ.
Where moto is known to be wrong, it is not asked: see `known`.
"""

import logging
import random
import sys
from collections import Counter

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

BUCKET = "second-opinion"
PIECES = ["a", "b", "c/", "/d", "e f", "é", "u\u0308", "😀", "\u202eg", "&<", "?x=1", "#", "/"]


def client(endpoint, key, secret):
    config = Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"})
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=config,
    )


# What of an answer both must agree on.
TELLS = {
    "put_object": ["ETag"],
    "get_object": ["Body", "ETag", "ContentType", "ContentLength", "ContentRange", "Metadata"],
    "head_object": ["ETag", "ContentType", "ContentLength", "Metadata"],
    "delete_object": [],
    "delete_objects": ["Deleted", "Errors"],
    "copy_object": ["CopyObjectResult"],
    "list_objects": ["Contents", "CommonPrefixes", "IsTruncated", "Delimiter"],
    "list_objects_v2": ["Contents", "CommonPrefixes", "IsTruncated", "KeyCount", "Prefix", "Delimiter"],
}


def said(one, name):
    value = one.get(name)
    if name == "Body":
        return value.read()
    if name == "Contents":
        return [(line["Key"], line["ETag"], line["Size"]) for line in value or []]
    if name == "CopyObjectResult":
        return value["ETag"]
    if name == "Deleted":
        return sorted(line["Key"] for line in value or [])
    return value or None


def told(s3, op, asked):
    try:
        answer = getattr(s3, op)(**asked)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return status, error.response["Error"]["Code"]
    return [(name, said(answer, name)) for name in TELLS[op]]


class Day:
    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.there = {}
        names = {"".join(self.dice.choices(PIECES, k=self.dice.randint(1, 4))) for _ in range(60)}
        # To moto, `//` and a slash at either end are another key.
        self.keys = sorted(name for name in names if not self.known(name))

    @staticmethod
    def known(name):
        return "//" in name or name.startswith("/") or name.endswith("/")

    def key(self):
        there = sorted(self.there)
        return self.dice.choice(there) if there and self.dice.random() < 0.6 else self.dice.choice(self.keys)

    def described(self):
        kind = self.dice.choice(["text/plain", "video/mp4"])
        return {"ContentType": kind, "Metadata": {"colour": self.dice.choice(["red", "blue"])}}

    def draw(self):
        key = self.key()
        op = self.dice.choices(list(TELLS), [30, 20, 8, 10, 4, 10, 9, 9])[0]
        return op, {"Bucket": BUCKET, **getattr(self, op)(key)}

    def put_object(self, key):
        body = self.dice.randbytes(self.dice.choice([0, 1, 30, 3000]))
        self.there[key] = len(body)
        return {"Key": key, "Body": body, **self.described()}

    def get_object(self, key):
        size = self.there.get(key, 0)
        if size and self.dice.random() < 0.3:
            first = self.dice.randrange(size)
            return {"Key": key, "Range": f"bytes={first}-{self.dice.randrange(first, size)}"}
        if self.dice.random() < 0.2:
            return {"Key": key, "IfMatch": '"0"'}
        return {"Key": key}

    def head_object(self, key):
        return {"Key": key}

    def delete_object(self, key):
        self.there.pop(key, None)
        return {"Key": key}

    def delete_objects(self, key):
        keys = sorted({key, self.key(), self.key()})
        for one in keys:
            self.there.pop(one, None)
        return {"Delete": {"Objects": [{"Key": one} for one in keys]}}

    def copy_object(self, key):
        source = self.key()
        asked = {"Key": key, "CopySource": {"Bucket": BUCKET, "Key": source}}
        if self.dice.random() < 0.5:
            asked |= {"MetadataDirective": "REPLACE", **self.described()}
        if source in self.there and (source != key or "Metadata" in asked):
            self.there[key] = self.there[source]
        return asked

    def list_objects_v2(self, key):
        asked = {"Prefix": key[: self.dice.randint(0, 3)], "MaxKeys": self.dice.choice([1, 3, 7, 1000])}
        if self.dice.random() < 0.6:
            asked["Delimiter"] = self.dice.choice(["/", "/", "a"])
        return asked

    def list_objects(self, key):
        asked = self.list_objects_v2(key)
        # There moto does not count groups.
        if "Delimiter" in asked:
            asked["MaxKeys"] = 1000
        return asked


def main():
    endpoint, access_key, secret, seed, count = sys.argv[1:]
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    ours, theirs = client(endpoint, access_key, secret), client(f"http://{host}:{port}", access_key, secret)
    for s3 in (ours, theirs):
        s3.create_bucket(Bucket=BUCKET)
    day, done = Day(int(seed)), Counter()
    for number in range(int(count)):
        op, asked = day.draw()
        mine, other = told(ours, op, asked), told(theirs, op, asked)
        if mine != other:
            sys.exit(f"seed {seed}, operation {number}: {op} {asked}\nPillarbox: {mine}\nmoto:      {other}")
        done[op] += 1
    print(dict(done))
    moto.stop()


main()
