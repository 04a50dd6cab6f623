"""Attention."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from twins import ROWS, dense, network, optimizer_of, real

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


# The library's, against PyTorch's own layers. gradc's matrices are PyTorch's turned about.
D, T = 8, 3


def projections(path):
    return {f"{path}.{n}.{p}": (D, D) if p == "w" else (D,) for n in ("q", "k", "v", "out") for p in ("w", "b")}


def multi_head(ps, path, prefix=""):
    """The parameters of nn.MultiheadAttention."""
    w = torch.cat([ps[f"{path}.{n}.w"].T for n in "qkv"])
    b = torch.cat([ps[f"{path}.{n}.b"] for n in "qkv"])
    return {f"{prefix}in_proj_weight": w, f"{prefix}in_proj_bias": b,
            f"{prefix}out_proj.weight": ps[f"{path}.out.w"].T, f"{prefix}out_proj.bias": ps[f"{path}.out.b"]}


def linear(ps, path, prefix):
    return {f"{prefix}.weight": ps[f"{path}.w"].T, f"{prefix}.bias": ps[f"{path}.b"]}


def norm(ps, path, prefix):
    return {f"{prefix}.weight": ps[f"{path}.scale"], f"{prefix}.bias": ps[f"{path}.shift"]}


HEAD = {"net.head.w": (T * D, 4), "net.head.b": (4,)}


def text(body):
    return f"fn net(x: f32[batch, {T}, {D}]) -> f32[batch, 4] {{\n    let head = flatten({body}) |> dense(4)\n    head\n}}"


def head(ps, y):
    return dense(ps, "net.head", y.flatten(1))


CAUSAL = torch.ones(T, T).triu(1).bool()
SELF = "net.self_attention.masked_attention"


def self_attention(ps, x):
    layer = nn.MultiheadAttention(D, 2, batch_first=True)
    y, _ = functional_call(layer, multi_head(ps, SELF), (x, x, x), {"attn_mask": CAUSAL, "need_weights": False})
    return head(ps, y)


PADDED = "net.masked_attention"


def padded(ps, x):
    layer = nn.MultiheadAttention(D, 2, batch_first=True)
    hidden = torch.zeros(ROWS, T).bool()
    hidden[:, 2:] = True
    y, _ = functional_call(layer, multi_head(ps, PADDED), (x, x, x), {"key_padding_mask": hidden, "need_weights": False})
    return head(ps, y)


def grouped(ps, x):
    q = (x @ ps[f"{SELF}.q.w"] + ps[f"{SELF}.q.b"]).view(ROWS, T, 4, 2).transpose(1, 2)
    k, v = ((x @ ps[f"{SELF}.{n}.w"] + ps[f"{SELF}.{n}.b"]).view(ROWS, T, 2, 2).transpose(1, 2) for n in "kv")
    angle = torch.arange(T)[:, None].double()

    def turned(z):
        return torch.cat([z[..., :1] * angle.cos() - z[..., 1:] * angle.sin(), z[..., :1] * angle.sin() + z[..., 1:] * angle.cos()], -1)

    y = F.scaled_dot_product_attention(turned(q), turned(k), v, enable_gqa=True).transpose(1, 2).reshape(ROWS, T, D)
    return head(ps, y @ ps[f"{SELF}.out.w"] + ps[f"{SELF}.out.b"])


ENCODER = "net.encoder_block"
NORMS = [["layer_norm.0", "layer_norm.1"], ["inner", "y"]]
# Small steps: after great ones the values differ by what f32 rounds.
SLOW = ("sgd(lr = 0.01)", optimizer_of(lambda ps: torch.optim.SGD(ps, lr=0.01)))


def encoder(at, norm_first):
    def forward(ps, x):
        layer = nn.TransformerEncoderLayer(D, 2, 4 * D, 0.0, "gelu", norm_first=norm_first, batch_first=True)
        values = multi_head(ps, f"{ENCODER}.self_attention.{at}.masked_attention", "self_attn.")
        for i in (0, 1):
            values |= norm(ps, f"{ENCODER}.{NORMS[at][i]}", f"norm{i + 1}")
            values |= linear(ps, f"{ENCODER}.dense.{2 * at + i}", f"linear{i + 1}")
        return head(ps, functional_call(layer, values, (x,)))

    return forward


def encoder_shapes(at):
    wide = {f"{ENCODER}.dense.{2 * at}.w": (D, 4 * D), f"{ENCODER}.dense.{2 * at}.b": (4 * D,),
            f"{ENCODER}.dense.{2 * at + 1}.w": (4 * D, D), f"{ENCODER}.dense.{2 * at + 1}.b": (D,)}
    norms = {f"{ENCODER}.{NORMS[at][i]}.{p}": (D,) for i in (0, 1) for p in ("scale", "shift")}
    return projections(f"{ENCODER}.self_attention.{at}.masked_attention") | wide | norms


DECODER = "net.decoder_block"


def decoder(ps, x):
    layer = nn.TransformerDecoderLayer(D, 2, 4 * D, 0.0, "gelu", norm_first=True, batch_first=True)
    values = multi_head(ps, f"{DECODER}.self_attention.masked_attention", "self_attn.")
    values |= multi_head(ps, f"{DECODER}.cross_attention", "multihead_attn.")
    for i in range(3):
        values |= norm(ps, f"{DECODER}.layer_norm.{i}", f"norm{i + 1}")
    for i in range(2):
        values |= linear(ps, f"{DECODER}.dense.{i}", f"linear{i + 1}")
    return head(ps, functional_call(layer, values, (x, x[:, :2] * 0.5), {"tgt_mask": CAUSAL}))


DECODER_SHAPES = (projections(f"{DECODER}.self_attention.masked_attention") | projections(f"{DECODER}.cross_attention")
                  | {f"{DECODER}.layer_norm.{i}.{p}": (D,) for i in range(3) for p in ("scale", "shift")}
                  | {f"{DECODER}.dense.0.w": (D, 4 * D), f"{DECODER}.dense.0.b": (4 * D,),
                     f"{DECODER}.dense.1.w": (4 * D, D), f"{DECODER}.dense.1.b": (D,)})
SHARED = projections(SELF) | {f"{SELF}.{n}.{p}": (D, 4) if p == "w" else (4,) for n in "kv" for p in ("w", "b")}

CASES += [
    network("self_attention", text("self_attention(x, heads = 2, causal = true)"), self_attention, real(T, D), projections(SELF) | HEAD),
    network("masked_attention", text(f"masked_attention(x, padding_mask(2 + 0 * i32(x[:, 0, 0]), {T}, {T}), heads = 2)"), padded,
            real(T, D), projections(PADDED) | HEAD),
    network("grouped_attention", text("self_attention(x, heads = 4, kv_heads = 2, rotate = true)"), grouped, real(T, D), SHARED | HEAD),
    network("encoder_block", text("encoder_block(x, heads = 2)"), encoder(0, True), real(T, D), encoder_shapes(0) | HEAD,
            optimizer=SLOW),
    network("encoder_block_norm_last", text("encoder_block(x, heads = 2, norm_first = false)"), encoder(1, False), real(T, D),
            encoder_shapes(1) | HEAD, optimizer=SLOW),
    network("decoder_block", text("decoder_block(x, 0.5 * x[:, 0:2], heads = 2)"), decoder, real(T, D), DECODER_SHAPES | HEAD,
            optimizer=SLOW),
]
