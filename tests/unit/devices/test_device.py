"""Device: names are checked by us, because LLVM only logs and goes on as generic."""

from __future__ import annotations

from typing import Any

import pytest

from binas.core import record
from binas.core.errors import UsageError
from binas.devices.device import CPUS, Device, LinkSettings, missing_features


def device(**changes: Any) -> Device:
    known: dict[str, Any] = {"name": "b", "title": "B", "arch": "aarch64", "cpu": "cortex-a72"}
    return Device(**{**known, **changes})


def test_an_unknown_cpu_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="unknown aarch64 CPU 'cortex_a72'") as caught:
        device(cpu="cortex_a72")
    assert "did you mean cortex-a72?" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"arch": "arm64"}, "unknown architecture 'arm64'"),
        ({"cpu": "icelake-server"}, "unknown aarch64 CPU"),
        ({"name": "a b"}, "device name is 'a b'"),
        ({"name": "../x"}, "device name"),
        ({"cores": 4, "pin": 4}, "pinned to core 4, it has 4"),
    ],
)
def test_a_description_that_cannot_be_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        device(**changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "ssh"}, "has no host"),
        ({"kind": "ssh", "host": "-oProxyCommand=touch x"}, "expected a name"),
        ({"kind": "ssh", "host": "a;b"}, "expected a name"),
        ({"kind": "ssh", "host": "a", "user": "-l"}, "user is '-l'"),
        ({"kind": "ssh", "host": "a", "port": 65536}, "port is 65536"),
    ],
)
def test_a_route_that_ssh_could_misread_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        LinkSettings(**changes)


def test_a_device_has_what_its_cpu_implies() -> None:
    assert "asimddp" in device(cpu="cortex-a76").features
    assert device(cpu="cortex-a72").lacks(("asimd", "asimddp")) == ("asimddp",)
    assert device(features=("asimd", "sve")).features == ("asimd", "sve")


@pytest.mark.parametrize("cpu", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_each_x86_level_has_all_of_the_one_before(cpu: str) -> None:
    levels = list(CPUS["x86_64"].items())
    place = [name for name, _ in levels].index(cpu)
    assert missing_features(levels[place][1], levels[place + 1][1]) == ()
    assert missing_features(levels[place + 1][1], levels[place][1]) != ()


def test_a_64_bit_kernel_has_what_32_bit_code_needs() -> None:
    assert missing_features(CPUS["armv7"]["cortex-a7"], ("fp", "asimd", "crc32")) == ()


def test_a_device_survives_its_file() -> None:
    first = device(link=LinkSettings(kind="ssh", host="h", options=("-v",)))
    assert record.loads(Device, record.dumps(first), where="here") == first
