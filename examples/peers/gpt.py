#!/usr/bin/env python3
"""The PyTorch twin of examples/gpt.model: the same network, text, optimizer and number of steps.

usage: gpt.py FILE     (needs torch 2.x, numpy; `examples/data/get shakespeare` fetches the text)
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
CONTEXT, STRIDE, WIDTH, DEPTH, HEADS, BATCH, STEPS = 64, 16, 128, 4, 4, 12, 2000

text = open(sys.argv[1], encoding="utf-8").read()
vocabulary = sorted(set(text))
tokens = torch.tensor([vocabulary.index(c) for c in text])
cut = int(len(tokens) * 0.9)


def pieces(part, stride):
    starts = range(0, len(part) - CONTEXT, stride)
    return (torch.stack([part[s:s + CONTEXT] for s in starts]), torch.stack([part[s + 1:s + CONTEXT + 1] for s in starts]))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)
        for layer in (self.qkv, self.up):
            nn.init.normal_(layer.weight, std=0.02)
        for layer in (self.out, self.down):
            nn.init.normal_(layer.weight, std=0.02 / math.sqrt(2 * DEPTH))

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (y.view(b, t, HEADS, d // HEADS).transpose(1, 2) for y in self.qkv(self.norms[0](x)).split(d, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, d)
        x = x + self.out(y)
        return x + self.down(F.gelu(self.up(self.norms[1](x))))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.token, self.place = nn.Embedding(len(vocabulary), WIDTH), nn.Embedding(CONTEXT, WIDTH)
        nn.init.normal_(self.token.weight, std=0.02)
        nn.init.normal_(self.place.weight, std=0.02)
        self.blocks, self.norm = nn.Sequential(*[Block() for _ in range(DEPTH)]), nn.LayerNorm(WIDTH)

    def forward(self, x):
        y = self.token(x) + self.place.weight[:x.shape[1]]
        return self.norm(self.blocks(y)) @ self.token.weight.T


def rate(step, warmup=100):
    if step < warmup:
        return (step + 1) / warmup
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (STEPS - warmup)))


x, y = pieces(tokens[:cut], STRIDE)
valid_x, valid_y = pieces(tokens[cut:], CONTEXT)
model = GPT()
parameters = list(model.parameters())
groups = [{"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
          {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
order = torch.randperm(len(x))
begun = time.time()
for step in range(STEPS):
    rows = order[step * BATCH:(step + 1) * BATCH]
    optimizer.zero_grad(set_to_none=True)
    loss = F.cross_entropy(model(x[rows]).flatten(0, 1), y[rows].flatten())
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    schedule.step()
print(f"training {time.time() - begun:.1f} s")
with torch.no_grad():
    losses = [F.cross_entropy(model(a).flatten(0, 1), b.flatten()).item() * len(a)
              for a, b in zip(valid_x.split(64), valid_y.split(64))]
print(f"validation loss {sum(losses) / len(valid_x):.4f}   {time.time() - START:.1f} s")
