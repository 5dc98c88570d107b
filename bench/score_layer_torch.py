#!/usr/bin/env python3
"""The PyTorch side of score_layer.sh: Wanda and SparseGPT written plainly, in float32.

  score_layer_torch.py make DIR OUT IN TOKENS              random weights and correlated activations
  score_layer_torch.py time DIR METHOD OUT IN TOKENS THREADS
  score_layer_torch.py compare DIR METHOD OUT IN TOKENS    agreement of the two masks, and both output errors
"""
import sys
import time

import numpy
import torch


def load(path, rows, cols):
    return torch.from_numpy(numpy.fromfile(path, dtype=numpy.float32).reshape(rows, cols))


def make(directory, out, inputs, tokens):
    torch.manual_seed(0)
    scale = torch.exp(torch.randn(inputs) * 0.7)
    x = torch.randn(tokens, 64) @ torch.randn(64, inputs) * 0.1 + torch.randn(tokens, inputs)
    (torch.randn(out, inputs) / inputs**0.5).numpy().tofile(f"{directory}/W.f32")
    (x * scale).numpy().tofile(f"{directory}/X.f32")


def wanda(w, norms):
    scores = w.abs() * norms
    order = torch.sort(scores, dim=-1, stable=True)[1]
    keep = torch.ones_like(w, dtype=torch.bool)
    keep.scatter_(1, order[:, : w.shape[1] // 2], False)
    return keep


def sparsegpt(w, hessian, block=128, damp=0.01):
    w = w.clone()
    hessian = hessian.clone()
    keep = torch.ones_like(w, dtype=torch.bool)
    dead = torch.diag(hessian) == 0
    hessian[dead, dead] = 1
    w[:, dead] = 0
    diagonal = torch.arange(w.shape[1])
    hessian[diagonal, diagonal] += damp * torch.mean(torch.diag(hessian))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor = torch.linalg.cholesky(inverse, upper=True)
    for start in range(0, w.shape[1], block):
        end = min(start + block, w.shape[1])
        part = w[:, start:end].clone()
        pruned = torch.zeros_like(part)
        errors = torch.zeros_like(part)
        u = factor[start:end, start:end]
        scores = part**2 / torch.diag(u).reshape(1, -1) ** 2
        threshold = torch.sort(scores.flatten())[0][scores.numel() // 2 - 1]
        remove = scores <= threshold
        for j in range(end - start):
            column = part[:, j]
            q = column.clone()
            q[remove[:, j]] = 0
            pruned[:, j] = q
            error = (column - q) / u[j, j]
            part[:, j:] -= error.unsqueeze(1).matmul(u[j, j:].unsqueeze(0))
            errors[:, j] = error
        w[:, start:end] = pruned
        keep[:, start:end] = ~remove
        w[:, end:] -= errors.matmul(factor[start:end, end:])
    return w, keep


def timed(directory, method, out, inputs, tokens, threads):
    torch.set_num_threads(threads)
    w, x = load(f"{directory}/W.f32", out, inputs), load(f"{directory}/X.f32", tokens, inputs)
    if method == "wanda":
        norms = x.norm(2, dim=0)
        start = time.perf_counter()
        keep = wanda(w, norms)
        seconds = time.perf_counter() - start
    else:
        hessian = x.T @ x * (2.0 / tokens)
        start = time.perf_counter()
        pruned, keep = sparsegpt(w, hessian)
        seconds = time.perf_counter() - start
        pruned.numpy().tofile(f"{directory}/{method}.torch.f32")
    keep.numpy().tofile(f"{directory}/{method}.torch.mask")
    print(f"{seconds:.4f}")


def compare(directory, method, out, inputs, tokens):
    masks = [numpy.fromfile(f"{directory}/{method}.{side}.mask", dtype=numpy.uint8) for side in ("espalier", "torch")]
    print(f"{method}: masks agree on {100 * (masks[0] == masks[1]).mean():.4f} %, "
          f"kept {100 * masks[0].mean():.4f} % and {100 * masks[1].mean():.4f} %")
    if method == "sparsegpt":
        w, x = load(f"{directory}/W.f32", out, inputs), load(f"{directory}/X.f32", tokens, inputs)
        for side in ("espalier", "torch"):
            change = w - load(f"{directory}/{method}.{side}.f32", out, inputs)
            print(f"{method}: output error {side} {(x @ change.T).square().sum().item():.6g}")


def main():
    verb, directory, *rest = sys.argv[1:]
    if verb == "make":
        make(directory, *map(int, rest))
    else:
        method, *sizes = rest
        {"time": timed, "compare": compare}[verb](directory, method, *map(int, sizes))


main()
