"""Two processes that search together find what one finds with the joint batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import Tensor

from binas.core.errors import UsageError
from binas.search.cli import main
from binas.search.data import Dataset
from binas.search.processes import Processes
from binas.search.space import Space
from binas.search.strategy import bars, darts
from binas.search.strategy.layout_ground import whole
from binas.search.strategy.timing import Timer
from tests.unit.search import gathered

# Every case to its end; what is compared: all state (weights, architecture, moments of either's
# optimiser, scores), the last gradients of the architecture, the log, what was found.
CHILD = """
import sys, torch
from dataclasses import replace
from pathlib import Path
from safetensors.torch import save_file
from torch.nn import functional
from binas.search import data
from binas.search.cells import CellSpace
from binas.search.processes import Processes
from binas.search.space import Space
from binas.search.strategy import around, bars, bnas, bnas_v2, catalogue, cp_nas, darts, dcp_nas
from binas.search.strategy import pc_darts, uniform
torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)  # in float32 rounding turns signs
# Signs that cancel leave 0 or 1e-17, as a CPU adds them up, and the gradient jumps between them.
relu = functional.relu
functional.relu = lambda x: relu(x - 1e-9)
folder = Path(sys.argv[1])
images = data.load(str(folder / "images.npz"))
images = replace(images, x_train=images.x_train.astype("float64"))
small = {"input_shape": (1, 8, 8), "classes": 3, "channels": 8}
# Nothing reads a sum of signs but through a real shortcut or real weights: it is a whole number,
# often equals its mean exactly, and then rounding turns the next sign.
stages = Space(stages=2, widths=(0.5, 1.0), process="real", **small)
sizes = {**small, "nodes": 2, "form": "weights"}
ops = {"normal_ops": ("none", "max", "skip", "sep3"), "reduction_ops": ("skip", "avg", "dil3")}
cells = CellSpace(cells=3, binarizer="xnor", **sizes, **ops)
broad = CellSpace(layout="broad", cells=2, **sizes)
alike = {"batch": 24, "optimiser": "sgd", "weight_rate": 1e-3, "samples": 2}
short = {**alike, "epochs": 2}
half = {**alike, "collapse": 1.0, "repeats": 1, "share": 0.5, "validation_images": 25}
pc = bnas_v2.BnasV2Settings(variant="pc", partial=4, edge_normalisation=True, **short)
dcp = {**short, "clip": 1.0, "tangent": 0.1}
cases = {
    "bars": (bars, stages, bars.BarsSettings(warmup_epochs=1, **short)),
    "bnas": (bnas, cells, bnas.BnasSettings(weight_epochs=1, joint_epochs=1, **half)),
    "bnas-v2": (bnas_v2, broad, pc),
    "cp-nas": (cp_nas, cells, cp_nas.CpNasSettings(**half)),
    "darts": (darts, cells, darts.DartsSettings(order=2, **short)),
    "dcp-nas": (dcp_nas, cells, dcp_nas.DcpNasSettings(**dcp)),
    "dcp-nas exact": (dcp_nas, cells, dcp_nas.DcpNasSettings(curvature="exact", **dcp)),
    "pc-darts": (pc_darts, stages, pc_darts.PcDartsSettings(warmup_epochs=0, **short)),
    "uniform": (uniform, cells, uniform.UniformSettings(nets=2, **{**alike, "epochs": 1})),
}
processes = Processes.joined()
kept, tasks = {}, []
def capture(task, **known):
    tasks.append(task)
    return around.run(task, **known)
for name, (module, space, settings) in cases.items():
    module.run = capture
    log = []
    found = module.search(
        space, images, settings, seed=1, processes=processes, progress=lambda *a: log.append(a[2])
    )
    task = tasks[-1]
    kept |= {f"{name}: {key}": tensor for key, tensor in task.tensors().items()}
    alphas = [t for key, t in task.tables.items() if t.requires_grad]
    kept |= {f"{name}: gradient {i}": alpha.grad for i, alpha in enumerate(alphas)}
    marks = [candidate.accuracy for candidate in found.candidates]
    kept[f"{name}: loss"] = torch.tensor([entry["loss"] for entry in log])
    kept[f"{name}: right"] = torch.tensor([entry["accuracy"] for entry in log])
    kept[f"{name}: candidates"] = torch.tensor(marks)
    kept[f"{name}: found"] = torch.tensor(list(str(found.genotype).encode()))
kept = {name: tensor.detach().contiguous().clone() for name, tensor in kept.items()}
save_file(kept, folder / f"{processes.count}-{processes.rank}.safetensors")
"""
CASES = (
    "bars",
    "bnas",
    "bnas-v2",
    "cp-nas",
    "darts",
    "dcp-nas",
    "dcp-nas exact",
    "pc-darts",
    "uniform",
)
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def states(
    images: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[State, State, State]]:
    """What one process came to, and the two."""
    folder = tmp_path_factory.mktemp("gathered")
    arrays = {n: getattr(images, n) for n in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(folder / "images.npz", **arrays)
    gathered.run(CHILD, folder, count=2)
    gathered.run(CHILD, folder, count=1)
    one, first, second = (load_file(folder / f"{n}.safetensors") for n in ("1-0", "2-0", "2-1"))
    yield one, first, second


@pytest.mark.parametrize("case", CASES)
def test_two_processes_search_as_one_with_the_joint_batch(
    case: str, states: tuple[State, State, State]
) -> None:
    one, *both = ({n: t for n, t in s.items() if n.startswith(f"{case}: ")} for s in states)
    for two in both:
        assert two.keys() == one.keys()
        for name, tensor in one.items():
            assert two[name].shape == tensor.shape, name
            assert tensor.dtype.is_floating_point or bool((two[name] == tensor).all()), name
            if tensor.dtype.is_floating_point:
                assert bool(((two[name] - tensor).abs() <= 1e-9 + 1e-6 * tensor.abs()).all()), name
    assert any(".weight" in name for name in one) or case == "uniform"
    moved = [name for name in one if "gradient" in name]
    assert moved or case in ("cp-nas", "uniform")  # these have no architecture parameters


def test_what_several_processes_cannot_do_is_said(
    tiny: Space, images: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    two = Processes(rank=0, count=2)
    settings = bars.BarsSettings(epochs=2, warmup_epochs=1, batch=25)
    task = bars.Search(cast(Any, whole(tiny, None, None)), images, settings, 0)
    with pytest.raises(UsageError, match="a batch of 25 cannot be shared by 2 processes"):
        task.join(two)
    timer = cast(Timer, object())
    with pytest.raises(UsageError, match="2 processes would measure every network 2 times"):
        darts.search(tiny, images, darts.DartsSettings(epochs=1), processes=two, timer=timer)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for arguments in (
        ["compare", "-o", str(tmp_path / "all")],
        ["run", "--measure", "--device", "host", "-o", str(tmp_path / "one")],
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2
        assert "runs in one process, and torchrun started 2" in result.output
    assert not list(tmp_path.iterdir())
