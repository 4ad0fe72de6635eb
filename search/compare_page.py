"""The page of a comparison: a table, the plane of accuracy and latency, and the networks drawn."""

from __future__ import annotations

from collections.abc import Sequence

from binas.runtime import drawing, html, plots
from binas.search.compare import Comparison, Entry, mean_and_std, mean_or_none
from binas.search.picture import blocks

_HEAD = (
    "strategy",
    "accuracy, %",
    "latency, µs",
    "MBiOps",
    "parameters, k",
    "search, s",
    "weight-free, %",
)


def page(comparison: Comparison) -> html.Report:
    """The report."""
    best = max(comparison.strategies, key=lambda name: _accuracy(comparison.of(name))[0])
    mean, deviation = _accuracy(comparison.of(best))
    seeds = max(_seeds(comparison, name) for name in comparison.strategies)
    device = comparison.device or "no device"
    facts = {**comparison.versions, "data": comparison.data_digest}
    sections = [_table(comparison)]
    if comparison.failures:
        sections.append(_failures(comparison))
    if any(_latency(entry) is not None for entry in comparison.entries):
        sections.append(_plane(comparison))
    sections.append(_networks(comparison))
    return html.Report(
        title=f"Searches on {comparison.data}",
        lead=(
            f"{len(comparison.strategies)} strategies on one space, each shown "
            f"{comparison.images:,} training images per search, over {seeds} "
            f"{'seed' if seeds == 1 else 'seeds'}; networks trained alike from scratch; latency on "
            f"{device}. {_warning(seeds)}"
        ),
        facts=(
            html.Fact(value=best, label="highest mean accuracy", tone="hue-2"),
            html.Fact(
                value=f"{mean:.1%}",
                label="held out, one seed"
                if deviation is None
                else f"held out, ± {deviation:.1%} over seeds",
                tone="hue-2",
            ),
        ),
        legend=(("binary", "arithmetic on bits"), ("plain", "moves, means and adds")),
        sections=tuple(sections),
        footer=" · ".join(f"{name} {text}" for name, text in facts.items()),
    )


def lines(comparison: Comparison) -> tuple[tuple[str, ...], ...]:
    """One row per strategy, for the page and for the terminal."""
    return tuple(_line(comparison, name) for name in comparison.strategies)


def _line(comparison: Comparison, name: str) -> tuple[str, ...]:
    entries, seeds = comparison.of(name), _seeds(comparison, name)
    mean, deviation = _accuracy(entries)
    latency = mean_or_none([_latency(entry) for entry in entries])
    measured = all(entry.latency_us is not None for entry in entries)
    text = "-" if latency is None else f"{latency:.1f}{'' if measured else ' (table)'}"
    return (
        name if len(entries) == seeds else f"{name} ({len(entries)} of {seeds} seeds)",
        f"{100 * mean:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}"),
        text,
        f"{_mean(entries, 'biops') / 1e6:.2f}",
        f"{_mean(entries, 'parameters') / 1e3:.0f}",
        f"{_mean(entries, 'search_s'):.0f}",
        f"{100 * _mean(entries, 'weight_free'):.0f}",
    )


def _table(comparison: Comparison) -> html.Section:
    return html.Section(
        title="Results",
        text="Means over seeds; accuracy on held-out images, of several seeds with its standard "
        "deviation.",
        blocks=(
            html.Table(
                head=_HEAD,
                rows=lines(comparison),
                caption="Weight-free: edges whose operation is none, skip or pool.",
            ),
        ),
    )


def _failures(comparison: Comparison) -> html.Section:
    return html.Section(
        title="Without a network",
        text="Searches and trainings that could not go on; means above are without them.",
        blocks=(
            html.Table(
                head=("strategy", "seed", "stopped in", "reason"),
                rows=tuple(
                    (failed.strategy, str(failed.seed), failed.stage, failed.reason)
                    for failed in comparison.failures
                ),
            ),
        ),
    )


def _plane(comparison: Comparison) -> html.Section:
    names = comparison.strategies
    points = []
    for place, name in enumerate(names):
        hue = place % len(plots.HUES)
        for entry in comparison.of(name):
            if (latency := _latency(entry)) is not None:
                points.append(
                    plots.Point(
                        label=f"{name} {entry.seed}" if len(names) > len(plots.HUES) else name,
                        latency_us=latency,
                        accuracy=entry.accuracy,
                        hue=hue,
                        bold=entry is comparison.of(name)[0],
                    )
                )
    budget = comparison.budget_us
    targets = () if budget is None else ((f"asked for {html.microseconds(budget)}", budget),)
    measured = all(entry.latency_us is not None for entry in comparison.entries)
    svg = plots.plane(
        points,
        targets_us=targets,
        x_label="measured latency, µs" if measured else "latency by the table, µs",
    )
    return html.Section(
        title="Accuracy and latency",
        text="Every network that was found; the first seed of each strategy is labelled.",
        blocks=(html.Figures(figures=(html.Figure(svg=svg, caption="Dotted: the front."),)),),
    )


def _networks(comparison: Comparison) -> html.Section:
    first = [comparison.of(name)[0] for name in comparison.strategies]
    drawn = [(entry, blocks(entry.genotype)) for entry in first]
    widest = max(block.channels for _, chain in drawn for block in chain)
    figures = tuple(
        html.Figure(
            title=entry.strategy,
            svg=drawing.draw(chain, title=f"network of {entry.strategy}", widest=widest),
            caption=f"seed {entry.seed}: {entry.accuracy:.1%}",
        )
        for entry, chain in drawn
    )
    return html.Section(
        title="Networks",
        text="The first seed's network of each strategy, drawn to one scale.",
        blocks=(html.Figures(figures=figures),),
    )


def _seeds(comparison: Comparison, name: str) -> int:
    return len(comparison.of(name)) + len(comparison.failed(name))


def _warning(seeds: int) -> str:
    """What so many seeds can show."""
    if seeds == 1:
        return "One seed shows no difference between strategies: give more --seeds."
    return "What a few seeds show is a tendency: the deviation stands beside the mean."


def _accuracy(entries: Sequence[Entry]) -> tuple[float, float | None]:
    return mean_and_std([entry.accuracy for entry in entries])


def _latency(entry: Entry) -> float | None:
    return entry.predicted_us if entry.latency_us is None else entry.latency_us


def _mean(entries: Sequence[Entry], field: str) -> float:
    return mean_and_std([float(getattr(entry, field)) for entry in entries])[0]
