"""The smallest executable of an architecture: it prints "binas" and ends.

It shows whether a machine starts static programs like ours before an artifact is sent: the right
word size, the right architecture, a folder that programs may be run from.
"""

from __future__ import annotations

import struct

from binas.devices.device import Arch

SAYS = "binas\n"

_BASE = 0x10000  # the one segment holds the whole file
# write(1, text, 6); exit(0): the text follows the code.
_CODE: dict[Arch, bytes] = {
    "x86_64": bytes.fromhex(
        "b801000000"  # mov eax, 1
        "bf01000000"  # mov edi, 1
        "488d3510000000"  # lea rsi, [rip + 16]
        "ba06000000"  # mov edx, 6
        "0f05"  # syscall
        "b83c000000"  # mov eax, 60
        "31ff"  # xor edi, edi
        "0f05"  # syscall
    ),
    "aarch64": struct.pack(
        "<8I",
        0xD2800020,  # mov x0, #1
        0x100000E1,  # adr x1, . + 28
        0xD28000C2,  # mov x2, #6
        0xD2800808,  # mov x8, #64
        0xD4000001,  # svc #0
        0xD2800000,  # mov x0, #0
        0xD2800BA8,  # mov x8, #93
        0xD4000001,  # svc #0
    ),
    "armv7": struct.pack(
        "<8I",
        0xE3A00001,  # mov r0, #1
        0xE28F1014,  # add r1, pc, #20 (pc is two instructions ahead)
        0xE3A02006,  # mov r2, #6
        0xE3A07004,  # mov r7, #4
        0xEF000000,  # svc #0
        0xE3A00000,  # mov r0, #0
        0xE3A07001,  # mov r7, #1
        0xEF000000,  # svc #0
    ),
}
_MACHINE: dict[Arch, int] = {"x86_64": 62, "aarch64": 183, "armv7": 40}
_ARM_ABI = 0x05000400  # EABI 5, hard float


def executable(arch: Arch) -> bytes:
    """A static ELF executable that prints `SAYS`."""
    body = _CODE[arch] + SAYS.encode()
    wide = arch != "armv7"
    start = 64 + 56 if wide else 52 + 32
    size, entry = start + len(body), _BASE + start
    ident = b"\x7fELF" + bytes((2 if wide else 1, 1, 1)) + bytes(9)
    head = (2, _MACHINE[arch], 1, entry, start - (56 if wide else 32), 0)
    flags = _ARM_ABI if arch == "armv7" else 0
    if wide:
        header = struct.pack("<HHIQQQIHHHHHH", *head, flags, 64, 56, 1, 64, 0, 0)
        segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    else:
        header = struct.pack("<HHIIIIIHHHHHH", *head, flags, 52, 32, 1, 40, 0, 0)
        segment = struct.pack("<IIIIIIII", 1, 0, _BASE, _BASE, size, size, 5, 0x1000)
    return ident + header + segment + body
