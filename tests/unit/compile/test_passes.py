"""What fuses and, more important, what must not; meanings are kept (tests/property checks that)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from binas.compile.graph import Graph, Node
from binas.compile.model import BinaryModel, ModelWriter
from binas.compile.plan import plan
from binas.core.errors import CompileError


class Net(ModelWriter):
    """A writer with 32 channels everywhere."""

    def __init__(self) -> None:
        super().__init__("net")
        self.x = self.input("x", (1, 32, 4, 4))

    def conv(self, x: str, name: str, K: int = 32, **fields: Any) -> str:
        """A binary convolution of the sign of x."""
        w = np.ones((K, 1, 1, 32 // fields.get("group", 1)))
        scale, bias = np.full(K, 2.0), np.ones(K)
        q = self.binary_quantize(x)
        return self.binary_conv2d(q, w, scale=scale, bias=bias, name=name, **fields)

    def norm(self, x: str, name: str = "", C: int = 32, seed: int = 0) -> str:
        """A batch norm; equal seeds give equal ones."""
        arrays = np.random.default_rng(seed).random((4, C)) + 0.5
        return self.node("BatchNormalization", [x, *map(self.constant, arrays)], name=name)

    def add(self, x: str, y: str) -> str:
        """A sum."""
        return self.node("Add", [x, y])

    def relu(self, x: str) -> str:
        """Relu."""
        return self.node("Relu", [x])

    def plan(self, *outputs: str) -> Graph:
        """The fused plan."""
        return plan(BinaryModel.of(self.finish(outputs), "net"))


def told(graph: Graph) -> list[str]:
    """The steps in words, without their sizes."""
    return [
        " ".join([n.layer.op, *n.layer.stages, "→", *(["f32"] if n.float_out else [])])
        + (" own" if n.bits_affine else "")
        + (" bits" if n.bits_out else "")
        for n in graph.nodes
    ]


def test_a_block_is_one_step() -> None:
    n = Net()
    y = n.relu(n.add(n.norm(n.conv(n.x, "a")), n.x))
    assert told(n.plan(n.conv(y, "b"))) == [
        "elementwise → bits",
        "binary_conv affine add relu → bits",
        "binary_conv affine → f32",
    ]


def test_a_step_names_all_nodes_it_stands_for() -> None:
    n = Net()
    graph = n.plan(n.norm(n.conv(n.x, "a"), name="norm"))
    assert graph.nodes[-1].name == "a"
    assert graph.nodes[-1].sources == ("a", "norm")


def test_a_value_with_two_readers_is_written() -> None:
    n = Net()
    y = n.conv(n.x, "a")
    graph = n.plan(n.add(n.relu(y), n.norm(y)))
    assert told(graph) == [
        "elementwise → bits",
        "binary_conv affine → f32",
        "elementwise relu → f32",
        "elementwise affine add → f32",
    ]


def test_an_output_is_written_though_somebody_reads_it() -> None:
    n = Net()
    y = n.conv(n.x, "a")
    graph = n.plan(y, n.relu(y))
    assert told(graph)[1:] == ["binary_conv affine → f32", "elementwise relu → f32"]


def test_of_two_addends_the_one_made_last_takes_the_sum() -> None:
    for first in (True, False):
        n = Net()
        early, late = n.conv(n.x, "early"), n.conv(n.relu(n.x), "late")
        graph = n.plan(n.add(early, late) if first else n.add(late, early))
        names = {node.name: node for node in graph.nodes}
        assert names["late"].layer.stages == ("affine", "add")
        assert names["early"].layer.stages == ("affine",)


def test_a_value_added_to_itself_is_read_twice() -> None:
    n = Net()
    y = n.conv(n.x, "a")
    graph = n.plan(n.add(y, y))
    assert told(graph)[1:] == ["binary_conv affine → f32", "elementwise add → f32"]
    assert graph.nodes[-1].reads == (graph.nodes[1].float_out,) * 2


def test_equal_norms_before_equal_signs_are_packed_once() -> None:
    n = Net()
    y = n.conv(n.x, "a")
    b, c = n.conv(n.norm(y), "b"), n.conv(n.norm(y), "c")
    graph = n.plan(y, n.add(b, c))
    assert told(graph)[1] == "binary_conv affine → f32 own bits"
    assert sum(node.bits_out is not None for node in graph.nodes) == 2
    assert [node.op for node in graph.nodes].count("elementwise") == 1


def test_two_thresholds_of_one_value_are_two_packs() -> None:
    n = Net()
    y = n.conv(n.x, "a")
    b, c = n.conv(n.norm(y, seed=1), "b"), n.conv(n.norm(y, seed=2), "c")
    assert told(n.plan(n.add(b, c))) == [
        "elementwise → bits",
        "binary_conv affine → f32 own bits",
        "binary_conv affine → f32",
        "elementwise affine → bits",
        "binary_conv affine add → f32",
    ]


def test_bits_and_floats_leave_together_where_both_are_read() -> None:
    n = Net()
    y = n.conv(n.x, "a")
    assert told(n.plan(n.add(n.conv(y, "b"), y))) == [
        "elementwise → bits",
        "binary_conv affine → f32 bits",
        "binary_conv affine add → f32",
    ]


def test_neighbouring_affines_become_one_and_others_do_not() -> None:
    n = Net()
    y = n.norm(n.node("Mul", [n.norm(n.conv(n.x, "a")), n.constant(np.array(3.0))]))
    assert told(n.plan(y))[1] == "binary_conv affine → f32"
    n = Net()
    y = n.norm(n.relu(n.norm(n.conv(n.x, "a"))))
    assert told(n.plan(y))[1] == "binary_conv affine relu affine → f32"


def test_groups_pack_what_they_make_wherever_they_begin() -> None:
    for K in (64, 66):
        n = Net()
        x = n.node("Concat", [n.x, n.x], axis=1)
        q = n.binary_quantize(x)
        a = n.binary_conv2d(
            q, np.ones((K, 1, 1, 32)), scale=np.ones(K), bias=np.zeros(K), group=2, name="a"
        )
        b = n.binary_conv2d(
            n.binary_quantize(a),
            np.ones((4, 1, 1, K)),
            scale=np.ones(4),
            bias=np.zeros(4),
            name="b",
        )
        assert told(n.plan(b))[1:] == ["binary_conv affine → bits", "binary_conv affine → f32"]


def test_a_concat_packs_itself_wherever_its_parts_begin() -> None:
    for channels in (32, 24, 1):
        n = Net()
        z = n.input("z", (1, channels, 4, 4))
        x = n.node("Concat", [z, n.x], axis=1)
        w = np.ones((4, 1, 1, 32 + channels))
        q = n.binary_quantize(x)
        graph = n.plan(n.binary_conv2d(q, w, scale=np.ones(4), bias=np.zeros(4)))
        assert [node.op for node in graph.nodes] == ["concat", "binary_conv"]
        assert graph.nodes[0].bits_out is not None


def test_zero_channels_behind_a_part_of_a_word_are_packed_with_it() -> None:
    for channels in (32, 24):
        n = Net()
        z = n.input("z", (1, channels, 4, 4))
        x = n.node("Pad", [z, n.constant(np.array([0, 0, 0, 0, 0, 16, 0, 0]))])
        w = np.ones((4, 1, 1, 16 + channels))
        q = n.binary_quantize(x)
        graph = n.plan(n.binary_conv2d(q, w, scale=np.ones(4), bias=np.zeros(4)))
        assert [node.op for node in graph.nodes] == ["concat", "binary_conv"]
        assert graph.nodes[0].bits_out is not None


def test_a_concat_that_two_norms_read_is_made_by_both() -> None:
    n = Net()
    z = n.input("z", (1, 24, 4, 4))
    x = n.node("Concat", [z, n.x], axis=1)
    graph = n.plan(n.norm(x, "a", C=56), n.norm(x, "b", C=56, seed=1))
    assert told(graph) == ["concat affine → f32"] * 2
    assert [node.name for node in graph.nodes] == ["a", "b"]


def test_a_concat_that_weights_of_one_bit_read_behind_norms_is_made_once() -> None:
    n = Net()
    x, signs = n.node("Concat", [n.input("z", (1, 24, 4, 4)), n.x], axis=1), np.ones((8, 56, 1, 1))
    signs[:, ::3] = -1
    convs = [
        n.node("Conv", [n.norm(x, f"n{i}", C=56, seed=i), n.constant(signs)], name=f"c{i}")
        for i in range(2)
    ]
    concat, *readers = n.plan(*convs).nodes
    assert str(concat.layer).endswith("→ f32")
    for i, node in enumerate(readers):
        assert str(node.layer).startswith("affine → conv 4x4x56→4x4x8")
        assert node.inputs == (concat.float_out,)
        assert node.sources == (f"n{i}", f"c{i}")


def test_a_concat_is_made_once_for_a_norm_that_moves_on_and_one_that_stays() -> None:
    n = Net()
    x = n.node("Concat", [n.input("z", (1, 24, 4, 4)), n.x], axis=1)
    signs = n.constant(np.where(np.arange(8 * 56).reshape(8, 56, 1, 1) % 3, 1.0, -1.0))
    y = n.node("Conv", [n.norm(x, "a", C=56), signs])
    assert told(n.plan(y, n.relu(n.norm(x, "b", C=56, seed=1)))) == [
        "concat → f32",
        "conv affine → f32",
        "elementwise affine relu → f32",
    ]


def test_a_norm_that_is_added_by_who_multiplies_it_with_one_bit_stays() -> None:
    n = Net()
    z = n.norm(n.relu(n.x))
    signs = n.constant(np.where(np.arange(32 * 32).reshape(32, 32, 1, 1) % 3, 1.0, -1.0))
    assert not any(
        node.layer.in_affine for node in n.plan(n.add(n.node("Conv", [z, signs]), z)).nodes
    )


def test_a_concat_that_somebody_reads_as_it_is_stays() -> None:
    n = Net()
    z = n.input("z", (1, 24, 4, 4))
    x = n.node("Concat", [z, n.x], axis=1)
    pooled = n.node("GlobalAveragePool", [x])
    for outputs in ((n.norm(x, "a", C=56), pooled), (n.norm(x, "b", C=56), x)):
        assert told(n.plan(*outputs))[0] == "concat → f32"


def test_a_norm_never_crosses_a_pool_whose_floats_are_read() -> None:
    n = Net()
    p = n.node("MaxPool", [n.conv(n.x, "a")], kernel_shape=[2, 2], name="pool")
    normed = n.norm(p)
    assert told(n.plan(n.conv(normed, "b"), normed))[:3] == [
        "elementwise → bits",
        "binary_conv affine → f32",
        "pool_max affine → f32 bits",
    ]


def _behind_norms(readers: int, *, groups: int = 32, shown: bool = False) -> list[Node]:
    """The plan's steps of a value that real convolutions read, each behind one same batch norm."""
    n, w = Net(), np.ones((32, 32 // groups, 3, 3), np.float32)
    y = n.conv(n.x, "a")
    z = n.norm(y, name="norm")
    convs = [
        n.node("Conv", [z, n.constant(w)], name=f"c{i}", group=groups, pads=[1] * 4)
        for i in range(readers)
    ]
    return n.plan(y, *convs, *([z] if shown else [])).nodes


def test_a_norm_moves_into_all_depthwise_convolutions_that_read_it() -> None:
    for readers in (1, 3):
        _, made, *convs = _behind_norms(readers)
        assert [node.op for node in convs] == ["conv"] * readers
        for node in convs:
            assert node.inputs == (made.float_out,)
            assert node.layer.in_affine
            assert node.sources == ("norm", node.name)


def test_a_norm_that_is_added_by_who_convolves_it_stays() -> None:
    n = Net()
    z, w = n.norm(n.relu(n.x)), n.constant(np.ones((32, 1, 3, 3), np.float32))
    y = n.node("Conv", [z, w], group=32, pads=[1] * 4)
    assert told(n.plan(n.add(y, z)))[-1] == "conv add → f32"
    assert not any(node.layer.in_affine for node in n.plan(n.add(y, z)).nodes)


def test_a_norm_of_the_image_moves_into_a_depthwise_convolution() -> None:
    n = Net()
    w = n.constant(np.ones((32, 1, 3, 3), np.float32))
    (node,) = n.plan(n.node("Conv", [n.norm(n.x), w], group=32, pads=[1] * 4)).nodes
    assert node.inputs == ("x",)
    assert node.layer.in_affine


def test_a_norm_of_a_large_mean_stays_in_front_of_a_depthwise_convolution() -> None:
    for most, folded in ((16.0, True), (17.0, False)):
        n, bias = Net(), np.zeros((32, 1, 1), np.float32)
        bias[5] = -most
        scaled = n.node("Mul", [n.x, n.constant(np.full((32, 1, 1), 2.0))])
        z, w = n.add(scaled, n.constant(bias)), n.constant(np.ones((32, 1, 3, 3), np.float32))
        graph = n.plan(n.node("Conv", [z, w], group=32, pads=[1] * 4))
        assert graph.nodes[-1].layer.in_affine is folded
        assert len(graph.nodes) == 2 - folded


def test_what_a_norm_makes_of_weights_has_to_be_finite() -> None:
    n = Net()
    scale = n.node("Mul", [n.x, n.constant(np.full((32, 1, 1), 1e20))])
    w = n.constant(np.full((32, 1, 3, 3), 1e20, np.float32))
    y = n.node("Conv", [scale, w], name="large", group=32, pads=[1] * 4)
    with pytest.raises(CompileError, match="'large' has weights that are NaN, infinite"):
        n.plan(y)


def test_a_norm_that_others_read_stays() -> None:
    for nodes in (_behind_norms(1, groups=1), _behind_norms(2, shown=True)):
        assert "elementwise" in [node.op for node in nodes[2:]]
        assert not any(node.layer.in_affine for node in nodes)


def test_nothing_is_left_of_a_value_that_was_fused_away() -> None:
    n = Net()
    graph = n.plan(n.relu(n.norm(n.conv(n.x, "a"))))
    known = {name for node in graph.nodes for name in (*node.reads, *node.writes)}
    assert set(graph.values) == known


def test_a_network_without_a_step_is_fine() -> None:
    n = Net()
    graph = n.plan(n.node("Identity", [n.x]))
    assert graph.nodes == []
    assert graph.outputs == ["x"]
