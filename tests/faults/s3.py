"""What the clients of the fault tests do in S3's dialect: PUT, DELETE, CopyObject and uploads in parts, signed with SigV4.

Owns: the signature, the deeds of one client (`Deeds`, a part of harness.py's Client, whose ledger it writes), and what it was told of
its uploads in parts. Keys are those of the posts, so that each dialect overwrites and deletes what the other wrote.
Never does: ask a library; the signature is made from Amazon's description, and not by the code under test.

The rule for parts: an acknowledged part is listed with its MD5, and the upload can be completed with it; of one that was asked and not
answered, either the earlier or the later is. Where an upload is gone after a question to complete it, its object is whole.
Python 3.11, standard library only.
"""

import base64
import hashlib
import hmac
import random
import time
import urllib.parse
import xml.etree.ElementTree

REGION = "us-east-1"
# Smallest part that is not the last, in bytes.
SMALLEST_PART = 5 << 20
# What large parts are made of; dice for each would cost more than the server.
BLOCK = random.Random(5).randbytes(SMALLEST_PART)
# Clients that send parts of this size; the disks of the power cuts have room for them and no more.
LARGE = 2
# Most uploads in parts that a client has open.
OPEN = 4
# What is stored beside an object: the value of its tag, its access control list, and a header. This is what one has that was told nothing.
PLAIN = (None, "private", None)
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def sign(method, target, host, body, headers, access_key, secret):
    """All headers of the request, each as a line, with a signature over these, the host, the time and the body; or over the text that
    is given in place of the body's digest."""
    path, _, query = target.partition("?")
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    digest = body if isinstance(body, str) else hashlib.sha256(body).hexdigest()
    signed = {name.lower(): value for name, value in headers.items()}
    signed |= {"host": host, "x-amz-date": now, "x-amz-content-sha256": digest}
    names = ";".join(sorted(signed))
    pairs = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
    # Values keep their slashes encoded, and a blank is %20.
    query = urllib.parse.urlencode(pairs, quote_via=urllib.parse.quote, safe="")
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}"
    scope = f"{now[:8]}/{REGION}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = b"AWS4" + secret
    for piece in scope.split("/"):
        key = hmac.new(key, piece.encode(), "sha256").digest()
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    told = f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    del signed["host"]
    return [f"{name}: {value}" for name, value in signed.items()] + [f"Authorization: {told}"]


def texts(document, path):
    """The texts of these elements of an answer."""
    path = "/".join(NAMESPACE + piece for piece in path.split("/"))
    return [element.text or "" for element in xml.etree.ElementTree.fromstring(document).iterfind(path)]


def tagging(tags):
    """The body of a request that sets these tags."""
    told = "".join(f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in tags.items())
    return f"<Tagging><TagSet>{told}</TagSet></Tagging>".encode()


def md5_header(body):
    return {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}


def tag(content):
    return hashlib.md5(content).hexdigest()


def shown(content):
    """What a list says of a part with this content."""
    return None if content is None else (tag(content), len(content))


class Parts:
    """An upload in parts as its client knows it. `parts[number]` is the set of contents that a part may have; None is absence."""

    def __init__(self, name, plan):
        self.name, self.plan, self.parts, self.state, self.turn = name, plan, {}, "open", None

    def named(self):
        """The numbers of which the object is to consist; the plan also has parts that are left out."""
        return [number for number, (_, is_named) in sorted(self.plan.items()) if is_named]

    def content(self):
        return b"".join(self.plan[number][0] for number in self.named())

    def missing(self):
        return [number for number in self.plan if self.parts.get(number) != {self.plan[number][0]}]


class Deeds:
    """What a client does, and what it looks for after a restart. Each deed opens the question in the ledger, asks, and closes it."""

    def put(self):
        name, content, mark, headers = self.name("s"), self.bytes(300_000), PLAIN, {}
        if self.rng.random() < 0.3:
            mark = (self.word(), "public-read", self.word())
            headers = {"x-amz-tagging": f"t={mark[0]}", "x-amz-acl": mark[1], "x-amz-meta-note": mark[2]}
        self.may_be(name, content, mark)
        self.expect((200,), self.s3("PUT", name, body=content, headers=headers), "a PUT")
        self.is_now(name, content, mark)

    def word(self):
        """One that is nowhere yet."""
        self.counter += 1
        return f"{self.number}-{self.counter}"

    def sure(self):
        """Names of objects of which no question is open."""
        return [name for name in self.present() if len(self.marks[name]) == 1]

    def put_if(self):
        """On a condition: only what it allows comes true."""
        name, content, headers = self.name("s"), self.bytes(100_000), {"if-none-match": "*"}
        may = self.told.get(name, {None})
        if name in self.expiry or len(may) > 1:
            return self.put()
        fits = may == {None}
        if not fits and self.rng.random() < 0.6:
            answer = self.expect((200,), self.s3("GET", name), "a GET")
            headers, fits = {"if-match": answer[1]["etag"]}, True
        if fits:
            self.may_be(name, content)
        answer = self.s3("PUT", name, body=content, headers=headers)
        self.expect((200 if fits else 412,), answer, f"a PUT on the condition {headers}")
        if fits:
            self.is_now(name, content)

    def mark(self):
        """Changes what is stored beside an object; its bytes stay."""
        names = self.sure()
        if not names:
            return self.put()
        name, word = self.rng.choice(names), self.word()
        ((content, (label, acl, note)),) = self.marks[name]
        kind = self.rng.choice(("tag", "acl", "note"))
        if kind == "tag":
            mark, request = (word, acl, note), ("?tagging", tagging({"t": word}))
        elif kind == "acl":
            mark = (label, "private" if acl == "public-read" else "public-read", note)
            request = ("?acl", b"", {"x-amz-acl": mark[1]})
        else:
            # A copy onto itself; the list is not taken over.
            mark, headers = (label, "private", word), {"x-amz-copy-source": self.path(name), "x-amz-metadata-directive": "REPLACE"}
            request = ("", b"", headers | {"x-amz-meta-note": word})
        self.may_be(name, content, mark)
        answer = self.expect((200,), self.s3("PUT", name, *request), f"another {kind}")
        if kind == "note":
            self.whole(answer, "CopyObjectResult", "a copy onto itself")
        self.is_now(name, content, mark)

    def remove_many(self):
        names = self.present()
        if not names:
            return self.put()
        names = self.rng.sample(names, min(len(names), self.rng.randrange(1, 5)))
        for name in names:
            self.may_be(name, None)
        listed = "".join(f"<Object><Key>{self.path(name, bucket=False)}</Key></Object>" for name in names)
        body = f"<Delete>{listed}</Delete>".encode()
        _, _, told = self.expect((200,), self.s3("POST", "", "?delete", body, md5_header(body)), "a DELETE of several")
        if len(texts(told, "Deleted/Key")) != len(names):
            if self.tolerant:
                self.refuse()
            self.broke(f"a DELETE of several was answered {told[:300]!r}")
        for name in names:
            self.is_now(name, None)

    def remove(self):
        names = self.present()
        if not names:
            return self.put()
        name = self.rng.choice(names)
        self.may_be(name, None)
        self.expect((204,), self.s3("DELETE", name), "a DELETE")
        self.is_now(name, None)

    def copy(self):
        """Also onto itself, where only what is stored with it changes."""
        names = self.sure()
        if not names:
            return self.put()
        source, name = self.rng.choice(names), self.name("s")
        ((content, (label, _, _)),) = self.marks[source]
        mark = (label, "private", None)
        headers = {"x-amz-copy-source": self.path(source), "x-amz-metadata-directive": "REPLACE"}
        self.may_be(name, content, mark)
        answer = self.expect((200,), self.s3("PUT", name, headers=headers), "a copy")
        self.whole(answer, "CopyObjectResult", "a copy")
        self.is_now(name, content, mark)

    def lie(self):
        """Content that is not what its MD5 says, or ends early: never visible."""
        name, content = f"x-{self.number}", self.bytes(50_000)
        self.told.setdefault(name, {None})
        answer = self.s3("PUT", name, body=content, headers=md5_header(content + b"!"))
        if answer[0] != 400 and not (self.tolerant and answer[0] >= 500):
            self.broke(f"a PUT with another MD5 was answered {answer[0]}")

    def create(self):
        if len(self.open_parts()) >= OPEN:
            return self.part()
        is_large = self.number < LARGE and not any(len(upload.plan) > 2 for upload in self.open_parts())
        name = f"l-{self.number}" if is_large else self.name("s")
        # Numbers with gaps; those that are not named do not become a part of the object.
        numbers = sorted(self.rng.sample(range(1, 50), 3 if is_large else 2))
        plan = {number: [self.bytes(60_000), False] for number in numbers}
        if is_large:
            plan[numbers[0]] = [self.large(), True]
        plan[numbers[-1] if is_large else self.rng.choice(numbers)][1] = True
        self.asked.append(name)
        answer = self.expect((200,), self.s3("POST", name, "?uploads"), "the start of an upload in parts")
        (id,) = texts(answer[2], "UploadId")
        self.asked.remove(name)
        self.parts[id] = Parts(name, plan)

    def large(self):
        """The bytes of a first part, which no other part has."""
        self.counter += 1
        label = f"{self.number}-{self.counter}-large-".encode()
        return label + BLOCK[len(label) :] + label

    def part(self):
        """Any part that is not there, or one that is, with other bytes."""
        opened = [id for id, upload in self.parts.items() if upload.state == "open"]
        if not opened:
            return self.create()
        upload = self.parts[id := self.rng.choice(opened)]
        missing = upload.missing()
        if not missing:
            return self.complete(id)
        number = self.rng.choice(missing)
        if self.rng.random() < 0.2:
            number = self.rng.choice(list(upload.plan))
            is_large = len(upload.plan[number][0]) > SMALLEST_PART
            upload.plan[number][0] = self.large() if is_large else self.bytes(60_000)
        self.send_part(id, number)

    def send_part(self, id, number):
        upload = self.parts[id]
        content = upload.plan[number][0]
        upload.parts[number] = upload.parts.get(number, {None}) | {content}
        answer = self.s3("PUT", upload.name, f"?partNumber={number}&uploadId={id}", content)
        self.expect((200,), answer, "a part")
        if answer[1].get("etag") != f'"{tag(content)}"':
            self.broke(f"a part of {upload.name} was answered {answer[1]}")
        upload.parts[number] = {content}

    def copy_part(self):
        """A part that is a piece of an object."""
        sources = [name for name in self.sure() if self.told[name] != {b""}]
        opened = [id for id, upload in self.parts.items() if upload.state == "open"]
        if not opened or not sources:
            return self.create()
        upload = self.parts[id := self.rng.choice(opened)]
        source = self.rng.choice(sources)
        (content,) = self.told[source]
        first = self.rng.randrange(len(content))
        content = content[first : first + 60_000]
        # A part that must be large is sent.
        number = self.rng.choice([number for number, (bytes, _) in upload.plan.items() if len(bytes) < SMALLEST_PART])
        upload.plan[number][0] = content
        upload.parts[number] = upload.parts.get(number, {None}) | {content}
        piece = f"bytes={first}-{first + len(content) - 1}"
        headers = {"x-amz-copy-source": self.path(source), "x-amz-copy-source-range": piece}
        answer = self.s3("PUT", upload.name, f"?partNumber={number}&uploadId={id}", headers=headers)
        self.whole(self.expect((200,), answer, "a copied part"), "CopyPartResult", "a copied part")
        upload.parts[number] = {content}

    def complete(self, id):
        upload = self.parts[id]
        content, upload.state = upload.content(), "completing"
        lines = [f"<Part><PartNumber>{n}</PartNumber><ETag>{tag(upload.plan[n][0])}</ETag></Part>" for n in upload.named()]
        body = f"<CompleteMultipartUpload>{''.join(lines)}</CompleteMultipartUpload>".encode()
        upload.turn = self.may_be(upload.name, content)
        answer = self.expect((200,), self.s3("POST", upload.name, f"?uploadId={id}", body), "the end of an upload in parts")
        self.whole(answer, "CompleteMultipartUploadResult", "the end of an upload in parts")
        upload.state = "done"
        self.is_now(upload.name, content)

    def abort_parts(self):
        opened = [id for id, upload in self.parts.items() if upload.state == "open"]
        if not opened:
            return self.create()
        upload = self.parts[id := self.rng.choice(opened)]
        upload.state = "aborting"
        self.expect((204,), self.s3("DELETE", upload.name, f"?uploadId={id}"), "the abort of an upload in parts")
        upload.state = "aborted"

    def open_parts(self):
        return [upload for upload in self.parts.values() if upload.state == "open"]

    def whole(self, answer, root, what):
        """A long answer begins before its work has ended, so its status says nothing."""
        if root.encode() not in answer[2][:200]:
            if self.tolerant:
                self.refuse()
            self.broke(f"{what} was answered {answer[2][:300]!r}")

    # After the restart.

    def check_mark(self, name, found):
        """What is stored beside an object is what was told; looked for where it was ever more than nothing."""
        may = {mark for content, mark in self.marks.get(name, {(None, PLAIN)}) if content == found}
        if found is not None and (name in self.marked or may != {PLAIN}):
            self.marked.add(name)
            seen = self.seen_mark(name)
            # It has expired meanwhile.
            if seen is None and name in self.expiry and self.expiry[name][1] <= time.time():
                return
            if seen not in may:
                self.broke(f"{name}: what is stored beside it is {seen}, and an acknowledged change is lost: may be {sorted(map(str, may))}")
            may = {seen}
        self.marks[name] = {(found, mark) for mark in may} or {(found, PLAIN)}

    def seen_mark(self, name):
        """None when it is gone: it may expire between the questions, and an error says nothing of a tag or a list."""
        answers = [self.s3("GET", name, query) for query in ("", "?tagging", "?acl")]
        statuses = [status for status, _, _ in answers]
        if 404 in statuses:
            return None
        if statuses != [200] * 3:
            self.broke(f"{name}: what is stored beside it is answered {statuses}")
        (_, headers, _), (_, _, tags), (_, _, acl) = answers
        value = "".join(texts(tags, "TagSet/Tag/Value")) or None
        return value, "public-read" if b"AllUsers" in acl else "private", headers.get("x-amz-meta-note")

    def check_keys(self, files):
        """Both dialects list the same objects; what has an expiry may be gone between the two."""
        _, _, body = self.expect((200,), self.s3("GET", "", f"?list-type=2&prefix={self.path('', bucket=False)}"), "a list")
        if texts(body, "IsTruncated") != ["false"]:
            self.broke("the list of all objects has more than one page")
        names = [key.rpartition("/")[2] for key in texts(body, "Contents/Key")]
        listed = dict(zip(names, map(int, texts(body, "Contents/Size")), strict=True))
        return {name for name in listed.keys() | files.keys() if listed.get(name) != files.get(name, {}).get("size")}

    def check_uploads(self):
        """What is listed is what is open, and perhaps what was asked for and not answered; of that nobody knows the id, so it ends."""
        _, _, body = self.expect((200,), self.s3("GET", "", "?uploads"), "a list of uploads")
        keys = [key.rpartition("/")[2] for key in texts(body, "Upload/Key")]
        mine = {id: key for id, key in zip(texts(body, "Upload/UploadId"), keys, strict=True) if key.split("-")[1] == str(self.number)}
        if lost := set(self.parts) - set(mine):
            self.broke(f"uploads {sorted(lost)} are open and not listed")
        for id in sorted(set(mine) - set(self.parts)):
            if mine[id] not in self.asked:
                self.broke(f"upload {id} of {mine[id]} is listed, and nobody has started it")
            self.asked.remove(mine[id])
            self.expect((204,), self.s3("DELETE", mine[id], f"?uploadId={id}"), "the abort of an upload that nobody knows")
        self.asked = []

    def check_parts(self):
        for id, upload in sorted(self.parts.items()):
            status, _, body = self.s3("GET", upload.name, f"?uploadId={id}")
            if status not in (200, 404):
                self.broke(f"the parts of {upload.name} are answered {status}: {body[:200]!r}")
            self.check_one(id, upload, body if status == 200 else None)
        self.parts = {id: upload for id, upload in self.parts.items() if upload.state == "open"}

    def check_one(self, id, upload, listed):
        if listed is None:
            if upload.state == "open":
                self.broke(f"upload {id} of {upload.name} is lost")
            # Nobody but this client writes that name.
            if upload.state == "completing" and self.must_show(upload) and self.told[upload.name] != {upload.content()}:
                self.broke(f"upload {id} of {upload.name} is gone, and its object is not there")
            return
        if upload.state in ("done", "aborted"):
            self.broke(f"upload {id} of {upload.name} was {upload.state} and is back")
        upload.state = "open"
        tags = [text.strip('"') for text in texts(listed, "Part/ETag")]
        sizes = [int(size) for size in texts(listed, "Part/Size")]
        found = dict(zip(map(int, texts(listed, "Part/PartNumber")), zip(tags, sizes, strict=True), strict=True))
        if strange := set(found) - set(upload.parts):
            self.broke(f"upload {id} of {upload.name}: parts {sorted(strange)} that nobody sent")
        for number, may in upload.parts.items():
            fits = [content for content in may if found.get(number) == shown(content)]
            if not fits:
                self.broke(f"upload {id} of {upload.name}: part {number} is {found.get(number)}, may be one of {len(may)}")
            upload.parts[number] = {fits[0]}

    def finish_parts(self):
        """Sends what is missing of every open upload and completes it."""
        for id, upload in self.parts.items():
            for number in upload.missing():
                self.send_part(id, number)
            self.complete(id)
            status, _, body = self.s3("GET", upload.name, f"?uploadId={id}")
            if status != 404:
                self.broke(f"upload {id} of {upload.name} was completed, its parts are answered {status}: {body[:200]!r}")
        self.parts = {}
