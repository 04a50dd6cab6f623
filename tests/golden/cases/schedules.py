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


def torchs(name, text, make):
    """One of PyTorch's schedules, `make` of the optimizer."""
    def build(ps):
        opt = torch.optim.SGD(ps, lr=0.1)
        schedule = make(opt)

        def step():
            opt.step()
            schedule.step()

        return step

    return optimizer(name, f"sgd(lr = {text})", build)


def plateau(ps):
    opt = torch.optim.SGD(ps, lr=1.0)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(opt, factor=0.5, patience=0, threshold=0.02, cooldown=1)

    def step(evaluate):
        loss = float(evaluate())
        opt.step()
        schedule.step(loss)

    return step


def inverse_sqrt(step, warmup=4):
    """Vaswani et al. 2017 (arXiv 1706.03762), equation 3, 1 at its top."""
    return min((step + 1) / warmup, (warmup / (step + 1)) ** 0.5)


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
    torchs("exponential", "exponential(0.1, factor = 0.7)",
           lambda opt: torch.optim.lr_scheduler.ExponentialLR(opt, 0.7)),
    torchs("polynomial", "polynomial(0.1, power = 2, total = 8)",
           lambda opt: torch.optim.lr_scheduler.PolynomialLR(opt, total_iters=8, power=2)),
    torchs("cosine_restarts", "cosine_restarts(0.1, period = 2, longer = 2, least = 0.01)",
           lambda opt: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, 2, 2, 0.01)),
    torchs("cosine_restarts_even", "cosine_restarts(0.1, period = 3)",
           lambda opt: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, 3)),
    torchs("one_cycle", "one_cycle(0.1)",
           lambda opt: torch.optim.lr_scheduler.OneCycleLR(opt, 0.1, total_steps=STEPS, cycle_momentum=False)),
    torchs("triangular", "triangular(0.1, least = 0.01, half = 3)",
           lambda opt: torch.optim.lr_scheduler.CyclicLR(opt, 0.01, 0.1, step_size_up=3, cycle_momentum=False)),
    optimizer("plateau", "sgd(lr = plateau(error, 1, factor = 0.5, patience = 0, threshold = 0.02, cooldown = 1))",
              plateau),
    optimizer("inverse_sqrt", "sgd(lr = inverse_sqrt(0.1, warmup = 4))",
              scheduled(lambda ps: torch.optim.SGD(ps, lr=0.1), inverse_sqrt)),
]
