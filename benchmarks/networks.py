"""Whole networks beside their peers: `python -m benchmarks.networks --json FILE`.

Bi-Real-Net-18 at 224x224 in ours and as an OpenVINO graph of BinaryConvolution operators; beside
them ResNet-18, in float32 and int8, in onnxruntime: what one would deploy instead. Published cells
at 224x224 and 32x32, as released and fully binary, beside their real-valued twins in onnxruntime. A
sample is a call, floats in and floats out. Ours loops in C, the others in Python: a few
microseconds per call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import click
import onnx

from benchmarks import cell_networks, engines, models, reference, report_file
from benchmarks.builder import Builder
from benchmarks.engines import OnnxRuntime, OpenVino, Subject
from benchmarks.onnx_builder import OnnxBuilder
from benchmarks.openvino_builder import OpenVinoBuilder
from benchmarks.reference import NumpyBuilder, Verdict
from benchmarks.session import Contender, Session, guarded
from benchmarks.works import BINARY_PEER, FLOAT_PEERS, OURS
from binas.core import cli

CELL_ENGINES = ("binas", "binas-avx2", "ort-fp32")
BIREAL, RESNET = "network/bireal18", "network/resnet18"


@click.command(cls=cli.Command)
@report_file.option
@click.option("--only", multiple=True, help="Works to time, such as '*_224'; repeatable.")
@click.option("--engine", multiple=True, help="Engines to time; repeatable.")
@click.option("--rounds", type=click.IntRange(3), default=25, show_default=True)
@click.option("--core", type=click.IntRange(-1), default=-1, help="Core to use; -1: the last.")
def main(
    *, file: Path, only: tuple[str, ...], engine: tuple[str, ...], rounds: int, core: int
) -> None:
    """Time networks in ours and other engines, interleaved."""
    session = Session.begin(core, rounds)

    def wanted(work: str) -> bool:
        return not only or any(fnmatch(work, pattern) for pattern in only)

    def taking(names: Sequence[str]) -> list[str]:
        return [name for name in names if not engine or name in engine]

    if wanted(BIREAL):
        names = taking((*OURS, BINARY_PEER, *FLOAT_PEERS))
        session.time("call", [_guarded(name) for name in names])
        session.save(file)
    for work in cell_networks.works():
        if wanted(work.name):
            contenders = [
                guarded(work.name, name, work.gmacs, partial(work.contend, name))
                for name in taking(CELL_ENGINES)
            ]
            session.time("call", contenders)
            session.save(file)


def _guarded(engine: str) -> Contender:
    float_peer = engine in FLOAT_PEERS
    gmacs = models.resnet18_gmacs() if float_peer else models.bireal18_gmacs()
    return guarded(RESNET if float_peer else BIREAL, engine, gmacs, partial(contend, engine))


def contend(engine: str) -> tuple[Verdict, Sequence[Subject]]:
    """An engine's network, and whether it is right."""
    x = models.network_image()
    make = models.resnet18 if engine in FLOAT_PEERS else models.bireal18
    judge = reference.alike if engine == "ort-int8" else reference.near
    if engine in OURS:
        device = engines.our_device(engine)
        if isinstance(device, str):
            return Verdict(False, device), ()
        subject: Subject = engines.binas(_onnx(make), device, x)
    elif engine == BINARY_PEER:
        build = OpenVinoBuilder()
        subject = OpenVino(build.finish(make(build)), x)
    elif engine == "ort-int8":
        subject = OnnxRuntime(engines.quantized(_onnx(make), x), x)
    else:
        subject = OnnxRuntime(_onnx(make), x)
    # In Bi-Real-Net all that decides a sign is exact; mean and classifier are sums of reals.
    return judge(subject.output(), make(NumpyBuilder(x))), [subject]


def _onnx(make: Callable[[Builder], Any]) -> onnx.ModelProto:
    build = OnnxBuilder(make.__name__)
    return build.finish(make(build))


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.networks")
