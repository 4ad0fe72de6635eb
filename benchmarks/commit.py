"""Which sources a benchmark ran: the git commit, so that figures of two are not mixed unseen."""

from __future__ import annotations

import subprocess
from pathlib import Path

UNKNOWN = "unknown"


def of_sources(folder: Path = Path(__file__).parent) -> str:
    """Twelve digits of the commit of a folder's checkout.

    Args:
        folder: Anywhere in it.

    Returns:
        With "+" behind it where a file that git knows was changed since; `UNKNOWN` outside git.
    """
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
