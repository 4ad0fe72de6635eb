"""The sixteen checks of the search algorithms: each has tests, and a row in `docs/fidelity.md`.

A test says which check it belongs to with `@pytest.mark.paper_check(number=7)`, and
`pytest -m "paper_check(number=7)"` runs those of one.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from binas.search.cli import main
from binas.search.genotype import load_space

ROOT = Path(__file__).resolve().parents[3]
FIDELITY = (ROOT / "docs" / "fidelity.md").read_text()
NUMBERS = list(range(1, 17))


def marked() -> Iterator[tuple[int, str]]:
    """(number, name) of every test that carries the mark, read from the sources."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for test in ast.walk(ast.parse(path.read_text())):
            if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
                for decorator in test.decorator_list:
                    text = ast.unparse(decorator)
                    if found := re.fullmatch(r"pytest\.mark\.paper_check\(number=(\d+)\)", text):
                        yield int(found[1]), test.name


def test_every_check_has_a_test_and_no_test_claims_another() -> None:
    assert sorted({number for number, _ in marked()}) == NUMBERS


def test_the_page_lists_every_check_with_the_command_that_runs_it() -> None:
    rows = re.findall(r"^\| (\d+) \|.*\| `pytest (.+?)` \|$", FIDELITY, re.MULTILINE)
    assert rows == [(str(number), f'-m "paper_check(number={number})"') for number in NUMBERS]


COMMANDS = list(dict.fromkeys(re.findall(r"`binas-search (.+? -o .+?)`", FIDELITY)))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_page_is_one_that_is_understood(command: str) -> None:
    words = shlex.split(command)
    if "--space" in words:
        assert load_space(words[words.index("--space") + 1])
    done = CliRunner().invoke(main, [*words, "--show-config"])
    assert done.exit_code == 0, done.output
    assert "command line" in done.stdout or "--set" not in command
    assert "preset published" in done.stdout or "--preset" not in command


@pytest.mark.parametrize("command", re.findall(r"`python -m (benchmarks\.\w+ .+?)`", FIDELITY))
def test_every_benchmark_of_the_page_takes_the_options_that_it_is_given(command: str) -> None:
    name, *words = shlex.split(command)
    package = importlib.util.find_spec(name)
    assert package is not None
    module = f"{name}.__main__" if package.submodule_search_locations else name
    main = importlib.import_module(module).main
    assert main.make_context(name, words).params
