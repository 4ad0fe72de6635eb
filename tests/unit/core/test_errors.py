"""Errors: one tree, a code by who must act, names that are nearly right."""

from __future__ import annotations

import pytest

from binas.core import errors


def subclasses(cls: type[errors.BinasError]) -> list[type[errors.BinasError]]:
    """All below `cls`."""
    direct = cls.__subclasses__()
    return direct + [below for one in direct for below in subclasses(one)]


def test_the_exit_code_says_who_must_act() -> None:
    assert {cls.__name__: cls.exit_code for cls in errors.BinasError.__subclasses__()} == {
        "UsageError": 2,
        "SearchError": 3,
        "CompileError": 4,
        "DeviceError": 5,
        "MeasureError": 6,
    }


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    for cls in subclasses(errors.BinasError):
        assert cls.__name__ in (errors.__doc__ or ""), f"{cls.__name__} is not drawn"


def test_message_and_hint_are_kept_apart() -> None:
    error = errors.CompileError("found this", hint="do that")
    assert str(error) == "found this"
    assert error.hint == "do that"
    assert errors.CompileError("found this").hint == ""


@pytest.mark.parametrize(
    ("typed", "suggestion"),
    [("rip4", "rpi4"), ("hots", "host"), ("RPI5", None), ("banana", None)],
)
def test_an_unknown_name_comes_with_the_nearest_known_one(
    typed: str, suggestion: str | None
) -> None:
    error = errors.unknown_name("device", typed, ["rpi4", "host", "null"])
    assert str(error) == f"unknown device {typed!r}"
    assert error.exit_code == 2
    assert error.hint.endswith("Known: host, null, rpi4")
    if suggestion:
        assert f"did you mean {suggestion}?" in error.hint


def test_a_name_that_two_lists_have_is_said_once() -> None:
    error = errors.unknown_name("device", "x", ["rpi4", "host", "rpi4"])
    assert error.hint == "Known: host, rpi4"
