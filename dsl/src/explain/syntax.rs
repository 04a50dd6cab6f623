//! The long form of what the lexer and the parser say (E01xx). Rows in the order of their codes.

use super::{Explanation, row};

pub(super) static ROWS: &[Explanation] = &[
    row(
        "E0101",
        "There is a tab in the file",
        "A tab is shown as two, four or eight columns, depending on the program that shows it. Text that is aligned\n\
         in one editor is crooked in another, so models are indented with spaces.\n\n\
         `gradc fmt FILE` replaces every tab. Many editors can insert spaces when the tab key is pressed.\n\n\
         Example:  gradc fmt classifier.model",
    ),
    row(
        "E0102",
        "A character has no meaning",
        "Outside of texts in quotes and of comments, a model is made of the letters a to z and A to Z, digits, `_`,\n\
         and the signs of the language. Texts that were copied from a web page or from a word processor often hold\n\
         signs that look alike but are others: × for *, − for -, curly quotes for straight ones, or invisible\n\
         spaces.\n\n\
         Wrong:  2 × x − 1\n\
         Right:  2 * x - 1\n\n\
         A comment begins with `//`, not with `#`.",
    ),
    row(
        "E0103",
        "A text has no closing quote",
        "A text begins and ends with `\"` and stays on one line.\n\n\
         Wrong:  import \"blocks.model\n\
         Right:  import \"blocks.model\"\n\n\
         A quote inside of a text is written `\\\"`.",
    ),
    row(
        "E0104",
        "An escape means nothing",
        "In a text, `\\` begins an escape: `\\n` (line end), `\\t` (tab), `\\r`, `\\0`, `\\\"` (a quote) and `\\\\` (a\n\
         backslash). Paths are written with `/` on every system.\n\n\
         Wrong:  idx(\"data\\mnist\")\n\
         Right:  idx(\"data/mnist\")",
    ),
    row(
        "E0105",
        "A number is malformed or too large",
        "A number is digits, perhaps with `_` between them, a point with digits on both sides, and an exponent:\n\
         `784`, `1_000`, `0.5`, `1e-3`. It has no ending such as `f`, and between a number and a name stands an\n\
         operator.\n\n\
         Wrong:  4d    3.    1.5.2\n\
         Right:  4 * d    3.0    1.5",
    ),
    row(
        "E0106",
        "The file is not UTF-8",
        "A model is a text in the encoding UTF-8. The message names the first byte that does not fit and its line.\n\
         Open the file in an editor and save it as UTF-8; in older files it is often a letter with an accent in a\n\
         comment.\n\n\
         Example:  iconv -f latin1 -t utf-8 old.model > new.model",
    ),
    row(
        "E0107",
        "The file is too large",
        "A model has at most 16 MiB of text; real ones have a few thousand bytes. Perhaps a data file was given\n\
         instead: data is named in a train block.\n\n\
         Wrong:  gradc train data/mnist-train-images.idx\n\
         Right:  data = idx(\"data/mnist-train\")    in the train block of a model",
    ),
    row(
        "E0108",
        "There are no block comments",
        "A comment begins with `//` and ends with its line. Several lines are several comments.\n\n\
         Wrong:  /* the head of the network */\n\
         Right:  // the head of the network\n\n\
         `///` begins a comment that documents the function below it.",
    ),
    row(
        "E0110",
        "A bracket is never closed",
        "Every `(`, `[` and `{` needs its `)`, `]` or `}`. The message points at the opening bracket that has none;\n\
         where that cannot be told from the brackets alone, the indentation decides.\n\n\
         Wrong:  let y = dense(x, 64\n\
         Right:  let y = dense(x, 64)",
    ),
    row(
        "E0111",
        "A closing bracket closes nothing",
        "There is a `)`, `]` or `}` without an opening one before it: there is one too many, the opening one is\n\
         missing, or it is of another kind.\n\n\
         Wrong:  dense(x, 64]\n\
         Right:  dense(x, 64)",
    ),
    row(
        "E0112",
        "A comma is missing",
        "Arguments, parameters, sizes and the items of lists have commas between them. Several names that receive\n\
         the parts of a tuple stand in parentheses.\n\n\
         Wrong:  dense(x 64)        let a, b = split(x, 2)\n\
         Right:  dense(x, 64)       let (a, b) = split(x, 2)",
    ),
    row(
        "E0113",
        "`=` and `==` are mixed up, or another sign stands for `=`",
        "`=` gives a name to a value (`let x = 3`, `batch = 32`, `adam(lr = 1e-3)`). `==` asks whether two values are\n\
         equal. `<-` gives a state its next value. `:` stands before a type.\n\n\
         Wrong:  if n = 3 { … }       adam(lr: 1e-3)\n\
         Right:  if n == 3 { … }      adam(lr = 1e-3)",
    ),
    row(
        "E0114",
        "There are no semicolons",
        "The end of the line ends a statement, so nothing needs to be written there.\n\n\
         Wrong:  let y = x + 1;\n\
         Right:  let y = x + 1",
    ),
    row(
        "E0115",
        "A word is misspelled, or is another language's",
        "The language has few words of its own: `fn`, `let`, `param`, `state`, `train`, `test`, `import`, `if`,\n\
         `else`, `repeat`, and in train blocks `minimize`, `over`, `with`, `report`, `predict`. There is no `return`:\n\
         the last expression of a block is its value. There is no `for`: layers are stacked with `repeat`, sums are\n\
         written in index notation.\n\n\
         Wrong:  def f(x: f32) { return x }\n\
         Right:  fn f(x: f32) { x }",
    ),
    row(
        "E0116",
        "A value is missing",
        "After an operator, after `=` and between commas stands a value: a number, a name, a call, or an expression\n\
         in parentheses. A `param` or `state` needs a first value.\n\n\
         Wrong:  let y = x *          param w: f32[3]\n\
         Right:  let y = x * 2        param w: f32[3] = zeros()",
    ),
    row(
        "E0117",
        "The file is empty",
        "The file holds nothing, or comments only. A model has at least one function.\n\n\
         Example:  fn double(x: f32[..]) -> f32[..] { 2 * x }",
    ),
    row(
        "E0118",
        "Something is nested too deeply",
        "Brackets and blocks may be nested 80 levels deep, and a chain of operators or pipeline stages may have 200\n\
         links. Give parts of a long expression names with `let`, or stack equal layers with `repeat`.\n\n\
         Wrong:  x |> block |> block |> block …\n\
         Right:  x |> repeat 300 { block }",
    ),
    row(
        "E0119",
        "The arrow before a result's type is wrong",
        "The type of a function's result stands after `->`, between the parameters and the body.\n\n\
         Wrong:  fn f(x: f32[n]) => f32[n] { x }\n\
         Right:  fn f(x: f32[n]) -> f32[n] { x }",
    ),
    row(
        "E0120",
        "Two things stand on one line",
        "Each statement has a line of its own. If the message points into the middle of an expression, an operator\n\
         or a comma is missing there.\n\n\
         Wrong:  let y = 2 x\n\
         Right:  let y = 2 * x\n\n\
         Settings of a train block (`batch = 32   epochs = 10`) and claims of a test may share a line.",
    ),
    row(
        "E0121",
        "A type is missing or malformed",
        "A type is an element type with sizes in square brackets (`f32[batch, 784]`, `f32[.., n]`), an element type\n\
         alone for a single number (`f32`), `dim` for a size, or `int`, `float`, `bool`, `string`, `function` for a\n\
         value that is known when the model is compiled.\n\n\
         Wrong:  param w = zeros()           x: f32(n, m)\n\
         Right:  param w: f32[n] = zeros()   x: f32[n, m]",
    ),
    row(
        "E0122",
        "A name is missing",
        "A name begins with a letter or `_`, followed by letters, digits and `_`.\n\n\
         Wrong:  fn (x: f32) { x }\n\
         Right:  fn f(x: f32) { x }",
    ),
    row(
        "E0123",
        "A value is given to something without `let`",
        "A new name is introduced by `let`. A value, once named, does not change; writing `let` with the same name\n\
         again makes a new value that hides the old one from there on. What changes from step to step is a `state`,\n\
         and gets its next value with `<-`.\n\n\
         Wrong:  y = x + 1\n\
         Right:  let y = x + 1",
    ),
    row(
        "E0124",
        "There is no such operator",
        "Operators are `+ - * / % @ ^`, comparisons `== != < <= > >=`, the words `and`, `or`, `not`, and `|>`. `@` is\n\
         the matrix product, `^` a power. `not` in the middle of an expression stands in parentheses.\n\n\
         Wrong:  a && !b       x ** 2    x += 1\n\
         Right:  a and not b   x ^ 2     let y = x + 1",
    ),
    row(
        "E0125",
        "Comparisons cannot be chained",
        "A comparison gives true or false, which cannot be compared further. Two comparisons are joined by `and`.\n\n\
         Wrong:  0 < n < 3\n\
         Right:  0 < n and n < 3",
    ),
    row(
        "E0126",
        "A pipeline is malformed",
        "`x |> f` gives x to f as its first argument: `x |> dense(64)` is `dense(x, 64)`. Right of `|>` stands a\n\
         function's name, a call, a `repeat` or a block. The pipeline binds loosest of all, so arithmetic with its\n\
         result needs parentheses.\n\n\
         Wrong:  x |> relu + 1         repeat 3 { block }\n\
         Right:  (x |> relu) + 1       x |> repeat 3 { block }",
    ),
    row(
        "E0127",
        "Something stands in the wrong place",
        "At the top of a file stand `fn`, `let`, `train`, `test` and `import`. In functions stand `let`, `param`,\n\
         `state`, `name <- value` and expressions. In train blocks stand settings, `let`, `minimize`, `report` and\n\
         `predict`. Functions do not stand inside functions: every function of a file sees every other.\n\n\
         Wrong:  x + 1                                        at the top of a file\n\
         Right:  fn plus_one(x: f32[..]) -> f32[..] { x + 1 }",
    ),
    row(
        "E0128",
        "Something cannot stand here",
        "The sign that the message points at does not fit what stands before it. Often a bracket, a comma or an\n\
         operator is missing just before, or a name was meant: an argument is given by name as in `lr = 1e-3`.\n\n\
         Wrong:  adam(lr: 1e-3)\n\
         Right:  adam(lr = 1e-3)",
    ),
    row(
        "E0130",
        "A part of a statement is missing",
        "The message says which part. The full forms are these; `-> TYPE`, `(ARGUMENTS)` of a test, `over …` and `else`\n\
         may be left out:\n\n\
         fn NAME(PARAMETERS) -> TYPE { BODY }\n\
         train NAME { STATEMENTS }\n\
         test NAME(ARGUMENTS) { CLAIMS }\n\
         if CONDITION { VALUE } else { VALUE }\n\
         minimize LOSS over params(NAMES) with OPTIMIZER\n\n\
         Wrong:  minimize loss\n\
         Right:  minimize loss with adam()",
    ),
    row(
        "E0131",
        "A claim of a test cannot be read",
        "A test's claims are comparisons, gradient checks and ranges of metrics.\n\n\
         Example:\n\n\
         test classifier {\n    params == 52_650\n    gradcheck\n    kernels(cpu) <= 8\n    loss at 0 in 2.0..2.6\n}",
    ),
    row(
        "E0132",
        "A word of the language is used as a name",
        "`fn`, `let`, `if`, `else`, `repeat`, `and`, `or`, `not`, `true` and `false` always mean the same and cannot\n\
         be names. All other words, also `train`, `test`, `state` and `data`, can.\n\n\
         Wrong:  let repeat = 3\n\
         Right:  let turns = 3",
    ),
    row(
        "E0133",
        "A `scan` or `each` lacks a part",
        "A scan goes through the slices of a tensor along one of its axes and carries values from turn to turn; `each` works\n\
         every slice out by itself and carries nothing. The parts stand in this order: what is gone through, along which\n\
         axis (the first if left out), for a scan `reversed`, `segments`, and what is carried with its first value.\n\n\
         Wrong:  scan xt over x { xt }\n\
         Right:  scan xt over x along t with h = zeros([b, n]) { h <- tanh(xt + h)  h }\n\
         Right:  each xt over x along t { relu(xt) }",
    ),
];
