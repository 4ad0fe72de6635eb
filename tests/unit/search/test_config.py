"""Settings: units, misspelt keys, and which of flag, file and default wins."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from binas.core.errors import UsageError
from binas.search.cli import main
from binas.search.config import assignments, merged, nanoseconds, settings
from binas.search.genotype import load_space
from binas.search.recipe import RetrainSettings
from binas.search.strategy import catalogue
from binas.search.strategy.bars import BarsSettings


@pytest.mark.parametrize(
    ("text", "ns"),
    [("500us", 5e5), ("0.5 ms", 5e5), ("500000ns", 5e5), (".5ms", 5e5), ("2µs", 2e3), ("1s", 1e9)],
)
def test_a_time_carries_its_unit(text: str, ns: float) -> None:
    assert nanoseconds(text) == pytest.approx(ns)


@pytest.mark.parametrize(
    "text", ["500", "us", "-1us", "0us", "1e3us", "1 min", "", "nan us", "9" * 400 + "s"]
)
def test_a_time_without_a_unit_or_above_all_reason_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no time") as caught:
        nanoseconds(text)
    assert "500us" in caught.value.hint


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("epochs = 7\nbatch = 16\nform = 'product'\n")
    got = settings(BarsSettings, path, {"epochs": 9, "batch": None, "samples": None})
    assert got == BarsSettings(epochs=9, batch=16, form="product")
    assert settings(BarsSettings, None, {}) == BarsSettings()


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("epoch = 7", "unknown key 'epoch'", "did you mean epochs?"),
        ("epochs = ", "is not TOML", "key = value"),
        ("epochs = '7'", "epochs: Input should be a valid integer", "epochs, warmup_epochs"),
        ("epochs = 2026-01-01", "epochs: Input should be a valid integer", "epochs, warmup_epochs"),
        ("form = 'cubic'", "form: Input should be 'hinge'", ""),
        ("epochs = 3", "warmup_epochs is 3, expected 0 to 2", "warm up for fewer"),
        ("batch = 0", "must be above 0", "--help"),
        ("weight_rate = nan", "weight_rate is nan, expected a number", "--help"),
        ("weight_rate = 0.0", "must be above 0", "--help"),
        ("strength = -1.0", "must be 0 or more", "--help"),
        ("last_temperature = 9.0", "temperatures fall from 3.0 to 9.0", "--help"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(
    tmp_path: Path, text: str, says: str, hint: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        settings(BarsSettings, path, {})
    assert says in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "values", [{"epochs": 0}, {"batch": 0}, {"rate": 0.0}, {"rate": float("nan")}]
)
def test_training_needs_epochs_images_and_a_rate(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must be above 0"):
        RetrainSettings(**values)
    with pytest.raises(UsageError, match="smoothing is 1"):
        RetrainSettings(smoothing=1.0)


def test_every_setting_says_where_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("epochs = 7\nbatch = 16\n")
    got, origins = merged(RetrainSettings, path, {"batch": 8, "rate": None})
    assert (got.epochs, got.batch, got.rate) == (7, 8, 1e-2)
    assert (origins["epochs"], origins["batch"], origins["rate"]) == (
        "mine.toml",
        "command line",
        "default",
    )
    assert origins.keys() == {field.name for field in fields(RetrainSettings)}


def test_assignments_are_numbers_switches_or_text() -> None:
    got = assignments(["epochs=3", "rate=1e-3", "flip=true", "optimiser=sgd", "optimiser='adam'"])
    assert got == {"epochs": 3, "rate": 1e-3, "flip": True, "optimiser": "adam"}
    for text in ("epochs", "=3"):
        with pytest.raises(UsageError, match="no KEY=VALUE"):
            assignments([text])


def test_a_setting_that_another_strategy_has_is_refused_here() -> None:
    with pytest.raises(UsageError, match="unknown setting 'warmup_epochs'") as caught:
        merged(RetrainSettings, None, {"warmup_epochs": 3})
    assert "epochs" in caught.value.hint


@pytest.mark.parametrize("words", [["run"], ["retrain", "nothing.json"]], ids=" ".join)
def test_settings_are_shown_without_a_folder_but_nothing_is_trained_without_one(
    words: list[str],
) -> None:
    shown = CliRunner().invoke(main, [*words, "--show-config", "--set", "epochs=7"])
    assert shown.exit_code == 0, shown.output
    assert "epochs = 7" in shown.stdout
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 2
    assert "Missing option '-o' / '--output'" in refused.stderr


PRESETS = [(one.name, preset) for one in catalogue.STRATEGIES for preset in one.presets]


@pytest.mark.parametrize(("strategy", "preset"), PRESETS, ids=["-".join(pair) for pair in PRESETS])
def test_a_search_can_begin_with_settings_as_published(strategy: str, preset: str) -> None:
    words = ["run", "--strategy", strategy, "--preset", preset, "--set", "clip=7"]
    done = CliRunner().invoke(main, [*words, "--show-config", "--json"])
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    meant = replace(catalogue.find(strategy).preset(preset), clip=7.0)
    assert shown["settings"] == asdict(meant)
    assert shown["origins"]["optimiser"] == f"preset {preset}"
    assert shown["origins"]["clip"] == "command line"
    assert shown["origins"]["collapse"] == "default"


def test_a_preset_that_a_strategy_lacks_is_refused_with_those_it_has() -> None:
    for strategy, known in (("bnas-v2", "published-pc"), ("uniform", "it has none")):
        words = ["run", "--strategy", strategy, "--preset", "publisht", "--show-config"]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 2
        assert f"unknown preset 'publisht' of {strategy}" in done.output
        assert known in done.output


@pytest.mark.parametrize("name", sorted(main.commands))
def test_the_strategies_and_spaces_of_a_commands_examples_exist(name: str) -> None:
    text = CliRunner().invoke(main, [name, "--help"]).output
    for strategy in re.findall(r"binas-search .*?--strategy (\S+)", text):
        assert catalogue.find(strategy)
    for space in re.findall(r"binas-search .*?--space (\S+)", text):
        assert load_space(space)
