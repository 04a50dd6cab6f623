#!/usr/bin/env python3
"""Times the steady training step of a small classifier in a peer framework, on synthetic data.

usage: steps.py torch|torch-compile|jax WORKLOAD [--threads N] [--steps N]
WORKLOAD: mlp-seed (784-64-32-10, batch 32) or mlp-large (784-1024-1024-10, batch 256); relu, cross-entropy on
labels, Adam at 1e-3, f32. Prints one JSON object: ms a step (least and median of 20 groups), seconds to the
first finished step, first and last loss.
"""
import argparse
import json
import os
import statistics
import time

WORKLOADS = {"mlp-seed": ([784, 64, 32, 10], 32, 2000), "mlp-large": ([784, 1024, 1024, 10], 256, 60)}
GROUPS = 20
N_BATCHES = 8

parser = argparse.ArgumentParser()
parser.add_argument("framework", choices=["torch", "torch-compile", "jax"])
parser.add_argument("workload", choices=list(WORKLOADS))
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--steps", type=int, default=0)
arguments = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(arguments.threads)
if arguments.threads == 1:
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import numpy as np

widths, batch, default_steps = WORKLOADS[arguments.workload]
steps = arguments.steps or default_steps
rng = np.random.default_rng(0)
batches = [(rng.random((batch, widths[0]), dtype=np.float32), rng.integers(0, widths[-1], batch))
           for _ in range(N_BATCHES)]


def torch_step(compiled):
    import torch
    from torch import nn

    torch.set_num_threads(arguments.threads)
    layers = []
    for n_in, n_out in zip(widths, widths[1:]):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    data = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches]

    def loss_of(x, y):
        return nn.functional.cross_entropy(model(x), y)

    update = adam.step
    if compiled:
        loss_of, update = torch.compile(loss_of), torch.compile(adam.step)

    def step(i):
        adam.zero_grad(set_to_none=True)
        loss = loss_of(*data[i % N_BATCHES])
        loss.backward()
        update()
        return loss

    return step, lambda loss: None


def jax_step():
    import jax
    import jax.numpy as jnp

    keys = jax.random.split(jax.random.PRNGKey(0), len(widths))
    params = [(jax.random.normal(k, (i, o)) * i**-0.5, jnp.zeros(o)) for k, i, o in zip(keys, widths, widths[1:])]
    zeros = jax.tree.map(jnp.zeros_like, params)

    def loss_of(params, x, y):
        for w, b in params[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = params[-1]
        return -jnp.take_along_axis(jax.nn.log_softmax(x @ w + b), y[:, None], 1).mean()

    def train(params, m, v, t, x, y):
        loss, grads = jax.value_and_grad(loss_of)(params, x, y)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        params = jax.tree.map(
            lambda p, m, v: p - 1e-3 * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), params, m, v)
        return params, m, v, t, loss

    compiled = jax.jit(train, donate_argnums=(0, 1, 2))
    state = [params, zeros, jax.tree.map(jnp.copy, zeros), jnp.zeros((), jnp.float32)]
    data = [(jnp.asarray(x), jnp.asarray(y)) for x, y in batches]

    def step(i):
        *state[:], loss = compiled(*state, *data[i % N_BATCHES])
        return loss

    return step, lambda loss: jax.block_until_ready(state)


start = time.perf_counter()
step, wait = jax_step() if arguments.framework == "jax" else torch_step(arguments.framework == "torch-compile")
first_loss = float(step(0))
first_step = time.perf_counter() - start
for i in range(1, 1 + N_BATCHES):
    wait(step(i))
times = []
in_group = max(1, steps // GROUPS)
for _ in range(GROUPS):
    began = time.perf_counter()
    for i in range(in_group):
        loss = step(i)
    wait(loss)
    times.append((time.perf_counter() - began) / in_group * 1e3)
print(json.dumps({"framework": arguments.framework, "workload": arguments.workload, "threads": arguments.threads,
                  "ms_min": round(min(times), 4), "ms_median": round(statistics.median(times), 4),
                  "first_step_s": round(first_step, 3), "loss_first": round(first_loss, 4),
                  "loss_last": round(float(loss), 4)}))
