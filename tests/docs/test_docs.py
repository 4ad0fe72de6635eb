"""Every code block of the documentation, run: pages top to bottom, each in a folder of its own.

Fenced blocks are what their language says; indented blocks are lines of a shell, run where they
start with `$ `. A fence of Python is a program; of C, `main.c` of its page; of TOML, read.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    *("install", "tour", "raspberry-pi", "own-data", "own-space", "own-kernel"),
    *("c-interface", "formats", "measuring", "tuning", "errors"),
)


@dataclass(frozen=True)
class Block:
    """A block of code: its language ("" for a shell), and its text."""

    language: str
    text: str


def blocks(page: str) -> Iterator[Block]:
    """Fenced blocks, and runs of indented lines outside of them."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    for fence, language, body, indented in re.findall(
        r"^(```)(\w+)\n(.*?)^```$|((?:^ {4}[^\n]*\n)+)", text, re.M | re.S
    ):
        yield Block(language if fence else "", body if fence else indented)


def run(folder: Path, *words: str) -> None:
    """A program that must succeed, with this installation's commands."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "PATH": path, "PWD": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, f"{words[-1]}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_runs(page: str, tmp_path: Path) -> None:
    found = list(blocks(page))
    for block in found:  # files first: a page shows the command before the file it compiles
        if block.language == "c":
            (tmp_path / "main.c").write_text(block.text)
    shell = [
        line[6:]
        for b in found
        if not b.language
        for line in b.text.splitlines()
        if line[4:6] == "$ "
    ]
    if shell:
        run(tmp_path, "bash", "-euc", "\n".join(shell))
    for block in found:
        if block.language == "python":
            run(tmp_path, sys.executable, "-c", block.text)
        elif block.language == "toml":
            assert tomllib.loads(block.text)


# Boards that a reader has and we do not; and a page for those who change binas.
NOT_RUN = {"architecture", "boards"}


def test_every_page_is_tested_and_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in PAGES:
        assert f"{page}.md" in navigation
    written = set(re.findall(r": (\S+)\.md$", navigation, re.M))
    assert written - set(PAGES) == NOT_RUN


def test_only_known_languages_stand_in_the_pages() -> None:
    known = {
        "",
        "python",
        "c",
        "toml",
        "cmake",
    }  # cmake: the lines of examples/native/CMakeLists.txt
    assert {block.language for page in PAGES for block in blocks(page)} <= known


def test_the_shown_cmake_is_that_of_the_example() -> None:
    (shown,) = [b.text for b in blocks("c-interface") if b.language == "cmake"]
    example = (ROOT / "examples" / "native" / "binas.cmake").read_text()
    for line in shown.splitlines():
        assert f"#   {line}" in example


def test_every_error_and_status_is_documented() -> None:
    from binas.core import errors

    page = (ROOT / "docs" / "errors.md").read_text()
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.BinasError):
            assert f"| {value.exit_code} | `{name}` |" in page
    header = (ROOT / "runtime" / "native" / "model.h").read_text()
    for status in re.findall(r"^    (BINAS_\w+) = \d", header, re.M):
        assert f"| `{status}` |" in (ROOT / "docs" / "c-interface.md").read_text()
