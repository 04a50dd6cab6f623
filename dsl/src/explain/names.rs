//! The long form of what the checker says of names (E02xx). Rows in the order of their codes.

use super::{Explanation, row};

pub(super) static ROWS: &[Explanation] = &[
    row(
        "E0201",
        "Unknown name",
        "A name is used that nothing has bound before. Names are bound by `let`, by a function's arguments and by the sizes\n\
         in its signature; they are known from there to the end of their block.\n\n\
         Wrong:  let y = x * 2\n\
         \x20       y + z\n\
         Right:  let y = x * 2\n\
         \x20       let z = x * 3\n\
         \x20       y + z\n\n\
         Look for a slip in the spelling, or bind the name first.",
    ),
    row(
        "E0202",
        "Unknown function",
        "A function is called that neither this file, nor its imports, nor the standard library defines.\n\n\
         Wrong:  x |> dens(64)\n\
         Right:  x |> dense(64)",
    ),
    row(
        "E0203",
        "Unknown field of the data",
        "`data.NAME` names a field that the data source does not have. The message lists the fields it has: for `idx` they\n\
         are `image` and `label`, for `memory` those that are declared in it.\n\n\
         Wrong:  data = idx(\"data/mnist-train\")\n\
         \x20       minimize cross_entropy(classifier(data.pixels), data.label) with adam()\n\
         Right:  data = idx(\"data/mnist-train\")\n\
         \x20       minimize cross_entropy(classifier(data.image), data.label) with adam()",
    ),
    row(
        "E0204",
        "A function is defined twice",
        "Two functions of your files have one name. Give one of them another. A function of the standard library may be\n\
         replaced by one of your own with the same name.\n\n\
         Wrong:  fn block(x: f32[..]) -> f32[..] { relu(x) }\n\
         \x20       fn block(x: f32[..]) -> f32[..] { tanh(x) }\n\
         Right:  fn block(x: f32[..]) -> f32[..] { relu(x) }\n\
         \x20       fn last_block(x: f32[..]) -> f32[..] { tanh(x) }",
    ),
    row(
        "E0205",
        "Two arguments of a function have one name",
        "Each argument of a function has a name of its own. Sizes may repeat: that says that they are equal.\n\n\
         Wrong:  fn distance(x: f32[n], x: f32[n]) -> f32 { sum(abs(x - x)) }\n\
         Right:  fn distance(x: f32[n], y: f32[n]) -> f32 { sum(abs(x - y)) }",
    ),
    row(
        "E0206",
        "Files import each other in a circle",
        "A file may not import itself, directly or through others. Move what both need into a third file.\n\n\
         Wrong:  in a.model:  import \"b.model\"\n\
         \x20       in b.model:  import \"a.model\"\n\
         Right:  in a.model:  import \"common.model\"\n\
         \x20       in b.model:  import \"common.model\"",
    ),
    row(
        "E0207",
        "An import cannot be read",
        "The path of an import is relative to the folder of the file in which it stands, wherever `gradc` is run.\n\n\
         Wrong:  import \"models/blocks.model\"     when blocks.model stands beside this file\n\
         Right:  import \"blocks.model\"",
    ),
    row(
        "E0208",
        "Unknown part of the standard library",
        "`import std.NAME` names a part that does not exist. The message lists those that do. All of them are known\n\
         without an import.\n\n\
         Wrong:  import std.layer\n\
         Right:  import std.layers",
    ),
    row(
        "E0209",
        "A function calls itself",
        "Everything about a model is known before it runs, so its number of layers is fixed, and a function cannot call\n\
         itself, directly or through others. For a stack of equal layers write `repeat`: each turn has parameters of its own.\n\n\
         Wrong:  fn stack(x: f32[b, n]) -> f32[b, n] { stack(x |> dense(n) |> relu) }\n\
         Right:  fn stack(x: f32[b, n]) -> f32[b, n] { x |> repeat 4 { dense(n) |> relu } }",
    ),
    row(
        "E0210",
        "Unknown setting",
        "A train block knows the settings data, test, valid, batch, epochs, steps, seed and shuffle. For a value of your own\n\
         write `let`. The learning rate is an argument of the optimizer.\n\n\
         Wrong:  train classifier { lr = 1e-3 ... }\n\
         Right:  train classifier { minimize loss with adam(lr = 1e-3) ... }",
    ),
];
