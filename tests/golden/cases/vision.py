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
