#!/usr/bin/env python3
"""Makes the golden cases: ten training steps of small networks in PyTorch, in double precision.

For each row of CASES and NETWORKS it writes NAME.model (what gradc trains) and NAME.safetensors: the data (`data.x`,
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
    ("batch_norm", ("batch_norm", lambda x: F.batch_norm(x, None, None, training=True)), LABELS, ce, "label", SGD),
    ("logsumexp", ("tanh", torch.tanh),
     "mse(guess * reshape(logsumexp(guess), [batch, 1]), data.y)",
     lambda g, y: F.mse_loss(g * torch.logsumexp(g, -1, keepdim=True), y), "real", SGD),
    ("cross_entropy_soft", relu, "cross_entropy_soft(guess, data.y)", ce, "distribution", SGD),
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
    ("weight_decay", relu, LABELS, ce, "label",
     ("weight_decay(0.1) |> adam(lr = 0.01)", optimizer(lambda ps: torch.optim.Adam(ps, lr=0.01, weight_decay=0.1)))),
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
{network}

train net {{
    data = memory(x: {x_type}, y: {target})
    let guess = net(data.x)
    minimize {loss} with {optimizer}
    batch = {rows}
    steps = {steps}
    shuffle = false
}}
"""

NETWORK = f"""fn net(x: f32[batch, {WIDTH}]) -> f32[batch, {CLASSES}] {{{{
    x |> dense({HIDDEN}) |> {{}} |> dense({CLASSES})
}}}}"""

ATTENTION = """fn attention(x: f32[batch, t, d], heads: dim) -> f32[batch, t, d] {
    param w: f32[d, 3 * d] = glorot_uniform()
    param out: f32[d, d] = glorot_uniform()
    let (q, k, v) = split(x @ w, 3)
    let q = permute(reshape(q, [batch, t, heads, d / heads]), [0, 2, 1, 3])
    let k = permute(reshape(k, [batch, t, heads, d / heads]), [0, 2, 1, 3])
    let v = permute(reshape(v, [batch, t, heads, d / heads]), [0, 2, 1, 3])
    let seen = reshape(iota([t]), [t, 1]) >= reshape(iota([t]), [1, t])
    let weights = softmax(where(seen, q @ transpose(k) / sqrt(d / heads), -1e9))
    reshape(permute(weights @ v, [0, 2, 1, 3]), [batch, t, d]) @ out
}

fn net(x: f32[batch, 3, 8]) -> f32[batch, 4] { attention(x, heads = 2) |> flatten |> dense(4) }"""


def attention(ps, x):
    q, k, v = (x @ ps["net.attention.w"]).split(8, -1)
    heads = [p.reshape(ROWS, 3, 2, 4).transpose(1, 2) for p in (q, k, v)]
    y = F.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).reshape(ROWS, 3, 8)
    return (y @ ps["net.attention.out"]).flatten(1) @ ps["net.dense.w"] + ps["net.dense.b"]


CONVOLUTION = """fn convolution(x: f32[batch, w, c], channels: dim) -> f32[batch, w, channels] {
    param kernel: f32[3, c, channels] = he_normal()
    let wide = pad(x, [[0, 0], [1, 1], [0, 0]])
    wide[:, 0:w] @ kernel[0] + wide[:, 1:w + 1] @ kernel[1] + wide[:, 2:w + 2] @ kernel[2]
}

fn net(x: f32[batch, 8, 2]) -> f32[batch, 4] {
    let y = x |> convolution(5) |> relu
    let pooled = max(reshape(y, [batch, 4, 2, 5]), axes = [2])
    flatten(pooled) |> dense(4)
}"""


def convolution(ps, x):
    y = F.conv1d(x.transpose(1, 2), ps["net.convolution.kernel"].permute(2, 1, 0), padding=1)
    y = F.max_pool1d(torch.relu(y), 2).transpose(1, 2)
    return y.flatten(1) @ ps["net.dense.w"] + ps["net.dense.b"]


EMBEDDING = """fn net(x: i32[batch, 3]) -> f32[batch, 4] { embedding(x, 6, 5) |> tanh |> flatten |> dense(4) }"""


def embedding(ps, x):
    y = torch.tanh(F.embedding(x, ps["net.embedding.table"]))
    return y.flatten(1) @ ps["net.dense.w"] + ps["net.dense.b"]


SLOPE = """fn net(x: f32[batch, 7]) -> f32[batch, 4] {
    let y = sum(x |> dense(6) |> tanh)
    grad(y, wrt = x) |> dense(4)
}"""


def slope(ps, x):
    """A gradient inside of the network, so that training differentiates twice."""
    x = x.clone().requires_grad_()
    y = torch.tanh(x @ ps["net.dense.0.w"] + ps["net.dense.0.b"]).sum()
    (d_x,) = torch.autograd.grad(y, x, create_graph=True)
    return d_x @ ps["net.dense.1.w"] + ps["net.dense.1.b"]


# name, functions in gradc, the same in torch, shape of an example (whole numbers below the last entry if that is
# negative), shapes of the parameters; trained as the first of CASES
NETWORKS = [
    ("attention", ATTENTION, attention, (3, 8),
     {"net.attention.w": (8, 24), "net.attention.out": (8, 8), "net.dense.w": (24, 4), "net.dense.b": (4,)}),
    ("convolution", CONVOLUTION, convolution, (8, 2),
     {"net.convolution.kernel": (3, 2, 5), "net.dense.w": (20, 4), "net.dense.b": (4,)}),
    ("embedding", EMBEDDING, embedding, (3, -6),
     {"net.embedding.table": (6, 5), "net.dense.w": (15, 4), "net.dense.b": (4,)}),
    ("slope", SLOPE, slope, (7,),
     {"net.dense.0.w": (7, 6), "net.dense.0.b": (6,), "net.dense.1.w": (7, 4), "net.dense.1.b": (4,)}),
]


def target(kind, rng):
    if kind == "label":
        return rng.integers(0, CLASSES, ROWS).astype(np.int32), "i32"
    shape = (ROWS, CLASSES)
    values = {"real": rng.normal(size=shape), "unit": rng.random(shape), "sign": np.sign(rng.normal(size=shape)),
              "distribution": rng.dirichlet(np.ones(CLASSES), ROWS)}[kind]
    # Rounded to f32, so that both precisions see the same data.
    return values.astype(np.float32), f"f32[{CLASSES}]"


def numbers(rng, shape):
    """Rounded to f32, so that both precisions start from the same numbers."""
    return (rng.normal(size=shape) * 0.5).astype(np.float32)


def dense_layers(name, middle):
    """The network of CASES in torch, the parameters that its middle owns, and the states it keeps."""
    owned, states = {}, {}
    if name in ("layer_norm", "rms_norm", "batch_norm"):
        # gradc's norms own a scale (and a shift), which start at one (and zero) and are trained.
        owned = {f"net.{name}.scale": np.ones(HIDDEN, np.float32)}
        if name != "rms_norm":
            owned[f"net.{name}.shift"] = np.zeros(HIDDEN, np.float32)
    if name == "batch_norm":
        states = {f"net.{name}.average": np.zeros(HIDDEN), f"net.{name}.spread": np.ones(HIDDEN)}

    def forward(ps, x):
        h = x @ ps["net.dense.0.w"] + ps["net.dense.0.b"]
        if states:
            # gradc keeps the batch's own variance; PyTorch's running variance is the unbiased one.
            now = h.detach().numpy()
            for key, value in (("average", now.mean(axis=0)), ("spread", now.var(axis=0))):
                states[f"net.{name}.{key}"] = 0.9 * states[f"net.{name}.{key}"] + 0.1 * value
        h = middle(h)
        if owned:
            h = h * ps[f"net.{name}.scale"]
        if f"net.{name}.shift" in owned:
            h = h + ps[f"net.{name}.shift"]
        return h @ ps["net.dense.1.w"] + ps["net.dense.1.b"]

    return forward, owned, states


def train(name, x, y, before, forward, loss, make):
    """Ten steps: the losses, and the parameters after them."""
    ps = {path: torch.tensor(v.astype(np.float64), requires_grad=True) for path, v in before.items()}
    tx, ty = (torch.tensor(v.astype(np.int64 if v.dtype == np.int32 else np.float64)) for v in (x, y))
    step = make(list(ps.values()))
    losses = []
    for _ in range(STEPS):
        value = loss(forward(ps, tx), ty)
        for p in ps.values():
            p.grad = None
        value.backward()
        step()
        losses.append(float(value.detach()))
    return np.array(losses), {path: p.detach().numpy() for path, p in ps.items()}


def write(name, network, x, y, target_type, before, forward, loss_text, loss, optimizer_text, make, states):
    losses, after = train(name, x, y, before, forward, loss, make)
    tensors = {"data.x": x, "data.y": y, "loss": losses}
    tensors |= {f"before.{path}": v for path, v in before.items()}
    tensors |= {f"after.{path}": v for path, v in (after | states).items()}
    save_file(tensors, f"{name}.safetensors")
    x_type = ("i32" if x.dtype == np.int32 else "f32") + str(list(x.shape[1:]))
    with open(f"{name}.model", "w") as out:
        out.write(MODEL.format(network=network, x_type=x_type, rows=ROWS, steps=STEPS, target=target_type,
                               loss=loss_text, optimizer=optimizer_text))


def main():
    for name, middle, loss_text, loss, kind, (optimizer_text, make) in CASES:
        # Seeded by the name, so that a new case changes no other.
        rng = np.random.default_rng(list(name.encode()))
        x = rng.normal(size=(ROWS, WIDTH)).astype(np.float32)
        y, target_type = target(kind, rng)
        shapes = {"net.dense.0.w": (WIDTH, HIDDEN), "net.dense.0.b": (HIDDEN,),
                  "net.dense.1.w": (HIDDEN, CLASSES), "net.dense.1.b": (CLASSES,)}
        forward, owned, states = dense_layers(name, middle[1])
        before = {path: numbers(rng, shape) for path, shape in shapes.items()} | owned
        # `states` is filled by `forward`.
        write(name, NETWORK.format(middle[0]), x, y, target_type, before, forward, loss_text, loss, optimizer_text,
              make, states)
    for name, network, forward, shape, shapes in NETWORKS:
        rng = np.random.default_rng(list(name.encode()))
        *shape, last = shape
        x = rng.integers(0, -last, (ROWS, *shape)) if last < 0 else rng.normal(size=(ROWS, *shape, last))
        x = x.astype(np.int32 if last < 0 else np.float32)
        y, target_type = target("label", rng)
        before = {path: numbers(rng, shape) for path, shape in shapes.items()}
        write(name, network, x, y, target_type, before, forward, LABELS, ce, *SGD, {})
    print(len(CASES) + len(NETWORKS), "cases with torch", torch.__version__)


if __name__ == "__main__":
    main()
