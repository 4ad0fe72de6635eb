"""What the compiler is held to: every bound there is; `judge.py` says how.

What one command measures by itself has a function of its own, which may be asked for a part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import eq

from benchmarks import arm_works, figures
from benchmarks.arm_works import IN_ORDER, NETWORK_DEVICES, OUTS, REORDERING, SIZES
from benchmarks.gains import scaling
from benchmarks.judge import RUNS, Over, Target, inverse, per_cycle, raggedness, share, speedup
from benchmarks.schema import ArmNetworkReport, ArmReport, FootprintReport
from benchmarks.works import BINARY_PEER, RAGGED, SCALING, SEVEN, layers

TIMES = "\N{MULTIPLICATION SIGN}"
CELL_NETWORKS = ("dcp_nas_l_224", "dcp_nas_l_32", "bnas_224", "bnas_32")
LONG_BITS = 512  # products per output from which on a layer must not be slow
MACS_A_CYCLE = 85.0  # of ARM's binary convolutions, as a yardstick for all else of a network
HOST = "host"


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
        *arm(),
        arm_network(),
        *footprint(),
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
        figure=share("binas", (("fma512",), ("fma256",))),
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


def arm(channels: Sequence[int] = tuple(SIZES)) -> list[Target]:
    """Binary 3x3 layers with so many channels in the models of ARM CPUs."""
    # The residual form's tiles have no target: they read a float for each that they write.
    plain: tuple[arm_works.Out, ...] = ("bits", "floats")
    inner, tile = figures.cycle_rate("inner"), figures.cycle_rate("tile")
    bounds = (
        ("inner loop, C = 32", inner, OUTS, (32,), (80, 34)),
        ("inner loop, C ≥ 64", inner, OUTS, (64, 128, 256, 512), (84, 35)),
        ("tile with epilogue, C = 64", tile, plain, (64,), (76, 32.5)),
        ("tile with epilogue, C ≥ 128", tile, plain, (128, 256, 512), (78, 33)),
    )
    priced = partial(Target, of=ArmReport, runs=1)
    found = [
        priced(
            title=f"{', '.join(cpus)}: {words}, own build",
            works=arm_works.works([C for C in channels if C in wanted], outs, cpus),
            figure=figure,
            low=low,
            unit=" MAC/cycle",
        )
        for words, figure, outs, wanted, lows in bounds
        for cpus, low in zip((REORDERING, IN_ORDER), lows, strict=True)
    ]
    common = priced(
        title="one build for all ARM CPUs: inner loop, share of the rate in each CPU's own build",
        works=arm_works.works(channels, OUTS, arm_works.BUILDS),
        figure=figures.one_build,
        low=0.97,
    )
    return [target for target in (*found, common) if target.works]


def arm_network(devices: Sequence[str] = NETWORK_DEVICES) -> Target:
    """Bi-Real-Net-18 in the models of these devices' CPUs."""
    return Target(
        title="Bi-Real-Net-18 on ARM, cycles of all that is neither binary nor float convolution, "
        f"share of (binary MACs / {MACS_A_CYCLE:g})",
        works=tuple(map(figures.network_work, devices)),
        figure=figures.rest_share(MACS_A_CYCLE),
        high=0.15,
        of=ArmNetworkReport,
        runs=1,
    )


def footprint(devices: Sequence[str] = (HOST,)) -> list[Target]:
    """Bi-Real-Net-18 compiled for these devices; only for this machine it is run."""
    bounds: tuple[tuple[str, Callable[[FootprintReport], float | None], float, str], ...] = (
        ("compile time, empty kernel cache", figures.compile_s, 30, " s"),
        ("artifact beyond its stored weights", figures.overhead_kib, 256, " KiB"),
        ("arena, of the live tensors' lower bound", figures.arena_ratio, 1.1, TIMES),
        ("peak memory beyond 1.3 (weights + arena)", figures.peak_beyond_mib(1.3), 4, " MiB"),
    )
    return [
        Target(
            title=f"Bi-Real-Net-18, {words}",
            works=tuple(map(figures.footprint_work, devices)),
            figure=figures.of_footprint(value),
            high=limit,
            unit=unit,
            of=FootprintReport,
            runs=RUNS if unit == " s" else 1,
        )
        for words, value, limit, unit in bounds
    ]
