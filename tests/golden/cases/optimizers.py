"""Optimizers, and what stands before them."""
import torch

from twins import ROWS, optimizer, optimizer_of


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


def lamb(ps, lr, weight_decay, betas=(0.9, 0.999), eps=1e-6):
    """LAMB (You et al. 2019, arXiv 1904.00962, algorithm 2)."""
    m, v, t = [torch.zeros_like(p) for p in ps], [torch.zeros_like(p) for p in ps], 0

    def step():
        nonlocal t
        t += 1
        with torch.no_grad():
            for i, p in enumerate(ps):
                m[i] = betas[0] * m[i] + (1 - betas[0]) * p.grad
                v[i] = betas[1] * v[i] + (1 - betas[1]) * p.grad ** 2
                move = m[i] / (1 - betas[0] ** t) / ((v[i] / (1 - betas[1] ** t)).sqrt() + eps) + weight_decay * p
                p -= lr * p.norm() / move.norm() * move

    return step


def muon(ps, lr, vectors, momentum=0.95, weight_decay=0.1):
    """Muon (Jordan et al. 2024) as PyTorch's, whose iteration is in bfloat16, in double precision; AdamW for vectors.
    Matrices here are [inputs, outputs]."""
    matrices, averages = [p for p in ps if p.dim() == 2], {}
    adamw = torch.optim.AdamW([p for p in ps if p.dim() < 2], lr=vectors, weight_decay=weight_decay)

    def step():
        adamw.step()
        with torch.no_grad():
            for p in matrices:
                average = momentum * averages.get(p, 0) + (1 - momentum) * p.grad
                averages[p] = average
                x = (1 - momentum) * p.grad + momentum * average
                x = x / x.norm()
                for _ in range(5):
                    square = x @ x.T
                    x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
                n_in, n_out = p.shape
                p.mul_(1 - lr * weight_decay).sub_(lr * max(1, n_out / n_in) ** 0.5 * x)

    return step


def lookahead(make, every, rate):
    """Lookahead (Zhang et al. 2019, arXiv 1907.08610, algorithm 1)."""
    def build(ps):
        opt, slow, t = make(ps), [p.detach().clone() for p in ps], 0

        def step():
            nonlocal t
            opt.step()
            t += 1
            if t % every == 0:
                with torch.no_grad():
                    for s, p in zip(slow, ps):
                        s += rate * (p - s)
                        p.copy_(s)

        return step

    return build


def sam(make, rho):
    """Sharpness-aware minimization (Foret et al. 2020, arXiv 2010.01412, equation 2)."""
    def build(ps):
        opt = make(ps)

        def step(evaluate):
            norm = torch.cat([p.grad.flatten() for p in ps]).norm()
            moves = [rho / (norm + 1e-12) * p.grad for p in ps]
            with torch.no_grad():
                for p, move in zip(ps, moves):
                    p += move
            evaluate()
            with torch.no_grad():
                for p, move in zip(ps, moves):
                    p -= move
            opt.step()

        return step

    return build


def private(make, clip):
    """The clipping of Abadi et al. 2016 (arXiv 1607.00133, algorithm 1), without noise: example after example."""
    def build(ps):
        opt = make(ps)

        def step(evaluate):
            sums = [torch.zeros_like(p) for p in ps]
            for losses in evaluate(each=True):
                gradients = torch.autograd.grad(losses, ps, retain_graph=True)
                norm = torch.cat([g.flatten() for g in gradients]).norm()
                for total, g in zip(sums, gradients):
                    total += g * min(1.0, clip / float(norm))
            for p, total in zip(ps, sums):
                p.grad = total / ROWS
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
    torchs("amsgrad", "amsgrad(lr = 0.01)", lambda ps: torch.optim.Adam(ps, lr=0.01, amsgrad=True)),
    torchs("nadam", "nadam(lr = 0.01)", lambda ps: torch.optim.NAdam(ps, lr=0.01)),
    torchs("radam", "radam(lr = 0.01)", lambda ps: torch.optim.RAdam(ps, lr=0.01)),
    torchs("adamax", "adamax(lr = 0.01)", lambda ps: torch.optim.Adamax(ps, lr=0.01)),
    torchs("adadelta", "adadelta(lr = 0.5, eps = 0.01)", lambda ps: torch.optim.Adadelta(ps, lr=0.5, eps=0.01)),
    torchs("rprop", "rprop(lr = 0.0625)", lambda ps: torch.optim.Rprop(ps, lr=0.0625)),
    torchs("rmsprop_centered", "rmsprop(lr = 0.01, momentum = 0.9, centered = true, eps = 0.01)",
           lambda ps: torch.optim.RMSprop(ps, lr=0.01, momentum=0.9, centered=True, eps=0.01)),
    torchs("adafactor", "adafactor(lr = 0.1, weight_decay = 0.1)",
           lambda ps: torch.optim.Adafactor(ps, lr=0.1, weight_decay=0.1, eps=(1.1920929e-7, 1e-3))),
    torchs("adamw_matrices", "adamw(lr = 0.01, weight_decay = 0.1, only_matrices = true)",
           lambda ps: torch.optim.AdamW([{"params": [p for p in ps if p.dim() == 2], "weight_decay": 0.1},
                                         {"params": [p for p in ps if p.dim() < 2], "weight_decay": 0}], lr=0.01)),
    optimizer("lamb", "lamb(lr = 0.01, weight_decay = 0.1)", lambda ps: lamb(ps, 0.01, 0.1)),
    optimizer("muon", "muon(lr = 0.02, vectors = 0.01)", lambda ps: muon(ps, 0.02, 0.01)),
    optimizer("sam", "sam(rho = 0.2) |> adam(lr = 0.01)", sam(lambda ps: torch.optim.Adam(ps, lr=0.01), 0.2)),
    optimizer("private", "private(clip = 0.5, noise = 0) |> adam(lr = 0.01)",
              private(lambda ps: torch.optim.Adam(ps, lr=0.01), 0.5)),
    optimizer("lookahead", "adam(lr = 0.01) |> lookahead(every = 3)",
              lookahead(lambda ps: torch.optim.Adam(ps, lr=0.01), 3, 0.5)),
]
