"""Verification and re-identification: `python -m examples.transfer.embedding -o runs/embedding`.

A genotype becomes an embedding network, trained with a margin on some characters of the glyphs and
judged on *others*: whether two images show the same character, and which images of a gallery show
the character of a query. The compiled 1-bit network answers, not torch.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn

from binas.core import cli, record
from binas.search import data
from binas.search.train import calibrate, fit
from binas.search.transfer import matching
from binas.search.transfer.backbone import Backbone
from binas.search.transfer.embedding import Embedder, MarginLoss
from binas.search.transfer.train import Transfer, TransferSettings
from examples.transfer.device import Deployed, deployed
from examples.transfer.genotypes import small

TRAINED = 35  # of the 47 characters; the others are never seen in training
DIMENSIONS = 64
PAIRS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of it, by the compiled network.

    Attributes:
        verification_accuracy: Pairs of unseen characters told right, ten folds.
        rank1: Queries whose most alike image of the gallery is right.
        mean_average_precision: Over the whole gallery.
        identities: Characters that were judged.
        images: Images that were judged.
        artifact_bytes: Of the compiled network.
        seed: Of everything drawn.
    """

    verification_accuracy: float
    rank1: float
    mean_average_precision: float
    identities: int
    images: int
    artifact_bytes: int
    seed: int


def train(images: data.Dataset, settings: TransferSettings, seed: int) -> Embedder:
    """Train on the first characters only."""
    seen = images.y_train < TRAINED
    x, y = torch.from_numpy(images.x_train[seen]), torch.from_numpy(images.y_train[seen])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Embedder(Backbone(small(images.shape)), DIMENSIONS)
        margin = MarginLoss(DIMENSIONS, TRAINED, scale=16.0, margin=0.2)

    def loss(picked: Tensor) -> Tensor:
        found: Tensor = margin(net(x[picked]), y[picked])
        return found

    fit(Transfer(nn.ModuleList([net, margin]), loss, len(x), settings, seed), None, _say)
    calibrate(net, net, x, 128)
    return net


def judge(run: Deployed, images: data.Dataset, count: int, seed: int) -> Report:
    """Verification over pairs, then the first image of each character asks for the others."""
    unseen = np.flatnonzero(images.y_test >= TRAINED)[:count]
    y = images.y_test[unseen]
    embeddings = np.concatenate([run.run(x)[0] for x in images.x_test[unseen]])
    first, second = matching.pairs(y, PAIRS, seed)
    scores = matching.cosines(embeddings, embeddings)
    queries = np.array([np.flatnonzero(y == k)[0] for k in np.unique(y)])
    gallery = np.setdiff1d(np.arange(len(y)), queries)
    rank1, precision = matching.rank1_and_map(
        scores[np.ix_(queries, gallery)], y[queries], y[gallery]
    )
    return Report(
        verification_accuracy=matching.verification_accuracy(
            scores[first, second], y[first] == y[second]
        ),
        rank1=rank1,
        mean_average_precision=precision,
        identities=len(queries),
        images=len(y),
        artifact_bytes=run.artifact_bytes,
        seed=seed,
    )


def _say(done: int, total: int, entry: dict[str, object]) -> None:
    cli.say(f"epoch {done} of {total}: loss {entry['loss']:.3f}")


@click.command(cls=cli.Command)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("runs/embedding"))
@click.option("--images", type=click.IntRange(100), default=6000, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=8, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@cli.json_option
def main(*, output: Path, images: int, epochs: int, seed: int, as_json: bool) -> None:
    """Train an embedding network, compile it, and judge it on characters it has never seen."""
    glyphs = data.load(f"glyphs,classes=bal47,train={images},test={max(300, images // 3)}")
    net = train(glyphs, TransferSettings(epochs=epochs), seed)
    with deployed(net, small(glyphs.shape), output, "embedding") as run:
        report = judge(run, glyphs, 500, seed)
    content = {"schema": "binas.example.embedding/1", **asdict(report)}
    record.write_atomic(output / "report.json", (json.dumps(content, indent=1) + "\n").encode())
    if as_json:
        cli.emit(content)
        return
    click.echo(
        f"{report.identities} unseen characters: verification "
        f"{report.verification_accuracy:.1%}, rank-1 {report.rank1:.1%}, "
        f"mAP {report.mean_average_precision:.1%}"
    )


if __name__ == "__main__":
    main(prog_name="python -m examples.transfer.embedding")
