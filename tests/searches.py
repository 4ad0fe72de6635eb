"""Folders as finished searches leave them, with numbers that tests can recognise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from binas.core import record
from binas.search import space
from binas.search.run import Config
from binas.search.strategy.settings import Candidate, Found
from binas.search.survey import random_genotypes


def finished(
    folder: Path,
    *,
    seed: int = 0,
    strategy: str = "bars",
    epochs: int = 4,
    table: bool = True,
    data_digest: str = "0" * 12,
    space_name: str = "digits",
) -> Path:
    """A search that weighed three networks; the first is chosen, 10 µs quicker per seed."""
    folder.mkdir(parents=True)
    chosen_space = space.load(space_name)
    networks = random_genotypes(chosen_space, 3, seed=seed)
    candidates = tuple(
        Candidate(
            genotype=network,
            accuracy=0.9 - 0.05 * place - 0.01 * seed,
            predicted_ns=60_000.0 - 10_000.0 * (seed + place) if table else None,
        )
        for place, network in enumerate(networks)
    )
    budget_ns = 45_000.0 if table and seed else None
    found = Found(
        genotype=networks[0],
        seed=seed,
        budget_ns=budget_ns,
        predicted_ns=candidates[0].predicted_ns,
        expected_ns=candidates[0].predicted_ns,
        candidates=candidates,
        seconds=40.0 + seed,
    )
    settings: dict[str, str | int | float | bool | None] = {
        "epochs": epochs,
        "rate": 0.01,
        "strategy": strategy,
        "budget_ns": budget_ns,
    }
    config = Config(
        kind="search",
        data="digits",
        data_digest=data_digest,
        seed=seed,
        settings=settings,
        inputs={"space": record.digest(chosen_space), **({"table": "1" * 12} if table else {})},
        versions={"binas": "0"},
    )
    log = [{"epoch": epoch, "loss": 2.0 / (epoch + 1 + seed)} for epoch in range(epochs)]
    record.save(found, folder / "result.json")
    record.save(found.genotype, folder / "genotype.json")
    record.save(config, folder / "config.json")
    (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
    return folder


def of_another_table(folder: Path) -> None:
    """Change the table that a folder's search read."""
    config = record.load(Config, folder / "config.json")
    changed = replace(config, inputs={**config.inputs, "table": "2" * 12})
    record.save(changed, folder / "config.json")
