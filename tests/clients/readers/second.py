"""A second opinion: the same operations, drawn by dice, on Pillarbox and on another server, and the same answers from both.

`second.py ENDPOINT ACCESS_KEY SECRET SEED COUNT [S3S_FS]` prints how often it did what; it ends with 1 and the operation when the two
differ. The other one is moto, or the program `s3s-fs` that the last argument names. Where it is known to do otherwise than Amazon, it is
not asked: see `Moto` and `S3sFs`.
"""

import hashlib
import logging
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

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
    "put_object_tagging": [],
    "get_object_tagging": ["TagSet"],
}


def said(one, name, without):
    value = one.get(name)
    if name == "Body":
        return value.read()
    if name == "Contents":
        return [[line[of] for of in ("Key", "ETag", "Size") if of not in without] for line in value or []]
    if name == "CopyObjectResult":
        return value["ETag"]
    if name == "TagSet":
        return sorted((tag["Key"], tag["Value"]) for tag in value)
    if name == "Deleted":
        return sorted(line["Key"] for line in value or [])
    return value or None


def told(s3, op, asked, without):
    try:
        answer = getattr(s3, op)(**asked)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return status, error.response["Error"]["Code"]
    return [(name, said(answer, name, without)) for name in TELLS[op]]


class Moto:
    """In this process. To it, `//` and a slash at either end are another key; it does not count groups in the first version of lists, and
    cannot take an empty set of tags.
    """

    title = "moto"
    counts_groups = False
    lists_without = ()

    def __init__(self, *_):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        self.url = "http://{}:{}".format(*self.server.get_host_and_port())

    def close(self):
        self.server.stop()

    @staticmethod
    def keys(names):
        return [name for name in names if "//" not in name and not name.startswith("/") and not name.endswith("/")]

    @staticmethod
    def is_wrong(op, asked):
        return False


class S3sFs(Moto):
    """The program of the crate of this name, on a folder of its own. What 0.14.1 does otherwise than Amazon:

    - a key is a path: 500 for `//`, for a slash first, and for a key that is the folder of another; with a slash last it is a folder;
    - a read whose If-Match does not fit is answered with the object;
    - a copy onto itself that changes nothing is made;
    - lists tell no ETag;
    - it has no tags.
    """

    title = "s3s-fs"
    counts_groups = True
    lists_without = ("ETag",)

    def __init__(self, program, key, secret):
        self.folder = tempfile.TemporaryDirectory(prefix="s3s-fs-")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [program, "--host", "127.0.0.1", "--port", str(port), "--access-key", key, "--secret-key", secret, self.folder.name]
        self.server, self.url = subprocess.Popen(command, stdout=subprocess.DEVNULL), f"http://127.0.0.1:{port}"
        for _ in range(100):
            try:
                return socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                time.sleep(0.05)
        sys.exit(f"{program} does not listen after 5 s")

    def close(self):
        self.server.kill()
        self.server.wait()
        self.folder.cleanup()

    @staticmethod
    def keys(names):
        names = Moto.keys(names)
        return [name for name in names if not any(other.startswith(name + "/") for other in names)]

    @staticmethod
    def is_wrong(op, asked):
        if op == "get_object":
            return "IfMatch" in asked or "IfNoneMatch" in asked
        if "tagging" in op:
            return True
        return op == "copy_object" and asked["CopySource"]["Key"] == asked["Key"] and "Metadata" not in asked


class Day:
    def __init__(self, seed, other):
        self.dice, self.other = random.Random(seed), other
        self.bucket = f"second-opinion-{seed}"
        # How long each object is, and what its bytes hash to.
        self.there = {}
        names = {"".join(self.dice.choices(PIECES, k=self.dice.randint(1, 4))) for _ in range(60)}
        self.keys = sorted(other.keys(names))

    def key(self):
        there = sorted(self.there)
        return self.dice.choice(there) if there and self.dice.random() < 0.6 else self.dice.choice(self.keys)

    def described(self):
        kind = self.dice.choice(["text/plain", "video/mp4"])
        return {"ContentType": kind, "Metadata": {"colour": self.dice.choice(["red", "blue"])}}

    def draw(self):
        key = self.key()
        op = self.dice.choices(list(TELLS), [30, 20, 8, 10, 4, 10, 9, 9, 5, 5])[0]
        asked = {"Bucket": self.bucket, **getattr(self, op)(key)}
        return self.draw() if self.other.is_wrong(op, asked) else (op, asked)

    def put_object(self, key):
        body = self.dice.randbytes(self.dice.choice([0, 1, 30, 3000]))
        self.there[key] = len(body), hashlib.md5(body).hexdigest()
        return {"Key": key, "Body": body, **self.described()}

    def get_object(self, key):
        size, md5 = self.there.get(key, (0, "0"))
        if size and self.dice.random() < 0.3:
            first = self.dice.randrange(size)
            return {"Key": key, "Range": f"bytes={first}-{self.dice.randrange(first, size)}"}
        if self.dice.random() < 0.2:
            return {"Key": key, "IfMatch": '"0"'}
        if self.dice.random() < 0.2:
            return {"Key": key, "IfNoneMatch": f'"{self.dice.choice([md5, "0"])}"'}
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
        asked = {"Key": key, "CopySource": {"Bucket": self.bucket, "Key": source}}
        if self.dice.random() < 0.5:
            asked |= {"MetadataDirective": "REPLACE", **self.described()}
        if source in self.there and (source != key or "Metadata" in asked):
            self.there[key] = self.there[source]
        return asked

    def put_object_tagging(self, key):
        tags = self.dice.sample(["a", "b", "c d"], self.dice.randint(1, 3))
        return {"Key": key, "Tagging": {"TagSet": [{"Key": tag, "Value": self.dice.choice(["", "x", "ü"])} for tag in tags]}}

    def get_object_tagging(self, key):
        return {"Key": key}

    def list_objects_v2(self, key):
        asked = {"Prefix": key[: self.dice.randint(0, 3)], "MaxKeys": self.dice.choice([1, 3, 7, 1000])}
        if self.dice.random() < 0.6:
            asked["Delimiter"] = self.dice.choice(["/", "/", "a"])
        return asked

    def list_objects(self, key):
        asked = self.list_objects_v2(key)
        if "Delimiter" in asked and not self.other.counts_groups:
            asked["MaxKeys"] = 1000
        return asked


def main():
    endpoint, access_key, secret, seed, count, *program = sys.argv[1:]
    other = S3sFs(*program, access_key, secret) if program else Moto()
    try:
        compare(client(endpoint, access_key, secret), client(other.url, access_key, secret), Day(int(seed), other), int(count))
    finally:
        other.close()


def compare(ours, theirs, day, count):
    for s3 in (ours, theirs):
        s3.create_bucket(Bucket=day.bucket)
    done = Counter()
    for number in range(count):
        op, asked = day.draw()
        without = day.other.lists_without
        mine, other = told(ours, op, asked, without), told(theirs, op, asked, without)
        if mine != other:
            sys.exit(f"operation {number}: {op} {asked}\nPillarbox: {mine}\n{day.other.title}: {other}")
        done[op] += 1
    print(dict(done))


main()
