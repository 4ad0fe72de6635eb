"""binas-devices, as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from binas.devices.cli import main


@pytest.fixture(autouse=True)
def devices_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "devices.toml"
    path.write_text("")
    monkeypatch.setenv("BINAS_DEVICES", str(path))
    return path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_list_names_every_device_with_its_cpu() -> None:
    lines = call("list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "ARCH", "CPU", "LINK", "TITLE"]
    assert any(line.split()[:4] == ["rpi4", "aarch64", "cortex-a72", "none"] for line in lines)


def test_list_json_is_one_object() -> None:
    found = json.loads(call("list", "--json").stdout)
    assert found["schema"] == "binas.devices/1"
    assert {"rpi5", "host", "null"} < {device["name"] for device in found["devices"]}


def test_list_goes_on_past_what_is_described_wrongly_and_says_so(devices_toml: Path) -> None:
    devices_toml.write_text('[desk]\nboard = "rip4"\n[lab]\nboard = "rpi4"\nhost = "h"\n')
    done = call("list", "--json")
    said = f"{devices_toml}, line 1: [desk]: unknown device 'rip4'"
    assert done.exit_code == 0 and f"Left out: {said}\nHint: did you mean rpi4?" in done.stderr
    found = json.loads(done.stdout)
    assert found["faults"] == [said]
    listed = {device["name"] for device in found["devices"]}
    assert {"lab", "rpi4"} < listed and "desk" not in listed


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from binas.devices.cli import main; main(['list'], standalone_mode=False);"
        "print([m for m in ('numpy','pydantic','rich','tvm','onnx','torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_show_says_what_code_may_use_and_how_to_add_a_route() -> None:
    done = call("show", "rpi5")
    assert "asimddp" in done.stdout and "cortex-a76" in done.stdout
    assert "devices.toml" in done.stderr
    found = json.loads(call("show", "rpi5", "--json").stdout)
    assert found["schema"] == "binas.device/1" and found["arch"] == "aarch64"


def test_a_misspelt_name_is_a_usage_error() -> None:
    done = call("show", "rip4")
    assert done.exit_code == 2 and done.stdout == ""
    assert done.stderr.startswith("Error: unknown device 'rip4'\nHint: did you mean rpi4")


def test_check_walks_to_this_machine() -> None:
    done = call("check", "host", "--json")
    found = json.loads(done.stdout)
    steps = [step["name"] for step in found["steps"]]
    assert found["ok"] is True and done.exit_code == 0
    assert steps == [
        *("name", "route", "login", "architecture", "features", "glibc"),
        *("memory", "disk", "execute", "clock", "governor", "throttling"),
    ]


@pytest.mark.parametrize(
    ("name", "status", "step"), [("rip4", 2, "name"), ("rpi4", 5, "route"), ("bad", 5, "route")]
)
def test_check_stops_at_the_first_broken_step(
    devices_toml: Path, name: str, status: int, step: str
) -> None:
    devices_toml.write_text(
        '[bad]\nboard = "rpi4"\nlink = "ssh"\nhost = "127.0.0.1"\nport = 1\n'
        'options = ["-F", "none"]\n'
    )
    done = call("check", name)
    assert done.exit_code == status
    last = done.stdout.splitlines()[-1].split()
    assert last[:2] == ["BROKEN", step] and "Hint: " in done.stderr


def test_a_machine_of_another_kind_breaks_at_its_architecture(devices_toml: Path) -> None:
    devices_toml.write_text('[wrong]\nboard = "rpi4"\nlink = "host"\n')
    done = call("check", "wrong")
    assert done.exit_code == 5 and "BROKEN" in done.stdout.splitlines()[-1]
