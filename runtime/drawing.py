"""Networks drawn: a chain of blocks from top to bottom, every cell with its wiring beside it.

The slab of a block is as wide as the block has channels, so width and depth are seen at a glance;
the wiring shows which operation every edge carries. Colours are variables of `templates/page.css`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as ET

WIDTH = 340  # of the drawing, in its own units: a phone's width
_SLABS, _ROW, _SLAB = 132, 58, 30  # width of the slabs' column; height of a row and of a slab
_WIRES = _SLABS + 16  # where the wiring begins
_RADIUS = 7  # of a node

EdgeKind = Literal["binary", "float", "plain"]
_COLOURS: dict[EdgeKind, str] = {
    "binary": "var(--binary)",
    "float": "var(--float)",
    "plain": "var(--muted)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """An operation inside a cell.

    Attributes:
        source: Node it reads; 0 is the cell's input.
        target: Node it adds to.
        op: Its name.
        kind: Binary arithmetic, real arithmetic, or none to speak of (a skip, a pool).
    """

    source: int
    target: int
    op: str
    kind: EdgeKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One row of the drawing.

    Attributes:
        name: Such as "stage 1, cell 2".
        channels: Channels of its output.
        rows: Rows of its output.
        columns: Columns of its output.
        kind: Which colour its slab has.
        edges: Its wiring; empty for a block that is one operation.
        note: Written in place of a wiring.
    """

    name: str
    channels: int
    rows: int
    columns: int
    kind: EdgeKind
    edges: tuple[Edge, ...] = ()
    note: str = ""


def draw(blocks: Sequence[Block], *, title: str, widest: int = 0) -> str:
    """The network as one SVG element.

    Args:
        blocks: From input to output.
        title: Read aloud where the drawing cannot be seen.
        widest: Channels of a slab as wide as its column; 0: the widest block. Give two networks the
            same to compare them by eye.
    """
    widest = max([widest, *(block.channels for block in blocks)])
    height = _ROW * len(blocks) + 8
    svg = ET.Element(
        "svg",
        {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {WIDTH} {height}", "role": "img"},
    )
    ET.SubElement(svg, "title").text = title
    if len(blocks) > 1:
        spine = _place(x1=_SLABS / 2, x2=_SLABS / 2, y1=_ROW / 2, y2=height - _ROW / 2)
        ET.SubElement(svg, "line", {**spine, "style": "stroke: var(--muted); stroke-width: 2"})
    for index, block in enumerate(blocks):
        _row(svg, block, index * _ROW + 4, widest)
    return ET.tostring(svg, encoding="unicode")


def _row(svg: ET.Element, block: Block, top: float, widest: int) -> None:
    width = max(6.0, (_SLABS - 4) * block.channels / widest)
    middle = top + _ROW / 2
    place = _place(x=(_SLABS - width) / 2, y=middle - _SLAB / 2, width=width, height=_SLAB)
    colour = _COLOURS[block.kind]
    # Paper below the tint, or the line from block to block would shine through.
    ET.SubElement(svg, "rect", {**place, "rx": "4", "style": "fill: var(--paper)"})
    style = f"fill: {colour}; fill-opacity: 0.25; stroke: {colour}; stroke-width: 1.5"
    slab = ET.SubElement(svg, "rect", {**place, "rx": "4", "style": style})
    shape = f"{block.rows}x{block.columns}x{block.channels}"
    ET.SubElement(slab, "title").text = f"{block.name}: {shape}"
    _text(svg, _WIRES, top + 11, block.name, size=9.5, colour="var(--muted)")
    _text(svg, WIDTH - 3, top + 11, shape, size=9.5, anchor="end")
    if block.edges:
        _wiring(svg, block.edges, top + 37)
    elif block.note:
        _text(svg, _WIRES, top + 30, block.note, size=10.5)


def _wiring(svg: ET.Element, edges: Sequence[Edge], y: float) -> None:
    nodes = max(edge.target for edge in edges)
    left, right = _WIRES + _RADIUS + 1, WIDTH - _RADIUS - 3
    at = [left + (right - left) * node / nodes for node in range(nodes + 1)]
    for edge in edges:
        x1, x2 = at[edge.source], at[edge.target]
        span = edge.target - edge.source
        bend = 0.0 if span == 1 else 30 * (1 - 0.55 ** (span - 1)) + 8
        path = ET.SubElement(
            svg,
            "path",
            {
                "d": f"M {x1:.1f} {y:.1f} Q {(x1 + x2) / 2:.1f} {y - bend:.1f} {x2:.1f} {y:.1f}",
                "style": f"fill: none; stroke: {_COLOURS[edge.kind]}; "
                f"stroke-width: {2.6 if edge.kind != 'plain' else 1.4}"
                + ("; stroke-dasharray: 4 3" if edge.kind == "plain" else ""),
            },
        )
        ET.SubElement(path, "title").text = f"{edge.op}: node {edge.source} to {edge.target}"
        if nodes <= 3:  # more nodes leave no room; the legend tells the kinds apart
            below = y + 12 if span == 1 else y - bend / 2 - 3
            _text(svg, (x1 + x2) / 2, below, edge.op, size=9.5, anchor="middle")
    for node, x in enumerate(at):
        ET.SubElement(
            svg,
            "circle",
            {
                **_place(cx=x, cy=y, r=_RADIUS),
                "style": "fill: var(--paper); stroke: var(--ink); stroke-width: 1.4",
            },
        )
        _text(svg, x, y + 3, "in" if node == 0 else str(node), size=7.5, anchor="middle")


def _text(
    svg: ET.Element,
    x: float,
    y: float,
    text: str,
    *,
    size: float,
    anchor: str = "start",
    colour: str = "var(--ink)",
) -> None:
    style = f"font-size: {size}px; fill: {colour}"
    ET.SubElement(
        svg, "text", {**_place(x=x, y=y), "text-anchor": anchor, "style": style}
    ).text = text


def _place(**numbers: float) -> dict[str, str]:
    return {name: f"{value:.1f}" for name, value in numbers.items()}
