"""The registry: shipped boards, the user's own, and what is wrong with his file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from binas.core.errors import DeviceError, TransportError, UsageError
from binas.devices.described import user_file
from binas.devices.emulator import QemuLink, has_qemu
from binas.devices.host import HostLink
from binas.devices.null import NullLink
from binas.devices.probe import this_machine
from binas.devices.registry import all_devices, connect, connect_fleet, find, names

PIS = ("rpi3", "rpi3plus", "rpi4", "rpi5", "rpizero2w")


@pytest.fixture(autouse=True)
def devices_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "devices.toml"
    path.write_text("")
    monkeypatch.setenv("BINAS_DEVICES", str(path))
    return path


def test_every_shipped_name_is_there() -> None:
    levels = {"x86-64-v2", "x86-64-v3", "x86-64-v4"}
    pis = {*PIS, *(f"{pi}-32" for pi in PIS)}
    assert set(names()) == {"host", "null", "aarch64", *levels, *pis}
    assert [device.name for device in all_devices()[0]] == list(names())


@pytest.mark.parametrize(
    ("name", "arch", "cpu"),
    [
        ("rpi3", "aarch64", "cortex-a53"),
        ("rpi3plus", "aarch64", "cortex-a53"),
        ("rpi4", "aarch64", "cortex-a72"),
        ("rpi5", "aarch64", "cortex-a76"),
        ("rpizero2w", "aarch64", "cortex-a53"),
        ("rpi5-32", "armv7", "cortex-a53"),
        ("aarch64", "aarch64", "generic"),
        ("x86-64-v4", "x86_64", "x86-64-v4"),
    ],
)
def test_boards_are_what_they_are(name: str, arch: str, cpu: str) -> None:
    device = find(name)
    assert (device.name, device.arch, device.cpu) == (name, arch, cpu)


def test_a_variant_keeps_what_it_does_not_change() -> None:
    assert find("rpi4-32").title == find("rpi4").title
    assert find("rpi4-32").memory_bytes == 1 << 30


@pytest.mark.parametrize("name", ["rip4", "", "../boards/rpi4", "rpi4.toml", "rpi4-64"])
def test_an_unknown_name_is_an_error(name: str) -> None:
    with pytest.raises(UsageError, match="unknown device"):
        find(name)


def test_a_users_board_has_his_route(devices_toml: Path) -> None:
    devices_toml.write_text(
        '[desk]\nboard = "rpi4"\nlink = "ssh"\nhost = "pi@raspberrypi.local"\n'
        "port = 2222\npin = 3\n"
    )
    desk = find("desk")
    assert (desk.cpu, desk.link.kind, desk.link.user) == ("cortex-a72", "ssh", "pi")
    assert (desk.link.host, desk.link.port, desk.pin) == ("raspberrypi.local", 2222, 3)
    assert "desk" in names()


def test_a_users_name_may_give_a_shipped_board_a_route(devices_toml: Path) -> None:
    devices_toml.write_text('[rpi4]\nlink = "ssh"\nhost = "desk"\n')
    assert find("rpi4").link.host == "desk" and find("rpi4").cpu == "cortex-a72"


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ('[a]\nboard = "rpi4"\nhots = "x"', r"\[a\]: unknown key 'hots'", "did you mean host?"),
        ('[a]\nboard = "rip4"', r"\[a\]: unknown device 'rip4'", "did you mean rpi4"),
        ('[a]\nboard = "rpi4"\nlink = "serial"', r"\[a\]: unknown link 'serial'", "ssh"),
        ('[a]\nboard = "rpi4"\nlink = "ssh"', "has no host", "pi@raspberrypi.local"),
        ('[a]\nboard = "rpi4"\nport = "22"', "port is '22', expected int", ""),
        ('[a]\nlink = "ssh"\nhost = "h"', "has no board", 'board = "rpi4"'),
        ('board = "rpi4"', "board stands outside a table", "[board]"),
        ('[a]\nboard = "rpi4"\nhost = "me@h"\nuser = "you"', "user stands in host", ""),
        ("[a\n", "is not TOML", "line"),
    ],
)
def test_a_fault_in_the_users_file_is_named(
    devices_toml: Path, text: str, says: str, hint: str
) -> None:
    devices_toml.write_text(text)
    found, (fault,) = all_devices()
    assert re.search(says, str(fault)) and hint in fault.hint
    assert str(devices_toml) in str(fault) and "line 1" in str(fault)
    assert {"host", "rpi4", "null"} < {device.name for device in found}  # they are not in the file


def test_a_fault_is_named_with_the_line_of_its_table(devices_toml: Path) -> None:
    devices_toml.write_text(
        'host = "outside"\n[desk]\nboard = "rpi4"\nhost = "h"\n\n  [ "lab" ] # mine\nboard = 3\n'
    )
    with pytest.raises(UsageError) as caught:
        find("lab")
    assert str(caught.value) == f"{devices_toml}, line 6: [lab]: board is 3, expected str"
    with pytest.raises(UsageError, match="line 1: host stands outside a table"):
        find("host")
    assert find("desk").link.host == "h"
    _, faults = all_devices()
    assert len(faults) == 2


@pytest.mark.parametrize("text", ["[desk\nboard = 'rpi4'", "\xff\xfe"])
def test_a_file_that_is_not_toml_stops_only_what_it_may_describe(
    devices_toml: Path, text: str
) -> None:
    devices_toml.write_text(text, encoding="latin-1")
    assert find("rpi5").cpu == "cortex-a76"
    for name in ("desk", "dsek"):  # a name that we do not know may be one of the file's
        with pytest.raises(UsageError, match="is not TOML") as caught:
            find(name)
        assert str(devices_toml) in str(caught.value)
    if "rpi4" in text:  # which may be a device of the user's with that name
        with pytest.raises(UsageError, match="is not TOML"):
            find("rpi4")
    for device in all_devices()[0]:
        assert find(device.name) == device
    with pytest.raises(UsageError, match="is not TOML"):
        names()


def test_a_file_that_the_environment_names_must_be_there(
    devices_toml: Path,
) -> None:
    devices_toml.unlink()
    with pytest.raises(UsageError, match="is not there"):
        find("rpi4")
    with pytest.raises(UsageError, match=r"BINAS_DEVICES names .* which is not there"):
        names()


def test_without_the_environment_the_users_file_need_not_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BINAS_DEVICES")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert user_file() == tmp_path / "config" / "binas" / "devices.toml"
    assert "host" in names()


def test_a_board_without_a_route_says_how_to_add_one(devices_toml: Path) -> None:
    with pytest.raises(DeviceError, match="knows no way to such a board") as caught:
        connect(find("rpi4"))
    assert str(devices_toml) in caught.value.hint and "--emulate" in caught.value.hint


def test_routes_open_by_kind() -> None:
    with connect(find("host")) as host, connect(find("null")) as null:
        assert isinstance(host, HostLink) and host.trust == "real"
        assert isinstance(null, NullLink) and null.trust == "invented"


ABSENT = '[{}]\nboard = "host"\nlink = "ssh"\nhost = "127.0.0.1"\nport = 1\n'


def test_a_board_of_a_fleet_that_is_absent_is_left_out_and_the_others_are_used(
    devices_toml: Path,
) -> None:
    devices_toml.write_text(ABSENT.format("gone") + '[here]\nboard = "host"\n')
    said: list[str] = []
    with connect_fleet([find("gone"), find("here")], say=said.append) as links:
        assert [link.device.name for link in links] == ["here"]
    assert len(said) == 1 and said[0].startswith("gone is left out: ")


def test_where_no_board_of_a_fleet_is_there_the_error_is_that_of_a_board(
    devices_toml: Path,
) -> None:
    devices_toml.write_text(ABSENT.format("gone") + ABSENT.format("lost"))
    for names_of in (["gone"], ["gone", "lost"]):
        with (
            pytest.raises(TransportError, match="ssh to"),
            connect_fleet([find(name) for name in names_of], say=lambda _: None),
        ):
            pass


def test_a_board_of_a_fleet_that_is_of_another_kind_is_an_error_and_not_left_out() -> None:
    with (
        pytest.raises(DeviceError, match="knows no way to such a board"),
        connect_fleet([find("null"), find("rpi4")], say=lambda _: None),
    ):
        pass


def test_an_emulated_board_is_never_taken_for_a_real_one() -> None:
    if not has_qemu("aarch64"):
        with pytest.raises(DeviceError, match="qemu-aarch64 is not installed"):
            connect(find("rpi4"), emulate=True)
        return
    with connect(find("rpi4"), emulate=True) as link:
        assert isinstance(link, QemuLink) and link.trust == "emulated"


def test_x86_is_not_emulated() -> None:
    with pytest.raises(DeviceError, match="qemu is only used for aarch64, armv7"):
        connect(find("x86-64-v2"), emulate=True)


def test_a_class_of_machines_is_this_one_only_if_it_can_do_that() -> None:
    machine = this_machine()
    for name in ("x86-64-v2", "x86-64-v3", "x86-64-v4"):
        device = find(name)
        if machine.arch == "x86_64" and not machine.lacks(device.features):
            connect(device).close()
        else:
            with pytest.raises(DeviceError, match=f"{name} needs x86_64"):
                connect(device)
