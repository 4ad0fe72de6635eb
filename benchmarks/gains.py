"""What a second thread gains a network, held against what it gains the loop on registers."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.schema import Report, ReportWithoutCommit
from benchmarks.works import SCALING

# Two cores do twice the work of one. What seems to gain more was slowed down while it ran alone.
# How little a loop may gain is not known: two cores can be one that is shared.
MAX_GAIN = 2.05


@dataclass(frozen=True, slots=True)
class Gains:
    """Of one run.

    Attributes:
        network: Its time with one thread over that with two.
        loop: Work per time of two threads over that of one.
    """

    network: float
    loop: float

    @property
    def ratio(self) -> float:
        """The network's gain over the loop's."""
        return self.network / self.loop

    @property
    def doubtful(self) -> bool:
        """Whether two threads of either did more than two can."""
        return max(self.network, self.loop) > MAX_GAIN


def gains(report: Report, work: str) -> Gains | None:
    """Both gains in one run; None where a time is missing, or the loop was timed in another way."""
    if isinstance(report, ReportWithoutCommit):
        return None
    ours, loop = zip(*SCALING.engines, strict=True)
    times = [report.find(work, engine) for engine in (*ours, *loop)]
    found = [row.median_ns for row in times if row and row.median_ns]
    if len(found) < len(times):
        return None
    (one, two), (alone, together) = found[:2], found[2:]
    # Two of the loops do twice the work of one, two threads of ours the same.
    return Gains(one / two, 2 * alone / together)


def scaling(report: Report, work: str) -> float | None:
    """The network's gain over the loop's; a run in doubt is no figure."""
    found = gains(report, work)
    return None if found is None or found.doubtful else found.ratio
