#!/usr/bin/env python3
"""The PyTorch twin of examples/fashion.model: the same pictures, network, augmentation, optimizer and number of steps.

usage: fashion.py PREFIX_OF_TRAIN PREFIX_OF_TEST     (needs torch 2.x, numpy; `examples/data/get fashion-mnist` fetches the files
`fashion-train-images.idx3-ubyte` and so on; give `examples/data/fashion-train examples/data/fashion-test`)
"""
import math
import sys
import time

START = time.time()
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(2)
torch.manual_seed(1)
BATCH, EPOCHS, RATE = 128, 6, 1e-2


def load(prefix):
    images = np.fromfile(f"{prefix}-images.idx3-ubyte", np.uint8)[16:].reshape(-1, 1, 28, 28)
    labels = np.fromfile(f"{prefix}-labels.idx1-ubyte", np.uint8)[8:]
    return torch.from_numpy((images / 255 - 0.286).astype(np.float32) / 0.353), torch.from_numpy(labels.astype(np.int64))


def conv(i, o, kernel=3, stride=1):
    layer = nn.Conv2d(i, o, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight)
    return nn.Sequential(layer, nn.BatchNorm2d(o))


class Residual(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.first, self.second, self.skip = conv(i, o, stride=2), conv(o, o), conv(i, o, 1, 2)

    def forward(self, x):
        return F.relu(self.second(F.relu(self.first(x))) + self.skip(x))


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.blocks, self.head = conv(1, 16), nn.Sequential(Residual(16, 32), Residual(32, 64)), nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.blocks(F.relu(self.stem(x))).mean((2, 3)))


x, y = load(sys.argv[1])
test_x, test_y = load(sys.argv[2])
model = Classifier().to(memory_format=torch.channels_last)
optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
steps = EPOCHS * math.ceil(len(x) / BATCH)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
for epoch in range(EPOCHS):
    for rows in torch.randperm(len(x)).split(BATCH):
        images = x[rows]
        mirrored = torch.rand(len(rows), 1, 1, 1) < 0.5
        images = torch.where(mirrored, images.flip(3), images).contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), y[rows]).backward()
        optimizer.step()
        schedule.step()
model.eval()
with torch.no_grad():
    right = sum((model(a).argmax(1) == b).sum().item() for a, b in zip(test_x.split(500), test_y.split(500)))
print(f"accuracy {right / len(test_y):.4f}   {time.time() - START:.1f} s")
