"""The weights of tiny models, by the formula of tests/families/tiny_models.h."""

import numpy
import torch

MASK = (1 << 64) - 1


def fnv1a(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def formula(name, shape):
    count = int(numpy.prod(shape))
    with numpy.errstate(over="ignore"):
        z = numpy.uint64(fnv1a(name)) + numpy.arange(count, dtype=numpy.uint64) + numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z = z ^ (z >> numpy.uint64(31))
    unit = (z >> numpy.uint64(40)).astype(numpy.float64) / 2**23 - 1
    is_norm = len(shape) == 1 and name.endswith((".weight", ".gamma", ".running_var"))
    values = 1 + 0.25 * unit if is_norm else 0.25 * unit
    return torch.from_numpy(values.astype(numpy.float32).reshape(shape))


def rounded(values):
    return [float(f"{v:.7g}") for v in values.flatten().tolist()]
