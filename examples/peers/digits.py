#!/usr/bin/env python3
"""The PyTorch twin of examples/digits.model: the same recordings, features, network, optimizer and number of steps.

usage: digits.py TRAIN_FOLDER TEST_FOLDER     (needs torch 2.x, numpy; `examples/data/get digits` fetches both)
"""
import math
import sys
import time
import wave
from pathlib import Path

START = time.time()
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(2)
torch.manual_seed(1)
LENGTH, SIZE, HOP, MELS, RATE, BATCH, EPOCHS, RATE_OF_LEARNING = 8000, 256, 128, 40, 8000, 32, 12, 2e-3


def load(folder):
    waves, labels = [], []
    for path in sorted(Path(folder).glob("*.wav")):
        with wave.open(str(path)) as sound:
            samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)[:LENGTH] / 32768
        waves.append(np.pad(samples, (0, LENGTH - len(samples))).astype(np.float32))
        labels.append(int(path.name.split("_")[0]))
    return torch.from_numpy(np.stack(waves)), torch.tensor(labels)


def filters(low=20.0, high=4000.0):
    mel = lambda f: 2595 * math.log10(1 + f / 700)
    corners = 700 * (10 ** (torch.linspace(mel(low), mel(high), MELS + 2) / 2595) - 1)
    f = torch.arange(SIZE // 2 + 1)[:, None] * RATE / SIZE
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    return torch.minimum((f - left) / (centre - left), (right - f) / (right - centre)).clamp(min=0)


WINDOW, FILTERS = torch.hann_window(SIZE), filters()


def log_mel(x):
    power = torch.fft.rfft(x.unfold(1, SIZE, HOP) * WINDOW).abs() ** 2
    y = torch.log(power @ FILTERS + 1e-6)
    y = y - y.mean((1, 2), keepdim=True)
    return y / torch.sqrt((y * y).mean((1, 2), keepdim=True) + 1e-5)


class Listener(nn.Module):
    def __init__(self):
        super().__init__()
        stage = lambda i, o, k: [nn.Conv1d(i, o, k, padding=k // 2), nn.BatchNorm1d(o), nn.ReLU()]
        self.stages = nn.Sequential(*stage(MELS, 64, 5), nn.MaxPool1d(2), *stage(64, 96, 5), nn.MaxPool1d(2), *stage(96, 128, 3))
        self.head = nn.Linear(128, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x):
        y = self.stages(log_mel(x).transpose(1, 2)).amax(2)
        return self.head(F.dropout(y, 0.3, self.training))


x, y = load(sys.argv[1])
test_x, test_y = load(sys.argv[2])
model = Listener()
optimizer = torch.optim.Adam(model.parameters(), lr=RATE_OF_LEARNING)
steps = EPOCHS * math.ceil(len(x) / BATCH)


def factor(step, warmup=50):
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
for epoch in range(EPOCHS):
    for rows in torch.randperm(len(x)).split(BATCH):
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
        schedule.step()
model.eval()
with torch.no_grad():
    accuracy = (model(test_x).argmax(1) == test_y).float().mean().item()
print(f"accuracy {accuracy:.4f}   {time.time() - START:.1f} s")
