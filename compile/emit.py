"""What the compiler made on the way, as text beside the artifact: `binas-compile --emit`.

There is no Relax form: the fused plan goes to TIR generators without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from binas.core import record

# Form → suffix of its file; `binas-compile --help` says what each is.
FORMS: Mapping[str, str] = {
    "tir": ".tir",
    "llvm": ".ll",
    "asm": ".s",
    "c": ".plan.c",
}


def write(forms: Sequence[str], output: Path, functions: Any, module: Any, plan: str) -> list[Path]:
    """Write the forms beside an artifact, each whole or not at all.

    Args:
        forms: Keys of `FORMS`.
        output: The artifact; its suffix is replaced.
        functions: Kernel symbol → PrimFunc.
        module: The same, built.
        plan: plan.c.

    Returns:
        The files, in the order of `forms`.
    """
    texts: dict[str, Callable[[], str]] = {
        "tir": lambda: "\n".join(function.script() for function in functions.values()),
        "llvm": lambda: str(module.inspect_source("ll")),
        "asm": lambda: str(module.inspect_source("asm")),
        "c": lambda: plan,
    }
    files = []
    for form in forms:
        file = output.with_suffix(FORMS[form])
        record.write_atomic(file, (texts[form]().rstrip() + "\n").encode())
        files.append(file)
    return files
