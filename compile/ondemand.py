"""Steps that no operator asks for: made where a reader cannot do without the value itself.

A binary layer reads the bits of a sign, and a convolution pads for itself; whoever else reads a
sign or a padded image needs it in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from binas.compile.graph import Node, Sign, renamed

if TYPE_CHECKING:
    from binas.compile.importer import Build


def signed(build: Build, name: str) -> str:
    """The float twin, ±1, of a quantized value.

    Args:
        build: Has the value among its quantized ones.
        name: Of the value.
    """
    twin = f"{name}#float"
    if twin in build.graph.values:
        return twin
    x = build.quantized[name]
    if x in build.channels_last:
        build.channels_last.add(twin)
    shape = build.shape(x)
    build.value(twin, shape)
    build.graph.nodes.append(
        Node(
            name=twin,
            sources=(),
            op="elementwise",
            inputs=(x,),
            in_shape=shape,
            out_channels=shape[3],
            stages=(Sign(),),
            float_out=twin,
        )
    )
    return twin


def moved(build: Build, name: str, reader: onnx.NodeProto) -> str:
    """The float twin, ±1, of a packed value that was made of packed values.

    Args:
        build: Has the value among its moved ones.
        name: Of the value.
        reader: Who needs it.
    """
    twin = f"{name}#float"
    if twin not in build.graph.values:
        made = build.moved[name]
        inputs = tuple(build.read_any(one, reader) for one in made.inputs)
        build.value(twin, build.shape(name))
        build.graph.nodes.append(renamed(made, inputs=inputs, float_out=twin))
    return twin


def padded(build: Build, name: str, reader: onnx.NodeProto) -> str:
    """A zero-padded image: what a convolution of single ones, one per channel, makes with padding.

    Args:
        build: Has the image among its padded ones.
        name: Of the padded image.
        reader: Who needs it.
    """
    if name in build.graph.values:
        return name
    image, padding, pad = build.padded[name]
    x = build.read_any(image, reader)
    N, H, W, C = build.shape(x)
    top, left, bottom, right = padding
    build.value(name, (N, H + top + bottom, W + left + right, C))
    build.graph.nodes.append(
        Node(
            name=pad,
            sources=(pad,),
            op="conv",
            inputs=(x,),
            in_shape=(N, H, W, C),
            out_channels=C,
            padding=padding,
            groups=C,
            weights=np.ones((C, 1, 1, 1), np.float32),
            weight_bits=32,
            float_out=name,
        )
    )
    return name
