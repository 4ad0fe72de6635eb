"""Operations: what each writes as ONNX computes what the module computes in evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from binas.compile.model import ModelWriter
from binas.search import ops
from binas.search.binarize import BARS, BI_REAL
from binas.search.folding import affine

Write = Callable[[ModelWriter, list[str]], str]


def settled(module: nn.Module) -> Any:
    """The module in evaluation, with batch norms as training might leave them."""
    generator = torch.Generator().manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            shape = norm.num_features
            norm.running_mean = torch.randn(shape, generator=generator)
            norm.running_var = torch.rand(shape, generator=generator) + 0.1
            if norm.affine:
                with torch.no_grad():
                    norm.weight.copy_(torch.randn(shape, generator=generator))  # negative, too
                    norm.bias.copy_(torch.randn(shape, generator=generator))
    return module.eval()


def deployed(write: Write, *inputs: Tensor) -> tuple[Tensor, list[str]]:
    """What onnxruntime makes of the nodes, and their operators."""
    writer = ModelWriter("op")
    names = [writer.input(f"x{i}", tuple(x.shape)) for i, x in enumerate(inputs)]
    proto = writer.finish([write(writer, names)])
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    (got,) = session.run(None, {f"x{i}": x.numpy() for i, x in enumerate(inputs)})
    return torch.from_numpy(np.asarray(got)), [node.op_type for node in proto.graph.node]


def values(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


def signs(*shape: int) -> Tensor:
    return torch.where(values(*shape) >= 0, 1.0, -1.0)


def must_equal(got: Tensor, module_says: Tensor) -> None:
    torch.testing.assert_close(got, module_says.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("real", [False, True])
def test_batch_norm_and_sign(*, real: bool) -> None:
    op, x = settled(ops.BatchSign(5, BARS, real=real)), values(1, 5, 4, 3)
    got, kinds = deployed(lambda w, x: op.write(w, x[0], "n"), x)
    must_equal(got, op(x))
    assert kinds == ["BatchNormalization"] + ["BinaryQuantize"] * (not real)
    assert real or set(got.flatten().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("binarizer", [BARS, BI_REAL])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2)])
def test_binary_convolution(*, kernel: int, stride: int, binarizer: Any, real: bool) -> None:
    op = ops.BinaryConv(33, 7, kernel, binarizer, stride=stride, real=real)
    with torch.no_grad():
        op.weight[0, 0, 0, 0] = 0.0  # a weight of zero is +1 here and there
    x = signs(1, 33, 6, 4)
    got, kinds = deployed(lambda w, x: op.write(w, x[0], "c"), x)
    must_equal(got, settled(op)(x))
    assert kinds == ["Conv" if real else "BinaryConv2d"]


@pytest.mark.parametrize("binarizer", [BARS, BI_REAL])
def test_a_binary_convolution_computes_the_same_in_training(binarizer: Any) -> None:
    op, x = ops.BinaryConv(9, 4, 3, binarizer), signs(2, 9, 5, 5)
    training = op.train()(x)
    torch.testing.assert_close(training, op.eval()(x), rtol=1e-5, atol=1e-5)


def test_in_evaluation_sums_are_whole_numbers_times_the_scale() -> None:
    op = settled(ops.BinaryConv(9, 4, 3, BI_REAL))
    scale = BI_REAL.weights.scale(op.weight).float()[:, None, None]
    sums = op(signs(1, 9, 5, 5)) / scale
    assert torch.allclose(sums, sums.round(), atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_stems_convolution_with_its_batch_norm_folded(stride: int) -> None:
    op, x = settled(ops.NormConv(3, 8, 3, stride)), values(1, 3, 7, 6)
    got, kinds = deployed(lambda w, x: op.write(w, x[0], "s"), x)
    must_equal(got, op(x))
    assert kinds == ["Conv"]


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_unit_adds_its_shortcut_after_the_relu(*, stride: int, real: bool) -> None:
    op = settled(ops.Unit(8, 6, BI_REAL, stride=stride, real=real))
    bits, shortcut = signs(1, 8, 6, 6), values(1, 6, 6 // stride, 6 // stride) - 5
    got, kinds = deployed(lambda w, x: op.write(w, x[0], x[1], "u"), bits, shortcut)
    must_equal(got, op(bits, shortcut))
    assert (got < 0).any(), "the shortcut went through the ReLU"
    assert kinds == ["Conv" if real else "BinaryConv2d", "Relu", "Add"]


@pytest.mark.parametrize("stride", [1, 2])
def test_a_pool_divides_by_the_taps_inside_the_image(stride: int) -> None:
    op, x = settled(ops.Pool(5, stride=stride)), values(1, 5, 6, 4)
    got, _ = deployed(lambda w, x: op.write(w, x[0], "p"), x)
    must_equal(got, op(x))
    assert got.shape == (1, 5 * stride, 6 // stride, 4 // stride)
    flat = ops.Pool(5, stride=1).eval()(torch.ones(1, 5, 4, 4))
    assert torch.allclose(flat, flat[0, 0, 0, 0].expand_as(flat)), "padding was counted"


def test_the_shortcut_at_stride_two_is_a_mean_twice() -> None:
    op, x = ops.Halve(), values(1, 3, 4, 6)
    got, _ = deployed(lambda w, x: op.write(w, x[0], "h"), x)
    must_equal(got, op(x))
    assert torch.equal(got[:, :3], got[:, 3:])
    assert float(got[0, 0, 0, 0]) == pytest.approx(float(x[0, 0, :2, :2].mean()), abs=1e-6)


def test_the_affine_of_a_batch_norm_is_its_evaluation() -> None:
    norm, x = settled(nn.BatchNorm2d(6)), values(2, 6, 3, 3)
    a, b = affine(norm)
    by_hand = x.double() * torch.from_numpy(a)[:, None, None] + torch.from_numpy(b)[:, None, None]
    torch.testing.assert_close(by_hand.float(), norm(x).detach(), rtol=1e-5, atol=1e-5)
