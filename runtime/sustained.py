"""What becomes of a latency when a device has been busy for long."""

from __future__ import annotations

from dataclasses import dataclass

from binas.runtime.measure import Measurement, percentile


@dataclass(frozen=True, slots=True, kw_only=True)
class Sustained:
    """What becomes of a latency when a device has been busy for long; nothing is left out.

    Attributes:
        seconds: How long it was busy, about.
        first_ns: Median of the first tenth of the samples.
        last_ns: Median of the last tenth.
    """

    seconds: float
    first_ns: float
    last_ns: float

    @staticmethod
    def of(measurement: Measurement) -> Sustained:
        """Of a measurement with long batches; disturbed ones count, for heat disturbs."""
        samples = measurement.samples_ns
        tenth = max(1, len(samples) // 10)
        return Sustained(
            seconds=sum(samples) * measurement.runs_per_batch / 1e9,
            first_ns=percentile(samples[:tenth], 0.5),
            last_ns=percentile(samples[-tenth:], 0.5),
        )

    @property
    def slowdown(self) -> float:
        """Relative; 0.1 is a tenth slower at the end."""
        return self.last_ns / self.first_ns - 1
