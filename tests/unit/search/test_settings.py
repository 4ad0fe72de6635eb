"""Settings of searches: no number that is none, no mixture of variants that calls itself one."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from click.testing import CliRunner

from binas.core.errors import UsageError
from binas.search.cli import main
from binas.search.strategy import bnas_v2, catalogue
from binas.search.strategy.bnas_v2 import PC, PUBLISHED, PUBLISHED_PC, BnasV2Settings

FLOATS = [
    (strategy.name, field.name)
    for strategy in catalogue.STRATEGIES
    for field in fields(strategy.settings)
    if isinstance(field.default, float)
]


@pytest.mark.parametrize(("strategy", "name"), FLOATS, ids=["-".join(pair) for pair in FLOATS])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_setting_that_is_no_number_is_refused_by_name(
    strategy: str, name: str, value: str
) -> None:
    given: dict[str, Any] = {name: float(value)}
    with pytest.raises(UsageError, match=rf"^{name} is {value}, expected a number") as caught:
        catalogue.find(strategy).settings(**given)
    assert caught.value.hint


def test_there_are_such_settings() -> None:
    assert {("bnas-v2", "power"), ("cp-nas", "beta"), ("bnas", "temperature")} <= set(FLOATS)


def test_the_confidence_has_a_power_of_0_or_more() -> None:
    with pytest.raises(UsageError, match=r"power is -5\.0, expected 0 or more"):
        BnasV2Settings(power=-5.0)
    assert bnas_v2.confidence(0, 50, BnasV2Settings(power=0.0).power) == 1


@pytest.mark.parametrize(
    ("given", "says", "way"),
    [
        ({"variant": "pc"}, "variant pc .* edge_normalisation is false", "published-pc"),
        ({"variant": "pc", "partial": 4}, "edge_normalisation is false", "edge_normalisation=true"),
        ({"partial": 4}, "variant clr .* partial is 4", "partial=1"),
        ({"edge_normalisation": True}, "variant clr .* edge_normalisation is true", "variant=pc"),
    ],
)
def test_no_mixture_of_both_variants_calls_itself_one_of_them(
    given: dict[str, Any], says: str, way: str
) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        BnasV2Settings(**given)
    assert way in caught.value.hint


def test_each_variant_is_whole_and_edges_alone_can_be_compared_with_parts() -> None:
    for whole in (BnasV2Settings(), PC, PUBLISHED, PUBLISHED_PC):
        assert (whole.variant == "pc") is whole.edge_normalisation is (whole.partial == 4)
    assert replace(PC, partial=1).edge_normalisation


def test_a_variant_typed_alone_is_refused_and_its_preset_is_not() -> None:
    words = ["run", "--strategy", "bnas-v2", "--show-config"]
    refused = CliRunner().invoke(main, [*words, "--set", "variant=pc"])
    assert refused.exit_code == 2
    assert "--preset published-pc" in refused.stderr
    whole = ["--set", "variant=pc", "--set", "partial=4", "--set", "edge_normalisation=true"]
    for typed in (["--preset", "published-pc"], whole):
        shown = CliRunner().invoke(main, [*words, *typed])
        assert shown.exit_code == 0, shown.output
