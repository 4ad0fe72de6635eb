"""What the compiler made on the way, as text beside the artifact: `binas-compile --emit`.

There is no Relax form: the fused plan goes to TIR generators without it; `--json` says the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from binas.compile.isa import Isa
from binas.compile.tile import Choice
from binas.core import record

# Form → suffix of its file; `binas-compile --help` says what each is.
FORMS: Mapping[str, str] = {
    "tir": ".tir",
    "llvm": ".ll",
    "asm": ".s",
    "c": ".plan.c",
}


def write(
    forms: Sequence[str], output: Path, names: Mapping[Choice, str], isa: Isa, plan: str
) -> list[Path]:
    """Write the forms beside an artifact, each whole or not at all.

    The kernels are made once more, and only for people to look at: what runs is `objects.py`'s.

    Args:
        forms: Keys of `FORMS`.
        output: The artifact; its suffix is replaced.
        names: Kernel → its symbol.
        isa: What the kernels are made for.
        plan: plan.c.

    Returns:
        The files, in the order of `forms`.
    """
    functions = _functions(names, isa) if set(forms) - {"c"} else {}
    module: Any = _built(functions, isa) if {"llvm", "asm"}.intersection(forms) else None
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


def _functions(names: Mapping[Choice, str], isa: Isa) -> dict[str, Any]:
    from binas.compile.kernels import family  # noqa: PLC0415 (tvm takes a second)

    return {
        name: family.generate(choice.layer, isa, name, choice.tile).function
        for choice, name in names.items()
    }


def _built(functions: Mapping[str, Any], isa: Isa) -> Any:
    from binas.compile import codegen  # noqa: PLC0415 (tvm takes a second)

    return codegen.build(functions, isa)
