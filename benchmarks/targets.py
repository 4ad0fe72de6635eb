"""What the compiler is held to, and whether it holds: judged on the median over runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import exp, log
from operator import eq
from statistics import mean, median
from typing import Literal

from benchmarks.ceiling import CEILINGS_OF
from benchmarks.schema import Report, Row
from benchmarks.works import BINARY_PEER, RAGGED, SEVEN, layers

Figure = Callable[[Report, str], float | None]
Over = Literal["each", "mean", "geometric mean"]

TIMES = "\N{MULTIPLICATION SIGN}"
LONG_BITS = 512  # products per output from which on a layer must not be slow


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A bound on a figure of some works.

    Attributes:
        title: What is bounded.
        works: Names.
        figure: Of a work in one run; None where the run lacks it.
        low: It must not be below; None: no such bound.
        high: It must not be above; None: no such bound.
        over: How the works are summed up; "each" takes the worst.
        unit: Behind the number.
    """

    title: str
    works: tuple[str, ...]
    figure: Figure
    low: float | None = None
    high: float | None = None
    over: Over = "each"
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found of a target.

    Attributes:
        target: The target.
        found: The worst work's figure or the mean; None where a work is missing.
        worst: The worst work where each counts; empty otherwise.
        missing: Works that no run has.
        runs: The fewest runs behind a figure.
    """

    target: Target
    found: float | None
    worst: str
    missing: tuple[str, ...]
    runs: int

    @property
    def met(self) -> bool | None:
        """Whether the bound holds; None where it cannot be said."""
        if self.found is None:
            return None
        low, high = self.target.low, self.target.high
        return (low is None or self.found >= low) and (high is None or self.found <= high)


def judge(target: Target, reports: Sequence[Report]) -> Judgement:
    """Hold a target to what was measured."""
    per_work: dict[str, float] = {}
    runs = len(reports)
    for work in target.works:
        figures = [f for r in reports if (f := target.figure(r, work)) is not None]
        if figures:
            per_work[work] = median(figures)
            runs = min(runs, len(figures))
    missing = tuple(work for work in target.works if work not in per_work)
    if missing:
        return Judgement(target, None, "", missing, 0)
    if target.over == "each":
        pick = min if target.low is not None else max
        worst = pick(per_work, key=lambda work: per_work[work])
        return Judgement(target, per_work[worst], worst, (), runs)
    values = per_work.values()
    found = mean(values) if target.over == "mean" else exp(mean(log(v) for v in values))
    return Judgement(target, found, "", (), runs)


def speedup(peer: str, peer_work: str = "") -> Figure:
    """The peer's time over ours; in the same run."""

    def figure(report: Report, work: str) -> float | None:
        ours, theirs = report.find(work, "binas"), report.find(peer_work or work, peer)
        if not ours or not theirs or not ours.median_ns or not theirs.median_ns:
            return None
        return theirs.median_ns / ours.median_ns

    return figure


def inverse(figure: Figure) -> Figure:
    """Our time over the peer's."""

    def turned(report: Report, work: str) -> float | None:
        found = figure(report, work)
        return 1 / found if found else None

    return turned


def share(engine: str = "binas") -> Figure:
    """Executed rate over the register peak measured in turns with it."""

    def figure(report: Report, work: str) -> float | None:
        row = report.find(work, engine)
        names = (name for name in CEILINGS_OF[engine] if row and name in row.peaks)
        return _of_peak(row, next(names, ""))

    return figure


def per_cycle(engine: str) -> Figure:
    """Executed multiply-adds per clock cycle."""

    def figure(report: Report, work: str) -> float | None:
        return _of_peak(report.find(work, engine), "clock")

    return figure


def _of_peak(row: Row | None, name: str) -> float | None:
    if not row or not row.gmacs_per_s or name not in row.peaks:
        return None
    return row.gmacs_per_s / row.peaks[name]


def raggedness(report: Report, work: str) -> float | None:
    """Our time over that of the same layer with whole words of channels."""
    by_name = {f"other_shapes/3x3_{C}x28": f"other_shapes/3x3_{D}x28" for C, D in RAGGED.items()}
    ragged, whole = report.find(work, "binas"), report.find(by_name[work], "binas")
    if not ragged or not whole or not ragged.median_ns or not whole.median_ns:
        return None
    return ragged.median_ns / whole.median_ns


def targets() -> list[Target]:
    """All that these benchmarks can judge."""
    return [
        *_against_openvino(),
        *_rates(),
        *_shapes(),
        *_depthwise(),
        *_against_onnxruntime(),
        *_network(),
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
    ]
