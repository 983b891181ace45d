"""What the fault tests share: a file system that can lose its power, the real server, eight clients, and the ledger of what
they were told.

Owns: the load, the ledger of each client, and the comparison of the two after a restart. Everything random comes from one seed.
Never does: look inside the store's index; it knows the server by its answers and by the names of its files.

The rule of the ledger: what was answered with 2xx must be there, whole; what was asked and not answered may be there whole or not
at all; nothing else may be there. Python 3.11, standard library only.
"""

import atexit
import base64
import fcntl
import hashlib
import hmac
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import catalog
import s3
from s3 import PLAIN

CLIENTS = 8
# Sizes of objects that go past the cache of the system as a whole.
WHOLE_BLOCKS = (512 << 10, 528 << 10, 1 << 20)
# Longest wait of a client for an answer, in seconds.
ANSWER_WAIT = 20
# A restart that takes longer than this many seconds has failed.
START_LIMIT = 5.0
# Names that each client writes to, again and again.
NAMES = 8
# What is said of an answer whose body ends before its end.
CUT = "the answer was cut"
# An expiry that is nearer than this many seconds may be seen either way.
BLUR = 1.5

TOKEN = "dev-token"
ACCESS_KEY = "PILLARBOXDEVACCESS00"
SECRET = b"pillarbox-dev-secret"
BUCKET = "uploads"
PIPELINE = "547f3eede4b025bcbff38657"
ROOT = f"tmp/{PIPELINE}/"

FS_IOC_SHUTDOWN = 0x8004587D
NOLOGFLUSH = 2

MKFS = {
    "ext4": (192 << 20, ["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=1,nodiscard"]),
    "xfs": (320 << 20, ["mkfs.xfs", "-q", "-f", "-K"]),
}


# A step that takes too long is ended with TERM; what was mounted, limited and started must go then, too.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


class Broken(Exception):
    """A promise that was not kept, or a server that did not do its work."""


class Gone(Broken):
    """The server went away before it answered."""


def require_root():
    if os.geteuid() != 0:
        sys.exit("FAILED: this test mounts file systems and needs root")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


class Refused(Exception):
    """The server said that it cannot; only a test that makes it fail expects that."""


class Disk:
    """A file system of its own in a file, loop-mounted, whose power can be cut."""

    def __init__(self, folder, kind, size=None, options=(), mount=None):
        default, mkfs = MKFS[kind]
        self.image, self.mount = folder / f"{kind}.image", mount or folder / "disk"
        self.mount.mkdir(parents=True, exist_ok=True)
        self.image.unlink(missing_ok=True)
        with open(self.image, "wb") as image:
            image.truncate(size or default)
        run(*mkfs, *options, self.image)
        self.up()

    def up(self):
        self.insist("mount", "-o", "loop", self.image, self.mount)

    def down(self):
        self.insist("umount", self.mount)

    @staticmethod
    def insist(*command):
        """Others of the machine look into a device that comes or goes, and hold it for a moment."""
        for _ in range(9):
            if subprocess.run(command, capture_output=True).returncode == 0:
                return
            time.sleep(0.2)
        run(*command)

    def cut(self):
        """Drops all that is not on the block device; what the journal has not flushed is gone, too."""
        folder = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, FS_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(folder)

    def keep(self, folder):
        """Copies the image, to be looked at later."""
        shutil.copy(self.image, folder)

    def close(self):
        subprocess.run(["umount", self.mount], capture_output=True)
        self.image.unlink(missing_ok=True)


class SplitDisk(Disk):
    """As Disk, but the index lies on a file system of its own: no sync of the one makes anything of the other durable."""

    def __init__(self, folder, kind, options=()):
        self.inner = None
        super().__init__(folder, kind, options=options)
        (folder / "index").mkdir(exist_ok=True)
        self.inner = Disk(folder / "index", kind, options=options, mount=self.mount / "data" / "index")
        if (lost := self.inner.mount / "lost+found").exists():
            lost.rmdir()

    def up(self):
        super().up()
        if self.inner:
            self.inner.up()

    def down(self):
        self.inner.down()
        super().down()

    def cut(self):
        super().cut()
        self.inner.cut()

    def keep(self, folder):
        super().keep(folder)
        shutil.copy(self.inner.image, folder / "index.image")

    def close(self):
        if self.inner:
            self.inner.close()
        super().close()


class Server:
    """The real binary on a data folder. `prepare` is called in the child before it becomes the server: limits are put on there."""

    def __init__(self, binary, data, scratch, environment=None, settings=(), limit=START_LIMIT, prepare=None):
        self.port_file, self.log = scratch / "ports", scratch / "log"
        self.port_file.unlink(missing_ok=True)
        command = [binary, "dev", "--data", data, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
        command += ["--port-file", self.port_file, "--set", "store.free_floor=1MiB", "--log-level", "info,pillarbox::access=off"]
        for setting in settings:
            command += ["--set", setting]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PILLARBOX_")}
        began = time.monotonic()
        with open(self.log, "ab") as log:
            # However the test ends, the server does not outlive it.
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=clean | (environment or {}), preexec_fn=prepare)
        atexit.register(self.process.kill)
        while not self.port_file.exists():
            if self.process.poll() is not None:
                raise Broken(f"the server did not start: {self.tail().rpartition(chr(10))[2]}\n{self.tail()}")
            if time.monotonic() - began > max(limit, 30):
                self.kill()
                raise Broken(f"the server did not start within 30 s: {self.tail()}")
            time.sleep(0.002)
        self.seconds = time.monotonic() - began
        if self.seconds > limit:
            self.kill()
            raise Broken(f"the start took {self.seconds:.1f} s")
        public, admin = self.port_file.read_text().split()
        self.address, self.admin = public.removeprefix("http://"), admin.removeprefix("http://")
        self.control = data / "control.sock"

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def freeze(self):
        """Stops it in the middle; when this returns no thread of it runs."""
        self.process.send_signal(signal.SIGSTOP)
        status = Path(f"/proc/{self.process.pid}/task")
        deadline, states = time.monotonic() + 30, ()
        while time.monotonic() < deadline:
            try:
                states = [task.joinpath("stat").read_text().rpartition(")")[2].split()[0] for task in status.iterdir()]
            except OSError:
                # A thread has ended since the folder was read.
                continue
            # Who has ended runs no more; that is seen by its clients.
            if all(state in "TZX" for state in states):
                return
            time.sleep(0.001)
        raise Broken(f"the server did not stop: its threads are {''.join(states)}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Broken("the server did not stop") from None


class Connection:
    """HTTP/1.1, one request after the other, to an address or to a socket in a folder."""

    def __init__(self, address):
        self.address, self.socket, self.reader = address, None, None
        self.host = "control" if isinstance(address, Path) else address

    def open(self, wait=ANSWER_WAIT):
        if self.socket is None:
            self.socket = self.connected(wait)
            self.reader = self.socket.makefile("rb")

    def connected(self, wait):
        if isinstance(self.address, Path):
            unix = socket.socket(socket.AF_UNIX)
            unix.settimeout(wait)
            unix.connect(str(self.address))
            return unix
        host, port = self.address.split(":")
        tcp = socket.create_connection((host, int(port)), wait)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return tcp

    def ask(self, method, target, body=b"", headers=(), token=True, cut_short=False):
        """Status, headers, body. `cut_short` ends the connection after the body, without waiting for its announced end."""
        length = len(body) + (200 if cut_short else 0)
        head = [f"{method} {target} HTTP/1.1", f"Host: {self.host}", f"Content-Length: {length}"]
        if token:
            head.append(f"Authorization: Bearer {TOKEN}")
        head += headers
        try:
            self.open()
            self.socket.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
            if cut_short:
                self.socket.shutdown(socket.SHUT_WR)
            return self.answer()
        except (OSError, ValueError, IndexError) as error:
            self.close()
            raise Gone(str(error)) from error

    def answer(self):
        line = self.reader.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("the connection was closed")
        status, headers = int(line.split()[1]), {}
        while (line := self.reader.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            if not value:
                raise OSError("the head of an answer was cut")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", 0))
        body = self.reader.read(length)
        if len(body) < length:
            raise OSError(CUT)
        if headers.get("connection", "").lower() == "close":
            self.close()
        return status, headers, body

    def close(self):
        if self.socket is not None:
            self.reader.close()
            self.socket.close()
        self.socket = None


def form(fields, content, end=True):
    boundary = "----faults7MA4YWxkTrZu0gW"
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n'.encode() for n, v in fields.items()]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
    )
    parts += [content, f"\r\n--{boundary}--\r\n".encode() if end else f"\r\n--{boundary}".encode()]
    return b"".join(parts), [f"Content-Type: multipart/form-data; boundary={boundary}"]


def plain_form():
    """The fields of a signed form for any key below the pipeline's root."""
    conditions = [
        {"bucket": BUCKET},
        ["starts-with", "$key", ROOT],
        ["starts-with", "$Content-MD5", ""],
        {"success_action_status": "201"},
    ]
    end = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() + 6 * 24 * 3600))
    policy = base64.b64encode(json.dumps({"expiration": end, "conditions": conditions}).encode())
    signature = base64.b64encode(hmac.new(SECRET, policy, "sha1").digest()).decode()
    return {"success_action_status": "201", "policy": policy.decode(), "AWSAccessKeyId": ACCESS_KEY, "signature": signature}


def md5(content):
    return hashlib.md5(content).digest()


class Upload:
    """A session as its client knows it."""

    def __init__(self, name, fields, chunks):
        self.name, self.fields, self.chunks = name, fields, chunks
        self.sent, self.doubtful, self.state, self.turn = set(), set(), "open", None
        # Whether each chunk says how many there are. Without that the upload ends when its client says so.
        self.counts = True

    def form(self, index):
        if self.counts:
            fields = self.fields | {"chunk": str(index), "chunks": str(len(self.chunks))}
        else:
            fields = {name: value for name, value in self.fields.items() if name not in ("chunk", "chunks")}
            fields["key"] += f".{index}"
        return form(fields, self.chunks[index])

    def content(self):
        return b"".join(self.chunks)


class Client(s3.Deeds, catalog.Deeds):
    """One client: its connection, its names, its sessions, and what it was told of them.

    `told[name]` is the set of contents that may be there: one after an answer, two while a question is open. Content None is
    absence. `marks[name]` is the set of contents with what may be stored beside each. `expiry[name]` is when it expires, in seconds,
    when the client has set that.
    """

    def __init__(self, number, rng):
        self.number, self.rng = number, rng
        self.told, self.marks, self.expiry, self.uploads = {}, {}, {}, {}
        self.marked = set()
        # How many questions were asked about each name.
        self.turns = {}
        self.buckets, self.things, self.ids = {}, {}, {}
        # Uploads in parts that are open, and the names of those that were asked for and not answered.
        self.parts, self.asked = {}, []
        self.counter = self.acknowledged = 0
        self.fields = plain_form()
        self.trouble = None
        self.tolerant = self.cut_off = False

    def connect(self, server):
        self.connection = Connection(server.address)
        self.control = server.control and Connection(server.control)

    def leave(self):
        self.connection.close()
        if self.control:
            self.control.close()

    def ask(self, *arguments, **options):
        return self.connection.ask(*arguments, **options)

    def path(self, name, bucket=True):
        return f"/{BUCKET}/{ROOT}{name}" if bucket else ROOT + name

    def s3(self, method, name, query="", body=b"", headers=None, bucket=BUCKET):
        """A request in S3's dialect for an object, or for a bucket when there is no name, or for them all."""
        target = (self.path(name) if name else f"/{bucket}") + query
        headers = s3.sign(method, target, self.connection.host, body, headers or {}, ACCESS_KEY, SECRET)
        return self.ask(method, target, body, headers, token=False)

    @staticmethod
    def broke(text):
        raise Broken(text)

    @staticmethod
    def refuse():
        raise Refused

    def expect(self, statuses, answer, what):
        if self.tolerant and answer[0] in (500, 503, 507):
            raise Refused
        if answer[0] not in statuses:
            raise Broken(f"client {self.number}: {what} was answered {answer[0]}: {answer[2][:300]!r}")
        self.acknowledged += 1
        return answer

    def bytes(self, most):
        self.counter += 1
        size = self.rng.choice((0, 1, 100, 4096, most // 3, self.rng.randrange(most)))
        label = f"{self.number}-{self.counter}-".encode()
        return (label + self.rng.randbytes(size))[: max(size, len(label))] if size else b""

    def name(self, kind):
        return f"{kind}-{self.number}-{self.rng.randrange(NAMES)}"

    # What a client does. Each one opens the question in the ledger, asks, and closes it.

    def blocks(self):
        """Whole blocks have their place on the disk before the file is synced: nothing is left to do then but for its label."""
        self.single(self.rng.randbytes(self.rng.choice(WHOLE_BLOCKS)))

    def single(self, content=None):
        name = self.name("s")
        content = self.bytes(900_000) if content is None else content
        fields = {"key": ROOT + name, "Content-MD5": base64.b64encode(md5(content)).decode()} | self.fields
        self.may_be(name, content)
        body, headers = form(fields, content)
        self.expect((201,), self.ask("POST", f"/{BUCKET}/", body, headers, token=False), "a single post")
        self.is_now(name, content)

    def begin(self):
        name = self.name("u")
        target = f"/v1/files/uploads/?object_key={name}&pipeline_id={PIPELINE}"
        answer = self.expect((200, 201), self.ask("POST", target), "the start of a session")
        upload = json.loads(answer[2])["upload"]
        count = self.rng.choice((1, 1, 2, 3, 4, 7))
        # The longest go past the cache of the system, and begin and end within blocks.
        size = self.rng.choice((1000, 65_536, 100_000, 600_001))
        chunks = [self.rng.randbytes(size) for _ in range(count - 1)] + [self.rng.randbytes(self.rng.randrange(size))]
        if self.rng.random() < 0.15:
            chunks = [self.rng.randbytes(self.rng.randrange(size)) for _ in range(count)]
        self.uploads[upload["id"]] = Upload(name, upload["form_post_params"], chunks)
        self.uploads[upload["id"]].counts = self.rng.random() < 0.7

    def chunk(self, id=None, index=None):
        opened = [id for id, upload in self.uploads.items() if upload.state == "open"]
        if not opened:
            return self.begin()
        id = id or self.rng.choice(opened)
        upload = self.uploads[id]
        missing = [i for i in range(len(upload.chunks)) if i not in upload.sent]
        if not missing:
            return self.finish(id)
        if index is None:
            index = self.rng.choice(missing)
            if len(missing) > 1 and self.rng.random() < 0.15:
                index = self.rng.randrange(len(upload.chunks))
                if index in upload.sent and self.rng.random() < 0.5:
                    upload.chunks[index] = self.rng.randbytes(len(upload.chunks[index]))
        upload.doubtful.add(index)
        last = upload.counts and missing == [index]
        if last:
            upload.turn = self.may_be(upload.name, upload.content())
        body, headers = upload.form(index)
        self.expect((200, 201, 204), self.ask("POST", f"/{BUCKET}/", body, headers, token=False), "a chunk")
        upload.sent.add(index)
        upload.doubtful.discard(index)
        if last:
            upload.state = "done"
            self.is_now(upload.name, upload.content())

    def finish(self, id):
        """Says that no more chunks come."""
        upload = self.uploads[id]
        upload.turn = self.may_be(upload.name, upload.content())
        upload.state = "finishing"
        target = f"/v1/files/uploads/{id}?nb_chunks={len(upload.chunks)}"
        self.expect((200,), self.ask("PUT", target), "the end of a session")
        upload.state = "done"
        self.is_now(upload.name, upload.content())

    def abort(self):
        opened = [id for id, upload in self.uploads.items() if upload.state == "open"]
        if not opened:
            return self.begin()
        upload = self.uploads[id := self.rng.choice(opened)]
        upload.state = "aborting"
        self.expect((200, 204), self.ask("DELETE", f"/v1/files/uploads/{id}"), "an abort")
        upload.state = "aborted"

    def present(self):
        return [name for name, may in self.told.items() if None not in may and self.expiry.get(name) is None]

    def find(self, name):
        target = f"/v1/files/downloads/?object_key={name}&pipeline_id={PIPELINE}&redirect=true"
        answer = self.expect((302,), self.ask("GET", target), f"the look-up of {name}")
        return re.search(r"/downloads/([0-9a-f]{24})/", answer[1]["location"])[1]

    def delete(self):
        names = self.present()
        if not names:
            return self.single()
        id = self.find(name := self.rng.choice(names))
        self.may_be(name, None)
        self.expect((200, 204), self.ask("DELETE", f"/v1/files/{id}"), "a delete")
        self.is_now(name, None)

    def expire(self):
        names = self.present()
        if not names:
            return self.single()
        id = self.find(name := self.rng.choice(names))
        soon = self.rng.random() < 0.6
        at = int(time.time()) + (1 if soon else 100_000) + 1
        # Asked, not answered: it may expire then, or never.
        self.next_turn(name)
        self.expiry[name] = ("maybe", at)
        answer = self.ask("PUT", f"/v1/files/{id}?expires_at={at}")
        if answer[0] == 400 and time.time() >= at:
            # It came when that was past already, and has changed nothing.
            del self.expiry[name]
            return
        self.expect((200,), answer, "a change of expiry")
        self.expiry[name] = ("at", at)

    def broken(self):
        """A form that ends before its closing delimiter, and one whose content is not what its MD5 says: never visible."""
        name, content = f"x-{self.number}", self.bytes(50_000)
        fields = {"key": ROOT + name, "Content-MD5": base64.b64encode(md5(content)).decode()} | self.fields
        self.told.setdefault(name, {None})
        if self.rng.random() < 0.5:
            body, headers = form(fields, content, end=False)
            try:
                answer = self.ask("POST", f"/{BUCKET}/", body, headers, token=False, cut_short=True)
                if answer[0] < 300:
                    raise Broken(f"a form without an end was answered {answer[0]}")
            except Gone:
                pass
            self.connection.close()
            return
        body, headers = form(fields, content + b"!")
        answer = self.ask("POST", f"/{BUCKET}/", body, headers, token=False)
        if answer[0] != 400 and not (self.tolerant and answer[0] >= 500):
            raise Broken(f"content with another MD5 was answered {answer[0]}")

    def may_be(self, name, content, mark=PLAIN):
        """Returns which question about the name this is."""
        self.told[name] = self.told.get(name, {None}) | {content}
        self.marks[name] = self.marks.get(name, {(None, PLAIN)}) | {(content, mark)}
        if name in self.expiry:
            self.expiry[name] = ("maybe", self.expiry[name][1])
        return self.next_turn(name)

    def next_turn(self, name):
        self.turns[name] = self.turns.get(name, 0) + 1
        return self.turns[name]

    def must_show(self, upload):
        """Whether an upload that has ended by a question without an answer is what its name shows: nobody asked anything after it.
        A client that goes on after a kill, without a look at what is there, may write to the name, and what it overwrites is gone."""
        return upload.turn in (None, self.turns.get(upload.name))

    def is_now(self, name, content, mark=PLAIN):
        self.told[name], self.marks[name] = {content}, {(content, mark)}
        self.expiry.pop(name, None)

    S3 = (("put", 16), ("remove", 6), ("copy", 8), ("lie", 2), ("create", 8), ("part", 24), ("abort_parts", 3))
    S3 += (("mark", 8), ("put_if", 6), ("remove_many", 3), ("copy_part", 4))
    CATALOG = (("bucket", 2), ("setting", 2), ("pipeline", 2), ("token", 2))
    MIX = {
        "all": (("single", 26), ("begin", 8), ("chunk", 40), ("abort", 4), ("delete", 10), ("expire", 6), ("broken", 6), *S3, *CATALOG),
        "s3": S3,
        "catalog": (("begin", 2), *CATALOG),
        "changes": (("put", 1), ("mark", 1), ("expire", 1)),
        # Nothing that depends on how fast an answer comes.
        "lasting": (("single", 26), ("begin", 8), ("chunk", 40), ("abort", 4), ("delete", 10), ("broken", 6)),
        "single": (("single", 1),),
        "blocks": (("blocks", 1),),
        "delete": (("single", 50), ("delete", 50)),
        "index": (("begin", 60), ("abort", 20), ("delete", 15), ("expire", 5)),
    }

    # Deeds that change nothing.
    FRUITLESS = ("broken", "lie")

    def work(self, mix, stop):
        deeds, weights = zip(*self.MIX[mix])
        try:
            while not stop.is_set():
                getattr(self, self.rng.choices(deeds, weights)[0])()
        except Gone as gone:
            if not stop.is_set():
                self.trouble, self.cut_off = f"the server went away: {gone}", str(gone) == CUT
        except Refused:
            pass
        except Broken as broken:
            self.trouble = str(broken)
        except Exception as error:
            self.trouble = f"client {self.number} itself failed: {error!r}"
            raise
        finally:
            self.leave()

    # After the restart.

    def check(self, files, fetch):
        """Compares the ledger with what is there, and takes over what is seen."""
        now = time.time()
        for name in sorted(self.told):
            allowed = set(self.told[name])
            sure, at = self.expiry.get(name, ("never", None))
            if at is not None and (sure == "maybe" or abs(at - now) < BLUR) and at < now + BLUR:
                allowed.add(None)
            elif sure == "at" and at < now:
                allowed = {None}
            found = fetch(files[name]) if name in files else None
            if found is None and name in files and at is not None and at <= time.time():
                # It was listed, and has expired while the others were looked at.
                allowed.add(None)
            if found not in allowed:
                raise Broken(f"{name}: {verdict(found, allowed)}; expiry {sure} {at}, now {now:.1f}")
            if sure == "at" and found is not None and expires(files[name]) != at:
                raise Broken(f"{name}: its acknowledged expiry {at} is now {expires(files[name])}")
            self.told[name] = {found}
            self.check_mark(name, found)
            if sure == "maybe" or found is None:
                self.expiry.pop(name, None)
                if found is not None and expires(files[name]) < now + 86_400 * 3:
                    self.expiry[name] = ("at", expires(files[name]))
        for id in sorted(self.uploads):
            self.check_upload(id, self.uploads[id], fetch)
        self.uploads = {id: upload for id, upload in self.uploads.items() if upload.state == "open"}
        self.check_parts()
        self.check_uploads()
        self.check_catalog()

    def check_upload(self, id, upload, fetch):
        status, _, body = self.ask("GET", f"/v1/files/uploads/{id}")
        if upload.state == "aborted" or (upload.state == "aborting" and status == 404):
            if status != 404:
                raise Broken(f"session {id} was aborted and is back: {status}")
            upload.state = "aborted"
            return
        if status != 200:
            raise Broken(f"session {id} ({upload.state}) is lost: {status} {body[:200]!r}")
        seen = json.loads(body)["upload"]
        if seen["status"] == "COMPLETED":
            if upload.state != "done" and self.must_show(upload) and self.told[upload.name] != {upload.content()}:
                raise Broken(f"session {id} is completed, and its object is not there")
            upload.state = "done"
        if upload.state == "done":
            if seen["status"] != "COMPLETED":
                raise Broken(f"session {id} was completed and is now {seen['status']}")
            return
        if lost := upload.sent - upload.doubtful - set(seen["received_chunks"]):
            raise Broken(f"session {id}: acknowledged chunks {sorted(lost)} are lost")
        upload.state = "open"
        # The question that the cut left open is closed now, so that the client knows again which chunk is the last.
        for index in sorted(upload.doubtful):
            self.resend(upload, index)

    def finish_all(self):
        """Sends what is missing of every open session; what comes out must be what went in."""
        for id, upload in self.uploads.items():
            if upload.state != "open":
                continue
            for index in range(len(upload.chunks)):
                if upload.state == "open" and (index not in upload.sent or index in upload.doubtful):
                    self.resend(upload, index)
            if upload.state == "open" and not upload.counts:
                self.finish(id)
            if upload.state == "open":
                raise Broken(f"session {id}: all chunks were acknowledged and it is not complete")
        self.uploads = {}
        self.finish_parts()

    def resend(self, upload, index):
        upload.sent.discard(index)
        body, headers = upload.form(index)
        self.expect((200, 201, 204), self.ask("POST", f"/{BUCKET}/", body, headers, token=False), "a chunk that is sent again")
        upload.sent.add(index)
        upload.doubtful.discard(index)
        if upload.counts and len(upload.sent) == len(upload.chunks) and not upload.doubtful:
            upload.state = "done"
            self.is_now(upload.name, upload.content())


def expires(file):
    """When a file expires, in seconds."""
    return file.get("expires_at", 1 << 62) // 1000


def verdict(found, allowed):
    if found is None:
        return "an acknowledged object is lost"
    if allowed == {None}:
        return f"{len(found)} bytes are visible that were deleted, expired or never acknowledged"
    whole = [len(content) for content in allowed if content is not None]
    return f"other bytes than were acknowledged are visible: {len(found)}, allowed {whole}"


class Reader:
    """Reads everything that the server shows."""

    def __init__(self, server):
        self.connection = Connection(server.address)

    def files(self):
        """All files by name; no name twice."""
        files, start = {}, 0
        while True:
            status, _, body = self.connection.ask("GET", f"/v1/files/?start={start}&limit=1000")
            if status != 200:
                raise Broken(f"the list was answered {status}: {body[:200]!r}")
            page = json.loads(body)
            for file in page["files"]:
                if file["name"] in files:
                    raise Broken(f"{file['name']} is listed twice")
                files[file["name"]] = file
            start += len(page["files"])
            if start >= page["total"] or not page["files"]:
                return files

    def fetch(self, file):
        """The bytes of a file, as a client reads them; None when it is gone by now."""
        try:
            return self.bytes(file)
        except Gone as gone:
            # A large file whose bytes turn out to be others when its head was sent. A server that is gone has lost nothing by that.
            if str(gone) != CUT:
                raise
            raise Gone(f"{file['name']} cannot be read: {gone}") from gone

    def bytes(self, file):
        status, headers, body = self.connection.ask("GET", f"/v1/files/downloads/?file_id={file['id']}&redirect=true")
        if status == 302:
            target = re.sub(r"^http://[^/]*", "", headers["location"])
            status, headers, body = self.connection.ask("GET", target, token=False)
        if status == 404:
            return None
        if status != 200:
            raise Broken(f"{file['name']} cannot be read: {status} {body[:200]!r}")
        if len(body) != file["size"]:
            raise Broken(f"{file['name']}: {len(body)} bytes, its record says {file['size']}")
        return body


class Load:
    """The eight clients, over any number of restarts."""

    def __init__(self, seed):
        self.seed, self.rng = seed, random.Random(seed)
        self.clients = [Client(n, random.Random(f"{seed}-{n}")) for n in range(CLIENTS)]

    @property
    def acknowledged(self):
        return sum(client.acknowledged for client in self.clients)

    def connect(self, server):
        for client in self.clients:
            client.connect(server)

    def prepare(self, server, mix):
        """The pipeline, and for the index alone some objects without bytes, made before the load."""
        self.connect(server)
        self.clients[0].begin()
        if mix == "index":
            for client in self.clients:
                for name in (f"s-{client.number}-{n}" for n in range(NAMES)):
                    fields = {"key": ROOT + name, "Content-MD5": base64.b64encode(md5(b"")).decode()} | client.fields
                    body, headers = form(fields, b"")
                    client.expect((201,), client.ask("POST", f"/{BUCKET}/", body, headers, token=False), "an empty post")
                    client.is_now(name, b"")

    def run(self, server, seconds, mix, blow, freeze=True, tolerant=False, settle=False):
        """Runs the clients for some time, then calls `blow` while they run, which ends the server; with `settle` when they have
        ended, since a list of several pages may name an object twice that is replaced between them."""
        stop, threads = threading.Event(), []
        self.connect(server)
        for client in self.clients:
            client.tolerant = tolerant
            thread = threading.Thread(target=client.work, args=(mix, stop), daemon=True)
            threads.append(thread)
            thread.start()
        time.sleep(seconds)
        if freeze:
            server.freeze()
            # What was answered before is read before.
            time.sleep(0.005)
        stop.set()
        if settle:
            self.join(threads)
        blow()
        self.join(threads)
        if tolerant:
            self.excuse_one()
        for client in self.clients:
            client.tolerant = False
            if client.trouble:
                raise Broken(client.trouble)

    def excuse_one(self):
        """An error in the middle of an answer can only cut it. There is one error, so one client may see that."""
        for client in [client for client in self.clients if client.trouble and client.cut_off][:1]:
            client.trouble = None

    def last_deed(self, server, kind):
        """One more, when all clients have their answers."""
        client = self.rng.choice(self.clients)
        client.connect(server)
        try:
            getattr(client, kind)()
        finally:
            client.leave()

    @staticmethod
    def join(threads):
        for thread in threads:
            thread.join(ANSWER_WAIT + 5)
            if thread.is_alive():
                raise Broken("a client never got an answer nor an end")

    def check(self, server, finish=False, tolerant=False):
        """With `tolerant` the server may refuse to answer some of it, and then nothing is learnt from the rest."""
        if tolerant:
            for client in self.clients:
                client.connect(server)
                for upload in client.uploads.values():
                    if upload.doubtful and upload.state == "open":
                        upload.state = "doubtful"
            return
        reader = Reader(server)
        self.connect(server)
        files = reader.files()
        expiring = set().union(*(client.expiry for client in self.clients))
        if differ := self.clients[0].check_keys(files) - expiring:
            raise Broken(f"the lists of the two dialects differ in {sorted(differ)[:5]}")
        known = set().union(*(client.told for client in self.clients))
        for client in self.clients:
            client.check(files, reader.fetch)
        if strange := set(files) - known:
            raise Broken(f"files that nobody wrote: {sorted(strange)[:5]}")
        if not finish:
            return
        for client in self.clients:
            client.finish_all()
        files = reader.files()
        for client in self.clients:
            client.check(files, reader.fetch)

    def check_no_orphans(self, server, data):
        """Every file on disk belongs to an object that is there. Only after all sessions are finished."""
        deadline = time.monotonic() + 6
        while True:
            there = {path.name for path in (data / "objects").glob("*/*")}
            # What has expired and was not swept yet is listed no more, but its file may stay for a moment.
            owned = {file["id"] for file in Reader(server).files().values()}
            orphans = {name for name in there if name.removesuffix(".meta") not in owned}
            if not orphans and owned <= there:
                return
            if time.monotonic() > deadline:
                raise Broken(f"files that belong to nothing: {sorted(orphans)[:5]}, objects without one: {sorted(owned - there)[:5]}")
            time.sleep(0.2)


class Place:
    """A scratch folder in memory where there is one; removed at the end unless something failed."""

    def __init__(self, what):
        memory = Path("/dev/shm")
        base = memory if memory.is_dir() and shutil.disk_usage(memory).free > 4 << 30 else Path(tempfile.gettempdir())
        self.folder = Path(tempfile.mkdtemp(prefix=f"pillarbox-{what}-", dir=base))

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_for(condition, seconds):
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def binary_of(argument):
    binary = Path(argument or os.environ.get("PILLARBOX_BIN", "target/debug/pillarbox")).resolve()
    if not binary.is_file():
        sys.exit(f"FAILED: there is no binary {binary}")
    return binary


def report(what, n, failures, acknowledged, seconds, slowest):
    bound = f"with 95 % confidence fewer than {300 / n:.2f} % fail (3/n)" if n and not failures else "no bound"
    print(
        f"{what}: n = {n}, failures = {failures}, acknowledged = {acknowledged}, {bound}; "
        f"{seconds / max(n, 1):.2f} s each, slowest start {slowest:.2f} s",
        flush=True,
    )
