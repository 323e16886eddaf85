"""The HTTP cases of the h2 library, as a client and as a server. See ../README.md."""

import collections
import os
import socket
import sys
import threading
import time

import h2.config
import h2.connection
import h2.events as events
import h2.exceptions
from h2.errors import ErrorCodes

from common import pattern, say, sha256


def fields(headers):
    """Fields without those that HTTP/2 writes first; what is long by its length only."""
    found = {}
    for name, value in headers or ():
        if not name.startswith(":"):
            separator = "; " if name == "cookie" else ", "
            found[name] = found[name] + separator + value if name in found else value
    return {name: value if len(value) <= 200 else f"({len(value)})" for name, value in found.items()}


class Wire:
    """A connection: the library's state machine and its socket."""

    def __init__(self, stream, client):
        config = h2.config.H2Configuration(client_side=client, header_encoding="utf-8")
        self.http = h2.connection.H2Connection(config)
        self.stream = stream
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.http.initiate_connection()
        self.flush()

    def flush(self):
        self.stream.sendall(self.http.data_to_send())

    def receive(self):
        data = self.stream.recv(65536)
        if not data:
            raise ConnectionError("the connection has ended")
        found = self.http.receive_data(data)
        self.flush()
        return found

    def room(self, stream):
        return min(self.http.local_flow_control_window(stream), self.http.max_outbound_frame_size)


# --- server


class Answer:
    """What a stream is still to be sent."""

    def __init__(self):
        self.pieces = collections.deque()
        self.trailers = None
        self.then = "end"


class Server:
    def __init__(self, stream, number):
        self.wire = Wire(stream, client=False)
        self.number = number
        self.seen = {}
        self.bodies = {}
        self.answers = {}
        self.leaving = False

    def run(self):
        try:
            while not self.leaving:
                for event in self.wire.receive():
                    self.handle(event)
                self.send()
            # The other side closes when it has read everything.
            self.wire.stream.shutdown(socket.SHUT_WR)
            while self.wire.stream.recv(65536):
                pass
        except (OSError, h2.exceptions.ProtocolError):
            pass
        for stream in list(self.seen):
            self.tell(stream, "gone")
        self.wire.stream.close()

    def tell(self, stream, end):
        self.answers.pop(stream, None)
        seen = self.seen.pop(stream, None)
        if seen:
            say({**seen, "end": end})

    def handle(self, event):
        stream = getattr(event, "stream_id", None)
        if isinstance(event, events.RequestReceived):
            pseudo = dict(event.headers)
            self.seen[stream] = {
                "method": pseudo[":method"],
                "target": pseudo[":path"],
                "proto": "2",
                "headers": fields(event.headers),
                "connection": self.number,
            }
            self.bodies[stream] = bytearray()
            if pseudo.get("expect") == "100-continue":
                self.wire.http.send_headers(stream, [(":status", "100")])
            if self.path(stream)[0] not in ("echo", "status", "refuse"):
                self.answer(stream)
        elif isinstance(event, events.DataReceived):
            self.bodies[stream] += event.data
            self.wire.http.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, events.TrailersReceived):
            self.seen.get(stream, {})["trailers"] = fields(event.headers)
        elif isinstance(event, events.StreamEnded):
            if stream in self.seen and self.path(stream)[0] in ("echo", "status", "refuse"):
                self.answer(stream)
        elif isinstance(event, events.StreamReset):
            self.tell(stream, "gone")

    def path(self, stream):
        return self.seen[stream]["target"].split("?")[0].strip("/").split("/")

    def answer(self, stream):
        what, *rest = self.path(stream)
        seen, http, body = self.seen[stream], self.wire.http, bytes(self.bodies[stream])
        answer = Answer()
        status, headers = "200", []
        if what == "echo":
            seen.update(length=len(body), sha256=sha256(body))
            answer.pieces.append(body)
            checksum = seen.get("trailers", {}).get("x-checksum", "")
            answer.trailers = [("x-sha256", sha256(body)), ("x-trailer-seen", checksum)]
        elif what == "bytes":
            headers.append(("content-length", rest[0]))
            if seen["method"] != "HEAD":
                answer.pieces.append(pattern(int(rest[0])))
        elif what == "stream":
            whole = pattern(int(rest[1])) * int(rest[0])
            answer.pieces.append(whole)
            answer.trailers = [("x-sha256", sha256(whole))]
        elif what == "status":
            status = rest[0]
        elif what == "hints":
            http.send_headers(stream, [(":status", "103"), ("link", "</style.css>; rel=preload")])
            answer.pieces.append(b"after hints")
        elif what == "hold":
            answer.pieces.append(b"first piece")
            answer.then = "wait"
        elif what == "die":
            headers.append(("content-length", "10000000"))
            answer.pieces.append(pattern(int(rest[0])))
            answer.then = "cut"
        elif what == "refuse":
            http.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
            return self.tell(stream, "cut")
        elif what == "goaway":
            answer.pieces.append(b"the last one")
            answer.then = "leave"
        elif what == "early":
            status = "413"
            answer.pieces.append(b"too much")
        else:
            status = "404"
        http.send_headers(stream, [(":status", status), *headers])
        self.answers[stream] = answer

    def send(self):
        for stream in list(self.answers):
            self.send_to(stream, self.answers[stream])
        self.wire.flush()

    def send_to(self, stream, answer):
        http = self.wire.http
        while answer.pieces:
            piece = memoryview(answer.pieces[0])
            while piece and (room := self.wire.room(stream)) > 0:
                http.send_data(stream, piece[:room].tobytes())
                piece = piece[room:]
            if piece:
                answer.pieces[0] = piece
                return
            answer.pieces.popleft()
        if answer.then == "wait":
            return
        if answer.then == "cut":
            http.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
            return self.tell(stream, "cut")
        if answer.trailers:
            http.send_headers(stream, answer.trailers, end_stream=True)
        else:
            http.end_stream(stream)
        self.tell(stream, "complete")
        if answer.then == "leave":
            http.close_connection()
            self.leaving = True


def serve(address):
    host, port = address.rsplit(":", 1)
    listener = socket.create_server((host, int(port)), backlog=128)
    say({"listening": address})
    number = 0
    while True:
        stream, _ = listener.accept()
        number += 1
        threading.Thread(target=Server(stream, number).run, daemon=True).start()


# --- client


class Exchange:
    def __init__(self):
        self.line = {"hints": [], "continued": False}
        self.body = bytearray()
        self.done = False

    def told(self):
        return {**self.line, "length": len(self.body), "sha256": sha256(bytes(self.body))}

    def fail(self, why):
        self.line.setdefault("error", why)
        self.done = True


class Client:
    def __init__(self, base):
        self.host, port = base.removeprefix("http://").split(":")
        self.port = int(port)
        self.connections = 0
        self.wire = None
        self.reads = True

    def connect(self):
        if self.wire is None:
            self.wire = Wire(socket.create_connection((self.host, self.port)), client=True)
            self.exchanges = {}
            self.connections += 1

    def pump(self):
        try:
            found = self.wire.receive()
        except (OSError, h2.exceptions.ProtocolError) as error:
            return self.lost(str(error))
        for event in found:
            self.handle(event)
        if self.wire:
            self.wire.flush()

    def lost(self, why):
        for exchange in self.exchanges.values():
            if not exchange.done:
                exchange.fail(why)
        self.wire = None

    def handle(self, event):
        exchange = self.exchanges.get(getattr(event, "stream_id", None))
        if isinstance(event, events.ConnectionTerminated):
            self.lost(f"GOAWAY {event.error_code}")
        elif exchange is None:
            return
        elif isinstance(event, events.InformationalResponseReceived):
            headers = dict(event.headers)
            if headers[":status"] == "100":
                exchange.line["continued"] = True
            else:
                exchange.line["hints"].append(f"{headers[':status']} {headers.get('link')}")
        elif isinstance(event, events.ResponseReceived):
            status = int(dict(event.headers)[":status"])
            exchange.line.update(status=status, proto="2", headers=fields(event.headers))
        elif isinstance(event, events.DataReceived):
            exchange.body += event.data
            if self.reads:
                self.wire.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            else:
                self.unread += event.flow_controlled_length
        elif isinstance(event, events.TrailersReceived):
            exchange.line["trailers"] = fields(event.headers)
        elif isinstance(event, events.StreamEnded):
            exchange.done = True
        elif isinstance(event, events.StreamReset):
            exchange.fail(f"reset: {ErrorCodes(event.error_code).name}")

    def start(self, method, path, body=None, headers=(), pieces=0):
        """Sends a request, the body as far as the server wants it; the stream's number and what becomes of it."""
        self.connect()
        http = self.wire.http
        stream = http.get_next_available_stream_id()
        exchange = self.exchanges[stream] = Exchange()
        head = [(":method", method), (":path", path), (":scheme", "http"), (":authority", f"{self.host}:{self.port}")]
        head += headers
        if pieces:
            head.append(("trailer", "x-checksum"))
        elif body is not None:
            head.append(("content-length", str(len(body))))
        http.send_headers(stream, head, end_stream=body is None)
        self.wire.flush()
        if ("expect", "100-continue") in headers:
            self.until(lambda: exchange.line["continued"] or exchange.done)
        rest = memoryview(body or b"")
        try:
            while rest and self.wire and not exchange.done:
                room = self.wire.room(stream)
                if pieces:
                    room = min(room, len(body) // pieces)
                if room > 0:
                    http.send_data(stream, rest[:room].tobytes())
                    self.wire.flush()
                    rest = rest[room:]
                else:
                    self.pump()
            if body is not None and self.wire and not exchange.done:
                if pieces:
                    http.send_headers(stream, [("x-checksum", sha256(body))], end_stream=True)
                else:
                    http.end_stream(stream)
                self.wire.flush()
        except h2.exceptions.StreamClosedError:
            pass  # The server has said that it wants no more.
        except OSError as error:
            self.lost(str(error))
        return stream, exchange

    def until(self, done):
        while self.wire and not done():
            self.pump()

    def send(self, *request, **more):
        _, exchange = self.start(*request, **more)
        self.until(lambda: exchange.done)
        return exchange.told()

    def run(self, name):
        if name == "get":
            headers = [("x-test", "a, b"), ("l5d-client-id", "liar"), ("cookie", "a=1; b=2; c=3")]
            return self.send("GET", "/bytes/1000?q=%20x&y", headers=headers)
        if name == "head":
            return self.send("HEAD", "/bytes/1000")
        if name == "empty":
            return self.send("GET", "/status/204")
        if name == "missing":
            return self.send("GET", "/status/404")
        if name == "post":
            return self.send("POST", "/echo", pattern(100_000))
        if name == "upload":
            return self.send("POST", "/echo", pattern(300_000), pieces=30)
        if name == "download":
            return self.send("GET", "/bytes/20000000")
        if name == "stream":
            return self.send("GET", "/stream/100/10000")
        if name == "reuse":
            before, expected = self.connections, sha256(pattern(10))
            ok = sum(self.send("GET", "/bytes/10")["sha256"] == expected for _ in range(50))
            return {"ok": ok, "connections": max(self.connections - before, 1)}
        if name == "parallel":
            bodies = [pattern(1000 * (n + 1)) for n in range(40)]
            started = [self.start("POST", "/echo", body)[1] for body in bodies]
            self.until(lambda: all(exchange.done for exchange in started))
            return {"ok": sum(bytes(e.body) == body for e, body in zip(started, bodies))}
        if name == "big-header":
            return self.send("GET", "/bytes/1", headers=[("x-big", "x" * 8000)])
        if name == "hints":
            return self.send("GET", "/hints")
        if name == "expect":
            return self.send("POST", "/echo", pattern(5000), headers=[("expect", "100-continue")])
        if name == "early":
            return self.send("POST", "/early", pattern(200_000))
        if name == "cancel":
            stream, exchange = self.start("GET", "/hold")
            self.until(lambda: exchange.body or exchange.done)
            self.wire.http.reset_stream(stream, ErrorCodes.CANCEL)
            self.wire.flush()
            return {**exchange.line, "first": exchange.body.decode()}
        if name == "die":
            return self.send("GET", "/die/50000")
        if name == "refuse":
            return self.send("GET", "/refuse")
        if name == "refuse-post":
            return self.send("POST", "/refuse", pattern(10))
        if name == "goaway":
            first = self.send("GET", "/goaway")
            return {**self.send("GET", "/bytes/10"), "first_status": first.get("status")}
        if name == "slow":
            return self.slow()
        return {"unknown": True}

    def slow(self):
        self.reads, self.unread = False, 0
        stream, exchange = self.start("GET", "/bytes/60000000")
        self.until(lambda: exchange.body or exchange.done)
        say({"paused": True})
        while not os.path.exists(os.environ["GATE"]):
            time.sleep(0.02)
        self.reads = True
        self.wire.http.acknowledge_received_data(self.unread, stream)
        self.wire.flush()
        self.until(lambda: exchange.done)
        return exchange.told()


def main():
    role, *args = sys.argv[1:]
    if role == "http-server":
        return serve(args[0])
    _, base, *cases = args
    client = Client(base)
    for name in cases:
        say({**client.run(name), "case": name})


main()
