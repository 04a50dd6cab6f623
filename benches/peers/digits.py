#!/usr/bin/env python3
"""examples/mnist.model in Keras or PyTorch: the whole program, on the same 4,000 and 1,000 digits.

usage: digits.py keras|torch [SEED]
Prints one JSON object: test accuracy, test loss, peak resident MiB.
"""
import gzip
import json
import os
import resource
import sys

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
framework, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "data")


def read(split):
    with gzip.open(f"{folder}/mnist-{split}-images.idx3-ubyte.gz") as images:
        x = np.frombuffer(images.read(), np.uint8, offset=16).reshape(-1, 784).astype(np.float32) / 255
    with gzip.open(f"{folder}/mnist-{split}-labels.idx1-ubyte.gz") as labels:
        y = np.frombuffer(labels.read(), np.uint8, offset=8).astype(np.int64)
    return x, y


(x, y), (test_x, test_y) = read("train"), read("test")
if framework == "keras":
    import tensorflow as tf

    tf.keras.utils.set_random_seed(seed)
    dense = tf.keras.layers.Dense
    model = tf.keras.Sequential([dense(64, "relu"), dense(32, "relu"), dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=10, batch_size=32, verbose=0)
    loss, accuracy = model.evaluate(test_x, test_y, verbose=0)
else:
    import torch
    from torch import nn

    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    adam = torch.optim.Adam(model.parameters())
    x, y, test_x, test_y = map(torch.from_numpy, (x, y, test_x, test_y))
    for _ in range(10):
        order = torch.randperm(len(x))
        for rows in order.split(32):
            adam.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            adam.step()
    with torch.no_grad():
        guess = model(test_x)
        loss = float(nn.functional.cross_entropy(guess, test_y))
        accuracy = float((guess.argmax(1) == test_y).float().mean())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"framework": framework, "seed": seed, "test_accuracy": round(float(accuracy), 4),
                  "test_loss": round(float(loss), 4), "peak_mib": round(peak)}))
