"""Stages: done once, gone on with after an interrupt, side by side, failing in an orderly way."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from binas.core.errors import CompileError, DamagedError, UnwritableError, UsageError
from examples.demo import cache
from examples.demo.crew import Crew, Job
from tests.unit.demo import jobs


def job(root: Path, name: str, work: object, **arguments: object) -> Job:
    """A job whose arguments are its inputs."""
    place = cache.stage(root, name, {key: str(value) for key, value in arguments.items()})
    return Job(place, work, arguments)  # type: ignore[arg-type]


def test_a_stage_is_done_once_and_then_reused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Crew() as crew:
        first = crew.alone(job(tmp_path, "count", jobs.count, to=3))
        second = crew.alone(job(tmp_path, "count", jobs.count, to=3))
    assert first == second
    assert first.summary == "counted from 0 to 3"
    said = capsys.readouterr()
    assert said.out == ""
    assert "reused: counted from 0 to 3" in said.err


def test_another_input_is_another_stage(tmp_path: Path) -> None:
    with Crew() as crew:
        assert crew.alone(job(tmp_path, "count", jobs.count, to=3)).summary.endswith("to 3")
        assert crew.alone(job(tmp_path, "count", jobs.count, to=4)).summary.endswith("to 4")


def test_another_version_of_the_code_is_another_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cache.stage(tmp_path, "search", {}, "core")
    assert before == cache.stage(tmp_path, "search", {}, "core")
    monkeypatch.setattr(cache, "code_digest", lambda room: "edited")
    assert cache.stage(tmp_path, "search", {}, "core").digest != before.digest


def test_the_digest_of_the_code_sees_every_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "ROOT", tmp_path)
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "a.py").write_text("a = 1\n")
    before = cache.code_digest("room")
    (tmp_path / "room" / "a.py").write_text("a = 2\n")
    assert cache.code_digest("room") != before


def test_an_interrupted_stage_goes_on_where_it_stopped(tmp_path: Path) -> None:
    stopped = job(tmp_path, "count", jobs.stop_at, to=5, at=2)
    with Crew() as crew:
        with pytest.raises(KeyboardInterrupt):
            crew.alone(stopped)
        assert stopped.stage.done is None
        assert crew.alone(stopped).summary == "counted from 2 to 5"


@pytest.mark.parametrize("what", ["changed", "missing", "done.json"])
def test_a_damaged_stage_is_not_reused_and_says_what_to_delete(tmp_path: Path, what: str) -> None:
    with Crew() as crew:
        counted = job(tmp_path, "count", jobs.count, to=3)
        crew.alone(counted)
        folder = counted.stage.folder
        if what == "changed":
            (folder / "count").write_text("7")
            said = "count was changed"
        elif what == "missing":
            (folder / "count").unlink()
            said = "count is missing"
        else:
            (folder / "done.json").write_text("{")
            said = "done.json is not JSON"
        for again in (crew.alone, lambda late: crew.together([late])):
            with pytest.raises(DamagedError, match=said) as caught:
                again(job(tmp_path, "count", jobs.count, to=3))
            assert "the stage 'count'" in str(caught.value)
            assert caught.value.hint.startswith(f"rm -r {folder}, then")
        shutil.rmtree(folder)  # as the hint says
        assert crew.alone(job(tmp_path, "count", jobs.count, to=3)).summary.endswith("to 3")


def test_a_stage_that_cannot_go_on_with_what_it_finds_says_what_to_delete(tmp_path: Path) -> None:
    with Crew() as crew:
        refused = job(tmp_path, "load", jobs.refuse)
        with pytest.raises(UsageError, match="the checkpoint is damaged") as caught:
            crew.alone(refused)  # nothing was there before: it is no fault of the folder
        assert caught.value.hint == "give --force to start over"
        with pytest.raises(DamagedError, match="interrupted, and the checkpoint") as caught:
            crew.alone(refused)
    assert caught.value.hint.startswith(f"rm -r {refused.stage.folder}, then")


def test_a_full_disk_is_no_fault_of_what_an_interrupted_stage_left(tmp_path: Path) -> None:
    with Crew() as crew:
        filling = job(tmp_path, "fill", jobs.fill)
        for again in (crew.alone, crew.alone, lambda late: crew.together([late])):
            with pytest.raises(UnwritableError, match="No space left on device") as caught:
                again(filling)
            assert "of no use" not in str(caught.value)
            assert caught.value.hint == "free space or give another -o"
    assert (filling.stage.folder / "checkpoint").read_text() == "good"


def test_chains_run_at_the_same_time(tmp_path: Path) -> None:
    places = [tmp_path / "a-x" / "here", tmp_path / "b-x" / "here"]
    first = cache.Stage("a", places[0].parent, "x")
    second = cache.Stage("b", places[1].parent, "x")
    with Crew() as crew:
        crew.together(
            [Job(first, jobs.meet, {"other": places[1]})],
            [Job(second, jobs.meet, {"other": places[0]})],
        )
    assert first.done is not None
    assert second.done is not None


def test_the_jobs_of_a_chain_run_in_order(tmp_path: Path) -> None:
    chain = [job(tmp_path, name, jobs.count, to=2) for name in ("one", "two")]
    with Crew() as crew:
        crew.together(chain)
    marks = [(one.stage.folder / "done.json").stat().st_mtime_ns for one in chain]
    assert marks == sorted(marks)


def test_an_error_of_ours_crosses_the_border_between_processes_with_its_hint(
    tmp_path: Path,
) -> None:
    with Crew() as crew, pytest.raises(CompileError, match="no kernel") as caught:
        crew.together([job(tmp_path, "fail", jobs.fail, hint="the way out")])
    assert caught.value.hint == "the way out"
    assert caught.value.exit_code == 4


def test_a_bug_in_a_job_arrives_with_its_own_trace(tmp_path: Path) -> None:
    with Crew() as crew, pytest.raises(ZeroDivisionError) as caught:
        crew.together([job(tmp_path, "stumble", jobs.stumble)])
    assert "in stumble" in "".join(caught.value.__notes__)


def test_one_failure_stops_the_others_at_once(tmp_path: Path) -> None:
    sleeper = job(tmp_path, "sleep", jobs.sleep_long)
    here = sleeper.stage.folder / "here"
    began = time.monotonic()
    with Crew() as crew, pytest.raises(CompileError, match="stop everything"):
        crew.together([sleeper], [job(tmp_path, "stop", jobs.sleep_by, started=here)])
    assert time.monotonic() - began < 40
    assert sleeper.stage.done is None
