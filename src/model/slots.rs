//! Which argument belongs to which parameter: by place, by name, by default.
//!
//! What enters: a signature and evaluated arguments. What leaves: one slot for each parameter, empty for a default.
//! Invariant: no slot is filled twice, and none without a default is empty. Types are not looked at.

use super::elaborate::Elaborator;
use super::types::count;
use super::value::Given;
use gradc_dsl::ast::{Function, Parameter, Type};
use gradc_dsl::nearest::nearest;
use gradc_dsl::{Diagnostic, Span};

impl<'a> Elaborator<'a> {
    /// One argument for each parameter, `None` for a default.
    pub(super) fn slots(
        &mut self,
        function: &'a Function,
        given: Vec<Given>,
        span: Span,
    ) -> Option<Vec<Option<Given>>> {
        let parameters = &function.parameters;
        let mut slots: Vec<Option<Given>> = vec![None; parameters.len()];
        let mut fine = true;
        let mut position = 0;
        let signature = signature(function);
        let piped = given.first().is_some_and(|g| g.name.is_none() && g.span.start < span.start);
        for argument in given {
            let at = match &argument.name {
                None => {
                    position += 1;
                    position - 1
                }
                Some(name) => match parameters.iter().position(|p| p.name.text == name.text) {
                    Some(at) => at,
                    None => {
                        let error = Diagnostic::error(
                            "E0403",
                            format!("`{}` has no argument called `{}`", function.name.text, name.text),
                            name.span,
                            "no such argument",
                        )
                        .note(format!("its signature is `{signature}`"));
                        let near = nearest(&name.text, parameters.iter().map(|p| p.name.text.as_str()));
                        self.report(match near {
                            Some(near) => error.help(format!("did you mean `{near}`?")),
                            None => error.help("use a name of the signature, or remove it"),
                        });
                        fine = false;
                        continue;
                    }
                },
            };
            if at >= parameters.len() {
                self.report(
                    Diagnostic::error(
                        "E0402",
                        format!("too many arguments for `{}`", function.name.text),
                        argument.span,
                        format!("it takes {}", count(parameters.len(), "argument")),
                    )
                    .note(format!("its signature is `{signature}`"))
                    .help(if piped {
                        "remove it; left of `|>` stands the first argument already"
                    } else {
                        "remove it"
                    }),
                );
                fine = false;
                continue;
            }
            if let Some(first) = &slots[at] {
                let first = first.span;
                self.report(
                    Diagnostic::error(
                        "E0404",
                        format!("`{}` is given twice", parameters[at].name.text),
                        argument.span,
                        "the second time",
                    )
                    .label(first, "the first time")
                    .help("remove one of them"),
                );
                fine = false;
                continue;
            }
            slots[at] = Some(argument);
        }
        let missing: Vec<&Parameter> = parameters
            .iter()
            .zip(&slots)
            .filter(|(p, s)| s.is_none() && p.default.is_none())
            .map(|(p, _)| p)
            .collect();
        if !missing.is_empty() && fine {
            let names: Vec<String> = missing.iter().map(|p| format!("`{}`", p.name.text)).collect();
            let example = match &missing[0].ty {
                Some(Type::Dim(_)) => "64",
                _ => "…",
            };
            self.report(
                Diagnostic::error(
                    "E0401",
                    format!("`{}` needs {}", function.name.text, names.join(" and ")),
                    span,
                    format!("{} is missing", names.join(" and ")),
                )
                .label(missing[0].span, "declared here")
                .help(format!("give it: `{} = {example}`", missing[0].name.text)),
            );
            fine = false;
        }
        fine.then_some(slots)
    }
    pub(super) fn intrinsic_slots(
        &mut self,
        name: &str,
        parameters: &[&str],
        given: Vec<Given>,
        span: Span,
    ) -> Option<Vec<Option<Given>>> {
        let plain = |p: &str| p.trim_end_matches('?').to_owned();
        let listed = parameters.iter().map(|p| plain(p)).collect::<Vec<_>>();
        let signature = format!("{name}({})", listed.join(", "));
        let mut slots: Vec<Option<Given>> = vec![None; parameters.len()];
        for (position, argument) in given.into_iter().enumerate() {
            let at = match &argument.name {
                None => position,
                Some(n) => match listed.iter().position(|p| *p == n.text) {
                    Some(at) => at,
                    None => {
                        let error = Diagnostic::error(
                            "E0403",
                            format!("`{name}` has no argument called `{}`", n.text),
                            n.span,
                            "no such argument",
                        )
                        .note(format!("its signature is `{signature}`"));
                        let near = nearest(&n.text, listed.iter().map(String::as_str));
                        self.report(match near {
                            Some(near) => error.help(format!("did you mean `{near}`?")),
                            None => error.help("use a name of the signature, or remove it"),
                        });
                        return None;
                    }
                },
            };
            if at >= slots.len() {
                self.report(
                    Diagnostic::error("E0402", format!("too many arguments for `{name}`"), argument.span, "")
                        .note(format!("its signature is `{signature}`"))
                        .help("remove it"),
                );
                return None;
            }
            if let Some(first) = &slots[at] {
                let first = first.span;
                self.report(
                    Diagnostic::error("E0404", format!("`{}` is given twice", listed[at]), argument.span, "")
                        .label(first, "the first time")
                        .help("remove one of them"),
                );
                return None;
            }
            slots[at] = Some(argument);
        }
        for (parameter, slot) in parameters.iter().zip(&slots) {
            if slot.is_none() && !parameter.ends_with('?') {
                self.report(
                    Diagnostic::error(
                        "E0401",
                        format!("`{name}` needs `{parameter}`"),
                        span,
                        "it is missing",
                    )
                    .help(format!("its signature is `{signature}`")),
                );
                return None;
            }
        }
        Some(slots)
    }
}

/// `dense(x, units)`, for messages.
pub(super) fn signature(function: &Function) -> String {
    let names: Vec<&str> = function.parameters.iter().map(|p| p.name.text.as_str()).collect();
    format!("{}({})", function.name.text, names.join(", "))
}
