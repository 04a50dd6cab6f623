"""Writes cases.bin.gz: the operator cases of the PyPI package onnx, for tests/onnx.rs.

    pip install onnx==1.23.2 && python tests/onnx/make.py

The package makes its cases when it is asked for them (onnx.backend.test.case.node). The archive is one protobuf message,
in the package's own types: see `Archive` in proto.rs. Cases over element types that are no plain numbers keep their
name and their types, without data.
"""

import gzip
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case.node import collect_testcases

assert onnx.__version__ == "1.23.2", onnx.__version__

PLAIN = {
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.BOOL,
    TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
    TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64,
}


def varint(n):
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def tensor(value):
    if not isinstance(value, TensorProto):
        value = numpy_helper.from_array(np.asarray(value))
    value.name = ""
    return value.SerializeToString()


def is_plain(case):
    values = list(case.model.graph.input) + list(case.model.graph.output)
    types = [v.type for v in values]
    return all(t.WhichOneof("value") == "tensor_type" and t.tensor_type.elem_type in PLAIN for t in types)


def strip(graph):
    graph.doc_string = ""
    for node in graph.node:
        node.doc_string = ""
        for attribute in node.attribute:
            attribute.doc_string = ""
            if attribute.HasField("g"):
                strip(attribute.g)


tensors = {}


def number(value):
    """Of the tensor in the archive, from 1; 0 for none. Equal tensors are one."""
    return 0 if value is None else tensors.setdefault(tensor(value), len(tensors) + 1)


def message(case):
    strip(case.model.graph)
    del case.model.functions[:]
    parts = [field(1, case.name.encode()), field(2, case.model.SerializeToString())]
    if is_plain(case):
        inputs, outputs = case.data_sets[0]
        parts.append(field(3, b"".join(varint(number(x)) for x in inputs)))
        parts.append(field(4, b"".join(varint(number(x)) for x in outputs)))
    parts.append(varint(5 << 3 | 1) + np.float64(case.rtol).tobytes())
    parts.append(varint(6 << 3 | 1) + np.float64(case.atol).tobytes())
    return b"".join(parts)


np.random.seed(0)
cases = sorted(collect_testcases(None), key=lambda case: case.name)
archive = b"".join(field(1, message(case)) for case in cases)
archive += b"".join(field(2, data) for data in tensors)
path = Path(__file__).with_name("cases.bin.gz")
path.write_bytes(gzip.compress(archive, 9, mtime=0))
print(f"{len(cases)} cases, {len(archive)} bytes, {path.stat().st_size} compressed")
