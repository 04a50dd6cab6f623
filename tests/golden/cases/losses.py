"""Losses."""
import torch
import torch.nn.functional as F

from twins import CLASSES, distribution, loss, real, sign, unit

CASES = [
    loss("cross_entropy_soft", "cross_entropy_soft(guess, data.y)", F.cross_entropy, distribution(CLASSES)),
    loss("cross_entropy_probs", "cross_entropy_probs(softmax(guess), data.y)", F.cross_entropy),
    loss("binary_cross_entropy", "binary_cross_entropy(sigmoid(guess), data.y)",
         lambda g, y: F.binary_cross_entropy(torch.sigmoid(g), y), unit(CLASSES)),
    loss("binary_cross_entropy_logits", "binary_cross_entropy_logits(guess, data.y)",
         F.binary_cross_entropy_with_logits, unit(CLASSES)),
    loss("mse", "mse(guess, data.y)", F.mse_loss, real(CLASSES)),
    loss("mae", "mae(guess, data.y)", F.l1_loss, real(CLASSES)),
    loss("huber", "huber(guess, data.y)", F.huber_loss, real(CLASSES)),
    loss("hinge", "hinge(guess, data.y)", lambda g, y: torch.clamp(1 - g * y, min=0).mean(), sign(CLASSES)),
    loss("kl", "kl(data.y, softmax(guess))",
         lambda g, y: F.kl_div(F.log_softmax(g, -1), y, reduction="batchmean"), distribution(CLASSES)),
]
