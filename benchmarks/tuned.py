"""Tune the layers of the benchmarks: `python -m benchmarks.tuned --engine binas -o FILE`.

So were made the files in `compile/tuned/`. Interrupted, the same command goes on; a layer that the
file knows is not tuned again, unless its kernel is made by other code now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import click

from benchmarks import engines, models
from benchmarks.onnx_builder import OnnxBuilder
from benchmarks.timing import DEPTHS
from benchmarks.works import OURS, Work, layers
from binas.compile import judges, tune
from binas.compile.model import BinaryModel
from binas.compile.plan import plan_layers
from binas.core import cli
from binas.core.errors import UsageError
from binas.core.layer import Layer
from binas.devices import registry
from binas.devices.device import Device


@click.command(cls=cli.Command)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Database.")
@click.option("--only", multiple=True, help="Works to tune, such as 'residual/*'; repeatable.")
@click.option("--engine", type=click.Choice(OURS), help="Which of ours is tuned, on this machine.")
@click.option("--device", "device_name", help="Or a device, by estimate where it is not at hand.")
def main(
    *, output: Path, only: tuple[str, ...], engine: str | None, device_name: str | None
) -> None:
    """Find the best tiles of the layers that the benchmarks time."""
    device: Device | str = registry.find(device_name or "host")
    if engine is not None:
        device = engines.our_device(engine)
    if isinstance(device, str):
        raise UsageError(device)
    wanted = [work for work in layers() if not only or any(fnmatch(work.name, p) for p in only)]
    found = dict.fromkeys(layer for work in wanted for layer in timed(work))
    with judges.judge_for(device) as judge:
        for place, layer in enumerate(found):
            outcome = tune.tune([layer], device, judge, output)
            for line in tune.tuned_text(tune.tuned_record(outcome, output))[1:]:
                cli.say(f"{place + 1} of {len(found)}{line}")


def timed(work: Work) -> Iterator[Layer]:
    """The layers that a work's time consists of: those that its deepest model repeats."""
    build = OnnxBuilder(work.name)
    model = build.finish(models.layer_model(build, work, DEPTHS[-1]))
    counted = Counter(layer for _, layer in plan_layers(BinaryModel.of(model, "tuned")))
    yield from (layer for layer, count in counted.items() if count > 1 and layer.macs)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.tuned")
