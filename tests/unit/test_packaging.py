"""The traps of a package whose folders lie at the root: what is forgotten is not in the wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("compile", "core", "devices", "runtime", "search")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def folders() -> list[Path]:
    """Every folder of the rooms that holds Python, relative to the root."""
    found = {
        path.parent.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("*.py")
    }
    return sorted(path for path in found if "__pycache__" not in path.parts)


def test_every_package_of_the_tree_is_listed_and_no_other(project: dict[str, Any]) -> None:
    tree = [".".join(("binas", *folder.parts)) for folder in folders()]
    assert sorted(project["tool"]["setuptools"]["packages"]) == tree


def test_every_package_says_what_it_is_and_nothing_else() -> None:
    for folder in folders():
        text = (ROOT / folder / "__init__.py").read_text()
        assert re.fullmatch(r'"""[^"]+"""\n', text), (
            f"{folder}/__init__.py is more than a docstring"
        )


def test_every_room_has_its_types_and_its_link_for_type_checkers() -> None:
    for room in ROOMS:
        assert (ROOT / room / "py.typed").is_file()
        link = ROOT / "typings" / "binas" / room
        assert link.resolve() == (ROOT / room).resolve()


def test_every_file_that_is_not_python_ships(project: dict[str, Any]) -> None:
    data = project["tool"]["setuptools"]["package-data"]
    packages = set(folders())
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*") if path.is_file()]
    for path in files:
        if path.suffix in (".py", ".pyc"):
            continue
        file = path.relative_to(ROOT)
        folder = next(parent for parent in file.parents if parent in packages)
        patterns = data["*"] + data.get(".".join(("binas", *folder.parts)), [])
        inside = file.relative_to(folder).as_posix()
        assert any(fnmatch(inside, pattern) for pattern in patterns), (
            f"{file} would be missing from a wheel"
        )


def test_every_command_and_plugin_can_be_imported(project: dict[str, Any]) -> None:
    tables = project["project"]["entry-points"].values()
    targets = {target for table in tables for target in table.values()}
    targets |= set(project["project"]["scripts"].values())
    lines = []
    for target in sorted(targets):
        module, _, name = target.partition(":")
        lines.append(f"import {module}; assert callable({module}.{name}), {target!r}")
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("binas.core.cli", "torch tvm onnx onnxruntime pydantic rich matplotlib jinja2"),
        ("binas.core.record", "torch tvm onnx onnxruntime pydantic rich"),
        ("binas.runtime.artifact", "torch tvm onnx onnxruntime pydantic matplotlib jinja2"),
        ("binas.runtime.html", "torch tvm onnx onnxruntime matplotlib"),
        ("binas.runtime.cli", "torch tvm onnx onnxruntime matplotlib"),
        ("binas.devices.cli", "torch tvm onnx onnxruntime pydantic matplotlib numpy"),
        ("binas.compile.cli", "torch tvm onnx onnxruntime"),
        ("binas.search.cli", "torch tvm onnx onnxruntime sklearn matplotlib"),
    ],
)
def test_importing_a_door_imports_nothing_heavy(room: str, forbidden: str) -> None:
    probe = f"import sys, {room}; print(*sorted(set({forbidden.split()!r}) & set(sys.modules)))"
    said = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert said.stdout.strip() == ""


def test_no_file_has_a_name_that_says_nothing_or_hides_a_standard_module() -> None:
    vague = {"utils", "helpers", "common", "base", "manager", "misc"}
    banned = vague | (set(sys.stdlib_module_names) - {"html"})  # what runtime/html.py writes
    for folder in folders():
        for path in (ROOT / folder).glob("*.py"):
            # `compile/` and `search/` are never imported bare, so `token.py` would be harmless, but
            # a reader who sees `import profile` should not have to know that.
            assert path.stem not in banned, f"{folder}/{path.name}"


def test_no_source_file_grows_past_what_can_be_read_in_one_go() -> None:
    for folder in folders():
        for path in (ROOT / folder).glob("*.py"):
            lines = len(path.read_text().splitlines())
            assert lines <= 300, f"{folder}/{path.name} has {lines} lines"


def test_rooms_use_no_pickle_and_no_eval() -> None:
    banned = re.compile(
        r"^\s*(import|from) (pickle|marshal|shelve|dill)\b|(?<![\w.])(eval|exec)\(", re.M
    )
    for folder in folders():
        for path in (ROOT / folder).glob("*.py"):
            found = banned.search(path.read_text())
            assert found is None, f"{folder}/{path.name}: {found and found.group()!r}"


def test_the_constraints_pin_everything_the_extras_name(project: dict[str, Any]) -> None:
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    for extra in ("compile", "search"):
        wanted += project["project"]["optional-dependencies"][extra]
    names = {re.split(r"[<>=!~ \[]", item)[0].lower().replace("_", "-") for item in wanted}
    assert names <= pinned, f"not pinned: {sorted(names - pinned)}"
