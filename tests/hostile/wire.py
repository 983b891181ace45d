"""What the hostile tests share: the real server and its figures, raw sockets, the honest client, and the report.

Owns: starting and stopping of servers, reading of answers byte by byte, the measure of processor time and memory. Never does: use
an HTTP library, for what is sent here is what no library would send. Python 3.11, standard library only; loopback only.
"""

import base64
import json
import os
import resource
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "faults"))

import harness  # noqa: E402
from harness import ROOT, TOKEN, binary_of, form, md5, plain_form  # noqa: E402

__all__ = ["TOKEN", "binary_of", "form"]

# Longest wait for an answer, in seconds.
ANSWER_WAIT = 20
# Longest wait for a server to start, in seconds.
START_WAIT = 30


# How often honest clients are watched that waited too long.
LOOKS = 3


class Broken(Exception):
    """A promise that was not kept."""


class Slow(Broken):
    """Honest clients waited too long."""


class Place:
    """A scratch folder, removed at the end; in memory where there is room, for what a request waits for a busy disk is no abuse."""

    def __init__(self):
        self.place = harness.Place("hostile")

    def __enter__(self):
        return self.place.folder

    def __exit__(self, *_):
        self.place.remove()


def certificate(folder):
    """A certificate of our own for loopback; the settings that name it."""
    key, cert = folder / "tls.key", folder / "tls.crt"
    if not cert.exists():
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        make += ["-keyout", key, "-out", cert, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        subprocess.run(make, check=True, capture_output=True)
        key.chmod(0o600)
    return [f"tls.certificate={cert}", f"tls.private_key={key}"]


def tls(*protocols):
    """A client's side of TLS that trusts anyone, for it talks to loopback."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols))
    return context


class Process:
    """A child that is ended by its own id."""

    def __init__(self, command, log, environment=None):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PILLARBOX_")}
        self.log = Path(log)
        with open(self.log, "ab") as out:
            self.child = subprocess.Popen(command, stdout=out, stderr=out, env=clean | (environment or {}))

    def await_file(self, path):
        deadline = time.monotonic() + START_WAIT
        while not (path.exists() and path.read_text().endswith("\n")):
            if self.child.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise Broken(f"it did not start: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.005)
        return path.read_text().split()

    def cpu(self):
        """Processor time of all its threads so far, in seconds: the kernel's clock of that process, to the nanosecond."""
        return time.clock_gettime((~self.child.pid << 3) | 2)

    def rss(self):
        """Resident memory, in bytes."""
        return int(Path(f"/proc/{self.child.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def forget_peak(self):
        Path(f"/proc/{self.child.pid}/clear_refs").write_text("5")

    def peak(self):
        """The most resident memory since the last [`forget_peak`], in bytes."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10

    def alive(self):
        return self.child.poll() is None

    def stop(self, how=signal.SIGTERM):
        if self.alive():
            self.child.send_signal(how)
            try:
                self.child.wait(45)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop(signal.SIGKILL)


class Logged(Process):
    """A server whose log tells of each request in JSON."""

    def __init__(self, command, folder, name, secure):
        super().__init__(command, folder / f"{name}.log")
        public, _ = self.await_file(folder / f"{name}.ports")
        host, port = public.rpartition("//")[2].split(":")
        self.place, self.secure = (host, int(port)), secure

    def requests(self):
        """The lines of the log that tell of a request."""
        lines = []
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                line = json.loads(line)
            except ValueError:
                continue
            if line.get("target") == "pillarbox::access":
                lines.append(line)
        return lines

    def request(self, id):
        """The log's line of the request with this id; it may be written a moment after the answer."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            for line in reversed(self.requests()):
                if line["request_id"] == id:
                    return line
            time.sleep(0.01)
        raise Broken(f"the log does not know the request {id}")


class Server(Logged):
    """The real binary, with its default limits but for `settings`."""

    def __init__(self, binary, folder, name="server", settings=(), secure=False):
        command = [binary, "dev", "--data", folder / f"{name}.data", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
        command += ["--port-file", folder / f"{name}.ports", "--log-format", "json"]
        for setting in [*settings, *(certificate(folder) if secure else [])]:
            command += ["--set", setting]
        super().__init__(command, folder, name, secure)


class Naive(Logged):
    """A server that has the holes."""

    def __init__(self, folder, secure=False):
        command = [sys.executable, Path(__file__).with_name("naive.py"), folder / "naive.ports"]
        if secure:
            command += [setting.partition("=")[2] for setting in certificate(folder)]
        super().__init__(command, folder, "naive", secure)


def must_find(what, test, *arguments):
    """Runs a test on the server that has the holes; it must fail, and say `what`."""
    try:
        told = test(*arguments)
    except Broken as broken:
        if what not in str(broken):
            raise Broken(f"it found something else: {broken}") from broken
        return f"found: {broken}"
    raise Broken(f"it found nothing where there is much to find: {told}")


class Gone(Exception):
    """The connection ended before an answer was whole."""


class Answer:
    def __init__(self, version, status, headers, body):
        self.version, self.status, self.headers, self.body = version, status, headers, body

    @property
    def id(self):
        return self.headers.get("x-request-id")

    @property
    def closes(self):
        return "close" in self.headers.get("connection", "").lower()

    def __repr__(self):
        return f"{self.status} {self.body[:120]!r}"


class Peer:
    """One connection, raw."""

    def __init__(self, place, context=None, wait=ANSWER_WAIT, receive_buffer=None):
        self.socket = socket.socket()
        self.socket.settimeout(wait)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.connect(place)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context:
                self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        except BaseException:
            self.socket.close()
            raise
        self.held = b""

    def send(self, data):
        self.socket.sendall(data)

    def send_until_answered(self, data):
        """Ends early when the other side has heard enough, so that its answer is not lost with what it did not read."""
        for start in range(0, len(data), 65536):
            if self.readable():
                return
            self.socket.sendall(data[start : start + 65536])

    def readable(self):
        return bool(self.held) or bool(select.select([self.socket], [], [], 0)[0])

    def more(self):
        try:
            data = self.socket.recv(65536)
        except (ConnectionError, ssl.SSLError) as error:
            raise Gone(str(error)) from error
        except TimeoutError as error:
            raise Gone("silence") from error
        if not data:
            raise Gone("closed")
        self.held += data

    def until(self, mark):
        while mark not in self.held:
            self.more()
        head, _, self.held = self.held.partition(mark)
        return head

    def exactly(self, length):
        while len(self.held) < length:
            self.more()
        data, self.held = self.held[:length], self.held[length:]
        return data

    def answer(self, method="GET"):
        """The next answer that is final, whole."""
        while True:
            head = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
            version, status = head[0].split(" ")[:2]
            if not version.startswith("HTTP/1."):
                raise Broken(f"this is no answer: {head[0]!r}")
            if not status.startswith("1") or status == "101":
                break
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        return Answer(version, int(status), headers, self.body(int(status), headers, method))

    def body(self, status, headers, method):
        if method == "HEAD" or status in (204, 304):
            return b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.until(b"\r\n").split(b";")[0], 16):
                body += self.exactly(size)
                self.exactly(2)
            self.until(b"\r\n")
            return body
        return self.exactly(int(headers.get("content-length", 0)))

    def is_closed(self, wait=5.0):
        """Whether the other side ends the connection within `wait` seconds, and says nothing more before."""
        self.socket.settimeout(wait)
        try:
            self.more()
        except Gone as gone:
            return str(gone) != "silence"
        return False

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def settled(server):
    """Waits until the server has nothing to do."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        before = server.cpu()
        time.sleep(0.1)
        if server.cpu() - before < 0.002:
            return


def weighed(server, request, most_cpu, most_rss, tries=5):
    """Sends a request `tries` times. It is answered, with no error of the server's own, and costs at most so many seconds of processor time
    and bytes of memory, beside what was there before. The least time counts, for something else may have been weighed with it; when that was
    too long it is sent as often again, twice, for within a second a busy machine slows down all of them."""
    seconds, grown = float("inf"), 0
    for number in range(3 * tries):
        if number % tries == 0 and number:
            if seconds <= most_cpu:
                break
            settled(server)
        server.forget_peak()
        rss, cpu = server.rss(), server.cpu()
        with Peer(server.place) as peer:
            peer.send_until_answered(request)
            answer = peer.answer()
        seconds, grown = min(seconds, server.cpu() - cpu), max(grown, server.peak() - rss)
        if answer.status >= 500:
            raise Broken(f"answered {answer!r}")
        time.sleep(0.01)
    told = f"{answer.status}, {seconds * 1000:.1f} ms, {grown / (1 << 20):.1f} MiB"
    if grown > most_rss:
        raise Broken(f"more memory than the request is worth: {told}")
    if seconds > most_cpu:
        raise Broken(f"more processor time than the request is worth: {told}")
    return told


def lives(server):
    """An honest client is answered."""
    with Peer(server.place) as peer:
        peer.send(get("/v1/files/?limit=1", f"Authorization: Bearer {TOKEN}"))
        if (answer := peer.answer()).status != 200:
            raise Broken(f"an honest client is answered {answer!r}")


def fields(name, content):
    """Those of a signed form for this object."""
    return {"key": ROOT + name, "Content-MD5": base64.b64encode(md5(content)).decode()} | plain_form()


def get(target, *headers):
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


class Honest(threading.Thread):
    """Well-behaved clients: one that keeps its connection, one that makes a new one for each request. Every third request posts
    a form of 16 KiB, the others read a list. What it saw: seconds of each request, and what went wrong."""

    PAUSE = 0.02

    def __init__(self, server, keep):
        super().__init__(daemon=True)
        self.server, self.keep, self.peer = server, keep, None
        self.context = tls("http/1.1") if server.secure else None
        self.over = threading.Event()
        self.seconds, self.failures = [], []
        content = b"h" * 16384
        body, (kind,) = form(fields("honest", content), content)
        post = f"POST /uploads/ HTTP/1.1\r\nHost: localhost\r\n{kind}\r\nContent-Length: {len(body)}\r\n"
        more = "" if keep else "Connection: close\r\n"
        read = f"GET /v1/files/?limit=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        self.asks = [(read + more + "\r\n").encode()] * 2 + [(post + more + "\r\n").encode() + body]

    def ask(self, number):
        if self.peer is None:
            self.peer = Peer(self.server.place, self.context)
        self.peer.send(self.asks[number % 3])
        answer = self.peer.answer()
        if answer.status not in (200, 201):
            raise Gone(f"it was answered {answer!r}")
        if not self.keep:
            self.peer.close()
            self.peer = None

    def run(self):
        number = 0
        while not self.over.is_set():
            began = time.monotonic()
            try:
                self.ask(number)
            except (OSError, Gone) as error:
                self.failures.append(f"after {time.monotonic() - began:.2f} s: {error}")
                self.drop()
            self.seconds.append(time.monotonic() - began)
            number += 1
            self.over.wait(self.PAUSE)
        self.drop()

    def drop(self):
        if self.peer:
            self.peer.close()
        self.peer = None

    def end(self):
        self.over.set()
        self.join(ANSWER_WAIT + 5)


def watched(test, seconds):
    """A test of honest clients, up to three times when they waited too long. Of fewer than a hundred requests the slowest is the 99th
    percentile, so one moment in which this machine stood still makes it. Not a longer one: there a server that stands still once for each
    abuse would be slow to one of a hundred only."""
    for _ in range(LOOKS - 1):
        try:
            return test(seconds)
        except Slow as slow:
            print(f"    {slow}; once more", flush=True)
    return test(seconds)


def p99(seconds):
    return sorted(seconds)[int(len(seconds) * 0.99)] if seconds else float("inf")


class Report:
    """Counts what held and what did not, in the words that tests/run counts."""

    def __init__(self, what):
        self.what, self.passed, self.failed = what, 0, 0
        self.lock = threading.Lock()

    def check(self, name, test, *arguments):
        try:
            told, held = test(*arguments), True
        except (Broken, Gone, OSError) as broken:
            told, held = str(broken), False
        with self.lock:
            self.passed, self.failed = self.passed + held, self.failed + (not held)
            verdict = "ok" if held else "FAILED"
            print(f"test hostile {self.what} {name} ... {verdict}{f', {told}' if told else ''}", flush=True)

    def end(self):
        if self.passed + self.failed == 0:
            sys.exit(f"FAILED: {self.what} ran nothing")
        sys.exit(1 if self.failed else 0)


def raise_file_limit(wanted):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        sys.exit(f"FAILED: {wanted} open files are needed, the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
