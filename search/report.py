"""What a report says of a search's folder: the course of the epochs and the networks it weighed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from binas.core import record
from binas.core.errors import DamagedError, UsageError
from binas.runtime import html, plots
from binas.search.strategy.settings import Found


def sections(folder: Path) -> list[html.Section]:
    """The one section of a finished search.

    Raises:
        UsageError: No finished search is there.
    """
    result = folder / "result.json"
    if not result.is_file():
        raise UsageError(
            f"{folder} holds no result.json", hint="finish the search: binas-search run -o FOLDER"
        )
    found = record.load(Found, result)
    facts = [html.Fact(value=f"{found.candidates[0].accuracy:.1%}", label="validation accuracy")]
    if found.predicted_ns is not None:
        told = html.microseconds(found.predicted_ns / 1e3)
        facts.append(html.Fact(value=told, label="predicted latency"))
    if found.budget_ns is not None:
        told = html.microseconds(found.budget_ns / 1e3)
        facts.append(html.Fact(value=told, label="latency asked for"))
    facts.append(html.Fact(value=f"{found.seconds:,.0f} s", label="of training the supernet"))
    figures = [*_plane(found), *_course(folder)]
    blocks: list[html.Content] = [html.Facts(facts=tuple(facts))]
    if figures:
        blocks.append(html.Figures(figures=tuple(figures)))
    return [
        html.Section(
            title=f"Search {folder.name}, seed {found.seed}",
            text=str(found.genotype),
            blocks=tuple(blocks),
        )
    ]


def _plane(found: Found) -> list[html.Figure]:
    """Candidates with a predicted latency; without a table there is no plane."""
    points = [
        plots.Point(
            label="chosen" if candidate.genotype == found.genotype else "",
            latency_us=candidate.predicted_ns / 1e3,
            accuracy=candidate.accuracy,
            bold=candidate.genotype == found.genotype,
        )
        for candidate in found.candidates
        if candidate.predicted_ns is not None
    ]
    if not points:
        return []
    targets = [] if found.budget_ns is None else [("asked for", found.budget_ns / 1e3)]
    svg = plots.plane(points, targets_us=targets, x_label="predicted latency, µs")
    caption = "Networks that were weighed, with the shared weights; dotted: the Pareto front."
    return [html.Figure(svg=svg, caption=caption, title="Accuracy over latency")]


def _course(folder: Path) -> list[html.Figure]:
    losses = [entry["loss"] for entry in _log(folder) if isinstance(entry.get("loss"), float)]
    if not losses:
        return []
    line = plots.Line(label="loss", x=range(1, len(losses) + 1), y=losses)
    svg = plots.lines([line], x_label="epoch", y_label="loss")
    return [html.Figure(svg=svg, caption="Training loss of the supernet.", title="Course")]


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
