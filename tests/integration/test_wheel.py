"""What is handed out: tree → sdist → wheel, with every file in it, and a base install that works.

The base install is the unpacked wheel, in a Python that finds none of the packages of the extras.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from binas.compile.build import compile_model
from binas.compile.model import BinaryModel, ModelWriter
from binas.core.cli import EXTRAS
from binas.devices.registry import find

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("compile", "core", "devices", "runtime", "search")
BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, f"build_{sys.argv[1]}")(sys.argv[2]))
"""
# What stands before the command: modules of the extras are not there, and binas is the wheel's.
BARE = """
import sys
ABSENT = {absent}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import binas.core
assert binas.core.__file__.startswith({site!r}), binas.core.__file__
"""
CALL = "from {module} import {name}; {name}(sys.argv[1:])"
# Distributions that are imported by another name.
MODULES = {"apache_tvm": "tvm", "pillow": "PIL", "scikit_learn": "sklearn"}


def files(folder: Path) -> set[str]:
    """Every file below a folder but what Python caches."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix() for path in found if "__pycache__" not in path.parts
    }


def build(kind: str, source: Path, output: Path) -> Path:
    """Let the build backend of pyproject.toml work in `source`."""
    output.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(output)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return output / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel, built from the sdist, as pip builds it where there is no wheel."""
    place = tmp_path_factory.mktemp("dist")
    tree = place / "tree"
    for room in ROOMS:
        shutil.copytree(ROOT / room, tree / room, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tree)
    shutil.unpack_archive(build("sdist", tree, place / "out"), place / "sdist")
    (source,) = (place / "sdist").iterdir()
    with zipfile.ZipFile(build("wheel", source, place / "out")) as wheel:
        wheel.extractall(place / "site")
    return place / "site"


def imported(extra: str) -> set[str]:
    """The modules that an extra of pyproject.toml brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["optional-dependencies"][extra]
    names = {re.split(r"[<>=!~ \[]", item)[0].lower().replace("-", "_") for item in wanted}
    return {MODULES.get(name, name) for name in names} - {"binas"}


def bare(site: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code with the base install alone."""
    absent = imported("compile") | imported("search")
    return subprocess.run(
        [sys.executable, "-c", BARE.format(absent=absent, site=str(site)) + code, *arguments],
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(site.parent)},
        cwd=site.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_wheel_made_from_the_sdist_holds_every_file_of_the_rooms_and_no_other(
    site: Path,
) -> None:
    (information,) = (path.name for path in site.glob("*.dist-info"))
    shipped = {name for name in files(site) if not name.startswith(f"{information}/")}
    assert shipped == {f"binas/{room}/{file}" for room in ROOMS for file in files(ROOT / room)}


def test_no_requirement_of_the_base_brings_torch_or_tvm(site: Path) -> None:
    (metadata,) = site.glob("*.dist-info/METADATA")
    wanted = re.findall(r"^Requires-Dist: ([\w-]+)(.*)$", metadata.read_text(), re.M)
    base = {name for name, rest in wanted if "extra ==" not in rest}
    assert base == {"click", "numpy", "pydantic", "rich", "tomlkit", "typing_extensions"}


@pytest.mark.parametrize(
    "command", ["bench", "compile", "devices", "doctor", "report", "run", "search", "table"]
)
def test_every_command_explains_itself_without_the_extras(site: Path, command: str) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, name = scripts[f"binas-{command}"].split(":")
    done = bare(site, CALL.format(module=module, name=name), "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


def test_an_artifact_runs_and_is_verified_without_the_extras(site: Path, tmp_path: Path) -> None:
    w = ModelWriter("net")
    x = w.binary_quantize(w.input("x", (1, 33, 4, 4)))
    ones = np.ones((8, 1, 1, 33))
    y = w.binary_conv2d(x, ones, scale=np.ones(8), bias=np.zeros(8), name="body")
    model = BinaryModel.of(w.finish([y]), "net")
    compile_model(model, find("host"), tmp_path / "net.binas")
    np.save(tmp_path / "x.npy", np.ones((1, 33, 4, 4), np.float32))
    call = CALL.format(module="binas.runtime.cli", name="run")
    done = bare(
        site,
        call,
        str(tmp_path / "net.binas"),
        *("--device", "host", "--verify", "--input", str(tmp_path / "x.npy")),
    )
    assert done.returncode == 0, done.stderr
    assert "binary layers exact" in done.stdout
    assert "from 33.0 to 33.0" in done.stdout


def test_commands_know_what_every_extra_brings() -> None:
    for extra, known in EXTRAS.items():
        assert imported(extra) - set(known) <= {"PIL"}, extra  # two extras bring it
        assert set(known) <= imported(extra)


@pytest.mark.parametrize(
    ("module", "name", "arguments", "extra"),
    [
        ("binas.compile.cli", "main", ["example:digits"], "compile"),
        ("binas.search.cli", "main", ["list"], "search"),
    ],
)
def test_what_needs_an_extra_names_it(
    site: Path, module: str, name: str, arguments: list[str], extra: str
) -> None:
    done = bare(site, CALL.format(module=module, name=name), *arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert f"pip install 'binas[{extra}]'" in done.stderr
