"""What the compiler is held to; `judge.py` says how."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import eq

from benchmarks.gains import scaling
from benchmarks.judge import Over, Target, inverse, per_cycle, raggedness, share, speedup
from benchmarks.works import BINARY_PEER, RAGGED, SCALING, SEVEN, layers

TIMES = "\N{MULTIPLICATION SIGN}"
CELL_NETWORKS = ("dcp_nas_l_224", "dcp_nas_l_32", "bnas_224", "bnas_32")
LONG_BITS = 512  # products per output from which on a layer must not be slow


def targets() -> list[Target]:
    """All that these benchmarks can judge."""
    return [
        *_against_openvino(),
        *_rates(),
        *_shapes(),
        *_depthwise(),
        *_against_onnxruntime(),
        _weights(),
        *_network(),
        Target(
            title="Bi-Real-Net-18, gain of a second thread over that of the register loop",
            works=(SCALING.work,),
            figure=scaling,
            low=0.93,
            unit=TIMES,
        ),
    ]


def _seven(group: str, wanted: Callable[[int], bool] = lambda _: True) -> tuple[str, ...]:
    return tuple(f"{group}/{name}" for name, (C, _) in SEVEN.items() if wanted(C))


def _against_openvino() -> list[Target]:
    found = []
    for group, words, low, low_mean in (
        ("bits_to_bits", "bits → bits", 1.18, 1.3),
        ("residual", "residual form", 1.25, 1.45),
    ):
        bounds: tuple[tuple[Over, float], ...] = (("each", low), ("geometric mean", low_mean))
        for over, limit in bounds:
            found.append(
                Target(
                    title=f"{words}, faster than OpenVINO's BinaryConvolution",
                    works=_seven(group),
                    figure=speedup(BINARY_PEER),
                    low=limit,
                    over=over,
                    unit=TIMES,
                )
            )
    return found


def _rates() -> list[Target]:
    peak = "share of the register peak"
    found = [
        Target(title=f"{words}, {which}, {peak}", works=works, figure=share(), low=low)
        for words, group, narrow, wide in (
            ("bits → bits", "bits_to_bits", 0.83, 0.87),
            ("residual form", "residual", 0.80, 0.86),
        )
        for which, works, low in (
            ("C = 64", _seven(group, lambda C: C == 64), narrow),
            ("C > 64", _seven(group, lambda C: C > 64), wide),
        )
    ]
    found.append(
        Target(
            title=f"AVX2 build, bits → bits, {peak} of AVX2",
            works=_seven("bits_to_bits"),
            figure=share("binas-avx2"),
            low=0.82,
        )
    )
    for channels, low in ((64, 187), (128, 222), (256, 261), (512, 283)):
        found.append(
            Target(
                title=f"AVX-512BW build, bits → bits, C = {channels}",
                works=_seven("bits_to_bits", partial(eq, channels)),
                figure=per_cycle("binas-avx512bw"),
                low=low,
                unit=" MAC/cycle",
            )
        )
    return found


def _shapes() -> list[Target]:
    others = [work for work in layers() if work.name.startswith("other_shapes/")]
    long = tuple(w.name for w in others if w.conv.contracted_bits >= LONG_BITS)
    return [
        Target(
            title=f"other shapes with C·R·S ≥ {LONG_BITS}, share of the register peak",
            works=long,
            figure=share(),
            low=0.7,
        ),
        Target(
            title="C = 24, 40, 100: time of the next multiple of 32",
            works=tuple(f"other_shapes/3x3_{C}x28" for C in RAGGED),
            figure=raggedness,
            high=1.15,
            unit=TIMES,
        ),
    ]


def _depthwise() -> list[Target]:
    works = [work.name for work in layers()]
    return [
        Target(
            title=f"binary depthwise {kernel}, {words}, faster than onnxruntime fp32",
            works=tuple(name for name in works if name.startswith(f"{group}/{kernel}")),
            figure=speedup("ort-fp32"),
            low=low,
            unit=TIMES,
        )
        for group, words, bounds in (
            ("depthwise", "bits → bits", {"3x3": 60, "5x5": 35}),
            ("depthwise_float", "to floats", {"3x3": 8, "5x5": 8}),
        )
        for kernel, low in bounds.items()
    ]


def _against_onnxruntime() -> list[Target]:
    bits, floats = _seven("bits_to_bits"), speedup("ort-fp32")
    convs = tuple(work.name for work in layers() if work.name.startswith("float_conv/"))
    faster = "faster than onnxruntime"
    return [
        Target(
            title=f"bits → bits, {faster} int8",
            works=bits,
            figure=speedup("ort-int8"),
            low=3,
            unit=TIMES,
        ),
        Target(title=f"bits → bits, {faster} fp32", works=bits, figure=floats, low=11, unit=TIMES),
        Target(
            title=f"bits → bits, {faster} fp32",
            works=bits,
            figure=floats,
            low=12,
            over="mean",
            unit=TIMES,
        ),
        Target(
            title=f"float convolutions, {faster} fp32",
            works=convs,
            figure=floats,
            low=1.25,
            unit=TIMES,
        ),
        Target(
            title=f"dense 512 → 1000, {faster} fp32",
            works=("dense/512x1000",),
            figure=floats,
            low=1.25,
            unit=TIMES,
        ),
    ]


def _weights() -> Target:
    return Target(
        title="weights of one bit, real activations, share of the peak of multiply-adds",
        works=tuple(work.name for work in layers() if work.form == "weights"),
        figure=share("binas", ("fma512", "fma256")),
        low=0.85,
    )


def _network() -> list[Target]:
    ours = ("network/bireal18",)
    return [
        Target(
            title="Bi-Real-Net-18, time of OpenVINO's binary graph",
            works=ours,
            figure=inverse(speedup(BINARY_PEER)),
            high=0.72,
            unit=TIMES,
        ),
        Target(
            title="Bi-Real-Net-18, time of onnxruntime's int8 ResNet-18",
            works=ours,
            figure=inverse(speedup("ort-int8", "network/resnet18")),
            high=0.5,
            unit=TIMES,
        ),
        *(
            Target(
                title=f"cells of DCP-NAS-L and BNAS, {words}, faster than their float32 twins",
                works=tuple(f"network/{name}{end}" for name in CELL_NETWORKS),
                figure=speedup("ort-fp32"),
                low=low,
                unit=TIMES,
            )
            for words, end, low in (("as published", "", 4), ("fully binary", "_binary", 8))
        ),
    ]
