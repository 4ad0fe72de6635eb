"""Retraining: two steps, a teacher, what is added while training, and what is kept afterwards."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from binas.core.errors import SearchError, UsageError
from binas.search import augment
from binas.search.binarize import BI_REAL
from binas.search.data import Dataset
from binas.search.genotype import Genotype
from binas.search.hardware import Hardware
from binas.search.losses import centre_loss, distribution_loss, kernel_loss
from binas.search.ops import BinaryConv, Unit
from binas.search.recipe import RetrainSettings
from binas.search.regularise import Auxiliary, DropPath
from binas.search.retrain import retrain, untrained
from binas.search.run import RunFolder
from binas.search.train import calibrate, fit
from binas.search.training import Training, _pieces
from tests.unit.search.runs import config

EVERYTHING = RetrainSettings(
    epochs=2,
    steps=2,
    batch=16,
    optimiser="sgd",
    weight_decay=1e-3,
    clip=5,
    smoothing=0.1,
    crop=1,
    flip=True,
    cutout=3,
    drop_path=0.2,
    auxiliary=0.4,
    distil=0.5,
    temperature=2,
    kernel=1e-3,
    statistics="ema",
)


class Oracle(nn.Module):
    """A teacher that knows the place of the bar."""

    def forward(self, x: Tensor) -> Tensor:
        return 10 * torch.stack([x[:, 0, :, 2 * k : 2 * k + 2].mean((1, 2)) for k in range(3)], 1)


def task(genotype: Genotype, images: Dataset, **changes: Any) -> Training:
    settings = RetrainSettings(**{"epochs": 2, "batch": 16, **changes})
    return Training(untrained(genotype, 0), images, settings, 0, teacher=Oracle())


def weights(task: Training) -> Tensor:
    return torch.cat([p.detach().flatten() for p in task.net.parameters()])


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_with_everything_switched_on_a_resumed_run_still_gives_the_same_bits(
    genotype: Genotype, images: Dataset, tmp_path: Path, stop: int
) -> None:
    def make() -> Training:
        return Training(untrained(genotype, 0), images, EVERYTHING, 0, teacher=Oracle())

    def halt(done: int, _total: int, _entry: dict[str, Any]) -> None:
        if done == stop:
            raise KeyboardInterrupt

    whole = make()
    fit(whole)
    with pytest.raises(KeyboardInterrupt):
        fit(make(), RunFolder(tmp_path, config()), halt)
    resumed = make()
    fit(resumed, RunFolder(tmp_path, config()))
    for trained in (whole, resumed):
        trained.finish()
    for name, tensor in whole.net.state_dict().items():
        assert torch.equal(resumed.net.state_dict()[name], tensor), name
    lines = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [(s["epoch"], s["step"]) for s in lines] == [(e, s) for e in range(4) for s in range(6)]
    assert all(math.isfinite(s["loss"]) and s["rate"] > 0 for s in lines)


def test_two_steps_train_real_weights_first_and_end_binary(
    genotype: Genotype, images: Dataset
) -> None:
    training = task(genotype, images, steps=2, weight_decay=0.1)
    convs = [m for m in training.net.modules() if isinstance(m, BinaryConv)]
    assert training.epochs == 4
    seen = []
    for number in range(4):
        training.epoch(number)
        decay = training.optimiser.param_groups[0]["weight_decay"]
        seen.append(({conv.real for conv in convs}, decay))
    assert seen == [({True}, 0.1)] * 2 + [({False}, 0.0)] * 2
    one = task(genotype, images)
    one.epoch(0)
    assert not any(m.real for m in one.net.modules() if isinstance(m, BinaryConv))


def test_what_cannot_be_meant_is_refused(genotype: Genotype, images: Dataset) -> None:
    with pytest.raises(UsageError, match="real-valued twin"):
        retrain(genotype, images, RetrainSettings(steps=2), real=True)
    with pytest.raises(UsageError, match="no teacher"):
        retrain(genotype, images, RetrainSettings(distil=1))
    for fault in ({"drop_path": 1.0}, {"distil": 1.5}, {"temperature": 0.0}, {"clip": -1.0}):
        with pytest.raises(UsageError):
            RetrainSettings(**fault)  # type: ignore[arg-type]


def test_a_teacher_alone_teaches_what_labels_would(genotype: Genotype, images: Dataset) -> None:
    wrong = replace(images, y_train=(images.y_train + 1) % 3)
    settings = RetrainSettings(epochs=8, batch=8, distil=1)
    _, taught = retrain(genotype, wrong, settings, teacher=Oracle())
    assert taught.accuracy > 0.9  # held-out labels are right, the training labels were not
    assert taught.train_accuracy < 0.1


def test_distillation_is_the_cross_entropy_of_distributions() -> None:
    student, teacher = torch.randn(4, 3).double(), torch.randn(4, 3).double()
    p, q = (teacher / 2).softmax(1), (student / 2).softmax(1)
    assert torch.isclose(distribution_loss(student, teacher, 2), -4 * (p * q.log()).sum(1).mean())
    hard = 1e4 * nn.functional.one_hot(torch.tensor([0, 2, 1, 1]), 3).double()
    expected = nn.functional.cross_entropy(student, torch.tensor([0, 2, 1, 1]))
    assert torch.isclose(distribution_loss(student, hard), expected)


def test_the_kernel_loss_is_the_distance_of_weights_to_their_binarisation() -> None:
    conv, other = (BinaryConv(3, 2, 3, BI_REAL) for _ in range(2))
    assert kernel_loss(nn.ReLU()).item() == 0
    expected = 0.0
    for w in (conv.weight.detach(), other.weight.detach()):
        expected += float((w - w.sign() * w.abs().mean((1, 2, 3), True)).square().mean())
    assert kernel_loss(nn.ModuleList([conv, other])).item() == pytest.approx(expected)
    conv.weight.data = conv.weight.sign() * 0.5
    other.real = True
    assert kernel_loss(nn.ModuleList([conv, other])).item() == pytest.approx(0, abs=1e-12)


def test_the_centre_loss_is_within_classes() -> None:
    features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [9.0, 9.0]])
    y = torch.tensor([0, 0, 2])
    assert centre_loss(features, y).item() == pytest.approx(0.5 * (1 + 1 + 0) / 3)


def test_augmentation_moves_mirrors_and_cuts_each_image_for_itself() -> None:
    x = torch.arange(1.0, 2 * 2 * 36 + 1).reshape(2, 2, 6, 6)
    many = x.repeat(20, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    moved = augment.shifted(many, 2, generator)
    padded = nn.functional.pad(x, (2, 2, 2, 2))
    crops = {
        padded[n, :, r : r + 6, c : c + 6].numpy().tobytes()
        for n in range(2)
        for r in range(5)
        for c in range(5)
    }
    got = {image.numpy().tobytes() for image in moved}
    assert got <= crops
    assert len(got) > 10
    mirrored = augment.flipped(many, generator)
    both = {image.numpy().tobytes() for image in torch.cat([x, x.flip(3)])}
    assert {image.numpy().tobytes() for image in mirrored} == both
    cut = augment.cut_out(many, 3, generator)
    holes = (cut == 0).sum((1, 2, 3))
    assert int(holes.max()) == 9 * 2
    assert int(holes.min()) >= 4 * 2
    assert torch.equal(cut[cut != 0], many[cut != 0])


def test_dropped_paths_keep_the_mean_and_evaluation_is_untouched() -> None:
    unit = Unit(4, 4, BI_REAL)
    net = nn.ModuleList([unit])
    dropped = DropPath(net, torch.Generator().manual_seed(0))
    x = torch.ones(400, 4, 3, 3)
    before = unit(x, x)
    assert torch.equal(unit(x, x), before), "nothing is dropped at probability 0"
    dropped.probability = 0.25
    y = unit(x, x)
    gone = (y == 0).all(dim=(1, 2, 3))
    assert 0.15 < gone.float().mean() < 0.35
    assert torch.allclose(y[~gone], before[~gone] / 0.75)
    unit.eval()
    assert torch.equal(unit(x, x)[0], unit(x, x)[1])
    unit.train()
    dropped.remove()
    assert torch.equal(unit(x, x), before)


def test_the_auxiliary_head_reaches_early_weights_and_leaves_no_trace(
    genotype: Genotype, images: Dataset
) -> None:
    net = untrained(genotype, 0)
    keys = list(net.state_dict())
    auxiliary = Auxiliary(_pieces(net), net, torch.from_numpy(images.x_train[:1]))
    net.train()
    net(torch.from_numpy(images.x_train[:8]))
    auxiliary().sum().backward()
    grads = [p.grad for p in net.parameters()]
    assert grads[0] is not None
    assert grads[-1] is None, "the classifier is behind the auxiliary head"
    auxiliary.remove()
    assert list(net.state_dict()) == keys
    with pytest.raises(ValueError, match="has not run"):
        auxiliary()


@pytest.mark.parametrize(
    "changes",
    [
        {"optimiser": "sgd"},
        {"weight_decay": 0.1},
        {"clip": 0.01, "optimiser": "sgd"},
        {"smoothing": 0.2},
        {"crop": 2},
        {"flip": True},
        {"cutout": 4},
        {"drop_path": 0.5},
        {"auxiliary": 0.4},
        {"distil": 0.5},
        {"kernel": 0.1},
        {"steps": 2},
    ],
    ids=str,
)
def test_every_setting_changes_what_is_trained(
    genotype: Genotype, images: Dataset, changes: dict[str, Any]
) -> None:
    plain, changed = task(genotype, images), task(genotype, images, **changes)
    for training in (plain, changed):
        training.epoch(0)
        training.epoch(1)
    assert not torch.equal(weights(plain), weights(changed))


def test_statistics_are_an_average_or_move_with_the_last_batches() -> None:
    norm = nn.BatchNorm2d(1)
    x = torch.zeros(40, 1, 1, 2)
    x[20:] = 1
    calibrate(norm, norm, x, 1)
    assert norm.running_mean is not None
    assert norm.running_mean.item() == pytest.approx(0.5)
    calibrate(norm, norm, x, 1, "ema")
    assert norm.running_mean.item() == pytest.approx(1 - 0.9**20)
    assert norm.momentum == 0.1


def test_collapse_is_seen_said_and_the_last_good_state_kept(
    genotype: Genotype, images: Dataset, tmp_path: Path
) -> None:
    training = task(genotype, images, epochs=3)

    def spoil(done: int, _total: int, _entry: dict[str, Any]) -> None:
        if done == 1:
            list(training.net.parameters())[-1].data[2] = 1e4

    with pytest.raises(
        SearchError, match=r"collapsed in epoch 1: every image .* class 2"
    ) as caught:
        fit(training, RunFolder(tmp_path, config()), spoil)
    assert "last good epoch is kept" in caught.value.hint
    kept = RunFolder(tmp_path, config()).resume()
    assert kept is not None
    assert len(kept[1]) == 1


@pytest.mark.parametrize(
    "hardware", [Hardware(channels_last=False), Hardware(bf16=True)], ids=["layout", "bf16"]
)
def test_switches_of_the_hardware_train_to_the_same_accuracy(
    genotype: Genotype, images: Dataset, hardware: Hardware
) -> None:
    settings = RetrainSettings(epochs=6, batch=8)
    net, trained = retrain(genotype, images, settings, hardware=hardware)
    assert trained.accuracy > 0.9
    assert next(net.parameters()).dtype == torch.float32
    if not hardware.channels_last:
        plain = task(genotype, images)
        other = Training(untrained(genotype, 0), images, plain.settings, 0, hardware=hardware)
        x = plain.x[:8]
        assert torch.allclose(plain.forward(x), other.forward(hardware.images(x)), atol=1e-5)


def test_a_processor_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        assert Hardware.of("cuda").bf16
    else:
        with pytest.raises(UsageError, match="no CUDA device"):
            Hardware.of("cuda")
    assert Hardware.of("cpu") == Hardware()
