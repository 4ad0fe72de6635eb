"""Layers beside their peers: `python -m benchmarks.layers --json FILE`.

The time of a layer is a slope: a model of four layers less a model of one, by three (of 31, by 30,
for depthwise bits, which take half a microsecond). That takes out what a call costs and what
happens at the model's borders, on both sides alike. All engines of a work take turns in this
process on one core; each is checked against numpy before it is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import click
import onnx

from benchmarks import engines, models, parameters, reference, report_file
from benchmarks.builder import Builder
from benchmarks.engines import OnnxRuntime, OpenVino, Subject
from benchmarks.onnx_builder import OnnxBuilder
from benchmarks.openvino_builder import OpenVinoBuilder
from benchmarks.reference import NumpyBuilder, Verdict
from benchmarks.schema import Method
from benchmarks.session import Session, guarded
from benchmarks.works import BINARY_PEER, OURS, Work, layers
from binas.core import cli
from binas.core.errors import UsageError

Judge = Callable[[parameters.Array, parameters.Array], Verdict]
Model = Callable[[Builder, Work, int], Any]


@click.command(cls=cli.Command)
@report_file.option
@click.option("--only", multiple=True, help="Works to time, such as 'residual/*'; repeatable.")
@click.option("--engine", multiple=True, help="Engines to time; repeatable.")
@click.option("--rounds", type=click.IntRange(3), default=15, show_default=True)
@click.option("--core", type=click.IntRange(-1), default=-1, help="Core to use; -1: the last.")
def main(
    *, file: Path, only: tuple[str, ...], engine: tuple[str, ...], rounds: int, core: int
) -> None:
    """Time layers in ours and other engines, interleaved."""
    wanted = [work for work in layers() if not only or any(fnmatch(work.name, p) for p in only)]
    if not wanted:
        raise UsageError(f"no work fits {', '.join(only)}", hint="--only 'bits_to_bits/*'")
    session = Session.begin(core, rounds)
    for work in wanted:
        taking = [name for name in work.engines if not engine or name in engine]
        contenders = [
            guarded(work.name, name, work.gmacs_executed, partial(contend, name, work))
            for name in taking
        ]
        method: Method = "branches" if work.form in ("branches", "weights") else "chain"
        session.time(method, contenders, work.depths)
        session.save(file)


def contend(engine: str, work: Work) -> tuple[Verdict, Sequence[Subject]]:
    """An engine's models of a work, and whether both are right."""
    x = parameters.image(work.conv)
    model: Model = models.real_twin  # where a work is binary, engines of reals run this
    judge: Judge = reference.near
    subjects: list[Subject]
    if engine in OURS:
        device = engines.our_device(engine)
        if isinstance(device, str):
            return Verdict(False, device), ()
        model = models.layer_model
        subjects = [engines.binas(_onnx(model, work, d), device, x) for d in work.depths]
    elif engine == BINARY_PEER:
        model = models.layer_model
        subjects = [_openvino(work, depth, x) for depth in work.depths]
    elif engine == "ort-int8":
        judge = reference.alike
        subjects = [
            OnnxRuntime(engines.quantized(_onnx(model, work, d), x), x) for d in work.depths
        ]
    else:
        subjects = [OnnxRuntime(_onnx(model, work, depth), x) for depth in work.depths]
    if model is models.layer_model and (work.binary or work.form == "weights"):
        judge = reference.exact  # parameters.py says why this can be asked of anybody
    verdicts = [
        judge(subject.output(), model(NumpyBuilder(x), work, depth))
        for subject, depth in zip(subjects, work.depths, strict=True)
    ]
    return next((one for one in verdicts if not one.agrees), verdicts[-1]), subjects


def _onnx(model: Model, work: Work, depth: int) -> onnx.ModelProto:
    build = OnnxBuilder(work.name)
    return build.finish(model(build, work, depth))


def _openvino(work: Work, depth: int, x: parameters.Array) -> OpenVino:
    build = OpenVinoBuilder()
    return OpenVino(build.finish(models.layer_model(build, work, depth)), x)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.layers")
