#!/usr/bin/env python3
"""The harness of a tiny network in Python: m = x * w; y = m + 1, b = signs of y.

It speaks the protocol of docs/architecture.md, so that sessions can be tested without a compiler.
The file `mood` beside it makes it misbehave.
"""

import argparse
import json
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def single(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def steps(x: Sequence[float], w: Sequence[float]) -> tuple[list[float], tuple[list[float], int]]:
    m = [single(a * b) for a, b in zip(x, w, strict=True)]
    return m, one_more(m)


def one_more(m: Sequence[float]) -> tuple[list[float], int]:
    y = [single(a + 1) for a in m]
    return y, sum((v >= 0) << i for i, v in enumerate(y))


def timing(ns: int, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "runs_per_batch": max(1, options.min_batch_ns // ns),
        "samples_ns": [float(ns + i) for i in range(options.repeats)],
        "preemptions": [0] * options.repeats,
    }


parser = argparse.ArgumentParser()
parser.add_argument("mode")
for name in ("--weights", "--input", "--output"):
    parser.add_argument(name, type=Path)
for name, default in (
    ("--repeats", 20),
    ("--warmup", 3),
    ("--min-batch-ns", 5_000_000),
    ("--max-ns", 10**10),
    ("--threads", 1),
    ("--core", -1),
    ("--seed", 0),
    ("--waits", 1),
):
    parser.add_argument(name, type=int, default=default)
options = parser.parse_args()
mood = Path("mood").read_text() if Path("mood").exists() else ""
if mood == "hang":
    time.sleep(60)
if mood == "refuse":
    sys.stderr.write("step 1: status 7\n")
    sys.exit(3)
w = struct.unpack("<4f", options.weights.read_bytes())
if options.mode == "run":
    m, (y, b) = steps(struct.unpack("<4f", options.input.read_bytes()), w)
    if mood == "wrong run":
        y[2] += 1
    options.output.write_bytes(struct.pack("<4f", *y) + (b"...." if mood == "long" else b""))
elif options.mode == "steps":
    given = struct.unpack("<8f", options.input.read_bytes())
    m, _ = steps(given[:4], w)
    y, b = one_more(given[4:])
    if mood == "wrong bit":
        b ^= 2
    if mood == "wrong float":
        m[0] += 0.5
    if mood == "stray bit":
        b |= 1 << 9
    options.output.write_bytes(struct.pack("<8fI", *m, *y, b))
elif options.mode == "time":
    answer = {"load_ns": 1000, "first_ns": 900, "threads": options.threads, **timing(300, options)}
    if mood == "nothing":
        answer["samples_ns"] = answer["preemptions"] = []
    sys.stdout.write("hello\n" if mood == "chatty" else json.dumps(answer))
elif options.mode == "layers":
    found = [{"index": i, **timing(100 * (i + 1), options)} for i in range(2)]
    if mood == "half":
        found.pop()
    sys.stdout.write(json.dumps({"threads": options.threads, "steps": found}))
else:
    sys.exit(2)
