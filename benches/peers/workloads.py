"""The workloads: what a step of each must at least do."""
from dataclasses import dataclass


@dataclass
class Workload:
    # Multiply-adds of the products and convolutions of one forward pass.
    forward: int
    # Those of the first layer, where nothing below asks for a gradient.
    first: int
    parameters: int
    # How many threads to try; the best counts.
    threads: tuple = ("all",)

    @property
    def flop(self):
        """Of a training step: a product forward, and one for each of its two gradients."""
        return 2 * (3 * self.forward - self.first)

    def floor_ms(self, gflops, gigabytes):
        """Products at the machine's peak, then Adam: parameter and two moments, read and written."""
        return self.flop / gflops * 1e-6 + self.parameters * 24 / gigabytes * 1e-6


def mlp(batch, *widths, **rest):
    layers = [batch * i * o for i, o in zip(widths, widths[1:])]
    return Workload(sum(layers), layers[0], sum((i + 1) * o for i, o in zip(widths, widths[1:])), **rest)


def cnn(batch):
    """(side, channels in, channels out) of each convolution."""
    convolutions = [(32, 3, 32), (32, 32, 32), (16, 32, 64), (16, 64, 64), (8, 64, 128)]
    products = [batch * side**2 * 9 * i * o for side, i, o in convolutions]
    parameters = sum(9 * i * o + 3 * o for _, i, o in convolutions) + 129 * 10
    return Workload(sum(products) + batch * 128 * 10, products[0], parameters)


def gpt(depth, width, length, batch, vocabulary=65):
    tokens, weights = batch * length, 12 * width**2
    # A position attends to itself and to those before it: two products of `width` for each pair.
    attention = depth * batch * length * (length + 1) // 2 * 2 * width
    parameters = depth * (weights + 13 * width) + (vocabulary + length + 2) * width + (width + 1) * vocabulary
    return Workload(tokens * (depth * weights + vocabulary * width) + attention, 0, parameters)


def lstm(batch, length, embedding, hidden, vocabulary=65):
    weights = 4 * hidden * (embedding + hidden) + vocabulary * hidden
    parameters = weights + 4 * hidden + vocabulary + vocabulary * embedding
    return Workload(batch * length * weights, 0, parameters)


WORKLOADS = {
    "mlp-seed": mlp(32, 784, 64, 32, 10, threads=(1, "all")),
    "mlp-large": mlp(256, 784, 1024, 1024, 10),
    "cnn": cnn(64),
    "gpt-nano": gpt(4, 128, 64, 12),
    "gpt-mini": gpt(6, 384, 256, 8),
    "lstm": lstm(32, 64, 128, 256),
}
