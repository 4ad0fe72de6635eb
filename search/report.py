"""What a report says of searches' folders: the course of the epochs, the networks they weighed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from binas.runtime import html, plots
from binas.search import beside
from binas.search.beside import Run
from binas.search.strategy.settings import Found


def sections(folders: Sequence[Path]) -> list[html.Section]:
    """A section per finished search; of two or more, first one that has them side by side.

    Raises:
        UsageError: No finished search is in one of them.
    """
    names = beside.names_of(folders)
    runs = [beside.read(folder, name) for folder, name in zip(folders, names, strict=True)]
    together = [beside.section(runs)] if len(runs) > 1 else []
    return [*together, *(_alone(run) for run in runs)]


def _alone(run: Run) -> html.Section:
    found = run.found
    facts = [html.Fact(value=f"{run.chosen.accuracy:.1%}", label="validation accuracy")]
    if found.predicted_ns is not None:
        told = html.microseconds(found.predicted_ns / 1e3)
        facts.append(html.Fact(value=told, label="predicted latency"))
    if found.budget_ns is not None:
        told = html.microseconds(found.budget_ns / 1e3)
        facts.append(html.Fact(value=told, label="latency asked for"))
    facts.append(html.Fact(value=f"{found.seconds:,.0f} s", label="of training the supernet"))
    figures = [*_plane(found), *_course(run)]
    blocks: list[html.Content] = [html.Facts(facts=tuple(facts))]
    if figures:
        blocks.append(html.Figures(figures=tuple(figures)))
    return html.Section(
        title=f"Search {run.name}, seed {found.seed}",
        text=str(found.genotype),
        blocks=tuple(blocks),
    )


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


def _course(run: Run) -> list[html.Figure]:
    losses = run.curve("loss")
    if not losses:
        return []
    line = plots.Line(label="loss", x=range(1, len(losses) + 1), y=losses)
    svg = plots.lines([line], x_label="epoch", y_label="loss")
    return [html.Figure(svg=svg, caption="Training loss of the supernet.", title="Course")]
