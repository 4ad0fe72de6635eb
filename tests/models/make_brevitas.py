"""Made `brevitas.*`: a real Brevitas model, exported to QONNX by Brevitas itself, in this script.

It does not run in the tests: Brevitas brings twenty packages and takes ten seconds to import. To
make them again, beside torch 2.13:

    pip install brevitas==0.13.4 qonnx==1.0.0 onnxoptimizer onnxscript
    python make_brevitas.py

The `.npz` holds an input `x` [N, C, H, W] and the answer `y` [N, classes], on which Brevitas in
PyTorch and QONNX's own executor agree.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from brevitas import nn as qnn
from brevitas.export import export_qonnx
from brevitas.quant import SignedBinaryActPerTensorConst, SignedBinaryWeightPerTensorConst
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from torch import nn
from torch.nn import functional

HERE = Path(__file__).parent
ACTIVATION = {"act_quant": SignedBinaryActPerTensorConst}
WEIGHTS = {"weight_quant": SignedBinaryWeightPerTensorConst, "bias": False}


class Net(nn.Module):
    """A real stem, binary convolutions with and without stride and groups, a binary head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in (32, 33, 32, 64))
        self.signs = nn.ModuleList(qnn.QuantIdentity(**ACTIVATION) for _ in range(4))
        self.first = qnn.QuantConv2d(32, 33, 3, padding=1, **WEIGHTS)
        self.second = qnn.QuantConv2d(33, 32, 3, padding=1, **WEIGHTS)
        self.third = qnn.QuantConv2d(32, 64, 3, stride=2, **WEIGHTS)
        self.head = qnn.QuantLinear(64, 10, **WEIGHTS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norms[0](self.stem(x))
        y = self.norms[1](self.first(self.signs[0](x)))
        x = x + self.norms[2](self.second(self.signs[1](y)))
        x = self.norms[3](self.third(self.signs[2](x)))
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.head(self.signs[3](x))


torch.manual_seed(0)
net = Net()
for norm in net.norms:
    for values, low in ((norm.running_mean, -1.0), (norm.weight, -1.0), (norm.bias, -1.0)):
        nn.init.uniform_(values, low, 1.5)
    nn.init.uniform_(norm.running_var, 0.5, 1.5)
net.eval()
x = torch.randn(1, 3, 8, 8)
path = HERE / "brevitas.onnx"
export_qonnx(net, x, str(path))
with torch.no_grad():
    y = net(x).numpy()
proto = onnx.load(path)
for node in proto.graph.node:  # the exporter notes where each line of this file lies
    del node.metadata_props[:]
path.write_bytes(proto.SerializeToString())
model = ModelWrapper(str(path))
found = execute_onnx(model, {model.graph.input[0].name: x.numpy()})
assert np.abs(next(iter(found.values())) - y).max() < 1e-4
np.savez(path.with_suffix(".npz"), x=x.numpy(), y=y)
