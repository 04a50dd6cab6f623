"""Recurrent layers. gradc's matrices are PyTorch's turned about; its LSTM and RNN have one bias, the sum of PyTorch's two."""
import torch
from torch.func import functional_call

from twins import CLASSES, dense, network, real

T, N, H = 4, 3, 5
GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def layer(kind, width=N, twice=False):
    return getattr(torch.nn, kind.upper())(width, H, batch_first=True, bidirectional=twice)


def weights(ps, path, kind, suffix=""):
    """PyTorch's names and forms for gradc's parameters."""
    if kind == "gru":
        biases = ps[f"{path}.bx"], ps[f"{path}.bh"]
    else:
        biases = ps[f"{path}.bias"], torch.zeros_like(ps[f"{path}.bias"])
    values = ps[f"{path}.wx"].T, ps[f"{path}.wh"].T, *biases
    names = "weight_ih", "weight_hh", "bias_ih", "bias_hh"
    return {f"{name}_l0{suffix}": value for name, value in zip(names, values)}


def shapes(path, kind, width=N):
    gates = GATES[kind] * H
    biases = ["bx", "bh"] if kind == "gru" else ["bias"]
    return {f"{path}.wx": (width, gates), f"{path}.wh": (H, gates)} | {f"{path}.{b}": (gates,) for b in biases}


def head(width):
    return {"net.dense.w": (width, CLASSES), "net.dense.b": (CLASSES,)}


def text(body):
    return f"fn net(x: f32[batch, {T}, {N}]) -> f32[batch, {CLASSES}] {{\n    {body}\n}}"


def one(kind, backwards=False):
    path = f"net.{kind}"

    def forward(ps, x):
        x = x.flip(1) if backwards else x
        y, _ = functional_call(layer(kind), weights(ps, path, kind), (x,))
        y = y.flip(1) if backwards else y
        return dense(ps, "net.dense", y.flatten(1))

    argument = ", backwards = true" if backwards else ""
    name = f"{kind}_backwards" if backwards else kind
    return network(name, text(f"{kind}(x, {H}{argument}) |> flatten |> dense({CLASSES})"), forward, real(T, N),
                   shapes(path, kind) | head(T * H))


def two_directional(kind):
    path = "net.two_directional"
    paths = f"{path}.forwards", f"{path}.backwards"

    def forward(ps, x):
        both = weights(ps, paths[0], kind) | weights(ps, paths[1], kind, "_reverse")
        y, _ = functional_call(layer(kind, twice=True), both, (x,))
        return dense(ps, "net.dense", y[:, 1])

    return network(f"two_directional_{kind}", text(f"dense(two_directional(x, {kind}, {H})[:, 1], {CLASSES})"), forward,
                   real(T, N), shapes(paths[0], kind) | shapes(paths[1], kind) | head(2 * H))


def stacked_forward(ps, x):
    y, _ = functional_call(layer("lstm"), weights(ps, "net.lstm.0", "lstm"), (x,))
    y, _ = functional_call(layer("lstm", H), weights(ps, "net.lstm.1", "lstm"), (y,))
    return dense(ps, "net.dense", y[:, -1])


SEGMENTS = f"""fn net(x: f32[batch, {T}, {N}]) -> f32[batch, {CLASSES}] {{
    param w: f32[{N}, {N}] = zeros()
    let h = scan xt over x along 1 reversed segments 2 with h = zeros([batch, {N}]) {{
        h <- tanh(xt + h @ w)
    }}
    dense(h, {CLASSES})
}}"""


def segments(ps, x):
    h = torch.zeros(x.shape[0], N)
    for t in reversed(range(T)):
        h = torch.tanh(x[:, t] + h @ ps["net.w"])
    return dense(ps, "net.dense", h)


CASES = [
    *[one(kind, backwards) for kind in GATES for backwards in (False, True)],
    *[two_directional(kind) for kind in GATES],
    network("stacked_lstm", text(f"dense((x |> lstm({H}) |> lstm({H}))[:, -1], {CLASSES})"), stacked_forward,
            real(T, N), shapes("net.lstm.0", "lstm") | shapes("net.lstm.1", "lstm", H) | head(H)),
    network("scan_in_segments", SEGMENTS, segments, real(T, N), {"net.w": (N, N)} | head(N)),
]
