"""The workloads in PyTorch's own modules, trained from gradc's weights."""
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


# Where gradc's variables stand in a module: views of its parameters, by path, in gradc's layout.

def dense(path, linear, columns=slice(None)):
    return {f"{path}.w": linear.weight[columns].T, f"{path}.b": linear.bias[columns]}


def norm(path, layer):
    return {f"{path}.scale": layer.weight, f"{path}.shift": layer.bias}


class Mlp(nn.Sequential):
    def __init__(self, *widths):
        layers = []
        for i, o in zip(widths, widths[1:]):
            layers += [nn.Linear(i, o), nn.ReLU()]
        super().__init__(*layers[:-1])

    def weights(self):
        return {k: v for i, layer in enumerate(list(self)[::2]) for k, v in dense(f"classifier.dense.{i}", layer).items()}


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        stages = [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128)]
        self.convolutions = nn.ModuleList([nn.Conv2d(i, o, 3, padding=1) for i, o in stages])
        self.norms = nn.ModuleList([nn.BatchNorm2d(o) for _, o in stages])
        self.head = nn.Linear(128, 10)

    def forward(self, x):
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms)):
            x = F.relu(norm(convolution(x)))
            if i in (1, 3):
                x = F.max_pool2d(x, 2)
        return self.head(x.mean((2, 3)))

    def weights(self):
        found = dense("classifier.dense", self.head)
        for i, (c, n) in enumerate(zip(self.convolutions, self.norms)):
            path = f"classifier.stage.{i}"
            found |= norm(f"{path}.batch_norm", n) | {f"{path}.conv.w": c.weight.permute(2, 3, 1, 0), f"{path}.conv.b": c.bias}
            found |= {f"{path}.batch_norm.average": n.running_mean, f"{path}.batch_norm.spread": n.running_var}
        return found


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (y.view(b, t, self.heads, d // self.heads).transpose(1, 2) for y in self.qkv(self.norms[0](x)).split(d, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, d)
        x = x + self.out(y)
        return x + self.down(F.gelu(self.up(self.norms[1](x))))

    def weights(self, path):
        d, attention = len(self.out.weight), f"{path}.self_attention.0.masked_attention"
        found = norm(f"{path}.layer_norm.0", self.norms[0]) | norm(f"{path}.layer_norm.1", self.norms[1])
        for i, name in enumerate("qkv"):
            found |= dense(f"{attention}.{name}", self.qkv, slice(i * d, (i + 1) * d))
        return found | dense(f"{attention}.out", self.out) | dense(f"{path}.dense.0", self.up) | dense(f"{path}.dense.1", self.down)


class Gpt(nn.Module):
    def __init__(self, depth, width, heads, length, vocabulary=65):
        super().__init__()
        self.token, self.place = nn.Embedding(vocabulary, width), nn.Parameter(torch.empty(length, width))
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.token(x) + self.place))).flatten(0, 1)

    def weights(self):
        found = {"gpt.embedding.table": self.token.weight, "gpt.learned_positions.table": self.place}
        for i, block in enumerate(self.blocks):
            found |= block.weights(f"gpt.encoder_block.{i}")
        return found | norm("gpt.layer_norm", self.norm) | dense("gpt.dense", self.head)


class Lstm(nn.Module):
    """PyTorch has two biases where one would do; the second stays zero."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(65, 128), nn.Linear(256, 65)
        self.layer = nn.LSTM(128, 256, batch_first=True)
        nn.init.zeros_(self.layer.bias_hh_l0).requires_grad_(False)

    def forward(self, x):
        return self.head(self.layer(self.embedding(x))[0]).flatten(0, 1)

    def weights(self):
        layer = self.layer
        return dense("model.dense", self.head) | {
            "model.embedding.table": self.embedding.weight, "model.lstm.wx": layer.weight_ih_l0.T,
            "model.lstm.wh": layer.weight_hh_l0.T, "model.lstm.bias": layer.bias_ih_l0}


NETWORKS = {
    "mlp-seed": lambda: Mlp(784, 64, 32, 10),
    "mlp-large": lambda: Mlp(784, 1024, 1024, 10),
    "cnn": Cnn,
    "gpt-nano": lambda: Gpt(4, 128, 4, 64),
    "gpt-mini": lambda: Gpt(6, 384, 6, 256),
    "lstm": Lstm,
}


def trainer(workload, before, batches, threads, variant):
    compiled, device, is_bf16 = variant
    torch.set_num_threads(threads)
    network = NETWORKS[workload]()
    weights = network.weights()
    assert weights.keys() == before.keys(), weights.keys() ^ before.keys()
    with torch.no_grad():
        for path, view in weights.items():
            view.copy_(torch.from_numpy(before[path]))
    network.to(device)
    inputs = lambda x: torch.from_numpy(x if x.ndim < 4 else np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    data = [(inputs(x) if x.dtype == np.float32 else inputs(x).long(), torch.from_numpy(y).long()) for x, y in batches]
    data = [(x.to(device), y.to(device)) for x, y in data]
    # The fused kernel is the fastest without the compiler; with it, the compiler's own is.
    adam = torch.optim.Adam((p for p in network.parameters() if p.requires_grad), lr=1e-3, fused=not compiled)

    def loss_of(x, y):
        with torch.autocast(device, dtype=torch.bfloat16, enabled=is_bf16):
            return F.cross_entropy(network(x), y)

    update = adam.step
    if compiled:
        # On a GPU the passes are launched as one, as gradc's step is. Not the update with them: the gradients that it reads lie in the
        # memory of what was recorded, and are given up when the next recorded function begins.
        mode = "reduce-overhead" if device == "cuda" else None
        loss_of, update = torch.compile(loss_of, mode=mode), torch.compile(adam.step)

    def step(i):
        adam.zero_grad(set_to_none=True)
        loss = loss_of(*data[i % len(data)])
        loss.backward()
        update()
        return loss.detach()

    return step, torch.cuda.synchronize if device == "cuda" else lambda: None
