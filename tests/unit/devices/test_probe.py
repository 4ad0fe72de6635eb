"""The parser of what machines say, on texts as such machines print them."""

from __future__ import annotations

import subprocess

import pytest

from binas.devices.device import CPUS
from binas.devices.probe import SCRIPT, Machine, host_device, parse, this_machine

PI4 = """== machine
aarch64
== word
64
== libc
glibc 2.36
== cpuinfo
processor	: 0
BogoMIPS	: 108.00
Features	: fp asimd evtstrm crc32 cpuid
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x0
CPU part	: 0xd08
CPU revision	: 3

processor	: 1
Features	: fp asimd evtstrm crc32 cpuid
CPU part	: 0xd08

Revision	: c03114
Model		: Raspberry Pi 4 Model B Rev 1.4

== meminfo
MemTotal:        3884360 kB
MemFree:         2884360 kB
MemAvailable:    3500000 kB

== loadavg
0.15 0.10 0.05 1/170 1234

== model
Raspberry Pi 4 Model B Rev 1.4\x00
== governor
ondemand
ondemand
== thermal
cpu-thermal 48686
== throttled
throttled=0x50005
== disk
Filesystem     1024-blocks    Used Available Capacity Mounted on
tmpfs              1942180       0   1942180       0% /tmp
"""
PI3_32 = """== machine
armv7l
== word
32
== cpuinfo
processor	: 0
model name	: ARMv7 Processor rev 4 (v7l)
Features	: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva \
idivt vfpd32 lpae evtstrm crc32
CPU part	: 0xd03

Model		: Raspberry Pi 3 Model B Rev 1.2
"""
PI5 = """== machine
aarch64
== word
64
== cpuinfo
processor	: 0
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm \
lrcpc dcpop asimddp
CPU part	: 0xd0b
== governor
performance
"""


def x86(features: str) -> str:
    return (
        f"== machine\nx86_64\n== cpuinfo\nprocessor\t: 0\nmodel name\t: X\nflags\t\t: {features}\n"
    )


def test_a_pi_4_says_all_that_matters() -> None:
    found = parse(PI4)
    assert (found.arch, found.word_bits, found.cpu) == ("aarch64", 64, "cortex-a72")
    assert found.model == "Raspberry Pi 4 Model B Rev 1.4"
    assert (found.cores, found.load, found.temperature_c) == (2, 0.15, 48.686)
    assert found.governors == ("ondemand",)
    assert found.memory_bytes == 3884360 * 1024 and found.available_bytes == 3500000 * 1024
    assert found.disk_bytes == 1942180 * 1024
    assert found.libc == "glibc 2.36"


def test_the_firmwares_bits_become_words() -> None:
    assert parse(PI4).throttled == (
        "under-voltage now",
        "throttled now",
        "under-voltage since boot",
        "throttled since boot",
    )
    assert parse("== throttled\nthrottled=0x0\n").throttled == ()
    assert parse(PI5).throttled is None


def test_a_32_bit_system_is_another_architecture() -> None:
    found = parse(PI3_32)
    assert (found.arch, found.word_bits, found.cpu) == ("armv7", 32, "cortex-a53")
    assert found.lacks(CPUS["armv7"]["cortex-a53"]) == ()


def test_a_pi_5_is_told_by_its_part_number() -> None:
    assert parse(PI5).cpu == "cortex-a76"
    assert parse(PI5.replace("asimddp", "")).cpu == "generic"
    assert parse(PI5.replace("0xd0b", "0xd49")).cpu == "generic"


def test_of_unequal_cores_the_smallest_counts() -> None:
    assert parse(PI4.replace("0xd08", "0xd03", 1)).cpu == "cortex-a53"


def test_an_x86_gets_the_best_name_whose_code_it_can_run() -> None:
    levels = CPUS["x86_64"]
    for name, features in levels.items():
        assert parse(x86(" ".join(features))).cpu == name
    assert parse(x86("fpu sse2")).cpu is None
    popcount_only = (*levels["x86-64-v3"], "avx512_vpopcntdq")
    assert parse(x86(" ".join(popcount_only))).cpu == "x86-64-v3"


@pytest.mark.parametrize("cut", range(0, len(PI4), 37))
def test_half_a_text_is_half_an_answer_and_never_an_error(cut: int) -> None:
    parse(PI4[:cut])
    parse(PI4[cut:])


def test_nonsense_says_nothing() -> None:
    assert parse("no sections") == Machine()
    odd = parse("== loadavg\nhigh\n== thermal\nzone hot\n== disk\n?\n== meminfo\nMemTotal: a lot")
    assert odd == Machine()


def test_the_named_zone_beats_a_hotter_one() -> None:
    text = "== thermal\nnvme 80000\ncpu-thermal 50000\n"
    assert parse(text).temperature_c == 50
    assert parse("== thermal\na 40000\nb 45000\n").temperature_c == 45


def test_the_script_and_the_files_say_the_same_of_this_machine() -> None:
    done = subprocess.run(["sh", "-c", SCRIPT], capture_output=True, text=True, check=True)
    asked, read = parse(done.stdout), this_machine()
    assert done.stderr == ""
    for name in ("machine", "arch", "word_bits", "model", "features", "cores", "memory_bytes"):
        assert getattr(asked, name) == getattr(read, name), name
    assert asked.disk_bytes is not None


def test_this_machine_can_run_what_is_compiled_for_it() -> None:
    assert this_machine().lacks(host_device().features) == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "== machine\naarch64\n== interpreter\n/usr/bin/qemu-aarch64-static\n",
            "under qemu-aarch64",
        ),
        ("== machine\naarch64\n== kernel\nx86_64\n", "its kernel is x86_64"),
        ("== machine\narmv7l\n== kernel\nx86_64\n", "its kernel is x86_64"),
        ("== machine\naarch64\n== cpuinfo\nvendor_id\t: GenuineIntel\n", "its CPU is an x86"),
        ("== machine\nx86_64\n== cpuinfo\nmodel name\t: QEMU TCG CPU version 2.5+\n", "QEMU TCG"),
        (x86("sse2") + "== throttled\nthrottled=0x0\n", "has a Raspberry Pi's vcgencmd, but is X"),
    ],
)
def test_an_emulator_and_a_made_up_sensor_give_themselves_away(text: str, says: str) -> None:
    (why,) = parse(text).pretence
    assert says in why


@pytest.mark.parametrize(
    "text",
    [
        PI4,
        PI3_32,
        PI5,
        PI4 + "== kernel\naarch64\n== interpreter\n/usr/bin/dash\n",
        PI3_32 + "== kernel\naarch64\n",  # a 32-bit system on a 64-bit kernel
        x86("sse2") + "== kernel\nx86_64\n== interpreter\n/bin/busybox\n",
    ],
)
def test_a_real_machine_pretends_nothing(text: str) -> None:
    assert parse(text).pretence == ()


def test_the_machine_of_these_tests_is_real() -> None:
    assert this_machine().pretence == ()
    assert this_machine().boot_id


def test_a_64_bit_arm_runs_static_programs_of_both_sizes() -> None:
    assert parse(PI4).runs("armv7") and parse(PI4).runs("aarch64")
    assert not parse(PI3_32).runs("aarch64") and not parse(x86("")).runs("aarch64")
