"""Which function imports which ONNX operator; what is not here is an UnsupportedOpError."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from binas.compile import functions
from binas.compile.importer import Build
from binas.compile.operators import convolution, elementwise, pool, shape

Operator = Callable[[Build, onnx.NodeProto], None]

OPERATORS: dict[tuple[str, str], Operator] = {
    ("", "Add"): elementwise.add,
    ("", "AveragePool"): pool.average_pool,
    ("", "BatchNormalization"): elementwise.batch_normalization,
    ("", "Clip"): elementwise.clip,
    ("", "Concat"): shape.concat,
    ("", "Constant"): shape.constant,
    ("", "Conv"): convolution.conv,
    ("", "Div"): elementwise.scale_or_shift,
    ("", "Dropout"): elementwise.dropout,
    ("", "Flatten"): shape.flatten,
    ("", "Gemm"): convolution.gemm,
    ("", "GlobalAveragePool"): pool.global_average_pool,
    ("", "Identity"): elementwise.identity,
    ("", "LeakyRelu"): elementwise.leaky_relu,
    ("", "MatMul"): convolution.matmul,
    ("", "MaxPool"): pool.max_pool,
    ("", "Mul"): elementwise.scale_or_shift,
    ("", "Neg"): elementwise.negative,
    ("", "PRelu"): elementwise.prelu,
    ("", "Pad"): shape.pad,
    ("", "ReduceMean"): pool.reduce_mean,
    ("", "Relu"): elementwise.relu,
    ("", "Reshape"): shape.reshape,
    ("", "Slice"): shape.slice_channels,
    ("", "Softmax"): elementwise.softmax,
    ("", "Split"): shape.split,
    ("", "Squeeze"): shape.reshape,
    ("", "Sub"): elementwise.scale_or_shift,
    ("", "Transpose"): shape.transpose,
    ("", "Unsqueeze"): shape.reshape,
    (functions.DOMAIN, "BinaryConv2d"): convolution.binary_conv2d,
    (functions.DOMAIN, "BinaryQuantize"): elementwise.binary_quantize,
}
