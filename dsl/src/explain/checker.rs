//! The long form of what the checker says: E02xx names and calls, E03xx shapes and types, E04xx parameters,
//! gradients and optimizers, E05xx train blocks and data, E06xx tests, W06xx warnings. Rows in the order of their
//! codes.

use super::Explanation;

pub(super) static ROWS: &[Explanation] = &[
    Explanation {
        code: "E0201",
        title: "unknown name",
        text: "A name is used that nothing has bound before. Names are bound by `let`, by a function's arguments and by the sizes in its signature, and are known from there to the end of their block.\n\n    let y = x * 2\n    y + z        // no `z` here\n\nLook for a slip in the spelling, or bind the name first.",
    },
    Explanation {
        code: "E0202",
        title: "unknown function",
        text: "A function is called that neither this file, nor its imports, nor the standard library defines.\n\n    x |> dens(64)     // meant: dense(64)",
    },
    Explanation {
        code: "E0203",
        title: "unknown field",
        text: "`data.NAME` names a field that the data source does not have. The message lists the fields it has.",
    },
    Explanation {
        code: "E0204",
        title: "a function is defined twice",
        text: "Two functions of your files have one name. Give one of them another. A function of the standard library may be replaced by your own.",
    },
    Explanation {
        code: "E0205",
        title: "an argument's name stands twice",
        text: "    fn f(x: f32[n], x: f32[n])      // two arguments called `x`\n\nEach argument of a function has a name of its own.",
    },
    Explanation {
        code: "E0206",
        title: "files import each other in a circle",
        text: "A file may not import itself, directly or through others. Move what both need into a third file.",
    },
    Explanation {
        code: "E0207",
        title: "an import cannot be read",
        text: "The path of an import is relative to the file in which it stands.",
    },
    Explanation {
        code: "E0208",
        title: "unknown part of the standard library",
        text: "`import std.NAME` names a part that does not exist. The message lists those that do.",
    },
    Explanation {
        code: "E0209",
        title: "a function calls itself",
        text: "Everything about a model is known before it runs, so its number of layers is fixed, and a function cannot call itself.\n\n    x |> repeat 4 { block(8) }      // four blocks, each with its own parameters",
    },
    Explanation {
        code: "E0210",
        title: "unknown setting",
        text: "A train block knows the settings data, test, valid, batch, epochs, steps, seed and shuffle. For a value of your own write `let`.",
    },
    Explanation {
        code: "E0301",
        title: "shapes do not fit",
        text: "Tensors that are added, multiplied or compared element by element are aligned at their last axis. Sizes must be equal, or 1.\n\n    x: f32[batch, 10]   b: f32[10]      // x + b is fine\n    x: f32[batch, 10]   b: f32[batch]   // not: the last axes are 10 and batch",
    },
    Explanation {
        code: "E0302",
        title: "inner sizes of a matrix product differ",
        text: "`a @ b` takes rows of `a` with columns of `b`: the last axis of `a` must equal the last but one of `b`.\n\n    x: f32[batch, 8]   w: f32[8, 3]     // x @ w: f32[batch, 3]\n    x: f32[batch, 8]   w: f32[3, 8]     // write x @ transpose(w)",
    },
    Explanation {
        code: "E0303",
        title: "an argument has the wrong shape",
        text: "A function's signature names the sizes of its arguments, and one name stands for one size in a call.",
    },
    Explanation {
        code: "E0304",
        title: "a value is not what is declared",
        text: "A function's body, or a `let` with a type, gives another type than was declared. Change one of them.",
    },
    Explanation {
        code: "E0305",
        title: "the wrong kind of numbers",
        text: "Real numbers (f32), whole numbers (i32), bytes (u8) and truth values (bool) are kept apart. Convert with `f32(x)`, `i32(x)` or `bool(x)`. Bytes and truth values become real beside real numbers on their own.",
    },
    Explanation {
        code: "E0306",
        title: "there is no such axis",
        text: "Axes count from 0; -1 is the last. An axis can also be named by its size: `sum(x, axes = [n])`.",
    },
    Explanation {
        code: "E0307",
        title: "a size does not divide",
        text: "    split(x, 2)      // x: f32[batch, 7]: 7 is not 2 equal parts\n\nChoose sizes that divide without a remainder.",
    },
    Explanation {
        code: "E0308",
        title: "a reshape changes the number of elements",
        text: "`reshape` keeps all numbers and gives them other axes, so the product of the sizes must stay.",
    },
    Explanation {
        code: "E0309",
        title: "an index is outside, or there are too many",
        text: "Indices count from 0 to the size less one; the end of a range `a:b` is not included. Negative numbers count from the end.",
    },
    Explanation {
        code: "E0310",
        title: "index notation",
        text: "In `let y[b, i] = sum[k] x[b, k] * w[k, i]` every index stands on the left or is summed, every tensor is indexed by each of its axes, and one index has one size.",
    },
    Explanation {
        code: "E0311",
        title: "a condition is not known when the model is compiled",
        text: "`if` chooses once, before the model runs. For a choice for each element write `where(condition, a, b)`.",
    },
    Explanation {
        code: "E0312",
        title: "a value of the wrong kind",
        text: "A number, a size, a tensor, a text or a function stands where another is expected.",
    },
    Explanation {
        code: "E0313",
        title: "not a possible size",
        text: "A size is a whole number of at least 1, and a tensor must fit a machine's memory.",
    },
    Explanation {
        code: "E0314",
        title: "operands do not fit",
        text: "Tensors that are joined must agree in all other axes and in their kind of numbers.",
    },
    Explanation {
        code: "E0315",
        title: "unknown element type",
        text: "The element types are f32, i32, u8 and bool.",
    },
    Explanation {
        code: "E0316",
        title: "the number of names and of values differ",
        text: "    let (a, b, c) = split(x, 2)     // two values",
    },
    Explanation {
        code: "E0317",
        title: "a gradient of a tensor",
        text: "`grad(loss, wrt = x)` differentiates one number. Sum or average first.",
    },
    Explanation {
        code: "E0401",
        title: "an argument is missing",
        text: "Arguments without a default must be given. Left of `|>` stands the first.",
    },
    Explanation {
        code: "E0402",
        title: "too many arguments",
        text: "The message shows the function's signature. Left of `|>` stands the first argument already.",
    },
    Explanation {
        code: "E0403",
        title: "unknown argument",
        text: "No argument has this name. The message shows the function's signature.",
    },
    Explanation {
        code: "E0404",
        title: "an argument is given twice",
        text: "Once by its place and once by its name, or twice by name. Remove one.",
    },
    Explanation {
        code: "E0405",
        title: "this cannot be called",
        text: "Only functions can be called. To take elements of a tensor write `x[0]`; to multiply write `*`.",
    },
    Explanation {
        code: "E0406",
        title: "a parameter is declared twice",
        text: "Each parameter has a path of its own: the functions that lead to it and its name.",
    },
    Explanation {
        code: "E0407",
        title: "a parameter that is not real",
        text: "Only real numbers (f32) can be trained. Use `state` for other things that are kept.",
    },
    Explanation {
        code: "E0408",
        title: "a parameter's size depends on the batch",
        text: "A parameter outlives the step, and the number of examples may differ from step to step.",
    },
    Explanation {
        code: "E0409",
        title: "unknown initial value",
        text: "A `param` or `state` starts as a number or by an initialiser such as `zeros()` or `glorot_uniform()`.",
    },
    Explanation {
        code: "E0410",
        title: "this cannot be updated",
        text: "`<-` says what a `state` holds after the step. A `let` never changes.",
    },
    Explanation {
        code: "E0411",
        title: "a result is missing",
        text: "The value of a body is its last expression.",
    },
    Explanation {
        code: "E0412",
        title: "an update of another shape",
        text: "What is assigned with `<-` must have the type and shape with which the state was declared.\n\n    state m: f32[n] = zeros()\n    m <- sum(x)             // not: one number\n    m <- mean(x, axes = [0])   // fine, when x is f32[batch, n]",
    },
    Explanation {
        code: "E0413",
        title: "the model is too large",
        text: "More than two million operations: a `repeat` count or a depth is probably a slip.",
    },
    Explanation {
        code: "E0501",
        title: "no data",
        text: "A train block says what it learns from: `data = idx(\"data/mnist-train\")`.",
    },
    Explanation {
        code: "E0502",
        title: "nothing is minimized",
        text: "A train block says what is to become small: `minimize LOSS with adam()`.",
    },
    Explanation {
        code: "E0503",
        title: "a setting stands twice",
        text: "A train block gives each setting one value.\n\n    batch = 32\n    batch = 64       // remove one of them",
    },
    Explanation {
        code: "E0504",
        title: "an impossible value of a setting",
        text: "batch, epochs and steps are whole numbers of at least 1; seed is a whole number; shuffle is true or false.",
    },
    Explanation {
        code: "E0505",
        title: "a loss is not one number",
        text: "Training makes one number small. Take the mean, or use a loss from the standard library.",
    },
    Explanation {
        code: "E0506",
        title: "no loss reaches a parameter",
        text: "The parameter is declared but nothing that is minimized depends on it through real numbers, so it would never change. Use it, or declare a `state`.",
    },
    Explanation {
        code: "E0507",
        title: "nothing to train",
        text: "What is minimized depends on no parameter.",
    },
    Explanation {
        code: "E0508",
        title: "a parameter is optimized twice",
        text: "Two `minimize` lines would move one parameter in one step. Add the losses, or divide the parameters with `over params(NAME)`.",
    },
    Explanation {
        code: "E0509",
        title: "a data source cannot be used",
        text: "The source's name, its arguments or its files are wrong. The message says which.",
    },
    Explanation {
        code: "E0510",
        title: "not an optimizer",
        text: "An optimizer is a function of a parameter and its gradient that says what the parameter becomes: `p <- p - lr * g`.",
    },
    Explanation {
        code: "E0511",
        title: "unknown parameters",
        text: "`over params(NAME)` names a function of the train block that has parameters.",
    },
    Explanation {
        code: "E0513",
        title: "what is reported is not one number",
        text: "Take the mean: `report mean(x)`.",
    },
    Explanation {
        code: "E0514",
        title: "two train blocks",
        text: "A file has one train block. Put the other into a file of its own.",
    },
    Explanation {
        code: "E0515",
        title: "nothing of this name can be set",
        text: "`--set NAME=VALUE` replaces settings of the train block and values that `let` binds.",
    },
    Explanation {
        code: "E0601",
        title: "unknown subject of a test",
        text: "A `test` block names a function or the train block of its file.",
    },
    Explanation {
        code: "E0602",
        title: "unknown claim",
        text: "A test claims params, states, kernels, memory, flops or nodes, a range of a metric, or `gradcheck`.",
    },
    Explanation {
        code: "W0601",
        title: "a name is never used",
        text: "Remove it, or start it with `_` to say that this is meant.",
    },
    Explanation {
        code: "W0602",
        title: "a value is not used",
        text: "An expression on a line of its own does nothing.",
    },
];
