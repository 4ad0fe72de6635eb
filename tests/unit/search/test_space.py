"""Spaces: every field that allows no network is named, and so is every misspelt key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from binas.core.errors import UsageError
from binas.search import genotype
from binas.search import space as spaces
from binas.search.cells import CellSpace
from binas.search.space import BUILT_IN, MAX_CELL_CHOICES, Space


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_spaces_load(name: str) -> None:
    found = spaces.load(name)
    assert found.edges == ((0, 1), (0, 2), (1, 2))
    assert found.depths[0] == 1
    assert all(found.node_channels(0, width) % 8 == 0 for width in range(len(found.widths)))


def test_sizes_and_channels_follow_the_stage(hollow: Space) -> None:
    assert [hollow.size(stage) for stage in range(2)] == [(8, 12), (4, 6)]
    assert [hollow.node_channels(1, width) for width in range(3)] == [4, 8, 16]
    assert hollow.depths == (0, 1, 2)


def test_a_cell_is_whole_if_every_node_has_an_input(tiny: Space) -> None:
    assert tiny.is_whole(("b3", "none", "skip"))
    assert not tiny.is_whole(("none", "b3", "b3"))
    assert not tiny.is_whole(("b3", "none", "none"))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("classes", 0, "classes is 0, expected at least 1"),
        ("channels", 0, "channels is 0"),
        ("nodes", 0, "nodes is 0"),
        ("stages", 0, "stages is 0"),
        ("max_cells", 0, "max_cells is 0"),
        ("stem_stride", 0, "stem_stride is 0"),
        ("input_shape", (1, 0, 8), "three sizes of at least 1"),
        ("min_cells", 3, "min_cells is 3, expected 0 to max_cells = 2"),
        ("min_cells", -1, "min_cells is -1"),
        ("widths", (), "the last of them 1.0"),
        ("widths", (0.75, 0.5, 1.0), "different fractions, ascending"),
        ("widths", (0.5, 0.5, 1.0), "different fractions, ascending"),
        ("widths", (0.25, 0.5), "the last of them 1.0"),
        ("widths", (0.0, 1.0), "fractions above 0"),
        ("widths", (0.3, 1.0), "widths is 0.3, expected a whole number of the 8 channels"),
        ("widths", (float("nan"), 1.0), "fractions above 0"),
        ("normal_ops", (), "normal_ops is (), expected different operations"),
        ("normal_ops", ("none",), "not only none"),
        ("reduction_ops", ("b3", "b3"), "different operations"),
        ("nodes", 4, f"at most {MAX_CELL_CHOICES} different cells"),
        ("nodes", 10**6, f"at most {MAX_CELL_CHOICES} different cells"),
    ],
)
def test_a_field_that_allows_no_network_is_named(
    tiny: Space, field: str, value: Any, says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        replace(tiny, **{field: value})
    assert str(caught.value).startswith(f"space: {field} is ")
    assert says in str(caught.value)
    assert caught.value.hint


def test_an_image_that_cannot_be_halved_at_every_reduction_is_refused(tiny: Space) -> None:
    with pytest.raises(UsageError, match=r"after (the|a) stem"):
        replace(tiny, input_shape=(1, 10, 8))


def test_normal_cells_count_against_the_limit_of_choices_too(tiny: Space) -> None:
    with pytest.raises(UsageError, match="different cells"):
        replace(tiny, nodes=4, normal_ops=("none", "skip", "b3", "pool"), reduction_ops=("b3",))


def test_a_width_is_whole_although_its_fraction_is_not(tiny: Space) -> None:
    assert replace(tiny, channels=100, widths=(0.55, 1.0)).node_channels(0, 0) == 55


def test_a_space_of_one_network_is_a_space(tiny: Space) -> None:
    one = replace(tiny, max_cells=1, widths=(1.0,), normal_ops=("b3",), reduction_ops=("b3",))
    assert one.depths == (1,)


TOML = "input_shape = [1, 8, 8]\nclasses = 3\n"


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("classes = ", "is not TOML", "digits.toml"),
        (TOML + "clases = 3", "unknown key 'clases'", "did you mean classes?"),
        (
            TOML + "normal_ops = ['pol']",
            "normal_ops: unknown operation 'pol'",
            "did you mean pool?",
        ),
        (TOML + "normal_ops = 3", "normal_ops", ""),
        (TOML + "normal_ops = 'b3'", "normal_ops", ""),
        (TOML + "channels = '32'", "channels: Input should be a valid integer", ""),
        (TOML + "channels = true", "channels", ""),
        (TOML + "channels = 2020-01-01", "channels", ""),
        (TOML + "widths = [nan, 1.0]", "widths", ""),
        ("classes = 3", "input_shape: Field required", ""),
        (TOML + "stages = 9", "256", ""),
    ],
)
def test_a_file_that_is_no_space_is_refused_in_one_sentence(
    tmp_path: Path, text: str, says: str, hint: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        spaces.load(str(path))
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    assert hint in caught.value.hint


def test_an_unknown_name_comes_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown search space 'digit'") as caught:
        spaces.load("digit")
    assert "did you mean digits?" in caught.value.hint
    with pytest.raises(UsageError, match="no such file"):
        spaces.load(str(tmp_path / "none.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not text"):
        spaces.load(str(tmp_path / "bytes.toml"))
    with pytest.raises(UsageError, match="cannot read"):
        spaces.load(str(tmp_path))


def test_a_file_gives_the_space_it_describes(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TOML + "channels = 8\nstages = 2\nwidths = [0.5, 1]\n")
    assert spaces.load(str(path)) == Space(
        input_shape=(1, 8, 8), classes=3, channels=8, stages=2, widths=(0.5, 1.0)
    )


@pytest.mark.parametrize("name", [*BUILT_IN, *genotype.CELL_SPACES])
def test_every_shipped_space_is_found_by_name(name: str) -> None:
    found = genotype.load_space(name)
    assert isinstance(found, CellSpace) == (name in genotype.CELL_SPACES)


def test_a_file_with_a_layout_is_a_space_of_cells(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('layout = "darts"\ncells = 3\nnormal_ops = ["none", "skip", "sep3"]\n')
    found = genotype.load_space(str(path))
    assert isinstance(found, CellSpace)
    assert found.normal_ops == ("none", "skip", "sep3")
    path.write_text("classes = 3\ninput_shape = [1, 8, 8]\nstages = 2\n")
    assert isinstance(genotype.load_space(str(path)), Space)
    for text, says in (
        ('layout = "darts"\ncell = 3\n', "unknown key 'cell'"),
        ('layout = "darts"\nnormal_ops = ["b3"]\n', "unknown operation 'b3'"),
        ('layout = "wide"\n', "layout"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError) as caught:
            genotype.load_space(str(path))
        assert says in str(caught.value)
    with pytest.raises(UsageError, match="unknown search space 'dart'") as caught:
        genotype.load_space("dart")
    assert "darts-cifar10" in caught.value.hint
