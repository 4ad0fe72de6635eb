"""How libraries are linked and loaded: what is missing or changed is said at once."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from binas.compile import link
from binas.compile.build import compile_layers
from binas.core import record
from binas.core.errors import CompileError, UsageError
from binas.core.layer import Layer
from binas.devices import registry
from binas.runtime.artifact import MEMBERS, load
from binas.runtime.library import Library


def test_a_library_that_is_not_the_manifests_is_refused(tmp_path: Path) -> None:
    layer = Layer(op="elementwise", in_shape=(1, 2, 2, 32), out_channels=32)
    made = compile_layers([layer], registry.find("host"), tmp_path / "one.binas")
    members = {name: made.read(name) for name in MEMBERS if name != "manifest.json"}
    with zipfile.ZipFile(made.path, "w") as archive:
        archive.writestr("manifest.json", record.dumps(made.manifest))
        for name, data in members.items():
            archive.writestr(name, b"garbage" if name == "libmodel.so" else data)
    with pytest.raises(UsageError, match=r"libmodel\.so is not what its manifest describes"):
        Library(load(made.path))


def cold_cache_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What zig made before it could link an empty program and library for this machine."""
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path / "zig"))
    link.prepare([registry.find("host").arch])
    return [path.name for path in (tmp_path / "zig" / "o").rglob("*") if path.is_file()]


@pytest.mark.skipif(registry.find("host").arch != "x86_64", reason="on ARM a program holds musl")
def test_a_first_compile_for_this_machine_waits_for_no_c_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cold_cache_files(tmp_path, monkeypatch)
    assert len(made) < 150  # musl alone are a thousand objects
    assert not [name for name in made if "compiler_rt" in name or name == "libc.a"]


def test_a_library_that_lacks_a_function_is_not_linked(tmp_path: Path) -> None:
    source = tmp_path / "lacking.c"
    source.write_text(
        "int nobody(void);\nint binas_abi(void);\nint binas_abi(void) { return nobody(); }\n"
    )
    with pytest.raises(CompileError, match="undefined symbol: nobody"):
        link.link_library(registry.find("host").arch, [source], tmp_path / "library.so")
