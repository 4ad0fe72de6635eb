"""A latency table as the prices of a search: which tables are refused, and which are doubted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from binas.core import cli
from binas.core.errors import UsageError

if TYPE_CHECKING:
    from binas.runtime.table import LatencyTable
    from binas.search.cost import Lut
    from binas.search.genotype import AnySpace
    from binas.search.strategy.cell_prices import CellLut


def lut_of(space: AnySpace, table: Path, device: str | None) -> Lut | CellLut:
    """A table's prices for a space; a table of other kernels or another device is refused.

    What may be meant is a doubt on stderr: a table of the host that was made on another machine, or
    one that was made with another tuning database.
    """
    from binas.compile.build import kernel_version  # noqa: PLC0415 (onnx)
    from binas.core import record  # noqa: PLC0415
    from binas.devices import registry  # noqa: PLC0415
    from binas.runtime.table import LatencyTable  # noqa: PLC0415
    from binas.search.cost import Lut  # noqa: PLC0415
    from binas.search.space import Space  # noqa: PLC0415
    from binas.search.strategy.cell_prices import CellLut  # noqa: PLC0415
    from binas.search.survey import menu_of  # noqa: PLC0415

    prices = record.load(LatencyTable, table)
    if device is not None:
        asked = registry.find(device)
        if (prices.device, prices.arch, prices.cpu) != (asked.name, asked.arch, asked.cpu):
            raise UsageError(
                f"{table} was measured on {prices.device} ({prices.arch}, {prices.cpu}), "
                f"expected {asked.name} ({asked.arch}, {asked.cpu})",
                hint=f"build one there: binas-table build --device {asked.name}",
            )
    if prices.device == "host":
        _must_be_this_machine(prices, table, named=device is not None)
    for what, found, ours in (
        ("kernel version", prices.kernel_version, kernel_version()),
        ("threads", prices.threads, 1),
    ):
        if found != ours:
            raise UsageError(
                f"{table} was measured with {what} {found}, networks are compiled for {ours}",
                hint="build it again: binas-table build",
            )
    _doubt_tiles(prices, table)
    if not isinstance(space, Space):
        return CellLut.of(space, prices)
    kept = table.with_suffix(".build")  # where `binas-table build` left the menu
    return Lut.of(menu_of(space, kept if kept.is_dir() else None), prices)


def _must_be_this_machine(prices: LatencyTable, table: Path, *, named: bool) -> None:
    """The host is another machine elsewhere: refused where it is named, else doubted."""
    from binas.devices import registry  # noqa: PLC0415

    here = registry.find("host").title
    measured_on = prices.facts.get("model", here)
    if measured_on == here:
        return
    found = f"{table} was measured on another machine, {measured_on}; this one is {here}"
    if named:
        raise UsageError(found, hint="build one here: binas-table build --device host")
    cli.say(f"Doubt: {found}")


def _doubt_tiles(prices: LatencyTable, table: Path) -> None:
    """Say how many layers a network would get from here with another tile than was measured."""
    from binas.compile.build import tiles  # noqa: PLC0415 (tvm: 2 s)

    known = [entry for entry in prices.entries if entry.tile]
    ours = tiles([entry.layer for entry in known], prices.cpu, prices.arch)
    differ = sum(entry.tile != tile for entry, tile in zip(known, ours, strict=True))
    if differ:
        cli.say(
            f"Doubt: {differ} of {len(prices.entries)} layers of {table} were measured with other "
            "tiles than networks get here, by another tuning database: build the table again, or "
            "name that database by BINAS_TUNING"
        )
