"""`binas-search compare` as it is typed: what one search cannot do is no loss of the others."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from binas.core import record
from binas.core.errors import SearchError
from binas.search.cli import main as search_command
from binas.search.compare import Comparison
from binas.search.strategy import catalogue
from tests.integration.typed import SPACE, asked, begun, call, must_refuse


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space and images."""
    return begun(tmp_path_factory.mktemp("comparisons"))


@pytest.fixture
def strategies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three with schedules of two passes, of which the second collapses with every seed but 1."""
    short = {
        "uniform": {"nets": 2, "epochs": 1, "batch": 16},
        "bnas": {},
        "darts": {"epochs": 2, "batch": 16},
    }
    shortened = {
        name: replace(
            strategy,
            settings=partial(strategy.settings, **short[name]),  # type: ignore[arg-type]
        )
        for strategy in catalogue.STRATEGIES
        if (name := strategy.name) in short
    }

    def collapses(*given: Any, seed: int, **others: Any) -> Any:
        if seed != 1:
            raise SearchError("training collapsed in epoch 3: it did", hint="give another --seed")
        return shortened["uniform"].search(given[0], given[1], short_of("uniform"), seed=seed)

    def short_of(name: str) -> Any:
        return shortened[name].settings()

    shortened["bnas"] = replace(
        shortened["bnas"],
        search=collapses,  # type: ignore[arg-type]
        settings=shortened["uniform"].settings,
    )
    monkeypatch.setattr(catalogue, "STRATEGIES", tuple(shortened[name] for name in short))


def test_a_search_that_collapses_is_listed_and_the_others_are_done(
    home: Path, tmp_path: Path, strategies: None
) -> None:
    compare = ["compare", *asked(home), "--epochs", 2, "-o", tmp_path / "both"]
    done = call(search_command, *compare, "--seeds", 2, "--json")
    assert done.exit_code == 0, done.output
    assert "bnas, seed 0: training collapsed in epoch 3: it did" in done.stderr
    found = json.loads(done.stdout)
    assert [(e["strategy"], e["seed"]) for e in found["entries"]] == [
        *(("uniform", 0), ("uniform", 1), ("bnas", 1), ("darts", 0), ("darts", 1))
    ]
    why = "training collapsed in epoch 3: it did"
    assert found["failures"] == [{"strategy": "bnas", "seed": 0, "stage": "search", "reason": why}]
    kept = record.load(Comparison, tmp_path / "both" / "compare.json")
    assert record.to_dict(kept) == found
    page = (tmp_path / "both" / "compare.html").read_text()
    assert why in page
    assert "bnas (1 of 2 seeds)" in page

    again = call(search_command, *compare, "--seeds", 2)
    assert again.stderr.count("is finished: reused") == 10
    rows = [row.split() for row in again.stdout.splitlines()]
    assert [row[0] for row in rows[:3]] == ["uniform", "bnas", "darts"]
    assert rows[1][:5] == ["bnas", "(1", "of", "2", "seeds)"]
    assert " ".join(rows[3]) == f"bnas seed 0: no network, the search failed: {why}"


def test_a_strategy_that_cannot_search_the_space_is_named_before_any_has_begun(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "six.toml").write_text(SPACE.replace("channels = 8", "channels = 6"))
    compare = ["compare", "--space", tmp_path / "six.toml", "--data", home / "images.npz"]
    refused = call(search_command, *compare, "-o", tmp_path / "all")
    says = "pc-darts: partial is 4: 6 channels of a node do not divide into 4 parts"
    must_refuse(refused, 2, says, "a multiple of 4; or name the others with --strategy")
    assert not (tmp_path / "all").exists()
    few = call(search_command, *compare, "--images", 1, "-o", tmp_path / "all")
    must_refuse(few, 2, "bars: a budget of 1 images", "--strategy")


def test_where_no_search_gives_a_network_the_reasons_are_kept_and_said(
    home: Path, tmp_path: Path, strategies: None
) -> None:
    compare = ["compare", *asked(home), "--strategy", "bnas", "--seeds", 1, "-o", tmp_path / "one"]
    done = call(search_command, *compare)
    assert done.exit_code == 3
    said = done.stderr.splitlines()
    assert said[-2] == (
        "Error: none of the 1 searches gave a trained network; bnas, seed 0: training collapsed in "
        "epoch 3: it did"
    )
    assert str(tmp_path / "one" / "compare.json") in said[-1]
    assert done.stdout == ""
    kept = record.load(Comparison, tmp_path / "one" / "compare.json")
    assert kept.entries == ()
    assert [failed.strategy for failed in kept.failures] == ["bnas"]


def test_a_training_that_cannot_go_on_is_listed_as_that(
    home: Path, tmp_path: Path, strategies: None
) -> None:
    compare = ["compare", *asked(home), "--strategy", "uniform", "--seeds", 1]
    done = call(search_command, *compare, "--set", "rate=1e30", "-o", tmp_path / "hot")
    assert done.exit_code == 3
    kept = record.load(Comparison, tmp_path / "hot" / "compare.json")
    assert [failed.stage for failed in kept.failures] == ["retrain"]
