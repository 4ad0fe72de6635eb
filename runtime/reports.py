"""What a report says of an artifact, of times and of tables: sections of `html.py` from values.

Each function takes what was read and gives a `Section`; which files there are, and what belongs
together, is the command's business (`commands/report.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from binas.core.errors import BinasError
from binas.core.layer import Layer
from binas.runtime import drawing, html
from binas.runtime.artifact import Artifact, Step
from binas.runtime.fit import Pair
from binas.runtime.measure import Failure, Measurement
from binas.runtime.table import Difference, LatencyTable

LARGEST = 24  # rows of a table that people read
_TONES: dict[str, html.Tone] = {"binary_conv": "binary", "conv": "float"}
LEGEND: tuple[tuple[html.Tone, str], ...] = (
    ("binary", "arithmetic on bits"),
    ("float", "arithmetic on floats"),
    ("plain", "moves, means and adds"),
)


def tone(layer: Layer) -> html.Tone:
    """The colour of a layer, the same in all drawings."""
    return _TONES.get(layer.op, "plain")


def model(
    artifact: Artifact, times_us: Mapping[str, float], total_us: float | None
) -> html.Section:
    """An artifact: numbers, its drawing, and time per step where it was measured.

    Args:
        artifact: The file.
        times_us: Step → measured µs; empty where nothing was measured.
        total_us: Measured time of the whole network.
    """
    manifest = artifact.manifest
    macs = sum(step.layer.macs for step in manifest.steps)
    binary = sum(step.layer.binary_macs for step in manifest.steps)
    facts = [
        html.Fact(
            value=f"{binary / max(macs, 1):.1%}", label="of its multiply-accumulates on bits"
        ),
        html.Fact(value=_kib(artifact.path.stat().st_size), label="the file"),
        html.Fact(value=_kib(manifest.weights_bytes), label="weights"),
        html.Fact(value=_kib(manifest.arena_bytes), label="memory while it runs"),
    ]
    if total_us is not None:
        facts.insert(0, html.Fact(value=html.microseconds(total_us), label="measured, per run"))
    blocks: list[html.Content] = [
        html.Facts(facts=tuple(facts)),
        _drawing(manifest.steps, times_us),
    ]
    if times_us:
        rows = [
            (s.name, times_us[s.name], tone(s.layer)) for s in manifest.steps if s.name in times_us
        ]
        blocks.append(
            html.share_bars(
                rows,
                title="Time per layer",
                caption="Every fused step measured alone, in the order of execution.",
            )
        )
    floats = tuple((k.name, k.kind, k.reason) for k in manifest.layers if k.kind != "binary")
    if floats:
        blocks.append(
            html.Table(
                head=("layer", "arithmetic", "why"),
                rows=floats,
                caption="What did not become binary.",
            )
        )
    return html.Section(
        title=f"{manifest.model_name} for {manifest.device} ({manifest.cpu})",
        text=f"{len(manifest.steps)} steps after fusion; model {manifest.model_digest}, "
        f"kernels {manifest.kernel_version}.",
        blocks=tuple(blocks),
    )


def _drawing(steps: Sequence[Step], times_us: Mapping[str, float]) -> html.Figures:
    """The weighted steps from input to output; slabs are as wide as they have channels."""
    weighted = [s for s in steps if s.layer.op in _TONES] or list(steps)
    chain = []
    for step in weighted:
        _, P, Q, K = step.layer.out_shape
        R, S = step.layer.kernel
        words = [f"{R}x{S}/{step.layer.stride[0]}"]
        if step.name in times_us:
            words.append(html.microseconds(times_us[step.name]))
        kind = {"binary_conv": "binary", "conv": "float"}.get(step.layer.op, "plain")
        chain.append(
            drawing.Block(
                name=step.name,
                channels=K,
                rows=P,
                columns=Q,
                kind=kind,  # type: ignore[arg-type]  # one of the three
                note=" · ".join(words),
            )
        )
    half = -(-len(chain) // 2) if len(chain) > 8 else len(chain)
    widest = max(block.channels for block in chain)
    parts = [part for part in (chain[:half], chain[half:]) if part]
    caption = "Every convolution: rows x columns x channels, kernel and stride"
    caption += ", time." if times_us else "."
    return html.Figures(
        figures=tuple(
            html.Figure(
                svg=drawing.draw(part, title="the network's layers", widest=widest),
                caption=caption if not i else "... continued.",
                title="The network" if not i else "",
            )
            for i, part in enumerate(parts)
        )
    )


def predicted(artifact: Artifact, table: LatencyTable, total_us: float | None) -> html.Section:
    """What a table says of an artifact's layers, beside what was measured."""
    steps = artifact.manifest.steps
    rows, missing = [], []
    for step in steps:
        try:
            rows.append((step.name, table.latency_ns(step.layer) / 1e3, tone(step.layer)))
        except BinasError:
            missing.append(step.name)
    total = sum(value for _, value, _ in rows) + table.fixed_ns / 1e3
    bars = [html.Bar(label="predicted", value=total, text=html.microseconds(total), tone="hue-1")]
    if total_us is not None:
        text = f"{html.microseconds(total_us)} · {total / total_us - 1:+.1%} predicted"
        bars.append(html.Bar(label="measured", value=total_us, text=text, tone="hue-2"))
    lacks = f" The table lacks {len(missing)} of {len(steps)} steps." if missing else ""
    return html.Section(
        title=f"Predicted by the table of {table.device}",
        text=f"The sum of the table's layers and the fixed cost of a run.{lacks}",
        blocks=(
            html.Bars(bars=tuple(bars), caption="The whole network."),
            *(
                [html.share_bars(rows, title="By the table", caption="Entries of the table.")]
                if rows
                else []
            ),
        ),
    )


def table(found: LatencyTable) -> html.Section:
    """A latency table: a heat map, the largest entries, and how sums predict networks."""
    measured = [(e.layer, e.result) for e in found.entries if isinstance(e.result, Measurement)]
    measured.sort(key=lambda pair: -pair[1].median_ns)
    facts = (
        html.Fact(value=str(len(measured)), label="layers measured"),
        html.Fact(value=str(len(found.failures)), label="failures"),
        html.Fact(value=html.microseconds(found.fixed_ns / 1e3), label="fixed cost of a run"),
    )
    rows = tuple(
        (
            str(layer),
            *(html.microseconds(ns / 1e3) for ns in (r.median_ns, r.p10_ns, r.p90_ns)),
            str(len(r.doubts) or ""),
        )
        for layer, r in measured[:LARGEST]
    )
    head = ("layer", "median", "p10", "p90", "doubts")
    blocks: list[html.Content] = [html.Facts(facts=facts), *heat(measured)]
    if found.fit is not None:
        blocks.append(fit(found.fit.pairs))
    caption = f"The {len(rows)} largest of {len(measured)}."
    blocks.append(html.Table(head=head, rows=rows, caption=caption))
    failures = tuple(
        (str(e.layer), e.result.kind, e.result.message)
        for e in found.failures
        if isinstance(e.result, Failure)
    )
    if failures:
        blocks.append(html.Table(head=("layer", "failure", "message"), rows=failures[:LARGEST]))
    return html.Section(
        title=f"Latency table of {found.device} ({found.cpu})",
        text=f"{found.threads} thread{'s' * (found.threads > 1)}, kernels {found.kernel_version}.",
        blocks=tuple(blocks),
    )


def heat(measured: Sequence[tuple[Layer, Measurement]]) -> list[html.Heat]:
    """Binary convolutions by image and kernel (rows) and by channels (columns)."""
    cells: dict[tuple[str, tuple[int, int]], float] = {}
    for layer, result in measured:
        if layer.op == "binary_conv":
            _, H, W, C = layer.in_shape
            row = f"{H}x{W}, {layer.kernel[0]}x{layer.kernel[1]}/{layer.stride[0]}"
            key = row, (C, layer.out_channels)
            cells[key] = min(cells.get(key, float("inf")), result.median_ns / 1e3)
    if not cells:
        return []
    rows = sorted({row for row, _ in cells}, key=lambda row: (-int(row.split("x")[0]), row))
    columns = sorted({column for _, column in cells})
    return [
        html.Heat(
            rows=tuple(rows),
            columns=tuple(f"{C}→{K}" for C, K in columns),
            cells=tuple(tuple(cells.get((row, column)) for column in columns) for row in rows),
            title="Binary convolutions, µs",
            caption="Image and kernel down, channels in and out across; the fastest epilogue of "
            "each. Darker is longer, on a logarithmic scale; empty is not in the table.",
        )
    ]


def fit(pairs: Sequence[Pair]) -> html.Bars:
    """Measured against predicted, network by network."""
    bars = []
    for pair in pairs:
        predicted_us, measured_us = pair.predicted_ns / 1e3, pair.measured_ns / 1e3
        error = f"{html.microseconds(predicted_us)} · {pair.relative_error:+.1%}"
        bars.append(
            html.Bar(label=f"{pair.name} predicted", value=predicted_us, text=error, tone="hue-1")
        )
        text = html.microseconds(measured_us)
        bars.append(
            html.Bar(label=f"{pair.name} measured", value=measured_us, text=text, tone="hue-2")
        )
    return html.Bars(
        bars=tuple(bars),
        title="Measured against predicted",
        caption="Whole networks: the sum of their layers and the fixed cost, beside the clock.",
    )


def comparison(names: tuple[str, str], differences: Sequence[Difference]) -> html.Section:
    """Two tables of one board, layer by layer."""
    both = [
        d for d in differences if d.first_ns is not None and d.second_ns is not None and d.ratio
    ]
    both.sort(key=lambda d: -abs((d.ratio or 1) - 1))
    rows = tuple(
        (
            str(d.layer),
            html.microseconds((d.first_ns or 0) / 1e3),
            html.microseconds((d.second_ns or 0) / 1e3),
            f"{d.ratio:.2f}",
        )
        for d in both[:LARGEST]
    )
    ratios = sorted(d.ratio or 1 for d in both)
    middle = ratios[len(ratios) // 2] if ratios else 1.0
    return html.Section(
        title=f"{names[1]} compared with {names[0]}",
        text=f"{len(both)} layers are in both; the median of second over first is {middle:.3f}.",
        blocks=(
            html.Table(
                head=("layer", names[0], names[1], "ratio"),
                rows=rows,
                caption=f"The {len(rows)} that differ most.",
            ),
        ),
    )


def _kib(count: int) -> str:
    return f"{count / 1024:,.1f} KiB"
