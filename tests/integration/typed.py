"""Commands as a user types them, on a space and images as small as can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

SPACE = """
input_shape = [1, 8, 8]
classes = 3
channels = 8
nodes = 1
stages = 2
max_cells = 1
widths = [0.5, 1.0]
normal_ops = ["skip", "b3"]
reduction_ops = ["b3"]
"""
SHORT = ["--epochs", "2", "--warmup-epochs", "1", "--batch", "16", "--samples", "2"]


def call(command: Any, *arguments: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def answer(command: Any, *arguments: object) -> dict[str, Any]:
    """The one JSON object that a command prints."""
    result = call(command, *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def must_refuse(result: Result, code: int, said: str, hint: str = "") -> None:
    """One sentence and a hint on stderr, the code of its kind, nothing on stdout."""
    assert result.exit_code == code, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 2, result.stderr
    assert lines[0].startswith("Error: ")
    assert said in lines[0]
    assert lines[1].startswith("Hint: ")
    assert hint in lines[1]
    assert result.stdout == ""


def begun(folder: Path) -> Path:
    """A folder with a space, and images of three classes."""
    (folder / "tiny.toml").write_text(SPACE)
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for part, count in (("train", 96), ("test", 30)):
        y = np.arange(count) % 3
        x = generator.normal(0, 0.3, (count, 1, 8, 8)).astype(np.float32)
        for image, place in zip(x, y, strict=True):
            image[0, :, 2 * place : 2 * place + 2] += 1
        arrays |= {f"x_{part}": x, f"y_{part}": y}
    np.savez(folder / "images.npz", **arrays, labels=np.array(["left", "middle", "right"]))
    return folder


def asked(home: Path) -> list[object]:
    """Space and images."""
    return ["--space", home / "tiny.toml", "--data", home / "images.npz"]
