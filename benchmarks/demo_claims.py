"""Whether the demo's claims hold over seeds: `python -m benchmarks.demo_claims --json FILE`.

Runs the stages of `examples.demo` for each seed (one table serves all) and reports, per seed and
over all: measured latency of the latency-aware net over the baseline's, deviation from the target,
accuracies, what the table's sum predicted, and the share of the fixed cost. Raw samples are kept.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import click

from benchmarks import report_file
from binas.core import cli, record
from examples.demo.crew import Crew
from examples.demo.gather import gather
from examples.demo.journey import Request, Results, travel
from examples.demo.results import Timed
from examples.demo.summary import Demo, Net

NETS = ("baseline", "latency_aware", "parent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A number with the limit it is held to.

    Attributes:
        name: What is claimed.
        value: What was found.
        low: It should not be below; None: no such limit.
        high: It should not be above; None: no such limit.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the number is within its limits."""
        return (self.low is None or self.value >= self.low) and (
            self.high is None or self.value <= self.high
        )


@click.command(cls=cli.Command)
@report_file.option
@click.option("--data", default="digits", show_default=True)
@click.option("--device", default="host", show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="How many.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("runs/bench/demo_claims"),
    show_default=True,
    help="Folder of the stages; finished ones are reused.",
)
def main(*, file: Path, data: str, device: str, seeds: int, output: Path) -> None:
    """Run the demo for several seeds and hold its claims against what was measured."""
    runs: list[dict[str, Any]] = []
    demos: list[Demo] = []
    with Crew() as crew:
        for seed in range(seeds):
            crew.say(f"seed {seed}")
            request = Request(data=data, device=device, seed=seed, output=output)
            results = travel(request, crew)
            demos.append(gather(request, results))
            runs.append({"seed": seed, **figures(demos[-1]), "samples": samples(results)})
    held = claims(demos)
    report = {
        "schema": "binas.benchmark.demo-claims/1",
        "data": data,
        "device": device,
        "cpu": demos[0].cpu,
        "versions": demos[0].versions,
        "claims": [{**asdict(claim), "holds": claim.holds} for claim in held],
        "runs": runs,
    }
    report_file.write(file, report)
    for claim in held:
        limits = [f"at least {claim.low:g}"] if claim.low is not None else []
        limits += [f"at most {claim.high:g}"] if claim.high is not None else []
        word = "holds" if claim.holds else "FAILS"
        print(f"{word}  {claim.name:<58} {claim.value:8.3f}  ({' and '.join(limits)})")
    sys.exit(not all(claim.holds for claim in held))


def figures(demo: Demo) -> dict[str, Any]:
    """The numbers of one seed."""
    nets = {name: getattr(demo, name) for name in NETS}
    return {
        "ratio": demo.latency_aware.measured_us / demo.baseline.measured_us,
        "target_us": demo.target_us,
        "deviation": demo.latency_aware.measured_us / demo.target_us - 1,
        "accuracy": {name: net.accuracy for name, net in nets.items()},
        "measured_us": {name: net.measured_us for name, net in nets.items()},
        "predicted_us": {name: net.predicted_us for name, net in nets.items()},
        "prediction_error": {name: prediction_error(net) for name, net in nets.items()},
        "fixed_share": {name: demo.fixed_us / net.measured_us for name, net in nets.items()},
        "biops": {name: net.biops for name, net in nets.items()},
        "doubts": {name: net.doubts for name, net in nets.items()},
        "binary_layers_exact": demo.verify.binary_layers_exact,
        "genotypes": {name: str(net.genotype) for name, net in nets.items()},
    }


def samples(results: Results) -> dict[str, dict[str, Any]]:
    """Every sample of every network as a whole."""
    timed = {name: record.load(Timed, results.times / f"{name}.json") for name in NETS}
    return {name: record.to_dict(one.whole) for name, one in timed.items()}


def prediction_error(net: Net) -> float:
    """Positive where the table says too much."""
    return net.predicted_us / net.measured_us - 1


def claims(demos: list[Demo]) -> list[Claim]:
    """What the README says of the demo, with its limits."""
    pairs = [(demo.baseline, demo.latency_aware) for demo in demos]
    return [
        Claim(
            name="latency-aware over baseline, measured, mean of seeds",
            value=mean(aware.measured_us / base.measured_us for base, aware in pairs),
            high=0.75,
        ),
        Claim(
            name="accuracy lost to latency, points, mean of seeds",
            value=100 * mean(base.accuracy - aware.accuracy for base, aware in pairs),
            high=1.5,
        ),
        Claim(
            name="deviation from the target, worst seed",
            value=max(
                (demo.latency_aware.measured_us / demo.target_us - 1 for demo in demos), key=abs
            ),
            low=-0.15,
            high=0.15,
        ),
        Claim(
            name="error of the table's sum, worst net",
            value=max((prediction_error(net) for pair in pairs for net in pair), key=abs),
            low=-0.15,
            high=0.15,
        ),
        Claim(
            name="share of the fixed cost, worst net",
            value=max(demo.fixed_us / demo.latency_aware.measured_us for demo in demos),
            high=0.2,
        ),
        Claim(
            name="1-bit accuracy, lowest",
            value=min(net.accuracy for pair in pairs for net in pair),
            low=0.96,
        ),
        Claim(
            name="points below the real-valued twin, mean of seeds",
            value=100 * mean(demo.parent.accuracy - demo.latency_aware.accuracy for demo in demos),
            high=2.0,
        ),
        Claim(
            name="binary layers exact in every artifact",
            value=float(all(demo.verify.binary_layers_exact for demo in demos)),
            low=1.0,
        ),
    ]


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.demo_claims")
