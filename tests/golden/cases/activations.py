"""Activations."""
import numpy as np
import torch
import torch.nn.functional as F

from twins import DENSE, HIDDEN, dense, loss, middle, network, real

QUARTER = np.array(0.25, np.float32)
GLU = """fn net(x: f32[batch, 7]) -> f32[batch, 4] { x |> dense(6) |> glu |> dense(4) }"""

CASES = [
    middle("relu", "relu", torch.relu),
    middle("leaky_relu", "leaky_relu", lambda x: F.leaky_relu(x, 0.01)),
    middle("elu", "elu", F.elu),
    middle("gelu", "gelu", F.gelu),
    middle("gelu_tanh", "gelu_tanh", lambda x: F.gelu(x, approximate="tanh")),
    middle("silu", "silu", F.silu),
    middle("softplus", "softplus", F.softplus),
    middle("tanh", "tanh", torch.tanh),
    middle("sigmoid", "sigmoid", torch.sigmoid),
    middle("softmax", "softmax", lambda x: F.softmax(x, -1)),
    middle("log_softmax", "log_softmax", lambda x: F.log_softmax(x, -1)),
    middle("relu6", "relu6", F.relu6),
    middle("prelu", "prelu", lambda ps, x: F.prelu(x, ps["net.prelu.slope"]), {"net.prelu.slope": QUARTER}),
    middle("feature_prelu", "feature_prelu", lambda ps, x: F.prelu(x, ps["net.feature_prelu.slope"]),
           {"net.feature_prelu.slope": np.full(HIDDEN, 0.25, np.float32)}),
    middle("selu", "selu", F.selu),
    middle("celu", "celu(alpha = 1.5)", lambda x: F.celu(x, 1.5)),
    middle("mish", "mish", F.mish),
    middle("softsign", "softsign", F.softsign),
    middle("log_sigmoid", "log_sigmoid", F.logsigmoid),
    # F.hardsigmoid's derivative is 1/6 rounded to f32, in double precision, too.
    middle("hard_sigmoid", "hard_sigmoid", lambda x: F.relu6(x + 3) / 6),
    middle("hard_swish", "hard_swish", F.hardswish),
    middle("hard_tanh", "hard_tanh(low = -0.5)", lambda x: F.hardtanh(x, -0.5)),
    middle("tanhshrink", "tanhshrink", F.tanhshrink),
    middle("hardshrink", "hardshrink", F.hardshrink),
    middle("softshrink", "softshrink", F.softshrink),
    middle("threshold", "threshold(limit = 0.1, value = 0.3)", lambda x: F.threshold(x, 0.1, 0.3)),
    middle("softmin", "softmin", lambda x: F.softmin(x, -1)),
    network("glu", GLU, lambda ps, x: dense(ps, "net.dense.1", F.glu(dense(ps, "net.dense.0", x))), real(7),
            DENSE | {"net.dense.1.w": (3, 4)}),
    loss("logsumexp", "mse(guess * reshape(logsumexp(guess), [batch, 1]), data.y)",
         lambda g, y: F.mse_loss(g * torch.logsumexp(g, -1, keepdim=True), y), real(4), "tanh", torch.tanh),
]
