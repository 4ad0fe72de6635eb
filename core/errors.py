"""Every error that binas raises on purpose.

BinasError                what went wrong, and a hint: what to do next      exit 1
├── UsageError            the request is wrong: option, config, file        exit 2
│   ├── DamagedError          a file is not what it says it is
│   └── UnwritableError       a file cannot be written: the disk is full, the folder is closed
├── SearchError           a search space or a training run                  exit 3
├── CompileError          model to artifact                                 exit 4
│   └── UnsupportedOpError    an operator we have no kernel for
├── DeviceError           a board: absent, busy, out of reach               exit 5
│   ├── BusyError             somebody else has the board to himself
│   └── TransportError        the link broke; trying again may help
│       └── TimedOutError         a program did not end in time and was ended
└── MeasureError          a run that gave no number worth keeping           exit 6
    ├── WrongAnswerError      output differs from the reference
    └── UnstableError         spread above the plan's limit

A bug in binas is never a BinasError: it surfaces as the plain Python exception.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar

MAX_LETTERS = 2000  # a screen; what a stranger's file holds can be longer


class BinasError(Exception):
    """Base class: one sentence on the cause, one on the way out.

    Args:
        message: What was found, what was expected, and where.
        hint: What the user can do next; a command where there is one. May be empty.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        """Keep both parts, so that the command line can print them apart."""
        super().__init__(shorten(message))
        self.hint = shorten(hint)


def shorten(text: str) -> str:
    """At most a screen of it."""
    return text if len(text) <= MAX_LETTERS else text[: MAX_LETTERS - 1] + "…"


class UsageError(BinasError):
    """The request itself is wrong."""

    exit_code = 2


class DamagedError(UsageError):
    """A file is not what it says it is."""


class UnwritableError(UsageError):
    """A file cannot be written: the disk is full, or the folder is not ours."""


class SearchError(BinasError):
    """A search space or a training run cannot go on."""

    exit_code = 3


class CompileError(BinasError):
    """A model could not become an artifact."""

    exit_code = 4


class UnsupportedOpError(CompileError):
    """The model holds an operator that binas has no kernel for."""


class DeviceError(BinasError):
    """A board is absent, busy, or not what it was said to be."""

    exit_code = 5


class BusyError(DeviceError):
    """Somebody else has the board to himself; waiting helps."""


class TransportError(DeviceError):
    """The link to a board broke; trying again may help."""


class TimedOutError(TransportError):
    """A program on the device did not end in time; the link has ended it."""


class MeasureError(BinasError):
    """A run gave no number worth keeping."""

    exit_code = 6


class WrongAnswerError(MeasureError):
    """A result differs from the reference."""


class UnstableError(MeasureError):
    """The spread of a measurement is above the limit of its plan."""


def unknown_name(what: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not in a list, with the nearest names that are.

    Example:
        >>> error = unknown_name("device", "rip4", ["host", "rpi4", "rpi5"])
        >>> print(error, "|", error.hint)
        unknown device 'rip4' | did you mean rpi4? Known: host, rpi4, rpi5
    """
    names = sorted(set(known))
    near = get_close_matches(name, names, n=1)
    lead = f"did you mean {near[0]}? " if near else ""
    return UsageError(f"unknown {what} {name!r}", hint=f"{lead}Known: {', '.join(names)}")
