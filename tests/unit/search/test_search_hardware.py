"""Searches on another processor than the CPU, in bfloat16, and channels last."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from binas.core.errors import UsageError
from binas.search.cells import CellSpace
from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.genotype import AnySpace
from binas.search.hardware import PLAIN, Hardware, Selection, found_processor
from binas.search.networks.family import supernet
from binas.search.networks.supernet import Mixture
from binas.search.ops import BinaryConv
from binas.search.run import RunFolder
from binas.search.space import Space
from binas.search.strategy import (
    bars,
    bnas,
    bnas_v2,
    catalogue,
    cp_nas,
    darts,
    dcp_nas,
    pc_darts,
    uniform,
)
from binas.search.strategy.cell_ground import CellGround
from binas.search.strategy.settings import Found, SearchSettings
from tests.unit.search import elsewhere
from tests.unit.search.conftest import TINY
from tests.unit.search.runs import config

SIZES: dict[str, Any] = {"input_shape": (1, 8, 8), "classes": 3, "channels": 8, "nodes": 1}
OPS: dict[str, Any] = {
    "normal_ops": ("none", "max", "skip", "sep3"),
    "reduction_ops": ("skip", "avg", "dil3"),
}
CELLS = CellSpace(cells=3, form="child", binarizer="xnor", **SIZES, **OPS)
PCNN = replace(CELLS, form="weights", binarizer="pcnn")
BROAD = CellSpace(layout="broad", cells=2, form="weights", **SIZES)
ALIKE: dict[str, Any] = {"batch": 24, "optimiser": "sgd", "weight_rate": 1e-2, "samples": 2}
SHORT: dict[str, Any] = {**ALIKE, "epochs": 2}
HALF: dict[str, Any] = {
    **ALIKE,
    "collapse": 1.0,
    "repeats": 1,
    "share": 0.5,
    "validation_images": 12,
}
BNAS = bnas.BnasSettings(weight_epochs=1, joint_epochs=1, **HALF)
DCP = dcp_nas.DcpNasSettings(clip=1.0, tangent=0.1, **SHORT)
# Strategy, space, settings: every strategy, every kind of space, both curvatures.
CASES: dict[str, tuple[str, AnySpace, SearchSettings]] = {
    "bars": ("bars", TINY, bars.BarsSettings(warmup_epochs=1, biops=1e5, **SHORT)),
    "bnas": ("bnas", PCNN, BNAS),
    "bnas by bounds": ("bnas", TINY, replace(BNAS, rule="ucb", sampling="bandit")),
    "bnas-v2": ("bnas-v2", BROAD, replace(bnas_v2.PC, warmup_epochs=0, **SHORT)),
    "cp-nas": ("cp-nas", CELLS, cp_nas.CpNasSettings(**HALF)),
    "darts": ("darts", CELLS, darts.DartsSettings(**SHORT)),
    "darts, second order": ("darts", TINY, darts.DartsSettings(order=2, **SHORT)),
    "darts of cells, second order": ("darts", CELLS, darts.DartsSettings(order=2, **SHORT)),
    "dcp-nas": ("dcp-nas", CELLS, DCP),
    "dcp-nas, exact": ("dcp-nas", PCNN, replace(DCP, curvature="exact")),
    "pc-darts": ("pc-darts", TINY, pc_darts.PcDartsSettings(warmup_epochs=0, **SHORT)),
    "uniform": ("uniform", CELLS, uniform.UniformSettings(nets=2, **{**ALIKE, "epochs": 1})),
}
Log = list[dict[str, Any]]


class StopError(Exception):
    pass


@pytest.fixture(scope="module")
def few(images: Dataset) -> Dataset:
    """One step an epoch."""
    return images.first(48)


@pytest.fixture(scope="module")
def search(few: Dataset, lut_of: Callable[[Space], Lut]) -> Callable[..., tuple[Found, Log]]:
    """What a case finds and logs; stops after `halt` epochs."""

    def run(
        case: str, hardware: Hardware, folder: RunFolder | None = None, halt: int | None = None
    ) -> tuple[Found, Log]:
        name, space, settings = CASES[case]
        lut = lut_of(space) if isinstance(space, Space) else None
        log: Log = []

        def progress(done: int, _in_all: int, entry: dict[str, Any]) -> None:
            log.append({k: v for k, v in entry.items() if k not in ("seconds", "processor")})
            if done == halt:
                raise StopError

        found = catalogue.find(name).search(
            space,
            few,
            settings,
            seed=1,
            lut=lut,
            budget_ns=None if lut is None else 2 * lut.fastest_ns(),
            hardware=hardware,
            folder=folder,
            progress=progress,
        )
        return replace(found, seconds=0.0), log

    return run


@pytest.mark.parametrize("case", CASES)
def test_a_search_on_another_processor_mixes_no_devices_and_finds_what_one_on_the_cpu_finds(
    case: str, search: Callable[..., tuple[Found, Log]]
) -> None:
    here = search(case, PLAIN)
    with elsewhere.machine() as machine:
        assert search(case, machine.hardware) == here
        assert machine.waits


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")  # it is copied
@pytest.mark.parametrize("case", ["bars", "dcp-nas"])
def test_a_search_goes_on_on_the_other_processor_whichever_it_was_begun_on(
    case: str, search: Callable[..., tuple[Found, Log]], tmp_path: Path
) -> None:
    found, _ = search(case, PLAIN)
    for begun_here in (True, False):
        folder = RunFolder(tmp_path / str(begun_here), config())
        with elsewhere.machine() as machine:
            both = (PLAIN, machine.hardware)
            first, then = both if begun_here else both[::-1]
            with pytest.raises(StopError):
                search(case, first, folder, halt=1)
            assert search(case, then, folder)[0] == found
        entries = (folder.path / "log.jsonl").read_text().splitlines()
        processors = [json.loads(entry).get("processor") for entry in entries]
        there = [place for place, processor in enumerate(processors) if processor == "meta"]
        assert there == (list(range(1, len(entries))) if begun_here else [0])


def test_what_was_not_moved_is_refused_as_a_gpu_refuses_it() -> None:
    net = nn.Conv2d(1, 2, 3)
    x = torch.zeros(1, 1, 8, 8)
    with elsewhere.machine() as machine:
        machine.hardware.place(net)
        with pytest.raises(AssertionError, match="convolution"):
            net(x)
        y = net(machine.hardware.images(x))
        with pytest.raises(AssertionError, match="stack"):
            torch.stack([y.sum(), torch.zeros(())])
        assert float(y.detach().sum() * torch.zeros(())) == 0.0


def test_a_weight_step_asks_the_processor_for_nothing_until_its_losses_are_looked_at(
    few: Dataset,
) -> None:
    settings = darts.DartsSettings(**SHORT)
    with elsewhere.machine() as machine:
        task = darts.Search(CellGround(CELLS, None), few, settings, 0)
        task.place(machine.hardware)
        task.net.train()
        for batch in task.batches_of(task.weight_half):
            task.weight_step(task.net, task.weights, batch, task.weight_mixture())
        assert machine.waits == []
        task.epoch(0)
        assert machine.waits != []


Spy = list[tuple[str, bool, torch.dtype]]


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> Spy:
    """Of every forward pass: whose α it has, whether α learns, and how it convolves."""
    seen: Spy = []
    plain = Hardware.logits

    def logits(
        self: Hardware, net: nn.Module, x: Tensor, selection: Selection | None = None
    ) -> Tensor:
        convolutions = [m for m in net.modules() if isinstance(m, BinaryConv)]
        kinds: list[torch.dtype] = []
        hooks = [
            c.register_forward_hook(lambda _m, _x, out: kinds.append(out.dtype))
            for c in convolutions
        ]
        out = plain(self, net, x, selection)
        for hook in hooks:
            hook.remove()
        assert len(set(kinds)) == 1
        assert out.dtype == torch.float32
        weights = (selection.ops if isinstance(selection, Mixture) else None) or ()
        whose = "images" if any(w.dim() > 2 for w in weights) else "batch"
        seen.append((whose, any(w.requires_grad for w in weights), kinds[0]))
        return out

    monkeypatch.setattr(Hardware, "logits", logits)
    return seen


@pytest.fixture
def any_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels last on every CPU: torch's own convolutions lose no memory in it."""
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert Hardware().layout is torch.channels_last


@pytest.mark.usefixtures("any_layout")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("bf16", [False, True], ids=["channels last", "bfloat16"])
def test_a_search_starts_from_nearly_the_same_loss_in_the_precision_and_layout_of_a_gpu(
    case: str, bf16: bool, search: Callable[..., tuple[Found, Log]], tmp_path: Path
) -> None:
    first: list[float] = []
    for hardware in (PLAIN, Hardware(channels_last=True, bf16=bf16)):
        folder = RunFolder(tmp_path / str(len(first)), config())
        with pytest.raises(StopError):
            search(case, hardware, folder, halt=1)
        steps = (folder.path / "steps.jsonl").read_text().splitlines()
        first.append(json.loads(steps[0])["loss"])
    # Where activations are binary, rounding turns some signs.
    assert first[1] == pytest.approx(first[0], rel=0.15)
    assert first[1] != first[0] or not bf16


@pytest.mark.usefixtures("any_layout")
def test_a_supernet_gives_the_same_logits_and_gradients_in_either_layout() -> None:
    # Without signs, which rounding would turn.
    space = CellSpace(cells=3, form="real", **SIZES, **OPS)
    x = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for partial in (1, 4):
        found = []
        for hardware in (PLAIN, Hardware(channels_last=True)):
            torch.manual_seed(0)
            net = hardware.place(supernet(space, partial=partial))
            p = [torch.full(g.shape, 1 / g.shape[1], requires_grad=True) for g in net.groups]
            out = hardware.logits(net, x, Mixture.soft(p))
            grads = torch.autograd.grad(out.square().sum(), [*p, *net.parameters()])
            found.append([out.detach(), *grads])
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4)


def test_second_order_steps_of_darts_stay_in_float32(
    spied: Spy, search: Callable[..., tuple[Found, Log]]
) -> None:
    with pytest.raises(StopError):
        search("darts of cells, second order", Hardware(bf16=True), halt=1)
    assert {kind for _, learns, kind in spied if learns} == {torch.float32}
    assert {kind for _, learns, kind in spied if not learns} == {torch.bfloat16}


def test_what_a_search_reports_of_its_networks_is_computed_in_float32(
    spied: Spy, search: Callable[..., tuple[Found, Log]]
) -> None:
    search("darts", Hardware(bf16=True))
    training = [kind for _, _, kind in spied[:4]]  # two epochs of a step of either kind
    assert training == [torch.bfloat16] * 4
    assert {kind for _, _, kind in spied[4:]} == {torch.float32}


@pytest.mark.parametrize("curvature", ["gauss-newton", "exact"])
def test_the_curvature_of_dcp_nas_stays_in_float32_and_nothing_else_does(
    curvature: Any, spied: Spy, few: Dataset
) -> None:
    settings = replace(DCP, curvature=curvature)
    task = dcp_nas.Search(CellGround(CELLS, None), few, settings, 0)
    task.place(Hardware(bf16=True))
    task.net.train()
    task.parent.train()
    batch = next(task.batches_of(task.architecture_half))
    task.architecture_step(batch, batch)
    # Parent, Child, curvature.
    assert [kind for _, _, kind in spied] == [torch.bfloat16, torch.bfloat16, torch.float32]
    assert [whose for whose, _, _ in spied].count("images") == (curvature == "gauss-newton")


def test_full_float32_is_without_tf32_and_only_for_a_while() -> None:
    before = torch.backends.cudnn.allow_tf32
    with pytest.raises(StopError), Hardware(bf16=True).exactly() as exact:
        assert not torch.backends.cudnn.allow_tf32
        assert not exact.bf16
        raise StopError
    assert torch.backends.cudnn.allow_tf32 == before


def test_auto_is_the_gpu_that_there_is_and_a_search_is_not_compiled() -> None:
    place = found_processor("auto")
    assert place == ("cuda" if torch.cuda.is_available() else "cpu")
    assert not Hardware.searching(place).compiled
    assert Hardware.searching("cpu") == PLAIN
    if place == "cpu":
        with pytest.raises(UsageError, match=r"torch .* sees no CUDA device, expected") as caught:
            Hardware.searching("cuda")
        assert "--processor auto" in str(caught.value.hint)


TRAINED = """
import torch
from binas.search.hardware import Hardware
torch.set_num_threads(1)
hardware = Hardware.of("cpu")
for C, K in 50 * ((4, 2), (2, 2), (8, 4), (1, 1), (6, 3), (36, 18)):
    net = hardware.place(torch.nn.Conv2d(C, K, 1, 2))
    net(hardware.images(torch.randn(24, C, 8, 8))).square().sum().backward()
"""


def test_strided_1x1_convolutions_are_trained_without_harm_on_this_cpu() -> None:
    # In a process of its own: what it wrote where it must not shows when memory is freed.
    done = subprocess.run([sys.executable, "-c", TRAINED], capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")


@pytest.mark.parametrize(
    ("capability", "layout"),
    [("AVX512", torch.channels_last), ("AVX2", torch.contiguous_format)],
)
def test_channels_are_last_where_that_is_safe(
    capability: str, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert Hardware.of("cpu").layout is layout
    assert PLAIN.layout is torch.contiguous_format
    x = Hardware.of("cpu").images(torch.zeros(2, 3, 4, 5))
    assert x.is_contiguous(memory_format=layout)
