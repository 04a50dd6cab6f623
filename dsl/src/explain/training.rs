//! The long form of what the checker says of calls and parameters (E04xx), train blocks (E05xx), test blocks (E06xx)
//! and of its warnings (W06xx). Rows in the order of their codes.

use super::{Explanation, row};

pub(super) static ROWS: &[Explanation] = &[
    row(
        "E0401",
        "An argument is missing",
        "Arguments without a default must be given, by place or by name. What stands left of `|>` is the first argument.\n\n\
         Wrong:  x |> dense()\n\
         Right:  x |> dense(64)    or x |> dense(units = 64)",
    ),
    row(
        "E0402",
        "Too many arguments",
        "The message shows the function's signature. What stands left of `|>` is the first argument already.\n\n\
         Wrong:  x |> dense(x, 64)\n\
         Right:  x |> dense(64)    or dense(x, 64)",
    ),
    row(
        "E0403",
        "Unknown argument",
        "No argument has this name. The message shows the function's signature.\n\n\
         Wrong:  adam(learning_rate = 1e-3)\n\
         Right:  adam(lr = 1e-3)",
    ),
    row(
        "E0404",
        "An argument is given twice",
        "Once by its place and once by its name, or twice by name. Remove one of them.\n\n\
         Wrong:  dense(x, 64, units = 32)\n\
         Right:  dense(x, units = 32)",
    ),
    row(
        "E0405",
        "This cannot be called",
        "Only functions can be called. To take elements of a tensor write square brackets; to multiply write `*`.\n\n\
         Wrong:  x(0)    scale(x + 1)\n\
         Right:  x[0]    scale * (x + 1)",
    ),
    row(
        "E0406",
        "A parameter is declared twice",
        "Each parameter or state of a function has a name of its own.\n\n\
         Wrong:  param w: f32[8, 4] = glorot_uniform()\n\
         \x20       param w: f32[4] = zeros()\n\
         Right:  param w: f32[8, 4] = glorot_uniform()\n\
         \x20       param b: f32[4] = zeros()",
    ),
    row(
        "E0407",
        "A parameter does not hold real numbers",
        "Training moves a parameter by small steps, which needs real numbers (f32). For other things that are kept from step\n\
         to step there is `state`.\n\n\
         Wrong:  param count: i32 = zeros()\n\
         Right:  state count: i32 = zeros()",
    ),
    row(
        "E0408",
        "The size of a parameter depends on the batch",
        "A parameter lives as long as the model, and the number of examples may differ from step to step: the last batch of\n\
         an epoch may be shorter. One value serves all examples.\n\n\
         Wrong:  param b: f32[batch, 10] = zeros()\n\
         Right:  param b: f32[10] = zeros()",
    ),
    row(
        "E0409",
        "Unknown initial value",
        "A `param` or `state` starts as a number or by an initialiser; the message lists them.\n\n\
         Wrong:  param w: f32[8, 4] = xavier()\n\
         Right:  param w: f32[8, 4] = glorot_uniform()",
    ),
    row(
        "E0410",
        "This cannot be updated",
        "`<-` says what a `state` holds after the step, or what an optimizer's parameter becomes. A `let` never changes.\n\n\
         Wrong:  let y = x * 2\n\
         \x20       y <- y + 1\n\
         Right:  let y = x * 2\n\
         \x20       let z = y + 1",
    ),
    row(
        "E0411",
        "A result is missing",
        "The result of a function is the last expression of its body. A function that promises one with `->` must end so.\n\n\
         Wrong:  fn double(x: f32[..]) -> f32[..] { let y = 2 * x }\n\
         Right:  fn double(x: f32[..]) -> f32[..] { 2 * x }",
    ),
    row(
        "E0412",
        "The next value of a state has another shape",
        "A state keeps the type and shape with which it was declared.\n\n\
         Wrong:  state average: f32[n] = zeros()\n\
         \x20       average <- mean(x)                    where x: f32[batch, n]: one number\n\
         Right:  state average: f32[n] = zeros()\n\
         \x20       average <- mean(x, axes = [0])        one number for each column",
    ),
    row(
        "E0413",
        "The model is too large",
        "The model has more than 200 000 operations, or runs through 50 000 blocks. A count of `repeat` is probably a slip: it writes its block so many\n\
         times, with parameters for each.\n\n\
         Wrong:  x |> repeat 1_000_000_000 { dense(8) }\n\
         Right:  x |> repeat 10 { dense(8) }",
    ),
    row(
        "E0420",
        "`given` of something else than a parameter",
        "`given(p)` is known when the model is compiled: true where the call gave the parameter p, false where its default\n\
         stands in. It asks for a parameter of the function that it stands in.\n\n\
         Wrong:  fn scaled(x: f32[.., n]) -> f32[.., n] { if given(weights) { x * weights } else { x } }\n\
         Right:  fn scaled(x: f32[.., n], weights: f32[n] = ones([n])) -> f32[.., n] {\n\
         \x20           if given(weights) { x * weights } else { x }\n\
         \x20       }",
    ),
    row(
        "E0421",
        "A shadow that stands for no parameter",
        "A `shadow` is a state of an optimizer that stands for its parameter in evaluation and prediction, such as a running\n\
         mean. It has the parameter's shape, and a parameter has one at most.\n\n\
         Wrong:  fn net(x: f32[batch, n]) -> f32[batch, n] { shadow m: f32[n] = zeros() ... }\n\
         Right:  fn smoothed(p: f32[..], _g: f32[..]) {\n\
         \x20           shadow mean_of: f32[..] = p\n\
         \x20           mean_of <- 0.99 * mean_of + 0.01 * p\n\
         \x20       }",
    ),
    row(
        "E0422",
        "A total of what is no total",
        "In a `report`, `total(e)` is the sum of e over all batches of an evaluation, and `gathered(e)` has e's rows for all\n\
         examples. All that depends on the data goes into them, for what stands around them is computed once, at the end.\n\n\
         Wrong:  report total(sum(hits)) / sum(claims)\n\
         Right:  report total(sum(hits)) / total(sum(claims))",
    ),
    row(
        "E0501",
        "No data",
        "A train block says what it learns from.\n\n\
         Wrong:  train classifier { batch = 32 ... }\n\
         Right:  train classifier { data = idx(\"data/mnist-train\") ... }",
    ),
    row(
        "E0502",
        "Nothing is minimized",
        "A train block says what is to become small, and by which optimizer.\n\n\
         Wrong:  train classifier { data = idx(\"data/mnist-train\") }\n\
         Right:  train classifier {\n\
         \x20           data = idx(\"data/mnist-train\")\n\
         \x20           minimize cross_entropy(classifier(data.image / 255), data.label) with adam()\n\
         \x20       }",
    ),
    row(
        "E0503",
        "A setting stands twice",
        "A train block gives each setting one value. Remove one of them.\n\n\
         Wrong:  batch = 32\n\
         \x20       batch = 64\n\
         Right:  batch = 64",
    ),
    row(
        "E0504",
        "An impossible value of a setting",
        "batch, epochs and steps are whole numbers of at least 1; seed is a whole number; shuffle is `true` or `false`.\n\n\
         Wrong:  batch = 0    epochs = \"ten\"\n\
         Right:  batch = 32    epochs = 10",
    ),
    row(
        "E0505",
        "A loss is not one number",
        "Training makes one number small. Take the mean of what you have, or use a loss from the standard library.\n\n\
         Wrong:  minimize (guess - data.y) ^ 2 with adam()\n\
         Right:  minimize mean((guess - data.y) ^ 2) with adam()",
    ),
    row(
        "E0506",
        "No loss reaches a parameter",
        "The parameter is declared, but nothing that is minimized depends on it through real numbers, so training would never\n\
         change it. The reason is often a forgotten name, or a function that is flat: `argmax`, comparisons, `i32`, `detach`.\n\n\
         Wrong:  fn net(x: f32[b, 8]) -> f32[b, 3] {\n\
         \x20           let hidden = x |> dense(16) |> relu\n\
         \x20           x |> dense(3)\n\
         \x20       }\n\
         Right:  fn net(x: f32[b, 8]) -> f32[b, 3] {\n\
         \x20           let hidden = x |> dense(16) |> relu\n\
         \x20           hidden |> dense(3)\n\
         \x20       }\n\n\
         What is kept but not trained is a `state`.",
    ),
    row(
        "E0507",
        "Nothing to train",
        "What is minimized depends on no parameter.\n\n\
         Wrong:  minimize mse(relu(data.x), data.y) with adam()\n\
         Right:  minimize mse(dense(data.x, 1), data.y) with adam()",
    ),
    row(
        "E0508",
        "A parameter is optimized twice",
        "Two `minimize` lines would move one parameter twice in one step. Add the losses, or divide the parameters.\n\n\
         Wrong:  minimize loss_of_critic with adam()\n\
         \x20       minimize loss_of_actor with adam()\n\
         Right:  minimize loss_of_critic over params(critic) with adam()\n\
         \x20       minimize loss_of_actor over params(actor) with adam()",
    ),
    row(
        "E0509",
        "A data source cannot be used",
        "The source's name, its arguments or its files are wrong; the message says which. Paths are relative to the model's\n\
         file.\n\n\
         Wrong:  data = mnist(\"train\")\n\
         Right:  data = idx(\"data/mnist-train\")",
    ),
    row(
        "E0510",
        "Not an optimizer",
        "An optimizer is a function of a parameter and its gradient that says what the parameter becomes.\n\n\
         Wrong:  minimize loss with relu\n\
         Right:  minimize loss with adam(lr = 1e-3)\n\n\
         Your own:  fn descent(p: f32[..], g: f32[..], lr = 1e-2) { p <- p - lr * g }",
    ),
    row(
        "E0511",
        "Unknown parameters",
        "`over params(NAME)` names a function that the train block calls and that has parameters.\n\n\
         Wrong:  minimize loss over params(nett) with adam()\n\
         Right:  minimize loss over params(net) with adam()",
    ),
    row(
        "E0513",
        "What is reported is not one number",
        "A report is a number that is shown after each epoch, or a small table made of `total(…)`, which evaluations show.\n\
         Take the mean of what you have.\n\n\
         Wrong:  report guess\n\
         Right:  report mean(guess)",
    ),
    row(
        "E0514",
        "Two train blocks",
        "A file has one train block. Put the other into a file of its own, and import the functions that both need.\n\n\
         Wrong:  train small { ... }\n\
         \x20       train large { ... }\n\
         Right:  import \"network.model\"\n\
         \x20       train large { ... }",
    ),
    row(
        "E0515",
        "Nothing of this name can be set",
        "`--set NAME=VALUE` replaces a setting of the train block, or a value that a `let` outside of functions binds.\n\n\
         Wrong:  gradc train mnist.model --set epoch=3\n\
         Right:  gradc train mnist.model --set epochs=3",
    ),
    row(
        "E0601",
        "A test of something unknown",
        "A `test` block names a function, or the train block of its file.\n\n\
         Wrong:  test classifer { params == 109386 }\n\
         Right:  test classifier { params == 109386 }",
    ),
    row(
        "E0602",
        "Unknown claim",
        "A test claims numbers of params, states, kernels, memory, flops or nodes, a range of a metric, or `gradcheck`.\n\n\
         Wrong:  test classifier { weights == 109386 }\n\
         Right:  test classifier { params == 109386 }",
    ),
    row(
        "W0601",
        "A name is never used",
        "Remove it, or let its name start with `_` to say that this is meant.\n\n\
         Before:  fn f(x: f32[n], mask: f32[n]) -> f32[n] { 2 * x }\n\
         After:   fn f(x: f32[n], _mask: f32[n]) -> f32[n] { 2 * x }",
    ),
    row(
        "W0602",
        "A value is not used",
        "An expression on a line of its own does nothing, unless it is the last one of a body.\n\n\
         Before:  relu(x)\n\
         \x20        dense(x, 10)\n\
         After:   let y = relu(x)\n\
         \x20        dense(y, 10)",
    ),
];
