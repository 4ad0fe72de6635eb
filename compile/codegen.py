"""Kernels → object files of plain C functions, through TVM's lowering and LLVM.

TVM's default pipeline ends in its packed calling convention, which needs its runtime. Ours ends in
`int32 f(pointers..., int32 begin, int32 end)`: after the same lowering, every buffer parameter
becomes a pointer with a declaration in front of the body. The objects need `memcpy` at most.

This uses TVM internals (0.27.0.post1 exactly); `tests/integration/test_codegen.py` covers them.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tvm
from tvm import s_tir, tirx

from binas.compile import children
from binas.compile.isa import Isa
from binas.core.errors import CompileError


def target(isa: Isa) -> Any:
    """TVM's target for an ISA."""
    cpu = isa.scheduled or isa.cpu
    fields: dict[str, Any] = {"kind": "llvm", "mtriple": isa.triple, "mcpu": cpu}
    if isa.attributes:
        fields["mattr"] = list(isa.attributes)
    if isa.arch == "armv7":
        fields["mfloat-abi"] = "hard"
    return tvm.target.Target(fields)


def build(functions: Mapping[str, Any], isa: Isa) -> Any:
    """Compile PrimFuncs by symbol into one LLVM module.

    Raises:
        CompileError: TVM or LLVM refused; the message is theirs.
    """
    chosen = target(isa)
    module = tvm.IRModule(
        {
            tvm.ir.GlobalVar(symbol): function.with_attr("target", chosen)
            for symbol, function in functions.items()
        }
    )
    try:
        with chosen:
            lowered = _pipeline()(module)
        return tvm.get_global_func("target.build.llvm")(lowered, chosen)
    except (RuntimeError, ValueError, TypeError) as error:
        last = str(error).strip().splitlines()[-1]
        raise CompileError(f"code generation for {isa.cpu} failed: {last}") from error


def compile_objects(
    functions: Mapping[str, Any], isa: Isa, folder: Path, jobs: int = 0
) -> dict[str, Path]:
    """Compile PrimFuncs, each to an object file of its own, in child processes.

    One LLVM module each, so that what a function becomes does not depend on its neighbours, nor on
    the child that makes it.

    Args:
        functions: By symbol.
        isa: For which.
        folder: Of the objects.
        jobs: Children at once; 0: one per core, eight at most.

    Returns:
        Symbol → its object.

    Raises:
        CompileError: TVM or LLVM refused, or a child was ended.
    """
    paths = {symbol: folder / f"{symbol}.o" for symbol in functions}
    for path in paths.values():
        path.unlink(missing_ok=True)  # a file that is there counts as claimed

    def work() -> None:
        for symbol, function in functions.items():
            if _claimed(paths[symbol]):
                write_object(build({symbol: function}, isa), paths[symbol])

    try:
        children.run(work, min(len(functions), jobs or min(children.cores(), children.MOST)))
    except (children.EndedError, OSError) as error:
        hint = "is there room in the temporary folder, and does `ulimit -a` allow large files?"
        if isinstance(error, OSError) or error.signal == signal.SIGKILL:
            hint = "is there memory for several processes? `--jobs 1` compiles in one"
        raise CompileError(f"code generation for {isa.cpu} was ended {error}", hint=hint) from error
    return paths


def _claimed(path: Path) -> bool:
    """Whether an object is this child's to make: whoever creates the file is the one."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def write_object(module: Any, path: Path) -> None:
    """Write the machine code of a built module."""
    module.write_to_file(str(path), "o")


def assembly(module: Any) -> str:
    """The assembly text of a built module."""
    return str(module.inspect_source("asm"))


def _pipeline() -> Any:
    """TVM's lowering for scheduled TIR up to the packed calling convention, then ours.

    LowerTVMBuiltin is left out: it would have TVM's runtime allocate arrays from 1 KiB on, which
    otherwise lie on the stack, and it finds nothing else to lower in a kernel of ours.

    HoistIfThenElse and RemoveNoOp of its default are left out as well: our nests hoist what can be,
    and LLVM drops the rest. They took a quarter of the lowering's time and changed no instruction
    but the choice of registers in three of 340 kernels. CompactBufferAllocation is left out too:
    arrays of ours are as large as their generator says, and its search for what is read of them
    took a fifth to half of all time, and 50 seconds for one kernel.
    """
    script, common = s_tir.transform, tirx.transform
    return tvm.transform.Sequential(
        [
            script.CanonicalizeLoop(),
            script.LowerInitBlock(),
            script.PlanAndUpdateBufferAllocationLocation(),
            script.ConvertBlocksToOpaque(),
            script.LowerMatchBuffer(),
            common.StmtSimplify(),
            script.LowerOpaqueBlock(),
            common.FlattenBuffer(),
            common.NarrowDataType(32),
            script.LoopPartition(),
            common.VectorizeLoop(True),
            common.StorageRewrite(),
            common.UnrollLoop(),
            common.StmtSimplify(),
            script.RewriteUnsafeSelect(),
            common.CommonSubexprElim(),
            common.VerifyMemory(),
            tvm.transform.module_pass(_plain_functions, opt_level=0),
            common.LowerIntrin(),
        ]
    )


def _plain_functions(module: Any, _context: Any) -> Any:
    return tvm.IRModule(
        {name: _plain(function) for name, function in module.functions.items()},
        attrs=module.attrs,
    )


def _plain(function: Any) -> Any:
    """The same function with pointers for buffers, returning 0."""
    parameters, declarations = [], []
    for parameter in function.params:
        if not isinstance(parameter.ty, tirx.buffer.BufferType):
            parameters.append(parameter)
            continue
        pointer = tirx.Var(f"{parameter.name}_p", tvm.ir.PointerType(parameter.ty.dtype))
        parameters.append(pointer)
        declarations.append(tirx.DeclBuffer(parameter, data=pointer))
    body = tirx.SeqStmt([*declarations, function.body])
    # The return stands outside: inside, lowering drops what follows the body.
    body = tirx.SeqStmt([body, tirx.Return(tirx.const(0, "int32"))])
    return tirx.PrimFunc(parameters, body, ret_type=tvm.ir.PrimType("int32"), attrs=function.attrs)
