"""What is done to bits and not to floats; the plan still means what the file means."""

from __future__ import annotations

from typing import Any

import numpy as np

from binas.compile import truth
from binas.compile.graph import Graph
from binas.compile.model import BinaryModel
from binas.compile.plan import plan
from binas.core import bits
from binas.core.layer import MOVES_BITS
from tests.unit.compile.test_passes import Net, told


def planned(n: Net, *outputs: str) -> Graph:
    """The plan; every step gives the file's values, to the last bit where bits are moved."""
    model = BinaryModel.of(n.finish(outputs), "net")
    graph = plan(model)
    reference = truth.taps(model, graph, truth.fixed_input(model))
    for name, got in truth.meanings(graph, reference).items():
        value = graph.values[name]
        if value.dtype == "bits":
            C = value.shape[3]
            near = reference[f"margin:{name}"] <= 1e-5
            differs = bits.unpack(got, C) != bits.unpack(reference[name], C)
            moved = any(node.op in MOVES_BITS and name in node.writes for node in graph.nodes)
            assert not (differs if moved else differs & ~near).any(), name
        else:
            np.testing.assert_allclose(got, reference[name], atol=1e-4)
    return graph


def pooled(n: Net, x: str, **fields: Any) -> str:
    """A max pool."""
    sizes: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2]}
    return n.node("MaxPool", [x], **{**sizes, **fields})


def scaled(n: Net, x: str, seed: int = 0) -> str:
    """Scales of both signs, and 0; shifts."""
    scale, shift = np.random.default_rng(seed).standard_normal((2, 32, 1, 1))
    scale[3] = 0
    return n.node("Add", [n.node("Mul", [x, n.constant(scale)]), n.constant(shift)])


def test_a_max_pool_before_a_sign_pools_the_bits_of_the_step_before_it() -> None:
    n = Net()
    y = scaled(n, pooled(n, n.conv(n.x, "a")))
    graph = planned(n, n.conv(y, "b"))
    assert told(graph)[1:3] == ["binary_conv affine → bits", "pool_bits → bits"]
    weights = graph.nodes[2].weights
    assert weights is not None
    assert set(weights.tolist()) == {-1.0, 1.0}  # where the scale is negative, the least


def test_pools_and_activations_in_a_row_all_become_bits() -> None:
    n = Net()
    y = pooled(n, n.relu(pooled(n, scaled(n, n.conv(n.x, "a"), 1))), strides=[1, 1])
    graph = planned(n, n.conv(scaled(n, y), "b"))
    assert [node.op for node in graph.nodes] == [
        "elementwise",
        "binary_conv",
        "pool_bits",
        "pool_bits",
        "binary_conv",
    ]


def test_a_max_pool_of_signs_is_a_pool_of_bits_and_feeds_a_binary_convolution() -> None:
    n = Net()
    q = pooled(n, pooled(n, n.binary_quantize(n.norm(n.conv(n.x, "a")))))
    y = n.binary_conv2d(q, np.ones((4, 1, 1, 32)), scale=np.ones(4), bias=np.zeros(4), name="b")
    graph = planned(n, y)
    assert [node.op for node in graph.nodes][1:] == [
        "binary_conv",
        "pool_bits",
        "pool_bits",
        "binary_conv",
    ]
    assert graph.kinds["b"][0] == "binary"


def test_the_sign_of_signs_is_another_name_for_them() -> None:
    n = Net()
    q = n.binary_quantize(pooled(n, n.binary_quantize(n.conv(n.x, "a"))))
    y = n.binary_conv2d(q, np.ones((4, 1, 1, 32)), scale=np.ones(4), bias=np.zeros(4))
    ops = [node.op for node in planned(n, y).nodes]
    assert ops == ["elementwise", "binary_conv", "pool_bits", "binary_conv"]


def test_who_reads_pooled_signs_as_floats_gets_floats() -> None:
    n = Net()
    q = pooled(n, n.binary_quantize(n.conv(n.x, "a")))
    y = n.node("AveragePool", [q], kernel_shape=[2, 2])
    assert told(planned(n, y))[-2:] == ["pool_max → f32", "pool_avg → f32"]


def test_a_pool_whose_floats_are_read_stays_one_of_floats() -> None:
    n = Net()
    p = pooled(n, n.conv(n.x, "a"))
    assert "pool_max → f32 bits" in told(planned(n, n.conv(p, "b"), n.relu(p)))


def test_what_leaves_as_floats_anyway_is_packed_beside_them_for_a_wide_pool_alone() -> None:
    for stride, found in ((1, "pool_bits → bits"), (2, "pool_max → bits")):
        n = Net()
        y = n.conv(n.x, "a")
        p = pooled(n, y, strides=[stride] * 2)
        assert found in told(planned(n, n.conv(p, "b"), n.relu(y)))


def test_a_sign_that_is_taken_already_serves_a_pool_and_a_concat() -> None:
    n = Net()
    y = n.conv(n.x, "a")
    z = n.norm(y)
    graph = planned(n, n.conv(z, "d"), n.conv(n.norm(pooled(n, y)), "e"))
    assert told(graph)[1] == "binary_conv affine → bits"
    assert "pool_bits → bits" in told(graph)
    n = Net()
    y = n.conv(n.x, "a")
    joined = n.node("Concat", [y, n.conv(n.x, "b", K=33)], axis=1)
    graph = planned(n, n.conv(y, "d"), convolved(n, joined, 65))
    assert told(graph)[1:3] == ["binary_conv affine → bits"] * 2


def test_a_pool_stays_before_what_neither_rises_nor_falls() -> None:
    for slope in (-0.5, 0.5):
        n = Net()
        y = n.node("PRelu", [pooled(n, n.conv(n.x, "a")), n.constant(np.full((32, 1, 1), slope))])
        ops = [node.op for node in planned(n, n.conv(y, "b")).nodes]
        assert ("pool_bits" in ops) == (slope > 0)


def test_a_pool_of_the_model_s_input_stays_one() -> None:
    n = Net()
    assert told(planned(n, n.conv(pooled(n, n.x), "a")))[0] == "pool_max → bits"


def both(n: Net) -> list[str]:
    """Two convolutions of the input, of 32 and 33 channels."""
    return [n.conv(n.x, "a"), n.conv(n.x, "b", K=33)]


def convolved(n: Net, x: str, C: int) -> str:
    """A binary convolution of the sign of C channels."""
    q = n.binary_quantize(x)
    return n.binary_conv2d(q, np.ones((4, 1, 1, C)), scale=np.ones(4), bias=np.zeros(4), name="c")


def test_a_concat_before_a_sign_joins_the_bits_of_the_steps_before_it() -> None:
    n = Net()
    y = n.relu(n.norm(n.node("Concat", both(n), axis=1), C=65))
    assert told(planned(n, convolved(n, y, 65)))[1:4] == [
        "binary_conv affine relu → bits",
        "binary_conv affine relu → bits",
        "concat_bits → bits",
    ]


def test_a_part_with_another_reader_leaves_as_floats_and_as_bits() -> None:
    n = Net()
    a, b = both(n)
    y = n.norm(n.node("Concat", [a, b], axis=1), C=65)
    assert told(planned(n, convolved(n, y, 65), n.relu(a)))[1:4] == [
        "binary_conv affine → f32 own bits",
        "binary_conv affine → bits",
        "concat_bits → bits",
    ]


def test_a_concat_stays_one_of_floats_where_a_part_cannot_be_packed_before() -> None:
    for parts in (["a", "x"], ["a", "a"]):
        n = Net()
        named = {"a": n.conv(n.x, "a"), "x": n.x}
        y = n.node("Concat", [named[part] for part in parts], axis=1)
        assert "concat → bits" in told(planned(n, convolved(n, y, 64)))


def test_a_concat_stays_one_of_floats_where_all_its_parts_leave_as_floats() -> None:
    n = Net()
    a, b = both(n)
    y = n.norm(n.node("Concat", [a, b], axis=1), C=65)
    graph = planned(n, convolved(n, y, 65), n.relu(a), n.relu(b))
    assert "concat affine → bits" in told(graph)


def test_pools_and_concats_in_turns_all_become_bits() -> None:
    n = Net()
    y = pooled(n, n.node("Concat", both(n), axis=1))
    z = n.norm(n.node("Concat", [y, pooled(n, n.conv(n.x, "d"))], axis=1), C=97)
    ops = [node.op for node in planned(n, convolved(n, z, 97)).nodes]
    assert ops.count("pool_bits") == ops.count("concat_bits") == 2
    assert not {"pool_max", "concat"} & set(ops)


def test_a_concat_of_signs_feeds_a_binary_convolution() -> None:
    n = Net()
    q = n.node("Concat", [n.binary_quantize(x) for x in both(n)], axis=1)
    y = n.binary_conv2d(q, np.ones((4, 1, 1, 65)), scale=np.ones(4), bias=np.zeros(4), name="c")
    graph = planned(n, y, n.node("GlobalAveragePool", [q]))
    assert graph.kinds["c"][0] == "binary"
    assert "concat_bits" in [node.op for node in graph.nodes]


def shuffled(n: Net, x: str, C: int, groups: int) -> str:
    """The channels of a 4x4 image in another order."""
    apart = n.constant(np.array([1, groups, C // groups, 4, 4]))
    y = n.node("Transpose", [n.node("Reshape", [x, apart])], perm=[0, 2, 1, 3, 4])
    return n.node("Reshape", [y, n.constant(np.array([1, C, 4, 4]))])


def random_conv(n: Net, q: str, groups: int = 1, K: int = 32) -> str:
    """A binary convolution whose weights are not all alike."""
    w = np.where(np.random.default_rng(5).standard_normal((K, 3, 3, 32 // groups)) >= 0, 1.0, -1.0)
    scale, bias = np.full(K, 0.1), np.zeros(K)
    return n.binary_conv2d(q, w, scale=scale, bias=bias, group=groups, pads=[1] * 4)


def test_a_shuffle_before_a_convolution_is_one_of_its_weights() -> None:
    n = Net()
    y = shuffled(n, n.norm(random_conv(n, n.binary_quantize(n.x))), 32, 4)
    graph = planned(n, random_conv(n, n.binary_quantize(y)))
    assert [node.op for node in graph.nodes] == ["elementwise", "binary_conv", "binary_conv"]
    n = Net()
    y = shuffled(n, n.relu(n.x), 32, 2)
    w = n.constant(np.random.default_rng(0).standard_normal((3, 32, 3, 3)))
    graph = planned(n, n.node("Conv", [y, w]))
    assert [node.op for node in graph.nodes] == ["elementwise", "conv"]


def test_a_shuffle_before_groups_moves_bits() -> None:
    for early in (False, True):
        n = Net()
        y = random_conv(n, n.binary_quantize(n.x))
        q = (
            shuffled(n, n.binary_quantize(y), 32, 2)
            if early
            else n.binary_quantize(n.norm(shuffled(n, y, 32, 2)))
        )
        graph = planned(n, random_conv(n, q, groups=32))
        ops = [node.op for node in graph.nodes]
        assert ops == ["elementwise", "binary_conv", "shuffle_bits", "binary_conv"]


def test_a_shuffle_that_is_read_as_floats_is_one_of_floats() -> None:
    n = Net()
    y = shuffled(n, random_conv(n, n.binary_quantize(n.x)), 32, 8)
    graph = planned(n, n.add(n.norm(y), n.x))
    assert told(graph)[-1] == "shuffle affine add → f32"


def test_a_shuffle_of_one_group_or_of_single_channels_is_none() -> None:
    for groups in (1, 32):
        n = Net()
        assert len(planned(n, shuffled(n, n.relu(n.x), 32, groups)).nodes) == 1
