"""A fit read from a file is over networks that take time."""

from __future__ import annotations

import pytest

from binas.core.errors import UsageError
from binas.runtime.fit import Fit, Pair


@pytest.mark.parametrize("measured_ns", [0.0, -1.0, float("nan")])
def test_a_network_takes_time(measured_ns: float) -> None:
    with pytest.raises(UsageError, match="network a took"):
        Pair(name="a", predicted_ns=9.0, measured_ns=measured_ns)


def test_a_fit_over_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="names none"):
        Fit(spearman=0.0, median_abs_relative_error=0.0, worst=0.0, pairs=())
