"""Convolution and pooling."""
import torch
import torch.nn.functional as F

from twins import dense, network, real

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
    return dense(ps, "net.dense", y.flatten(1))


CASES = [
    network("convolution", CONVOLUTION, convolution, real(8, 2),
            {"net.convolution.kernel": (3, 2, 5), "net.dense.w": (20, 4), "net.dense.b": (4,)}),
]


# gradc's kernels are [places…, inputs of a group, outputs], PyTorch's [outputs, inputs of a group, places…].

def first(x):
    """Channels after the examples."""
    return x.movedim(-1, 1)


def last(x):
    return x.movedim(1, -1)


def kernel(w):
    return w.movedim(-1, 0).movedim(-1, 1)


def layer(name, text, function, inputs, shape, out, bias=5, function_name=None):
    """One layer with `w` and, if `bias`, `b`, flattened, and a dense layer."""
    path = f"net.{function_name or text.split('(')[0]}"

    def forward(ps, x):
        y = last(function(first(x), ps[f"{path}.w"], ps.get(f"{path}.b")))
        return dense(ps, "net.dense", y.flatten(1))

    sizes = ", ".join(map(str, inputs))
    network_text = f"fn net(x: f32[batch, {sizes}]) -> f32[batch, 4] {{ x |> {text} |> flatten |> dense(4) }}"
    owned = {f"{path}.w": shape} | ({f"{path}.b": (bias,)} if bias else {})
    return network(name, network_text, forward, real(*inputs),
                   owned | {"net.dense.w": (out, 4), "net.dense.b": (4,)})


def pool(name, text, function, inputs, out):
    def forward(ps, x):
        return dense(ps, "net.dense", last(function(first(x))).flatten(1))

    sizes = ", ".join(map(str, inputs))
    network_text = f"fn net(x: f32[batch, {sizes}]) -> f32[batch, 4] {{ x |> {text} |> flatten |> dense(4) }}"
    return network(name, network_text, forward, real(*inputs), {"net.dense.w": (out, 4), "net.dense.b": (4,)})


def scaled(name, text, function, inputs, n):
    path = f"net.{name}"

    def forward(ps, x):
        y = last(function(first(x))) * ps[f"{path}.scale"] + ps[f"{path}.shift"]
        return dense(ps, "net.dense", y.flatten(1))

    sizes, out = ", ".join(map(str, inputs)), 1
    for size in inputs:
        out *= size
    network_text = f"fn net(x: f32[batch, {sizes}]) -> f32[batch, 4] {{ x |> {text} |> flatten |> dense(4) }}"
    return network(name, network_text, forward, real(*inputs),
                   {f"{path}.scale": (n,), f"{path}.shift": (n,), "net.dense.w": (out, 4), "net.dense.b": (4,)})


conv = lambda dims, **rest: lambda x, w, b: getattr(F, f"conv{dims}d")(x, kernel(w), b, **rest)

CASES += [
    layer("conv1d", "conv1d(5, stride = 2)", conv(1, stride=2, padding=1), (7, 3), (3, 3, 5), 20),
    layer("conv1d_dilated", "conv1d(5, kernel = 2, dilation = 3, padding = 0, bias = false)", conv(1, dilation=3), (7, 3),
          (2, 3, 5), 20, bias=0),
    layer("conv", "conv(5)", conv(2, padding=1), (5, 6, 3), (3, 3, 3, 5), 150),
    layer("conv_strided", "conv(5, kernel = 5, stride = 2)", conv(2, stride=2, padding=2), (5, 6, 3), (5, 5, 3, 5), 45),
    layer("conv_dilated", "conv(5, dilation = 2, stride = 2)", conv(2, stride=2, dilation=2, padding=2), (5, 6, 3),
          (3, 3, 3, 5), 45),
    layer("conv_grouped", "conv(6, groups = 2)", conv(2, padding=1, groups=2), (4, 3, 4), (3, 3, 2, 6), 72, bias=6),
    layer("conv3d", "conv3d(2, stride = 2)", conv(3, stride=2, padding=1), (3, 4, 3, 2), (3, 3, 3, 2, 2), 16, bias=2),
    layer("depthwise", "depthwise()", lambda x, w, b: F.conv2d(x, w.movedim(-1, 0)[:, None], b, padding=1, groups=3),
          (4, 5, 3), (3, 3, 3), 60, bias=3),
    layer("conv_transpose", "conv_transpose(2, kernel = 4, padding = 1)",
          lambda x, w, b: F.conv_transpose2d(x, w.movedim(2, 0).movedim(3, 1), b, stride=2, padding=1), (3, 2, 3),
          (4, 4, 3, 2), 48, bias=2),
    # More taps than are added one by one: each place is found by its index.
    layer("conv_transpose_long", "conv_transpose(1, kernel = 34, padding = 16)",
          lambda x, w, b: F.conv_transpose2d(x, w.movedim(2, 0).movedim(3, 1), b, stride=2, padding=16), (2, 2, 1),
          (34, 34, 1, 1), 16, bias=1),
    pool("max_pool", "max_pool(3, stride = 2, padding = 1)", lambda x: F.max_pool2d(x, 3, 2, 1), (5, 6, 2), 18),
    pool("avg_pool", "avg_pool(3, stride = 2, padding = 1)", lambda x: F.avg_pool2d(x, 3, 2, 1), (5, 6, 2), 18),
    pool("max_pool1d", "max_pool1d(3, stride = 1)", lambda x: F.max_pool1d(x, 3, 1), (6, 2), 8),
    pool("avg_pool1d", "avg_pool1d()", lambda x: F.avg_pool1d(x, 2), (6, 2), 6),
    pool("global_avg_pool", "global_avg_pool", lambda x: x.mean((2, 3)), (5, 6, 2), 2),
    pool("global_max_pool", "global_max_pool", lambda x: x.amax((2, 3)), (5, 6, 2), 2),
    pool("adaptive_avg_pool", "adaptive_avg_pool(3, 4)", lambda x: F.adaptive_avg_pool2d(x, (3, 4)), (5, 6, 2), 24),
    pool("adaptive_max_pool", "adaptive_max_pool(3, 4)", lambda x: F.adaptive_max_pool2d(x, (3, 4)), (5, 6, 2), 24),
    pool("upsample", "upsample(3)", lambda x: F.interpolate(x, scale_factor=3), (2, 3, 2), 108),
    pool("resize", "resize(5, 2)", lambda x: F.interpolate(x, (5, 2), mode="bilinear", align_corners=False), (3, 4, 2), 20),
    scaled("group_norm", "group_norm(2)", lambda x: F.group_norm(x, 2), (3, 2, 4), 4),
    scaled("instance_norm", "instance_norm", F.instance_norm, (3, 2, 4), 4),
]

CASES += [
    pool(f"bordered_{mode}", f'bordered(2, "{mode}")', lambda x, theirs=theirs: F.pad(x, (2, 2, 2, 2), mode=theirs), (3, 4, 2), 112)
    for mode, theirs in (("reflect", "reflect"), ("edge", "replicate"), ("circular", "circular"))
]
