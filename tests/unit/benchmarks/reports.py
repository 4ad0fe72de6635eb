"""Reports as the benchmarks write them, without a benchmark."""

from __future__ import annotations

from benchmarks.schema import Host, Peak, Report, Row


def row(
    work: str, engine: str, ns: float | None, *, checked: bool = True, gmacs: float = 0.1
) -> Row:
    """A row of three equal samples."""
    return Row(
        work=work,
        engine=engine,
        median_ns=ns,
        samples_ns=(ns,) * 3 if ns else (),
        checked=checked,
        gmacs_executed=gmacs,
        method="chain",
        check="exact",
        calls_ns={"1": (1.0,), "4": (4.0,)},
        disturbed_ns={"1": (), "4": (9.0,)},
        peaks={"full_adder": 1000.0},
    )


def report(*rows: Row) -> Report:
    """A report of an invented CPU."""
    host = Host(
        cpu="A CPU",
        best="icelake-server",
        cores=2,
        core=1,
        load_before=0.5,
        load_after=1.5,
        versions={"binas": "0"},
        commit="0123456789ab+",
    )
    peak = Peak(unit="GMAC/s", median=1000.0, samples=(1000.0,))
    return Report(host=host, ceiling={"full_adder": peak}, rows=rows)
