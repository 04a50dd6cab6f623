#!/usr/bin/env python3
"""Makes the golden cases: ten training steps of small networks in PyTorch, in double precision.

For each row of CASES it writes NAME.model (what gradc trains) and NAME.safetensors: the data (`data.x`,
`data.y`), the parameters before (`before.PATH`), the loss of each of ten steps (`loss`) and the parameters
after them (`after.PATH`). `tests/golden.rs` holds gradc to them.

usage: make.py   (needs torch 2.x, numpy, safetensors; run in this folder)
"""
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

torch.set_default_dtype(torch.float64)
STEPS, ROWS, WIDTH, HIDDEN, CLASSES = 10, 5, 7, 6, 4

LABELS = "cross_entropy(guess, data.y)"
MSE = "mse(guess, data.y)"


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


def optimizer(make):
    """A function of the parameters that gives a function of no arguments: one step."""
    return lambda ps: make(ps).step


def scheduled(make, factor):
    def build(ps):
        opt = make(ps)
        schedule = torch.optim.lr_scheduler.LambdaLR(opt, factor)

        def step():
            opt.step()
            schedule.step()

        return step

    return build


SGD = ("sgd(lr = 0.1)", optimizer(lambda ps: torch.optim.SGD(ps, lr=0.1)))


def clipped(clip, make):
    def build(ps):
        opt = make(ps)

        def step():
            clip(ps)
            opt.step()

        return step

    return build


def cosine(step, total=10, warmup=3):
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + np.cos(np.pi * (step - warmup) / (total - warmup)))


ce = lambda g, y: F.cross_entropy(g, y)
mse = lambda g, y: F.mse_loss(g, y)
probs = lambda g: torch.sigmoid(g)

# name, middle of the network (gradc), the same in torch, loss (gradc), the same in torch, kind of target,
# (optimizer in gradc, the same in torch)
relu = ("relu", torch.relu)
CASES = [
    ("relu", relu, LABELS, ce, "label", SGD),
    ("leaky_relu", ("leaky_relu", lambda x: F.leaky_relu(x, 0.01)), LABELS, ce, "label", SGD),
    ("elu", ("elu", F.elu), LABELS, ce, "label", SGD),
    ("gelu", ("gelu", F.gelu), LABELS, ce, "label", SGD),
    ("gelu_tanh", ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")), LABELS, ce, "label", SGD),
    ("silu", ("silu", F.silu), LABELS, ce, "label", SGD),
    ("softplus", ("softplus", F.softplus), LABELS, ce, "label", SGD),
    ("tanh", ("tanh", torch.tanh), LABELS, ce, "label", SGD),
    ("sigmoid", ("sigmoid", torch.sigmoid), LABELS, ce, "label", SGD),
    ("softmax", ("softmax", lambda x: F.softmax(x, -1)), LABELS, ce, "label", SGD),
    ("log_softmax", ("log_softmax", lambda x: F.log_softmax(x, -1)), LABELS, ce, "label", SGD),
    ("layer_norm", ("layer_norm", lambda x: F.layer_norm(x, (HIDDEN,))), LABELS, ce, "label", SGD),
    ("rms_norm", ("rms_norm", lambda x: F.rms_norm(x, (HIDDEN,), eps=1e-6)), LABELS, ce, "label", SGD),
    ("cross_entropy_probs", relu, "cross_entropy_probs(softmax(guess), data.y)", ce, "label", SGD),
    ("binary_cross_entropy", relu, "binary_cross_entropy(sigmoid(guess), data.y)",
     lambda g, y: F.binary_cross_entropy(probs(g), y), "unit", SGD),
    ("binary_cross_entropy_logits", relu, "binary_cross_entropy_logits(guess, data.y)",
     F.binary_cross_entropy_with_logits, "unit", SGD),
    ("mse", relu, MSE, mse, "real", SGD),
    ("mae", relu, "mae(guess, data.y)", F.l1_loss, "real", SGD),
    ("huber", relu, "huber(guess, data.y)", F.huber_loss, "real", SGD),
    ("hinge", relu, "hinge(guess, data.y)", lambda g, y: torch.clamp(1 - g * y, min=0).mean(), "sign", SGD),
    ("kl", relu, "kl(data.y, softmax(guess))",
     lambda g, y: F.kl_div(F.log_softmax(g, -1), y, reduction="batchmean"), "distribution", SGD),
    ("sgd_momentum", relu, LABELS, ce, "label",
     ("sgd(lr = 0.1, momentum = 0.9)", optimizer(lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9)))),
    ("sgd_nesterov", relu, LABELS, ce, "label",
     ("sgd(lr = 0.1, momentum = 0.9, nesterov = true)",
      optimizer(lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9, nesterov=True)))),
    ("sgd_weight_decay", relu, LABELS, ce, "label",
     ("sgd(lr = 0.1, weight_decay = 0.01)", optimizer(lambda ps: torch.optim.SGD(ps, lr=0.1, weight_decay=0.01)))),
    ("adam", relu, LABELS, ce, "label", ("adam(lr = 0.01)", optimizer(lambda ps: torch.optim.Adam(ps, lr=0.01)))),
    ("adamw", relu, LABELS, ce, "label",
     ("adamw(lr = 0.01, weight_decay = 0.1)", optimizer(lambda ps: torch.optim.AdamW(ps, lr=0.01, weight_decay=0.1)))),
    ("rmsprop", relu, LABELS, ce, "label",
     ("rmsprop(lr = 0.01)", optimizer(lambda ps: torch.optim.RMSprop(ps, lr=0.01)))),
    ("adagrad", relu, LABELS, ce, "label",
     ("adagrad(lr = 0.1)", optimizer(lambda ps: torch.optim.Adagrad(ps, lr=0.1)))),
    ("lion", relu, LABELS, ce, "label",
     ("lion(lr = 0.01, weight_decay = 0.1)", lambda ps: lion(ps, 0.01, (0.9, 0.99), 0.1))),
    ("clip_by_norm", relu, LABELS, ce, "label",
     ("clip_by_norm(0.1) |> adam(lr = 0.01)",
      clipped(lambda ps: torch.nn.utils.clip_grad_norm_(ps, 0.1), lambda ps: torch.optim.Adam(ps, lr=0.01)))),
    ("clip_by_value", relu, LABELS, ce, "label",
     ("clip_by_value(0.01) |> sgd(lr = 0.1)",
      clipped(lambda ps: torch.nn.utils.clip_grad_value_(ps, 0.01), lambda ps: torch.optim.SGD(ps, lr=0.1)))),
    ("cosine", relu, LABELS, ce, "label",
     ("adam(lr = cosine(0.01, warmup = 3))", scheduled(lambda ps: torch.optim.Adam(ps, lr=0.01), cosine))),
    ("linear", relu, LABELS, ce, "label",
     ("sgd(lr = linear(0.1))", scheduled(lambda ps: torch.optim.SGD(ps, lr=0.1), lambda s: 1 - s / 10))),
    ("step_decay", relu, LABELS, ce, "label",
     ("sgd(lr = step_decay(0.1, every = 4, factor = 0.5))",
      scheduled(lambda ps: torch.optim.SGD(ps, lr=0.1), lambda s: 0.5 ** (s // 4)))),
]

MODEL = """// Made by make.py: the twin of a PyTorch network, ten steps of which stand beside it.
fn net(x: f32[batch, {width}]) -> f32[batch, {classes}] {{
    x |> dense({hidden}) |> {middle} |> dense({classes})
}}

train net {{
    data = memory(x: f32[{width}], y: {target})
    let guess = net(data.x)
    minimize {loss} with {optimizer}
    batch = {rows}
    steps = {steps}
    shuffle = false
}}
"""


def target(kind, rng):
    if kind == "label":
        return rng.integers(0, CLASSES, ROWS).astype(np.int32), "i32[]"
    shape = (ROWS, CLASSES)
    values = {"real": rng.normal(size=shape), "unit": rng.random(shape), "sign": np.sign(rng.normal(size=shape)),
              "distribution": rng.dirichlet(np.ones(CLASSES), ROWS)}[kind]
    # Rounded to f32, so that both precisions see the same data.
    return values.astype(np.float32), f"f32[{CLASSES}]"


def main():
    for number, (name, middle, loss_text, loss, kind, (optimizer_text, make)) in enumerate(CASES):
        rng = np.random.default_rng(number)
        x = rng.normal(size=(ROWS, WIDTH)).astype(np.float32)
        y, target_type = target(kind, rng)
        shapes = {"net.dense.0.w": (WIDTH, HIDDEN), "net.dense.0.b": (HIDDEN,),
                  "net.dense.1.w": (HIDDEN, CLASSES), "net.dense.1.b": (CLASSES,)}
        before = {path: (rng.normal(size=s) * 0.5).astype(np.float32) for path, s in shapes.items()}
        ps = {path: torch.tensor(v.astype(np.float64), requires_grad=True) for path, v in before.items()}
        extra = {}
        if name in ("layer_norm", "rms_norm"):
            # gradc's norms own a scale (and a shift), which start at one (and zero) and are trained.
            extra = {f"net.{name}.scale": np.ones(HIDDEN)}
            if name == "layer_norm":
                extra[f"net.{name}.shift"] = np.zeros(HIDDEN)
            for path, v in extra.items():
                ps[path] = torch.tensor(v, requires_grad=True)
                before[path] = v.astype(np.float32)
        tx = torch.tensor(x.astype(np.float64))
        ty = torch.tensor(y.astype(np.int64) if kind == "label" else y.astype(np.float64))
        step = make(list(ps.values()))
        losses = []
        for _ in range(STEPS):
            h = tx @ ps["net.dense.0.w"] + ps["net.dense.0.b"]
            h = middle[1](h)
            if f"net.{name}.scale" in ps:
                h = h * ps[f"net.{name}.scale"]
            if f"net.{name}.shift" in ps:
                h = h + ps[f"net.{name}.shift"]
            value = loss(h @ ps["net.dense.1.w"] + ps["net.dense.1.b"], ty)
            for p in ps.values():
                p.grad = None
            value.backward()
            step()
            losses.append(float(value.detach()))
        tensors = {"data.x": x, "data.y": y, "loss": np.array(losses)}
        tensors |= {f"before.{path}": v for path, v in before.items()}
        tensors |= {f"after.{path}": p.detach().numpy() for path, p in ps.items()}
        save_file(tensors, f"{name}.safetensors")
        with open(f"{name}.model", "w") as out:
            out.write(MODEL.format(width=WIDTH, hidden=HIDDEN, classes=CLASSES, rows=ROWS, steps=STEPS,
                                   middle=middle[0], target=target_type, loss=loss_text, optimizer=optimizer_text))
    print(len(CASES), "cases with torch", torch.__version__)


if __name__ == "__main__":
    main()
