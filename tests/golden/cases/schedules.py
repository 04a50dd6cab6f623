"""Schedules."""
import numpy as np
import torch

from twins import STEPS, optimizer


def scheduled(make, factor):
    def build(ps):
        opt = make(ps)
        schedule = torch.optim.lr_scheduler.LambdaLR(opt, factor)

        def step():
            opt.step()
            schedule.step()

        return step

    return build


def cosine(step, total=STEPS, warmup=3):
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + np.cos(np.pi * (step - warmup) / (total - warmup)))


CASES = [
    optimizer("cosine", "adam(lr = cosine(0.01, warmup = 3))",
              scheduled(lambda ps: torch.optim.Adam(ps, lr=0.01), cosine)),
    optimizer("linear", "sgd(lr = linear(0.1))",
              scheduled(lambda ps: torch.optim.SGD(ps, lr=0.1), lambda s: 1 - s / STEPS)),
    optimizer("step_decay", "sgd(lr = step_decay(0.1, every = 4, factor = 0.5))",
              scheduled(lambda ps: torch.optim.SGD(ps, lr=0.1), lambda s: 0.5 ** (s // 4))),
]
