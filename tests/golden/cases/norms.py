"""Norms. gradc's own a scale and a shift, which start at one and zero and are trained."""
import numpy as np
import torch
import torch.nn.functional as F

from twins import HIDDEN, middle

ONES, ZEROS = np.ones(HIDDEN, np.float32), np.zeros(HIDDEN, np.float32)


def owned(name):
    return {f"net.{name}.scale": ONES, f"net.{name}.shift": ZEROS}


def affine(ps, name, x):
    return x * ps[f"net.{name}.scale"] + ps[f"net.{name}.shift"]


running = {"net.batch_norm.average": ZEROS.astype(float), "net.batch_norm.spread": ONES.astype(float)}


def batch_norm(ps, x):
    now = x.detach().numpy()
    for key, value in (("average", now.mean(axis=0)), ("spread", now.var(axis=0, ddof=1))):
        running[f"net.batch_norm.{key}"] = 0.9 * running[f"net.batch_norm.{key}"] + 0.1 * value
    return affine(ps, "batch_norm", F.batch_norm(x, None, None, training=True))


def weight_norm(ps, x):
    layer = lambda name: ps[f"net.weight_norm_dense.{name}"]
    w = torch._weight_norm(layer("direction"), layer("length")[None], 1)
    return x @ w + layer("b")


CASES = [
    middle("layer_norm", "layer_norm", lambda ps, x: affine(ps, "layer_norm", F.layer_norm(x, (HIDDEN,))),
           owned("layer_norm")),
    middle("rms_norm", "rms_norm",
           lambda ps, x: F.rms_norm(x, (HIDDEN,), eps=1e-6) * ps["net.rms_norm.scale"],
           {"net.rms_norm.scale": ONES}),
    middle("l2_normalize", "l2_normalize", F.normalize),
    middle("weight_norm_dense", "weight_norm_dense(6)", weight_norm,
           {"net.weight_norm_dense.direction": (HIDDEN, HIDDEN), "net.weight_norm_dense.length": ONES,
            "net.weight_norm_dense.b": ZEROS}),
    middle("batch_norm", "batch_norm", batch_norm, owned("batch_norm"), states=running),
]
