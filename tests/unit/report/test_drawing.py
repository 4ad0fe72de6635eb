"""Drawings: widths that can be compared, every edge where it belongs."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from binas.runtime import drawing

SVG = "{http://www.w3.org/2000/svg}"


def cell(channels: int, *edges: tuple[int, int, str]) -> drawing.Block:
    """A cell of a width with edges."""
    return drawing.Block(
        name=f"cell of {channels}",
        channels=channels,
        rows=4,
        columns=4,
        kind="binary",
        edges=tuple(
            drawing.Edge(source=s, target=t, op=op, kind="binary" if op == "b3" else "plain")
            for s, t, op in edges
        ),
    )


def widths(svg: str) -> list[float]:
    """Widths of the tinted slabs, from top to bottom."""
    slabs = [r for r in ET.fromstring(svg).iter(f"{SVG}rect") if "opacity" in r.get("style", "")]
    return [float(slab.get("width", "")) for slab in slabs]


def test_a_slab_is_as_wide_as_the_block_has_channels() -> None:
    full, half = widths(drawing.draw([cell(64), cell(32)], title="t"))
    assert half == pytest.approx(full / 2, abs=0.1)


def test_two_networks_on_one_scale_can_be_compared() -> None:
    (alone,) = widths(drawing.draw([cell(32)], title="t"))
    (compared,) = widths(drawing.draw([cell(32)], title="t", widest=128))
    assert compared == pytest.approx(alone / 4, abs=0.1)


def test_every_edge_is_drawn_once_and_named() -> None:
    svg = drawing.draw([cell(8, (0, 1, "b3"), (0, 2, "skip"), (1, 2, "b3"))], title="t")
    root = ET.fromstring(svg)
    said = [title.text for path in root.iter(f"{SVG}path") for title in path]
    assert said == ["b3: node 0 to 1", "skip: node 0 to 2", "b3: node 1 to 2"]
    assert len(list(root.iter(f"{SVG}circle"))) == 3


def test_long_edges_bend_around_the_nodes_between() -> None:
    svg = drawing.draw([cell(8, *((0, t, "b3") for t in range(1, 5)))], title="t")
    bends = [path.get("d", "").split()[5] for path in ET.fromstring(svg).iter(f"{SVG}path")]
    heights = [float(bend) for bend in bends]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == 4
    assert min(heights) >= 0


def test_a_drawing_has_a_title_for_those_who_cannot_see_it() -> None:
    root = ET.fromstring(drawing.draw([cell(8)], title="a <net> & more"))
    assert root.find(f"{SVG}title") is not None
    assert root.findtext(f"{SVG}title") == "a <net> & more"
