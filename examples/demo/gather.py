"""From the folders of a journey to the one record of it."""

from __future__ import annotations

import json
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import cast

from binas.core import record
from binas.core.errors import MeasureError
from binas.devices import registry
from binas.runtime.artifact import Manifest, load
from binas.runtime.measure import Failure, Measurement
from binas.runtime.table import LatencyTable
from binas.search.cost import count, layers_of, predict_ns
from binas.search.genotype import Genotype
from binas.search.retrain import Trained
from binas.search.strategy.settings import Found
from examples.demo.journey import Request, Results
from examples.demo.results import Checked, LayerTimes, Timed
from examples.demo.summary import (
    Course,
    Demo,
    Epoch,
    Estimate,
    Kind,
    LayerTime,
    Net,
    Sample,
    Stair,
    Verified,
)


def gather(request: Request, results: Results) -> Demo:
    """Read what all stages left.

    Raises:
        MeasureError: A layer could not be measured, so there is no honest sum.
    """
    table = record.load(LatencyTable, results.table)
    checks = {n: record.load(Checked, f / "checked.json") for n, f in results.artifacts.items()}
    device, board = registry.find(request.device), registry.find(request.board)
    packages = ("binas", "apache-tvm", "onnx", "onnxruntime", "torch", "ziglang")
    return Demo(
        data=request.data,
        device=device.name,
        cpu=device.title,
        target_us=results.target_ns / 1e3,
        target_ratio=request.target_ratio,
        baseline=_net("baseline", request, results, table),
        latency_aware=_net("latency_aware", request, results, table),
        parent=_net("parent", request, results, table),
        searches={
            "baseline": _course(results.searches["baseline"]),
            "latency_aware": _course(results.searches["latency_aware"]),
        },
        verify=Verified(
            binary_layers_exact=all(check.binary_layers_exact for check in checks.values()),
            max_abs_error=max(check.max_abs_error for check in checks.values()),
            flips=sum(check.flips for check in checks.values()),
            links=tuple(f"{n}, {link}" for n, check in checks.items() for link in check.links),
        ),
        estimate=Estimate(
            device=board.name,
            cpu=board.cpu,
            kind="estimate",
            instructions={name: check.instructions[board.name] for name, check in checks.items()},
        ),
        staircase=_staircase(results.staircase),
        fixed_us=table.fixed_ns / 1e3,
        table_layers=len(table.entries),
        seconds=results.seconds,
        versions={name: version(name) for name in packages},
    )


def _net(name: str, request: Request, results: Results, table: LatencyTable) -> Net:
    trained = record.load(Trained, results.nets[name] / "trained.json")
    timed = record.load(Timed, results.times / f"{name}.json")
    artifact = results.artifacts[name] / f"{request.device}.binas"
    counts = count(layers_of(trained.genotype, real=trained.real))
    if trained.real:
        predicted_ns = _twin_ns(trained, results, table)
    else:
        predicted_ns = predict_ns(trained.genotype, table)
    return Net(
        seed=trained.seed,
        accuracy=trained.accuracy,
        predicted_us=predicted_ns / 1e3,
        measured_us=timed.whole.median_ns / 1e3,
        p10_us=timed.whole.p10_ns / 1e3,
        p90_us=timed.whole.p90_ns / 1e3,
        biops=counts.biops,
        flops=counts.flops,
        binary_weight_bytes=counts.binary_weight_bytes,
        artifact_bytes=artifact.stat().st_size,
        genotype=cast(Genotype, trained.genotype),  # the demo searches a space of stages
        layers=_layers(load(artifact).manifest, timed, results.times),
        doubts=timed.whole.doubts,
    )


def _twin_ns(trained: Trained, results: Results, table: LatencyTable) -> float:
    """The table holds 1-bit layers; the twin's were measured in the same way beside it."""
    times, folder = record.load(LayerTimes, results.twin_layers), results.twin_layers.parent
    prices = dict(zip(times.layers, (_median_ns(r, folder) for r in times.results), strict=True))
    return table.fixed_ns + sum(prices[layer] for layer in layers_of(trained.genotype, real=True))


def _layers(manifest: Manifest, timed: Timed, folder: Path) -> tuple[LayerTime, ...]:
    kinds: dict[str, Kind] = {"binary_conv": "binary", "conv": "float"}
    return tuple(
        LayerTime(
            name=step.name,
            layer=str(step.layer),
            kind=kinds.get(step.layer.op, "plain"),
            measured_us=_median_ns(result, folder) / 1e3,
        )
        for step, result in zip(manifest.steps, timed.steps, strict=True)
    )


def _course(folder: Path) -> Course:
    found = record.load(Found, folder / "found.json")
    lines = (folder / "run" / "log.jsonl").read_text().splitlines()
    return Course(
        epochs=tuple(
            Epoch(
                epoch=entry["epoch"] + 1,
                accuracy=entry["validation_accuracy"],
                expected_us=entry["expected_ns"] / 1e3,
                entropy=entry["entropy"],
            )
            for entry in map(json.loads, lines)
        ),
        samples=tuple(
            Sample(
                accuracy=candidate.accuracy,
                predicted_us=(candidate.predicted_ns or 0.0) / 1e3,
                chosen=candidate.genotype == found.genotype,
            )
            for candidate in found.candidates
        ),
    )


def _staircase(path: Path) -> tuple[Stair, ...]:
    times = record.load(LayerTimes, path)
    return tuple(
        Stair(
            channels=layer.out_channels,
            macs=layer.macs,
            measured_us=measured.median_ns / 1e3,
            p10_us=measured.p10_ns / 1e3,
            p90_us=measured.p90_ns / 1e3,
        )
        for layer, result in zip(times.layers, times.results, strict=True)
        if (measured := _measured(result, path.parent))
    )


def _median_ns(result: Measurement | Failure, folder: Path) -> float:
    return _measured(result, folder).median_ns


def _measured(result: Measurement | Failure, folder: Path) -> Measurement:
    if isinstance(result, Failure):
        raise MeasureError(
            f"a step was not measured: {result.kind}, {result.message}",
            hint=f"rm -r {shlex.quote(str(folder))}, then the same command measures again",
        )
    return result
