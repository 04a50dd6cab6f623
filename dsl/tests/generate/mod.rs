//! Random syntax trees: every node the language has, without spans and comments.
//!
//! They hold no `Paren`: the printer puts parentheses where they are needed, and `without_parentheses` takes
//! them out of what was read back.

use gradc_dsl::Span;
use gradc_dsl::ast::*;
use proptest::prelude::*;
use smol_str::SmolStr;

const S: Span = Span { source: 0, start: 0, end: 0 };

fn word() -> BoxedStrategy<SmolStr> {
    prop::sample::select(vec![
        "x", "y", "weight_1", "data", "train", "test", "over", "at", "state", "param", "shadow", "freeze",
        "scan", "each",
    ])
    .prop_map(SmolStr::new)
    .boxed()
}

fn name() -> BoxedStrategy<Name> {
    word().prop_map(|text| Name { text, span: S }).boxed()
}

fn names() -> BoxedStrategy<Vec<Name>> {
    prop::collection::vec(name(), 1..3).boxed()
}

fn expr(kind: ExprKind) -> Expr {
    Expr { kind, span: S }
}

fn leaf() -> BoxedStrategy<Expr> {
    prop_oneof![
        word().prop_map(ExprKind::Name),
        prop::sample::select(vec!["0", "1_000", "2.5", "1e-3", "3E+4"]).prop_map(|text| ExprKind::Number {
            value: text.replace('_', "").parse().expect("a number"),
            int: !text.contains(['.', 'e', 'E']),
            text: text.into(),
        }),
        any::<bool>().prop_map(ExprKind::Bool),
        "[ -~\n\t]{0,8}".prop_map(ExprKind::Text),
    ]
    .prop_map(expr)
    .boxed()
}

fn operator() -> BoxedStrategy<BinaryOp> {
    use BinaryOp::*;
    prop::sample::select(vec![
        Add,
        Subtract,
        Multiply,
        Divide,
        Remainder,
        MatMul,
        Power,
        Equal,
        NotEqual,
        Less,
        LessEqual,
        Greater,
        GreaterEqual,
        And,
        Or,
    ])
    .boxed()
}

pub fn expression() -> BoxedStrategy<Expr> {
    leaf()
        .prop_recursive(5, 40, 4, |inner| {
            let boxed = inner.clone().prop_map(Box::new);
            let items = prop::collection::vec(inner.clone(), 0..4);
            prop_oneof![
                (operator(), boxed.clone(), boxed.clone()).prop_map(|(op, a, b)| ExprKind::Binary(op, a, b)),
                (operator(), boxed.clone(), boxed.clone()).prop_map(|(op, a, b)| ExprKind::Binary(op, a, b)),
                (prop::bool::ANY, boxed.clone()).prop_map(|(not, a)| {
                    ExprKind::Unary(if not { UnaryOp::Not } else { UnaryOp::Negate }, a)
                }),
                (boxed.clone(), name()).prop_map(|(base, field)| ExprKind::Field(base, field)),
                call(inner.clone()),
                (boxed.clone(), prop::collection::vec(index(inner.clone()), 1..3))
                    .prop_map(|(base, indices)| ExprKind::Index { base, indices }),
                (boxed.clone(), stage(inner.clone())).prop_map(|(a, b)| ExprKind::Pipe(a, Box::new(b))),
                items.clone().prop_map(ExprKind::List),
                prop::collection::vec(inner.clone(), 1..4).prop_map(ExprKind::Tuple),
                (boxed.clone(), block(inner.clone()), prop::option::of(block(inner.clone())))
                    .prop_map(|(condition, then, otherwise)| ExprKind::If { condition, then, otherwise }),
                (prop::sample::select(vec!["sum", "max", "mean"]), names(), boxed.clone()).prop_filter_map(
                    "an index reduction's body begins with a plain value",
                    |(op, indices, body)| {
                        let op = Name { text: op.into(), span: S };
                        begins_plainly(&body).then_some(ExprKind::IndexReduce { op, indices, body })
                    }
                ),
                block(inner.clone()).prop_map(ExprKind::Block),
                turns(inner.clone()).prop_map(|turns| ExprKind::Turns(Box::new(turns))),
            ]
            .prop_map(expr)
        })
        .boxed()
}

/// What `sum[i]` may stand before: not a list or a block, which would be read as an index or a body, and
/// not a word that ends an expression.
fn begins_plainly(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::List(_) | ExprKind::Block(_) => false,
        ExprKind::Name(name) => !matches!(name.as_str(), "over" | "at"),
        ExprKind::Binary(_, first, _) | ExprKind::Field(first, _) => begins_plainly(first),
        ExprKind::Call { callee: first, .. } | ExprKind::Index { base: first, .. } => begins_plainly(first),
        _ => true,
    }
}

fn call(inner: BoxedStrategy<Expr>) -> BoxedStrategy<ExprKind> {
    let value = prop_oneof![
        4 => inner.prop_map(ArgumentValue::Expr).prop_map(|value| (true, value)),
        1 => ty(leaf()).prop_map(|ty| (false, ArgumentValue::Type(ty))),
    ];
    let argument = (prop::option::of(name()), name(), value).prop_map(|(named, always, (expr, value))| {
        Argument { name: if expr { named } else { Some(always) }, value, span: S }
    });
    (word(), prop::collection::vec(argument, 0..4))
        .prop_map(|(callee, arguments)| ExprKind::Call {
            callee: Box::new(expr(ExprKind::Name(callee))),
            arguments,
        })
        .boxed()
}

/// What stands right of `|>`.
fn stage(inner: BoxedStrategy<Expr>) -> BoxedStrategy<Expr> {
    prop_oneof![
        prop::sample::select(vec!["relu", "softmax"]).prop_map(|name| ExprKind::Name(name.into())),
        call(inner.clone()),
        (leaf().prop_map(Box::new), block(inner.clone()))
            .prop_map(|(count, body)| ExprKind::Repeat { count, body }),
        block(inner).prop_map(ExprKind::Block),
    ]
    .prop_map(expr)
    .boxed()
}

fn index(inner: BoxedStrategy<Expr>) -> BoxedStrategy<Index> {
    let part = prop::option::of(inner.clone());
    prop_oneof![
        inner.prop_map(Index::Expr),
        Just(Index::Rest(S)),
        (part.clone(), part.clone(), part).prop_map(|(start, end, step)| Index::Range {
            start,
            end,
            step,
            span: S
        }),
    ]
    .boxed()
}

fn turns(value: impl Strategy<Value = Expr> + Clone + 'static) -> BoxedStrategy<Turns> {
    let pairs = |least: usize| prop::collection::vec((name(), value.clone()), least..3);
    let option = || prop::option::of(value.clone());
    (pairs(1), option(), any::<bool>(), option(), pairs(0), block(value.clone().boxed()))
        .prop_map(|(over, along, reversed, segments, carried, body)| {
            // Turns that carry nothing have no order.
            let scans = !carried.is_empty();
            let segments = segments.filter(|_| scans);
            Turns { over, along, reversed: reversed && scans, segments, carried, body }
        })
        .boxed()
}

fn ty(size: BoxedStrategy<Expr>) -> BoxedStrategy<Type> {
    let dim = prop_oneof![Just(DimItem::Rest(S)), size.prop_map(DimItem::Dim)];
    let plain = prop_oneof![
        (prop::sample::select(vec!["f32", "u8"]), prop::collection::vec(dim, 0..4)).prop_map(
            |(dtype, dims)| { Type::Tensor { dtype: Name { text: dtype.into(), span: S }, dims, span: S } }
        ),
        Just(Type::Dim(S)),
        Just(Type::Constant { name: Name { text: "int".into(), span: S }, span: S }),
    ];
    prop_oneof![
        4 => plain.clone(),
        1 => prop::collection::vec(plain, 2..4).prop_map(|items| Type::Tuple { items, span: S }),
    ]
    .boxed()
}

fn binding(value: BoxedStrategy<Expr>) -> BoxedStrategy<Let> {
    let pattern = prop_oneof![
        name().prop_map(Pattern::Name),
        names().prop_map(|names| Pattern::Tuple(names, S)),
        (name(), names()).prop_map(|(name, indices)| Pattern::Indexed { name, indices, span: S }),
    ];
    (pattern, prop::option::of(ty(leaf())), value)
        .prop_map(|(pattern, ty, value)| Let { pattern, ty, value, span: S })
        .boxed()
}

fn block(value: BoxedStrategy<Expr>) -> BoxedStrategy<Block> {
    let declaration = (name(), ty(leaf()), value.clone()).prop_map(|(name, ty, initial)| Declaration {
        name,
        ty,
        initial,
        span: S,
    });
    let statement = prop_oneof![
        binding(value.clone()).prop_map(Statement::Let),
        declaration.clone().prop_map(Statement::Param),
        declaration.clone().prop_map(Statement::State),
        declaration.prop_map(Statement::Shadow),
        (name(), value.clone()).prop_map(|(target, value)| Statement::Update { target, value, span: S }),
        value.clone().prop_map(Statement::Expr),
    ];
    (prop::collection::vec(statement, 0..3), prop::option::of(value))
        .prop_map(|(mut statements, value)| {
            // The last expression of a block is its value.
            if value.is_none() && matches!(statements.last(), Some(Statement::Expr(_))) {
                statements.pop();
            }
            while value.is_none() && matches!(statements.last(), Some(Statement::Expr(_))) {
                statements.pop();
            }
            Block { statements, value: value.map(Box::new), span: S }
        })
        .boxed()
}

fn function() -> BoxedStrategy<Item> {
    let parameter = (name(), prop::option::of(ty(leaf())), prop::option::of(expression()))
        .prop_map(|(name, ty, default)| Parameter { name, ty, default, span: S });
    let doc = prop::collection::vec("[a-z]{1,5}( [a-z]{1,5}){0,3}", 0..3);
    (doc, name(), prop::collection::vec(parameter, 0..4), prop::option::of(ty(leaf())), block(expression()))
        .prop_map(|(doc, name, parameters, result, body)| {
            Item::Function(Function { doc, name, parameters, result, body, span: S })
        })
        .boxed()
}

/// `gpt.block.0.head`
fn path() -> BoxedStrategy<Name> {
    let more = prop_oneof![Just(".0"), Just(".12"), Just(".head"), Just(".1.w")];
    (name(), prop::collection::vec(more, 0..3))
        .prop_map(|(name, more)| Name { text: format!("{}{}", name.text, more.concat()).into(), span: S })
        .boxed()
}

fn train() -> BoxedStrategy<Item> {
    let named = (prop::option::of(name()), expression());
    let statement = prop_oneof![
        binding(expression()).prop_map(TrainStatement::Let),
        (name(), expression()).prop_map(|(name, value)| TrainStatement::Setting { name, value, span: S }),
        prop::collection::vec(path(), 1..3).prop_map(|paths| TrainStatement::Freeze { paths, span: S }),
        (expression(), prop::collection::vec(path(), 0..3), expression())
            .prop_map(|(loss, over, optimizer)| TrainStatement::Minimize { loss, over, optimizer, span: S }),
        named.clone().prop_map(|(name, value)| TrainStatement::Report { name, value, span: S }),
        named.prop_map(|(name, value)| TrainStatement::Predict { name, value, span: S }),
    ];
    (name(), prop::collection::vec(statement, 0..5))
        .prop_map(|(name, statements)| Item::Train(Train { name, statements, span: S }))
        .boxed()
}

fn test() -> BoxedStrategy<Item> {
    let comparison = prop::sample::select(vec![BinaryOp::Equal, BinaryOp::Less, BinaryOp::GreaterEqual]);
    let claim = prop_oneof![
        Just(Claim::GradCheck(S)),
        (leaf(), comparison, expression()).prop_map(|(left, op, right)| Claim::Compare {
            left,
            op,
            right,
            span: S
        }),
        (name(), leaf(), leaf(), leaf()).prop_map(|(metric, at, low, high)| Claim::InRange {
            metric,
            at,
            low,
            high,
            span: S
        }),
    ];
    (name(), prop::collection::vec(claim, 0..4))
        .prop_map(|(name, claims)| Item::Test(Test { name, arguments: Vec::new(), claims, span: S }))
        .boxed()
}

pub fn file() -> BoxedStrategy<File> {
    let import = prop_oneof![
        "[a-z/]{1,8}".prop_map(|value| ImportPath::File(Text { value, span: S })),
        name().prop_map(|name| ImportPath::Std(vec![Name { text: "std".into(), span: S }, name])),
    ];
    let item = prop_oneof![
        1 => import.prop_map(|path| Item::Import(Import { path, span: S })),
        1 => binding(expression()).prop_map(Item::Setting),
        4 => function(),
        2 => train(),
        1 => test(),
    ];
    prop::collection::vec(item, 1..3).prop_map(|items| File { items, comments: Vec::new(), span: S }).boxed()
}

/// A tree's text on one line, with every `(paren X)` replaced by `X`.
pub fn without_parentheses(tree: &str) -> String {
    let mut out = String::new();
    let mut open = Vec::new();
    let mut rest = tree;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '"' => text_length(rest),
            '(' => {
                let paren = rest.starts_with("(paren ") || rest.starts_with("(paren\n");
                open.push(paren);
                if paren { "(paren ".len() } else { 1 }
            }
            _ => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        match c {
            '(' if token.len() > 1 => rest = rest.trim_start(),
            ')' if open.pop() == Some(true) => {}
            c if c.is_whitespace() => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            _ => out.push_str(token),
        }
    }
    out
}

/// The length of the quoted text at the start.
fn text_length(rest: &str) -> usize {
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find(|&(_, c)| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |(at, _)| at + 1)
}
