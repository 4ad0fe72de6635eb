"""Reference: a network made by hand, as a record that trains and exports like a genotype."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from binas.core.errors import UsageError

ReferenceName = Literal["bi-real-18", "reactnet-a", "quicknet", "resnet-20"]

# How often each halves rows and columns, without the stride of ResNet-20's stem.
_HALVINGS: dict[ReferenceName, int] = {
    "bi-real-18": 5,
    "reactnet-a": 5,
    "quicknet": 5,
    "resnet-20": 2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A network of `networks/reference.py`.

    Attributes:
        name: Which.
        input_shape: C, H, W of one image.
        classes: Outputs of the classifier.
        channels: Of the first stage; 64, 32, 64 and 16 as published. Other numbers make a network
            of another cost.
        stem_stride: Of ResNet-20's first convolution; 1 as published.
    """

    SCHEMA: ClassVar[str] = "binas.reference/1"

    name: ReferenceName
    input_shape: tuple[int, int, int] = (3, 224, 224)
    classes: int = 1000
    channels: int = 64
    stem_stride: int = 1

    def __post_init__(self) -> None:
        """Refuse sizes that give no network, naming the field."""
        least = 4 if self.name == "quicknet" else 1
        for field, low in (("channels", least), ("classes", 1), ("stem_stride", 1)):
            if getattr(self, field) < low:
                raise UsageError(
                    f"{self.name}: {field} is {getattr(self, field)}, expected at least {low}",
                    hint="see search/reference.py",
                )
        if self.name != "resnet-20" and self.stem_stride != 1:
            raise UsageError(
                f"{self.name}: its stem has strides of its own", hint="leave stem_stride at 1"
            )
        step = self.stem_stride << _HALVINGS[self.name]
        if self.input_shape[0] < 1 or any(n < step or n % step for n in self.input_shape[1:]):
            raise UsageError(
                f"{self.name}: images of {self.input_shape[1]}x{self.input_shape[2]}, expected "
                f"multiples of {step}",
                hint="resize the images",
            )

    @property
    def space(self) -> Reference:
        """Where sizes stand in a genotype."""
        return self

    def __str__(self) -> str:
        """A line for people."""
        C, H, W = self.input_shape
        return f"{self.name}, {self.channels} channels, {C}x{H}x{W}"


def published(name: ReferenceName) -> Reference:
    """A reference with the sizes of its paper."""
    match name:
        case "reactnet-a":
            return Reference(name=name, channels=32)
        case "resnet-20":
            return Reference(name=name, input_shape=(3, 32, 32), classes=10, channels=16)
        case _:
            return Reference(name=name)
