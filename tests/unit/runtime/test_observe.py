"""Cooling down: as long as a device gets colder, and no longer than allowed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from binas.devices.probe import Machine
from binas.runtime.observe import cool_down


@pytest.mark.parametrize(
    ("celsius", "limit_s", "waited_s"),
    [
        ([60.0, 55.0, 52.0, 51.8, 51.7], 60, 15),  # until the third step, which brings 0.2
        ([60.0, 55.0, 50.0, 45.0, 40.0], 12, 12),
        ([None] * 9, 20, 20),  # no thermometer
        ([60.0], 0, 0),
    ],
)
def test_it_waits_until_it_helps_no_more(
    celsius: list[float | None], limit_s: float, waited_s: float
) -> None:
    readings: Iterator[float | None] = iter(celsius)
    pauses: list[float] = []
    found = cool_down(lambda: Machine(temperature_c=next(readings)), limit_s, pauses.append)
    assert found == sum(pauses) == waited_s
