"""Broken input: from a valid file to one that is nearly valid.

Two ways of breaking: bytes (flipped, cut, doubled, spliced) find faults of parsers; values of a
document (of another type, absurd, missing, deep) find faults of what comes after the parser.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 63, 64, 255, 2**31 - 1, 2**31, 2**63, 2**64, -(2**63)),
    *(10**30, 0.0, -0.0, 0.5, 1e-320, 1e308, -1e308, float("nan"), float("inf"), "", " ", "\0"),
    *("../../evil", "/etc/passwd", "a" * 5000, "\ud800", "é", "1", "nan", "host", "b3", "none"),
    *([], {}, [[]], [0], [1] * 5, {"schema": "binas.table/1"}, ["../x"], [None], [[[[1]]]]),
)
CHUNKS = (b"\0", b"\xff" * 8, b"9" * 400, b"-", b"{", b"[" * 3000, b'"', b"\n", b"=", b"PK\3\4")


def broken_bytes(data: bytes, random: Random) -> bytes:
    """One to four faults in the bytes."""
    found = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at, other = sorted(random.randrange(len(found) + 1) for _ in range(2))
        kind = random.randrange(6)
        if kind == 0 and found:
            found[at % len(found)] ^= 1 << random.randrange(8)
        elif kind == 1:
            del found[at : min(other, at + random.choice((1, 4, 64, 4096)))]
        elif kind == 2:
            found[at:at] = random.choice(CHUNKS)
        elif kind == 3:
            found[at:at] = found[at : min(other, at + 256)]
        elif kind == 4:
            del found[at:]
        elif found:
            found[at : at + 4] = random.randbytes(4)
    return bytes(found)


def broken_json(document: Any, random: Random) -> bytes:
    """One to three values replaced, removed, doubled or added; sometimes very deep."""
    root = [json.loads(json.dumps(document))]
    for _ in range(random.randint(1, 3)):
        holder, key = random.choice(_places(root))
        kind = random.randrange(5)
        if kind == 0:
            del holder[key]
            if not root:
                root.append(None)
        elif kind == 1 and isinstance(holder, list) and holder is not root:
            holder.extend([holder[key]] * random.choice((1, 2, 100)))
        elif kind == 2 and isinstance(holder, dict):
            holder[random.choice(("schema", "", "__class__", "x", key + "_"))] = holder[key]
        elif kind == 3 and isinstance(holder[key], int | float):
            holder[key] = holder[key] * random.choice((-1, 2, 3, 1000, 2**40)) + random.randint(
                -1, 1
            )
        else:
            holder[key] = random.choice(NASTY)
        root = json.loads(json.dumps(root))  # no part of it stands in two places
    text = json.dumps(root[0])
    if random.randrange(50) == 0:
        text = text.replace("[", "[" * random.choice((2, 50_000)), 1)
    return text.encode()


def broken_lines(text: str, random: Random) -> bytes:
    """TOML with a value, a line or a table that is wrong."""
    lines = text.splitlines()
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(lines))
        key, equals, _ = lines[at].partition("=")
        kind = random.randrange(4)
        if kind == 0 and equals:
            value = random.choice(NASTY)
            lines[at] = f"{key}= {json.dumps(value)}"
        elif kind == 1:
            lines.insert(at, random.choice(lines))
        elif kind == 2:
            lines.insert(at, random.choice(("[a]", "[[a]]", "x.y.z = 1", "[a.b", "= 3", "k = nan")))
        else:
            del lines[at]
            lines = lines or [""]
    return "\n".join(lines).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below a value; an explicit stack, as documents may be deep."""
    found, waiting = [], [value]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        found += [(holder, key) for key in keys]
        waiting += [holder[key] for key in keys if isinstance(holder[key], dict | list)]
    return found
