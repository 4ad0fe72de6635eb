"""The commit that a benchmark's file names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import commit


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository of one committed file."""
    (tmp_path / "a.py").write_text("1\n")
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    for step in (("init", "-q"), ("add", "a.py"), (*who, "commit", "-q", "-m", "One")):
        subprocess.run(["git", "-C", str(tmp_path), *step], check=True)
    return tmp_path


def test_a_changed_tree_is_marked(checkout: Path) -> None:
    clean = commit.of_sources(checkout)
    assert len(clean) == 12
    (checkout / "a.py").write_text("2\n")
    assert commit.of_sources(checkout) == f"{clean}+"


def test_files_that_git_does_not_know_are_no_change(checkout: Path) -> None:
    (checkout / "report.json").write_text("{}")
    assert not commit.of_sources(checkout).endswith("+")


def test_outside_git_it_is_unknown(tmp_path: Path) -> None:
    assert commit.of_sources(tmp_path) == commit.UNKNOWN


def test_without_git_it_is_unknown(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert commit.of_sources(checkout) == commit.UNKNOWN
