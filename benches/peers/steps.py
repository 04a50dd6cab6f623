#!/usr/bin/env python3
"""Times the steady training step of a workload in a peer framework, from gradc's own first weights and batches.

usage: steps.py torch|torch-compile|torch-cuda|torch-cuda-compile|jax|tensorflow|tensorflow-xla WORKLOAD FIRST.safetensors [--threads N] [--seconds S]
                [--precision bf16]
FIRST.safetensors is what `gradc bench WORKLOAD.model --record` wrote: the first steps' weights, batches and losses.
The first steps are held against gradc's losses; then further steps over the same batches are timed, in up to 20 groups.
In bf16, PyTorch alone, the forward pass runs under autocast. Prints one JSON object; `first_step_s` counts from the start of the process.
"""
import argparse
import json
import os
import statistics
import time

N_GROUPS = 20

parser = argparse.ArgumentParser()
parser.add_argument("framework", choices=["torch", "torch-compile", "torch-cuda", "torch-cuda-compile", "jax", "tensorflow", "tensorflow-xla"])
parser.add_argument("workload")
parser.add_argument("first")
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--seconds", type=float, default=3.0)
parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
arguments = parser.parse_args()
if arguments.precision != "f32" and not arguments.framework.startswith("torch"):
    parser.error(f"{arguments.framework} is measured in f32 only")
# Before any framework is imported: each reads its own.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(arguments.threads)
os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(arguments.threads)
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
if arguments.threads == 1:
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

from safetensors.numpy import load_file


def seconds_of_this_process():
    """By the kernel's clock, which counts in hundredths."""
    began = int(open("/proc/self/stat").read().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began


def first_steps(path):
    """Weights by path, batches (each a pair: what the network reads, what it should say), losses."""
    tensors = load_file(path)
    part = lambda name: {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
    data, losses = part("data"), tensors["loss"]
    x, y = (data["image"], data["label"]) if "image" in data else (data["tokens"], data["next"])
    size = len(x) // len(losses)
    batches = [(x[i * size:(i + 1) * size], y[i * size:(i + 1) * size].reshape(-1)) for i in range(len(losses))]
    return part("before"), batches, losses


def trainer(before, batches):
    """A function of the step's number that takes the step and gives its loss, and one that waits for it."""
    if arguments.framework.startswith("torch"):
        import torch_steps as peer
        device = "cuda" if "cuda" in arguments.framework else "cpu"
        variant = (arguments.framework.endswith("compile"), device, arguments.precision == "bf16")
    elif arguments.framework == "jax":
        import jax_steps as peer
        variant = None
    else:
        import tensorflow_steps as peer
        variant = arguments.framework == "tensorflow-xla"
    return peer.trainer(arguments.workload, before, batches, arguments.threads, variant)


before, batches, wanted = first_steps(arguments.first)
step, wait = trainer(before, batches)
found = [float(step(0))]
first_step = seconds_of_this_process()
for i in range(1, len(wanted)):
    began = time.perf_counter()
    found.append(float(step(i)))
    wait()
    of_one = time.perf_counter() - began
deviation = max(abs(f - w) / abs(w) for f, w in zip(found, map(float, wanted)))
in_group = max(1, int(arguments.seconds / N_GROUPS / of_one))
times, i, start = [], len(wanted), time.perf_counter()
while len(times) < N_GROUPS and (len(times) < 3 or time.perf_counter() - start < arguments.seconds):
    began = time.perf_counter()
    for _ in range(in_group):
        step(i)
        i += 1
    wait()
    times.append((time.perf_counter() - began) / in_group * 1e3)
print(json.dumps({"ms_min": min(times), "ms_median": statistics.median(times), "first_step_s": first_step,
                  "loss_deviation": deviation}))
