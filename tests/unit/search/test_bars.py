"""BARS: repeatable, within its budget, blind to held-out images, and every step of it counts.

What a distribution over a space is worth and which networks come of it is in
`test_bars_choices.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from binas.core.errors import SearchError, UsageError
from binas.search.complexity import expected_biops
from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.genotype import Genotype
from binas.search.networks.bars_supernet import Choice, sample
from binas.search.run import Config, RunFolder
from binas.search.space import Space
from binas.search.strategy import bars, ground
from binas.search.strategy.bars import BarsSettings, Search, search
from binas.search.strategy.layout_ground import LayoutGround
from binas.search.strategy.settings import Found
from binas.search.survey import random_genotypes
from binas.search.train import fit

LutOf = Callable[[Space], Lut]
QUICK = BarsSettings(epochs=3, warmup_epochs=1, batch=24, samples=3)


def budget_of(lut: Lut, share: float = 0.5) -> float:
    """A latency that this share of random networks keeps."""
    times = sorted(lut.predict_ns(g) for g in random_genotypes(lut.menu.space, 60, seed=1))
    return times[round(share * (len(times) - 1))]


def untimed(found: Found) -> Found:
    return replace(found, seconds=0.0)


@pytest.fixture
def start(tiny: Space, images: Dataset, lut_of: LutOf) -> Callable[..., Search]:
    """A search before its first epoch."""

    def begin(budget_ns: float | None = None, **changes: Any) -> Search:
        settings = replace(QUICK, **changes)
        return Search(LayoutGround(tiny, lut_of(tiny)), images, settings, 0, budget_ns)

    return begin


def test_the_same_seed_gives_the_same_result_and_another_one_another(
    tiny: Space, images: Dataset, lut_of: LutOf
) -> None:
    lut = lut_of(tiny)
    budget = budget_of(lut)
    first, second, other = (
        untimed(search(tiny, images, QUICK, seed=seed, lut=lut, budget_ns=budget))
        for seed in (1, 1, 2)
    )
    assert first == second
    assert first.candidates != other.candidates


def test_held_out_images_are_never_touched(tiny: Space, images: Dataset, lut_of: LutOf) -> None:
    blind = replace(
        images, x_test=np.full_like(images.x_test, np.nan), y_test=np.full_like(images.y_test, -9)
    )
    lut = lut_of(tiny)
    found = [untimed(search(tiny, data, QUICK, lut=lut)) for data in (images, blind)]
    assert found[0] == found[1]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_every_candidate_is_just_within_the_budget(
    tiny: Space, images: Dataset, lut_of: LutOf, share: float
) -> None:
    lut = lut_of(tiny)
    budget = budget_of(lut, share)
    found = search(tiny, images, QUICK, lut=lut, budget_ns=budget)
    assert 1 <= len(found.candidates) <= QUICK.samples
    for candidate in found.candidates:
        assert isinstance(candidate.genotype, Genotype)
        assert candidate.predicted_ns == lut.predict_ns(candidate.genotype)
        assert ground.BANDS[0] * budget <= candidate.predicted_ns <= budget


def test_the_most_accurate_candidate_on_the_architecture_half_is_taken(
    tiny: Space, images: Dataset, lut_of: LutOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = iter([0.2, 0.9, 0.5])
    monkeypatch.setattr(Search, "evaluate", lambda _self, _genotype: next(marks))
    found = search(tiny, images, QUICK, lut=lut_of(tiny))
    assert [candidate.accuracy for candidate in found.candidates] == [0.9, 0.5, 0.2]
    assert found.genotype == found.candidates[0].genotype
    assert found.predicted_ns == found.candidates[0].predicted_ns
    assert len({candidate.genotype for candidate in found.candidates}) == 3


def test_a_budget_below_every_network_says_what_the_fastest_takes(
    tiny: Space, images: Dataset, lut_of: LutOf
) -> None:
    lut = lut_of(tiny)
    with pytest.raises(SearchError, match=r"within 1 us: the fastest takes") as caught:
        search(tiny, images, QUICK, lut=lut, budget_ns=1e3)
    assert "raise --budget" in caught.value.hint
    priced = LayoutGround(tiny, lut)
    with pytest.raises(SearchError, match=r"drawn none is within 1\.0 us; the fastest takes"):
        priced.candidates(priced.uniform(), 3, torch.Generator(), 1e3)


def test_a_budget_needs_a_table(tiny: Space, images: Dataset) -> None:
    with pytest.raises(UsageError, match="a budget needs a latency table"):
        search(tiny, images, QUICK, budget_ns=1e6)


def test_a_space_of_one_network_gives_that_network(tiny: Space, images: Dataset) -> None:
    one = replace(tiny, max_cells=1, widths=(1.0,), normal_ops=("b3",), reduction_ops=("b3",))
    found = search(one, images, QUICK)
    assert [str(c.genotype) for c in found.candidates] == ["[1: b3·b3·b3] b3·b3·b3 [1: b3·b3·b3]"]


def test_the_halves_share_no_image_and_hold_all(start: Callable[..., Search]) -> None:
    task = start()
    halves = [
        {image.numpy().tobytes() for image in x}
        for x in (task.weight_half[0], task.architecture_half[0])
    ]
    assert len(halves[0]) == len(halves[1]) == 48
    assert not halves[0] & halves[1]


def test_in_the_warm_up_every_choice_weighs_alike_and_the_architecture_rests(
    start: Callable[..., Search], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = start()
    with torch.no_grad():
        for tensor in task.logits:
            tensor.copy_(torch.arange(tensor.numel()).reshape(tensor.shape) * 3.0)
    before = [tensor.detach().clone() for tensor in task.logits]
    given: list[Choice] = []
    real = sample

    def spy(choice: Choice, temperature: float, generator: torch.Generator) -> Choice:
        given.append(choice)
        return real(choice, temperature, generator)

    monkeypatch.setattr(bars, "sample", spy)
    entry = task.epoch(0)
    assert entry["validation_accuracy"] is None
    assert len(given) == 2  # one weight step per batch and nothing else
    assert all(not tensor.any() for choice in given for tensor in choice.tensors())
    assert all(map(torch.equal, before, task.logits))
    given.clear()
    assert task.epoch(1)["validation_accuracy"] is not None
    assert len(given) == 4
    assert all(tensor.any() for choice in given for tensor in choice.tensors())
    assert not any(map(torch.equal, before, task.logits))


def test_each_step_moves_its_own_parameters(start: Callable[..., Search]) -> None:
    task = start()
    x, y = task.weight_half

    def weights() -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in task.net.parameters()]

    def architecture() -> list[torch.Tensor]:
        return [tensor.detach().clone() for tensor in task.logits]

    task.net.train()
    before = weights(), architecture()
    task.progress = 0.5
    task.architecture_step((x, y), (x, y))
    assert all(map(torch.equal, before[0], weights()))
    assert not any(map(torch.equal, before[1], architecture()))
    before = weights(), architecture()
    task.weight_step(task.net, task.weights, (x, y), task.weight_mixture())
    assert not all(map(torch.equal, before[0], weights()))
    assert all(map(torch.equal, before[1], architecture()))


def trained(task: Search) -> dict[str, Any]:
    return fit(task)[-1]


def test_the_entropy_term_sharpens_the_choice(start: Callable[..., Search]) -> None:
    changes = {"epochs": 8, "architecture_rate": 0.1}
    without, with_it = (trained(start(entropy=e, **changes))["entropy"] for e in (0.0, 5.0))
    assert with_it < 0.9 * without


@pytest.mark.parametrize("form", ["hinge", "two-sided", "product", "log-product"])
def test_the_cost_term_lowers_the_expected_latency(start: Callable[..., Search], form: str) -> None:
    budget = budget_of(start().ground.lut or pytest.fail("no table"), 0.05)
    changes = {"epochs": 8, "architecture_rate": 0.1, "entropy": 0.0, "form": form}
    free, pressed = (
        trained(start(budget, strength=strength, **changes))["expected_ns"]
        for strength in (0.0, 20.0)
    )
    assert pressed < 0.9 * free


@pytest.mark.paper_check(number=14)
def test_below_its_operations_on_bits_the_loss_is_untouched_and_at_twice_as_many_doubled(
    start: Callable[..., Search],
) -> None:
    task, ce = start(), torch.tensor(0.7, dtype=torch.float64)
    p = task.ground.choice(task.probabilities())
    biops = float(expected_biops(task.ground.space, p).detach())
    for budget, expected in ((2 * biops, 0.7), (biops, 0.7), (biops / 2, 1.4)):
        loss = start(biops=budget, entropy=0.0).architecture_loss(ce)
        assert float(loss.detach()) == pytest.approx(expected, rel=1e-6)


def test_the_complexity_term_lowers_the_expected_operations_on_bits(
    start: Callable[..., Search],
) -> None:
    changes = {"epochs": 4, "architecture_rate": 0.2, "entropy": 0.0}
    free, pressed = (trained(start(biops=b, **changes))["expected_biops"] for b in (0.0, 100.0))
    assert pressed < 0.9 * free


def test_a_hinge_leaves_what_is_within_the_budget_alone(start: Callable[..., Search]) -> None:
    free, pressed = (start(1e9, strength=strength) for strength in (0.0, 50.0))
    fit(free)
    fit(pressed)
    assert all(map(torch.equal, free.logits, pressed.logits))


def test_the_temperature_falls_from_the_first_to_the_last_after_the_warm_up(
    start: Callable[..., Search],
) -> None:
    log = fit(start(epochs=5, warmup_epochs=2))
    found = [entry["temperature"] for entry in log]
    assert found == pytest.approx([3.0, 3.0, 3.0, (3 * 0.5) ** 0.5, 0.5])


def test_evaluation_depends_on_the_genotype_alone(start: Callable[..., Search]) -> None:
    task = start()
    fit(task)
    first, second = random_genotypes(task.ground.space, 2, seed=5)
    marks = [task.evaluate(genotype) for genotype in (first, second, first)]
    assert marks[0] == marks[2]
    for norm in task.net.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None:
            norm.running_mean.normal_(0, 50)  # what the shared weights gathered says nothing
    assert [task.evaluate(genotype) for genotype in (first, second)] == marks[:2]


def test_a_search_whose_operations_without_weights_have_won_stops_and_keeps_the_last_good_epoch(
    tiny: Space, images: Dataset, tmp_path: Path
) -> None:
    task = Search(LayoutGround(tiny, None), images, QUICK, 0)
    asked = Config(
        kind="search",
        data=images.name,
        data_digest=images.digest,
        seed=0,
        settings=asdict(QUICK),
        inputs={},
        versions={},
    )
    folder = RunFolder(tmp_path, asked)
    real = task.move_architecture

    def drift(gradients: tuple[torch.Tensor, ...]) -> None:
        real(gradients)
        if task.progress == 1:  # the last epoch
            with torch.no_grad():
                choice = task.ground.choice(task.logits)
                for cell in (cell for stage in choice.normal for cell in stage):
                    cell[:, tiny.normal_ops.index("skip")] = 50

    task.move_architecture = drift  # type: ignore[method-assign]
    with pytest.raises(
        SearchError, match=r"collapsed in epoch 2: .* hold 100\.0% .* at most 99%"
    ) as caught:
        fit(task, folder)
    assert "last good epoch" in caught.value.hint
    kept = folder.resume()
    assert kept is not None
    assert [entry["epoch"] for entry in kept[1]] == [0, 1]
    assert all(entry["weight_free"] < 0.99 for entry in kept[1])
