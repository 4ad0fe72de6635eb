"""Claims of papers that a small search can test: `python -m benchmarks.search_claims --json FILE`.

Every claim is of two searches that differ in one thing, on the small space and the images of the
benchmark of searches (`benchmarks/search/plan.py`), paired by seed: what they leave to operations
without weights, and what processor time they take. A search that collapses to operations without
weights counts as what it is, with a share of 1. Memory is that of one step of BNAS-v2's supernet at
CIFAR's shapes, in a process of its own for each number of partial channels. That a claim holds or
fails here says nothing yet of its own scale.
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any

import click
import torch

from benchmarks import commit, report_file
from benchmarks.search import plan
from benchmarks.search.report import interval
from benchmarks.search_hours import noise, space_of
from binas.core import cli
from binas.core.errors import SearchError
from binas.devices import probe
from binas.search import data
from binas.search.compare import weight_free
from binas.search.strategy import bnas_v2, catalogue
from binas.search.strategy.layout_ground import whole

PROCESSES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two searches of a claim.

    Attributes:
        strategy: Its name.
        settings: Other than those of the plan.
    """

    strategy: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Two searches, and what is said of them.

    Attributes:
        name: For `--claim`.
        says: What the first has over the second.
        sides: The two.
    """

    name: str
    says: str
    sides: tuple[Side, Side]


CLAIMS = (
    Claim(
        name="clr",
        says="the confident learning rate keeps operations without weights from winning",
        sides=(Side(strategy="bnas-v2"), Side(strategy="bnas-v2", settings={"power": 0.0})),
    ),
    Claim(
        name="beta",
        says="a large beta_P makes CP-NAS pick fewer convolutions",
        sides=(
            Side(strategy="cp-nas", settings={"beta": 3.0}),
            Side(strategy="cp-nas", settings={"beta": 0.5}),
        ),
    ),
    Claim(
        name="bnas-cost",
        says="BNAS searches in 0.6 of PC-DARTS's time",
        sides=(Side(strategy="bnas"), Side(strategy="pc-darts")),
    ),
    Claim(
        name="cp-nas-cost",
        says="CP-NAS searches 30 % faster than BNAS",
        sides=(Side(strategy="cp-nas"), Side(strategy="bnas")),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one search left.

    Attributes:
        probability: Of operations without weights, mean over edges, at the end.
        share: Of such operations in the network found.
        cpu_s: Processor time.
        collapsed: Whether it was stopped because nothing else was left.
    """

    probability: float
    share: float
    cpu_s: float
    collapsed: bool


def searched(side: Side, seed: int) -> Outcome:
    """One search, as the benchmark of searches would run it without a band of cost."""
    torch.set_num_threads(1)
    strategy, last = catalogue.find(side.strategy), 0.0

    def tell(_done: int, _all: int, entry: dict[str, Any]) -> None:
        nonlocal last
        last = float(entry["weight_free"])

    settings = replace(plan.settings(strategy), **side.settings)
    images = data.load(plan.DATA).first(plan.IMAGES)
    start = time.process_time()
    try:
        found = strategy.search(plan.SPACE, images, settings, seed=seed, progress=tell)
    except SearchError:
        spent = time.process_time() - start
        return Outcome(probability=1.0, share=1.0, cpu_s=spent, collapsed=True)
    spent = time.process_time() - start
    share = weight_free(found.genotype)
    return Outcome(probability=last, share=share, cpu_s=spent, collapsed=False)


def compared(claim: Claim, pairs: Sequence[tuple[Outcome, Outcome]]) -> dict[str, Any]:
    """Paired differences of shares, and the ratio of times, each with its 95 % interval."""

    def difference(of: Callable[[Outcome], float]) -> dict[str, Any]:
        values = [of(first) - of(second) for first, second in pairs]
        return {"mean": fmean(values), "interval95": interval(values)}

    logs = [math.log(first.cpu_s / second.cpu_s) for first, second in pairs]
    ends = interval(logs)
    return {
        **asdict(claim),
        "outcomes": [[asdict(one) for one in pair] for pair in pairs],
        "collapsed": [sum(pair[i].collapsed for pair in pairs) for i in range(2)],
        "probability_difference": difference(lambda one: one.probability),
        "share_difference": difference(lambda one: one.share),
        "cpu_ratio": {
            "mean": math.exp(fmean(logs)),
            "interval95": None if ends is None else [math.exp(end) for end in ends],
        },
    }


def memory(partial: int, batch: int, *, small: bool = False) -> int:
    """Peak bytes that one step of BNAS-v2's supernet adds to a process; to be called in a new one.

    Args:
        partial: Operations see one channel in so many.
        batch: Images.
        small: On next to nothing.
    """
    torch.set_num_threads(1)
    space = space_of("bnas-v2", small=small)
    settings = replace(
        bnas_v2.PUBLISHED_PC, batch=batch, partial=partial, epochs=2, warmup_epochs=0
    )
    task = catalogue.find("bnas-v2").task(
        whole(space, None, None), noise(space, 2 * batch), settings, 0
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    task.epoch(1)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


@click.command(cls=cli.Command)
@report_file.option
@click.option("--claim", "names", multiple=True, type=click.Choice([c.name for c in CLAIMS]))
@click.option("--seeds", type=click.IntRange(2), default=10, show_default=True)
@click.option("--memory-batch", type=click.IntRange(0), default=32, show_default=True, help="0: no")
def main(*, file: Any, names: tuple[str, ...], seeds: int, memory_batch: int) -> None:
    """Test claims of papers on small searches, paired by seed."""
    sources, spawn = commit.of_sources(), multiprocessing.get_context("spawn")
    rows = []
    with ProcessPoolExecutor(PROCESSES, mp_context=spawn) as pool:
        for claim in [c for c in CLAIMS if c.name in (names or [c.name for c in CLAIMS])]:
            first, second = (
                [pool.submit(searched, s, k) for k in range(seeds)] for s in claim.sides
            )
            pairs = [(a.result(), b.result()) for a, b in zip(first, second, strict=True)]
            rows.append(compared(claim, pairs))
            click.echo(said(rows[-1]))
    peaks: dict[int, int] = {}
    for partial in (1, 4) if memory_batch else ():
        with spawn.Pool(1) as alone:
            peaks[partial] = alone.apply(memory, (partial, memory_batch))
        click.echo(f"memory: 1 channel in {partial}, a step takes {peaks[partial] / 2**20:.0f} MiB")
    report_file.write(
        file,
        {
            "schema": "binas.benchmark.search-claims/1",
            "commit": sources,
            "cpu": probe.this_machine().model,
            "seeds": seeds,
            "rows": rows,
            "memory": {"batch": memory_batch, "step_bytes": peaks},
        },
    )


def said(row: dict[str, Any]) -> str:
    """A claim's outcome in a line."""
    parts = [
        f"{what} {row[key]['mean']:{form}}{_ends(row[key]['interval95'], form)}"
        for what, key, form in (
            ("probability without weights", "probability_difference", "+.3f"),
            ("share of edges", "share_difference", "+.3f"),
            ("time", "cpu_ratio", ".2f"),
        )
    ]
    collapsed = f"; collapsed {row['collapsed'][0]} and {row['collapsed'][1]}"
    return f"{row['name']}: {', '.join(parts)}{collapsed}"


def _ends(ends: Sequence[float] | None, form: str) -> str:
    return "" if ends is None else f" ({ends[0]:{form}} to {ends[1]:{form}})"


if __name__ == "__main__":
    main()
