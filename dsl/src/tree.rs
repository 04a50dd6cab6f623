//! The syntax tree as text: what `dump --after syntax` prints.
//!
//! What enters: a `File`. What leaves: nested lists, `(call (name dense) (number 64))`, on one line where short.
//! Invariant: two trees have the same text if and only if they are equal but for spans and comments, so tests
//! compare trees by it.

use crate::ast::{
    Argument, ArgumentValue, Block, Claim, Declaration, DimItem, Expr, ExprKind, File, Function, ImportPath,
    Index, Item, Let, Name, Pattern, Statement, Test, Train, TrainStatement, Type, UnaryOp,
};
use crate::token::escape;

/// Lists up to this many characters stay on one line.
const WIDTH: usize = 90;

/// The text of a whole file, one item after the other.
///
/// ```
/// let (file, _) = gradc_dsl::parse(0, "let lr = 1e-3");
/// assert_eq!(gradc_dsl::tree(&file), "(let lr (number 1e-3))\n");
/// ```
pub fn tree(file: &File) -> String {
    let mut out = String::new();
    for item in &file.items {
        write(&mut out, &item_node(item), 0);
        out.push('\n');
    }
    out
}

/// A word, or a list of nodes that begins with a word.
enum Node {
    Word(String),
    List(Vec<Node>),
}

fn word(text: impl Into<String>) -> Node {
    Node::Word(text.into())
}

fn list(head: impl Into<String>, rest: impl IntoIterator<Item = Node>) -> Node {
    Node::List(std::iter::once(word(head)).chain(rest).collect())
}

fn write(out: &mut String, node: &Node, indent: usize) {
    let Node::List(nodes) = node else {
        return flat(out, node);
    };
    let start = out.len();
    flat(out, node);
    if out.len() - start + indent <= WIDTH {
        return;
    }
    out.truncate(start);
    out.push('(');
    // Leading words stay on the line of the parenthesis.
    for (index, node) in nodes.iter().enumerate() {
        let leads = nodes[..=index].iter().all(|node| matches!(node, Node::Word(_)));
        if leads {
            out.push_str(if index > 0 { " " } else { "" });
            flat(out, node);
        } else {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent + 2));
            write(out, node, indent + 2);
        }
    }
    out.push(')');
}

fn flat(out: &mut String, node: &Node) {
    match node {
        Node::Word(text) => out.push_str(text),
        Node::List(nodes) => {
            out.push('(');
            for (index, node) in nodes.iter().enumerate() {
                out.push_str(if index > 0 { " " } else { "" });
                flat(out, node);
            }
            out.push(')');
        }
    }
}

fn name(name: &Name) -> Node {
    word(name.text.as_str())
}

fn names(head: &str, items: &[Name]) -> Node {
    list(head, items.iter().map(name))
}

fn item_node(item: &Item) -> Node {
    match item {
        Item::Import(import) => match &import.path {
            ImportPath::File(path) => list("import", [word(escape(&path.value))]),
            ImportPath::Std(path) => names("import", path),
        },
        Item::Setting(setting) => let_node(setting),
        Item::Function(function) => function_node(function),
        Item::Train(train) => train_node(train),
        Item::Test(test) => test_node(test),
    }
}

fn function_node(function: &Function) -> Node {
    let mut nodes = vec![name(&function.name)];
    nodes.extend(function.doc.iter().map(|line| list("doc", [word(escape(line))])));
    for parameter in &function.parameters {
        let mut parts = vec![name(&parameter.name)];
        parts.extend(parameter.ty.as_ref().map(ty_node));
        parts.extend(parameter.default.as_ref().map(|expr| list("default", [expr_node(expr)])));
        nodes.push(list("parameter", parts));
    }
    nodes.extend(function.result.as_ref().map(|ty| list("result", [ty_node(ty)])));
    nodes.push(block_node(&function.body));
    list("fn", nodes)
}

fn ty_node(ty: &Type) -> Node {
    match ty {
        Type::Dim(_) => list("constant", [word("dim")]),
        Type::Constant { name: constant, .. } => list("constant", [name(constant)]),
        Type::Tuple { items, .. } => list("types", items.iter().map(ty_node)),
        Type::Tensor { dtype, dims, .. } => {
            let dims = dims.iter().map(|dim| match dim {
                DimItem::Rest(_) => word(".."),
                DimItem::Dim(size) => expr_node(size),
            });
            list("tensor", std::iter::once(name(dtype)).chain(dims))
        }
    }
}

fn block_node(block: &Block) -> Node {
    let mut nodes: Vec<Node> = block.statements.iter().map(statement_node).collect();
    nodes.extend(block.value.as_ref().map(|value| list("value", [expr_node(value)])));
    list("block", nodes)
}

fn statement_node(statement: &Statement) -> Node {
    match statement {
        Statement::Let(statement) => let_node(statement),
        Statement::Param(declaration) => declaration_node("param", declaration),
        Statement::State(declaration) => declaration_node("state", declaration),
        Statement::Shadow(declaration) => declaration_node("shadow", declaration),
        Statement::Update { target, value, .. } => list("update", [name(target), expr_node(value)]),
        Statement::Expr(expr) => list("unused", [expr_node(expr)]),
    }
}

fn let_node(statement: &Let) -> Node {
    let mut nodes = vec![match &statement.pattern {
        Pattern::Name(bound) => name(bound),
        Pattern::Tuple(items, _) => names("tuple", items),
        Pattern::Indexed { name: bound, indices, .. } => {
            list("indexed", std::iter::once(name(bound)).chain(indices.iter().map(name)))
        }
    }];
    nodes.extend(statement.ty.as_ref().map(ty_node));
    nodes.push(expr_node(&statement.value));
    list("let", nodes)
}

fn declaration_node(head: &str, declaration: &Declaration) -> Node {
    list(head, [name(&declaration.name), ty_node(&declaration.ty), expr_node(&declaration.initial)])
}

fn train_node(train: &Train) -> Node {
    let named = |head: &str, bound: &Option<Name>, value: &Expr| {
        list(head, bound.as_ref().map(name).into_iter().chain([expr_node(value)]))
    };
    let statements = train.statements.iter().map(|statement| match statement {
        TrainStatement::Let(statement) => let_node(statement),
        TrainStatement::Setting { name: bound, value, .. } => list("set", [name(bound), expr_node(value)]),
        TrainStatement::Freeze { paths, .. } => names("freeze", paths),
        TrainStatement::Minimize { loss, over, optimizer, .. } => {
            let mut nodes = vec![expr_node(loss)];
            if !over.is_empty() {
                nodes.push(names("over", over));
            }
            nodes.push(list("with", [expr_node(optimizer)]));
            list("minimize", nodes)
        }
        TrainStatement::Report { name: bound, value, .. } => named("report", bound, value),
        TrainStatement::Predict { name: bound, value, .. } => named("predict", bound, value),
    });
    list("train", std::iter::once(name(&train.name)).chain(statements))
}

fn test_node(test: &Test) -> Node {
    let mut nodes = vec![name(&test.name)];
    nodes.extend(test.arguments.iter().map(argument_node));
    nodes.extend(test.claims.iter().map(|claim| match claim {
        Claim::GradCheck(_) => list("claim", [word("gradcheck")]),
        Claim::Compare { left, op, right, .. } => {
            list("claim", [word(op.symbol()), expr_node(left), expr_node(right)])
        }
        Claim::InRange { metric, at, low, high, .. } => {
            list("claim", [word("in"), name(metric), expr_node(at), expr_node(low), expr_node(high)])
        }
    }));
    list("test", nodes)
}

fn argument_node(argument: &Argument) -> Node {
    let (head, value) = match &argument.value {
        ArgumentValue::Expr(value) => ("=", expr_node(value)),
        ArgumentValue::Type(ty) => (":", ty_node(ty)),
    };
    match &argument.name {
        Some(bound) => list(head, [name(bound), value]),
        None => value,
    }
}

fn expr_node(expr: &Expr) -> Node {
    match &expr.kind {
        ExprKind::Number { text, .. } => list("number", [word(text.as_str())]),
        ExprKind::Text(value) => word(escape(value)),
        ExprKind::Bool(value) => list("bool", [word(value.to_string())]),
        ExprKind::Name(text) => list("name", [word(text.as_str())]),
        ExprKind::Field(base, field) => list("field", [expr_node(base), name(field)]),
        ExprKind::Unary(op, inner) => {
            let head = if *op == UnaryOp::Not { "not" } else { "negate" };
            list(head, [expr_node(inner)])
        }
        ExprKind::Binary(op, left, right) => list(op.symbol(), [expr_node(left), expr_node(right)]),
        ExprKind::Call { callee, arguments } => {
            list("call", std::iter::once(expr_node(callee)).chain(arguments.iter().map(argument_node)))
        }
        ExprKind::Index { base, indices } => {
            list("index", std::iter::once(expr_node(base)).chain(indices.iter().map(index_node)))
        }
        ExprKind::Pipe(left, right) => list("|>", [expr_node(left), expr_node(right)]),
        ExprKind::Repeat { count, body } => list("repeat", [expr_node(count), block_node(body)]),
        ExprKind::Tuple(items) => list("tuple", items.iter().map(expr_node)),
        ExprKind::Paren(inner) => list("paren", [expr_node(inner)]),
        ExprKind::List(items) => list("list", items.iter().map(expr_node)),
        ExprKind::If { condition, then, otherwise } => {
            let mut nodes = vec![expr_node(condition), block_node(then)];
            nodes.extend(otherwise.as_ref().map(block_node));
            list("if", nodes)
        }
        ExprKind::IndexReduce { op, indices, body } => {
            list("reduce", [name(op), names("over", indices), expr_node(body)])
        }
        ExprKind::Turns(turns) => {
            let pairs = |head: &str, pairs: &[(Name, Expr)]| {
                list(head, pairs.iter().flat_map(|(bound, value)| [name(bound), expr_node(value)]))
            };
            let mut nodes = vec![pairs("over", &turns.over)];
            nodes.extend(turns.along.as_ref().map(|along| list("along", [expr_node(along)])));
            nodes.extend(turns.reversed.then(|| word("reversed")));
            nodes.extend(turns.segments.as_ref().map(|n| list("segments", [expr_node(n)])));
            nodes.push(pairs("with", &turns.carried));
            nodes.push(block_node(&turns.body));
            list(if turns.carried.is_empty() { "each" } else { "scan" }, nodes)
        }
        ExprKind::Block(block) => block_node(block),
        ExprKind::Error => list("error", []),
    }
}

fn index_node(index: &Index) -> Node {
    match index {
        Index::Expr(expr) => expr_node(expr),
        Index::Rest(_) => word(".."),
        Index::Range { start, end, step, .. } => {
            let part = |expr: &Option<Expr>| expr.as_ref().map_or(word("_"), expr_node);
            list(":", [part(start), part(end), part(step)])
        }
    }
}
