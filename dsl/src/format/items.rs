//! Layout of items, statements and types.
//!
//! What enters: tree nodes. What leaves: a `Doc` for each. Comments are taken where a line may begin.

use super::doc::Doc;
use super::{Lines, Printer};
use crate::ast::{
    Block, Claim, Declaration, DimItem, Expr, ExprKind, File, Function, ImportPath, Item, Let, Name,
    Parameter, Pattern, Span, Statement, Test, Train, TrainStatement, Type,
};
use crate::parser::level;
use crate::token::escape;

impl Printer<'_> {
    pub(super) fn file(&mut self, file: &File) -> Doc {
        Doc::from(self.lines(&file.items, u32::MAX, &Items))
    }

    fn item(&mut self, item: &Item) -> Doc {
        match item {
            Item::Import(import) => match &import.path {
                ImportPath::File(path) => Doc::text(format!("import {}", escape(&path.value))),
                ImportPath::Std(names) => {
                    let names: Vec<&str> = names.iter().map(|name| name.text.as_str()).collect();
                    Doc::text(format!("import {}", names.join(".")))
                }
            },
            Item::Setting(setting) => self.let_statement(setting),
            Item::Function(function) => self.function(function),
            Item::Train(train) => self.train(train),
            Item::Test(test) => self.test(test),
        }
    }

    fn function(&mut self, function: &Function) -> Doc {
        let mut docs = Vec::new();
        if self.text.is_none() {
            // With a text the lines of documentation are among the comments.
            for line in &function.doc {
                docs.push(Doc::text(format!("/// {line}").trim_end()));
                docs.push(Doc::Hard);
            }
        }
        docs.push(Doc::text(format!("fn {}", function.name.text)));
        let end = function.result.as_ref().map_or(function.body.span.start, |ty| type_span(ty).start);
        docs.push(self.bracketed("(", &function.parameters, ")", end, |p| p.span, Self::parameter));
        if let Some(result) = &function.result {
            docs.push(" -> ".into());
            docs.push(self.ty(result));
        }
        docs.push(" ".into());
        docs.push(self.block(&function.body).group());
        Doc::from(docs)
    }

    fn parameter(&mut self, parameter: &Parameter) -> Doc {
        let mut docs = vec![Doc::text(parameter.name.text.as_str())];
        if let Some(ty) = &parameter.ty {
            docs.push(": ".into());
            docs.push(self.ty(ty));
        }
        if let Some(default) = &parameter.default {
            docs.push(" = ".into());
            docs.push(self.expr(default));
        }
        Doc::from(docs)
    }

    pub(super) fn ty(&mut self, ty: &Type) -> Doc {
        let commas = |docs: Vec<Doc>| {
            let mut joined = Vec::new();
            for (index, doc) in docs.into_iter().enumerate() {
                joined.extend((index > 0).then(|| Doc::from(", ")));
                joined.push(doc);
            }
            Doc::from(joined)
        };
        match ty {
            Type::Dim(_) => "dim".into(),
            Type::Constant { name, .. } => Doc::text(name.text.as_str()),
            // `bool` alone is a constant, not a tensor.
            Type::Tensor { dtype, dims, .. } if dims.is_empty() && dtype.text != "bool" => {
                Doc::text(dtype.text.as_str())
            }
            Type::Tensor { dtype, dims, .. } => {
                let dims = dims.iter().map(|dim| match dim {
                    DimItem::Rest(_) => "..".into(),
                    DimItem::Dim(size) => self.expr(size),
                });
                let dims = commas(dims.collect());
                Doc::from(vec![Doc::text(dtype.text.as_str()), "[".into(), dims, "]".into()])
            }
            Type::Tuple { items, .. } => {
                let items = commas(items.iter().map(|item| self.ty(item)).collect());
                Doc::from(vec!["(".into(), items, ")".into()])
            }
        }
    }

    /// `{ … }`, not yet a group: on one line if it holds nothing but a value and the author left it there.
    pub(super) fn block(&mut self, block: &Block) -> Doc {
        let mut entries: Vec<Entry> = block.statements.iter().map(Entry::Statement).collect();
        entries.extend(block.value.as_deref().map(Entry::Value));
        let end = block.span.end.saturating_sub(1);
        let first = entries.first().map_or(end, |entry| entry.span().start);
        let open = block.span.start + 1;
        let multi_line = !block.statements.is_empty() || self.line_ends(open, first) > 0;
        self.braces(&entries, end, &Entries { multi_line })
    }

    fn braces<T>(&mut self, entries: &[T], end: u32, style: &dyn Lines<T>) -> Doc {
        let lines = self.lines(entries, end, style);
        if lines.is_empty() {
            return "{}".into();
        }
        let last = if matches!(style.first(), Doc::Hard) { Doc::Hard } else { Doc::Line(" ") };
        Doc::from(vec!["{".into(), Doc::from(lines).indent(), last, "}".into()])
    }

    fn statement(&mut self, statement: &Statement) -> Doc {
        match statement {
            Statement::Let(statement) => self.let_statement(statement),
            Statement::Param(declaration) => self.declaration("param", declaration),
            Statement::State(declaration) => self.declaration("state", declaration),
            Statement::Shadow(declaration) => self.declaration("shadow", declaration),
            Statement::Update { target, value, .. } => {
                Doc::from(vec![Doc::text(format!("{} <- ", target.text)), self.expr(value)])
            }
            Statement::Expr(expr) => self.expr(expr),
        }
    }

    fn let_statement(&mut self, statement: &Let) -> Doc {
        let pattern = match &statement.pattern {
            Pattern::Name(name) => name.text.to_string(),
            Pattern::Tuple(items, _) => format!("({})", names(items)),
            Pattern::Indexed { name, indices, .. } => format!("{}[{}]", name.text, names(indices)),
        };
        let mut docs = vec![Doc::text(format!("let {pattern}"))];
        if let Some(ty) = &statement.ty {
            docs.push(": ".into());
            docs.push(self.ty(ty));
        }
        docs.push(" = ".into());
        docs.push(self.expr(&statement.value));
        Doc::from(docs)
    }

    fn declaration(&mut self, keyword: &str, declaration: &Declaration) -> Doc {
        let ty = self.ty(&declaration.ty);
        let initial = self.expr(&declaration.initial);
        Doc::from(vec![
            Doc::text(format!("{keyword} {}: ", declaration.name.text)),
            ty,
            " = ".into(),
            initial,
        ])
    }

    fn train(&mut self, train: &Train) -> Doc {
        let body = self.braces(&train.statements, train.span.end.saturating_sub(1), &TrainStatements);
        Doc::from(vec![Doc::text(format!("train {} ", train.name.text)), body])
    }

    fn train_statement(&mut self, statement: &TrainStatement) -> Doc {
        match statement {
            TrainStatement::Let(statement) => self.let_statement(statement),
            TrainStatement::Setting { name, value, .. } => {
                Doc::from(vec![Doc::text(format!("{} = ", name.text)), self.expr(value)])
            }
            TrainStatement::Freeze { paths, .. } => Doc::text(format!("freeze {}", names(paths))),
            TrainStatement::Minimize { loss, over, optimizer, .. } => {
                let mut rest = Vec::new();
                let loss = self.expr(loss);
                if !over.is_empty() {
                    rest.push(Doc::Line(" "));
                    rest.push(Doc::text(format!("over params({})", names(over))));
                }
                rest.push(Doc::Line(" "));
                rest.push("with ".into());
                rest.push(self.expr(optimizer));
                Doc::from(vec!["minimize ".into(), loss, Doc::from(rest).indent()]).group()
            }
            TrainStatement::Report { name, value, .. } => self.named_value("report", name, value),
            TrainStatement::Predict { name, value, .. } => self.named_value("predict", name, value),
        }
    }

    fn named_value(&mut self, keyword: &str, name: &Option<Name>, value: &Expr) -> Doc {
        let name = name.as_ref().map_or(String::new(), |name| format!("{} = ", name.text));
        Doc::from(vec![Doc::text(format!("{keyword} {name}")), self.expr(value)])
    }

    fn test(&mut self, test: &Test) -> Doc {
        let mut docs = vec![Doc::text(format!("test {}", test.name.text))];
        let first = test.claims.first().map_or(test.span.end, |claim| claim_span(claim).start);
        if let Some(last) = test.arguments.last() {
            let end = self.find(b')', last.span.end);
            docs.push(self.bracketed("(", &test.arguments, ")", end, |a| a.span, Self::argument));
        }
        let head = test.arguments.last().map_or(test.name.span.end, |argument| argument.span.end);
        let open = self.find(b'{', head);
        let claims = Claims { multi_line: self.line_ends(open, first) > 0 };
        docs.push(" ".into());
        docs.push(self.braces(&test.claims, test.span.end.saturating_sub(1), &claims).group());
        Doc::from(docs)
    }

    /// The first place from `from` on where `wanted` stands outside of the comments not printed yet.
    fn find(&self, wanted: u8, from: u32) -> u32 {
        let Some(text) = self.text else { return 0 };
        let mut at = from as usize;
        let mut comments =
            self.comments.iter().map(|comment| comment.span).skip_while(|span| span.end <= from);
        let mut comment = comments.next();
        while at < text.len() && text.as_bytes()[at] != wanted {
            match comment {
                Some(span) if span.start as usize <= at => {
                    at = span.end as usize;
                    comment = comments.next();
                }
                _ => at += 1,
            }
        }
        at as u32
    }

    fn claim(&mut self, claim: &Claim) -> Doc {
        match claim {
            Claim::GradCheck(_) => "gradcheck".into(),
            Claim::Compare { left, op, right, .. } => Doc::from(vec![
                self.operand(left, level::SUM, 0),
                Doc::text(format!(" {} ", op.symbol())),
                self.operand(right, level::SUM, 0),
            ]),
            Claim::InRange { metric, at, low, high, .. } => Doc::from(vec![
                Doc::text(format!("{} at ", metric.text)),
                self.operand(at, level::SUM, 0),
                " in ".into(),
                self.operand(low, level::SUM, 0),
                "..".into(),
                self.operand(high, level::SUM, 0),
            ]),
        }
    }
}

fn names(names: &[Name]) -> String {
    names.iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join(", ")
}

fn type_span(ty: &Type) -> Span {
    match ty {
        Type::Tensor { span, .. } | Type::Constant { span, .. } | Type::Tuple { span, .. } => *span,
        Type::Dim(span) => *span,
    }
}

fn claim_span(claim: &Claim) -> Span {
    match claim {
        Claim::Compare { span, .. } | Claim::InRange { span, .. } | Claim::GradCheck(span) => *span,
    }
}

struct Items;

impl Lines<Item> for Items {
    fn span(&self, item: &Item) -> Span {
        match item {
            Item::Import(import) => import.span,
            Item::Function(function) => function.span,
            Item::Train(train) => train.span,
            Item::Test(test) => test.span,
            Item::Setting(setting) => setting.span,
        }
    }

    fn print(&self, printer: &mut Printer, item: &Item) -> Doc {
        printer.item(item)
    }

    fn first(&self) -> Doc {
        Doc::nothing()
    }

    fn stands_apart(&self, item: &Item) -> bool {
        !matches!(item, Item::Import(_) | Item::Setting(_))
    }
}

/// A line of a block.
enum Entry<'a> {
    Statement(&'a Statement),
    Value(&'a Expr),
}

impl Entry<'_> {
    fn span(&self) -> Span {
        match self {
            Entry::Value(expr) => expr.span,
            Entry::Statement(Statement::Expr(expr)) => expr.span,
            Entry::Statement(Statement::Let(statement)) => statement.span,
            Entry::Statement(
                Statement::Param(declaration)
                | Statement::State(declaration)
                | Statement::Shadow(declaration),
            ) => declaration.span,
            Entry::Statement(Statement::Update { span, .. }) => *span,
        }
    }
}

struct Entries {
    multi_line: bool,
}

impl Lines<Entry<'_>> for Entries {
    fn span(&self, entry: &Entry) -> Span {
        entry.span()
    }

    fn print(&self, printer: &mut Printer, entry: &Entry) -> Doc {
        match entry {
            Entry::Statement(statement) => printer.statement(statement),
            Entry::Value(expr) => printer.expr(expr),
        }
    }

    fn first(&self) -> Doc {
        if self.multi_line { Doc::Hard } else { Doc::Line(" ") }
    }
}

struct TrainStatements;

impl Lines<TrainStatement> for TrainStatements {
    fn span(&self, statement: &TrainStatement) -> Span {
        match statement {
            TrainStatement::Let(statement) => statement.span,
            TrainStatement::Setting { span, .. }
            | TrainStatement::Freeze { span, .. }
            | TrainStatement::Minimize { span, .. }
            | TrainStatement::Report { span, .. }
            | TrainStatement::Predict { span, .. } => *span,
        }
    }

    fn print(&self, printer: &mut Printer, statement: &TrainStatement) -> Doc {
        printer.train_statement(statement)
    }

    fn may_share_line(&self, previous: &TrainStatement, statement: &TrainStatement) -> bool {
        let setting = |statement: &TrainStatement| matches!(statement, TrainStatement::Setting { .. });
        setting(previous) && setting(statement)
    }
}

struct Claims {
    multi_line: bool,
}

impl Lines<Claim> for Claims {
    fn span(&self, claim: &Claim) -> Span {
        claim_span(claim)
    }

    fn print(&self, printer: &mut Printer, claim: &Claim) -> Doc {
        printer.claim(claim)
    }

    fn first(&self) -> Doc {
        if self.multi_line { Doc::Hard } else { Doc::Line(" ") }
    }

    fn may_share_line(&self, _previous: &Claim, _claim: &Claim) -> bool {
        true
    }
}

/// True for `else if`: a block that is nothing but another `if`.
pub(super) fn is_else_if(block: &Block) -> bool {
    block.statements.is_empty()
        && block.value.as_deref().is_some_and(|value| matches!(value.kind, ExprKind::If { .. }))
}
