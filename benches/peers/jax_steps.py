"""The workloads in JAX, trained from gradc's weights. Parameters are a table by gradc's paths; the running averages of batch
norm, which no loss reads, are left out."""
import math

import jax
import jax.numpy as jnp
import numpy as np


def dense(w, path, x):
    return x @ w[f"{path}.w"] + w[f"{path}.b"]


def layer_norm(w, path, x):
    centred = x - x.mean(-1, keepdims=True)
    scale = jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)
    return centred * scale * w[f"{path}.scale"] + w[f"{path}.shift"]


def mlp(w, x):
    for i in range(2):
        x = jax.nn.relu(dense(w, f"classifier.dense.{i}", x))
    return dense(w, "classifier.dense.2", x)


def cnn(w, x):
    for i in range(5):
        path = f"classifier.stage.{i}"
        x = jax.lax.conv_general_dilated(x, w[f"{path}.conv.w"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = x + w[f"{path}.conv.b"]
        scale = jax.lax.rsqrt(x.var((0, 1, 2)) + 1e-5)
        x = (x - x.mean((0, 1, 2))) * scale * w[f"{path}.batch_norm.scale"] + w[f"{path}.batch_norm.shift"]
        x = jax.nn.relu(x)
        if i in (1, 3):
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return dense(w, "classifier.dense", x.mean((1, 2)))


def gpt(depth, heads):
    def block(w, path, x):
        b, t, d = x.shape
        qkv = dense(w, f"{path}.qkv", layer_norm(w, f"{path}.layer_norm.0", x))
        q, k, v = (y.reshape(b, t, heads, d // heads).transpose(0, 2, 1, 3) for y in jnp.split(qkv, 3, -1))
        seen = jnp.tril(jnp.ones((t, t), bool))
        scores = jnp.where(seen, q @ k.transpose(0, 1, 3, 2) / math.sqrt(d // heads), -1e9)
        y = (jax.nn.softmax(scores) @ v).transpose(0, 2, 1, 3).reshape(b, t, d)
        x = x + dense(w, f"{path}.self_attention.0.masked_attention.out", y)
        inner = jax.nn.gelu(dense(w, f"{path}.dense.0", layer_norm(w, f"{path}.layer_norm.1", x)), approximate=False)
        return x + dense(w, f"{path}.dense.1", inner)

    def network(w, x):
        x = w["gpt.embedding.table"][x] + w["gpt.learned_positions.table"]
        for i in range(depth):
            x = block(w, f"gpt.encoder_block.{i}", x)
        return dense(w, "gpt.dense", layer_norm(w, "gpt.layer_norm", x)).reshape(-1, 65)

    return network


def lstm(w, x):
    inputs = (w["model.embedding.table"][x] @ w["model.lstm.wx"] + w["model.lstm.bias"]).transpose(1, 0, 2)

    def turn(carried, xt):
        h, c = carried
        i, f, g, o = jnp.split(xt + h @ w["model.lstm.wh"], 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((x.shape[0], 256))
    outputs = jax.lax.scan(turn, (zeros, zeros), inputs)[1].transpose(1, 0, 2)
    return dense(w, "model.dense", outputs).reshape(-1, 65)


NETWORKS = {"mlp-seed": mlp, "mlp-large": mlp, "cnn": cnn, "gpt-nano": gpt(4, 4), "gpt-mini": gpt(6, 6), "lstm": lstm}


def fused(before):
    """The projections of queries, keys and values as one, as JAX's users write them; running averages left out."""
    found = {k: v for k, v in before.items() if not k.endswith((".average", ".spread"))}
    for path in [k for k in before if k.endswith("masked_attention.q.w")]:
        attention = path.removesuffix(".q.w")
        block = attention.removesuffix(".self_attention.0.masked_attention")
        for kind in "wb":
            found[f"{block}.qkv.{kind}"] = np.concatenate([found.pop(f"{attention}.{name}.{kind}") for name in "qkv"], -1)
    return found


def trainer(workload, before, batches, _threads, _variant):
    network = NETWORKS[workload]

    def loss_of(w, x, y):
        return -jnp.take_along_axis(jax.nn.log_softmax(network(w, x)), y[:, None], 1).mean()

    def train(w, m, v, t, x, y):
        loss, g = jax.value_and_grad(loss_of)(w, x, y)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        w = jax.tree.map(
            lambda w, m, v: w - 1e-3 * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), w, m, v)
        return w, m, v, t, loss

    compiled = jax.jit(train, donate_argnums=(0, 1, 2, 3))
    w = {path: jnp.asarray(value) for path, value in fused(before).items()}
    state = [w, jax.tree.map(jnp.zeros_like, w), jax.tree.map(jnp.zeros_like, w), jnp.zeros((), jnp.float32)]
    data = [(jnp.asarray(x), jnp.asarray(y)) for x, y in batches]

    def step(i):
        *state[:], loss = compiled(*state, *data[i % len(data)])
        return loss

    return step, lambda: jax.block_until_ready(state)
