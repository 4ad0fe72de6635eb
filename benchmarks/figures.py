"""Figures that need no peer: ARM code as LLVM's models price it, and what a network takes.

Each is of a work in one report, as `judge.py` asks for it; None where the report lacks the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from benchmarks.arm_works import ANY
from benchmarks.schema import ArmNetworkReport, ArmReport, FootprintReport

KIB, MIB = 1 << 10, 1 << 20


def cycle_rate(stretch: Literal["inner", "tile"]) -> Callable[[ArmReport, str], float | None]:
    """Binary MACs a cycle of the build for the very CPU."""

    def figure(report: ArmReport, work: str) -> float | None:
        own = (r for r in report.rows if r.name == work and r.build != ANY)
        return next((r.inner if stretch == "inner" else r.tile for r in own), None)

    return figure


def one_build(report: ArmReport, work: str) -> float | None:
    """The inner loop's rate in the build for all over that in the CPU's own build."""
    own = cycle_rate("inner")(report, work)
    common = [row.inner for row in report.rows if row.name == work and row.build == ANY]
    return common[0] / own if own and common else None


def rest_share(macs_a_cycle: float) -> Callable[[ArmNetworkReport, str], float | None]:
    """Cycles of all but convolutions over (binary MACs / so many a cycle)."""

    def figure(report: ArmNetworkReport, work: str) -> float | None:
        if work != network_work(report.device):
            return None
        return report.rest_cycles / (report.binary_macs / macs_a_cycle)

    return figure


def network_work(device: str) -> str:
    """Bi-Real-18 on a device, as priced."""
    return f"arm_network/{device}"


def footprint_work(device: str) -> str:
    """Bi-Real-18 for a device, as weighed."""
    return f"footprint/{device}"


def of_footprint(
    value: Callable[[FootprintReport], float | None],
) -> Callable[[FootprintReport, str], float | None]:
    """A figure of a device's footprint."""

    def figure(report: FootprintReport, work: str) -> float | None:
        return value(report) if work == footprint_work(report.device) else None

    return figure


def compile_s(report: FootprintReport) -> float:
    """Time to compile, s."""
    return report.compile_s


def overhead_kib(report: FootprintReport) -> float:
    """What the artifact is larger than its stored weights, KiB."""
    return (report.artifact_bytes - report.weights_bytes) / KIB


def arena_ratio(report: FootprintReport) -> float:
    """The arena over the lower bound of the live tensors."""
    return report.arena_bytes / report.lower_bound_bytes


def peak_beyond_mib(factor: float) -> Callable[[FootprintReport], float | None]:
    """Peak memory beyond so many times weights and arena, MiB; below 0 where it is less."""

    def beyond(report: FootprintReport) -> float | None:
        if report.peak_bytes is None:
            return None
        return (report.peak_bytes - factor * (report.weights_bytes + report.arena_bytes)) / MIB

    return beyond
