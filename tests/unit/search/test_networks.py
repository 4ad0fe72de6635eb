"""Networks: the supernet at one-hot weights is the derived network, and its export is, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast, get_args

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from binas.compile.build import plan_layers
from binas.compile.model import BinaryModel
from binas.core import record
from binas.search.cost import count
from binas.search.export import export
from binas.search.genotype import CellOps, Genotype
from binas.search.networks.bars import Network, build
from binas.search.networks.bars_supernet import Choice, Supernet, logits, one_hot, sample
from binas.search.ops import BinaryConv
from binas.search.space import OpName, Process, Space
from binas.search.survey import random_genotypes


def settled(space: Space, seed: int = 0) -> Supernet:
    """A supernet in evaluation and float64, its batch norms as training might leave them.

    Binary weights all have one size: the scale of a channel is a mean over its inputs, so
    otherwise a narrower network would have other scales than the supernet, which is meant.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = Supernet(space)
        for module in net.modules():
            if isinstance(module, BinaryConv):
                module.weight.data.sign_().mul_(0.05)
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_()
                module.running_var.uniform_(0.1, 2)
    return net.double().eval()


def inherited(net: Supernet, genotype: Genotype) -> Network:
    """The derived network with the weights that the supernet has for it."""
    space, choice = genotype.space, one_hot(genotype)
    node = [net.mask(stage, w).flatten().bool() for stage, w in enumerate(choice.width)]
    out = [mask.repeat(space.nodes) for mask in node]
    derived = build(genotype).double().eval()

    def take(piece: nn.Module, source: nn.Module, live: Mapping[str, tuple[Tensor, ...]]) -> None:
        """Copy every tensor of a piece, keeping the live channels of its leading axes."""
        given, kept = source.state_dict(), {}
        for key in piece.state_dict():
            tensor = given[key]
            stem = next(stem for stem in live if key.startswith(stem))
            for axis, mask in enumerate(live[stem][: tensor.dim()]):
                tensor = tensor.index_select(axis, mask.nonzero().flatten())
            kept[key] = tensor
        piece.load_state_dict(kept)

    def cell(read: Tensor, processed: Tensor, made: Tensor) -> dict[str, tuple[Tensor, ...]]:
        found = {
            "sign.": (read,),
            "process.": (processed, read),
            "shortcut.": (made.repeat(space.nodes), read),
        }
        for edge, (source, _) in enumerate(space.edges):
            known = processed if source == 0 else made
            found[f"units.{edge}."] = (made, known)
            found[f"pools.{edge}."] = found[f"signs.{source}."] = (known,)
        return found

    colours = torch.ones(space.input_shape[0], dtype=torch.bool)
    classes = torch.ones(space.classes, dtype=torch.bool)
    for name, piece in zip(derived.names, derived.pieces, strict=True):
        if name == "stem":
            live: dict[str, tuple[Tensor, ...]] = {
                "first.conv": (node[0], colours),
                "first.norm": (node[0],),
                "second.conv": (out[0], node[0]),
                "second.norm": (out[0],),
            }
            take(piece, net.stem, live)
        elif name == "head":
            take(piece, net.head, {"linear.weight": (classes, out[-1]), "linear.bias": (classes,)})
        elif name.startswith("reduction"):
            stage = int(name.removeprefix("reduction"))
            after = node[stage + 1]
            parts = cell(out[stage], after[: len(after) // 2], after)
            take(piece, net.reduction[stage], parts)
        else:
            stage, place = map(int, name.removeprefix("stage").split(".cell"))
            cells = cast(nn.ModuleList, net.normal[stage])
            take(piece, cells[place], cell(out[stage], node[stage], node[stage]))
    return derived


def images(space: Space, count: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn((count, *space.input_shape), generator=generator, dtype=torch.float64)


def as_doubles(choice: Choice) -> Choice:
    return choice.with_tensors([tensor.double() for tensor in choice.tensors()])


@pytest.mark.parametrize("process", get_args(Process))
def test_the_supernet_at_one_hot_weights_is_the_derived_network(
    space: Space, process: Process
) -> None:
    space = replace(space, process=process)
    net, x = settled(space), images(space)
    found = random_genotypes(space, 25, seed=4)
    assert len({g.widths for g in found}) > 3
    for genotype in found:
        with torch.no_grad():
            expected = inherited(net, genotype)(x)
            got = net(x, as_doubles(one_hot(genotype)))
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9, msg=str(genotype))


@pytest.mark.paper_check(number=1)
def test_a_bars_cell_of_four_nodes_has_ten_edges_and_a_stage_a_choice_of_depth_and_width() -> None:
    ops: tuple[OpName, ...] = ("skip", "b3")
    space = Space(
        input_shape=(3, 32, 32),
        classes=10,
        channels=16,
        nodes=4,
        min_cells=0,  # of two: a stage of four nodes, source and sink among them, has 3 depths
        normal_ops=ops,
        reduction_ops=ops,
    )
    choice = logits(space, torch.Generator())
    assert [v.shape for v in choice.depth] == [(3,)] * 3
    assert [v.shape for v in choice.width] == [(4,)] * 3
    assert [[v.shape for v in stage] for stage in choice.normal] == [[(10, 2)] * 2] * 3
    assert [v.shape for v in choice.reduction] == [(10, 2)] * 2


@pytest.mark.paper_check(number=12)
@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_one_hot_depth_gives_exactly_that_cell(hollow: Space, stage: int, depth: int) -> None:
    net, x = settled(hollow), images(hollow)
    choice = as_doubles(logits(hollow, torch.Generator().manual_seed(1)).probabilities())
    certain = torch.nn.functional.one_hot(torch.tensor(depth), 3).double()
    depths = (*choice.depth[:stage], certain, *choice.depth[stage + 1 :])
    made: list[Tensor] = []  # x_0, x_1, x_2 of the stage
    source = [net.stem, *net.reduction][stage]
    for module in (source, *cast(nn.ModuleList, net.normal[stage])):
        module.register_forward_hook(lambda _m, _i, out: made.append(out))
    read: list[Tensor] = []  # y of the stage
    sink = [*net.reduction, net.head][stage]
    sink.register_forward_hook(lambda _m, inputs, _o: read.append(inputs[0]))
    with torch.no_grad():
        net(x, replace(choice, depth=depths))
    assert len(made) == 3
    assert torch.equal(read[0], made[depth])
    assert not any(torch.equal(read[0], other) for other in made if other is not made[depth])


@pytest.mark.paper_check(number=13)
def test_one_hot_width_silences_the_upper_channels_of_what_convolutions_read(
    hollow: Space,
) -> None:
    net = settled(hollow)
    narrow = next(g for g in random_genotypes(hollow, 200, seed=0) if g.widths == (1, 1))
    read: list[Tensor] = []
    for module in net.modules():
        if isinstance(module, BinaryConv):
            module.register_forward_hook(lambda _m, inputs, _o: read.append(inputs[0]))
    with torch.no_grad():
        net(images(hollow), as_doubles(one_hot(narrow)))
    assert read
    for bits in read:
        assert {0.0} < set(bits.unique().tolist()) <= {-1.0, 0.0, 1.0}
        dead = (bits == 0).all(dim=0).flatten(1).all(dim=1)
        assert dead.sum() * 2 == len(dead), "at half the width half of the channels are silent"
        assert (bits[:, ~dead] != 0).all()


@pytest.mark.paper_check(number=13)
def test_the_mask_of_a_stage_is_made_of_halves_that_a_reduction_doubles(hollow: Space) -> None:
    net = Supernet(hollow)
    half = torch.tensor([0.0, 1.0, 0.0])
    assert net.mask(0, half).flatten().tolist() == [1] * 4 + [0] * 4
    assert net.mask(1, half).flatten().tolist() == ([1] * 4 + [0] * 4) * 2
    soft = net.mask(0, torch.tensor([0.2, 0.3, 0.5])).flatten()
    torch.testing.assert_close(soft, torch.tensor([1.0] * 2 + [0.8] * 2 + [0.5] * 4))


def test_every_choice_has_a_gradient(space: Space) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Supernet(space).train()
    generator = torch.Generator().manual_seed(2)
    choice = logits(space, generator)
    out = net(images(space, 8).float(), sample(choice, 1.0, generator))
    (out**2).sum().backward()
    for tensor in choice.tensors():
        assert tensor.grad is not None
        assert (tensor.grad != 0).any()


def test_samples_are_distributions_and_only_depth_is_free_of_noise(tiny: Space) -> None:
    generator = torch.Generator().manual_seed(0)
    choice = logits(tiny, generator)
    with torch.no_grad():
        first, second = (sample(choice, 0.5, generator) for _ in range(2))
        cold = sample(choice, 1e-3, generator)
    for tensor in first.tensors():
        torch.testing.assert_close(tensor.sum(-1), torch.ones(tensor.shape[:-1]))
    assert all(map(torch.equal, first.depth, second.depth))
    for a, b in ((first.width, second.width), (first.normal[0], second.normal[0])):
        assert not any(map(torch.equal, a, b))
    assert all((width.max() > 0.99) for width in cold.width)


def test_gumbel_samples_follow_the_probabilities(tiny: Space) -> None:
    wanted = torch.tensor([0.7, 0.3])
    choice = logits(tiny, torch.Generator().manual_seed(0))
    choice = replace(choice, width=(wanted.log(), choice.width[1]))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        drawn = [int(sample(choice, 0.1, generator).width[0].argmax()) for _ in range(600)]
    assert abs(drawn.count(0) / 600 - 0.7) < 0.06  # three standard deviations


def proto_of(genotype: Genotype) -> onnx.ModelProto:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return export(build(genotype), genotype)


@pytest.mark.paper_check(number=16)
def test_written_and_read_a_genotype_builds_the_same_network(space: Space) -> None:
    for genotype in random_genotypes(space, 8, seed=9):
        again = record.loads(Genotype, record.dumps(genotype), where="text")
        assert str(again) == str(genotype)
        protos = [proto_of(g) for g in (genotype, again)]
        assert protos[0].SerializeToString() == protos[1].SerializeToString()
        counts = [
            count(layer for _, layer in plan_layers(BinaryModel.of(proto, "net")))
            for proto in protos
        ]
        assert counts[0] == counts[1]
        assert counts[0].binary_weights > 0


@pytest.mark.paper_check(number=16)
def test_a_network_without_normal_cells_builds_and_runs(hollow: Space) -> None:
    cell: CellOps = ("b3", "none", "skip")
    genotype = Genotype(space=hollow, widths=(0, 2), normal=((), ()), reduction=(cell,))
    net = build(genotype)
    assert net.names == ("stem", "reduction0", "head")
    assert net(images(hollow).float()).shape == (4, 3)


@pytest.mark.parametrize("real", [False, True])
def test_the_exported_network_computes_what_the_module_computes(
    space: Space, *, real: bool
) -> None:
    for genotype in random_genotypes(space, 4, seed=2):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            net = build(genotype, real=real)
            net(torch.randn(16, *space.input_shape))  # statistics other than 0 and 1
        net.eval()
        x = images(space, 1).float()
        proto = export(net, genotype, labels=("a", "b", "c"))
        session = onnxruntime.InferenceSession(proto.SerializeToString())
        (got,) = session.run(None, {"input": x.numpy()})
        np.testing.assert_allclose(got, net(x).detach().numpy(), rtol=1e-4, atol=1e-4)
        kinds = {node.op_type for node in proto.graph.node}
        assert ("BinaryConv2d" in kinds) is not real
        model = BinaryModel.of(proto, "net")
        assert model.labels == ("a", "b", "c")
        assert (
            record.loads(
                Genotype,
                next(p.value for p in proto.metadata_props if p.key == "genotype"),
                where="metadata",
            )
            == genotype
        )


def test_weights_that_are_not_finite_are_not_exported(genotype: Genotype) -> None:
    net = build(genotype)
    net.pieces[0].first.conv.weight.data[0] = float("nan")  # type: ignore[union-attr,operator]
    with pytest.raises(Exception, match=r"weight pieces\.0\.first\.conv\.weight is not finite"):
        export(net, genotype)
