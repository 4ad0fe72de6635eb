"""Whether BARS lands where it is told: `python -m benchmarks.latency_targets --table T --json F`.

For three targets, the quartiles of what random networks of the space take by the table, BARS is
searched under that budget, and the network it gives is compiled and measured on the device. Target:
measured latency within 10 % of the budget, for networks whose fixed cost is under 20 % of it.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch

from binas.compile.build import compile_model
from binas.compile.model import BinaryModel
from binas.core import cli, record
from binas.devices import registry
from binas.runtime.artifact import load
from binas.runtime.measure import Plan
from binas.runtime.session import Session
from binas.runtime.table import LatencyTable
from binas.search import data, space
from binas.search.cost import Lut
from binas.search.export import export
from binas.search.networks.bars import build
from binas.search.strategy import bars
from binas.search.survey import menu_of, random_genotypes

WITHIN, FIXED_SHARE = 0.10, 0.20  # targets
RANDOM = 400  # networks whose quartiles are the targets
PLAN = Plan(repeats=25, warmup=2, min_batch_ns=5_000_000, max_ns=4_000_000_000)
ROUNDS = 3  # sessions per network, their median counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """One budget and where the search came down; all times in ns.

    Attributes:
        target_ns: The budget.
        predicted_ns: Of the network found, by the table.
        measured_ns: Median over sessions.
        sessions_ns: Each.
        fixed_share: Of the table's fixed cost in what was measured.
        deviation: measured / target - 1.
        genotype: What was found.
        accuracy: On the architecture half, with the supernet's weights.
        search_s: Of training.
    """

    target_ns: float
    predicted_ns: float
    measured_ns: float
    sessions_ns: tuple[float, ...]
    fixed_share: float
    deviation: float
    genotype: str
    accuracy: float
    search_s: float

    @property
    def holds(self) -> bool:
        """Whether the target is met."""
        return abs(self.deviation) <= WITHIN and self.fixed_share <= FIXED_SHARE


@click.command(cls=cli.Command)
@click.option("--table", type=click.Path(path_type=Path), required=True, help="Of the device.")
@click.option("--json", "file", type=click.Path(path_type=Path), required=True, help="Report.")
@click.option("--space", "space_name", default="digits", show_default=True)
@click.option("--data", "data_name", default="digits", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def main(*, table: Path, file: Path, space_name: str, data_name: str, seed: int) -> None:
    """Search under three budgets and measure what comes out."""
    torch.set_num_threads(1)
    chosen, images = space.load(space_name), data.load(data_name)
    prices = record.load(LatencyTable, table)
    lut = Lut.of(menu_of(chosen, table.with_suffix(".build")), prices)
    times = sorted(lut.predict_ns(g) for g in random_genotypes(chosen, RANDOM, seed=seed))
    device = registry.find(prices.device)
    landings: list[Landing] = []
    with tempfile.TemporaryDirectory() as folder, registry.connect(device) as link:
        for target_ns in statistics.quantiles(times, n=4):
            found = bars.search(chosen, images, seed=seed, lut=lut, budget_ns=target_ns)
            path = Path(folder) / "net.binas"
            genotype = found.in_stages()
            model = BinaryModel.of(export(build(genotype).eval(), genotype), "net")
            compile_model(model, device, path)
            sessions: list[float] = []
            for _ in range(ROUNDS):
                with Session(load(path), link) as session:
                    sessions.append(session.time(PLAN).median_ns)
            measured = statistics.median(sessions)
            landings.append(
                Landing(
                    target_ns=target_ns,
                    predicted_ns=found.predicted_ns or 0.0,
                    measured_ns=measured,
                    sessions_ns=tuple(sessions),
                    fixed_share=prices.fixed_ns / measured,
                    deviation=measured / target_ns - 1,
                    genotype=str(found.genotype),
                    accuracy=found.candidates[0].accuracy,
                    search_s=found.seconds,
                )
            )
            cli.say(
                f"target {target_ns / 1e3:.1f} us, predicted {landings[-1].predicted_ns / 1e3:.1f}"
                f", measured {measured / 1e3:.1f} ({landings[-1].deviation:+.1%})"
            )
    report = {
        "schema": "binas.benchmark.latency-targets/1",
        "space": space_name,
        "data": data_name,
        "device": prices.device,
        "seed": seed,
        "holds": all(landing.holds for landing in landings),
        "rows": [{**asdict(landing), "holds": landing.holds} for landing in landings],
    }
    record.write_atomic(file, (json.dumps(report, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
