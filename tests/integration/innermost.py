"""The innermost loops of x86 assembly, where a kernel spends its time, and what they spill."""

from __future__ import annotations

import re

_LOOP = re.compile(r"^(\.LBB\w+):\n((?:(?!\.LBB).*\n)*?\tj\w+\t\1\n)", re.MULTILINE)


_SPILL = re.compile(r".*\(%rsp\).*%ymm.*|.*%ymm.*\(%rsp\)")


def innermost(code: str) -> list[str]:
    """Their lines, without the label."""
    return [body for _, body in _LOOP.findall(code)]


def spills(loop: str) -> list[str]:
    """The lines that move vectors of AVX2 to the stack, or use them from there."""
    return _SPILL.findall(loop)
