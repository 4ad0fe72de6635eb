"""The drawing of docs/performance.md: executed multiply-adds per second, beside the ceiling."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from statistics import median

from benchmarks.ceiling import CEILINGS_OF
from benchmarks.schema import Report
from benchmarks.works import SEVEN

_HUES = {
    "binas": "#0b6e4f",
    "binas-avx512bw": "#4aa881",
    "binas-avx2": "#a3d5bf",
    "openvino-binary": "#6c4ab6",
    "ort-int8": "#c98c1d",
    "ort-fp32": "#9a9a9a",
}
_PANELS = {"bits_to_bits": "bits in, bits out", "residual": "residual form"}


def draw(reports: Sequence[Report]) -> bytes:
    """An SVG file of one panel per form; equal reports give equal bytes."""
    from matplotlib import rc_context  # noqa: PLC0415 (half a second)
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(len(_PANELS), 1, sharey=True)
    loops = CEILINGS_OF["binas"][0]
    there = ([r.ceiling[name].median for name in loops if name in r.ceiling] for r in reports)
    peaks = [max(medians) for medians in there if medians]
    for axes, (group, title) in zip(panels, _PANELS.items(), strict=True):
        engines = [e for e in _HUES if any(_rate(reports, f"{group}/{n}", e) for n in SEVEN)]
        width = 0.8 / max(1, len(engines))
        for index, engine in enumerate(engines):
            rates = [_rate(reports, f"{group}/{name}", engine) for name in SEVEN]
            places = [place + index * width for place in range(len(SEVEN))]
            axes.bar(places, rates, width * 0.92, label=engine, color=_HUES[engine])
        if peaks:
            axes.axhline(median(peaks), color="#b00020", linewidth=1, label="register peak")
        axes.set_xticks([place + 0.4 - width / 2 for place in range(len(SEVEN))], list(SEVEN))
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_ylabel("executed GMAC/s")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, ncols=7, frameon=False, loc="lower left", bbox_to_anchor=(0, -0.3))
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "binas"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    # The renderer's own metadata would change with its version.
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", buffer.getvalue(), flags=re.DOTALL)
    return text.encode()


def _rate(reports: Sequence[Report], work: str, engine: str) -> float:
    rows = [report.find(work, engine) for report in reports]
    rates = [row.gmacs_per_s for row in rows if row and row.gmacs_per_s]
    return median(rates) if rates else 0.0
