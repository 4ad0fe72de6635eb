"""Reports: one file, nothing to fetch, nothing that runs, whatever names it is given."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from binas.runtime import drawing, html, plots

EVIL = "<script>alert(1)</script> & \"quotes\" 'n' $x$ π"


class Reader(HTMLParser):
    """Collects elements and what they refer to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def figure(name: str) -> html.Figure:
    """A figure with a curve of that name."""
    line = plots.Line(label=name, x=(1, 2), y=(0.5, 0.9), low=(0.4, 0.8), high=(0.6, 1.0))
    svg = plots.lines([line, line], x_label=name, y_label=name, targets=[(name, 0.7)], percent=True)
    return html.Figure(svg=svg, caption=name, title=name)


def report(name: str) -> html.Report:
    """A report that uses every block, each with that name."""
    point = plots.Point(label=name, latency_us=3.0, accuracy=0.5, bold=True)
    edge = drawing.Edge(source=0, target=1, op=name, kind="binary")
    block = drawing.Block(
        name=name, channels=3, rows=2, columns=2, kind="float", edges=(edge,), note=name
    )
    drawn = html.Figure(svg=drawing.draw([block, block], title=name), caption=name)
    plane = html.Figure(
        svg=plots.plane([point], targets_us=[(name, 2.0)], x_label=name), caption=name
    )
    fact = html.Fact(value="1", label=name, tone="hue-1")
    bars = html.share_bars([(name, 2.0, "binary")], title=name, caption=name)
    table = html.Table(head=(name, "b"), rows=((name, name),), caption=name)
    section = html.Section(
        title=name,
        text=name,
        blocks=(
            html.Facts(facts=(fact,)),
            table,
            bars,
            html.Figures(figures=(figure(name), drawn)),
            html.Columns(blocks=(bars, plane, table)),
        ),
    )
    return html.Report(
        title=name,
        lead=name,
        facts=(fact,),
        sections=(section,),
        footer=name,
        legend=(("binary", name),),
    )


def test_a_name_is_text_wherever_it_stands() -> None:
    read = Reader(html.render(report(EVIL)))
    assert "script" not in read.tags
    assert EVIL in {word.strip() for word in read.words}
    assert not [name for name, _ in read.attributes if name.startswith("on")]


def test_the_page_fetches_nothing() -> None:
    text = html.render(report("a"))
    read = Reader(text)
    assert {"script", "link", "img", "iframe"} & set(read.tags) == set()
    references = [value for name, value in read.attributes if name in ("src", "href", "xlink:href")]
    assert all(value and value.startswith("#") for value in references), references
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "default-src 'none'" in text


def test_no_element_is_left_open() -> None:
    text = html.render(report("a"))
    for tag in ("section", "figure", "svg", "table", "div", "ol", "ul", "li", "main"):
        assert len(re.findall(rf"<{tag}[\s>]", text)) == text.count(f"</{tag}>"), tag


def test_no_id_stands_twice_for_different_things() -> None:
    text = html.render(report("a"))
    defined: dict[str, str] = {}
    for name, body in re.findall(r'<clipPath id="([^"]+)">(.*?)</clipPath>', text, re.DOTALL):
        assert defined.setdefault(name, body) == body
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(defined)


def test_every_colour_follows_the_page() -> None:
    drawn = figure("a").svg + drawing.draw(
        [drawing.Block(name="a", channels=1, rows=1, columns=1, kind="binary")], title="a"
    )
    assert not re.search(r"#[0-9a-fA-F]{6}", drawn)
    page = html.render(report("a"))
    used = set(re.findall(r"var\((--[a-z0-9-]+)", page)) - {"--tone", "--tint"}
    light, dark = page.split("@media (prefers-color-scheme: dark)")[:2]
    for variable in used:
        assert f"{variable}:" in light, f"{variable} has no colour on a light page"
        assert f"{variable}:" in dark, f"{variable} has no colour on a dark page"


def test_equal_reports_give_equal_bytes() -> None:
    assert html.render(report("a")) == html.render(report("a"))


def test_bars_are_as_long_as_their_values() -> None:
    bars = html.share_bars([("a", 30.0, "binary"), ("b", 10.0, "")], title="", caption="c")
    page = html.render(
        html.Report(
            title="t",
            lead="",
            facts=(),
            sections=(html.Section(title="s", text="", blocks=(bars,)),),
            footer="",
        )
    )
    assert re.findall(r"width: ([\d.]+)%", page.split("<body>")[1]) == ["100.00", "33.33"]
    assert "30.0 µs · 75%" in page
    assert "10.0 µs · 25%" in page


def test_two_groups_of_bars_can_share_a_scale() -> None:
    assert html.share_bars([("a", 5.0, "")], title="", caption="", largest=20.0).scale == 20.0
    assert html.share_bars([("a", 0.0, "")], title="", caption="").scale == 1.0


def test_a_ragged_table_is_a_bug_of_its_maker() -> None:
    with pytest.raises(ValueError, match="cells"):
        html.Table(head=("a", "b"), rows=(("1",),))


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.html"
    html.write(report("a"), path)
    assert path.read_text().startswith("<!doctype html>")
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]
