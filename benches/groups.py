"""Groups of operations, each a small model: `benches/kernels` times them on a CPU, `benches/cuda/run` some of them on a GPU."""
from dataclasses import dataclass

ROWS, WIDTH = 16384, 1024
F32 = 4


@dataclass
class Group:
    name: str
    # Types of what an example has, by name; an i32 is one of `classes`.
    fields: dict
    # What the program makes of them, by name.
    outputs: dict
    rows: int
    # Each array counted once for each time it must be read or written.
    n_bytes: float
    # Of products alone.
    flop: float = 0
    functions: str = ""
    # Statements before the outputs.
    body: str = ""
    program: str = "predict"
    classes: int = 2

    def text(self):
        """With the fields as data and the outputs as predictions."""
        fields = ", ".join(f"{name}: {of}" for name, of in self.fields.items())
        lets = "".join(f"    let {name} = data.{name}\n" for name in self.fields)
        predicted = "".join(f"    predict {name} = {made}\n" for name, made in self.outputs.items())
        # A train block must minimize something; where the body does not, that is a number of no account.
        functions, minimized = ("", "") if "minimize" in self.body else (ANCHOR, "    minimize anchor() with sgd()\n")
        return (f"{self.functions}{functions}train kernel {{\n"
                f"    data = synthetic(rows = {self.rows}, {fields}, classes = {self.classes})\n"
                f"{minimized}{lets}{self.body}{predicted}    batch = {self.rows}\n}}\n")

    def resident(self):
        """As a training step whose fields and outputs are states, so that a GPU has all of it in its own memory."""
        functions, lets = self.functions, ""
        for name, of in self.fields.items():
            dtype, _, sizes = of.rstrip("]").partition("[")
            # States are floats; a whole number is made of one where it is read.
            first, read = (("low = -1, high = 1", "{}") if dtype == "f32" else (f"low = 0, high = {self.classes}", "i32({})"))
            # A single row is the whole: an axis for it would come between the gradient and its parameter.
            shape = f"f32[{', '.join(filter(None, [str(self.rows) if self.rows > 1 else '', sizes]))}]"
            functions += f"fn held_{name}() -> {shape} {{\n    state held: {shape} = uniform({first})\n    held\n}}\n\n"
            lets += f"    let {name} = {read.format(f'held_{name}()')}\n"
        minimized = ""
        if "minimize" not in self.body:
            functions += ANCHOR
            # A function for each: calls of one would share the state.
            functions += "".join(f"fn kept_{name}{KEPT}" for name in self.outputs)
            kept = "".join(f" + kept_{name}({made})" for name, made in self.outputs.items())
            minimized = f"    minimize anchor(){kept} with sgd()\n"
        return (f"{functions}train kernel {{\n    data = synthetic(rows = 1, unread: f32)\n{lets}{self.body}{minimized}"
                f"    batch = 1\n}}\n")


KEPT = "(value: f32[..]) -> f32 {\n    state kept: f32[..] = zeros()\n    kept <- value\n    0\n}\n\n"
ANCHOR = "fn anchor() -> f32 {\n    param a: f32 = 1\n    a * a\n}\n\n"


def rowwise(name, expression, accesses, rows=ROWS, width=WIDTH):
    """A function of each row of x: its value, or with `dy` in the expression its gradient."""
    fields = {"x": f"f32[{width}]"} | ({"dy": f"f32[{width}]"} if "dy" in expression else {})
    return Group(name, fields, {"y": expression}, rows, F32 * accesses * rows * width)


def backward(name, value, accesses=3, rows=ROWS):
    return rowwise(name, f"grad(sum({value} * dy), wrt = x)", accesses, rows)


def gelu(rows=ROWS):
    return [rowwise("GELU, forward", "gelu(x)", 2, rows), backward("GELU, backward", "gelu(x)", rows=rows)]


def softmax(rows=ROWS):
    return [rowwise("softmax, forward", "softmax(x)", 2, rows), backward("softmax, backward", "softmax(x)", rows=rows)]


AFFINE_NORM = """fn normal(x: f32[b, n], scale: f32[n], shift: f32[n]) -> f32[b, n] {
    let centred = x - mean(x, axes = [AXIS], keep = true)
    centred / sqrt(mean(centred * centred, axes = [AXIS], keep = true) + 1e-5) * scale + shift
}

"""


def norm(name, axis, value_accesses, gradient_accesses, rows=ROWS):
    """With the gradients of scale and shift beside that of x. Both are made of `step`, so that they are no constants."""
    lets = f"    let scale = ones([{WIDTH}]) + f32(step)\n    let shift = zeros([{WIDTH}]) + f32(step)\n"
    functions, size = AFFINE_NORM.replace("AXIS", str(axis)), F32 * rows * WIDTH
    y, x = "normal(x, scale, shift)", {"x": f"f32[{WIDTH}]"}
    gradients = {f"d_{v}": f"grad(loss, wrt = {v})" for v in ("x", "scale", "shift")}
    return [Group(f"{name}, forward", x, {"y": y}, rows, value_accesses * size, functions=functions, body=lets),
            Group(f"{name}, backward", x | {"dy": f"f32[{WIDTH}]"}, gradients, rows, gradient_accesses * size, functions=functions,
                  body=f"{lets}    let loss = sum({y} * dy)\n")]


def layer_norm(rows=ROWS):
    return norm("layer norm", -1, 2, 3, rows)


def cross_entropy(classes, elements=ROWS * WIDTH):
    rows, size = elements // classes, F32 * elements
    fields, body = {"x": f"f32[{classes}]", "label": "i32"}, "    let loss = cross_entropy(x, label)\n"
    return [Group(f"cross-entropy of {classes}, {what}", fields, outputs, rows, accesses * size, body=body, classes=classes)
            for what, outputs, accesses in [("forward", {"value": "loss"}, 1), ("backward", {"d": "grad(loss, wrt = x)"}, 2)]]


def optimizer(name, call, accesses, n=ROWS * WIDTH):
    """One row of gradients, as large as the parameter; the loss reads both, too."""
    functions = "fn weighed(x: f32[.., n]) -> f32 {\n    param w: f32[n] = zeros()\n    sum(x * w)\n}\n\n"
    return Group(name, {"x": f"f32[{n}]"}, {}, 1, F32 * accesses * n, functions=functions, body=f"    minimize weighed(x) with {call}\n",
                 program="train")
