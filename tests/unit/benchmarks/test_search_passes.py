"""A step of a search runs as many passes as the benchmark times beside it."""

from __future__ import annotations

import pytest
import torch

from benchmarks.search_passes import LAST, PASSES, passes_of, task_of


@pytest.mark.parametrize("name", PASSES)
def test_a_step_runs_the_networks_as_often_as_its_passes(
    name: str,
) -> None:
    task = task_of(name, 8, 4, 3, 2)
    calls: list[str] = []

    def count(net: str, out: torch.Tensor) -> torch.Tensor:
        calls.append(net)
        return out

    for net, module in task.nets.items():
        module.register_forward_hook(lambda _m, _x, out, net=net: count(net, out))
    task.train(LAST)
    step, calls[:] = sorted(calls), []
    passes_of(name, task)()
    assert step == sorted(calls)
    assert len(step) == len(PASSES[name])
