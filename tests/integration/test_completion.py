"""Completion as the shells do it: each is started, given click's script, and asked."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "dumb", "PS1": "> "}


def test_bash_completes_commands_and_options(needs: Callable[[str], str]) -> None:
    script = """
    eval "$(_BINAS_COMPLETE=bash_source binas)"
    complete -p binas
    ask() {
      COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
      _binas_completion binas; echo "${COMPREPLY[@]}"
    }
    ask binas ta
    ask binas table sh
    ask binas run --ver
    """
    done = subprocess.run(
        [needs("bash"), "--norc", "-c", script],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert "_binas_completion binas" in lines[0]
    assert lines[1] == "table"
    assert lines[2] == "show"
    assert set(lines[3].split()) == {"--version", "--verify"}


def test_fish_completes_commands_and_options(needs: Callable[[str], str]) -> None:
    script = """
    _BINAS_COMPLETE=fish_source binas | source
    complete --do-complete 'binas ta'
    complete --do-complete 'binas table sh'
    """
    done = subprocess.run(
        [needs("fish"), "--no-config", "-c", script],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    words = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert words == ["table", "show"], done.stderr


def test_zsh_completes_a_command_at_the_tab_key(needs: Callable[[str], str]) -> None:
    """zsh completes only where somebody types, so somebody does, at a terminal of his own."""
    program = needs("zsh")
    child, terminal = pty.fork()
    if child == 0:
        os.execve(program, ["zsh", "-f", "-i"], ENVIRONMENT)
    try:
        read_until(terminal, b"> ")
        os.write(terminal, b"autoload -U compinit; compinit -u -D; echo pre''pared\n")
        read_until(terminal, b"prepared")
        os.write(terminal, b'eval "$(_BINAS_COMPLETE=zsh_source binas)"\n')
        os.write(terminal, b"echo re''ady\n")
        read_until(terminal, b"ready")
        os.write(terminal, b"binas ta\t")
        assert b"binas table" in read_until(terminal, b"binas table")
    finally:
        os.write(terminal, b"\x03exit\n")
        os.close(terminal)
        os.waitpid(child, 0)


def read_until(terminal: int, wanted: bytes, patience_s: float = 60) -> bytes:
    """What a terminal says until it has said that."""
    said, end = b"", time.monotonic() + patience_s
    while wanted not in said:
        left = end - time.monotonic()
        assert left > 0, f"{wanted!r} did not come: {said[-500:]!r}"
        if select.select([terminal], [], [], left)[0]:
            said += os.read(terminal, 4096)
    return said
