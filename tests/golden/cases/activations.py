"""Activations."""
import torch
import torch.nn.functional as F

from twins import middle, loss, real

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
    loss("logsumexp", "mse(guess * reshape(logsumexp(guess), [batch, 1]), data.y)",
         lambda g, y: F.mse_loss(g * torch.logsumexp(g, -1, keepdim=True), y), real(4), "tanh", torch.tanh),
]
