"""The machinery of the golden cases: a network in gradc's language, its twin in PyTorch, and ten training steps of it.

A `Case` says what is trained; `write` trains it in double precision and leaves NAME.model (what gradc trains) and
NAME.safetensors: the data (`data.FIELD`), the variables before (`before.PATH`), the loss of each of ten steps (`loss`),
a projection of the loss's gradient to the input (`slope`, one number a step: the gradient times the random `data.probe`,
added up), and the variables after them (`after.PATH`). `tests/golden.rs` holds gradc to them.

Cases are made by `middle` (a function between two dense layers), `loss`, `optimizer`, and `network` (anything else); the
files of `cases/` are lists of them.
"""
import inspect
from dataclasses import dataclass, field
from typing import Any, Callable

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

torch.set_default_dtype(torch.float64)
STEPS, ROWS, WIDTH, HIDDEN, CLASSES = 10, 5, 7, 6, 4


# Data: functions of a generator that give an array, a row an example. Real numbers are rounded to f32, so that both
# precisions see the same.

def real(*shape):
    return lambda rng: rng.normal(size=(ROWS, *shape)).astype(np.float32)


def unit(*shape):
    """From 0 to 1."""
    return lambda rng: rng.random((ROWS, *shape)).astype(np.float32)


def sign(*shape):
    return lambda rng: np.sign(rng.normal(size=(ROWS, *shape))).astype(np.float32)


def distribution(n):
    return lambda rng: rng.dirichlet(np.ones(n), ROWS).astype(np.float32)


def whole(below, *shape):
    """Whole numbers from 0 to before `below`."""
    return lambda rng: rng.integers(0, below, (ROWS, *shape)).astype(np.int32)


label = whole(CLASSES)


def optimizer_of(make):
    """What PyTorch's optimizers are here: a function of the parameters that gives a function of no arguments, one step.
    (One with an argument is given what computes the loss and the gradients anew.)"""
    def build(ps):
        optimizer = make(ps)
        return lambda: optimizer.step()

    return build


LABELS = ("cross_entropy(guess, data.y)", F.cross_entropy)
SGD = ("sgd(lr = 0.1)", optimizer_of(lambda ps: torch.optim.SGD(ps, lr=0.1)))


@dataclass
class Case:
    name: str
    # gradc's text: a function `net` of the inputs, and whatever it needs.
    network: str
    # The same in torch: from the parameters by path and the inputs to what the loss is given.
    forward: Callable
    # Parameters by path: a shape, which is filled with random numbers, or first values.
    parameters: dict[str, Any]
    # Inputs by name; the first one's gradient is held, too.
    inputs: dict[str, Callable] = field(default_factory=lambda: {"x": real(WIDTH)})
    y: Callable = label
    loss: tuple[str, Callable] = LABELS
    optimizer: tuple[str, Callable] = SGD
    # States by path: a dictionary of their values, which `forward` brings up to date.
    states: dict[str, np.ndarray] = field(default_factory=dict)
    # Whether the input's gradient is held: not in the cases of optimizers and schedules.
    slope: bool = True


DENSE = {"net.dense.0.w": (WIDTH, HIDDEN), "net.dense.0.b": (HIDDEN,),
         "net.dense.1.w": (HIDDEN, CLASSES), "net.dense.1.b": (CLASSES,)}


def dense(ps, path, x):
    return x @ ps[f"{path}.w"] + ps[f"{path}.b"]


def middle(name, text, function, owned=None, **rest):
    """Two dense layers and `text` between them. `function` is the same in torch, of the parameters and of x, if it owns
    parameters, otherwise of x alone."""
    own = function if owned else lambda ps, x: function(x)

    def forward(ps, x):
        return dense(ps, "net.dense.1", own(ps, dense(ps, "net.dense.0", x)))

    network = f"""fn net(x: f32[batch, {WIDTH}]) -> f32[batch, {CLASSES}] {{
    x |> dense({HIDDEN}) |> {text} |> dense({CLASSES})
}}"""
    return Case(name, network, forward, DENSE | (owned or {}), **rest)


def loss(name, text, function, y=label, text_middle="relu", function_middle=torch.relu, **rest):
    """`text` is minimized, of `guess` with CLASSES columns and `data.y`."""
    return middle(name, text_middle, function_middle, y=y, loss=(text, function), **rest)


def optimizer(name, text, make):
    """`make` as `optimizer_of` gives it."""
    return middle(name, "relu", torch.relu, optimizer=(text, make), slope=False)


def network(name, text, forward, inputs, parameters, **rest):
    """Any network. `inputs` as in `Case`, or what makes the only one."""
    return Case(name, text, forward, parameters, inputs if isinstance(inputs, dict) else {"x": inputs}, **rest)


MODEL = """// Made by make.py: the twin of a PyTorch network, ten steps of which stand beside it.
{network}

train net {{
    data = memory({fields})
{lines}
    batch = {rows}
    steps = {steps}
    shuffle = false
}}
"""


def train(case, inputs, y, probe, before):
    """Ten steps: the losses, the slopes, and the parameters after them."""
    tensor = lambda v: torch.tensor(v.astype(np.int64 if v.dtype == np.int32 else np.float64))
    ps = {path: tensor(v).requires_grad_() for path, v in before.items()}
    inputs, y = [tensor(v) for v in inputs.values()], tensor(y)
    if probe is not None:
        inputs[0].requires_grad_()
    step = case.optimizer[1](list(ps.values()))
    losses, slopes = [], []

    def evaluate(each=False):
        """The loss, every gradient brought up to date; or the losses of the examples by themselves."""
        if each:
            rows = [slice(i, i + 1) for i in range(ROWS)]
            return [case.loss[1](case.forward(ps, *[x[row] for x in inputs]), y[row]) for row in rows]
        value = case.loss[1](case.forward(ps, *inputs), y)
        for p in [*ps.values(), inputs[0]]:
            p.grad = None
        value.backward()
        return value

    for _ in range(STEPS):
        value = evaluate()
        if probe is not None:
            slopes.append(float((inputs[0].grad * torch.tensor(probe.astype(np.float64))).sum()))
        step(evaluate) if inspect.signature(step).parameters else step()
        losses.append(float(value.detach()))
    return np.array(losses), np.array(slopes), {path: p.detach().numpy() for path, p in ps.items()}


def type_of(values):
    return ("i32" if values.dtype == np.int32 else "f32") + (str(list(values.shape[1:])) if values.ndim > 1 else "")


def write(case):
    # Seeded by the name, so that a new case changes no other; the probe comes last, so that it changes nothing else.
    rng = np.random.default_rng(list(case.name.encode()))
    inputs = {name: make(rng) for name, make in case.inputs.items()}
    y = case.y(rng)
    # Parameters are rounded to f32, too.
    before = {path: (rng.normal(size=p) * 0.5).astype(np.float32) if isinstance(p, tuple) else p
              for path, p in case.parameters.items()}
    (first, x), *_ = inputs.items()
    probe = real(*x.shape[1:])(rng) if case.slope and x.dtype == np.float32 else None
    losses, slopes, after = train(case, inputs, y, probe, before)

    data = inputs | {"y": y} | ({} if probe is None else {"probe": probe})
    tensors = {f"data.{name}": v for name, v in data.items()} | {"loss": losses}
    tensors |= {} if probe is None else {"slope": slopes}
    tensors |= {f"before.{path}": v for path, v in before.items()}
    tensors |= {f"after.{path}": v for path, v in (after | case.states).items()}
    save_file(tensors, f"{case.name}.safetensors")

    given = [f"data.{name}" for name in inputs]
    lines = [f"let guess = net({', '.join(given)})", f"minimize {case.loss[0]} with {case.optimizer[0]}"]
    if "error" in case.optimizer[0]:
        lines[1:] = [f"let error = {case.loss[0]}", f"minimize error with {case.optimizer[0]}"]
    if probe is not None:
        given[0] = first
        lines = [f"let {first} = data.{first}", f"let guess = net({', '.join(given)})",
                 f"let error = {case.loss[0]}", f"minimize error with {case.optimizer[0]}",
                 f"report slope = sum(grad(error, wrt = {first}) * data.probe)"]
    fields = ", ".join(f"{name}: {type_of(v)}" for name, v in data.items())
    with open(f"{case.name}.model", "w") as out:
        out.write(MODEL.format(network=case.network, fields=fields, lines="\n".join("    " + line for line in lines),
                               rows=ROWS, steps=STEPS))
