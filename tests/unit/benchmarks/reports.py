"""Reports as the benchmarks write them, without a benchmark."""

from __future__ import annotations

from benchmarks.arm_works import Out
from benchmarks.schema import (
    ArmNetworkReport,
    ArmReport,
    ArmRow,
    FootprintReport,
    Host,
    Peak,
    Report,
    Row,
)


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


def arm_row(
    model: str,
    build: str,
    inner: float,
    *,
    work: str = "64x56",
    out: Out = "bits",
    tile: float = 80,
) -> ArmRow:
    """A layer in a CPU's model."""
    return ArmRow(
        work=work,
        out=out,
        build=build,
        kernel="binary_conv dot threshold generic 4x16",
        model=model,
        inner=inner,
        tile=tile,
        row=79.0,
        row_instructions=1,
        stack_accesses=0,
    )


def arm_report(*rows: ArmRow) -> ArmReport:
    """An estimate of layers."""
    return ArmReport(llvm_mca="19.1", commit="0123456789ab", rows=rows)


def arm_network_report(device: str = "rpi4", rest_cycles: float = 1e6) -> ArmNetworkReport:
    """An estimate of a network with 850 million binary MACs: ten million cycles at 85."""
    return ArmNetworkReport(
        device=device,
        model="cortex-a72",
        commit="0123456789ab",
        total_cycles=2e7,
        cycles={"binary_conv": 1e7, "around": rest_cycles},
        rest_cycles=rest_cycles,
        binary_macs=850_000_000,
        steps=(),
    )


def footprint_report(
    *, artifact: int = 4_000_000, peak: int | None = 9_000_000, device: str = "host"
) -> FootprintReport:
    """A network with 3.9 million bytes of weights and 2 of arena, compiled in 10 s."""
    return FootprintReport(
        device=device,
        cpu="A CPU",
        commit="0123456789ab+",
        compile_s=10.0,
        artifact_bytes=artifact,
        weights_bytes=3_900_000,
        arena_bytes=2_000_000,
        lower_bound_bytes=1_900_000,
        peak_bytes=peak,
    )
