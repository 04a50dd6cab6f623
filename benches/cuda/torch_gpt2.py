#!/usr/bin/env python3
"""Times PyTorch's training step of the model in gpt2.model, under autocast to bf16, on made-up text.

usage: torch_gpt2.py eager|compile [--batch N] [--layers N] [--context N] [--vocabulary N] [--seconds S] [--device cuda]
Steps are timed in up to 10 groups. Prints one JSON object; `first_step_s` counts from the start of the process.
"""
import argparse
import json
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "peers"))
import torch
import torch.nn.functional as F
from torch import nn

from torch_steps import Gpt

WIDTH, HEADS = 768, 12
N_GROUPS, N_WARM, N_BATCHES = 10, 5, 4


class Gpt2(Gpt):
    """The head has the embedding's weights, and no bias."""

    def __init__(self, layers, context, vocabulary):
        super().__init__(layers, WIDTH, HEADS, context, vocabulary)
        self.head = nn.Linear(WIDTH, vocabulary, bias=False)
        self.head.weight = self.token.weight
        for table in [self.token.weight, self.place]:
            nn.init.normal_(table, std=0.02)


def seconds_of_this_process():
    """By the kernel's clock, which counts in hundredths."""
    began = int(open("/proc/self/stat").read().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variant", choices=["eager", "compile"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--vocabulary", type=int, default=50304)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    device, is_gpu = arguments.device, arguments.device.startswith("cuda")
    torch.manual_seed(1)
    network = Gpt2(arguments.layers, arguments.context, arguments.vocabulary).to(device)
    text = torch.randint(arguments.vocabulary, (N_BATCHES, arguments.batch, arguments.context + 1), device=device)
    # One kernel for all parameters, with the compiler and without.
    adam = torch.optim.AdamW(network.parameters(), lr=6e-4, weight_decay=1e-2, fused=True)

    def loss_of(x, y):
        with torch.autocast(device.partition(":")[0], dtype=torch.bfloat16):
            return F.cross_entropy(network(x), y.flatten())

    if arguments.variant == "compile":
        loss_of = torch.compile(loss_of, mode="reduce-overhead" if is_gpu else None)
    batches = [(x[:, :-1].contiguous(), x[:, 1:].contiguous()) for x in text]
    wait = (lambda: torch.cuda.synchronize(device)) if is_gpu else lambda: None

    def step(i):
        adam.zero_grad(set_to_none=True)
        loss = loss_of(*batches[i % N_BATCHES])
        loss.backward()
        adam.step()
        return loss.detach()

    losses = [float(step(0))]
    first_step = seconds_of_this_process()
    for i in range(1, N_WARM):
        losses.append(float(step(i)))
    began = time.perf_counter()
    step(0)
    wait()
    in_group = max(1, int(arguments.seconds / N_GROUPS / (time.perf_counter() - began)))
    times, start = [], time.perf_counter()
    while len(times) < N_GROUPS and (len(times) < 3 or time.perf_counter() - start < arguments.seconds):
        began = time.perf_counter()
        for i in range(in_group):
            step(i)
        wait()
        times.append((time.perf_counter() - began) / in_group * 1e3)
    peak = torch.cuda.max_memory_allocated(device) if is_gpu else 0
    print(json.dumps({"ms_min": min(times), "ms_median": statistics.median(times), "first_step_s": first_step, "peak_bytes": peak,
                      "parameters": sum(p.numel() for p in network.parameters()), "losses": losses}))


main()
