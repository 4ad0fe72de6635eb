"""Whether BARS lands where it is told: `python -m benchmarks.latency_targets --table T --json F`.

For three targets, the quartiles of what random networks of the space take by the table, BARS is
searched under that budget, and the networks it gives are compiled and, all together, measured on
the device as the table's own networks are. Target: measured latency within 10 % of the budget, for
networks whose fixed cost is under 20 % of it.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch

from benchmarks import report_file
from binas.core import cli, record
from binas.devices import registry
from binas.runtime.board import DeviceBoard
from binas.runtime.passes import settled
from binas.runtime.table import LatencyTable
from binas.search import data, space
from binas.search.cost import Lut
from binas.search.strategy import bars
from binas.search.strategy.settings import Found
from binas.search.survey import NET_PLAN, PASSES, WAITS, menu_of, random_genotypes
from binas.search.workshop import compile_network

WITHIN, FIXED_SHARE = 0.10, 0.20  # targets
RANDOM = 400  # networks whose quartiles are the targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """One budget and where the search came down; all times in ns.

    Attributes:
        target_ns: The budget.
        predicted_ns: Of the network found, by the table.
        measured_ns: Median over several passes.
        doubts: What speaks against it.
        fixed_share: Of the table's fixed cost in what was measured.
        deviation: measured / target - 1.
        genotype: What was found.
        accuracy: On the architecture half, with the supernet's weights.
        search_s: Of training.
    """

    target_ns: float
    predicted_ns: float
    measured_ns: float
    doubts: tuple[str, ...]
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
@report_file.option
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
    founds: dict[Path, tuple[float, Found]] = {}
    with tempfile.TemporaryDirectory() as folder, registry.connect(device) as link:
        for target_ns in statistics.quantiles(times, n=4):
            found = bars.search(chosen, images, seed=seed, lut=lut, budget_ns=target_ns)
            path = Path(folder) / f"net-{len(founds)}.binas"
            compile_network(found.genotype, device, path)
            founds[path] = (target_ns, found)
            cli.say(f"target {target_ns / 1e3:.1f} us: found {found.genotype}")
        # Batches count where the machine is as quick as it was for the table.
        board = DeviceBoard(link, NET_PLAN, quiet_ns=prices.quiet_ns)
        measured = settled(
            board.time,
            list(founds),
            NET_PLAN,
            passes=PASSES,
            waits=WAITS,
            quiet_ns=prices.quiet_ns,
            say=cli.say,
        )
    landings = [
        Landing(
            target_ns=target_ns,
            predicted_ns=found.predicted_ns or 0.0,
            measured_ns=measured[path].median_ns,
            doubts=measured[path].doubts,
            fixed_share=prices.fixed_ns / measured[path].median_ns,
            deviation=measured[path].median_ns / target_ns - 1,
            genotype=str(found.genotype),
            accuracy=found.candidates[0].accuracy,
            search_s=found.seconds,
        )
        for path, (target_ns, found) in founds.items()
    ]
    for one in landings:
        cli.say(
            f"target {one.target_ns / 1e3:.1f} us, predicted {one.predicted_ns / 1e3:.1f}, "
            f"measured {one.measured_ns / 1e3:.1f} ({one.deviation:+.1%})"
        )
    report = {
        "schema": "binas.benchmark.latency-targets/2",
        "space": space_name,
        "data": data_name,
        "device": prices.device,
        "seed": seed,
        "holds": all(landing.holds for landing in landings),
        "rows": [{**asdict(landing), "holds": landing.holds} for landing in landings],
    }
    report_file.write(file, report)


if __name__ == "__main__":
    main()
