"""Layer: shapes as torch has them, work counted as papers count it."""

from __future__ import annotations

from itertools import product

import pytest

from binas.core.errors import UsageError
from binas.core.layer import Layer


def conv(**facts: object) -> Layer:
    """A binary convolution of 33 channels on 9x10."""
    given = {"op": "binary_conv", "in_shape": (1, 9, 10, 33), "out_channels": 7, "in_bits": 1}
    return Layer(**{**given, "weight_bits": 1, **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    list(product([(1, 1), (3, 3), (3, 1)], [(1, 1), (2, 2), (2, 1)], [0, 1, 2], [(1, 1), (2, 2)])),
)
def test_the_output_has_the_shape_torch_gives(
    kernel: tuple[int, int], stride: tuple[int, int], padding: int, dilation: tuple[int, int]
) -> None:
    import torch

    layer = conv(kernel=kernel, stride=stride, padding=(padding,) * 4, dilation=dilation)
    x, w = torch.zeros(1, 33, 9, 10), torch.zeros(7, 33, *kernel)
    y = torch.nn.functional.conv2d(x, w, stride=stride, padding=padding, dilation=dilation)
    N, K, P, Q = y.shape
    assert layer.out_shape == (N, P, Q, K)


def test_uneven_padding_counts_each_side() -> None:
    assert conv(kernel=(3, 3), padding=(0, 1, 1, 0)).out_shape == (1, 8, 9, 7)


def test_macs_count_padded_taps_and_divide_by_groups() -> None:
    dense = conv(kernel=(3, 3), padding=(1, 1, 1, 1))
    assert dense.macs == dense.binary_macs == 9 * 10 * 7 * 9 * 33
    grouped = conv(kernel=(3, 3), padding=(1, 1, 1, 1), groups=33, out_channels=33)
    assert grouped.macs == 9 * 10 * 33 * 9


def test_only_xor_and_popcount_are_binary_macs() -> None:
    assert conv(op="conv", in_bits=32, weight_bits=32).binary_macs == 0
    assert conv(op="conv", in_bits=32, weight_bits=1).macs > 0
    pool = conv(op="pool_max", kernel=(2, 2), in_bits=32, weight_bits=0, out_channels=33)
    assert pool.macs == 0


def test_an_epilogue_reads_one_tensor_per_add() -> None:
    assert conv(stages=("affine", "add", "relu", "add")).adds == 2


def test_layers_are_keys() -> None:
    assert conv() == conv()
    assert len({conv(), conv(), conv(stride=(2, 2))}) == 2
    assert sorted([conv(out_channels=9), conv(out_channels=2)])[0].out_channels == 2


def test_a_layer_reads_as_one_line() -> None:
    layer = conv(kernel=(3, 3), padding=(1, 1, 1, 1), stages=("affine", "add"), bits_out=True)
    assert str(layer) == "binary_conv 3x3/1 9x10x33→9x10x7 affine add → f32+bits"


def test_an_affine_before_a_convolution_of_reals_is_said_first() -> None:
    behind = {"op": "conv", "in_bits": 32, "out_channels": 33, "in_affine": True}
    assert str(conv(**behind, groups=33)).startswith("affine → conv 9x10x33→")
    assert str(conv(**behind, weight_bits=1)).startswith("affine → conv 9x10x33→")
    others = (
        {**behind, "kernel": (3, 3), "weight_bits": 1},
        {**behind, "op": "binary_conv", "groups": 33},
        {**behind, "weight_bits": 32},
        {**behind, "weight_bits": 1, "groups": 3},
        {**behind, "weight_bits": 1, "padding": (0, 1, 0, 0)},
    )
    for other in others:
        with pytest.raises(UsageError, match="depthwise or 1x1 with weights of one bit"):
            conv(**other)


@pytest.mark.parametrize(
    "facts",
    [
        {"op": "pool_bits"},  # 7 channels of 33
        {"op": "shuffle", "groups": 1},
        {"op": "pool_bits", "out_channels": 33, "float_out": True},
        {"op": "pool_bits", "out_channels": 33, "stages": ("relu",)},
        {"op": "concat_bits", "out_channels": 33, "parts": (16, 16)},
        {"op": "concat"},
        {"op": "concat", "parts": (8,)},  # of 33 channels, but 7 come out
        {"op": "concat", "out_channels": 64, "parts": (34,)},
        {"op": "concat", "out_channels": 64, "parts": (16, 16)},  # widths are those of the inputs
        {"op": "elementwise"},
        {"op": "softmax", "out_channels": 64},
        {"op": "pool_avg", "out_channels": 64},
        {"op": "slice"},
        {"op": "slice", "parts": (27,)},  # 7 channels behind 27 of 33
        {"op": "slice", "parts": (0, 1)},
    ],
)
def test_what_moves_channels_gives_those_that_it_gets_and_of_bits_nothing_but_bits(
    facts: dict[str, object],
) -> None:
    bits_alone = {"weight_bits": 0, "float_out": False, "bits_out": True}
    with pytest.raises(UsageError, match="expected"):
        conv(**{**bits_alone, **facts})


POOLED = [
    {"kernel": (R, S), "stride": (stride, 1), "padding": padding, "dilation": (step, 1)}
    for R, S in ((1, 1), (2, 3), (3, 2))
    for stride in (1, 2, 3)
    for step in (1, 2, 3, 5)
    for padding in ((0, 0, 0, 0), (1, 1, 1, 1), (2, 0, 1, 3), (5, 1, 6, 2), (4, 0, 4, 0))
]


def windows(layer: Layer, axis: int) -> list[list[int]]:
    """The rows or columns of the image that each window holds."""
    size, first = layer.in_shape[1 + axis], layer.padding[axis]
    starts = [at * layer.stride[axis] - first for at in range(layer.out_shape[1 + axis])]
    reach = [tap * layer.dilation[axis] for tap in range(layer.kernel[axis])]
    return [[at + tap for tap in reach if 0 <= at + tap < size] for at in starts]


@pytest.mark.parametrize("op", ["pool_max", "pool_avg", "pool_bits"])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_pool_has_a_value_at_every_pixel_or_is_none(op: str, size: int) -> None:
    refused = []
    for facts in POOLED:
        pool = {"in_bits": 32, "weight_bits": 0, "out_channels": 33, "in_shape": (1, size, 4, 33)}
        if op == "pool_bits":
            pool |= {"float_out": False, "bits_out": True}
        try:
            like = conv(**{**pool, **facts, "op": "conv"})
        except UsageError:
            continue  # the window does not fit
        if all(all(windows(like, axis)) for axis in (0, 1)):
            conv(**{**pool, **facts, "op": op})
            continue
        with pytest.raises(UsageError, match="a pool's window of nothing but padding"):
            conv(**{**pool, **facts, "op": op})
        refused.append(facts)
    assert 0 < len(refused) < len(POOLED)


def test_a_window_of_nothing_but_padding_has_a_value_where_padding_has_one() -> None:
    assert conv(kernel=(3, 3), padding=(4, 4, 4, 4)).out_shape == (1, 15, 16, 7)
