"""Data sets by name: `NAME` or `NAME,key=value,...`; where images come from is in `sources/`.

Images are float32 [N, C, H, W]. What a network is fed on a device is exactly what is here, so the
normalisation is part of the data set and is said in `normalisation`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from binas.core.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    S = TypeVar("S", bound=DataclassInstance)

Images = NDArray[np.float32]
Targets = NDArray[np.int64]

BUILT_IN = ("digits", "glyphs")
KEYS = ("x_train", "y_train", "x_test", "y_test")
HINT = (
    "give digits, glyphs[,level=medium,size=32,train=50000], a folder of CIFAR-10 or CIFAR-100 "
    "(binary version) or of image folders (train/CLASS, test/CLASS), a .npz file with "
    f"{', '.join(KEYS)}, or module:function that returns them"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Images and classes, train and held-out.

    Attributes:
        name: As given.
        x_train: [N, C, H, W] float32.
        y_train: [N] int64, 0 to classes - 1.
        x_test: Held out: never used to choose anything.
        y_test: Its classes.
        labels: A name per class.
        normalisation: What was done to the raw pixels, in words.
    """

    name: str
    x_train: Images
    y_train: Targets
    x_test: Images
    y_test: Targets
    labels: tuple[str, ...]
    normalisation: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W of an image."""
        C, H, W = self.x_train.shape[1:]
        return C, H, W

    @property
    def digest(self) -> str:
        """First 12 hex digits of the SHA-256 of all arrays with their shapes."""
        total = hashlib.sha256()
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            total.update(repr((array.shape, array.dtype.str)).encode())
            total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()[:12]

    def first(self, count: int) -> Dataset:
        """The same data set with only the first `count` training images."""
        return replace(self, x_train=self.x_train[:count], y_train=self.y_train[:count])


def load(name: str) -> Dataset:
    """A data set by name.

    Raises:
        UsageError: Unknown name or option, or files and arrays that are no data set.
    """
    from binas.search.sources import arrays, cifar, digits, glyphs, image_folder  # noqa: PLC0415

    source, *options = name.split(",")
    if source == "glyphs":
        return glyphs.glyphs(_options(glyphs.Recipe, name, options), name)
    if Path(source).is_dir() and not cifar.is_cifar(Path(source)):
        settings = _options(image_folder.FolderSettings, name, options)
        return image_folder.load(Path(source), settings, name)
    if options:
        raise UsageError(f"{name}: {source} takes no options", hint=HINT)
    if source == "digits":
        return digits.digits()
    if Path(source).is_dir():
        return cifar.load(Path(source))
    if source.endswith(".npz"):
        return arrays.from_npz(source)
    if ":" in source:
        return arrays.from_function(source)
    error = unknown_name("data set", name, BUILT_IN)
    raise UsageError(str(error), hint=f"{error.hint}; {HINT}")


def _options(cls: type[S], name: str, given: list[str]) -> S:
    """`key=value` texts as a dataclass; every fault names the data set."""
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 (0.1 s)

    known = [field.name for field in fields(cls)]
    values: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{name}: {text!r} is no key=value", hint=f"keys: {', '.join(known)}")
        if key not in known:
            fault = unknown_name("key", key, known)
            raise UsageError(f"{name}: {fault}", hint=fault.hint)
        values[key] = value
    try:
        return TypeAdapter(cls).validate_strings(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors(include_url=False)
        )
        raise UsageError(f"{name}: {faults}", hint=f"keys: {', '.join(known)}") from None
