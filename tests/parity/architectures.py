"""The architectures, in PyTorch's own modules, and where their weights stand in gradc's models."""
import gzip
import math
import pathlib
from dataclasses import dataclass
from typing import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

ROOT = pathlib.Path(__file__).parents[2]
ROWS = 160


@dataclass
class Architecture:
    module: Callable
    # Of the module: tensors by gradc's path, in gradc's layout.
    weights: Callable
    # Of a generator: arrays by field, a row an example.
    data: Callable
    # Of the module: a function of a batch's fields that takes one step and gives the loss before it.
    trainer: Callable


# Data

def digits(_rng):
    with gzip.open(ROOT / "examples/data/mnist-train-images.idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + ROWS * 784)[16:], np.uint8).reshape(ROWS, 14, 2, 14, 2)
    with gzip.open(ROOT / "examples/data/mnist-train-labels.idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + ROWS)[8:], np.uint8)
    return {"image": pixels.mean(axis=(2, 4)).round().astype(np.uint8), "label": labels.astype(np.int32)}


def normal(rng, *shape):
    return rng.normal(size=(ROWS, *shape)).astype(np.float32)


def text(length):
    """Rows of `length + 1` letters, as places among the 64 that the text uses most; others count as the first."""
    letters = (ROOT / "LICENSE-APACHE").read_text()
    known = sorted(set(letters), key=lambda letter: (-letters.count(letter), letter))[:64]
    places = np.array([known.index(letter) if letter in known else 0 for letter in letters], np.int32)
    return lambda _rng: {"text": places[: ROWS * (length + 1)].reshape(ROWS, length + 1)}


# Training

def minimizes(loss, make, limit=None):
    """One loss, one optimizer; `limit` is the greatest norm of all gradients together."""

    def trainer(module):
        optimizer = make(module.parameters())

        def step(batch):
            optimizer.zero_grad()
            value = loss(module, batch)
            value.backward()
            if limit:
                nn.utils.clip_grad_norm_(module.parameters(), limit)
            optimizer.step()
            return value.detach()

        return step

    return trainer


def adam(ps, lr=1e-3):
    return torch.optim.Adam(ps, lr)


def faster(ps):
    return adam(ps, 5e-3)


def pixels(batch):
    return batch["image"].float() / 255


def classified(module, batch):
    return F.cross_entropy(module(pixels(batch)), batch["label"].long())


# Weights

def dense(path, linear):
    return {f"{path}.w": linear.weight.T} | ({f"{path}.b": linear.bias} if linear.bias is not None else {})


def conv(path, layer):
    """gradc's kernels are [places…, inputs, outputs]."""
    bias = {f"{path}.b": layer.bias} if layer.bias is not None else {}
    return {f"{path}.w": layer.weight.permute(2, 3, 1, 0)} | bias


def norm(path, layer):
    return {f"{path}.scale": layer.weight, f"{path}.shift": layer.bias}


def in_order(path, layers):
    """Dense layers called one after another in the function at `path`."""
    layers = [layer for layer in layers if isinstance(layer, nn.Linear)]
    if len(layers) == 1:
        return dense(f"{path}.dense", layers[0])
    return {k: v for i, layer in enumerate(layers) for k, v in dense(f"{path}.dense.{i}", layer).items()}


# Architectures

def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


class Mixer(nn.Module):
    """Tolstikhin et al. 2021, arXiv 2105.01601: 49 patches of 2 by 2."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = nn.ModuleList([nn.LayerNorm(24), nn.LayerNorm(24)])
            self.tokens = nn.Sequential(nn.Linear(49, 32), nn.GELU(), nn.Linear(32, 49))
            self.channels = nn.Sequential(nn.Linear(24, 48), nn.GELU(), nn.Linear(48, 24))

        def forward(self, x):
            x = x + self.tokens(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
            return x + self.channels(self.norms[1](x))

    def __init__(self):
        super().__init__()
        self.patches, self.head = nn.Linear(4, 24), nn.Linear(24, 10)
        self.blocks = nn.Sequential(Mixer.Block(), Mixer.Block())
        self.norm = nn.LayerNorm(24)

    def forward(self, x):
        x = x.reshape(-1, 7, 2, 7, 2).permute(0, 1, 3, 2, 4).reshape(-1, 49, 4)
        return self.head(self.norm(self.blocks(self.patches(x))).mean(1))

    def weights(self):
        found = dense("net.dense.0", self.patches) | dense("net.dense.1", self.head) | norm("net.layer_norm", self.norm)
        for i, block in enumerate(self.blocks):
            path = f"net.mixer.{i}"
            found |= norm(f"{path}.layer_norm.0", block.norms[0]) | norm(f"{path}.layer_norm.1", block.norms[1])
            found |= in_order(path, [*block.tokens, *block.channels])
        return found


class Vae(nn.Module):
    """Kingma and Welling 2013, arXiv 1312.6114; the noise is data, so that both have the same."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(196, 64), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(64, 8), nn.Linear(64, 8)
        self.decoder = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 196))

    def weights(self):
        return (in_order("encoder", self.encoder) | dense("encoder.gaussian_head.mean_of", self.mean)
                | dense("encoder.gaussian_head.log_variance", self.log_variance) | in_order("decoder", self.decoder))


def vae_loss(module, batch):
    x = pixels(batch)
    h = module.encoder(x)
    mean, log_variance = module.mean(h), module.log_variance(h)
    guess = module.decoder(mean + torch.exp(0.5 * log_variance) * batch["noise"])
    told = F.binary_cross_entropy_with_logits(guess, x.flatten(1), reduction="sum") / len(x)
    return told - 0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum() / len(x)


class Gan(nn.Module):
    """Goodfellow et al. 2014, arXiv 1406.2661."""

    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(16, 64), nn.LeakyReLU(0.2), nn.Linear(64, 196), nn.Sigmoid())
        self.critic = nn.Sequential(nn.Linear(196, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))

    def weights(self):
        return in_order("generator", self.generator) | in_order("critic", self.critic)


def gan_trainer(module):
    """Both players move at once: both gradients are taken before either step, as in gradc."""
    players = [(part, torch.optim.Adam(part.parameters(), lr=2e-4, betas=(0.5, 0.999)))
               for part in (module.generator, module.critic)]

    def step(batch):
        real, made = pixels(batch).flatten(1), module.generator(batch["noise"])
        judged = lambda x, truth: F.binary_cross_entropy_with_logits(module.critic(x), torch.full((len(x), 1), truth))
        fooled = judged(made, 1.0)
        caught = judged(real, 1.0) + judged(made.detach(), 0.0)
        for loss, (part, _) in zip((fooled, caught), players):
            ps = list(part.parameters())
            for p, g in zip(ps, torch.autograd.grad(loss, ps, retain_graph=True)):
                p.grad = g
        for _, optimizer in players:
            optimizer.step()
        return (fooled + caught).detach()

    return step


class Diffusion(nn.Module):
    """Ho et al. 2020, arXiv 2006.11239: the noise is guessed from a noisy digit and the time; both are data."""

    TIMES = 100

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(196 + 32, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 196))
        betas = torch.linspace(1e-4, 0.02, Diffusion.TIMES)
        self.left = torch.cumprod(1 - betas, 0)

    def forward(self, x, time):
        rate = torch.exp(-math.log(1e4) * torch.arange(16) / 16)
        angle = time[:, None] * rate
        return self.layers(torch.cat([x, angle.sin(), angle.cos()], 1))

    def weights(self):
        return in_order("denoise", self.layers)


def diffusion_loss(module, batch):
    x, left = 2 * pixels(batch).flatten(1) - 1, module.left[batch["time"].long()][:, None]
    return F.mse_loss(module(left.sqrt() * x + (1 - left).sqrt() * batch["noise"], batch["time"]), batch["noise"])


class Encoder(nn.Module):
    """Vaswani et al. 2017, arXiv 1706.03762: PyTorch's encoder layers over the rows of a digit."""

    def __init__(self):
        super().__init__()
        self.rows, self.head = nn.Linear(14, 32), nn.Linear(32, 10)
        self.positions = nn.Parameter(0.02 * torch.randn(14, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0, activation="gelu", batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        for p in self.layers.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)

    def forward(self, x):
        return self.head(self.layers(self.rows(x) + self.positions).mean(1))

    def weights(self):
        found = dense("net.dense.0", self.rows) | dense("net.dense.1", self.head)
        found["net.learned_positions.table"] = self.positions
        for i, layer in enumerate(self.layers.layers):
            found |= attention(f"net.block.{i}.attention", layer.self_attn)
            found |= norm(f"net.block.{i}.middle", layer.norm1) | norm(f"net.block.{i}.layer_norm", layer.norm2)
            found |= in_order(f"net.block.{i}", [layer.linear1, layer.linear2])
        return found


def attention(path, layer):
    return {f"{path}.dense.0.w": layer.in_proj_weight.T, f"{path}.dense.0.b": layer.in_proj_bias,
            **dense(f"{path}.dense.1", layer.out_proj)}


class Gpt(nn.Module):
    """Radford et al. 2019: letters, causal attention, norms before the branches."""

    LENGTH, WIDTH = 32, 32

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = nn.ModuleList([nn.LayerNorm(Gpt.WIDTH), nn.LayerNorm(Gpt.WIDTH)])
            self.attention = nn.MultiheadAttention(Gpt.WIDTH, 4, batch_first=True)
            self.mlp = nn.Sequential(nn.Linear(Gpt.WIDTH, 4 * Gpt.WIDTH), nn.GELU(), nn.Linear(4 * Gpt.WIDTH, Gpt.WIDTH))

        def forward(self, x):
            y = self.norms[0](x)
            mask = nn.Transformer.generate_square_subsequent_mask(Gpt.LENGTH)
            x = x + self.attention(y, y, y, attn_mask=mask, is_causal=True, need_weights=False)[0]
            return x + self.mlp(self.norms[1](x))

    def __init__(self):
        super().__init__()
        self.letters = nn.Embedding(64, Gpt.WIDTH)
        nn.init.normal_(self.letters.weight, std=0.02)
        self.positions = nn.Parameter(0.02 * torch.randn(Gpt.LENGTH, Gpt.WIDTH))
        self.blocks, self.norm = nn.Sequential(Gpt.Block(), Gpt.Block()), nn.LayerNorm(Gpt.WIDTH)

    def forward(self, tokens):
        x = self.norm(self.blocks(self.letters(tokens) + self.positions))
        return x @ self.letters.weight.T

    def weights(self):
        found = {"net.letters_of": self.letters.weight, "net.learned_positions.table": self.positions}
        found |= norm("net.layer_norm", self.norm)
        for i, block in enumerate(self.blocks):
            found |= attention(f"net.block.{i}.attention", block.attention)
            found |= norm(f"net.block.{i}.layer_norm.0", block.norms[0])
            found |= norm(f"net.block.{i}.layer_norm.1", block.norms[1]) | in_order(f"net.block.{i}", block.mlp)
        return found


def next_letter(module, batch):
    letters = batch["text"].long()
    return F.cross_entropy(module(letters[:, :-1]).flatten(0, 1), letters[:, 1:].flatten())


class Lstm(nn.Module):
    """Hochreiter and Schmidhuber 1997: two layers over the rows of a digit. PyTorch has two biases where one would do; the
    second stays zero."""

    def __init__(self):
        super().__init__()
        self.layers, self.head = nn.LSTM(14, 24, 2, batch_first=True), nn.Linear(24, 10)
        for name, p in self.layers.named_parameters():
            if name.startswith("bias_hh"):
                nn.init.zeros_(p).requires_grad_(False)

    def forward(self, x):
        return self.head(torch.tanh(self.layers(x)[0])[:, -1])

    def weights(self):
        found = dense("net.dense", self.head)
        for i in range(2):
            of = lambda name: getattr(self.layers, f"{name}_l{i}")
            found |= {f"net.lstm.{i}.wx": of("weight_ih").T, f"net.lstm.{i}.wh": of("weight_hh").T,
                      f"net.lstm.{i}.bias": of("bias_ih")}
        return found


class Gru(nn.Module):
    """Cho et al. 2014, arXiv 1406.1078: a language model of letters."""

    def __init__(self):
        super().__init__()
        self.letters, self.layer, self.head = nn.Embedding(64, 24), nn.GRU(24, 40, batch_first=True), nn.Linear(40, 64)

    def forward(self, tokens):
        return self.head(self.layer(self.letters(tokens))[0])

    def weights(self):
        layer = self.layer
        return dense("net.dense", self.head) | {
            "net.embedding.table": self.letters.weight, "net.gru.wx": layer.weight_ih_l0.T,
            "net.gru.wh": layer.weight_hh_l0.T, "net.gru.bx": layer.bias_ih_l0, "net.gru.bh": layer.bias_hh_l0}


class Residual(nn.Module):
    """Two convolutions beside the input, or beside a 1x1 convolution of it."""

    def __init__(self, c, channels, stride=1):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(c, channels, 3, stride, 1, bias=False),
                                    nn.Conv2d(channels, channels, 3, 1, 1, bias=False)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)])
        self.skip = None
        if c != channels or stride != 1:
            self.skip = nn.Sequential(nn.Conv2d(c, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x):
        y = self.norms[1](self.convs[1](torch.relu(self.norms[0](self.convs[0](x)))))
        return torch.relu(y + (self.skip(x) if self.skip else x))

    def weights(self, path):
        found = conv(f"{path}.conv.0", self.convs[0]) | conv(f"{path}.conv.1", self.convs[1])
        found |= norm(f"{path}.batch_norm.0", self.norms[0]) | norm(f"{path}.y", self.norms[1])
        if self.skip:
            found |= conv(f"{path}.conv.2", self.skip[0]) | norm(f"{path}.batch_norm.1", self.skip[1])
        return found


class ResNet(nn.Module):
    """He et al. 2015, arXiv 1512.03385."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.blocks, self.head = nn.Sequential(Residual(8, 8), Residual(8, 16, 2)), nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x[:, None])).mean((2, 3)))

    def weights(self):
        found = conv("net.conv", self.stem[0]) | norm("net.batch_norm", self.stem[1]) | dense("net.dense", self.head)
        for i, block in enumerate(self.blocks):
            found |= block.weights(f"net.residual.{i}")
        return found


def unet_stage(c, channels):
    layers = [nn.Conv2d(c, channels, 3, 1, 1), nn.BatchNorm2d(channels), nn.ReLU(),
              nn.Conv2d(channels, channels, 3, 1, 1), nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers)


def unet_weights(path, stage):
    return (conv(f"{path}.conv.0", stage[0]) | norm(f"{path}.batch_norm.0", stage[1])
            | conv(f"{path}.conv.1", stage[3]) | norm(f"{path}.batch_norm.1", stage[4]))


class UNet(nn.Module):
    """Ronneberger et al. 2015, arXiv 1505.04597: the right half of a digit from the left."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow, self.last = unet_stage(1, 8), unet_stage(8, 16), unet_stage(16, 8)
        self.up, self.head = nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(8, 1, 1)

    def forward(self, x):
        wide = self.wide(x)
        y = self.up(self.narrow(F.max_pool2d(wide, 2)))
        return self.head(self.last(torch.cat([y, wide], 1)))

    def weights(self):
        return (unet_weights("net.wide", self.wide) | unet_weights("net.unet_stage", self.narrow)
                | unet_weights("net.unet_up.unet_stage", self.last) | conv("net.conv", self.head)
                | {"net.unet_up.conv_transpose.w": self.up.weight.permute(2, 3, 0, 1),
                   "net.unet_up.conv_transpose.b": self.up.bias})


def completed(module, batch):
    x = pixels(batch)[:, None]
    left = (torch.arange(14) < 7).float()
    return F.binary_cross_entropy_with_logits(module(x * left), x)


class Cnn(nn.Module):
    """LeCun et al. 1998."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(1, 8, 5, padding=2), nn.Conv2d(8, 16, 3)])
        self.hidden, self.head = nn.Linear(256, 32), nn.Linear(32, 10)

    def forward(self, x):
        y = F.max_pool2d(torch.tanh(self.convs[0](x[:, None])), 2)
        y = F.avg_pool2d(torch.relu(self.convs[1](y)), 2, 1)
        # gradc's channels come last.
        return self.head(torch.relu(self.hidden(y.movedim(1, -1).flatten(1))))

    def weights(self):
        return (conv("net.conv.0", self.convs[0]) | conv("net.conv.1", self.convs[1])
                | dense("net.dense.0", self.hidden) | dense("net.dense.1", self.head))


def own(module):
    return module.weights()


ARCHITECTURES = {
    "mlp": Architecture(mlp, lambda m: in_order("net", m), digits, minimizes(classified, adam)),
    "mixer": Architecture(Mixer, own, digits, minimizes(classified, adam)),
    "vae": Architecture(Vae, own, lambda rng: digits(rng) | {"noise": normal(rng, 8)}, minimizes(vae_loss, adam)),
    "gan": Architecture(Gan, own, lambda rng: digits(rng) | {"noise": normal(rng, 16)}, gan_trainer),
    "diffusion": Architecture(
        Diffusion, own,
        lambda rng: digits(rng) | {"noise": normal(rng, 196), "time": rng.integers(0, 100, ROWS).astype(np.int32)},
        minimizes(diffusion_loss, adam)),
    "transformer": Architecture(Encoder, own, digits, minimizes(classified, adam)),
    "gpt": Architecture(Gpt, own, text(Gpt.LENGTH),
                        minimizes(next_letter, lambda ps: torch.optim.AdamW(ps, lr=1e-3, weight_decay=0.1))),
    "lstm": Architecture(Lstm, own, digits, minimizes(classified, faster)),
    "gru": Architecture(Gru, own, text(32), minimizes(next_letter, faster, limit=0.5)),
    "cnn": Architecture(Cnn, own, digits, minimizes(classified, lambda ps: torch.optim.RMSprop(ps, lr=1e-3))),
    "resnet": Architecture(
        ResNet, own, digits,
        # Slow: an element of a norm's output within rounding of relu's kink falls on one side or the other, and fast
        # training makes that one gradient into another network.
        minimizes(classified, lambda ps: torch.optim.SGD(ps, lr=0.005, momentum=0.5, nesterov=True))),
    "unet": Architecture(UNet, own, digits, minimizes(completed, adam)),
}
