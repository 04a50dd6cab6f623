//! The scalar table's functions in CUDA C, step by step.
//!
//! What enters: a function, the names of its operands. What leaves: an expression; a function of many steps becomes a device
//! function, whose text is asked for once. Values are `float` and `int`; a mask is an `int`, all ones or 0. Each step is rounded as
//! the table says: the text says so itself, whatever the compiler's settings. Invariant: there is no list of functions here.

use crate::base::DType;
use crate::scalar::machine::{Compare, Step, Steps};
use crate::scalar::{Func, StepId};
use std::collections::BTreeMap;

/// Steps of a function that is written out where it is used.
const FEW_STEPS: usize = 3;

/// Device functions by name.
pub type Functions = BTreeMap<String, String>;

/// A value's type in C.
pub fn value_type(dtype: DType) -> &'static str {
    if dtype.is_float() { "float" } else { "int" }
}

pub fn float(value: f32) -> String {
    match value {
        x if x.is_nan() => "__int_as_float(0x7fc00000)".into(),
        f32::INFINITY => "__int_as_float(0x7f800000)".into(),
        f32::NEG_INFINITY => "__int_as_float(0xff800000)".into(),
        x => format!("{x:?}f"),
    }
}

pub fn integer(value: i32) -> String {
    if value == i32::MIN { "(-2147483647 - 1)".into() } else { value.to_string() }
}

fn compare(how: Compare) -> &'static str {
    match how {
        Compare::Eq => "==",
        Compare::Ne => "!=",
        Compare::Lt => "<",
        Compare::Le => "<=",
        Compare::Gt => ">",
        Compare::Ge => ">=",
    }
}

/// The steps as expressions over each other's names.
struct Spelling<'a> {
    steps: &'a [Step],
    /// What each step is called.
    names: Vec<String>,
}

impl Spelling<'_> {
    /// A mask as a condition.
    fn condition(&self, id: StepId) -> String {
        match self.steps[id as usize] {
            Step::CompareF(how, a, b) | Step::CompareI(how, a, b) => {
                format!("{} {} {}", self.names[a as usize], compare(how), self.names[b as usize])
            }
            _ => format!("{} != 0", self.names[id as usize]),
        }
    }

    fn expression(&self, step: Step) -> String {
        let v = |id: StepId| &self.names[id as usize];
        match step {
            Step::Argument(_) => unreachable!("operands have names"),
            Step::ConstF(c) if c.is_sign_negative() => format!("({})", float(c)),
            Step::ConstF(c) => float(c),
            Step::ConstI(c) if c < 0 => format!("({})", integer(c)),
            Step::ConstI(c) => integer(c),
            Step::AddF(a, b) => format!("__fadd_rn({}, {})", v(a), v(b)),
            Step::SubF(a, b) => format!("__fsub_rn({}, {})", v(a), v(b)),
            Step::MulF(a, b) => format!("__fmul_rn({}, {})", v(a), v(b)),
            Step::DivF(a, b) => format!("__fdiv_rn({}, {})", v(a), v(b)),
            Step::NegF(a) => format!("(-{})", v(a)),
            Step::AbsF(a) => format!("fabsf({})", v(a)),
            Step::SqrtF(a) => format!("__fsqrt_rn({})", v(a)),
            Step::Fma(a, b, c) => format!("__fmaf_rn({}, {}, {})", v(a), v(b), v(c)),
            Step::FloorF(a) => format!("floorf({})", v(a)),
            Step::CeilF(a) => format!("ceilf({})", v(a)),
            Step::NearestF(a) => format!("rintf({})", v(a)),
            Step::CompareF(how, a, b) | Step::CompareI(how, a, b) => {
                format!("-({} {} {})", v(a), compare(how), v(b))
            }
            // Unsigned numbers wrap, signed ones must not pass their ends.
            Step::AddI(a, b) => format!("(int)((unsigned){} + (unsigned){})", v(a), v(b)),
            Step::SubI(a, b) => format!("(int)((unsigned){} - (unsigned){})", v(a), v(b)),
            Step::MulI(a, b) => format!("(int)((unsigned){} * (unsigned){})", v(a), v(b)),
            Step::DivI(a, b) => format!("({} / {})", v(a), v(b)),
            Step::ShlBy(a, n) => format!("(int)((unsigned){} << {})", v(a), v(n)),
            Step::ShlI(a, n) => format!("(int)((unsigned){} << {n})", v(a)),
            Step::ShrBy(a, n) => format!("({} >> {})", v(a), v(n)),
            Step::ShrI(a, n) => format!("({} >> {n})", v(a)),
            Step::AndI(a, b) => format!("({} & {})", v(a), v(b)),
            Step::OrI(a, b) => format!("({} | {})", v(a), v(b)),
            Step::XorI(a, b) => format!("({} ^ {})", v(a), v(b)),
            Step::NotI(a) => format!("(~{})", v(a)),
            Step::Select(m, a, b) => format!("({} ? {} : {})", self.condition(m), v(a), v(b)),
            Step::BitsOfF(a) => format!("__float_as_int({})", v(a)),
            Step::FOfBits(a) => format!("__int_as_float({})", v(a)),
            Step::TruncateF(a) => format!("__float2int_rz({})", v(a)),
            Step::ToF(a) => format!("__int2float_rn({})", v(a)),
        }
    }
}

/// Whether a step's result is an f32; `given`: of the operands.
fn is_float(steps: &[Step], given: &[bool], id: StepId) -> bool {
    match steps[id as usize] {
        Step::Argument(i) => given[i as usize],
        Step::ConstF(_)
        | Step::AddF(..)
        | Step::SubF(..)
        | Step::MulF(..)
        | Step::DivF(..)
        | Step::NegF(_)
        | Step::AbsF(_)
        | Step::SqrtF(_)
        | Step::Fma(..)
        | Step::FloorF(_)
        | Step::CeilF(_)
        | Step::NearestF(_)
        | Step::FOfBits(_)
        | Step::ToF(_) => true,
        Step::Select(_, a, _) => is_float(steps, given, a),
        _ => false,
    }
}

/// The function applied to operands that are names, of the given types.
pub fn call(functions: &mut Functions, func: Func, operands: &[String], types: &[DType]) -> String {
    let dtype = *types.last().expect("a function has an operand");
    let mut steps = Steps::default();
    let arguments: Vec<StepId> = (0..operands.len()).map(|i| steps.push(Step::Argument(i as u8))).collect();
    let result = func.lower(&mut steps, &arguments, dtype);
    let is_leaf = |step: &&Step| matches!(step, Step::Argument(_) | Step::ConstF(_) | Step::ConstI(_));
    let n_steps = steps.steps.len() - steps.steps.iter().filter(is_leaf).count();
    let mut spelling = Spelling { steps: &steps.steps, names: Vec::new() };
    if n_steps <= FEW_STEPS {
        for step in &steps.steps {
            let name = match step {
                Step::Argument(i) => operands[*i as usize].clone(),
                step => spelling.expression(*step),
            };
            spelling.names.push(name);
        }
        return spelling.names.swap_remove(result as usize);
    }
    let name = format!("{}_{}", func.name(), dtype.name());
    if !functions.contains_key(&name) {
        let given: Vec<bool> = types.iter().map(|ty| ty.is_float()).collect();
        let parameter = |(i, ty): (usize, &DType)| format!("{} {}", value_type(*ty), ["a", "b", "c"][i]);
        let parameters: Vec<String> = types.iter().enumerate().map(parameter).collect();
        let type_of = |id: StepId| if is_float(&steps.steps, &given, id) { "float" } else { "int" };
        let mut text =
            format!("__device__ __forceinline__ {} {name}({}) {{\n", type_of(result), parameters.join(", "));
        for (i, step) in steps.steps.iter().enumerate() {
            let name = match step {
                Step::Argument(i) => ["a", "b", "c"][*i as usize].to_string(),
                step if is_leaf(&step) || matches!(step, Step::CompareF(..) | Step::CompareI(..)) => {
                    spelling.expression(*step)
                }
                step => {
                    let line = spelling.expression(*step);
                    text.push_str(&format!("    const {} s{i} = {line};\n", type_of(i as StepId)));
                    format!("s{i}")
                }
            };
            spelling.names.push(name);
        }
        text.push_str(&format!("    return {};\n}}\n", spelling.names[result as usize]));
        functions.insert(name.clone(), text);
    }
    format!("{name}({})", operands.join(", "))
}
