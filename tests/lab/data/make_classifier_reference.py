"""What PyTorch makes of the small classifier of tests/lab/training/small_classifier.h: four steps of training with two
optimisers, and batch norm statistics taken anew. usage: make_classifier_reference.py > classifier_training.json
(made with torch 2.6.0, fp64)"""
import json
import math

import torch
from torch import nn

MASK = (1 << 64) - 1


def formula(name, shape):
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & MASK
    offset = 1 if len(shape) == 1 and name.endswith(".weight") else 0
    values = []
    for i in range(math.prod(shape)):
        z = (seed + i + 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        z ^= z >> 31
        values.append(offset + 0.25 * ((z >> 40) / 2**23 - 1))
    return torch.tensor(values, dtype=torch.float32).double().reshape(shape)


class Net(nn.Sequential):
    def __init__(self, momentum=0.1):
        super().__init__(
            nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4, momentum=momentum), nn.ReLU(),
            nn.Conv2d(4, 5, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(5, momentum=momentum), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))
        self.double()
        self.names = {}
        for index, name in ((0, "c1"), (3, "c2")):
            self.names[name + ".w"] = self[index].weight
            norm = self[index + 1]
            self.names |= {name + ".bn.scale.weight": norm.weight, name + ".bn.bias": norm.bias,
                           name + ".bn.mean": norm.running_mean, name + ".bn.var.weight": norm.running_var}
        self.names |= {"fc.w": self[8].weight, "fc.b": self[8].bias}
        with torch.no_grad():
            for name, value in self.names.items():
                value.copy_(formula(name, value.shape))

    def state(self):
        return {name: value.detach().flatten().tolist() for name, value in self.names.items()}


def pictures():
    p = torch.arange(6 * 6 * 3)
    bytes_ = torch.stack([(i * 61 + p * 29 + (p * p) % 17 * 7) % 256 for i in range(8)]).reshape(8, 6, 6, 3)
    x = bytes_.permute(0, 3, 1, 2).double() / 255
    mean, std = torch.tensor([0.5, 0.4, 0.3]).double(), torch.tensor([0.2, 0.3, 0.4]).double()
    return (x - mean[:, None, None]) / std[:, None, None], torch.arange(8) % 3


def train(make, rate, smoothing, teacher=None):
    net, (x, y), losses = Net(), pictures(), []
    matrices = [p for p in net.parameters() if p.dim() > 1]
    optimiser = make(matrices, [p for p in net.parameters() if p.dim() <= 1])
    for step in range(4):
        for group in optimiser.param_groups:
            group["lr"] = rate(step)
        optimiser.zero_grad()
        logits = net(x)
        if teacher is None:
            loss = nn.functional.cross_entropy(logits, y, label_smoothing=smoothing)
        else:
            loss = nn.functional.kl_div(logits.log_softmax(1), teacher(x).log_softmax(1).detach(), log_target=True, reduction="batchmean")
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return {"losses": losses, "state": net.state()}


def sgd(matrices, vectors):
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0}]
    return torch.optim.SGD(groups, lr=1, momentum=0.9, nesterov=True)


def adamw(matrices, vectors):
    groups = [{"params": matrices}, {"params": vectors}]
    return torch.optim.AdamW(groups, lr=1, weight_decay=0.1)


teacher = Net()
with torch.no_grad():
    teacher[8].weight.mul_(-9)
teacher.eval()
reestimated, (x, _) = Net(momentum=None), pictures()
reestimated.train()
for module in reestimated:
    if isinstance(module, nn.BatchNorm2d):
        module.reset_running_stats()
with torch.no_grad():
    for begin, end in ((0, 3), (3, 5), (5, 8)):
        reestimated(x[begin:end])
torch.manual_seed(0)
out = {
    "sgd": train(sgd, lambda step: 0.2 * 0.5 * (1 + math.cos(math.pi * step / 4)), 0.1),
    "adamw": train(adamw, lambda step: [0.01, 0.02, 0.02, 0.002][step], 0.0),
    "distil": train(sgd, lambda step: 0.2 * 0.5 * (1 + math.cos(math.pi * step / 4)), 0.0, teacher),
    "reestimated": reestimated.state(),
}
print(json.dumps(out))
