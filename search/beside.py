"""Finished searches side by side: what each was asked, what it found, and the networks drawn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from binas.core import record
from binas.core.errors import DamagedError, UsageError
from binas.runtime import drawing, html, plots
from binas.search.cost import count, layers_of
from binas.search.picture import blocks
from binas.search.run import Config
from binas.search.strategy.settings import Candidate, Found

_HEAD = (
    "search",
    "strategy",
    "seed",
    "validation accuracy",
    "latency",
    "asked for",
    "operations on bits",
    "took",
)
_UNKNOWN = "-"
_LABEL = 18  # letters


@dataclass(frozen=True, slots=True)
class Run:
    """A finished search as its folder tells it.

    Attributes:
        name: Of the folder, with as many parts of its path as tell it from the others.
        found: result.json.
        config: config.json; None where a program wrote the result alone.
        log: log.jsonl, one entry per epoch; empty without.
    """

    name: str
    found: Found
    config: Config | None
    log: tuple[dict[str, Any], ...]

    @property
    def chosen(self) -> Candidate:
        """The network that the search answered with."""
        return self.found.candidates[0]

    def curve(self, number: str) -> list[float]:
        """A number of the log, of the epochs that have it."""
        return [entry[number] for entry in self.log if isinstance(entry.get(number), float)]

    def latency_ns(self) -> float | None:
        """Of the network: measured while the search went on, or else by the table."""
        measured = self.chosen.measured_ns
        return self.found.predicted_ns if measured is None else measured


def read(folder: Path, name: str = "") -> Run:
    """A search's folder.

    Args:
        folder: Of `binas-search run -o FOLDER`.
        name: Its name in a report; the folder's own when empty.

    Raises:
        UsageError: No finished search is there, or a file of it is damaged.
    """
    result, config = folder / "result.json", folder / "config.json"
    if not result.is_file():
        raise UsageError(
            f"{folder} holds no result.json", hint="finish the search: binas-search run -o FOLDER"
        )
    found = record.load(Found, result)
    if not found.candidates:
        raise DamagedError(f"{result} holds no candidate", hint="run the search again")
    return Run(
        name or folder.resolve().name,
        found,
        record.load(Config, config) if config.is_file() else None,
        tuple(_log(folder)),
    )


def names_of(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ: runs/a/fast and runs/b/fast → a/fast, b/fast."""
    paths = [folder.resolve().parts for folder in folders]
    longest = max(len(parts) for parts in paths)
    for taken in range(1, longest + 1):
        names = ["/".join(parts[-taken:]) for parts in paths]
        if len(set(names)) == len(set(paths)):
            return names
    return ["/".join(parts) for parts in paths]


def section(runs: Sequence[Run]) -> html.Section:
    """Two searches or more in one section; the order given is the order of hues."""
    figures = [*_plane(runs), *_course(runs)]
    parts: list[html.Content] = [_results(runs), *_differences(runs)]
    if figures:
        parts.append(html.Figures(figures=tuple(figures)))
    parts.append(_networks(runs))
    names = [run.name for run in runs]
    return html.Section(
        title=f"{', '.join(names[:-1])} beside {names[-1]}", text=_doubts(runs), blocks=tuple(parts)
    )


def _results(runs: Sequence[Run]) -> html.Table:
    rows = []
    for run in runs:
        settings = {} if run.config is None else run.config.settings
        biops = count(layers_of(run.found.genotype)).biops
        measured = run.chosen.measured_ns is not None
        latency = _time(run.latency_ns())
        rows.append(
            (
                run.name,
                str(settings.get("strategy", _UNKNOWN)),
                str(run.found.seed),
                f"{run.chosen.accuracy:.1%}",
                latency if latency == _UNKNOWN or measured else f"{latency} (table)",
                _time(run.found.budget_ns),
                f"{biops / 1e6:,.2f} M",
                f"{run.found.seconds:,.0f} s",
            )
        )
    return html.Table(
        head=_HEAD,
        rows=tuple(rows),
        caption="Accuracy is on validation images, with the weights that all networks share; what "
        "a network reaches when it is trained alone, binas-search retrain tells.",
    )


def _differences(runs: Sequence[Run]) -> list[html.Table]:
    """The settings that are not the same everywhere; nothing where none is known or differs."""
    settings = [run.config.settings for run in runs if run.config is not None]
    names = sorted({name for known in settings for name in known} - {"strategy", "budget_ns"})
    rows = tuple(
        (name, *(str(known.get(name, _UNKNOWN)) for known in settings))
        for name in names
        if len({repr(known.get(name)) for known in settings}) > 1
    )
    if len(settings) < len(runs) or not rows:
        return []
    return [
        html.Table(
            head=("setting", *(run.name for run in runs)),
            rows=rows,
            caption="Settings that differ; all others are the same.",
        )
    ]


def _plane(runs: Sequence[Run]) -> list[html.Figure]:
    points, targets = [], {}
    for run, hue in zip(runs, cycle(range(len(plots.HUES))), strict=False):
        for candidate in run.found.candidates:
            if candidate.predicted_ns is not None:
                chosen = candidate is run.chosen
                points.append(
                    plots.Point(
                        label=_short(run.name) if chosen else "",
                        latency_us=candidate.predicted_ns / 1e3,
                        accuracy=candidate.accuracy,
                        hue=hue,
                        bold=chosen,
                    )
                )
        if run.found.budget_ns is not None:
            budget = run.found.budget_ns / 1e3
            targets[budget] = f"asked for {html.microseconds(budget)}"
    if not points:
        return []
    svg = plots.plane(
        points,
        targets_us=[(label, value) for value, label in targets.items()],
        x_label="predicted latency, µs",
    )
    lacking = [run.name for run in runs if run.found.predicted_ns is None]
    without = f" Without a table, so not here: {', '.join(lacking)}." if lacking else ""
    caption = "All networks that were weighed, chosen ones large; dotted: the Pareto front of all."
    return [html.Figure(svg=svg, caption=caption + without, title="Accuracy over latency")]


def _course(runs: Sequence[Run]) -> list[html.Figure]:
    lines = [
        plots.Line(label=run.name, x=range(1, len(losses) + 1), y=losses, hue=hue)
        for run, hue in zip(runs, cycle(range(len(plots.HUES))), strict=False)
        if (losses := run.curve("loss"))
    ]
    if not lines:
        return []
    svg = plots.lines(lines, x_label="epoch", y_label="loss")
    return [html.Figure(svg=svg, caption="Training loss of the supernets.", title="Course")]


def _networks(runs: Sequence[Run]) -> html.Figures:
    drawn = [(run, blocks(run.found.genotype)) for run in runs]
    widest = max(block.channels for _, chain in drawn for block in chain)
    return html.Figures(
        figures=tuple(
            html.Figure(
                title=run.name,
                svg=drawing.draw(chain, title=f"network of {run.name}", widest=widest),
                caption=str(run.found.genotype),
            )
            for run, chain in drawn
        )
    )


def _doubts(runs: Sequence[Run]) -> str:
    """What forbids to compare numbers, in sentences."""
    configs = [run.config for run in runs if run.config is not None]
    said = []
    if len({record.digest(run.found.genotype.space) for run in runs}) > 1:
        said.append("The spaces differ, so the networks had not the same choices.")
    if len({config.data_digest for config in configs}) > 1:
        said.append("The images differ: accuracies do not compare.")
    tables = {config.inputs["table"] for config in configs if "table" in config.inputs}
    if len(tables) > 1:
        said.append("The latency tables differ: predictions come from two measurings.")
    if len(configs) < len(runs):
        said.append("Of a folder without config.json the settings are not known.")
    return " ".join(said or ["One space, the same images; latencies of one table where there are."])


def _short(name: str) -> str:
    """A name beside a point, where a long one would lie over other points."""
    return name if len(name) <= _LABEL else f"{name[: _LABEL - 1]}…"


def _time(value_ns: float | None) -> str:
    return _UNKNOWN if value_ns is None else html.microseconds(value_ns / 1e3)


def _log(folder: Path) -> list[dict[str, Any]]:
    path = folder / "log.jsonl"
    if not path.is_file():
        return []
    try:
        lines = record.read_bytes(path).decode().splitlines()
        found = [json.loads(line) for line in lines]
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: {error}", hint="run the search again") from None
    return [entry for entry in found if isinstance(entry, dict)]
