//! The syntax tree: what the parser makes and the formatter prints.
//!
//! What enters: nothing but text positions. What leaves: a `File`, a plain tree that owns its names.
//! Invariant: every node carries the span of the text it came from, and printing a tree and parsing the
//! result gives the same tree (spans aside). Comments are not in the tree; they live in `File::comments`,
//! in source order, and the formatter puts them back by position.
//! The tree knows nothing of tensors, names in scope or types: `model/` in the main crate does.

use serde::Serialize;
use smol_str::SmolStr;

/// A half-open range of byte offsets into one source file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, PartialOrd, Ord)]
pub struct Span {
    /// Which source of the `SourceMap` (0 is the file the user named).
    pub source: u32,
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// Whether the two have a place in common; ends count, so that an empty span at an edge does.
    pub fn overlaps(self, other: Span) -> bool {
        self.source == other.source && self.start <= other.end && other.start <= self.end
    }
}

/// A name with its place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Name {
    pub text: SmolStr,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct File {
    pub items: Vec<Item>,
    pub comments: Vec<Comment>,
    pub span: Span,
}

/// `// text` or, for documentation, `/// text`; `text` includes the slashes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Comment {
    pub text: SmolStr,
    pub span: Span,
    /// True when nothing but white space stands before it on its line.
    pub own_line: bool,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub enum Item {
    Import(Import),
    Function(Function),
    Train(Train),
    Test(Test),
    /// `let NAME = EXPR` at the top of a file: a hyper-parameter, constant when compiled, and what
    /// `--set NAME=VALUE` replaces.
    Setting(Let),
}

impl Item {
    pub fn span(&self) -> Span {
        match self {
            Item::Import(import) => import.span,
            Item::Function(function) => function.span,
            Item::Train(train) => train.span,
            Item::Test(test) => test.span,
            Item::Setting(binding) => binding.span,
        }
    }
}

/// `import "blocks.model"` (another file, relative to this one) or `import std.vision`.
/// The standard library needs no import.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Import {
    pub path: ImportPath,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub enum ImportPath {
    File(Text),
    Std(Vec<Name>),
}

/// A string literal, unescaped.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Text {
    pub value: String,
    pub span: Span,
}

/// `fn dense(x: f32[.., n], units: dim) -> f32[.., units] { … }`
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Function {
    /// The lines of `///` above it, without slashes.
    pub doc: Vec<String>,
    pub name: Name,
    pub parameters: Vec<Parameter>,
    pub result: Option<Type>,
    pub body: Block,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Parameter {
    pub name: Name,
    /// `None`: a scalar number, known when compiled (`lr = 1e-3`).
    pub ty: Option<Type>,
    pub default: Option<Expr>,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub enum Type {
    /// `f32[batch, 784]`, `f32[.., n]`, `u8` (a scalar).
    Tensor { dtype: Name, dims: Vec<DimItem>, span: Span },
    /// `dim`: a size, known when compiled.
    Dim(Span),
    /// `bool`, `int`, `float`, `string`, `function`: a value known when compiled.
    Constant { name: Name, span: Span },
    /// `(f32[n], f32[n])`
    Tuple { items: Vec<Type>, span: Span },
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub enum DimItem {
    /// `..`: any number of leading axes.
    Rest(Span),
    /// A size: `784`, `n`, `4 * d`, `t / 2`.
    Dim(Expr),
}

/// Statements, then the value (the last expression), if there is one.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Block {
    pub statements: Vec<Statement>,
    pub value: Option<Box<Expr>>,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub enum Statement {
    Let(Let),
    /// `param w: f32[n, units] = glorot_uniform()`
    Param(Declaration),
    /// `state m: f32[..] = zeros()`
    State(Declaration),
    /// `shadow average: f32[..] = p`
    Shadow(Declaration),
    /// `m <- beta1 * m + …`: a state's (or, in an optimizer, the parameter's) next value.
    Update {
        target: Name,
        value: Expr,
        span: Span,
    },
    /// An expression whose value is not used; the checker warns.
    Expr(Expr),
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Let {
    pub pattern: Pattern,
    pub ty: Option<Type>,
    pub value: Expr,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub enum Pattern {
    Name(Name),
    /// `let (q, k, v) = …`
    Tuple(Vec<Name>, Span),
    /// `let s[b, h, i, j] = sum[e] …`: index notation; the value is read per element.
    Indexed {
        name: Name,
        indices: Vec<Name>,
        span: Span,
    },
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Declaration {
    pub name: Name,
    pub ty: Type,
    pub initial: Expr,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub enum ExprKind {
    /// `784`, `1_000`: `int` is true when it was written without point or exponent.
    Number {
        value: f64,
        int: bool,
        text: SmolStr,
    },
    Text(String),
    Bool(bool),
    Name(SmolStr),
    /// `data.image`
    Field(Box<Expr>, Name),
    Unary(UnaryOp, Box<Expr>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `adam(lr = 1e-3)`; `callee` is a `Name` in every legal program.
    Call {
        callee: Box<Expr>,
        arguments: Vec<Argument>,
    },
    /// `x[:, 0:3]`, `table[tokens]`, and in index notation `q[b, i, h, e]`.
    Index {
        base: Box<Expr>,
        indices: Vec<Index>,
    },
    /// `x |> relu |> dense(10)`: the left side becomes the first argument of the right.
    Pipe(Box<Expr>, Box<Expr>),
    /// `repeat 4 { block(heads) }`: right of a pipe; each turn has parameters of its own.
    /// The body is a chain fed by the value so far; `body.statements` may hold lets.
    Repeat {
        count: Box<Expr>,
        body: Block,
    },
    /// `(a, b)`; `(a)` is `Paren`.
    Tuple(Vec<Expr>),
    Paren(Box<Expr>),
    /// `[h, w]`: a list, for axes and shapes.
    List(Vec<Expr>),
    /// `if c == channels { x } else { y }`: decided when compiled. `otherwise` is a block, or a block whose
    /// only value is another `If`.
    If {
        condition: Box<Expr>,
        then: Block,
        otherwise: Option<Block>,
    },
    /// `sum[e] q[b, e] * k[b, e]`: a reduction over index names; `op` is sum, prod, max, min or mean.
    /// It extends as far right as a product (looser than `*` and `/`, tighter than `+`).
    IndexReduce {
        op: Name,
        indices: Vec<Name>,
        body: Box<Expr>,
    },
    /// `scan x over xs along t with h = zeros([n]) { … }`, `each x over xs { … }`.
    Turns(Box<Turns>),
    /// A block as an expression: `{ let y = f(x)  y + 1 }`.
    Block(Block),
    /// What the parser puts where it could not read an expression; an error was reported.
    Error,
}

/// A block that runs for each slice of some tensors: one after another with values carried from turn to turn (`scan`), or
/// each for itself (`each`, which carries nothing).
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Turns {
    /// `xt over x`, at least one.
    pub over: Vec<(Name, Expr)>,
    /// The axis that is gone through; the first if not said.
    pub along: Option<Expr>,
    /// The last slice first.
    pub reversed: bool,
    /// How many turns are worked out again from one kept value in the backward pass.
    pub segments: Option<Expr>,
    /// `h = zeros([n])`: a carried value's name, and what the first turn begins with. Empty for `each`.
    pub carried: Vec<(Name, Expr)>,
    pub body: Block,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum UnaryOp {
    Negate,
    Not,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum BinaryOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    /// `%`, on compile-time integers.
    Remainder,
    /// `@`, the matrix product of the last two axes.
    MatMul,
    /// `^`
    Power,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    And,
    Or,
}

impl BinaryOp {
    /// Whether this is `==`, `<` or another comparison.
    pub fn compares(self) -> bool {
        use BinaryOp::{Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual};
        matches!(self, Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual)
    }
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Argument {
    pub name: Option<Name>,
    pub value: ArgumentValue,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub enum ArgumentValue {
    Expr(Expr),
    /// `memory(image: f32[28, 28])`: a field's type, in data sources. Always named, written with `:`.
    Type(Type),
}

#[derive(Clone, PartialEq, Debug, Serialize)]
#[expect(clippy::large_enum_variant, reason = "index lists are short; boxes would only obscure the tree")]
pub enum Index {
    Expr(Expr),
    /// `a:b`, `:`, `a:`, `:b`, and `a:b:step`.
    Range {
        start: Option<Expr>,
        end: Option<Expr>,
        step: Option<Expr>,
        span: Span,
    },
    /// `..`: as many whole axes as fit.
    Rest(Span),
}

/// `train classifier { … }`; the name is the run's title and need not be a function's.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Train {
    pub name: Name,
    pub statements: Vec<TrainStatement>,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub enum TrainStatement {
    Let(Let),
    /// `batch = 32`, `epochs = 10`, `data = idx("…")`, `test = idx("…")`. Several may share a line.
    Setting {
        name: Name,
        value: Expr,
        span: Span,
    },
    /// `freeze encoder, head.dense.0`: paths of parameters that are not trained.
    Freeze {
        paths: Vec<Name>,
        span: Span,
    },
    /// `minimize LOSS over params(a, b.head) with OPTIMIZER`; `over` empty: every parameter the loss reaches.
    Minimize {
        loss: Expr,
        over: Vec<Name>,
        optimizer: Expr,
        span: Span,
    },
    /// `report accuracy(guess, data.label)` or `report error = 1 - accuracy(…)`.
    Report {
        name: Option<Name>,
        value: Expr,
        span: Span,
    },
    /// `predict softmax(guess)`: what `gradc predict` writes; without it, the arguments of the loss.
    Predict {
        name: Option<Name>,
        value: Expr,
        span: Span,
    },
}

/// `test classifier { params == 52_650  gradcheck  kernels(cpu) <= 8  loss at 0 in 2.0..2.6 }`,
/// with arguments for a function's `dim`s: `test gpt(vocab = 65) { … }`. The name is a function's or a
/// train block's.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Test {
    pub name: Name,
    pub arguments: Vec<Argument>,
    pub claims: Vec<Claim>,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub enum Claim {
    /// `params == 52_650`, `kernels(cpu) <= 8`, `memory <= 64_000_000` (bytes), `flops <= 1e9`.
    Compare { left: Expr, op: BinaryOp, right: Expr, span: Span },
    /// `gradcheck`
    GradCheck(Span),
    /// `loss at 0 in 2.0..2.6`, `accuracy at 125 in 0.5..1.0`: a metric after that many steps.
    InRange { metric: Name, at: Expr, low: Expr, high: Expr, span: Span },
}
