"""Layers with tables, and gradients inside of a network."""
import torch
import torch.nn.functional as F

from twins import DENSE, dense, network, real, whole

EMBEDDING = """fn net(x: i32[batch, 3]) -> f32[batch, 4] { embedding(x, 6, 5) |> tanh |> flatten |> dense(4) }"""


def embedding(ps, x):
    y = torch.tanh(F.embedding(x, ps["net.embedding.table"]))
    return dense(ps, "net.dense", y.flatten(1))


SLOPE = """fn net(x: f32[batch, 7]) -> f32[batch, 4] {
    let y = sum(x |> dense(6) |> tanh)
    grad(y, wrt = x) |> dense(4)
}"""


def slope(ps, x):
    """A gradient inside of the network, so that training differentiates twice."""
    x = x.clone().requires_grad_()
    y = torch.tanh(dense(ps, "net.dense.0", x)).sum()
    (d_x,) = torch.autograd.grad(y, x, create_graph=True)
    return dense(ps, "net.dense.1", d_x)


SLOPES = """fn net(x: f32[batch, 7]) -> f32[batch, 4] {
    param w: f32[7, 6] = glorot_uniform()
    let slopes = each xi over x { grad(sum(tanh(xi @ w)), wrt = w) }
    flatten(slopes) |> dense(4)
}"""


def slopes(ps, x):
    """The gradients of a parameter by single examples, and through them."""
    of = lambda xi: torch.autograd.grad(torch.tanh(xi @ ps["net.w"]).sum(), ps["net.w"], create_graph=True)[0]
    return dense(ps, "net.dense", torch.stack([of(xi) for xi in x]).flatten(1))


BILINEAR = """fn net(x: f32[batch, 7]) -> f32[batch, 4] { bilinear(x |> dense(6) |> tanh, x, 4) }"""


def bilinear(ps, x):
    w, b = ps["net.bilinear.w"], ps["net.bilinear.bias"]
    return F.bilinear(torch.tanh(dense(ps, "net.dense", x)), x, w, b)


BAG = """fn net(x: i32[batch, 3]) -> f32[batch, 4] { embedding_bag(x, 6, 5) |> dense(4) }"""


def bag(ps, x):
    return dense(ps, "net.dense", F.embedding_bag(x, ps["net.embedding_bag.embedding.table"], mode="mean"))


CASES = [
    network("bilinear", BILINEAR, bilinear, real(7),
            {"net.dense.w": (7, 6), "net.dense.b": (6,), "net.bilinear.w": (4, 6, 7), "net.bilinear.bias": (4,)}),
    network("embedding_bag", BAG, bag, whole(6, 3),
            {"net.embedding_bag.embedding.table": (6, 5), "net.dense.w": (5, 4), "net.dense.b": (4,)}),
    network("embedding", EMBEDDING, embedding, whole(6, 3),
            {"net.embedding.table": (6, 5), "net.dense.w": (15, 4), "net.dense.b": (4,)}),
    network("slopes", SLOPES, slopes, real(7), {"net.w": (7, 6), "net.dense.w": (42, 4), "net.dense.b": (4,)}),
    network("slope", SLOPE, slope, real(7), DENSE | {"net.dense.1.w": (7, 4)}),
]
