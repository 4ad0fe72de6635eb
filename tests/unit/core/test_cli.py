"""The shared parts of the commands: streams apart, codes by kind, nothing heavy imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from binas.core import cli, errors

BIN = Path(sys.executable).parent


def command(error: BaseException | None = None) -> click.Command:
    """A command that prints a result, says something, and may fail."""

    @click.command(cls=cli.Command)
    def run() -> None:
        """Do it."""
        cli.say("on the way")
        if error is not None:
            raise error
        cli.emit({"schema": "binas.test/1", "b": 1, "a": [1.5]})

    return run


def test_the_result_goes_to_stdout_and_all_else_to_stderr() -> None:
    result = CliRunner().invoke(command())
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"schema": "binas.test/1", "a": [1.5], "b": 1}
    assert result.stderr == "on the way\n"


@pytest.mark.parametrize(
    "cls",
    [
        errors.BinasError,
        errors.UsageError,
        errors.SearchError,
        errors.CompileError,
        errors.UnsupportedOpError,
        errors.DeviceError,
        errors.TransportError,
        errors.MeasureError,
        errors.WrongAnswerError,
    ],
)
def test_an_error_is_a_sentence_a_hint_and_a_code(cls: type[errors.BinasError]) -> None:
    result = CliRunner().invoke(command(cls("what was found", hint="the way out")))
    assert result.exit_code == cls.exit_code
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "on the way",
        "Error: what was found",
        "Hint: the way out",
    ]


def test_an_error_without_a_hint_prints_none() -> None:
    assert "Hint" not in CliRunner().invoke(command(errors.SearchError("alone"))).stderr


def test_an_interrupt_ends_with_the_shells_code_and_says_how_to_go_on() -> None:
    result = CliRunner().invoke(command(KeyboardInterrupt()))
    assert result.exit_code == 130
    assert "same command goes on" in result.stderr


def test_a_real_interrupt_ends_a_real_process_with_130(tmp_path: Path) -> None:
    script = tmp_path / "wait.py"
    script.write_text(
        "import sys, time, click\nfrom binas.core import cli\n"
        "@click.command(cls=cli.Command)\n"
        "def run():\n    cli.say('ready')\n    time.sleep(60)\n"
        "run()\n"
    )
    process = subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=20) == 130
    said = process.stderr.read()
    assert "Traceback" not in said
    assert "same command goes on" in said


def test_a_closed_pipe_is_not_an_error() -> None:
    assert CliRunner().invoke(command(BrokenPipeError())).exit_code == 0


def test_a_bug_shows_itself_as_what_it_is() -> None:
    result = CliRunner().invoke(command(ZeroDivisionError("bug")))
    assert isinstance(result.exception, ZeroDivisionError)


def test_a_record_without_a_schema_is_never_printed() -> None:
    with pytest.raises(ValueError, match="schema"):
        cli.emit({"a": 1})


def test_a_number_that_json_does_not_know_is_never_printed() -> None:
    with pytest.raises(ValueError, match="JSON"):
        cli.emit({"schema": "binas.test/1", "a": float("nan")})


def test_a_group_gives_its_commands_the_same_manners() -> None:
    @click.group(cls=cli.Group)
    def group() -> None:
        """Several."""

    @group.command()
    def fail() -> None:
        """Fail."""
        raise errors.DeviceError("gone", hint="plug it in")

    result = CliRunner().invoke(group, ["fail"])
    assert result.exit_code == 5
    assert "Hint: plug it in" in result.stderr


def test_progress_is_silent_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    with cli.progress() as bar:
        bar.advance(bar.add_task("search", total=1))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_the_group_lists_every_command_without_importing_its_room() -> None:
    probe = (
        "import sys\nfrom click.testing import CliRunner\nfrom binas.core.cli import main\n"
        "result = CliRunner().invoke(main, ['--help'])\n"
        "assert result.exit_code == 0, result.output\n"
        "print(result.output)\n"
        "heavy = {'torch', 'tvm', 'onnx', 'numpy', 'pydantic', 'rich', 'matplotlib'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    ).stdout
    for name in ("bench", "compile", "devices", "run", "search", "table"):
        assert f"\n  {name} " in said
    assert "heavy: []" in said


def test_an_unknown_command_of_the_group_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli.main, ["serach"])
    assert result.exit_code == 2
    assert "No such command" in result.stderr


def test_the_version_is_the_packages() -> None:
    from importlib.metadata import version

    said = subprocess.run([BIN / "binas", "--version"], capture_output=True, text=True, check=True)
    assert version("binas") in said.stdout
