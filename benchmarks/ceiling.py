"""The ceilings of this CPU: what loops on registers reach, measured between the works of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from benchmarks.native_code import NativeCall, gauge, library
from benchmarks.schema import Peak
from benchmarks.timing import MIN_BATCH_NS, Gauge
from binas.devices.device import Device

_TRIES = 8  # to have one batch that nobody disturbed


@dataclass(frozen=True, slots=True)
class Loop:
    """A peak of `native/peak.c`.

    Attributes:
        name: In the report; `bench_peak_` + name is the function.
        unit: Of its result: 1e9 per second.
        features: What the CPU must have.
    """

    name: str
    unit: str
    features: tuple[str, ...]


PEAKS = (  # in the order of `work` in native/peak.c
    Loop("full_adder", "GMAC/s", ("avx512f", "avx512_vpopcntdq")),
    Loop("popcount", "GMAC/s", ("avx512f", "avx512_vpopcntdq")),
    Loop("adder_tree", "GMAC/s", ("avx512f", "avx512bw")),
    Loop("nibbles", "GMAC/s", ("avx2",)),
    Loop("fma512", "GMAC/s", ("avx512f",)),
    Loop("fma256", "GMAC/s", ("avx2", "fma")),
    Loop("int8", "GMAC/s", ("avx512f", "avx512_vnni")),
    Loop("clock", "GHz", ()),
)

# The register peaks of what each of our engines may count with: the quickest loop of the first row
# that the CPU can run.
CEILINGS_OF = {
    "binas": (("full_adder", "popcount"), ("adder_tree",), ("nibbles",)),
    "binas-avx512bw": (("adder_tree",),),
    "binas-avx2": (("nibbles",),),
}


@dataclass(slots=True)
class Ceiling:
    """The peaks that this machine can run, sampled whenever `sample` is called.

    Attributes:
        device: Says which.
        gauge: Tells quiet moments.
        samples: Of each peak.
    """

    device: Device
    gauge: Gauge = field(default_factory=gauge)
    samples: dict[str, list[float]] = field(default_factory=dict)

    def sample(self) -> None:
        """Add one sample per peak, of a batch that nothing disturbed if one can be had."""
        for index, loop in enumerate(PEAKS):
            if self.device.lacks(loop.features):
                continue
            call = NativeCall(getattr(library(), f"bench_peak_{loop.name}"))
            work = library().bench_peak_work(index)
            runs = 1 + MIN_BATCH_NS // max(1, call.batch(4).wall_ns // 4)
            for _ in range(_TRIES):
                quiet = self.gauge.wait()
                batch = call.batch(runs)
                if self.gauge.quiet() and quiet and not batch.preempted:
                    break
            self.samples.setdefault(loop.name, []).append(work / batch.call_ns)

    def since(self, before: Mapping[str, int]) -> dict[str, float]:
        """Medians of the samples taken since `counts` gave `before`."""
        new = {name: values[before.get(name, 0) :] for name, values in self.samples.items()}
        return {name: median(values) for name, values in new.items() if values}

    def counts(self) -> dict[str, int]:
        """Samples taken so far."""
        return {name: len(values) for name, values in self.samples.items()}

    def peaks(self) -> dict[str, Peak]:
        """The result."""
        units = {loop.name: loop.unit for loop in PEAKS}
        return {
            name: Peak(unit=units[name], median=median(values), samples=tuple(values))
            for name, values in self.samples.items()
        }
