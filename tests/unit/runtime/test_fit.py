"""A fit read from a file is over networks that take time."""

from __future__ import annotations

import pytest

from binas.core.errors import UsageError
from binas.runtime.fit import Fit, Pair


@pytest.mark.parametrize("measured_ns", [0.0, -1.0, 5e-324, float("nan")])
def test_a_network_takes_time(measured_ns: float) -> None:
    with pytest.raises(UsageError, match="network a took"):
        Pair(name="a", predicted_ns=9.0, measured_ns=measured_ns)


@pytest.mark.parametrize("count", [0, 2])
def test_a_fit_without_a_mean_error_is_refused(count: int) -> None:
    huge = Pair(name="a", predicted_ns=1.5e308, measured_ns=1.0)
    with pytest.raises(UsageError, match=f"over {count} networks has no mean error"):
        Fit(spearman=0.0, median_abs_relative_error=0.0, worst=0.0, pairs=(huge,) * count)
