#!/usr/bin/env python3
"""Makes `metrics.safetensors`: the data of `tests/metrics.rs`, and each metric's value over all of it (`value.NAME`).

Each metric is written down here a second time, in numpy, by its definition and not by gradc's formula: areas by comparing
every pair, edit distances by the table, BLEU by counting runs in dictionaries.

usage: make.py     (needs numpy and safetensors)
"""
import pathlib
from collections import Counter

import numpy as np
from safetensors.numpy import save_file

N, CLASSES, WORDS = 23, 4, 7
rng = np.random.default_rng(7)

guess = rng.normal(size=(N, CLASSES)).astype(np.float32)
label = rng.integers(0, CLASSES - 1, N).astype(np.int32)  # the last class does not occur
# Ties, on purpose.
score = (rng.integers(0, 12, N) / 12).astype(np.float32)
truth = (rng.random(N) < 0.4 + 0.3 * score).astype(np.float32)
scores = (rng.integers(0, 9, (N, 3)) / 9).astype(np.float32)
truths = (rng.random((N, 3)) < 0.5).astype(np.float32)
real = rng.normal(3, 2, size=(N, 2)).astype(np.float32)
near = (real + rng.normal(size=(N, 2))).astype(np.float32)
ignored = np.where(rng.random(N) < 0.3, -100, label).astype(np.int32)


def sentences(longest):
    """Words from 1 to 5, then zeros."""
    words = rng.integers(1, 6, (N, longest)).astype(np.int32)
    lengths = rng.integers(longest // 2, longest + 1, N)
    return np.where(np.arange(longest) < lengths[:, None], words, 0).astype(np.int32)


said, wanted = sentences(WORDS), sentences(WORDS + 1)
said[:, :4] = np.where(rng.random((N, 4)) < 0.8, wanted[:, :4], said[:, :4])

taken = guess.argmax(1)
confusion = np.zeros((CLASSES, CLASSES))
for t, g in zip(label, taken):
    confusion[t, g] += 1


def by_class(measure):
    """A measure of each class that occurs: from hits, false claims and misses."""
    found, weights = [], []
    for c in range(CLASSES):
        hits = np.sum((taken == c) & (label == c))
        false, missed = np.sum((taken == c) & (label != c)), np.sum((taken != c) & (label == c))
        if hits + false + missed:
            found.append(measure(hits, false, missed))
            weights.append(hits + missed)
    return np.mean(found), np.average(found, weights=weights)


share = lambda a, b: a / b if b else 0.0
precision = by_class(lambda h, f, m: share(h, h + f))
recall = by_class(lambda h, f, m: share(h, h + m))
f1 = by_class(lambda h, f, m: share(2 * h, 2 * h + f + m))
iou = by_class(lambda h, f, m: share(h, h + f + m))


def matthews():
    """As a correlation of indicators (Gorodkin 2004, equation 8)."""
    x, y = np.eye(CLASSES)[taken], np.eye(CLASSES)[label]
    covariance = lambda a, b: np.sum((a - a.mean(0)) * (b - b.mean(0)))
    return covariance(x, y) / np.sqrt(covariance(x, x) * covariance(y, y))


def auc(s, y):
    wins = [(a > b) + 0.5 * (a == b) for a in s[y == 1] for b in s[y == 0]]
    return np.mean(wins)


def average_precision(s, y):
    area = before = 0.0
    for threshold in sorted(set(s), reverse=True):
        claimed = s >= threshold
        hits = y[claimed].sum()
        area += (hits - before) / y.sum() * hits / claimed.sum()
        before = hits
    return area


def perplexity():
    x = guess.astype(np.float64)
    log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
    kept = ignored != -100
    return np.exp(-log_p[np.arange(N)[kept], ignored[kept]].mean())


words = lambda row: [w for w in row if w]


def edits(a, b):
    table = np.zeros((len(a) + 1, len(b) + 1))
    table[:, 0], table[0] = np.arange(len(a) + 1), np.arange(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            other = table[i - 1, j - 1] + (a[i - 1] != b[j - 1])
            table[i, j] = min(other, table[i - 1, j] + 1, table[i, j - 1] + 1)
    return table[-1, -1]


def bleu():
    """Papineni et al. 2002, section 2.3."""
    logs = 0.0
    for k in range(1, 5):
        hits = runs = 0
        for a, b in zip(said, wanted):
            count = lambda row: Counter(tuple(row[i:i + k]) for i in range(len(row) - k + 1))
            own, other = count(words(a)), count(words(b))
            hits += sum(min(n, other[run]) for run, n in own.items())
            runs += sum(own.values())
        logs += np.log(hits / runs) / 4
    c, r = sum(len(words(a)) for a in said), sum(len(words(b)) for b in wanted)
    return min(1, np.exp(1 - r / c)) * np.exp(logs)


# Pictures with up to six detections and up to four true boxes of three classes, the last of which does not occur.
DETECTED, TRUE = 6, 4
corner = rng.uniform(0, 6, (N, TRUE, 2))
true_boxes = np.concatenate([corner, corner + rng.uniform(1, 5, (N, TRUE, 2))], 2).astype(np.float32)
true_labels = np.where(rng.random((N, TRUE)) < 0.3, -1, rng.integers(0, 2, (N, TRUE))).astype(np.int32)
about = rng.integers(0, TRUE, (N, DETECTED))
boxes = np.take_along_axis(true_boxes, about[:, :, None], 1)
boxes = (boxes + rng.normal(size=boxes.shape) * rng.uniform(0, 0.8, (N, DETECTED, 1))).astype(np.float32)
labels = np.take_along_axis(true_labels, about, 1)
labels = np.where(rng.random(labels.shape) < 0.2, rng.integers(-1, 3, labels.shape), labels).astype(np.int32)
confidence = rng.permutation(N * DETECTED).reshape(N, DETECTED).astype(np.float32)


def overlap(a, b):
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    shared = max(sides[0], 0) * max(sides[1], 0)
    return shared / (area(a) + area(b) - shared)


def detection(least):
    """One class and one picture after another, detections in the order of their scores."""
    by_class = []
    for c in range(3):
        claims, n_true = [], 0
        for i in range(N):
            free = [j for j in range(TRUE) if true_labels[i, j] == c]
            n_true += len(free)
            for k in sorted(range(DETECTED), key=lambda k: -confidence[i, k]):
                if labels[i, k] != c:
                    continue
                best = max(free, key=lambda j: overlap(boxes[i, k].astype(float), true_boxes[i, j].astype(float)), default=None)
                hit = best is not None and overlap(boxes[i, k].astype(float), true_boxes[i, best].astype(float)) >= least
                if hit:
                    free.remove(best)
                claims.append((confidence[i, k], hit))
        if n_true:
            hits = np.cumsum([hit for _, hit in sorted(claims, reverse=True)])
            precision, recall = hits / np.arange(1, len(hits) + 1), hits / n_true
            at = [max(precision[recall >= r - 1e-12], default=0) for r in np.linspace(0, 1, 101)]
            by_class.append(np.mean(at))
    return np.mean(by_class)


claims = score > 0.5
values = {
    "accuracy": np.mean(taken == label),
    "top_k_accuracy": np.mean([l in np.argsort(-g)[:2] for g, l in zip(guess, label)]),
    "confusion": confusion,
    "precision": precision[0], "weighted_precision": precision[1], "micro_precision": np.mean(taken == label),
    "recall": recall[0], "weighted_recall": recall[1],
    "f1": f1[0], "weighted_f1": f1[1], "mean_iou": iou[0], "matthews": matthews(),
    "binary_precision": truth[claims].mean(), "binary_recall": claims[truth == 1].mean(),
    "binary_f1": 2 * truth[claims].sum() / (claims.sum() + truth.sum()),
    "auc": auc(score, truth), "average_precision": average_precision(score, truth),
    "mean_average_precision": np.mean([average_precision(scores[:, i], truths[:, i]) for i in range(3)]),
    "perplexity": perplexity(),
    "mae": np.abs(near - real).mean(), "mse": ((near - real) ** 2).mean(),
    "rmse": np.sqrt(((near - real) ** 2).mean()),
    "r_squared": 1 - ((near - real) ** 2).sum() / ((real - real.mean()) ** 2).sum(),
    "correlation": np.corrcoef(near.flatten(), real.flatten())[0, 1],
    "word_error_rate": sum(edits(words(a), words(b)) for a, b in zip(said, wanted)) / sum(len(words(b)) for b in wanted),
    "bleu": bleu(),
    "detection_ap": detection(0.5), "detection_map": np.mean([detection(0.5 + 0.05 * i) for i in range(10)]),
}
data = dict(guess=guess, label=label, ignored=ignored, score=score, truth=truth, scores=scores, truths=truths, real=real,
            near=near, said=said, wanted=wanted, boxes=boxes, labels=labels, confidence=confidence, true_boxes=true_boxes,
            true_labels=true_labels)
tensors = {f"data.{name}": v for name, v in data.items()}
tensors |= {f"value.{name}": np.asarray(v, np.float64) for name, v in values.items()}
save_file(tensors, pathlib.Path(__file__).parent / "metrics.safetensors")
print(len(values), "metrics of", N, "examples")
