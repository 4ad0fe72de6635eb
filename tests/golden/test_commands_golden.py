"""What programs rely on: every command's help, exit status and JSON; --snapshot-update refreshes.

The commands are those that the package installs; nothing is listed by hand.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import shutil
from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import pytest
from click.testing import CliRunner
from syrupy.assertion import SnapshotAssertion
from typing_extensions import is_typeddict

from binas.core import record
from binas.core.cli import INTERRUPTED, Command
from binas.core.errors import BinasError
from tests.fuzz import seeds

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("core", "devices", "runtime", "compile", "search")


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every installed command and all that is below it: `binas-table show` → the command."""
    for point in sorted(entry_points(group="console_scripts"), key=lambda p: p.name):
        if point.name == "binas" or point.name.startswith("binas-"):
            waiting = [(point.name, point.load())]
            while waiting:
                name, command = waiting.pop(0)
                yield name, command
                if isinstance(command, click.Group) and name != "binas":
                    context = click.Context(command)
                    for child in command.list_commands(context):
                        found = command.get_command(context, child)
                        assert found is not None
                        waiting.append((f"{name} {child}", found))


COMMANDS = dict(commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help(snapshot: SnapshotAssertion, name: str) -> None:
    done = CliRunner().invoke(COMMANDS[name], ["--help"], prog_name=name, terminal_width=80)
    assert done.exit_code == 0
    assert done.stdout == snapshot


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_gives_a_result_gives_it_as_json(name: str) -> None:
    command = COMMANDS[name]
    if not isinstance(command, click.Group):
        options = {option for parameter in command.params for option in parameter.opts}
        assert "--json" in options


def records() -> dict[str, type[Any]]:
    """Every class that has a file of its own, by its schema tag."""
    found: dict[str, type[Any]] = {}
    for room in ROOMS:
        package = importlib.import_module(f"binas.{room}")
        for info in pkgutil.walk_packages(package.__path__, f"binas.{room}."):
            module = importlib.import_module(info.name)
            for value in vars(module).values():
                tag = getattr(value, "SCHEMA", None)
                if isinstance(value, type) and is_dataclass(value) and tag:
                    assert found.setdefault(tag, value) is value, f"two classes write {tag}"
    return found


def test_every_schema(snapshot: SnapshotAssertion) -> None:
    schemas = {tag: record.json_schema(cls) for tag, cls in sorted(records().items())}
    assert json.dumps(schemas, indent=1, sort_keys=True, ensure_ascii=False) == snapshot


def forms() -> dict[str, type[Any]]:
    """The TypedDict of every answer, by its schema tag."""
    found: dict[str, type[Any]] = {}
    for room in ("devices", "runtime", "compile", "search"):
        module = importlib.import_module(f"binas.{room}.forms")
        for value in vars(module).values():
            if isinstance(value, type) and is_typeddict(value):
                schema = get_type_hints(value).get("schema")
                if schema is not None:
                    found.update(dict.fromkeys(get_args(schema), value))
    return found


def test_every_schema_of_an_answer(snapshot: SnapshotAssertion) -> None:
    schemas = {tag: record.json_schema(cls) for tag, cls in sorted(forms().items())}
    assert json.dumps(schemas, indent=1, sort_keys=True, ensure_ascii=False) == snapshot


def test_every_answer_that_a_command_gives_has_a_schema() -> None:
    tags = re.compile(r'"schema": "(binas\.[\w-]+/\d+)"')
    written = {
        tag
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        for tag in tags.findall(path.read_text())
    }
    assert written == set(forms())


@pytest.mark.parametrize(
    "words",
    [
        "binas-devices list",
        "binas-devices check host",
        "binas-doctor --no-imports",
        "binas-search list",
        "binas-search run --show-config --space digits",
        "binas-table show table.json",
        "binas-table compare table.json table.json",
        "binas-table merge table.json table.json -o both.json",
        "binas-report table.json -o report.html",
        "binas-compile example:digits -o again.binas",
        "binas-run net.binas --device host --input seven.npy --verify",
        "binas-bench net.binas --device host --layers --repeats 2 --min-time 1us",
    ],
)
def test_an_answer_is_what_its_schema_says(folder: Path, words: str) -> None:
    from pydantic import TypeAdapter

    name, *arguments = words.split()
    done = CliRunner().invoke(COMMANDS[name], [*arguments, "--json"])
    assert done.exit_code == 0, done.stderr
    answer = json.loads(done.stdout)
    form = forms()[answer["schema"]]
    record.json_schema(form)  # which forbids keys that it does not know
    TypeAdapter(form).validate_json(done.stdout, strict=True)
    with pytest.raises(ValueError, match="extra"):
        TypeAdapter(form).validate_python({**answer, "unheard-of": 1})


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of these commands, one for all of them."""
    place = tmp_path_factory.getbasetemp() / "answers"
    place.mkdir(exist_ok=True)
    (place / "table.json").write_bytes(seeds.table())
    shutil.copy(ROOT / "compile" / "examples" / "seven.npy", place)
    monkeypatch.chdir(place)
    if not (place / "net.binas").is_file():
        CliRunner().invoke(COMMANDS["binas-compile"], ["example:digits", "-o", "net.binas"])
    return place


def errors(root: type[BinasError] = BinasError) -> list[type[BinasError]]:
    """Every error, the root first."""
    return [root, *(error for child in root.__subclasses__() for error in errors(child))]


@pytest.mark.parametrize("error", errors(), ids=lambda cls: cls.__name__)
def test_the_exit_status_of_every_error(
    snapshot: SnapshotAssertion, error: type[BinasError]
) -> None:
    @click.command(cls=Command)
    def fail() -> None:
        raise error("what was found", hint="what to do")

    done = CliRunner().invoke(fail)
    assert {"status": done.exit_code, "stderr": done.stderr} == snapshot


def test_the_exit_status_of_an_interrupt() -> None:
    @click.command(cls=Command)
    def fail() -> None:
        raise KeyboardInterrupt

    assert CliRunner().invoke(fail).exit_code == INTERRUPTED == 130
