"""Attention."""
import torch.nn.functional as F

from twins import ROWS, dense, network, real

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
    return dense(ps, "net.dense", (y @ ps["net.attention.out"]).flatten(1))


CASES = [
    network("attention", ATTENTION, attention, real(3, 8),
            {"net.attention.w": (8, 24), "net.attention.out": (8, 8), "net.dense.w": (24, 4), "net.dense.b": (4,)}),
]
