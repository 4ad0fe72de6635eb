"""What the compiler made on the way, as text beside the artifact: `binas-compile --emit`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from binas.compile.graph import Graph
from binas.compile.isa import Isa
from binas.compile.plan_source import Call
from binas.compile.tile import Choice
from binas.core import record
from binas.runtime.artifact import Manifest

# Form → suffix of its file; `binas-compile --help` says what each is.
FORMS: Mapping[str, str] = {
    "relax": ".relax",
    "tir": ".tir",
    "llvm": ".ll",
    "asm": ".s",
    "c": ".plan.c",
}


@dataclass(frozen=True, slots=True)
class Made:
    """What the forms are made of.

    Attributes:
        graph: The fused steps.
        calls: One per step.
        manifest: Of the artifact.
        names: Kernel → its symbol.
        isa: What the kernels are made for.
        plan: plan.c.
    """

    graph: Graph
    calls: Sequence[Call]
    manifest: Manifest
    names: Mapping[Choice, str]
    isa: Isa
    plan: str


def write(forms: Sequence[str], output: Path, made: Made) -> list[Path]:
    """Write the forms beside an artifact, each whole or not at all.

    The kernels are made once more, and only for people to look at: what runs is `objects.py`'s.

    Args:
        forms: Keys of `FORMS`.
        output: The artifact; its suffix is replaced.
        made: What they are made of.

    Returns:
        The files, in the order of `forms`.
    """
    functions = _functions(made.names, made.isa) if set(forms) - {"c"} else {}
    module: Any = _built(functions, made.isa) if {"llvm", "asm"}.intersection(forms) else None
    texts: dict[str, Callable[[], str]] = {
        "relax": lambda: _program(functions, made),
        "tir": lambda: _scripts(functions),
        "llvm": lambda: str(module.inspect_source("ll")),
        "asm": lambda: str(module.inspect_source("asm")),
        "c": lambda: made.plan,
    }
    files = []
    for form in forms:
        file = output.with_suffix(FORMS[form])
        record.write_atomic(file, (texts[form]().rstrip() + "\n").encode())
        files.append(file)
    return files


def _program(functions: Mapping[str, Any], made: Made) -> str:
    from binas.compile import relax_form, script  # noqa: PLC0415 (tvm takes a second)

    program = relax_form.module(functions, made.graph, made.calls, made.manifest)
    return script.text(program)


def _scripts(functions: Mapping[str, Any]) -> str:
    from binas.compile import script  # noqa: PLC0415 (tvm takes a second)

    return "\n".join(script.text(function) for function in functions.values())


def _functions(names: Mapping[Choice, str], isa: Isa) -> dict[str, Any]:
    from binas.compile.kernels import family  # noqa: PLC0415 (tvm takes a second)

    return {
        name: family.generate(choice.layer, isa, name, choice.tile).function
        for choice, name in names.items()
    }


def _built(functions: Mapping[str, Any], isa: Isa) -> Any:
    from binas.compile import codegen  # noqa: PLC0415 (tvm takes a second)

    return codegen.build(functions, isa)
