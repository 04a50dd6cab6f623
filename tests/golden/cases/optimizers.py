"""Optimizers, and what stands before them."""
import torch

from twins import optimizer, optimizer_of


def lion(parameters, lr, betas, weight_decay):
    """Lion (Chen et al. 2023, arXiv 2302.06675, algorithm 2)."""
    moments = [torch.zeros_like(p) for p in parameters]

    def step():
        with torch.no_grad():
            for p, m in zip(parameters, moments):
                update = torch.sign(betas[0] * m + (1 - betas[0]) * p.grad)
                p -= lr * (update + weight_decay * p)
                m.mul_(betas[1]).add_((1 - betas[1]) * p.grad)

    return step


def clipped(clip, make):
    def build(ps):
        opt = make(ps)

        def step():
            clip(ps)
            opt.step()

        return step

    return build


def torchs(name, text, make):
    return optimizer(name, text, optimizer_of(make))


CASES = [
    torchs("sgd_momentum", "sgd(lr = 0.1, momentum = 0.9)", lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9)),
    torchs("sgd_nesterov", "sgd(lr = 0.1, momentum = 0.9, nesterov = true)",
           lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9, nesterov=True)),
    torchs("sgd_weight_decay", "sgd(lr = 0.1, weight_decay = 0.01)",
           lambda ps: torch.optim.SGD(ps, lr=0.1, weight_decay=0.01)),
    torchs("weight_decay", "weight_decay(0.1) |> adam(lr = 0.01)",
           lambda ps: torch.optim.Adam(ps, lr=0.01, weight_decay=0.1)),
    torchs("adam", "adam(lr = 0.01)", lambda ps: torch.optim.Adam(ps, lr=0.01)),
    torchs("adamw", "adamw(lr = 0.01, weight_decay = 0.1)",
           lambda ps: torch.optim.AdamW(ps, lr=0.01, weight_decay=0.1)),
    torchs("rmsprop", "rmsprop(lr = 0.01)", lambda ps: torch.optim.RMSprop(ps, lr=0.01)),
    torchs("adagrad", "adagrad(lr = 0.1)", lambda ps: torch.optim.Adagrad(ps, lr=0.1)),
    optimizer("lion", "lion(lr = 0.01, weight_decay = 0.1)", lambda ps: lion(ps, 0.01, (0.9, 0.99), 0.1)),
    optimizer("clip_by_norm", "clip_by_norm(0.1) |> adam(lr = 0.01)",
              clipped(lambda ps: torch.nn.utils.clip_grad_norm_(ps, 0.1), lambda ps: torch.optim.Adam(ps, lr=0.01))),
    optimizer("clip_by_value", "clip_by_value(0.01) |> sgd(lr = 0.1)",
              clipped(lambda ps: torch.nn.utils.clip_grad_value_(ps, 0.01), lambda ps: torch.optim.SGD(ps, lr=0.1))),
]
