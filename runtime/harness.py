"""What the harness on a device is told, and what its answers mean (docs/architecture.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from binas.core.errors import MeasureError, UsageError
from binas.devices.link import Finished
from binas.runtime.measure import Facts, Failure, Measurement, Plan, Result, measured

CLOCK_ERROR = 1.01  # quartz is a hundred times better
MAX_THREADS = 32  # threads.h: BINAS_MAX_THREADS


def options(plan: Plan, threads: int, core: int | None, quiet_ns: float | None) -> list[str]:
    """The options of `bench time` and `bench layers`.

    Args:
        plan: How to measure.
        threads: Threads of the network.
        core: Core to stay on; None: any.
        quiet_ns: What the device's yardstick takes when it is left alone; None: not known yet.
    """
    known = {
        "--weights": "weights.bin",
        "--repeats": plan.repeats,
        "--warmup": plan.warmup,
        "--min-batch-ns": plan.min_batch_ns,
        "--max-ns": plan.max_ns,
        "--threads": threads,
    }
    if not plan.waits:
        known["--waits"] = 0
    if core is not None:
        known["--core"] = core
    if quiet_ns is not None:
        known["--quiet-ns"] = round(quiet_ns)
    return [str(part) for option in known.items() for part in option]


def answer(done: Finished) -> dict[str, Any]:
    """The JSON object that the harness printed.

    Raises:
        MeasureError: It printed something else.
    """
    try:
        found = json.loads(done.stdout)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise MeasureError(
            f"bench answered {done.stdout[:80]!r}, expected one JSON object",
            hint="make the artifact again with this version of binas",
        )
    return found


def measurement(
    found: Mapping[str, Any], plan: Plan, facts: Facts, doubts: Sequence[str]
) -> Measurement:
    """The measurement in an answer, with all doubts.

    Raises:
        MeasureError: It holds none, or times that cannot be.
    """
    try:
        return measured(
            found["samples_ns"],
            found["preemptions"],
            found["runs_per_batch"],
            plan=plan,
            facts=facts,
            doubts=doubts,
            yardsticks_ns=found.get("yardsticks_ns", ()),
            quiet_ns=found.get("quiet_ns"),
        )
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise MeasureError(
            f"bench measured nothing usable: {error}", hint="repeat with a longer --min-time"
        ) from None


def must_keep_time(found: Mapping[str, Any], passed_ns: float) -> None:
    """Check an answer's clock against ours: a call cannot have measured more time than it took.

    Args:
        found: The harness's answer.
        passed_ns: What passed here between asking and the answer.

    Raises:
        MeasureError: The device's clock jumped, or runs fast.
    """
    measured_ns = 0.0
    for entry in found.get("steps", [found]):
        try:
            measured_ns += sum(entry["samples_ns"]) * entry["runs_per_batch"]
        except (KeyError, TypeError):  # `measurement` says what is wrong with it
            continue
    if measured_ns > passed_ns * CLOCK_ERROR:
        raise MeasureError(
            f"the device's clock says that {measured_ns / 1e9:.2f} s were measured in a call of "
            f"{passed_ns / 1e9:.2f} s: it jumped, or runs fast",
            hint="measure again; binas-devices check looks at the clock, too",
        )


def layers(
    found: Mapping[str, Any],
    steps: Sequence[int],
    plan: Plan,
    facts: Facts,
    doubts: Sequence[str],
) -> list[Result]:
    """The answer of `bench layers`: one result per wanted step, a Failure where there is none."""
    by_index = {entry.get("index"): entry for entry in found.get("steps", [])}
    results: list[Result] = []
    for step in steps:
        try:
            results.append(measurement(by_index[step], plan, facts, doubts))
        except KeyError:
            results.append(Failure(kind="run", message=f"bench said nothing of step {step}"))
        except MeasureError as error:
            results.append(Failure(kind="run", message=str(error)))
    return results
