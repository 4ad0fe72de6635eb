"""Names from strangers' files end on somebody's terminal: what must not be among their letters."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_NAME_CHARACTERS = 1024  # nobody reads that far, and a zip archive ends at 65535 bytes

# A terminal takes these for orders: it would clear itself, or write over what it has shown.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def unfit_name(names: Iterable[str], longest: int = MAX_NAME_CHARACTERS) -> str | None:
    """The first name that is no single line of text, or too long; None where all are fit."""
    return next((n for n in names if len(n) > longest or _CONTROL.search(n) is not None), None)
