//! Layout of expressions.
//!
//! What enters: an `Expr`. What leaves: a `Doc`, with parentheses wherever the tree needs them to be read back
//! (a tree that was parsed carries its own as `Paren`).

use super::Printer;
use super::doc::Doc;
use super::items::is_else_if;
use crate::ast::{Argument, ArgumentValue, BinaryOp, Expr, ExprKind, Index, Span, Turns, UnaryOp};
use crate::parser::level;
use crate::token::escape;

impl Printer<'_> {
    pub(super) fn expr(&mut self, expr: &Expr) -> Doc {
        self.operand(expr, level::PIPE, 0)
    }

    /// An expression where only operators at `min` or tighter may stand bare. `after` is the level of the
    /// operator that follows on its right, 0 for none: what reaches as far right as it can (`-x`, `sum[i] x`)
    /// must be stopped before a tighter one.
    pub(super) fn operand(&mut self, expr: &Expr, min: u8, after: u8) -> Doc {
        let needs_parentheses = match &expr.kind {
            ExprKind::Pipe(..) => min > level::PIPE,
            ExprKind::Binary(op, ..) => op.level() < min,
            ExprKind::Unary(UnaryOp::Not, _) => min > level::NOT,
            ExprKind::Unary(UnaryOp::Negate, _) => after >= level::POWER,
            ExprKind::IndexReduce { .. } => after >= level::PRODUCT,
            _ => false,
        };
        if needs_parentheses {
            let inner = self.bare(expr, 0);
            return parentheses(inner);
        }
        self.bare(expr, after)
    }

    fn bare(&mut self, expr: &Expr, after: u8) -> Doc {
        match &expr.kind {
            ExprKind::Number { value, text, .. } if text.is_empty() => Doc::text(format!("{value:?}")),
            ExprKind::Number { text, .. } => Doc::text(text.as_str()),
            ExprKind::Text(value) => Doc::text(escape(value)),
            ExprKind::Bool(value) => Doc::text(value.to_string()),
            ExprKind::Name(name) => Doc::text(name.as_str()),
            ExprKind::Field(base, name) => {
                Doc::from(vec![self.base(base), Doc::text(format!(".{}", name.text))])
            }
            ExprKind::Unary(UnaryOp::Negate, inner) => {
                Doc::from(vec!["-".into(), self.operand(inner, level::POWER, after)])
            }
            ExprKind::Unary(UnaryOp::Not, inner) => {
                let not_not = matches!(inner.kind, ExprKind::Unary(UnaryOp::Not, _));
                let min = if not_not { level::NOT } else { level::COMPARE };
                Doc::from(vec!["not ".into(), self.operand(inner, min, after)])
            }
            ExprKind::Binary(op, ..) => self.chain(expr, *op, after),
            ExprKind::Call { callee, arguments } => {
                let callee = self.base(callee);
                let end = expr.span.end.saturating_sub(1);
                let arguments = self.bracketed("(", arguments, ")", end, |a| a.span, Self::argument);
                Doc::from(vec![callee, arguments])
            }
            ExprKind::Index { base, indices } => {
                let base = self.base(base);
                let end = expr.span.end.saturating_sub(1);
                Doc::from(vec![base, self.bracketed("[", indices, "]", end, index_span, Self::index)])
            }
            ExprKind::Pipe(..) => self.pipeline(expr),
            ExprKind::Repeat { count, body } => {
                let count = self.operand(count, level::OR, 0);
                Doc::from(vec!["repeat ".into(), count, " ".into(), self.block(body)]).group()
            }
            ExprKind::Tuple(items) if items.len() == 1 => {
                Doc::from(vec!["(".into(), self.expr(&items[0]), ",)".into()])
            }
            ExprKind::Tuple(items) => {
                let end = expr.span.end.saturating_sub(1);
                self.bracketed("(", items, ")", end, |item| item.span, Self::expr)
            }
            ExprKind::List(items) => {
                let end = expr.span.end.saturating_sub(1);
                self.bracketed("[", items, "]", end, |item| item.span, Self::expr)
            }
            ExprKind::Paren(inner) => parentheses(self.expr(inner)),
            ExprKind::If { .. } => {
                let mut docs = Vec::new();
                self.condition(expr, &mut docs);
                Doc::from(docs).group()
            }
            ExprKind::IndexReduce { op, indices, body } => {
                let indices: Vec<&str> = indices.iter().map(|name| name.text.as_str()).collect();
                let head = Doc::text(format!("{}[{}] ", op.text, indices.join(", ")));
                Doc::from(vec![head, self.operand(body, level::PRODUCT, after)])
            }
            ExprKind::Turns(turns) => self.turns(turns),
            ExprKind::Block(block) => self.block(block).group(),
            // Formatting stops before a text with errors; a tree made by hand shows where one stood.
            ExprKind::Error => "<error>".into(),
        }
    }

    fn turns(&mut self, turns: &Turns) -> Doc {
        let mut docs: Vec<Doc> = vec![if turns.carried.is_empty() { "each ".into() } else { "scan ".into() }];
        let mut head = Vec::new();
        for (i, (name, value)) in turns.over.iter().enumerate() {
            if i > 0 {
                head.extend([",".into(), Doc::Line(" ")]);
            }
            head.push(Doc::text(format!("{} over ", name.text)));
            head.push(self.operand(value, level::OR, 0));
        }
        if let Some(along) = &turns.along {
            head.extend([" along ".into(), self.operand(along, level::OR, 0)]);
        }
        if turns.reversed {
            head.push(" reversed".into());
        }
        if let Some(segments) = &turns.segments {
            head.extend([" segments ".into(), self.operand(segments, level::OR, 0)]);
        }
        for (i, (name, value)) in turns.carried.iter().enumerate() {
            head.extend(if i > 0 { [",".into(), Doc::Line(" ")] } else { [" with".into(), " ".into()] });
            head.push(Doc::text(format!("{} = ", name.text)));
            head.push(self.operand(value, level::OR, 0));
        }
        docs.push(Doc::from(head).indent().group());
        docs.extend([" ".into(), self.block(&turns.body).group()]);
        Doc::from(docs)
    }

    /// What stands before `(`, `[` or `.`.
    fn base(&mut self, expr: &Expr) -> Doc {
        let bare = matches!(
            expr.kind,
            ExprKind::Name(_)
                | ExprKind::Field(..)
                | ExprKind::Call { .. }
                | ExprKind::Index { .. }
                | ExprKind::Paren(_)
                | ExprKind::List(_)
                | ExprKind::Tuple(_)
        );
        if bare { self.expr(expr) } else { parentheses(self.expr(expr)) }
    }

    /// Operators of one level in a row: on one line, or a line each, which then begins with the operator; but
    /// `-` ends the line before, since at the start of a line it would be a sign.
    fn chain(&mut self, expr: &Expr, op: BinaryOp, after: u8) -> Doc {
        let level = op.level();
        let mut links = Vec::new();
        let mut first = expr;
        while let ExprKind::Binary(op, left, right) = &first.kind {
            let chains = op.level() == level && level != level::COMPARE && level != level::POWER;
            if op.level() != level || (!links.is_empty() && !chains) {
                break;
            }
            links.push((*op, &**right));
            first = left;
        }
        let (left_min, right_min) = match level {
            level::POWER => (level::POSTFIX, level::POWER),
            level::COMPARE => (level::SUM, level::SUM),
            _ => (level, level + 1),
        };
        let head = self.operand(first, left_min, level);
        let mut rest = Vec::new();
        for (index, (op, right)) in links.into_iter().enumerate().rev() {
            let after = if index == 0 { after } else { level };
            if op == BinaryOp::Power {
                rest.push("^".into());
                rest.push(self.operand(right, right_min, after));
                continue;
            }
            if op == BinaryOp::Subtract {
                rest.push(" -".into());
                self.line(&mut rest, right.span);
            } else {
                self.line(&mut rest, right.span);
                rest.push(Doc::text(format!("{} ", op.symbol())));
            }
            rest.push(self.operand(right, right_min, after));
        }
        Doc::from(vec![head, Doc::from(rest).indent()]).group()
    }

    /// The possible line end at an operator, with the comments that stand there.
    fn line(&mut self, docs: &mut Vec<Doc>, right: Span) {
        let comments = self.comments_before(right.start);
        let own = comments.iter().position(|comment| comment.own_line).unwrap_or(comments.len());
        docs.extend(comments[..own].iter().map(|c| Doc::Suffix(c.text.to_string())));
        docs.push(Doc::Line(" "));
        for comment in &comments[own..] {
            docs.push(Doc::text(comment.text.as_str()));
            docs.push(Doc::Hard);
        }
    }

    /// Stages on one line, or, if that is too long or the author did so, on lines that begin with `|>`.
    fn pipeline(&mut self, expr: &Expr) -> Doc {
        let mut stages = Vec::new();
        let mut first = expr;
        while let ExprKind::Pipe(left, right) = &first.kind {
            stages.push((left.span, &**right));
            first = left;
        }
        stages.reverse();
        let broken: Vec<bool> =
            stages.iter().map(|(left, right)| self.line_ends_between(*left, right.span) > 0).collect();
        let any_broken = broken.contains(&true);
        let head = self.operand(first, level::OR, level::PIPE);
        let mut rest = Vec::new();
        for ((_, stage), broken) in stages.into_iter().zip(broken) {
            if broken || !any_broken {
                self.line(&mut rest, stage.span);
                rest.push("|> ".into());
                rest.push(self.expr(stage));
            } else {
                let stage = self.expr(stage);
                rest.push(Doc::from(vec![Doc::Line(" "), "|> ".into(), stage]).group());
            }
        }
        let inner = Doc::from(vec![head, Doc::from(rest).indent()]);
        if any_broken { Doc::Group { inner: Box::new(inner), breaks: true } } else { inner.group() }
    }

    fn condition(&mut self, expr: &Expr, docs: &mut Vec<Doc>) {
        let ExprKind::If { condition, then, otherwise } = &expr.kind else { return };
        docs.push("if ".into());
        docs.push(self.operand(condition, level::OR, 0));
        docs.push(" ".into());
        docs.push(self.block(then));
        let Some(otherwise) = otherwise else { return };
        docs.push(" else ".into());
        match &otherwise.value {
            Some(value) if is_else_if(otherwise) => self.condition(value, docs),
            _ => docs.push(self.block(otherwise)),
        }
    }

    pub(super) fn argument(&mut self, argument: &Argument) -> Doc {
        let name = argument.name.as_ref().map(|name| name.text.as_str());
        match (&argument.value, name) {
            (ArgumentValue::Expr(value), None) => self.expr(value),
            (ArgumentValue::Expr(value), Some(name)) => {
                Doc::from(vec![Doc::text(format!("{name} = ")), self.expr(value)])
            }
            (ArgumentValue::Type(ty), name) => {
                Doc::from(vec![Doc::text(format!("{}: ", name.unwrap_or("_"))), self.ty(ty)])
            }
        }
    }

    fn index(&mut self, index: &Index) -> Doc {
        match index {
            Index::Expr(expr) => self.expr(expr),
            Index::Rest(_) => "..".into(),
            Index::Range { start, end, step, .. } => {
                let mut docs = Vec::new();
                docs.extend(start.as_ref().map(|expr| self.expr(expr)));
                docs.push(":".into());
                docs.extend(end.as_ref().map(|expr| self.expr(expr)));
                if let Some(step) = step {
                    docs.push(":".into());
                    docs.push(self.expr(step));
                }
                Doc::from(docs)
            }
        }
    }
}

fn parentheses(inner: Doc) -> Doc {
    Doc::from(vec!["(".into(), inner, ")".into()])
}

fn index_span(index: &Index) -> Span {
    match index {
        Index::Expr(expr) => expr.span,
        Index::Range { span, .. } | Index::Rest(span) => *span,
    }
}
