//! What the train block says about the run, and what the command line changes of it.
//!
//! What enters: settings as written, overrides, the catalog. What leaves: `TrainSettings`, numbers and data
//! sources; messages for unknown names and impossible values.

use super::elaborate::Elaborator;
use super::value::Value;
use super::{Catalog, DataCall, DataValue, Settings};
use crate::base::{Dim, Precision, TensorType};
use gradc_dsl::ast::{ArgumentValue, Expr, ExprKind, Pattern, Train, TrainStatement};
use gradc_dsl::nearest::nearest;
use gradc_dsl::{Diagnostic, Span};
use indexmap::IndexMap;
use smol_str::SmolStr;

/// Everything a train block can set.
pub(super) const NAMES: [&str; 10] =
    ["data", "test", "valid", "batch", "epochs", "steps", "seed", "shuffle", "accumulate", "precision"];

/// Those that the command line can set.
pub(super) const REPLACED: [&str; 7] =
    ["batch", "epochs", "steps", "seed", "shuffle", "accumulate", "precision"];

/// `--set NAME=VALUE`, in order; later ones win.
#[derive(Clone, Debug, Default)]
pub struct Overrides(pub Vec<(String, String)>);

impl Overrides {
    /// The value for a name, read as a number, a truth value or a text.
    pub(super) fn get(&self, name: &str) -> Option<Value> {
        let (_, text) = self.0.iter().rev().find(|(n, _)| n == name)?;
        let plain = text.replace('_', "");
        Some(match (plain.parse::<i64>(), plain.parse::<f64>(), text.as_str()) {
            (Ok(n), ..) => Value::Dim(Dim::from(n)),
            (_, Ok(x), _) => Value::Number(x),
            (_, _, "true") => Value::Bool(true),
            (_, _, "false") => Value::Bool(false),
            _ => Value::Text(text.trim_matches('"').to_owned()),
        })
    }
}

pub(super) struct TrainSettings {
    pub data: Option<DataCall>,
    pub test: Option<DataCall>,
    pub valid: Option<DataCall>,
    pub fields: Vec<(SmolStr, TensorType)>,
    /// Sizes that the data decide.
    pub sizes: Vec<(SmolStr, i64)>,
    pub n_examples: u64,
    pub batch: u64,
    pub epochs: u64,
    pub steps: Option<u64>,
    pub seed: u64,
    pub shuffle: bool,
    pub accumulate: u64,
    pub precision: Precision,
    /// `epochs * ceil(n / batch)`, or `steps`.
    pub total_steps: Option<u64>,
    /// `let`s of the block that the command line replaces.
    pub lets: IndexMap<SmolStr, Value>,
}

impl TrainSettings {
    /// A numeric setting as a value that expressions of the block can read. `batch` stays the symbol.
    pub(super) fn value(&self, name: &str) -> Option<Value> {
        match name {
            "epochs" => Some(Value::Dim(Dim::from(self.epochs as i64))),
            "seed" => Some(Value::Dim(Dim::from(self.seed as i64))),
            _ => None,
        }
    }

    pub(super) fn settings(&self) -> Option<Settings> {
        Some(Settings {
            data: self.data.clone()?,
            test: self.test.clone(),
            valid: self.valid.clone(),
            batch: self.batch,
            epochs: self.epochs,
            steps: self.steps,
            seed: self.seed,
            shuffle: self.shuffle,
            precision: self.precision,
        })
    }
}

/// The greatest batch; past it a step would take longer than anybody waits.
const MOST_EXAMPLES: i64 = 1 << 24;

/// Data sources that read files.
const SOURCES: [&str; 6] = ["idx", "csv", "npy", "npz", "text", "wav"];

impl<'a> Elaborator<'a> {
    pub(super) fn settings(
        &mut self,
        train: &'a Train,
        catalog: &dyn Catalog,
        overrides: &Overrides,
    ) -> TrainSettings {
        let mut settings = TrainSettings {
            data: None,
            test: None,
            valid: None,
            fields: Vec::new(),
            sizes: Vec::new(),
            n_examples: 0,
            batch: 32,
            epochs: 1,
            steps: None,
            seed: 0,
            shuffle: true,
            accumulate: 1,
            precision: Precision::F32,
            total_steps: None,
            lets: IndexMap::new(),
        };
        let mut seen: IndexMap<SmolStr, Span> = IndexMap::new();
        for statement in &train.statements {
            match statement {
                TrainStatement::Let(binding) => {
                    if let Pattern::Name(name) = &binding.pattern
                        && let Some(value) = overrides.get(&name.text)
                    {
                        settings.lets.insert(name.text.clone(), value);
                    }
                }
                TrainStatement::Setting { name, value, .. } => {
                    if let Some(first) = seen.insert(name.text.clone(), name.span) {
                        self.report(
                            Diagnostic::error(
                                "E0503",
                                format!("`{}` is set twice", name.text),
                                name.span,
                                "the second time",
                            )
                            .label(first, "the first time")
                            .help("remove one of them"),
                        );
                        continue;
                    }
                    self.setting(&mut settings, name, value, overrides);
                }
                _ => {}
            }
        }
        for name in REPLACED {
            if !seen.contains_key(name)
                && let Some(value) = overrides.get(name)
            {
                self.plain_setting(&mut settings, name, value, train.name.span);
            }
        }
        self.look_up(train, &mut settings, catalog);
        settings
    }

    fn setting(
        &mut self,
        settings: &mut TrainSettings,
        name: &gradc_dsl::ast::Name,
        value: &'a Expr,
        overrides: &Overrides,
    ) {
        match name.text.as_str() {
            "data" => settings.data = self.data_call(value),
            "test" => settings.test = self.data_call(value),
            "valid" => settings.valid = self.data_call(value),
            plain if REPLACED.contains(&plain) => {
                let result = overrides.get(&name.text).unwrap_or_else(|| self.expr(value));
                self.plain_setting(settings, &name.text, result, value.span);
            }
            other => {
                let error = Diagnostic::error(
                    "E0210",
                    format!("a train block has no setting `{other}`"),
                    name.span,
                    "not known",
                )
                .note(format!("the settings are {}", NAMES.join(", ")));
                self.report(match nearest(other, NAMES) {
                    Some(near) => error.help(format!("did you mean `{near}`?")),
                    None => error.help(format!("for a value of your own, write `let {other} = …`")),
                });
            }
        }
    }

    /// A setting that is a number, a truth value or a word.
    fn plain_setting(&mut self, settings: &mut TrainSettings, name: &str, value: Value, span: Span) {
        if name != "precision" {
            return self.number_setting(settings, name, value, span);
        }
        let found = match &value {
            Value::Text(text) => Precision::from_name(text),
            _ => None,
        };
        match (found, &value) {
            (Some(precision), _) => settings.precision = precision,
            (None, Value::Error) => {}
            (None, _) => {
                let found = self.describe(&value);
                self.error(
                    "E0504",
                    "`precision` is \"f32\", \"tf32\" or \"bf16\"",
                    span,
                    format!("this is {found}"),
                    "write `precision = \"bf16\"`, or leave it out for f32",
                );
            }
        }
    }

    fn number_setting(&mut self, settings: &mut TrainSettings, name: &str, value: Value, span: Span) {
        let number = match &value {
            Value::Dim(d) => d.as_const(),
            Value::Number(x) if x.fract() == 0.0 && x.abs() < 1e15 => Some(*x as i64),
            Value::Error => return,
            _ => None,
        };
        let least = i64::from(name != "seed");
        let most = if name == "batch" { MOST_EXAMPLES } else { 1 << 40 };
        match (name, number, &value) {
            ("shuffle", _, Value::Bool(b)) => settings.shuffle = *b,
            ("shuffle", ..) => {
                let found = self.describe(&value);
                self.error(
                    "E0504",
                    "`shuffle` is `true` or `false`",
                    span,
                    format!("this is {found}"),
                    "write `shuffle = true`",
                );
            }
            (_, Some(n), _) if (least..=most).contains(&n) => match name {
                "batch" => settings.batch = n as u64,
                "epochs" => settings.epochs = n as u64,
                "steps" => settings.steps = Some(n as u64),
                "accumulate" => settings.accumulate = n as u64,
                _ => settings.seed = n as u64,
            },
            _ => {
                let found = self.describe(&value);
                self.report(
                    Diagnostic::error(
                        "E0504",
                        format!("`{name}` is a whole number from {least} to {most}"),
                        span,
                        format!("this is {found}"),
                    )
                    .help(format!("write, for example, `{name} = 32`")),
                );
            }
        }
    }

    /// `idx("data/mnist-train")`, arguments evaluated.
    fn data_call(&mut self, expr: &'a Expr) -> Option<DataCall> {
        let ExprKind::Call { callee, arguments } = &expr.kind else {
            if !matches!(expr.kind, ExprKind::Error) {
                self.report(
                    Diagnostic::error("E0509", "this is not a data source", expr.span, "")
                        .help("name one: `data = idx(\"data/mnist-train\")` or `data = csv(\"table.csv\")`"),
                );
            }
            return None;
        };
        let ExprKind::Name(source) = &callee.kind else {
            self.report(
                Diagnostic::error("E0509", "this is not the name of a data source", callee.span, "")
                    .help("name one: `data = idx(\"data/mnist-train\")`"),
            );
            return None;
        };
        let mut evaluated = Vec::new();
        for argument in arguments {
            let value = match &argument.value {
                ArgumentValue::Type(ty) => DataValue::Type(self.declared(ty)?),
                ArgumentValue::Expr(e) => match self.expr(e) {
                    Value::Text(text) => DataValue::Text(text),
                    Value::Bool(b) => DataValue::Bool(b),
                    Value::Error => return None,
                    other => match other.as_number() {
                        Some(x) => DataValue::Number(x),
                        None => {
                            let found = self.describe(&other);
                            self.error("E0509", format!("a data source does not take {found}"), e.span, "", "its arguments are numbers, texts such as paths, `true`, `false`, and types of fields");
                            return None;
                        }
                    },
                },
            };
            evaluated.push((argument.name.as_ref().map(|n| n.text.clone()), value, argument.span));
        }
        Some(DataCall { source: source.clone(), arguments: evaluated, span: expr.span })
    }

    fn unusable_source(&mut self, call: &DataCall, reason: String) {
        let error = Diagnostic::error(
            "E0509",
            format!("cannot use the data source `{}`", call.source),
            call.span,
            reason,
        );
        let path = call.arguments.iter().any(|(_, value, _)| matches!(value, DataValue::Text(_)));
        self.report(error.help(if path && SOURCES.contains(&call.source.as_str()) {
            "a path is relative to the folder of the model's file; check its spelling and the file"
        } else {
            "the data sources are idx, csv, npy and npz (files), synthetic and memory"
        }));
    }

    fn look_up(&mut self, train: &'a Train, settings: &mut TrainSettings, catalog: &dyn Catalog) {
        let written = train
            .statements
            .iter()
            .any(|s| matches!(s, TrainStatement::Setting { name, .. } if name.text == "data"));
        if !written {
            self.report(
                Diagnostic::error(
                    "E0501",
                    format!("the train block `{}` has no data", train.name.text),
                    train.name.span,
                    "",
                )
                .help("say what it learns from: `data = idx(\"data/mnist-train\")`"),
            );
        }
        let Some(data) = settings.data.clone() else { return };
        match catalog.info(&data) {
            Ok(info) => {
                settings.fields = info.fields;
                settings.sizes = info.sizes;
                settings.n_examples = info.n_examples;
                let per_epoch = info.n_examples.div_ceil(settings.batch.max(1));
                settings.total_steps = settings.steps.or(settings.epochs.checked_mul(per_epoch));
            }
            Err(reason) => {
                self.unusable_source(&data, reason);
            }
        }
        for call in [&settings.test, &settings.valid].into_iter().flatten() {
            let result = catalog.info(call);
            let fields = settings.fields.clone();
            match result {
                Ok(info) if !fields.is_empty() && info.fields != fields => {
                    let list = |fields: &[(SmolStr, TensorType)]| {
                        fields.iter().map(|(n, t)| format!("{n}: {t}")).collect::<Vec<_>>().join(", ")
                    };
                    self.report(
                        Diagnostic::error(
                            "E0509",
                            "this data is not like the training data",
                            call.span,
                            list(&info.fields),
                        )
                        .label(data.span, list(&fields))
                        .help("both must have the same fields and shapes"),
                    );
                }
                Ok(_) => {}
                Err(reason) => {
                    self.unusable_source(call, reason);
                }
            }
        }
    }
}
