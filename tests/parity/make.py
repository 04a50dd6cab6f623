#!/usr/bin/env python3
"""Makes the twins of whole models: PyTorch's own modules, initialised by PyTorch, trained for 50 steps in f32.

usage: make.py [NAME…]      all architectures, or those named

For each row of ARCHITECTURES it writes NAME.safetensors beside NAME.model: the data (`data.FIELD`), the weights before
the first step under gradc's names and in its layout (`before.PATH`), and the loss of each step (`loss`).
`tests/parity.rs` trains NAME.model from those weights on those batches.

Needs torch 2.15, numpy and safetensors. The pictures are the first digits of `examples/data`, halved to 14 by 14; the
text is the licence at the root of the repository.
"""
import pathlib
import sys

import numpy as np
import torch
from safetensors.numpy import save_file

from architectures import ARCHITECTURES

STEPS, BATCH = 50, 16


def train(architecture, data):
    module = architecture.module()
    before = {path: t.detach().numpy().copy() for path, t in architecture.weights(module).items()}
    step = architecture.trainer(module)
    losses = []
    n_rows = len(next(iter(data.values())))
    for i in range(STEPS):
        rows = slice(i * BATCH % n_rows, i * BATCH % n_rows + BATCH)
        losses.append(float(step({name: torch.from_numpy(values[rows]) for name, values in data.items()})))
    return before, np.array(losses, np.float32)


def main():
    folder = pathlib.Path(__file__).parent
    names = sys.argv[1:] or list(ARCHITECTURES)
    for name in names:
        torch.manual_seed(7)
        architecture = ARCHITECTURES[name]
        data = architecture.data(np.random.default_rng(7))
        before, losses = train(architecture, data)
        tensors = {f"data.{field}": v for field, v in data.items()} | {f"before.{p}": v for p, v in before.items()}
        tensors = {path: np.ascontiguousarray(v) for path, v in tensors.items()}
        path = folder / f"{name}.safetensors"
        save_file(tensors | {"loss": losses}, path)
        print(f"{name:12} {sum(v.size for v in before.values()):6} parameters, {path.stat().st_size / 1000:4.0f} kB, "
              f"loss {losses[0]:.4f} to {losses[-1]:.4f}")
    print("made with torch", torch.__version__)


if __name__ == "__main__":
    main()
