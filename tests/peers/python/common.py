"""What all of Python's peers need: see ../README.md."""

import hashlib
import json
import sys
import threading

_printing = threading.Lock()


def say(line):
    with _printing:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


_PERIOD = bytes((i * 7 + (i >> 8) * 13) & 255 for i in range(1 << 16))


def pattern(length):
    return (_PERIOD * (length // len(_PERIOD) + 1))[:length]


def sha256(data):
    return hashlib.sha256(data).hexdigest()
