"""What the commands of this room share: arguments, options, times with units."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

_UNITS_NS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A time with its unit, such as 5ms; gives nanoseconds. A bare number is refused."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Nanoseconds."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s)", str(value).strip())
        if not found:
            self.fail(f"{value!r} is no time; write a number and its unit, such as 5ms", param, ctx)
        return round(float(found[1]) * _UNITS_NS[found[2]])


ARTIFACT = click.argument(
    "file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.binas"
)
DEVICE = click.option("--device", "device_name", required=True, help="As in `binas-devices list`.")
EMULATE = click.option(
    "--emulate",
    is_flag=True,
    help="Run on an emulated CPU: right answers without a board, and no times. Uses qemu-user "
    "where it is installed, else unicorn (aarch64 only).",
)
ENVIRONMENT = {"auto_envvar_prefix": "BINAS"}
