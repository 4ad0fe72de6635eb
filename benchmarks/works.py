"""What the layer benchmark times: names, shapes, forms, and who takes part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.macs import Conv, executed
from benchmarks.timing import DEPTHS

Form = Literal["bits", "residual", "branches", "weights"]

OURS = ("binas", "binas-avx2", "binas-avx512bw")
BINARY_PEER = "openvino-binary"
FLOAT_PEERS = ("ort-fp32", "ort-int8")


@dataclass(frozen=True, slots=True)
class Scaling:
    """What `benchmarks.threads` times.

    Attributes:
        work: Its name.
        engines: Per count of threads, the network and the loop on registers.
    """

    work: str
    engines: tuple[tuple[str, str], tuple[str, str]]


SCALING = Scaling(
    "threads/bireal18", (("binas", "registers"), ("binas-2-threads", "registers-2-threads"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One layer in one form.

    Attributes:
        name: Group and layer.
        form: "bits": packed bits in, packed bits out, timed in a chain. "residual": sign, binary
            convolution, batch norm, plus the input, float and packed bits out, in a chain.
            "branches": convolutions of one input whose outputs are summed, each adding to the sum
            in its epilogue; the form of layers that do not fit themselves in a chain.
        conv: Its shape; a dense layer is a convolution of one pixel.
        binary: Whether its operands are bits.
        engines: Who takes part.
        depths: Layers of the two models whose difference is timed.
    """

    name: str
    form: Form
    conv: Conv
    binary: bool = True
    engines: tuple[str, ...] = (*OURS, BINARY_PEER)
    depths: tuple[int, int] = DEPTHS

    @property
    def gmacs_executed(self) -> float:
        """1e9 multiply-adds of one layer."""
        return executed(self.conv, binary=self.binary) / 1e9


# 3x3, stride 1: the layers of ResNet-18 at 224x224 and of its usual variant for 32x32.
SEVEN = {
    "r18_64x56": (64, 56),
    "r18_128x28": (128, 28),
    "r18_256x14": (256, 14),
    "r18_512x7": (512, 7),
    "cif_64x32": (64, 32),
    "cif_128x16": (128, 16),
    "cif_256x8": (256, 8),
}

# A layer of half a microsecond is lost in what a call of four of them costs at its borders.
DEEP = (1, 31)

# Channels that fill no word → the same layer with the next multiple of 32.
RAGGED = {24: 32, 40: 64, 100: 128}


def layers() -> list[Work]:
    """Every work, in the order in which it is timed."""
    binary = [*_seven("bits_to_bits"), *_seven("residual"), *_others(), *_depthwise()]
    return [*binary, *_weights(), *_floats()]


def _seven(group: str) -> list[Work]:
    peers = FLOAT_PEERS if group == "bits_to_bits" else ()
    return [
        Work(
            name=f"{group}/{name}",
            form="bits" if group == "bits_to_bits" else "residual",
            conv=Conv(channels=C, filters=C, size=H),
            engines=(*OURS, BINARY_PEER, *peers),
        )
        for name, (C, H) in SEVEN.items()
    ]


def _others() -> list[Work]:
    """Shapes that the search spaces contain and no peer is tuned for."""

    def square(name: str, C: int, H: int, **more: int) -> Work:
        conv = Conv(channels=C, filters=C, size=H, **more)
        engines = ("binas", "binas-avx2", *((BINARY_PEER,) if conv.groups == 1 else ()))
        return Work(name=f"other_shapes/{name}", form="bits", conv=conv, engines=engines)

    def halved(C: int, K: int, H: int) -> Work:
        return Work(
            name=f"other_shapes/3x3s2_{C}_{K}x{H}",
            form="branches",
            conv=Conv(channels=C, filters=K, size=H, stride=2),
            engines=("binas", "binas-avx2", BINARY_PEER),
        )

    widths = sorted({*range(16, 97, 16), *RAGGED, *RAGGED.values()})
    return [
        *(square(f"3x3_{C}x28", C, 28) for C in widths),
        *(square(f"1x1_{C}x{H}", C, H, kernel=1) for C, H in ((64, 28), (256, 14), (512, 14))),
        square("5x5_64x28", 64, 28, kernel=5),
        halved(64, 128, 56),
        halved(128, 256, 28),
        square("3x3d2_64x28", 64, 28, dilation=2),
        square("3x3d2_128x14", 128, 14, dilation=2),
        square("3x3g2_128x28", 128, 28, groups=2),
        square("3x3g4_256x14", 256, 14, groups=4),
    ]


def _depthwise() -> list[Work]:
    """Bits to bits in a chain, and to floats that are summed."""
    shapes = {
        f"{kernel}x{kernel}{'d2' if dilation > 1 else ''}_{C}x{H}": Conv(
            channels=C, filters=C, size=H, kernel=kernel, dilation=dilation, groups=C
        )
        for kernel, dilation in ((3, 1), (5, 1), (3, 2), (5, 2))
        for C, H in ((64, 28), (128, 28), (256, 14), (512, 7))
    }
    forms: tuple[tuple[str, Form], ...] = (("depthwise", "bits"), ("depthwise_float", "branches"))
    return [
        Work(
            name=f"{group}/{name}",
            form=form,
            conv=conv,
            engines=("binas", "binas-avx2", "ort-fp32"),
            depths=DEEP if form == "bits" else DEPTHS,
        )
        for group, form in forms
        for name, conv in shapes.items()
    ]


def _weights() -> list[Work]:
    """Preprocessing of DCP-NAS' and BNAS' published cells at 224x224: bits are weights alone."""
    shapes = ((108, 108, 28), (432, 108, 28), (432, 216, 28), (864, 432, 14), (1728, 432, 7))
    return [
        Work(
            name=f"weights/1x1_{C}_{K}x{H}",
            form="weights",
            conv=Conv(channels=C, filters=K, size=H, kernel=1),
            binary=False,
            engines=("binas", "binas-avx2", "ort-fp32"),
        )
        for C, K, H in shapes
    ]


def _floats() -> list[Work]:
    shapes = {
        "float_conv/7x7s2_3x64_224": Conv(channels=3, filters=64, size=224, kernel=7, stride=2),
        "float_conv/1x1s2_64x128_56": Conv(channels=64, filters=128, size=56, kernel=1, stride=2),
        "float_conv/3x3_3x64_32": Conv(channels=3, filters=64, size=32),
        "float_stem/3x3s2_54x108_112": Conv(channels=54, filters=108, size=112, stride=2),
        "float_stem/3x3s2_108x108_56": Conv(channels=108, filters=108, size=56, stride=2),
        "float_stem/3x3_64x64_56": Conv(channels=64, filters=64, size=56),
        "dense/512x1000": Conv(channels=512, filters=1000, size=1, kernel=1),
    }
    return [
        Work(
            name=name,
            form="branches",
            conv=conv,
            binary=False,
            engines=("binas", "binas-avx2", "ort-fp32"),
        )
        for name, conv in shapes.items()
    ]
