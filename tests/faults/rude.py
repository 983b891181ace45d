"""Clients that are many, slow, hostile or gone: what harness.py's polite ones never do.

Owns: a form post and a signed PUT as pieces that can be cut at any byte, a connection that ends in any way, and the ledger of objects,
sessions and uploads in parts that such clients share.
Never does: judge an answer that it was not asked to judge; each test says what it expects.

Python 3.11, standard library only.
"""

import base64
import hashlib
import json
import re
import socket
import struct
import threading
import zlib

import harness
import s3
from harness import BUCKET, PIPELINE, ROOT, Broken, Connection, Gone, Reader, form, plain_form

# What closes a form may be cut by this many bytes and still be whole: the line break after it says nothing.
LAST_BREAK = 2


class Post:
    """One form post; `content` is a list of buffers, so that a large one need not be copied."""

    def __init__(self, address, fields, content):
        body, headers = form(fields, b"")
        end = body.rindex(b"\r\n--")
        length = len(body) + sum(map(len, content))
        lines = [f"POST /{BUCKET}/ HTTP/1.1", f"Host: {address}", f"Content-Length: {length}", *headers, "", ""]
        head = "\r\n".join(lines).encode()
        self.pieces = [head + body[:end], *content, body[end:]]
        self.head, self.length = len(head), len(head) + length
        self.before_file, self.after_file = len(self.pieces[0]), len(body) - end

    def upto(self, place):
        """What goes over the wire before a cut at this byte."""
        for piece in self.pieces:
            yield memoryview(piece)[:place]
            place -= len(piece)
            if place <= 0:
                return

    def random_place(self, rng):
        """Any byte but the last; the head, the form and the end get more than their share, being so short."""
        where = rng.random()
        if where < 0.2:
            return rng.randrange(self.before_file)
        if where < 0.4:
            return self.length - 1 - rng.randrange(self.after_file)
        return rng.randrange(self.length)

    def is_whole_at(self, place):
        return place >= self.length - LAST_BREAK


class Put(Post):
    """One signed PUT of an object or a part. `how` is what is signed of its content: the digest of all of it, that nothing is, or that it
    comes in pieces with a checksum behind them."""

    PIECES = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    HOW = ("digest", "UNSIGNED-PAYLOAD", PIECES)

    def __init__(self, address, target, content, how):
        headers, end, digest, checksum = {}, b"", hashlib.sha256(), 0
        body = content
        if how == self.PIECES:
            body = [piece for bytes in content if len(bytes) for piece in (b"%x\r\n" % len(bytes), bytes, b"\r\n")]
            for piece in content:
                checksum = zlib.crc32(piece, checksum)
            end = b"0\r\nx-amz-checksum-crc32:%s\r\n\r\n" % base64.b64encode(checksum.to_bytes(4))
            headers = {"content-encoding": "aws-chunked", "x-amz-trailer": "x-amz-checksum-crc32"}
            headers["x-amz-decoded-content-length"] = str(sum(map(len, content)))
        elif how == "digest":
            for piece in content:
                digest.update(piece)
            how = digest.hexdigest()
        length = sum(map(len, body)) + len(end)
        signed = s3.sign("PUT", target, address, how, headers, harness.ACCESS_KEY, harness.SECRET)
        lines = [f"PUT {target} HTTP/1.1", f"Host: {address}", f"Content-Length: {length}", *signed, "", ""]
        head = "\r\n".join(lines).encode()
        self.pieces = [head, *body, end]
        self.head, self.length = len(head), len(head) + length
        # An empty content has nothing behind its head that could be cut off.
        self.before_file, self.after_file = min(len(head) + 8, self.length), max(len(end), 1)

    def is_whole_at(self, place):
        return place >= self.length


class Peer(Connection):
    """A connection that can be left in any way."""

    def push(self, pieces):
        """Whether the other side took it all."""
        try:
            self.open()
            for piece in pieces:
                self.socket.sendall(piece)
            return True
        except OSError:
            return False

    def read(self):
        """The answer; none when the connection ended without one. Waits as long as `open` was told."""
        try:
            return self.answer()
        except TimeoutError as error:
            raise Broken("neither an answer nor an end") from error
        except (OSError, ValueError, IndexError):
            return None

    def leave(self, way):
        """By FIN or by RST; `half` says that nothing more comes and waits for what is said to that, `stall` says nothing."""
        if way == "half":
            self.quietly(lambda: self.socket.shutdown(socket.SHUT_WR))
        if way in ("half", "stall"):
            answer = self.read()
            if answer and answer[0] < 300:
                return answer
        elif way == "rst":
            self.quietly(lambda: self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)))
        self.close()
        return None

    @staticmethod
    def quietly(call):
        try:
            call()
        except OSError:
            # The other side was faster.
            pass


class Session:
    """An upload session: what is to be sent, and which chunks were acknowledged. `maybe` are those of which that is not known."""

    def __init__(self, name, id, fields, chunks):
        self.name, self.id, self.fields, self.chunks = name, id, fields, chunks
        self.acknowledged, self.maybe = set(), set()

    def missing(self):
        return [index for index in range(len(self.chunks)) if index not in self.acknowledged]

    def content(self):
        return b"".join(self.chunks)


class Parts:
    """An upload in parts: the number and content of the one that the object is to be, and those that were acknowledged, by number."""

    def __init__(self, name, number, content):
        self.name, self.number, self.content, self.acknowledged = name, number, content, {}


def mark(content):
    """What is kept of a content, to know it again: length and SHA-256."""
    return (len(content), hashlib.sha256(content).hexdigest())


class Ledger:
    """What may be there: for each name the marks of what was acknowledged, or may have been; None is absence."""

    def __init__(self):
        self.told, self.sessions, self.parts, self.lock, self.acknowledged = {}, {}, {}, threading.Lock(), 0
        self.fields = plain_form()

    def connect(self, server):
        self.address = server.address

    def found(self, server):
        """A first upload, which makes the pipeline: names are found through it."""
        peer = Peer(server.address)
        self.finish(peer, self.begin(peer, "first", [b"first"]))
        peer.close()

    def form_of(self, name, content):
        digest = base64.b64encode(harness.md5(content)).decode()
        return Post(self.address, {"key": ROOT + name, "Content-MD5": digest} | self.fields, [content])

    def put_of(self, name, content, how):
        return Put(self.address, f"/{BUCKET}/{ROOT}{name}", [content], how)

    def part_of(self, id, number, content, how):
        upload = self.parts[id]
        return Put(self.address, f"/{BUCKET}/{ROOT}{upload.name}?partNumber={number}&uploadId={id}", [content], how)

    def chunk_of(self, session, index):
        fields = session.fields | {"chunk": str(index), "chunks": str(len(session.chunks))}
        return Post(self.address, fields, [session.chunks[index]])

    def may_be(self, name, content):
        with self.lock:
            self.told[name] = self.told.get(name, {None}) | {mark(content)}

    def is_now(self, name, content):
        with self.lock:
            self.told[name] = {mark(content)}
            self.acknowledged += 1

    def begin(self, connection, name, chunks):
        answer = connection.ask("POST", f"/v1/files/uploads/?object_key={name}&pipeline_id={PIPELINE}")
        if answer[0] not in (200, 201):
            raise Broken(f"the start of a session was answered {answer[0]}: {answer[2][:200]!r}")
        upload = json.loads(answer[2])["upload"]
        session = Session(name, upload["id"], upload["form_post_params"], chunks)
        with self.lock:
            self.sessions[session.id] = session
            self.told.setdefault(name, {None})
        return session

    def send(self, peer, name, content, post=None):
        """A whole post, or another that is given, which must be acknowledged."""
        self.may_be(name, content)
        self.must(peer, post or self.form_of(name, content), f"the upload of {name}")
        self.is_now(name, content)

    def s3(self, connection, method, name, query, body=b""):
        target = f"/{BUCKET}/{ROOT}{name}{query}"
        headers = s3.sign(method, target, connection.host, body, {}, harness.ACCESS_KEY, harness.SECRET)
        status, _, told = connection.ask(method, target, body, headers, token=False)
        if status != 200:
            raise Broken(f"{method} of {name}{query} was answered {status}: {told[:200]!r}")
        return told

    def begin_parts(self, connection, name, number, content):
        (id,) = s3.texts(self.s3(connection, "POST", name, "?uploads"), "UploadId")
        with self.lock:
            self.parts[id] = Parts(name, number, content)
            self.told.setdefault(name, {None})
        return id

    def send_part(self, peer, id, number, content, how):
        self.must(peer, self.part_of(id, number, content, how), f"part {number} of {id}")
        self.parts[id].acknowledged[number] = content

    def see_parts(self, connection, id):
        """What is listed was acknowledged, no more and no less."""
        upload = self.parts[id]
        listed = self.s3(connection, "GET", upload.name, f"?uploadId={id}")
        tags = [tag.strip('"') for tag in s3.texts(listed, "Part/ETag")]
        found = dict(zip(map(int, s3.texts(listed, "Part/PartNumber")), tags, strict=True))
        known = {number: s3.tag(content) for number, content in upload.acknowledged.items()}
        if found != known:
            raise Broken(f"upload {id} of {upload.name}: acknowledged parts are {known}, and {found} are there")

    def finish_parts(self, peer, id, how):
        """Goes on from what was acknowledged, to the end."""
        self.see_parts(peer, id)
        upload = self.parts[id]
        if upload.number not in upload.acknowledged:
            self.send_part(peer, id, upload.number, upload.content, how)
        part = f"<Part><PartNumber>{upload.number}</PartNumber><ETag>{s3.tag(upload.content)}</ETag></Part>"
        self.may_be(upload.name, upload.content)
        body = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
        told = self.s3(peer, "POST", upload.name, f"?uploadId={id}", body)
        if b"<CompleteMultipartUploadResult" not in told:
            raise Broken(f"the end of {upload.name} was answered {told[:200]!r}")
        self.is_now(upload.name, upload.content)
        with self.lock:
            del self.parts[id]

    def send_chunk(self, peer, session, index):
        """A whole chunk that must be acknowledged; the last one ends the session."""
        last = session.missing() == [index]
        if last:
            self.may_be(session.name, session.content())
        session.maybe.add(index)
        self.must(peer, self.chunk_of(session, index), f"chunk {index} of {session.id}")
        session.acknowledged.add(index)
        session.maybe.discard(index)
        if last:
            self.is_now(session.name, session.content())

    @staticmethod
    def must(peer, post, what):
        """Sends it whole; sees that it is acknowledged."""
        peer.push(post.upto(post.length))
        answer = peer.read()
        if answer is None:
            raise Gone(f"{what} was not answered")
        if answer[0] not in (200, 201, 204):
            raise Broken(f"{what} was answered {answer[0]}: {answer[2][:300]!r}")
        return answer

    def see(self, connection, session):
        """The server knows of a session what its client was told, no more and no less."""
        status, _, body = connection.ask("GET", f"/v1/files/uploads/{session.id}")
        if status != 200:
            raise Broken(f"session {session.id} is lost: {status} {body[:200]!r}")
        upload = json.loads(body)["upload"]
        received = set(upload["received_chunks"]) if upload["status"] != "COMPLETED" else set(range(len(session.chunks)))
        if lost := session.acknowledged - received:
            raise Broken(f"session {session.id}: acknowledged chunks {sorted(lost)} are lost")
        if strange := received - session.acknowledged - session.maybe:
            raise Broken(f"session {session.id}: chunks {sorted(strange)} are there and were cut off")
        # What may have been taken, and was not yet, may be taken a moment later.
        session.acknowledged, session.maybe = received, session.maybe - received

    def finish(self, peer, session):
        """Goes on from what was acknowledged, to the end."""
        for index in session.missing():
            self.send_chunk(peer, session, index)
        self.see(peer, session)
        with self.lock:
            del self.sessions[session.id]

    def look(self, connection, name):
        """What a client reads under a name now is whole, and was or may have been acknowledged."""
        for _ in range(3):
            status, headers, body = connection.ask("GET", f"/v1/files/downloads/?object_key={name}&pipeline_id={PIPELINE}&redirect=true")
            if status != 302:
                break
            target = re.sub(r"^http://[^/]*", "", headers["location"])
            status, headers, body = connection.ask("GET", target, token=False)
            if status == 200:
                break
            # The object was replaced between the link and the download.
        if status not in (200, 404):
            raise Broken(f"{name} cannot be read: {status} {body[:200]!r}")
        self.judge(name, mark(body) if status == 200 else None)

    def judge(self, name, found):
        if found in self.told[name]:
            return
        allowed = sorted(size for size, _ in self.told[name] - {None})
        there = f"{found[0]} bytes are visible" if found else "nothing is visible"
        raise Broken(f"{name}: {there}; whole contents have {allowed} bytes, nothing is allowed: {None in self.told[name]}")

    def check(self, server):
        """Everything that is there was acknowledged, or may have been; and all of it is whole."""
        reader = Reader(server)
        files = reader.files()
        if strange := set(files) - set(self.told):
            raise Broken(f"files that nobody wrote: {sorted(strange)[:5]}")
        for name in self.told:
            content = reader.fetch(files[name]) if name in files else None
            found = None if content is None else mark(content)
            self.judge(name, found)
            self.told[name] = {found}

    def leftovers(self, server, data):
        """Files on disk that belong to no object, and to no acknowledged chunk of a session that is open."""
        there = [path.name for path in (data / "objects").glob("*/*")]
        owned = {file["id"] for file in Reader(server).files().values()}
        strange = [name for name in there if name.partition(".")[0] not in owned | set(self.sessions) | set(self.parts)]
        peer = Peer(server.address)
        for id, session in self.sessions.items():
            # A chunk that may have been taken was perhaps on its way into the index when its client looked last.
            if session.maybe:
                self.see(peer, session)
            spills = [name for name in there if name.startswith(f"{id}.")]
            if len(spills) > len(session.acknowledged):
                strange += spills
        for id, upload in self.parts.items():
            files = [name for name in there if name.partition(".")[0] == id]
            if len(files) > len(upload.acknowledged) + 1:
                strange += files
        peer.close()
        return strange

    def wait_until_clean(self, server, data, seconds=6):
        """Nothing is left behind, at the latest after a few sweeps."""
        if not harness.wait_for(lambda: not self.leftovers(server, data), seconds):
            raise Broken(f"files that belong to nothing: {self.leftovers(server, data)[:5]}")


def all_at_once(count, work, threads):
    """Calls `work(number)` for each number, on so many threads; the first thing that broke is raised here."""
    numbers, lock, troubles = iter(range(count)), threading.Lock(), []

    def worker():
        while not troubles:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                work(number)
            except Exception as trouble:
                troubles.append(trouble)

    team = [threading.Thread(target=worker, daemon=True) for _ in range(threads)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    if troubles:
        raise troubles[0]
