"""A detector: `python -m examples.transfer.detection -o runs/detection`.

A genotype becomes a backbone of several maps with a one-stage head, trained on scenes of glyphs.
The compiled network gives boxes in pixels; overlaps are dropped here, as a user would.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn

from binas.core import cli, record
from binas.search.data import Images
from binas.search.train import calibrate, fit
from binas.search.transfer import scenes
from binas.search.transfer.backbone import Backbone
from binas.search.transfer.boxes import Boxes, mean_average_precision, suppressed
from binas.search.transfer.detector import Detector, read_outputs
from binas.search.transfer.train import Transfer, TransferSettings
from examples.transfer.device import deployed
from examples.transfer.genotypes import small

LEAST = -2.0  # lowest logit of a box that is kept; precision over recall wants the unsure ones, too
SHOWN = 8  # scenes in the picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of it, by the compiled network.

    Attributes:
        mean_average_precision: At an overlap of one half, over held-out scenes.
        scenes: How many.
        boxes: True boxes on them.
        artifact_bytes: Of the compiled network.
        seed: Of everything drawn.
    """

    mean_average_precision: float
    scenes: int
    boxes: int
    artifact_bytes: int
    seed: int


def train(images: Images, true: Sequence[Boxes], settings: TransferSettings, seed: int) -> Detector:
    """Train on scenes."""
    x = torch.from_numpy(images)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Detector(Backbone(small((3, scenes.SIDE, scenes.SIDE))), len(scenes.NAMES))

    def loss(picked: Tensor) -> Tensor:
        return net.loss(x[picked], [true[int(i)] for i in picked])

    fit(Transfer(nn.ModuleList([net]), loss, len(x), settings, seed), None, _say)
    calibrate(net, net, x, 64)
    return net


def draw(path: Path, images: Images, found: Sequence[Boxes]) -> None:
    """Scenes side by side with what was found on them."""
    from PIL import Image, ImageDraw  # noqa: PLC0415 (only where it is drawn)

    zoom = 3
    sheet = Image.new("RGB", (scenes.SIDE * zoom * len(images), scenes.SIDE * zoom))
    for place, (x, boxes) in enumerate(zip(images, found, strict=True)):
        pixels = np.clip((x.transpose(1, 2, 0) + 1) * 127.5, 0, 255).astype(np.uint8)
        scene = Image.fromarray(pixels).resize((scenes.SIDE * zoom,) * 2, Image.Resampling.NEAREST)
        pen = ImageDraw.Draw(scene)
        for corners, label in zip(boxes.corners, boxes.labels, strict=True):
            left, top, right, bottom = (float(v) * zoom for v in corners)
            pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=(255, 220, 0))
            pen.text((left + 2, top + 1), scenes.NAMES[label], fill=(255, 220, 0))
        sheet.paste(scene, (place * scenes.SIDE * zoom, 0))
    sheet.save(path)


def _say(done: int, total: int, entry: dict[str, object]) -> None:
    cli.say(f"epoch {done} of {total}: loss {entry['loss']:.3f}")


@click.command(cls=cli.Command)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("runs/detection"))
@click.option("--images", type=click.IntRange(64), default=2000, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=12, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@cli.json_option
def main(*, output: Path, images: int, epochs: int, seed: int, as_json: bool) -> None:
    """Train a detector, compile it, and judge its boxes on held-out scenes."""
    x_train, y_train = scenes.scenes("train", images, seed)
    x_test, y_test = scenes.scenes("test", max(SHOWN, images // 8), seed)
    net = train(x_train, y_train, TransferSettings(epochs=epochs, batch=32), seed)
    genotype = small((3, scenes.SIDE, scenes.SIDE))
    with deployed(net, genotype, output, "detector") as run:
        found = [suppressed(read_outputs(run.run(x), LEAST)) for x in x_test]
        size = run.artifact_bytes
    report = Report(
        mean_average_precision=mean_average_precision(found, y_test, len(scenes.NAMES)),
        scenes=len(x_test),
        boxes=sum(len(one.labels) for one in y_test),
        artifact_bytes=size,
        seed=seed,
    )
    sure = [
        Boxes(one.corners[one.scores >= 0], one.labels[one.scores >= 0])
        for one in found[:SHOWN]
        if one.scores is not None
    ]
    draw(output / "scenes.png", x_test[:SHOWN], sure)
    content = {"schema": "binas.example.detection/1", **asdict(report)}
    record.write_atomic(output / "report.json", (json.dumps(content, indent=1) + "\n").encode())
    if as_json:
        cli.emit(content)
        return
    click.echo(
        f"{report.scenes} held-out scenes with {report.boxes} boxes: "
        f"mAP {report.mean_average_precision:.1%}; picture: {output / 'scenes.png'}"
    )


if __name__ == "__main__":
    main(prog_name="python -m examples.transfer.detection")
