"""Published genotypes: they build, and count what their repositories' networks count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import nn

from binas.core import record
from binas.core.errors import UsageError
from binas.search import genotype as genotypes_of_any_space
from binas.search import published as genotypes
from binas.search import reference as references
from binas.search.cells import CellGenotype, CellSpace, Layout, cell_text
from binas.search.genotype import Genotype
from binas.search.networks.counting import count_network
from binas.search.networks.family import build, supernet
from binas.search.published import NetworkCounts
from binas.search.reference import Reference, ReferenceName
from binas.search.space import OpName, Space

WITHIN = 1e-3  # of what was counted in the networks that the repositories define


def near(millions: float) -> object:
    return pytest.approx(millions * 1e6, rel=WITHIN)


def counted(name: str) -> NetworkCounts:
    known = genotypes.load(name)
    space = known.genotype.space
    found = count_network(build(known.genotype), space.input_shape)
    assert found == known.counts, "the file says something else"
    return found


# Parameters without auxiliary head and multiply-accumulates of convolutions and classifier.
REAL = [
    ("DARTS_V1", 3.169, 501.0),
    ("DARTS_V1_imagenet", 4.510, 505.9),
    ("DARTS_V2", 3.349, 528.4),
    ("DARTS_V2_imagenet", 4.719, 529.9),
    ("PC_DARTS_cifar", 3.635, 556.7),
    ("PC_DARTS_image", 5.342, 581.6),
    ("BNASv2_CLR_v1", 3.338, 504.3),
    ("BNASv2_CLR_v2", 3.175, None),
    ("BNASv2_PC_cifar_v1", 3.679, 555.0),
    ("BNASv2_PC_cifar_v2", 3.526, None),
]


@pytest.mark.paper_check(number=2)
@pytest.mark.parametrize(("name", "params", "macs"), REAL)
def test_a_real_valued_network_counts_what_its_repository_counts(
    name: str, params: float, macs: float | None
) -> None:
    found = counted(name)
    assert found.params == near(params)
    assert found.binary_weights == found.wa_macs == found.w_macs == 0
    if macs is not None:
        assert found.real_macs == near(macs)


@pytest.mark.paper_check(number=2)
def test_the_broad_imagenet_network_counts_387_million_without_its_classifier() -> None:
    found = counted("BNASv2_PC_image")
    assert found.params == near(4.113)
    features = 44 + 88 + 176 + 704
    assert found.real_macs - 1000 * features == near(387.1)


# Parameters, binary weights, and the three kinds of multiply-accumulates, in millions.
BINARY = [
    ("DDPNAS_MCN_2", 14.506, 12.366, 603.5, 802.8, 266.9),
    ("DDPNAS_CHL_I6", 12.622, 10.527, 384.1, 793.7, 266.9),
    ("Tangent_1", 16.518, 14.327, 786.4, 845.7, 266.9),
    ("Tangent_2", 15.422, 13.258, 713.3, 801.4, 266.9),
]


@pytest.mark.parametrize(("name", "params", "binary", "wa", "w", "real"), BINARY)
def test_a_binary_network_counts_what_the_dcp_nas_repository_counts(
    name: str, params: float, binary: float, wa: float, w: float, real: float
) -> None:
    found = counted(name)
    assert found.params == near(params)
    assert found.binary_weights == near(binary)
    assert (found.wa_macs, found.w_macs, found.real_macs) == (near(wa), near(w), near(real))


def test_mconv_counts_14_506_million_with_its_scales_and_14_464_without() -> None:
    found = genotypes.load("DDPNAS_MCN_2").counts
    assert found.params == near(14.506)
    assert found.params - found.scales == near(14.464)


@pytest.mark.paper_check(number=2)
@pytest.mark.parametrize(
    ("layout", "partial", "params"),
    [("darts", 1, 1.931), ("darts", 4, 0.2996), ("broad", 1, 1.225), ("broad", 4, 0.289)],
)
def test_a_search_supernet_has_the_parameters_of_its_repository(
    layout: Layout, partial: int, params: float
) -> None:
    space = CellSpace(layout=layout, form="real", cells=8 if layout == "darts" else 2)
    net = supernet(space, partial=partial)
    assert sum(p.numel() for p in net.parameters()) == near(params)


@pytest.mark.parametrize(
    ("channels", "biops", "flops", "weights", "real"),
    [
        (16, 450.9, 3.0, 1.753, 0.004),
        (36, 2282.6, 12.6, 8.875, 0.012),
        (48, 4058.0, 21.5, 15.778, 0.018),
    ],
)
def test_a_bars_network_of_eight_cells_of_3x3_counts_as_derived(
    channels: int, biops: float, flops: float, weights: float, real: float
) -> None:
    space = Space(
        input_shape=(3, 32, 32),
        classes=10,
        channels=channels,
        nodes=4,
        min_cells=2,
        widths=(1.0,),
        stem_stride=1,
        normal_ops=("b3",),
        reduction_ops=("b3",),
    )
    ops: tuple[OpName, ...] = ("b3",) * 10
    normal, reduction = ((ops, ops),) * 3, (ops, ops)
    net = build(Genotype(space=space, widths=(0, 0, 0), normal=normal, reduction=reduction))
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert sum(m.weight.numel() for m in convolutions) == pytest.approx(real * 1e6, abs=500)
    found = count_network(net, space.input_shape)
    assert 2 * found.wa_macs == near(biops)
    assert 2 * found.real_macs == pytest.approx(flops * 1e6, abs=50_000)
    assert found.binary_weights == near(weights)


@pytest.mark.paper_check(number=16)
@pytest.mark.parametrize("name", genotypes.names())
def test_a_published_genotype_is_parsed_to_what_was_written_and_counts_the_same(
    name: str, tmp_path: Path
) -> None:
    known = genotypes.load(name)
    assert known.name == name
    file = tmp_path / "genotype.json"
    record.save(known.genotype, file)
    again = genotypes_of_any_space.load(file)
    assert isinstance(again, CellGenotype)
    assert record.dumps(again) == record.dumps(known.genotype)
    assert record.digest(again) == known.digest


def test_the_page_of_claims_says_how_much_smaller_the_published_networks_are() -> None:
    def ratio(name: str) -> float:
        counts = genotypes.load(name).counts
        real = counts.params - counts.binary_weights
        return 4 * counts.params / (counts.binary_weights / 8 + 4 * real)

    found = [ratio(name) for name in genotypes.names() if name.startswith("BNAS_")]
    assert len(found) == 5
    page = (Path(__file__).resolve().parents[3] / "docs" / "fidelity.md").read_text()
    assert f"take {min(found):.1f} to {max(found):.1f} times fewer bytes" in page
    assert f"all binary, {ratio('EBNAS'):.1f} times" in page


def test_a_genotype_reads_as_its_papers_table_prints_it() -> None:
    cells = genotypes.load("PC_DARTS_image").genotype
    assert (
        cell_text(cells.normal) == "skip,1 sep3,0 / sep3,0 skip,1 / sep3,1 sep3,3 / sep3,1 dil5,4"
    )


def test_an_unknown_genotype_names_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="DARTS_V3") as caught:
        genotypes.load("DARTS_V3")
    assert "DARTS_V2" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"normal": [[["sep3", 0], ["sep3", 2]]] * 4}, "earlier node"),
        ({"normal": [[["none", 0]]] * 4}, "one of max"),
        ({"normal": [[["sep3", 0]]] * 3}, "nodes of the normal cell"),
        ({"normal": [[]] * 4}, "no edge"),
        ({"normal": [[["sep7", 0]]] * 4}, "does not fit"),
    ],
)
def test_a_genotype_that_is_no_network_of_its_space_is_refused_with_the_place(
    change: dict[str, object], says: str
) -> None:
    data = {**record.to_dict(genotypes.load("DARTS_V2").genotype), **change}
    with pytest.raises(UsageError, match=says):
        genotypes_of_any_space.loads(json.dumps(data), where="file")


def test_a_space_that_holds_no_network_is_refused_with_the_field() -> None:
    with pytest.raises(UsageError, match="multiple of 2 blocks"):
        CellSpace(layout="broad", cells=5)
    with pytest.raises(UsageError, match="multiples of 4"):
        CellSpace(input_shape=(3, 30, 30))
    with pytest.raises(UsageError, match="only none"):
        CellSpace(normal_ops=("none",))


@pytest.mark.parametrize(
    ("name", "ops", "binary"),
    [("bi-real-18", 1.63e8, 1.676e9), ("reactnet-a", 0.87e8, 4.82e9), ("quicknet", None, 1.85e9)],
)
def test_a_reference_network_counts_what_its_paper_says(
    name: ReferenceName, ops: float | None, binary: float
) -> None:
    network = references.published(name)
    found = count_network(build(network), network.input_shape)
    assert found.wa_macs == pytest.approx(binary, rel=3e-3)  # as many digits as are printed
    if ops is not None:
        # ReActNet's convention: floating operations and a 64th of the binary ones, per MAC.
        # Whether the classifier counts is not said.
        assert found.real_macs + found.wa_macs / 64 == pytest.approx(ops, rel=1e-2)


def test_a_one_bit_resnet_20_has_no_real_convolution_after_its_stem() -> None:
    network = references.published("resnet-20")
    found = count_network(build(network), network.input_shape)
    assert found.real_macs == 32 * 32 * 16 * 27 + 64 * 10
    assert found.binary_weights == 9 * (6 * 16**2 + 16 * 32 + 5 * 32**2 + 32 * 64 + 5 * 64**2)


def test_a_reference_network_is_read_back_from_its_file(tmp_path: Path) -> None:
    network = references.published("reactnet-a")
    record.save(network, tmp_path / "reference.json")
    assert genotypes_of_any_space.load(tmp_path / "reference.json") == network


def test_images_that_a_reference_network_cannot_halve_are_refused() -> None:
    with pytest.raises(UsageError, match="multiples of 32"):
        Reference(name="bi-real-18", input_shape=(3, 100, 100))
    with pytest.raises(UsageError, match="strides of its own"):
        Reference(name="quicknet", stem_stride=2)
