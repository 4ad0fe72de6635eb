"""Published cells as networks to time: as released, with every convolution of a cell binary, real.

The parameters are random, the batch norms as a training might leave them: what a network computes
is of no use, what it costs is that of a trained one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx
import torch
from torch import nn

from benchmarks import engines, reference
from benchmarks.builder import Array
from benchmarks.engines import OnnxRuntime, Subject
from benchmarks.reference import Verdict
from benchmarks.works import OURS
from binas.search import published
from binas.search.cells import CellGenotype
from binas.search.export import export
from binas.search.networks.counting import count_network
from binas.search.networks.family import build

_RELEASED = {"dcp_nas_l": "DDPNAS_MCN_2", "bnas": "BNAS_MCN_2"}
_CIFAR_CHANNELS = 36  # as DARTS and its successors evaluate at 32x32
_CIFAR_CLASSES = 10


@dataclass(frozen=True, slots=True)
class CellWork:
    """A published genotype at one size of image.

    Attributes:
        name: In the report.
        genotype: What is compiled; its real-valued twin is what peers run.
    """

    name: str
    genotype: CellGenotype

    @property
    def gmacs(self) -> float:
        """1e9 multiply-adds of signs with signs."""
        counts = count_network(build(self.genotype), self.genotype.space.input_shape)
        return counts.wa_macs / 1e9

    def contend(self, engine: str) -> tuple[Verdict, list[Subject]]:
        """An engine's network, and whether it is right.

        Ours is verified step by step where it is compiled (binary layers exact); a sign that float
        rounding turns, which different engines may do differently, is no error of a whole network.
        """
        x = self._image()
        if engine in OURS:
            device = engines.our_device(engine)
            if isinstance(device, str):
                return Verdict(False, device), []
            net, proto = self._network(real=False)
            ours = engines.binas(proto, device, x)
            found = reference.alike(ours.output(), _computed(net, x))
            words = f"verified step by step; against torch {found.words}"
            return Verdict(found.agrees, words), [ours]
        net, proto = self._network(real=True)
        peer = OnnxRuntime(proto, x)
        return reference.near(peer.output(), _computed(net, x)), [peer]

    def _image(self) -> Array:
        shape = (1, *self.genotype.space.input_shape)
        return np.random.default_rng(21).standard_normal(shape).astype(np.float32)

    def _network(self, *, real: bool) -> tuple[nn.Module, onnx.ModelProto]:
        torch.manual_seed(22)
        net = build(self.genotype, real=real)
        generator = torch.Generator().manual_seed(23)
        for norm in net.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean = torch.randn(norm.num_features, generator=generator) / 4
                norm.running_var = torch.rand(norm.num_features, generator=generator) + 0.5
        return net.eval(), export(net.eval(), self.genotype)


def works() -> list[CellWork]:
    """Every published genotype at both sizes, as released and fully binary."""
    found = []
    for name, released in _RELEASED.items():
        at_224 = published.load(released).genotype
        small = replace(
            at_224.space,
            input_shape=(3, 32, 32),
            stem="cifar",
            channels=_CIFAR_CHANNELS,
            classes=_CIFAR_CLASSES,
        )
        for size, genotype in ((224, at_224), (32, at_224.at(small))):
            binary = replace(genotype.space, form="child", binarizer="bi-real", inputs="binary")
            found.append(CellWork(f"network/{name}_{size}", genotype))
            found.append(CellWork(f"network/{name}_{size}_binary", genotype.at(binary)))
    return found


def _computed(net: nn.Module, x: Array) -> Array:
    with torch.no_grad():
        y: Array = net(torch.from_numpy(x)).numpy()
    return y
