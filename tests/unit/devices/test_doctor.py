"""`binas doctor` says what is there, what is wrong, and nothing private."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from binas.devices import doctor


def test_it_prints_one_json_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BINAS_DEVICES", raising=False)
    done = CliRunner().invoke(doctor.main, ["--json", "--no-imports"])
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    assert found["schema"] == "binas.doctor/1"
    assert found["versions"]["numpy"]
    assert found["machine"]["architecture"] in ("x86_64", "aarch64", "armv7l")
    assert set(found["programs"]) == set(doctor.PROGRAMS)


def test_a_wrong_devices_file_is_a_problem_and_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "devices.toml"
    path.write_text('[desk]\nboard = "rpi9"\nhost = "somebody@secret.example"\n')
    monkeypatch.setenv("BINAS_DEVICES", str(path))
    done = CliRunner().invoke(doctor.main, ["--no-imports"])
    assert done.exit_code == 0
    assert "problems" in done.stdout
    assert "rpi9" in done.stdout
    assert "secret" not in done.stdout


def test_a_package_that_does_not_import_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "numpy.py").write_text("raise OSError('libfast.so: not found')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor, "PACKAGES", {"numpy": "numpy", "torch-of-nobody": "nobody"})
    found = doctor.examine(imports=True)
    assert "numpy does not import: OSError: libfast.so: not found" in found["problems"]
    assert found["versions"]["torch-of-nobody"] is None
