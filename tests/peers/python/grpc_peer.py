"""grpcio's side of the gRPC cases, as a client and as a server. Messages are bytes as they are. See ../README.md."""

import os
import queue
import sys
import threading
from concurrent import futures

import grpc
from common import pattern, say, sha256

SERVICE = "/weft.test.Peer/"
FAILURE = "not here: 100 % grün\n"


def facts(metadata):
    return {k: v.hex() if k.endswith("-bin") else v for k, v in metadata or ()}


# --- server


class Peer(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.stream_stream_rpc_method_handler(lambda requests, context: call(details.method, requests, context))


def call(method, requests, context):
    metadata = context.invocation_metadata()
    seen = {"method": method, "headers": facts(metadata), "messages": 0, "end": "OK"}
    seen["deadline"] = context.time_remaining() is not None and context.time_remaining() < 1e6
    over = threading.Event()
    context.add_callback(over.set)
    try:
        yield from answer(method, requests, context, seen, dict(metadata), over)
    except Exception as problem:  # `abort` is one
        if seen["end"] == "OK":
            seen["end"] = "gone" if over.is_set() else str(context.code() or problem)
        raise
    finally:
        say(seen)


def answer(method, requests, context, seen, metadata, over):
    def messages():
        for message in requests:
            seen["messages"] += 1
            yield message

    name = method.removeprefix(SERVICE)
    if name == "Unary":
        context.send_initial_metadata([("x-head", "of the answer"), ("x-seen-bin", metadata.get("x-some-bin", b""))])
        context.set_trailing_metadata([("x-tail", "after it"), ("x-tail-bin", b"\x00\xff\x10")])
        yield next(messages())
    elif name == "Collect":
        body = b"".join(messages())
        yield f"{len(body)} {sha256(body)}".encode()
    elif name == "Spread":
        next(messages())
        for n in range(1000):
            yield pattern(n)
    elif name == "Talk":
        yield from messages()
    elif name == "Fail":
        context.abort(grpc.StatusCode.NOT_FOUND, FAILURE)
    elif name == "Break":
        yield b"one"
        context.set_trailing_metadata([("x-tail", "after it")])
        context.abort(grpc.StatusCode.DATA_LOSS, FAILURE)
    elif name == "Hold":
        yield b"first"
        over.wait()
        seen["end"] = "gone"
    elif name == "Die":
        yield b"first"
        for _ in messages():
            say({"method": method, "end": "dies", "headers": facts(context.invocation_metadata())})
            os._exit(1)
    else:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, method)


def serve(address):
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=120), options=[("grpc.max_receive_message_length", 8 << 20)]
    )
    server.add_generic_rpc_handlers((Peer(),))
    server.add_insecure_port(address)
    server.start()
    say({"listening": address})
    server.wait_for_termination()


# --- client


class Client:
    def __init__(self, address):
        self.channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.default_authority", "server.default.svc.cluster.local"),
                ("grpc.max_receive_message_length", 8 << 20),
                ("grpc.enable_retries", 0),
            ],
        )

    def unary(self, message, **options):
        method = self.channel.unary_unary(SERVICE + "Unary")
        try:
            body, end = method.with_call(message, timeout=20, **options)
        except grpc.RpcError as error:
            body, end = b"", error
        line = {"length": len(body), "sha256": sha256(body)}
        line["head"], line["tail"] = facts(end.initial_metadata()), facts(end.trailing_metadata())
        return ended(line, end)

    def stream(self, name, requests=(), timeout=20):
        return self.channel.stream_stream(SERVICE + name)(iter(requests), timeout=timeout)

    def run(self, name):
        if name == "unary":
            return self.unary(b"hello", metadata=[("x-some", "text"), ("x-some-bin", b"\x00\x01\xfe\xff")])
        if name == "empty":
            return self.unary(b"")
        if name == "big":
            return self.unary(pattern(3_000_000))
        if name == "gzip":
            return self.unary(b"again " * 100_000, compression=grpc.Compression.Gzip)
        if name == "collect":
            answers = self.stream("Collect", (pattern(n * 3) for n in range(500)))
            answer = next(answers)
            return finish({"answer": answer.decode()}, answers)
        if name == "spread":
            right, answers = 0, self.stream("Spread", [b""])
            for n in range(1000):
                right += next(answers) == pattern(n)
            return finish({"right": right}, answers)
        if name == "talk":
            sending = queue.SimpleQueue()
            right, answers = 0, self.stream("Talk", iter(sending.get, None))
            for n in range(200):
                sending.put(pattern(n * 11))
                right += next(answers) == pattern(n * 11)
            sending.put(None)
            return finish({"right": right}, answers)
        if name == "parallel":
            method = self.channel.unary_unary(SERVICE + "Unary")
            calls = [(m, method.future(m, timeout=20)) for m in (b"message %d" % n for n in range(100))]
            return {"ok": sum(future.result() == message for message, future in calls)}
        if name in ("fail", "break"):
            return finish({}, self.stream(name.capitalize()))
        if name == "unimplemented":
            return finish({}, self.stream("Nothing"))
        if name == "deadline":
            return finish({}, self.stream("Hold", iter(queue.SimpleQueue().get, None), timeout=1))
        if name == "cancel":
            answers = self.stream("Hold", iter(queue.SimpleQueue().get, None))
            first = next(answers)
            answers.cancel()
            return finish({"first": first.decode()}, answers)
        if name == "die":
            sending = queue.SimpleQueue()
            answers = self.stream("Die", iter(sending.get, None))
            first = next(answers)
            sending.put(first)
            return finish({"first": first.decode()}, answers)
        return {"unknown": True}


def ended(line, end):
    line["status"], line["message"] = end.code().value[0], end.details() or ""
    return line


def finish(line, answers):
    count = 0
    try:
        for _ in answers:
            count += 1
    except grpc.RpcError:
        pass
    line["messages"], line["tail"] = count, facts(answers.trailing_metadata())
    return ended(line, answers)


if sys.argv[1] == "grpc-server":
    serve(sys.argv[2])
else:
    client = Client(sys.argv[2])
    for case in sys.argv[3:]:
        say({**client.run(case), "case": case})
    # Threads that still wait for something to send are nobody's business any more.
    sys.stdout.flush()
    os._exit(0)
