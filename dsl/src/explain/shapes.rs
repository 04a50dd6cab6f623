//! The long form of what the checker says of shapes, element types and sizes (E03xx). Rows in the order of their
//! codes.

use super::{Explanation, row};

pub(super) static ROWS: &[Explanation] = &[
    row(
        "E0301",
        "Shapes do not fit",
        "Tensors that are added, multiplied or compared element by element are aligned at their last axis, then at the last\n\
         but one, and so on. Two aligned sizes must be equal, or one of them 1; the tensor with fewer axes is repeated.\n\n\
         Wrong:  x + b      where x: f32[batch, 10] and b: f32[batch]    (10 against batch)\n\
         Right:  x + b      where x: f32[batch, 10] and b: f32[10]       (one number for each column)\n\
         Right:  x + reshape(b, [batch, 1])                              (one number for each row)",
    ),
    row(
        "E0302",
        "The inner sizes of a matrix product differ",
        "`a @ b` takes rows of `a` with columns of `b`, so the last axis of `a` must equal the last axis but one of `b`:\n\
         `[batch, n] @ [n, m]` gives `[batch, m]`.\n\n\
         Wrong:  x @ w               where x: f32[batch, 8] and w: f32[3, 8]\n\
         Right:  x @ transpose(w)    where x: f32[batch, 8] and w: f32[3, 8]\n\
         Right:  x @ w               where x: f32[batch, 8] and w: f32[8, 3]",
    ),
    row(
        "E0303",
        "An argument has the wrong shape",
        "A function's signature names the sizes of its arguments, and one name stands for one size in a call. `..` stands for\n\
         any number of leading axes, the same ones everywhere in the signature.\n\n\
         Wrong:  cross_entropy(guess, label)      where guess: f32[batch, 10] and label: i32[batch, 1]\n\
         Right:  cross_entropy(guess, label[:, 0])\n\n\
         `cross_entropy(logits: f32[.., classes], labels: i32[..])` asks for one label for each row of logits: here `..` is\n\
         `[batch]`, so the labels are `i32[batch]`.",
    ),
    row(
        "E0304",
        "A value is not what is declared",
        "A function's body, or a `let` with a type, gives another type than was declared. Change the one that is wrong.\n\n\
         Wrong:  fn classifier(x: f32[batch, 784]) -> f32[batch, 10] { x |> dense(64) }\n\
         Right:  fn classifier(x: f32[batch, 784]) -> f32[batch, 10] { x |> dense(64) |> relu |> dense(10) }",
    ),
    row(
        "E0305",
        "The wrong kind of numbers",
        "Real numbers (f32), whole numbers (i32), bytes (u8) and truth values (bool) are kept apart. Bytes and truth values\n\
         become real on their own beside real numbers, and bytes serve as labels and indices; all else is converted with\n\
         `f32(x)`, `i32(x)` or `bool(x)`.\n\n\
         Wrong:  mean(guess == label)\n\
         Right:  mean(f32(guess == label))\n\n\
         Wrong:  dense(tokens, 64)           where tokens: i32[batch, 8]\n\
         Right:  dense(f32(tokens), 64)",
    ),
    row(
        "E0306",
        "There is no such axis",
        "Axes count from 0; -1 is the last, -2 the last but one. An axis can also be named by its size, when a size of the\n\
         signature has a name.\n\n\
         Wrong:  sum(x, axes = [2])      where x: f32[batch, n]\n\
         Right:  sum(x, axes = [1])      or sum(x, axes = [-1]), or sum(x, axes = [n])",
    ),
    row(
        "E0307",
        "A size does not divide",
        "Parts are of equal size, so a number of parts must divide the size without a remainder.\n\n\
         Wrong:  split(x, 2)             where x: f32[batch, 7]\n\
         Right:  split(x, 7)             where x: f32[batch, 7]\n\
         Right:  split(x, 2)             where x: f32[batch, 8]",
    ),
    row(
        "E0308",
        "A reshape changes how many numbers there are",
        "`reshape` keeps all numbers and gives them other axes, so the product of the sizes must stay the same.\n\n\
         Wrong:  reshape(x, [batch, 9])       where x: f32[batch, 8]\n\
         Right:  reshape(x, [batch, 2, 4])    where x: f32[batch, 8]",
    ),
    row(
        "E0309",
        "An index is outside, or there are too many",
        "Indices count from 0 to the size less one; the end of a range `a:b` is not included. There is at most one index for\n\
         each axis, and axes without one are taken whole.\n\n\
         Wrong:  x[:, 6:10]      where x: f32[batch, 8]\n\
         Right:  x[:, 6:8]       where x: f32[batch, 8]",
    ),
    row(
        "E0310",
        "Index notation does not work out",
        "In index notation every index stands on the left or is summed over, every tensor has an index for each of its axes,\n\
         and one index runs over one size wherever it stands.\n\n\
         Wrong:  let y[b, i] = sum[k] x[b, k] * w[i]\n\
         Right:  let y[b, i] = sum[k] x[b, k] * w[k, i]",
    ),
    row(
        "E0311",
        "A condition is not known when the model is compiled",
        "`if` chooses once, before the model runs, so its condition is made of sizes, settings and `training`. To choose for\n\
         each element of a tensor, write `where(condition, a, b)`.\n\n\
         Wrong:  if x > 0 { x } else { 0.1 * x }\n\
         Right:  where(x > 0, x, 0.1 * x)",
    ),
    row(
        "E0312",
        "A value of the wrong kind",
        "A number, a size, a tensor, a text or a function stands where another of these is expected.\n\n\
         Wrong:  x + relu\n\
         Right:  x + relu(x)\n\n\
         Wrong:  adam(lr = \"1e-3\")\n\
         Right:  adam(lr = 1e-3)",
    ),
    row(
        "E0313",
        "Not a possible size",
        "A size is a whole number of at least 1, and a tensor must fit into a machine's memory.\n\n\
         Wrong:  dense(x, 2.5)    dense(x, -4)    dense(x, \"16\")\n\
         Right:  dense(x, 16)",
    ),
    row(
        "E0314",
        "Tensors cannot be joined",
        "Tensors that are joined must agree in their kind of numbers and in all axes but the one along which they are joined.\n\n\
         Wrong:  concat([x, y], axis = 1)                        where x: f32[batch, 8] and y: f32[batch, 4, 4]\n\
         Right:  concat([x, flatten(y)], axis = 1)               where x: f32[batch, 8] and y: f32[batch, 4, 4]",
    ),
    row(
        "E0315",
        "Unknown element type",
        "The element types are f32 (real numbers), i32 (whole numbers), u8 (bytes) and bool (truth values).\n\n\
         Wrong:  fn net(x: float[batch, 8]) -> float[batch, 3] { ... }\n\
         Right:  fn net(x: f32[batch, 8]) -> f32[batch, 3] { ... }",
    ),
    row(
        "E0316",
        "The number of names and of values differ",
        "When a `let` takes several values apart, it has one name for each. `_` is a name for a value that is not needed.\n\n\
         Wrong:  let (a, b, c) = split(x, 2)\n\
         Right:  let (a, b) = split(x, 2)\n\
         Right:  let (a, _) = split(x, 2)",
    ),
    row(
        "E0317",
        "A gradient of more than one number",
        "`grad(loss, wrt = x)` says how one number changes with each element of x. Sum or average first.\n\n\
         Wrong:  grad(x * x, wrt = x)\n\
         Right:  grad(sum(x * x), wrt = x)",
    ),
];
