"""Signs and posts forms with boto3, minio-py, requests and httpx, each as its own manual shows.

Reads one job a line from standard input, as JSON, and answers each with one line: what the server answered, or the client's error.
suites/signers.mjs starts it and says what a job holds.
"""

import json
import sys
from datetime import datetime, timedelta, timezone

import boto3
import httpx
import minio
import requests
from botocore.config import Config
from minio.datatypes import PostPolicy

# Longest wait for an answer, in seconds.
ANSWER_S = 60


def boto3_form(job, version):
    s3 = boto3.client(
        "s3",
        endpoint_url=job["endpoint"],
        region_name="us-east-1",
        aws_access_key_id=job["access_key"],
        aws_secret_access_key=job["secret"],
        config=Config(signature_version=version, s3={"addressing_style": "virtual" if job["virtual"] else "path"}),
    )
    conditions = [{name: value} for name, value in job["fields"].items()]
    if "range" in job:
        conditions.append(["content-length-range", *job["range"]])
    form = s3.generate_presigned_post(
        job["bucket"], job["key"], Fields=job["fields"], Conditions=conditions, ExpiresIn=job["seconds"]
    )
    return form["url"], form["fields"]


def minio_form(job):
    client = minio.Minio(
        job["endpoint"].removeprefix("http://"),
        access_key=job["access_key"],
        secret_key=job["secret"],
        secure=False,
        region="us-east-1",
    )
    policy = PostPolicy(job["bucket"], datetime.now(timezone.utc) + timedelta(seconds=job["seconds"]))
    if job["key"].endswith("${filename}"):
        policy.add_starts_with_condition("key", job["key"].removesuffix("${filename}"))
    else:
        policy.add_equals_condition("key", job["key"])
    for name, value in job["fields"].items():
        if name == "success_action_redirect":
            policy.add_starts_with_condition(name, value)
        else:
            policy.add_equals_condition(name, value)
    if "range" in job:
        policy.add_content_length_range_condition(*job["range"])
    signed = client.presigned_post_policy(policy)
    return f"{job['endpoint']}/{job['bucket']}", {**job["fields"], **signed, "key": job["key"]}


def play(job):
    if job["client"] == "minio-py":
        url, fields = minio_form(job)
    else:
        url, fields = boto3_form(job, "s3" if job["client"] == "boto3, V2" else "s3v4")
    fields.update(job["altered"])
    if job["virtual"]:
        return {"url": url, "fields": fields}
    with open(job["file"], "rb") as file:
        files = {"file": (job["filename"], file)}
        if job["client"] == "httpx":
            answer = httpx.post(url, data=fields, files=files, follow_redirects=False, timeout=ANSWER_S)
        else:
            answer = requests.post(url, data=fields, files=files, allow_redirects=False, timeout=ANSWER_S)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return {"status": answer.status_code, "headers": headers, "text": answer.text}


for line in sys.stdin:
    try:
        told = play(json.loads(line))
    except Exception as error:  # The suite shows it beside the case that it failed.
        told = {"error": repr(error)}
    print(json.dumps(told), flush=True)
