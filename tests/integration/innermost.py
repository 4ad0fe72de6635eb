"""The loops of x86 assembly that hold no other: what a kernel spends its time in."""

from __future__ import annotations

import re

_LOOP = re.compile(r"^(\.LBB\w+):\n((?:(?!\.LBB).*\n)*?\tj\w+\t\1\n)", re.MULTILINE)


def innermost(code: str) -> list[str]:
    """Their lines, without the label."""
    return [body for _, body in _LOOP.findall(code)]
