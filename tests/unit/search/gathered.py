"""Starts a script as torchrun does: several times, each knowing its number."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 250


def run(script: str, folder: Path, *, count: int) -> None:
    """Run a script with a folder as its argument in `count` processes that can find each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [_start(script, folder, rank, count, port) for rank in range(count)]
    try:
        for process in started:
            assert process.wait(timeout=TIMEOUT_S) == 0
    finally:
        for process in started:
            process.kill()
            process.wait()


def _start(script: str, folder: Path, rank: int, count: int, port: int) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-W", "error::FutureWarning", "-c", script, str(folder)]
    return subprocess.Popen(command, env=environment)
