"""Which code a layer's kernel is made by: what was tuned for other code does not apply.

`objects.kernel_version` is of all kernels, for what must be exact. This is of the files that one
layer's kernel consists of, so that a change of another family, or of another CPU's way of counting,
leaves what was tuned valid.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from importlib import metadata, resources

from binas.compile.isa import Isa
from binas.compile.kernels import family
from binas.core.layer import Layer

_PACKAGE = "binas.compile.kernels"


def made_by(layer: Layer, isa: Isa) -> str:
    """Digest of the sources of a layer's kernel, and of the hardware facts that they ask for."""
    return _digest(family.modules(layer, isa), repr(isa))


@cache
def _digest(modules: tuple[str, ...], facts: str) -> str:
    digest = hashlib.sha256(f"{metadata.version('apache-tvm')} {facts}".encode())
    for name in sorted(set(modules).union(*(_imported(name) for name in modules[1:]))):
        digest.update(name.encode() + _source(name))
    digest.update((resources.files("binas.compile") / "codegen.py").read_bytes())
    return digest.hexdigest()[:12]


@cache
def _imported(name: str) -> frozenset[str]:
    """The modules of this package that a module imports, and those that these import."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(_source(name))):
        if isinstance(node, ast.ImportFrom) and node.module == _PACKAGE:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{_PACKAGE}."):
            found.add((node.module or "").removeprefix(f"{_PACKAGE}."))
    return frozenset(found.union(*(_imported(other) for other in found)))


@cache
def _source(name: str) -> bytes:
    """A module without what makes no code: empty lines and comments."""
    lines = (resources.files(_PACKAGE) / f"{name}.py").read_bytes().splitlines()
    return b"\n".join(line for line in lines if line.strip() and line.strip()[:1] != b"#")
