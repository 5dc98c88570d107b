"""Writes the torch files beside it; run once with torch 1.13 (any later version reads and writes the same forms)."""
import argparse
import collections
import pathlib

import numpy
import torch

HERE = pathlib.Path(__file__).parent


def weights():
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    return collections.OrderedDict(
        [
            ("plain", base),
            ("transposed", base.t()),  # shares plain's storage
            ("columns", base[:, 1::2]),  # offset 1, strides (4, 2)
            ("half", torch.tensor([1.0, -2.5, 65504.0], dtype=torch.float16)),
            ("bfloat", torch.tensor([1.0, -3.0], dtype=torch.bfloat16)),
            ("double", torch.tensor([0.1], dtype=torch.float64)),
            ("count", torch.tensor(7, dtype=torch.int64)),
            ("short", torch.tensor([-1, 300], dtype=torch.int16)),
            ("flags", torch.tensor([True, False, True])),
            ("empty", torch.zeros(0, 5)),
            ("parameter", torch.nn.Parameter(torch.tensor([0.5, 0.25]))),
        ]
    )


def save(name, value, zip_form):
    torch.save(value, HERE / name, _use_new_zipfile_serialization=zip_form)


save("old_form.pt", weights(), False)
save("zip_form.pt", weights(), True)
model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
with torch.no_grad():
    for i, tensor in enumerate(model.state_dict().values()):
        tensor.copy_(torch.arange(tensor.numel()).reshape(tensor.shape) + 10 * i)
optimizer = torch.optim.Adam(model.parameters())
model(torch.ones(4, 2)).sum().backward()
optimizer.step()
with torch.no_grad():
    for i, tensor in enumerate(model.state_dict().values()):
        tensor.copy_(torch.arange(tensor.numel()).reshape(tensor.shape) + 10 * i)
training = {
    "epoch": 3,
    "loss": numpy.float64(1.5),
    "history": [1.0, 2.0],
    "args": argparse.Namespace(lr=0.1, name="run"),
    "state_dict": model.state_dict(),
    "optimizer": optimizer.state_dict(),
}
save("training_old_form.pt", training, False)
save("training_zip_form.pt", training, True)
save("two_networks.pt", {"generator": {"w": torch.ones(2)}, "critic": {"body": {"w": torch.zeros(3)}}, "step": 1}, True)
save("expanded.pt", {"w": torch.ones(2).expand(1000, 2)}, True)
save("whole_module.pt", torch.nn.Linear(2, 2), True)
save("complex.pt", {"w": torch.zeros(2, dtype=torch.complex64)}, True)
