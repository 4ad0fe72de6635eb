"""What reads strangers' files: for each kind, valid files to start from and the reader."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzz import readers, seeds
from tests.fuzz.mutate import broken_bytes, broken_json, broken_lines


@dataclass(frozen=True)
class Target:
    """One kind of file.

    Attributes:
        suffix: Of its name.
        seed: A valid one.
        read: What a command does with it, short of heavy work; it must succeed on the seed.
        breaks: Ways to break it.
    """

    suffix: str
    seed: bytes
    read: Callable[[Path], None]
    breaks: tuple[Callable[[bytes, Random], bytes], ...] = (broken_bytes,)


def as_json(data: bytes, random: Random) -> bytes:
    """Break values."""
    return broken_json(json.loads(data), random)


def as_lines(data: bytes, random: Random) -> bytes:
    """Break lines."""
    return broken_lines(data.decode(), random)


def members(data: bytes) -> dict[str, bytes]:
    """The members of an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(contents: dict[str, bytes]) -> bytes:
    """An archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def consistent(contents: dict[str, bytes], manifest: bytes) -> bytes:
    """An archive whose digests are right, so that what comes after their check is reached."""
    from binas.core.record import digest_bytes

    others = {name: data for name, data in contents.items() if name != "manifest.json"}
    try:
        document = json.loads(manifest)
        document["digests"] = {name: digest_bytes(data) for name, data in others.items()}
        manifest = json.dumps(document).encode()
    except (ValueError, TypeError, RecursionError):
        pass  # it stays as broken as it is
    return zipped({"manifest.json": manifest, **others})


def broken_manifest(data: bytes, random: Random) -> bytes:
    """A wrong description of the right members."""
    contents = members(data)
    return consistent(contents, as_json(contents["manifest.json"], random))


def broken_member(data: bytes, random: Random) -> bytes:
    """A wrong member, rightly described."""
    contents = members(data)
    name = random.choice(("taps.npz", "bench", "weights.bin"))
    contents[name] = broken_bytes(contents[name], random)
    if name == "taps.npz" and random.randrange(2):
        arrays = members(members(data)["taps.npz"])
        broken = random.choice(sorted(arrays))
        arrays[broken] = broken_bytes(arrays[broken], random)
        contents["taps.npz"] = zipped(arrays)
    return consistent(contents, contents["manifest.json"])


def of_search() -> dict[str, Target]:
    """What the search reads; imported here, for torch takes seconds."""
    from binas.search.genotype import Genotype
    from binas.search.strategy.settings import SearchSettings

    space = (Path(str(seeds.SPACES)) / "digits.toml").read_bytes()
    settings = "\n".join(f"{k} = {v}" for k, v in seeds.plain_settings(SearchSettings).items())
    lines = (broken_bytes, as_lines)
    return {
        "genotype": Target(
            ".json", seeds.genotype(), readers.genotype(Genotype), (broken_bytes, as_json, as_json)
        ),
        "space": Target(".toml", space, readers.space, lines),
        "config": Target(".toml", settings.encode(), readers.config(SearchSettings), lines),
    }


def of_devices() -> dict[str, Target]:
    """What the rooms after the compiler read."""
    return {
        "table": Target(".json", seeds.table(), readers.table, (broken_bytes, as_json, as_json)),
        "devices": Target(".toml", seeds.DEVICES, readers.devices, (broken_bytes, as_lines)),
        "manifest": Target(".binas", seeds.artifact(), readers.artifact, (broken_manifest,)),
        "archive": Target(
            ".binas", seeds.artifact(), readers.artifact, (broken_bytes, broken_member)
        ),
        "array": Target(".npy", seeds.array(), readers.array),
    }


GROUPS = {"search": of_search, "devices": of_devices}
