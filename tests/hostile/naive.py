"""A server with the holes that the hostile tests look for, so that each of them can be seen to find one.

    naive.py PORTFILE [CERTIFICATE KEY]

It believes a length before chunks, takes whatever Python takes for a number, reads a body whole before it judges it, searches it
anew from every place of it, copies a header as often as it is said to be signed, keeps a few connections for as long as their peers like, and remembers every frame of HTTP/2 for ever.
"""

import json
import os
import socket
import ssl
import sys
import threading

# Connections at once; the rest wait.
MOST = 40
# Bytes of a body that are read at most.
MOST_BODY = 1 << 20
# Names of signed headers that are looked at.
MOST_SIGNED = 2000


class Peer:
    def __init__(self, connection):
        self.connection, self.held = connection, b""

    def more(self):
        data = self.connection.recv(65536)
        if not data:
            raise OSError("closed")
        self.held += data

    def line(self):
        while b"\n" not in self.held:
            self.more()
        line, _, self.held = self.held.partition(b"\n")
        return line.strip().decode("latin-1")

    def exactly(self, length):
        while len(self.held) < length:
            self.more()
        data, self.held = self.held[:length], self.held[length:]
        return data

    def body(self, headers):
        if length := headers.get("content-length"):
            try:
                return self.exactly(min(int(length), MOST_BODY))
            except ValueError:
                return b""
        body = b""
        while "chunked" in headers.get("transfer-encoding", ""):
            size = int(self.line() or "0", 16)
            body += self.exactly(size)
            self.line()
            if size == 0:
                break
        return body

    def request(self):
        while not (line := self.line()):
            pass
        _, path, *_ = line.split(" ") + [""]
        headers = {}
        while line := self.line():
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        signed = headers.get("authorization", "").partition("SignedHeaders=")[2].partition(",")[0]
        # As a text that is signed: the value of each header that is named, as often as it is named.
        self.text = [(name + headers.get(name, "")).encode() for name in signed.split(";")[:MOST_SIGNED]]
        return path, headers, self.body(headers)


def answer(path, body):
    # Looks for the end of the form from every place of it.
    for at in range(min(len(body), 20_000)):
        body.find(b"\r\n--", at, 20_000)
    if path.startswith("/v1/files/"):
        return "200 OK", b'{"total":0}'
    if path == "/uploads/":
        return ("201 Created", b"") if b"/honest" in body else ("400 Bad Request", b"bad")
    return "404 Not Found", b"gone"


def serve(connection, room):
    try:
        with connection:
            peer = Peer(connection)
            if isinstance(connection, ssl.SSLSocket) and connection.selected_alpn_protocol() == "h2":
                remembered = []
                while True:
                    peer.more()
                    remembered.append(peer.held * 8)
                    peer.held = b""
            while True:
                path, headers, body = peer.request()
                id = os.urandom(8).hex().upper()
                told = {"target": "pillarbox::access", "request_id": id, "path": path.partition("?")[0], "received": len(body)}
                print(json.dumps(told), flush=True)
                status, text = answer(path, body)
                connection.sendall(f"HTTP/1.1 {status}\r\nx-request-id: {id}\r\ncontent-length: {len(text)}\r\n\r\n".encode() + text)
                if headers.get("connection") == "close":
                    return
    except (OSError, ValueError):
        pass
    finally:
        room.release()


def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    context = None
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*sys.argv[2:4])
        context.set_alpn_protocols(["h2", "http/1.1"])
    with open(sys.argv[1], "w") as ports:
        print(*["http://%s:%d" % listener.getsockname()] * 2, sep="\n", file=ports)
    room = threading.Semaphore(MOST)
    while True:
        room.acquire()
        connection, _ = listener.accept()
        try:
            if context:
                connection = context.wrap_socket(connection, server_side=True)
        except OSError:
            room.release()
            continue
        threading.Thread(target=serve, args=(connection, room), daemon=True).start()


if __name__ == "__main__":
    main()
