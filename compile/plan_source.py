"""The plan as C: `plan.c` of an artifact, read by `runtime/native/model.c`.

One function per step binds the step's kernel to its offsets in the arena and the weights.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from binas.compile.graph import Graph, Node, Value
from binas.compile.memory import MemoryPlan
from binas.compile.pixels import Pixels
from binas.compile.tile import Choice


@dataclass(frozen=True, slots=True)
class Call:
    """A step as code.

    Attributes:
        node: The step.
        symbol: Its kernel's C function.
        units: Units of the kernel.
        sweeps: How many runs of equal length they are.
        weights: Byte offsets of its parameter arrays in the weights.
    """

    node: Node
    symbol: str
    units: int
    sweeps: int
    weights: tuple[int, ...]


def plan_source(
    graph: Graph,
    calls: Sequence[Call],
    memory: MemoryPlan,
    weights: bytes,
    pixels: Pixels | None = None,
) -> str:
    """The text of plan.c."""
    lines = ['#include "plan.h"', ""]
    lines += _levels(pixels) if pixels is not None else []
    lines += _prototypes(calls)
    for index, call in enumerate(calls):
        lines += _step(index, call, graph.values, memory.offsets)
    lines.append("static const binas_plan_step steps[] = {")
    for index, call in enumerate(calls):
        reads, writes = len(call.node.reads), len(call.node.writes)
        name = _literal(call.node.name)
        counts = f"{call.units}, {call.sweeps}, {reads}, {writes}"
        lines.append(f"    {{{name}, step{index}, {counts}, reads{index}, writes{index}}},")
    lines.append("};")
    last = [graph.values[name].channels_last and pixels is None for name in graph.inputs]
    places = [at in graph.outputs_last for at in range(len(graph.outputs))]
    for what, names, lasts in (
        ("inputs", graph.inputs, last),
        ("outputs", graph.outputs, places),
    ):
        levels = "levels" if what == "inputs" and pixels is not None else "0"
        ports = [
            _port(graph.values[name], memory.offsets[name], levels, channels_last=channels_last)
            for name, channels_last in zip(names, lasts, strict=True)
        ]
        lines.append(f"static const binas_port {what}[] = {{{', '.join(ports) or '{0}'}}};")
    sizes = f"{memory.arena_bytes}u, {len(weights)}u, {checksum(weights)}ull"
    counts = f"{len(calls)}u, {len(graph.inputs)}u, {len(graph.outputs)}u"
    lines.append(
        f"const binas_plan binas_the_plan = {{{sizes}, {counts}, steps, inputs, outputs}};"
    )
    return "\n".join(lines) + "\n"


def checksum(weights: bytes) -> int:
    """What `sum_of` in model.c computes; `weights` is a multiple of 8 bytes."""
    words = np.frombuffer(weights, "<u8")
    with np.errstate(over="ignore"):
        plain = int(words.sum(dtype=np.uint64))
        places = np.arange(1, words.size + 1, dtype=np.uint64)
        placed = int((words * places).sum(dtype=np.uint64))
    return plain ^ ((placed << 1 | placed >> 63) & (2**64 - 1))


def symbols(choices: Iterable[Choice]) -> dict[Choice, str]:
    """A C name per distinct kernel, the same in every artifact; equal layers share one."""
    return {choice: f"binas_kernel_{_digest(choice)}" for choice in dict.fromkeys(choices)}


def _digest(choice: Choice) -> str:
    return hashlib.sha256(f"{choice.layer!r} {choice.tile!r}".encode()).hexdigest()[:16]


def _literal(text: str) -> str:
    """A C string. Octal escapes end after three digits, whatever follows, and make no trigraphs."""
    plain = string.ascii_letters + string.digits + " _./:-#"
    escaped = [chr(c) if chr(c) in plain else f"\\{c:03o}" for c in text.encode()]
    return f'"{"".join(escaped)}"'


def _prototypes(calls: Sequence[Call]) -> list[str]:
    found = {}
    for call in calls:
        pointers = len(call.node.reads) + len(call.weights) + len(call.node.writes)
        arguments = ", ".join(["const void *"] * pointers)
        found[call.symbol] = f"int32_t {call.symbol}({arguments}, int32_t, int32_t);"
    return [*found.values(), ""]


def _step(
    index: int, call: Call, values: Mapping[str, Value], offsets: Mapping[str, int]
) -> list[str]:
    node = call.node
    arena = {name: f"arena + {offsets[name]}" for name in (*node.reads, *node.writes)}
    arguments = [arena[name] for name in node.reads]
    arguments += [f"weights + {offset}" for offset in call.weights]
    arguments += [arena[name] for name in node.writes]
    unused = "" if call.weights else "    (void)weights;\n"
    spans = {
        what: ", ".join(f"{{{offsets[n]}u, {values[n].size_bytes}u}}" for n in names)
        for what, names in (("reads", node.reads), ("writes", node.writes))
    }
    return [
        *(f"static const binas_span {what}{index}[] = {{{text}}};" for what, text in spans.items()),
        f"static int32_t step{index}(uint8_t *arena, const uint8_t *weights, int32_t begin, "
        "int32_t end) {",
        f"{unused}    return {call.symbol}({', '.join(arguments)}, begin, end);",
        "}",
        "",
    ]


def _levels(pixels: Pixels) -> list[str]:
    """What each byte of each channel means, to the last bit."""
    rows = [
        f"    {', '.join(f'{value.hex()}f' for value in row.astype(float).tolist())},"
        for row in pixels.levels
    ]
    return ["static const float levels[] = {", *rows, "};", ""]


def _port(value: Value, offset: int, levels: str, *, channels_last: bool) -> str:
    """Offset, batch, channels, rows, columns; what is N, H, W, C outside, too, is one channel."""
    N, H, W, C = value.shape
    sizes = (N, 1, H, W * C) if channels_last else (N, C, H, W)
    return f"{{{offset}u, {', '.join(f'{size}u' for size in sizes)}, {levels}}}"
