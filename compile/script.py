"""TVM's text of functions and modules, such that TVM reads it back.

TVM 0.27 writes three things that it does not read, or not as the same: strings of several lines,
which stand apart; numbers of 32 bits where any object may stand, as the arguments of a call in
Relax or the node of an attribute; and masks of booleans taken for integers, which it refuses though
the operation is a plain one. What it reads is what was written, but that it works out at once what
is constant and simplifies the bounds of some loops.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import tvm

_APART = re.compile(r'metadata = tvm\.ir\.load_json\((""".*?""")\)\n', re.DOTALL)
_STRING = re.compile(r'metadata\["ir\.StringImm"\]\[(\d+)\]')
_REINTERPRET = re.compile(r'T\.reinterpret\(("\w+"), ')
_UNITS = re.compile(r"^( +cls\.\w+\(.*), (\d+), (\d+)\)$", re.MULTILINE)


def text(printable: Any) -> str:
    """A PrimFunc or an IRModule as TVMScript, for `tvm.script.from_source`."""
    script = str(printable.script(show_meta=True))
    apart = _APART.match(script)
    if apart is not None:
        strings = tvm.ir.load_json(ast.literal_eval(apart[1]))["ir.StringImm"]
        script = script[apart.end() :]
        script = _STRING.sub(lambda found: json.dumps(strings[int(found[1])].value), script)
    script = script.replace("T.attr(0, ", "T.attr(T.int32(0), ")
    script = _REINTERPRET.sub(r'T.call_intrin(\1, "tirx.reinterpret", ', script)
    return _UNITS.sub(r"\1, T.int32(\2), T.int32(\3))", script)
