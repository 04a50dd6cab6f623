//! The body of a nest at one index, as statements.
//!
//! What enters: a nest, and what the indices of its axes are called. What leaves: a `const` for each instruction that is used, and
//! stores. A value is a `float` or an `int`; u8 values are `int`, bf16 values `float`, bools masks (0 or -1). Where four neighbours are
//! loaded and stored at once, `lane` is the place among them. Not here: loops.

use super::kernel::Emitter;
use super::steps::{call, float, integer, value_type};
use crate::base::DType;
use crate::nest::analysis::types_of;
use crate::nest::{Access, BufferRef, Inst, Nest, Store, StoreKind, Value};
use std::collections::HashMap;

/// A type in memory.
pub fn storage_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float",
        DType::BF16 => "unsigned short",
        DType::I32 => "int",
        DType::U8 | DType::Bool => "unsigned char",
    }
}

/// A nest's body while it is written.
pub struct Body<'n> {
    pub nest: &'n Nest,
    pub types: Vec<DType>,
    /// What is used by a store.
    needed: Vec<bool>,
    /// What each value is called.
    names: Vec<String>,
    /// The axis along which four neighbours are taken at once.
    quad: Option<usize>,
    /// Loads whose elements lie in shared memory already: what they are called there.
    staged: HashMap<usize, String>,
    /// Loads whose values are in registers already.
    held: HashMap<usize, String>,
    /// Whether what is stored to scratch is a matter of who writes the body.
    has_no_scratch: bool,
}

fn operands(inst: &Inst) -> Vec<Value> {
    match inst {
        Inst::LoadAt { index, .. } => vec![*index],
        Inst::Call { arguments, .. } => arguments.clone(),
        Inst::Cast { argument, .. } => vec![*argument],
        Inst::Load { .. } | Inst::Const { .. } | Inst::Index { .. } | Inst::Size { .. } => Vec::new(),
    }
}

impl<'n> Body<'n> {
    pub fn new(nest: &'n Nest, quad: Option<usize>) -> Body<'n> {
        let n = nest.body.len();
        let mut needed = vec![false; n];
        for store in &nest.stores {
            needed[store.value as usize] = true;
            if let StoreKind::AddAt { index, .. } = store.kind {
                needed[index as usize] = true;
            }
        }
        for (i, inst) in nest.body.iter().enumerate().rev() {
            if needed[i] {
                operands(inst).iter().for_each(|v| needed[*v as usize] = true);
            }
        }
        Body {
            nest,
            types: types_of(nest),
            needed,
            names: vec![String::new(); n],
            quad,
            staged: HashMap::new(),
            held: HashMap::new(),
            has_no_scratch: false,
        }
    }

    /// Of a kernel without scratch.
    pub fn in_registers(nest: &'n Nest, quad: Option<usize>) -> Body<'n> {
        Body { has_no_scratch: true, ..Body::new(nest, quad) }
    }

    /// From now on the load finds its element there.
    pub fn stage(&mut self, load: usize, element: String) {
        self.staged.insert(load, element);
    }

    /// From now on the load's value is that.
    pub fn hold(&mut self, load: usize, value: String) {
        self.held.insert(load, value);
    }

    /// Loads what is to be held, one element or four neighbours.
    pub fn load_held(&self, e: &mut Emitter, access: &Access, index: &[String], to: &str) {
        let (buffer, at) = (e.buffer(access.buffer), e.address(access, index));
        if self.quad.is_some() {
            e.helper(load_four(access.dtype));
            e.w.line(format!("{}({to}, {buffer} + {at});", load_four(access.dtype)));
        } else {
            e.w.line(format!("{to} = {};", loaded(access.dtype, &format!("{buffer}[{at}]"))));
        }
    }

    /// The stores of four neighbours.
    fn quad_stores(&self) -> impl Iterator<Item = (usize, &'n Store)> {
        let in_memory =
            |access: &Access| !self.has_no_scratch || matches!(access.buffer, BufferRef::Argument(_));
        let stores = self.nest.stores.iter().enumerate();
        stores.filter(move |(_, store)| store.kind == StoreKind::Set && in_memory(&store.access))
    }

    pub fn value(&self, value: Value) -> &str {
        &self.names[value as usize]
    }

    /// Whether the access takes four neighbours at once.
    fn is_quad(&self, access: &Access) -> bool {
        self.quad.is_some_and(|axis| access.strides[axis].is_const(1))
    }

    /// Loads of four neighbours, and places for the results; `index` of the first.
    pub fn open_quad(&self, e: &mut Emitter, index: &[String]) {
        for (i, inst) in self.nest.body.iter().enumerate() {
            if let Inst::Load { access } = inst
                && self.needed[i]
                && !self.held.contains_key(&i)
                && self.is_quad(access)
            {
                let ty = value_type(access.dtype);
                e.helper(load_four(access.dtype));
                let (buffer, at) = (e.buffer(access.buffer), e.address(access, index));
                e.w.line(format!("{ty} x{i}[4];"));
                e.w.line(format!("{}(x{i}, {buffer} + {at});", load_four(access.dtype)));
            }
        }
        for (i, store) in self.quad_stores() {
            e.w.line(format!("{} y{i}[4];", value_type(store.access.dtype)));
        }
    }

    /// Stores of four neighbours.
    pub fn close_quad(&self, e: &mut Emitter, index: &[String]) {
        for (i, store) in self.quad_stores() {
            let dtype = store.access.dtype;
            e.helper(store_four(dtype));
            let (buffer, at) = (e.buffer(store.access.buffer), e.address(&store.access, index));
            e.w.line(format!("{}({buffer} + {at}, y{i});", store_four(dtype)));
        }
    }

    /// Statements for the instructions that `which` says; operands must have been made.
    pub fn instructions(&mut self, e: &mut Emitter, index: &[String], which: impl Fn(usize) -> bool) {
        for (i, inst) in self.nest.body.iter().enumerate() {
            if !self.needed[i] || !which(i) {
                continue;
            }
            let (expression, is_name) = self.expression(e, i, inst, index);
            self.names[i] = if is_name {
                expression
            } else {
                e.w.line(format!("const {} v{i} = {expression};", value_type(self.types[i])));
                format!("v{i}")
            };
        }
    }

    /// An instruction's value, and whether it is as good as a name.
    fn expression(&self, e: &mut Emitter, i: usize, inst: &Inst, index: &[String]) -> (String, bool) {
        let name = |v: &Value| self.names[*v as usize].clone();
        match inst {
            Inst::Load { .. } if self.held.contains_key(&i) => (self.held[&i].clone(), false),
            Inst::Load { access } if self.staged.contains_key(&i) => {
                (loaded(access.dtype, &self.staged[&i]), false)
            }
            Inst::Load { access } if self.is_quad(access) => (format!("x{i}[lane]"), false),
            Inst::Load { access } => {
                let (buffer, at) = (e.buffer(access.buffer), e.address(access, index));
                (loaded(access.dtype, &format!("{buffer}[{at}]")), false)
            }
            Inst::LoadAt { access, index: by, stride, bound } => {
                let by = name(by);
                let row = if stride.is_const(1) {
                    by.clone()
                } else {
                    let wide = if e.names.integer == "int" { "" } else { "(long long)" };
                    format!("{wide}{by} * {}", e.names.dim(stride))
                };
                let (buffer, at) = (e.buffer(access.buffer), e.address(access, index));
                let at = if at == "0" { row } else { format!("{at} + {row}") };
                let none = if access.dtype.is_float() { float(f32::NAN) } else { "0".into() };
                let element = loaded(access.dtype, &format!("{buffer}[{at}]"));
                (format!("{by} >= 0 && {by} < {} ? {element} : {none}", e.names.dim(bound)), false)
            }
            Inst::Const { bits, dtype } => {
                let value = f64::from_bits(*bits);
                let text = match dtype {
                    DType::F32 | DType::BF16 => float(value as f32),
                    DType::Bool => integer(if value == 0.0 { 0 } else { -1 }),
                    DType::I32 | DType::U8 => integer(value as i32),
                };
                (if text.starts_with('-') { format!("({text})") } else { text }, true)
            }
            Inst::Index { axis, offset } => {
                let one = crate::base::Dim::from(1);
                let index = index[*axis as usize].as_str();
                let mut parts = vec![(offset, None)];
                if index != "0" {
                    parts.push((&one, Some(index)));
                }
                let sum = e.names.sum(&parts);
                let is_name = sum.chars().all(|c| c.is_alphanumeric()) && e.names.integer == "int";
                (if e.names.integer == "int" { sum } else { format!("(int)({sum})") }, is_name)
            }
            Inst::Size { size } => (format!("(float){}", e.names.dim(size)), false),
            Inst::Call { func, arguments } => {
                let operands: Vec<String> = arguments.iter().map(name).collect();
                let types: Vec<DType> = arguments.iter().map(|v| self.types[*v as usize]).collect();
                (call(&mut e.functions, *func, &operands, &types), false)
            }
            Inst::Cast { to, argument } => {
                let from = self.types[*argument as usize];
                (e.cast(&name(argument), from, *to), from == *to)
            }
        }
    }

    /// `access = value` for the stores at each index.
    pub fn sets(&self, e: &mut Emitter, index: &[String]) {
        for (i, store) in self.nest.stores.iter().enumerate() {
            if store.kind == StoreKind::Set {
                match self.quad {
                    Some(_) => e.w.line(format!("y{i}[lane] = {};", self.value(store.value))),
                    None => self.store(e, store, index, self.value(store.value)),
                }
            }
        }
    }

    pub fn store(&self, e: &mut Emitter, store: &Store, index: &[String], value: &str) {
        let (buffer, at) = (e.buffer(store.access.buffer), e.address(&store.access, index));
        e.w.line(format!("{buffer}[{at}] = {};", stored(store.access.dtype, value)));
    }
}

/// A value as it is in registers, from an element in memory.
pub fn loaded(dtype: DType, element: &str) -> String {
    match dtype {
        DType::F32 | DType::I32 => element.into(),
        DType::BF16 => format!("__uint_as_float((unsigned){element} << 16)"),
        DType::U8 => format!("(int){element}"),
        DType::Bool => format!("-(int){element}"),
    }
}

/// The other way about.
pub fn stored(dtype: DType, value: &str) -> String {
    match dtype {
        DType::F32 | DType::I32 => value.into(),
        DType::BF16 => format!("(unsigned short)(__float_as_uint({value}) >> 16)"),
        DType::U8 => format!("(unsigned char){value}"),
        DType::Bool => format!("(unsigned char)({value} & 1)"),
    }
}

fn load_four(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "load_four_f32",
        DType::BF16 => "load_four_bf16",
        DType::I32 => "load_four_i32",
        DType::U8 => "load_four_u8",
        DType::Bool => "load_four_bool",
    }
}

fn store_four(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "store_four_f32",
        DType::BF16 => "store_four_bf16",
        DType::I32 => "store_four_i32",
        DType::U8 => "store_four_u8",
        DType::Bool => "store_four_bool",
    }
}
