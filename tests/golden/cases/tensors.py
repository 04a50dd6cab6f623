"""Orders, cumulative sums, inverse and hyperbolic functions, and gradients of one's own."""
import torch

from twins import CLASSES, DENSE, HIDDEN, WIDTH, dense, middle, network, real


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return -0.5 * g


class Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return g.clamp(-0.01, 0.01)


def straight(x):
    return x + (torch.round(x) - x).detach()


def within(name, function, twin):
    """A function `f` of the hidden values between two dense layers."""
    text = f"""{function}

fn net(x: f32[batch, {WIDTH}]) -> f32[batch, {CLASSES}] {{
    x |> dense({HIDDEN}) |> f |> dense({CLASSES})
}}"""
    forward = lambda ps, x: dense(ps, "net.dense.1", twin(dense(ps, "net.dense.0", x)))
    return network(name, text, forward, real(WIDTH), DENSE)


ACOSH = """fn f(h: f32[..]) -> f32[..] { acosh(1.5 + h * h) }"""
MEDIAN = """fn f(h: f32[batch, n]) -> f32[batch, n] { h - reshape(median(h), [batch, 1]) }"""
TOP = """fn f(h: f32[batch, n]) -> f32[batch, n] {
    let (values, places) = top_k(h, 2)
    h + scatter_along(places, values * values, n)
}"""
PLACES = """fn f(h: f32[batch, n]) -> f32[batch, n] {
    let ranks = argsort(argsort(h))
    take_along(h, ranks) * h + scatter_add(ranks, h, n)[0:1] / 10
}"""
TABLE = """fn f(h: f32[batch, n]) -> f32[batch, n] {
    let places = argsort(h)
    h + take_pairs(h, 0 * places, places)
}"""


def top(h):
    values, places = torch.topk(h, 2)
    return h + torch.zeros_like(h).scatter_add(1, places, values * values)


def ranks(h):
    places = h.argsort(-1).argsort(-1)
    sums = torch.zeros(h.shape[1]).index_add(0, places.flatten(), h.flatten())
    return h.gather(1, places) * h + sums[0] / 10


CASES = [
    middle("sort", "sort(descending = true)", lambda x: torch.sort(x, -1, descending=True).values),
    middle("sort_along", "sort(axis = 0)", lambda x: torch.sort(x, 0).values),
    middle("cumsum", "cumsum", lambda x: torch.cumsum(x, -1)),
    middle("cumsum_along", "cumsum(axis = 0)", lambda x: torch.cumsum(x, 0)),
    middle("cumprod", "cumprod", lambda x: torch.cumprod(x, -1)),
    middle("cummax", "cummax", lambda x: torch.cummax(x, -1).values),
    middle("clamp", "clamp(low = -0.3, high = 0.4)", lambda x: x.clamp(-0.3, 0.4)),
    middle("asinh", "asinh", torch.asinh),
    middle("atan", "atan", torch.atan),
    middle("sinh", "sinh", torch.sinh),
    middle("cosh", "cosh", torch.cosh),
    middle("atanh", "tanh |> atanh", lambda x: torch.atanh(torch.tanh(x))),
    middle("asin", "tanh |> asin", lambda x: torch.asin(torch.tanh(x))),
    middle("acos", "tanh |> acos", lambda x: torch.acos(torch.tanh(x))),
    middle("tan", "tanh |> tan", lambda x: torch.tan(torch.tanh(x))),
    within("acosh", ACOSH, lambda h: torch.acosh(1.5 + h * h)),
    middle("reverse_gradient", "reverse_gradient(scale = 0.5)", Reversed.apply),
    middle("clip_gradient", "clip_gradient(most = 0.01)", Clipped.apply),
    middle("straight_through", "straight_through(round)", straight),
    within("median", MEDIAN, lambda h: h - h.quantile(0.5, dim=-1, keepdim=True)),
    within("top_k", TOP, top),
    within("ranks", PLACES, ranks),
    within("take_pairs", TABLE, lambda h: h + h[torch.zeros_like(h.argsort(-1)), h.argsort(-1)]),
]
