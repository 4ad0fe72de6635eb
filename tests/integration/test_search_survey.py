"""The demo's space: its layers are all there are, and pieces add up to whole networks."""

from __future__ import annotations

from collections import Counter

import pytest

from binas.search import space
from binas.search.cost import layers_of
from binas.search.menu import menu
from binas.search.survey import random_genotypes


@pytest.mark.slow
def test_random_digit_networks_contain_no_other_layer() -> None:
    digits = space.load("digits")
    found = menu(digits)
    known = set(found.layers)
    for genotype in random_genotypes(digits, 30, seed=7):
        planned = layers_of(genotype)
        assert set(planned) <= known, str(genotype)
        assert Counter(planned) == Counter(found.steps(genotype)), str(genotype)
