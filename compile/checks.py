"""What must hold of an ONNX file before anything of ours looks at it."""

from __future__ import annotations

from itertools import count

import onnx
from onnx import numpy_helper

from binas.compile import functions
from binas.core.errors import CompileError
from binas.core.text import MAX_NAME_CHARACTERS, unfit_name

# Of tap names (`runtime/artifact.py`), and of the float twin of a quantized value (`importer.py`).
RESERVED_PREFIXES = ("input:", "output:", "margin:", "brief:")
RESERVED_SUFFIX = "#float"


def checked(proto: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """The model with our bodies attached, every part of a Split named, checked, shapes inferred."""
    _name_parts(proto.graph)
    del proto.functions[:]
    proto.functions.extend(functions.functions(functions.opset_of(proto)))
    try:
        onnx.checker.check_model(proto, full_check=False)
        return onnx.shape_inference.infer_shapes(
            proto, check_type=True, strict_mode=True, data_prop=True
        )
    except Exception as error:  # the checker's and the inferer's errors share no base class
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CompileError(
            f"{where} is not a valid model: {first}", hint="check it with onnx.checker"
        ) from None


def check_header(proto: onnx.ModelProto, where: str) -> None:
    """What must hold before anything else is read: names are text, versions are known."""
    check_texts(proto, where)
    check_versions(proto, where)


def check_versions(proto: onnx.ModelProto, where: str) -> None:
    """Refuse another version of our domain, and opsets that onnxruntime does not run."""
    found = {opset.domain: opset.version for opset in proto.opset_import}
    ours = found.get(functions.DOMAIN)
    if ours is not None and ours != functions.VERSION:
        raise CompileError(
            f"{where} uses {functions.DOMAIN} version {ours}, this binas knows {functions.VERSION}",
            hint="export the model again with this version of binas",
        )
    standard = functions.opset_of(proto)
    if not 13 <= standard <= 26:  # 26 is the last that onnxruntime 1.32 runs
        raise CompileError(
            f"{where} uses ONNX opset {standard}, expected 13 to 26",
            hint="convert it with onnx.version_converter",
        )


def check_texts(proto: onnx.ModelProto, where: str) -> None:
    """Every name must be UTF-8, and a line that can be printed.

    Protobuf hands others out as bytes and takes none of them back.
    """
    graph = proto.graph
    nodes = [*graph.node, *(node for function in proto.functions for node in function.node)]
    names = [name for node in nodes for name in (node.name, node.op_type, node.domain)]
    names += [name for node in nodes for name in (*node.input, *node.output)]
    names += [attribute.name for node in nodes for attribute in node.attribute]
    named = (*graph.input, *graph.output, *graph.value_info, *graph.initializer, *proto.functions)
    names += [entry.name for entry in named]
    for name in names:
        if not isinstance(name, str):
            raise CompileError(
                f"{where}: the name {name!r:.60} is no UTF-8 text", hint="export it again"
            )
    names += [name for prop in proto.metadata_props for name in _lines(prop)]
    unfit = unfit_name(names)
    if unfit is not None:
        raise CompileError(
            f"{where}: the name {unfit!r:.60} is no single line of at most {MAX_NAME_CHARACTERS} "
            "printable characters",
            hint="export it again with other names",
        )


def _lines(prop: onnx.StringStringEntryProto) -> list[str]:
    """The class names of a model, which are printed like its own."""
    if prop.key != "labels":
        return []
    return prop.value.splitlines() if isinstance(prop.value, str) else [""]


def check_tensors(proto: onnx.ModelProto, where: str) -> None:
    """Every constant must have the bytes that its shape and type say; the checker does not look."""
    attributes = (a for node in proto.graph.node for a in node.attribute)
    constants = [a.t for a in attributes if a.type == onnx.AttributeProto.TENSOR]
    for tensor in (*proto.graph.initializer, *constants):
        try:
            numpy_helper.to_array(tensor)
        except Exception as error:  # of numpy, of onnx, of protobuf
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CompileError(
                f"{where}: constant {tensor.name!r} is damaged: {first}", hint="export it again"
            ) from None


def _name_parts(graph: onnx.GraphProto) -> None:
    """At a part of a Split that has no name, for nobody reads it, onnxruntime ends the process."""
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    named = (*graph.input, *graph.initializer, *graph.output, *graph.value_info)
    taken.update(entry.name for entry in named)
    free = (name for i in count(1) if (name := f"part#{i}") not in taken)
    for node in graph.node:
        if node.op_type == "Split":
            node.output[:] = [name or next(free) for name in node.output]


def name_nodes(proto: onnx.ModelProto) -> None:
    """Give every node a name of its own, as reports need."""
    taken = {node.name for node in proto.graph.node}
    seen: set[str] = set()
    for node in proto.graph.node:
        stem = node.name or (node.output[0] if node.output else node.op_type)
        tries = (f"{stem}#{i}" if i > 1 else stem for i in count(1))
        if not node.name or node.name in seen:
            node.name = next(name for name in tries if name not in taken)
            taken.add(node.name)
        seen.add(node.name)


def check_names(proto: onnx.ModelProto, where: str) -> None:
    """Refuse values named like our own."""
    values = (*proto.graph.input, *proto.graph.output, *proto.graph.value_info)
    for value in values:
        if value.name.startswith(RESERVED_PREFIXES) or value.name.endswith(RESERVED_SUFFIX):
            raise CompileError(
                f"{where}: value {value.name!r} has a name that artifacts use themselves",
                hint=f"rename it: no {', '.join(RESERVED_PREFIXES)} in front, no {RESERVED_SUFFIX} "
                "behind",
            )
