"""Reports in a real browser: nothing sticks out of a phone, letters can be read, day and night."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from binas.core import record
from binas.core.layer import Layer
from binas.runtime import html, reports
from binas.runtime.artifact import load
from binas.runtime.measure import Measurement
from binas.runtime.table import Entry, LatencyTable, compare
from binas.search.report import sections as searches
from tests.fuzz import seeds
from tests.integration.browser import look, picture
from tests.searches import finished

PHONE, DESKTOP = 390, 1280
NAMES = ("plain", "latency-aware-with-a-rather-long-name")
AA = 4.5  # WCAG 2.1, level AA


def entry(C: int, K: int, size: int, ns: float) -> Entry:
    """A binary convolution and its time."""
    layer = Layer(
        op="binary_conv",
        in_shape=(1, size, size, C),
        out_channels=K,
        kernel=(3, 3),
        padding=(1, 1, 1, 1),
        in_bits=1,
        weight_bits=1,
        stages=("affine", "relu", "add"),
        bits_out=True,
    )
    taken = Measurement(samples_ns=(ns, ns * 1.1), runs_per_batch=4, preemptions=(0, 0))
    return Entry(layer=layer, result=taken)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of section, with long names and many columns."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "net.binas").write_bytes(seeds.artifact())
    net = load(folder / "net.binas")
    table = record.loads(LatencyTable, seeds.table(), where="table")
    widths = (16, 24, 32, 48, 64, 96, 128, 256)
    entries = [
        entry(C, K, size, 10.0 * C * K * size / 8)
        for C in widths
        for K in (C, 2 * C)
        for size in (8, 4)
    ]
    table = replace(table, entries=(*table.entries, *entries))
    times = {step.name: 3.5 for step in net.manifest.steps}
    sections = (
        reports.model(net, times, 9.0),
        reports.predicted(net, table, 9.0),
        reports.table(table),
        *searches([finished(folder / name, seed=seed) for seed, name in enumerate(NAMES)]),
        reports.comparison(("a-table-with-a-long-name.json", "b.json"), compare(table, table)),
    )
    path = folder / "page.html"
    html.write(
        html.Report(
            title="A report of every kind",
            lead="For looking at.",
            facts=(html.Fact(value="9.00 µs", label="measured", tone="hue-2"),),
            sections=sections,
            footer="made by a test " + "0123456789abcdef" * 8,
            legend=reports.LEGEND,
        ),
        path,
    )
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_a_report_fits_and_can_be_read(
    page: Path, needs: Callable[[str], str], width: int, dark: bool
) -> None:
    found = look(needs("chromium"), page, width, dark=dark)
    assert found.dark == dark
    assert found.letters > 100
    assert found.width <= width
    assert found.contrast >= AA, found.where


def test_a_picture_can_be_taken(page: Path, needs: Callable[[str], str], tmp_path: Path) -> None:
    path = tmp_path / "phone.png"
    picture(needs("chromium"), page, PHONE, path, dark=True)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 20_000  # a blank page is a tenth of it
