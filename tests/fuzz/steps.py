"""Steps drawn at random: shapes, windows, groups, epilogues and outputs that a network may have."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from binas.compile.graph import Add, Node, Relu, Sign, Stage
from binas.compile.isa import Isa
from binas.compile.kernels import family
from binas.compile.tile import Tile
from binas.core.errors import UsageError
from tests.integration.kernel_nodes import affine, bit_pool, conv, moved, pool, prelu

CHANNELS = (1, 2, 3, 7, 8, 15, 16, 17, 24, 31, 32, 33, 40, 48, 63, 64, 65, 72, 96, 100, 127, 128)
MORE_CHANNELS = (129, 144, 160, 200, 216, 256, 288, 432, 512, 544)
MOST_MACS = 3_000_000  # the meaning is computed in numpy, some kernels under emulation


@dataclass(frozen=True)
class Drawn:
    """Batches of steps: one, which is all that tests draw, more until `seconds` are over."""

    seconds: float
    seed: int
    size: int

    def batches(self, isa: Isa) -> Iterator[tuple[dict[str, Node], dict[str, Tile]]]:
        """What a step is → the step, and → its tile where that is not the family's own choice."""
        random = np.random.default_rng([self.seed, *isa.cpu.encode()])
        end = time.monotonic() + self.seconds
        while True:
            cases, tiles = {}, {}
            for _ in range(self.size):
                node = step(random)
                tile = _tile(random, node, isa)
                said = f"{node.layer!r} in {tile}"
                cases[said] = node
                if tile is not None:
                    tiles[said] = tile
            yield cases, tiles
            if time.monotonic() >= end:
                return


def step(random: np.random.Generator) -> Node:
    """A step of any kind that a network may have, and that is soon computed."""
    while True:
        try:
            node = _moved(random) if random.random() < 0.15 else _drawn(random)
            layer = node.layer
        except UsageError:  # a window that does not fit into its image, for one
            continue
        if layer.macs <= MOST_MACS:
            return node


def _tile(random: np.random.Generator, node: Node, isa: Isa) -> Tile | None:
    """Half of the time the family's own choice, else one that a tuner may choose."""
    tiles = family.tiles(node.layer, isa)
    if not tiles or random.random() < 0.5:
        return None
    return tiles[random.integers(len(tiles))]


def _moved(random: np.random.Generator) -> Node:
    """Channels side by side or dealt out, or nothing but an epilogue."""
    parts = tuple(_channels(random) for _ in range(random.integers(1, 5)))
    C, inputs = sum(parts), tuple(f"x{i}" for i in range(len(parts)))
    divisors = [g for g in range(1, C + 1) if C % g == 0]
    groups = int(random.choice(divisors))
    stages, outputs = _stages(random, C), _outputs(random)
    kind = random.integers(6)
    if kind == 0:
        return moved("concat_bits", C, C, inputs=inputs, parts=parts, bits_out="b")
    if kind == 1:
        return moved("shuffle_bits", C, C, groups=groups, bits_out="b")
    if kind == 2:
        return moved("shuffle", C, C, groups=groups, stages=stages, **outputs)
    if kind == 3:
        return moved("elementwise", C, C, stages=stages, **outputs)
    if kind == 4:
        left = int(random.integers(C))
        K = int(random.integers(1, C - left + 1))
        stages = _stages(random, K)
        return moved("slice", K, C, parts=(left,), stages=stages, **outputs)
    K = C + int(random.choice([0, 0, 3, 32]))
    stages = _stages(random, K)
    return moved("concat", K, C, inputs=inputs, parts=parts, stages=stages, **outputs)


def _outputs(random: np.random.Generator) -> dict[str, str | None]:
    floats, packed = [(True, False), (False, True), (True, True)][random.integers(3)]
    return {"float_out": "y" if floats else None, "bits_out": "b" if packed else None}


def _drawn(random: np.random.Generator) -> Node:
    kind = str(random.choice(["binary"] * 4 + ["depthwise"] * 2 + ["float"] * 3 + ["pool"]))
    shape = _shape(random)
    if kind == "pool":
        return _pool(random, shape)
    C = K = _channels(random)
    groups = C
    if kind != "depthwise":
        K = _channels(random)
        shared = int(np.gcd(C, K))
        divisors = [g for g in range(1, shared + 1) if shared % g == 0]
        groups = int(random.choice(divisors)) if random.random() < 0.3 else 1
    binary = kind == "binary" or (kind == "depthwise" and random.random() < 0.7)
    shape["pad_value"] = int(random.choice([-1, 0, 1])) if binary else 0
    outputs = _outputs(random)
    stages = _stages(random, K)
    own = all(outputs.values()) and random.random() < 0.2
    image, batch = _image(random)
    made = conv(
        C,
        K,
        binary=binary,
        signs=not binary and random.random() < 0.4,
        groups=groups,
        image=image,
        batch=batch,
        stages=stages,
        floats=outputs["float_out"] is not None,
        packed=outputs["bits_out"] is not None,
        bits_affine=affine(K, seed=1) if own else None,
        **shape,
    )
    if made.layer.takes_affine and random.random() < 0.5:
        return replace(made, in_affine=affine(C, seed=2))
    return made


def _pool(random: np.random.Generator, shape: dict[str, Any]) -> Node:
    C, (image, batch) = _channels(random), _image(random)
    given: dict[str, Any] = {"in_shape": (batch, *image, C), **shape}
    if random.random() < 0.4:
        return bit_pool(C, **given)
    if random.random() < 0.5:
        return pool("pool_max", C, **given)
    return pool("pool_avg", C, pads_count=bool(random.random() < 0.5), **given)


def _shape(random: np.random.Generator) -> dict[str, Any]:
    R, S = (int(random.choice([1, 1, 2, 3, 3, 3, 3, 4, 5, 5, 7])) for _ in range(2))
    if random.random() < 0.6:
        S = R
    dilation = tuple(int(random.choice([1, 1, 1, 2, 3])) for _ in range(2))
    same = ((R - 1) * dilation[0] // 2, (S - 1) * dilation[1] // 2) * 2
    padding = same if random.random() < 0.6 else tuple(random.integers(0, 5, 4).tolist())
    stride = tuple(int(random.choice([1, 1, 2, 3])) for _ in range(2))
    return {"kernel": (R, S), "dilation": dilation, "padding": padding, "stride": stride}


def _image(random: np.random.Generator) -> tuple[tuple[int, int], int]:
    H, W = (int(random.integers(1, 40 if random.random() < 0.2 else 12)) for _ in range(2))
    return (H, W), int(random.choice([1, 1, 1, 2, 3]))


def _channels(random: np.random.Generator) -> int:
    return int(random.choice(MORE_CHANNELS if random.random() < 0.2 else CHANNELS))


def _stages(random: np.random.Generator, K: int) -> tuple[Stage, ...]:
    if random.random() < 0.5:
        return (affine(K),)
    stages: list[Stage] = []
    for stage in (affine(K), Add("r"), prelu(K), Relu(), Add("q"), Sign()):
        if random.random() < 0.3:
            stages.append(stage)
    return tuple(stages)
