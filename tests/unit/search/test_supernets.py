"""Supernets: one protocol over DARTS cells, broad networks and stages."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from binas.core import record
from binas.core.errors import UsageError
from binas.search.cells import CellGenotype, CellOp, CellSpace, Edge
from binas.search.genotype import AnySpace, CellOps, Genotype, loads
from binas.search.networks import bars
from binas.search.networks.bars import Head
from binas.search.networks.cell_family import uniform
from binas.search.networks.counting import count_network
from binas.search.networks.family import build, supernet
from binas.search.networks.stages import StageSupernet
from binas.search.networks.supernet import Group, Mixture, Supernet, shuffle
from binas.search.space import Space

SMALL = CellSpace(input_shape=(3, 16, 16), channels=4, cells=3)
BROAD = replace(SMALL, layout="broad", cells=2)
SHARED = Space(
    input_shape=(3, 16, 16),
    classes=10,
    channels=8,
    min_cells=1,
    max_cells=1,
    widths=(1.0,),
    reduction_ops=("none", "skip", "b3", "pool"),
)
SPACES: dict[str, AnySpace] = {"darts": SMALL, "broad": BROAD, "stages": SHARED}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=generator())


def seeded(space: AnySpace, *, real: bool = False, partial: int = 1) -> Supernet:
    torch.manual_seed(0)
    return supernet(space, real=real, partial=partial)


def scores(net: Supernet, seed: int = 1) -> list[Tensor]:
    return [torch.rand(group.shape, generator=generator(seed)) for group in net.groups]


@pytest.mark.paper_check(number=1)
def test_a_darts_cell_has_14_edges_with_8_operations_per_type() -> None:
    net = seeded(SMALL)
    assert [group.name for group in net.groups] == ["normal", "reduction"]
    assert [group.shape for group in net.groups] == [(14, 8), (14, 8)]
    assert net.groups[0].edges[:5] == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def test_a_broad_network_has_a_convolution_and_an_enhancement_cell() -> None:
    net = seeded(BROAD)
    assert [(g.name, g.shape) for g in net.groups] == [
        ("convolution", (14, 8)),
        ("enhancement", (14, 8)),
    ]


def test_the_shared_space_has_a_group_per_cell_and_pools_only_in_reductions() -> None:
    groups = seeded(SHARED).groups
    assert [g.name for g in groups] == [
        "stage0.cell0",
        "reduction0",
        "stage1.cell0",
        "reduction1",
        "stage2.cell0",
    ]
    assert ["pool" in g.ops for g in groups] == [False, True, False, True, False]
    assert {g.shape for g in groups} == {(3, 3), (3, 4)}


@pytest.mark.parametrize("partial", [1, 2])
@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("name", SPACES)
def test_gradients_reach_every_architecture_weight_that_can_matter(
    name: str, *, real: bool, partial: int
) -> None:
    net = seeded(SPACES[name], real=real, partial=partial)
    alphas = [torch.zeros(g.shape, requires_grad=True) for g in net.groups]
    betas = [torch.zeros(len(g.edges), requires_grad=True) for g in net.groups]
    edges = [g.edge_softmax(b) for g, b in zip(net.groups, betas, strict=True)]
    out = net(images(), Mixture.soft([a.softmax(-1) for a in alphas], edges))
    assert out.shape == (2, 10)
    nn.functional.cross_entropy(out, torch.tensor([1, 2])).backward()
    for group, alpha, beta in zip(net.groups, alphas, betas, strict=True):
        assert alpha.grad is not None, group.name
        assert bool(alpha.grad.isfinite().all()), group.name
        assert bool((alpha.grad.abs().sum(dim=1) > 0).all()), group.name
        assert beta.grad is not None, group.name
        assert bool(beta.grad.any()), group.name


@pytest.mark.parametrize("name", SPACES)
def test_a_path_is_the_soft_network_at_one_hot_weights(name: str) -> None:
    net = seeded(SPACES[name]).eval()
    picks = uniform(net.groups, generator())
    hot = [
        nn.functional.one_hot(torch.tensor(edges), len(group.ops)).float()
        for group, edges in zip(net.groups, picks, strict=True)
    ]
    torch.testing.assert_close(net(images(), Mixture.path(picks)), net(images(), Mixture.soft(hot)))


@pytest.mark.parametrize("name", SPACES)
def test_what_does_not_run_gets_no_gradient_and_changes_nothing(name: str) -> None:
    net = seeded(SPACES[name])
    live = [[[op for op in range(len(g.ops)) if op != 1]] * len(g.edges) for g in net.groups]
    weights = [torch.full(g.shape, 0.1, requires_grad=True) for g in net.groups]
    net(images(), Mixture.soft(weights, live=live)).sum().backward()
    for weight in weights:
        assert weight.grad is not None
        assert not weight.grad[:, 1].any()


@pytest.mark.parametrize("name", SPACES)
def test_the_mixture_of_a_derived_network_runs_its_operations_alone(name: str) -> None:
    net = seeded(SPACES[name])
    genotype = net.derive(scores(net))
    mixture = net.mixture_of(genotype)
    assert mixture.live is not None
    kept = [tuple(float(len(ops)) for ops in edges) for edges in mixture.live]
    hot = mixture.dense(net.groups)
    assert [tuple(weights.sum(dim=1).tolist()) for weights in hot] == kept
    assert net.derive(hot) == genotype


def test_a_derived_stage_network_with_the_supernets_weights_computes_the_same() -> None:
    net = seeded(SHARED)
    assert isinstance(net, StageSupernet)
    genotype = net.derive(scores(net))
    alone = bars.build(genotype)
    renamed: dict[str, Tensor] = {}
    for index, piece in enumerate(alone.pieces):
        source = net.stem if index == 0 else net.head if index == 6 else net.cells[index - 1]
        own = source.state_dict()
        renamed |= {f"pieces.{index}.{key}": own[key] for key in piece.state_dict()}
    alone.load_state_dict(renamed)
    torch.testing.assert_close(alone(images()), net(images(), net.mixture_of(genotype)))


@pytest.mark.parametrize("layout", ["darts", "broad"])
@pytest.mark.parametrize("real", [False, True])
def test_a_derived_cell_network_with_the_supernets_weights_computes_the_same(
    layout: str, *, real: bool
) -> None:
    net = seeded(SPACES[layout], real=real)
    genotype = net.derive(scores(net))
    assert isinstance(genotype, CellGenotype)
    # Pools of evaluation networks have no batch norm, those of a supernet have: none here.
    ops: tuple[CellOp, ...] = ("none", "skip", "sep3", "sep5", "dil3", "dil5")
    space = replace(genotype.space, normal_ops=ops, reduction_ops=ops)
    net = seeded(space, real=real)
    genotype = net.derive(scores(net))
    assert isinstance(genotype, CellGenotype)
    alone = build(genotype, real=real)
    mine, kept = net.state_dict(), alone.state_dict()
    places = (_edges_kept(genotype, 0), _edges_kept(genotype, 1))
    for key in kept:
        kept[key] = mine.get(_in_supernet(key, places, genotype.space), kept[key])
    alone.load_state_dict(kept)
    torch.testing.assert_close(alone(images()), net(images(), net.mixture_of(genotype)))


def _edges_kept(genotype: CellGenotype, kind: int) -> list[int]:
    cell = (genotype.normal, genotype.reduction)[kind]
    order = genotype.space.edges
    return [order.index((source, node)) for node, es in enumerate(cell, 2) for _, source in es]


def _in_supernet(key: str, places: tuple[list[int], list[int]], space: CellSpace) -> str:
    """The supernet's name of a derived network's tensor."""
    parts = key.split(".")
    if "modules_by_edge" not in parts:
        return key
    enhancement, index = parts[1] == "enhancements", int(parts[2])
    kind = 1 if enhancement or (space.layout == "darts" and index in space.halving_cells) else 0
    at = parts.index("modules_by_edge") + 1
    edge, op = parts[at].removeprefix("edge").split("_")
    parts[at] = f"edge{places[kind][int(edge)]}_{op}"
    return ".".join(parts)


@pytest.mark.paper_check(number=4)
def test_edge_normalisation_sums_to_one_over_the_inputs_of_every_node() -> None:
    group = Group("normal", SMALL.edges, SMALL.normal_ops)
    weights = group.edge_softmax(torch.randn(14, generator=generator()))
    for edges in group.incoming:
        assert float(weights[list(edges)].sum()) == pytest.approx(1)
    assert [len(edges) for edges in group.incoming] == [2, 3, 4, 5]


@pytest.mark.paper_check(number=3)
def test_the_shuffle_in_four_groups_interleaves_quarters() -> None:
    order = shuffle(torch.arange(16.0).reshape(1, 16, 1, 1), 4).flatten().tolist()
    # 0, C/4, C/2, 3C/4, 1, ...
    assert order == [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15]


@pytest.mark.paper_check(number=6)
def test_the_head_of_a_broad_network_reads_304_channels_in_search_and_1104_in_evaluation() -> None:
    search = seeded(CellSpace(layout="broad", channels=16, cells=2))
    assert read_channels(search) == 304
    rows: tuple[Edge, ...] = (("skip", 0), ("skip", 1))
    genotype = CellGenotype(
        space=CellSpace(layout="broad", channels=48, cells=6, enhancements=2),
        normal=(rows,) * 4,
        reduction=(rows,) * 4,
    )
    with torch.device("meta"):
        assert read_channels(build(genotype)) == 1104


def read_channels(net: nn.Module) -> int:
    (head,) = (module for module in net.modules() if isinstance(module, Head))
    return head.linear.in_features


def test_deriving_never_takes_none_and_keeps_two_edges_per_node() -> None:
    net = seeded(SMALL)
    found = scores(net)
    for values in found:
        values[:, 0] = 9.0  # none
    genotype = net.derive(found)
    assert isinstance(genotype, CellGenotype)
    for cell in (genotype.normal, genotype.reduction):
        assert [len(edges) for edges in cell] == [2, 2, 2, 2]


def test_an_edge_without_candidates_is_left_out_where_its_node_has_another() -> None:
    net = seeded(SMALL)
    found = [values.clone() for values in scores(net)]
    found[0][1] = 0.0  # (1, 2): the second edge into the first node
    genotype = net.derive(found)
    assert isinstance(genotype, CellGenotype)
    assert len(genotype.normal[0]) == 1
    assert genotype.normal[0][0][1] == 0


def test_a_stage_network_of_no_depth_given_is_refused_with_the_depths_there_are() -> None:
    with pytest.raises(UsageError, match="expected 3 of"):
        StageSupernet(SHARED, depths=(1, 2, 1))


def test_a_genotype_of_other_cells_is_refused() -> None:
    stage, darts = seeded(SHARED), seeded(SMALL)
    with pytest.raises(UsageError):
        darts.mixture_of(stage.derive(scores(stage)))
    with pytest.raises(UsageError):
        stage.mixture_of(darts.derive(scores(darts)))


@pytest.mark.paper_check(number=16)
@pytest.mark.parametrize("name", SPACES)
def test_derived_written_read_and_built_is_the_same_text_and_the_same_counts(name: str) -> None:
    net = seeded(SPACES[name])
    genotype = net.derive(scores(net))
    again = loads(record.dumps(genotype), where="file")
    assert record.dumps(again) == record.dumps(genotype)
    shape = genotype.space.input_shape
    assert count_network(build(again), shape) == count_network(build(genotype), shape)


@pytest.mark.paper_check(number=16)
def test_a_stage_without_cells_still_builds() -> None:
    space = replace(SHARED, min_cells=0)
    cell: CellOps = ("skip", "skip", "b3")
    reduction = (cell,) * 2
    genotype = Genotype(space=space, widths=(0,) * 3, normal=((),) * 3, reduction=reduction)
    again = loads(record.dumps(genotype), where="file")
    assert again == genotype
    assert build(again)(images()).shape == (2, 10)
