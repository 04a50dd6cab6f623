"""Losses."""
import numpy as np
import torch
import torch.nn.functional as F

from twins import CLASSES, ROWS, dense, distribution, label, loss, network, real, sign, unit

WEIGHTS = torch.arange(CLASSES) * 0.5 + 1
# The same in gradc.
WEIGHTS_TEXT = f"1 + f32(iota([{CLASSES}])) * 0.5"


def ignored(rng):
    """Labels, one of which does not count."""
    y = label(rng)
    y[1] = -100
    return y


def binary_focal(g, y, alpha=0.25, gamma=2):
    """Lin et al. 2017 (arXiv 1708.02002), equation 5."""
    p, weight = torch.sigmoid(g), alpha * y + (1 - alpha) * (1 - y)
    likelihood = p * y + (1 - p) * (1 - y)
    return (weight * (1 - likelihood) ** gamma * F.binary_cross_entropy_with_logits(g, y, reduction="none")).mean()


def focal(g, y, gamma=2):
    p = F.log_softmax(g, -1)[torch.arange(ROWS), y]
    return -((1 - p.exp()) ** gamma * p).mean()


def distillation(g, y, temperature=3):
    """Hinton et al. 2015 (arXiv 1503.02531), section 2."""
    target = F.softmax(y / temperature, -1)
    return temperature ** 2 * F.kl_div(F.log_softmax(g / temperature, -1), target, reduction="batchmean")


def info_nce(a, b, temperature=0.5):
    scores = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T / temperature
    same = torch.arange(ROWS)
    return 0.5 * (F.cross_entropy(scores, same) + F.cross_entropy(scores.T, same))


def dice(g, y):
    p = torch.sigmoid(g)
    return (1 - (2 * (p * y).sum(-1) + 1) / (p.sum(-1) + y.sum(-1) + 1)).mean()


def boxes(x):
    """Left, top, and by softplus the sizes."""
    return torch.cat([x[:, :2], x[:, :2] + F.softplus(x[:, 2:])], -1)


# The same in gradc.
BOXES = "concat([{0}[:, 0:2], {0}[:, 0:2] + softplus({0}[:, 2:4])], axis = 1)"


def giou(a, b, eps=1e-7):
    """Rezatofighi et al. 2019 (arXiv 1902.09630), algorithm 1."""
    a, b = boxes(a), boxes(b)
    area = lambda x: (x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1])
    sides = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    shared = sides.prod(-1)
    union = area(a) + area(b) - shared
    around = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(-1)
    return (1 - shared / (union + eps) + (around - union) / (around + eps)).mean()


def normal(mean, log_variance):
    return torch.distributions.Normal(mean, (0.5 * log_variance).exp())


def kl_normal(g, y, other=None):
    p = normal(g[:, :2], g[:, 2:])
    q = normal(torch.zeros(2), torch.zeros(2)) if other is None else normal(y[:, :2], y[:, 2:])
    return torch.distributions.kl_divergence(p, q).sum(-1).mean()


def negative_elbo(g, y):
    reconstruction = F.binary_cross_entropy_with_logits(g, y, reduction="none").sum(-1).mean()
    return reconstruction + 0.5 * kl_normal(g, y)


def policy_gradient(g, y):
    advantage = torch.arange(ROWS) - 1.5
    return -(torch.distributions.Categorical(logits=g).log_prob(y) * advantage).mean()


def ppo(g, y):
    """Schulman et al. 2017 (arXiv 1707.06347), equation 7."""
    advantage, then = torch.arange(ROWS) - 1.5, -1.4
    ratio = (torch.distributions.Categorical(logits=g).log_prob(y) - then).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()


def temporal_difference(g, y):
    reward, done = torch.arange(ROWS) - 1.5, (torch.arange(ROWS) == 2).double()
    target = reward + 0.9 * (1 - done) * g.flip(-1).max(-1).values
    return F.huber_loss(g[torch.arange(ROWS), y], target.detach())


ADVANTAGE = "f32(iota([batch])) - 1.5"
LOG_COSH = lambda g, y: torch.log(torch.cosh(g - y)).mean()
QUANTILE = lambda g, y: torch.maximum(0.2 * (y - g), -0.8 * (y - g)).mean()
POSITIVE = torch.tensor(3.0)


CTC = f"""fn net(x: f32[batch, 6, 3]) -> f32[batch, 6, {CLASSES}] {{ dense(x, {CLASSES}) }}"""


def ctc_labels(rng):
    """One to three of the classes from 1 on, with a repetition, then zeros."""
    y = rng.integers(1, CLASSES, (ROWS, 3)).astype(np.int32)
    y[0], y[1, 1:], y[2, 2] = (1, 1, 2), 0, 0
    return y


def ctc(g, y):
    frames, labels = torch.full((ROWS,), 6), (y != 0).sum(1)
    return F.ctc_loss(F.log_softmax(g, -1).transpose(0, 1), y, frames - torch.arange(ROWS) % 2, labels)


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
    loss("cross_entropy_options",
         f"cross_entropy(guess, data.y, weights = {WEIGHTS_TEXT}, ignore = -100, smoothing = 0.1)",
         lambda g, y: F.cross_entropy(g, y, WEIGHTS, label_smoothing=0.1), ignored),
    loss("cross_entropy_ignore", "cross_entropy(guess, data.y, ignore = -100)", F.cross_entropy, ignored),
    loss("cross_entropy_smoothing", "cross_entropy(guess, data.y, smoothing = 0.2)",
         lambda g, y: F.cross_entropy(g, y, label_smoothing=0.2)),
    loss("cross_entropy_weights", f"cross_entropy(guess, data.y, weights = {WEIGHTS_TEXT})",
         lambda g, y: F.cross_entropy(g, y, WEIGHTS)),
    loss("cross_entropy_soft_options",
         f"cross_entropy_soft(guess, data.y, weights = {WEIGHTS_TEXT}, smoothing = 0.1)",
         lambda g, y: F.cross_entropy(g, y, WEIGHTS, label_smoothing=0.1), distribution(CLASSES)),
    loss("binary_cross_entropy_positive", "binary_cross_entropy_logits(guess, data.y, positive = 3)",
         lambda g, y: F.binary_cross_entropy_with_logits(g, y, pos_weight=POSITIVE), unit(CLASSES)),
    loss("focal", "focal(guess, data.y)", focal),
    loss("binary_focal", "binary_focal(guess, data.y)", binary_focal, unit(CLASSES)),
    loss("negative_log_likelihood", "negative_log_likelihood(log_softmax(guess), data.y)",
         lambda g, y: F.nll_loss(F.log_softmax(g, -1), y)),
    loss("distillation", "distillation(guess, data.y, temperature = 3)", distillation, real(CLASSES)),
    loss("smooth_l1", "smooth_l1(guess, data.y, beta = 0.5)", lambda g, y: F.smooth_l1_loss(g, y, beta=0.5),
         real(CLASSES)),
    loss("log_cosh", "log_cosh(guess, data.y)", LOG_COSH, real(CLASSES)),
    loss("quantile", "quantile(guess, data.y, q = 0.2)", QUANTILE, real(CLASSES)),
    loss("gaussian_nll", "gaussian_nll(guess, data.y, 0.2 + sigmoid(guess), least = 0.6)",
         lambda g, y: F.gaussian_nll_loss(g, y, 0.2 + torch.sigmoid(g), eps=0.6), real(CLASSES)),
    loss("poisson_nll", "poisson_nll(guess, data.y)", F.poisson_nll_loss, unit(CLASSES)),
    loss("kl_standard_normal", "kl_standard_normal(guess[:, 0:2], guess[:, 2:4])", kl_normal, real(CLASSES)),
    loss("kl_normal", "kl_normal(guess[:, 0:2], guess[:, 2:4], data.y[:, 0:2], data.y[:, 2:4])",
         lambda g, y: kl_normal(g, y, y), real(CLASSES)),
    loss("negative_elbo", "negative_elbo(guess, data.y, guess[:, 0:2], guess[:, 2:4], beta = 0.5)", negative_elbo,
         unit(CLASSES)),
    loss("margin_ranking", "margin_ranking(guess, flip(guess), data.y, margin = 0.3)",
         lambda g, y: F.margin_ranking_loss(g, g.flip(-1), y, margin=0.3), sign(CLASSES)),
    loss("hinge_embedding", "hinge_embedding(guess, data.y)", F.hinge_embedding_loss, sign(CLASSES)),
    loss("soft_margin", "soft_margin(guess, data.y)", F.soft_margin_loss, sign(CLASSES)),
    loss("multi_margin", "multi_margin(guess, data.y)", F.multi_margin_loss),
    loss("cosine_embedding", "cosine_embedding(guess, flip(guess) + 0.5, data.y[:, 0], margin = 0.1)",
         lambda g, y: F.cosine_embedding_loss(g, g.flip(-1) + 0.5, y[:, 0], margin=0.1), sign(CLASSES)),
    loss("triplet", "triplet(guess, data.y, flip(guess))",
         lambda g, y: F.triplet_margin_loss(g, y, g.flip(-1)), real(CLASSES)),
    loss("info_nce", "info_nce(guess, data.y, temperature = 0.5)", info_nce, real(CLASSES)),
    loss("dice", "dice(sigmoid(guess), data.y)", dice, unit(CLASSES)),
    loss("giou", f"giou({BOXES.format('guess')}, {BOXES.format('data.y')})", giou, real(CLASSES)),
    loss("policy_gradient", f"policy_gradient(guess, data.y, {ADVANTAGE})", policy_gradient),
    loss("ppo", f"ppo(guess, data.y, zeros([batch]) - 1.4, {ADVANTAGE})", ppo),
    loss("entropy", "mse(guess, data.y) - 0.5 * entropy(guess)",
         lambda g, y: F.mse_loss(g, y) - 0.5 * torch.distributions.Categorical(logits=g).entropy().mean(),
         real(CLASSES)),
    loss("temporal_difference",
         f"temporal_difference(guess, data.y, {ADVANTAGE}, flip(guess), f32(iota([batch]) == 2), discount = 0.9)",
         temporal_difference),
    network("ctc", CTC, lambda ps, x: dense(ps, "net.dense", x), real(6, 3),
            {"net.dense.w": (3, CLASSES), "net.dense.b": (CLASSES,)}, y=ctc_labels,
            loss=("ctc(guess, data.y, lengths = 6 - iota([batch]) % 2)", ctc)),
]
