"""A search that the system kills (SIGKILL, at a random moment) goes on to the same bits."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from binas.core import record
from binas.search.data import Dataset
from binas.search.run import RunFolder
from binas.search.space import Space
from binas.search.strategy import catalogue
from binas.search.strategy.settings import Found
from tests.unit.search.runs import config, killed

# One of each kind of state: distributions of a layout, tables of sampled networks, two supernets
# and what couples them, weights of edges, networks apart. So many epochs that none ends unkilled.
LONG: dict[str, dict[str, Any]] = {
    "bars": {"epochs": 14, "warmup_epochs": 1},
    "bnas": {"weight_epochs": 8, "joint_epochs": 2, "sampling": "bandit", "repeats": 3},
    "dcp-nas": {"epochs": 8, "warmup_epochs": 1},
    "pc-darts": {"epochs": 14, "warmup_epochs": 1},
    "uniform": {"nets": 30, "epochs": 1},
}

CHILD = """
import json, sys, torch
from pathlib import Path
from binas.core import record
from binas.search import data
from binas.search.run import Config, RunFolder
from binas.search.space import Space
from binas.search.strategy import catalogue
torch.set_num_threads(1)
folder, strategy = Path(sys.argv[1]), catalogue.find(sys.argv[2])
images, space = data.load(str(folder / "images.npz")), record.load(Space, folder / "space.json")
run = RunFolder(folder / "run", record.load(Config, folder / "c.json"))
settings = strategy.settings(**json.loads(sys.argv[3]))
record.save(strategy.search(space, images, settings, seed=3, folder=run), folder / "found.json")
"""


@pytest.mark.parametrize("name", sorted(LONG))
def test_killed_at_a_random_moment_a_search_goes_on_to_the_same_state(
    tiny: Space, images: Dataset, tmp_path: Path, name: str
) -> None:
    settings = {**LONG[name], "batch": 8, "collapse": 1.0}
    arrays = {key: value for key, value in asdict(images).items() if key[:2] in ("x_", "y_")}
    np.savez(tmp_path / "images.npz", **arrays, labels=np.array(images.labels))
    record.save(tiny, tmp_path / "space.json")
    record.save(config(), tmp_path / "c.json")
    command = [sys.executable, "-c", CHILD, str(tmp_path), name, json.dumps(settings)]
    wait_ms = killed(command, tmp_path / "run", 200)
    kept = RunFolder(tmp_path / "run", config()).resume()
    assert kept is not None
    assert kept[1]
    subprocess.run(command, check=True)

    strategy = catalogue.find(name)
    whole = RunFolder(tmp_path / "whole", config())
    expected = strategy.search(tiny, images, strategy.settings(**settings), seed=3, folder=whole)
    found = record.load(Found, tmp_path / "found.json")
    assert replace(found, seconds=0.0) == replace(expected, seconds=0.0)
    states = [load_file(tmp_path / n / "checkpoint.safetensors") for n in ("run", "whole")]
    assert states[0].keys() == states[1].keys()
    for key, tensor in states[1].items():
        assert torch.equal(states[0][key], tensor), f"{key}, killed after {wait_ms} ms"
    logs = [(tmp_path / n / "steps.jsonl").read_text() for n in ("run", "whole")]
    assert logs[0] == logs[1]
