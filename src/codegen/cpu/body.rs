//! The body of a nest at one index, or at four neighbouring ones.
//!
//! What enters: instructions, the indices of the axes, a mode. What leaves: a value for each instruction, and stores. In
//! scalar mode a value is an f32 or an i32; in vector mode an F32X4 or I32X4 whose lanes are four neighbours along the
//! innermost axis. u8 values are i32, bf16 values f32; bools are masks (0 or -1). Instructions that do not depend on the innermost axis are emitted
//! once, before its loop (`outer`); so are addresses. Not here: what is done with values (`functions.rs`).

use super::address::Base;
use super::functions::little;
use super::kernel::{Emitter, memory};
use crate::base::DType;
use crate::nest::analysis::{depends_on, types_of};
use crate::nest::{Access, Inst, Nest, Store, StoreKind};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, MemFlagsData as MemFlags, Type, Value, types};

/// One index at a time, or four along the innermost axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Scalar,
    Vector,
}

/// Lanes of a vector.
pub const LANES: i64 = 4;

pub fn lane_type(dtype: DType) -> Type {
    if dtype.is_float() { types::F32 } else { types::I32 }
}

pub fn value_type(dtype: DType, mode: Mode) -> Type {
    match mode {
        Mode::Scalar => lane_type(dtype),
        Mode::Vector => lane_type(dtype).by(4).expect("four lanes of 32 bits"),
    }
}

/// A body while it is emitted for one innermost loop.
pub struct BodyEmitter<'n> {
    pub nest: &'n Nest,
    pub types: Vec<DType>,
    pub mode: Mode,
    /// The innermost axis; `None` for a nest without axes.
    pub inner: Option<usize>,
    /// Which instructions wait for the inner loop.
    depends: Vec<bool>,
    pub values: Vec<Option<Value>>,
    /// Addresses at inner index 0, by instruction and by store.
    load_base: Vec<Option<Base>>,
    store_base: Vec<Option<Base>>,
}

impl<'n> BodyEmitter<'n> {
    pub fn new(nest: &'n Nest, mode: Mode, inner: Option<usize>) -> Self {
        let n = nest.body.len();
        let depends = inner.map_or(vec![false; n], |axis| depends_on(nest, axis));
        let (load_base, store_base) = (vec![None; n], vec![None; nest.stores.len()]);
        BodyEmitter {
            nest,
            types: types_of(nest),
            mode,
            inner,
            depends,
            values: vec![None; n],
            load_base,
            store_base,
        }
    }

    /// What does not change along the inner axis; `index` has the outer axes' indices.
    pub fn outer(&mut self, e: &mut Emitter, index: &[Value]) {
        let mut known: Vec<(&Access, Base)> = Vec::new();
        for (i, inst) in self.nest.body.iter().enumerate() {
            if let Inst::Load { access } | Inst::LoadAt { access, .. } = inst {
                self.load_base[i] = Some(self.base(e, access, index, &mut known));
            }
            if !self.depends[i] {
                let value = self.inst(e, i, inst, index);
                self.values[i] = Some(value);
            }
        }
        for (i, store) in self.nest.stores.iter().enumerate() {
            if matches!(store.kind, StoreKind::Set | StoreKind::AddAt { .. }) {
                self.store_base[i] = Some(self.base(e, &store.access, index, &mut known));
            }
        }
    }

    /// What changes along the inner axis, at `index`, and the stores at each index.
    pub fn inner(&mut self, e: &mut Emitter, index: &[Value]) {
        for (i, inst) in self.nest.body.iter().enumerate() {
            if self.depends[i] {
                let value = self.inst(e, i, inst, index);
                self.values[i] = Some(value);
            }
        }
        for (i, store) in self.nest.stores.iter().enumerate() {
            match &store.kind {
                StoreKind::Set => {
                    let at =
                        self.moved(e, self.store_base[i].expect("made by `outer`"), &store.access, index);
                    self.store(e, &store.access, at, self.value(store.value));
                }
                StoreKind::AddAt { .. } => self.add_at(e, i, store, index),
                StoreKind::Reduce(_) | StoreKind::ArgMax => {}
            }
        }
    }

    pub fn value(&self, value: u32) -> Value {
        self.values[value as usize].expect("operands come first")
    }

    pub fn splat(&self, e: &mut Emitter, value: Value, dtype: DType) -> Value {
        match self.mode {
            Mode::Scalar => value,
            Mode::Vector => e.b.ins().splat(value_type(dtype, Mode::Vector), value),
        }
    }

    fn inst(&mut self, e: &mut Emitter, i: usize, inst: &Inst, index: &[Value]) -> Value {
        match inst {
            Inst::Load { access } => {
                let base = self.load_base[i].expect("made by `outer`");
                let at = self.moved(e, base, access, index);
                self.load(e, access, at)
            }
            Inst::LoadAt { access, index: by, stride, bound } => {
                let base = self.load_base[i].expect("made by `outer`");
                let at = self.moved(e, base, access, index);
                let (stride, bound) = (e.dim(stride), e.dim(bound));
                let by_inner = self.depends[*by as usize];
                self.load_at(e, access, at, self.value(*by), by_inner, stride, bound)
            }
            Inst::Const { bits, dtype } => {
                let value = f64::from_bits(*bits);
                let lane = match dtype {
                    DType::F32 | DType::BF16 => e.b.ins().f32const(value as f32),
                    DType::Bool => {
                        e.b.ins().iconst(types::I32, if value == 0.0 { 0 } else { i64::from(u32::MAX) })
                    }
                    DType::I32 | DType::U8 => e.b.ins().iconst(types::I32, i64::from(value as i32 as u32)),
                };
                self.splat(e, lane, *dtype)
            }
            Inst::Index { axis, offset } => {
                let offset = e.dim(offset);
                let sum = e.b.ins().iadd(index[*axis as usize], offset);
                let lane = e.b.ins().ireduce(types::I32, sum);
                let value = self.splat(e, lane, DType::I32);
                if self.mode == Mode::Vector && Some(*axis as usize) == self.inner {
                    let steps = self.lane_numbers(e);
                    return e.b.ins().iadd(value, steps);
                }
                value
            }
            Inst::Size { size } => {
                let size = e.dim(size);
                let lane = e.b.ins().fcvt_from_sint(types::F32, size);
                self.splat(e, lane, DType::F32)
            }
            Inst::Call { func, arguments } => {
                let operands: Vec<Value> = arguments.iter().map(|v| self.value(*v)).collect();
                let dtype = self.types[*arguments.last().expect("a function has an operand") as usize];
                self.call(e, *func, &operands, dtype)
            }
            Inst::Cast { to, argument } => {
                self.cast(e, self.value(*argument), self.types[*argument as usize], *to)
            }
        }
    }

    /// 0, 1, 2, 3.
    fn lane_numbers(&self, e: &mut Emitter) -> Value {
        let bytes: Vec<u8> = (0..4i32).flat_map(|n| n.to_le_bytes()).collect();
        let constant = e.b.func.dfg.constants.insert(bytes.into());
        e.b.ins().vconst(types::I32X4, constant)
    }

    /// One element, as a lane.
    fn load_lane(&self, e: &mut Emitter, dtype: DType, at: Value) -> Value {
        match dtype {
            DType::F32 => e.b.ins().load(types::F32, memory(), at, 0),
            DType::BF16 => {
                let half = e.b.ins().uload16(types::I32, memory(), at, 0);
                let bits = e.b.ins().ishl_imm_s(half, 16);
                e.b.ins().bitcast(types::F32, MemFlags::new(), bits)
            }
            DType::I32 => e.b.ins().load(types::I32, memory(), at, 0),
            DType::U8 => e.b.ins().uload8(types::I32, memory(), at, 0),
            DType::Bool => {
                let byte = e.b.ins().uload8(types::I32, memory(), at, 0);
                e.b.ins().ineg(byte)
            }
        }
    }

    fn load(&self, e: &mut Emitter, access: &Access, at: Value) -> Value {
        let dtype = access.dtype;
        if self.mode == Mode::Scalar {
            return self.load_lane(e, dtype, at);
        }
        let stride = self.inner.map(|axis| &access.strides[axis]);
        match stride {
            Some(s) if s.is_const(1) => match dtype {
                DType::F32 | DType::I32 => e.b.ins().load(value_type(dtype, Mode::Vector), memory(), at, 0),
                DType::BF16 => {
                    let halves = e.b.ins().uload16x4(memory(), at, 0);
                    let bits = e.b.ins().ishl_imm_s(halves, 16);
                    e.b.ins().bitcast(types::F32X4, little(), bits)
                }
                DType::U8 => self.load_bytes(e, at),
                DType::Bool => {
                    let bytes = self.load_bytes(e, at);
                    e.b.ins().ineg(bytes)
                }
            },
            Some(s) if !s.is_const(0) => {
                let stride = e.dim(s);
                let step = scale(e, stride, dtype);
                self.gather(e, dtype, at, step)
            }
            _ => {
                let lane = self.load_lane(e, dtype, at);
                self.splat(e, lane, dtype)
            }
        }
    }

    /// Four neighbouring bytes as i32 lanes.
    fn load_bytes(&self, e: &mut Emitter, at: Value) -> Value {
        let four = e.b.ins().load(types::I32, memory(), at, 0);
        let vector = e.b.ins().scalar_to_vector(types::I32X4, four);
        let bytes = e.b.ins().bitcast(types::I8X16, little(), vector);
        let halves = e.b.ins().uwiden_low(bytes);
        e.b.ins().uwiden_low(halves)
    }

    /// Four elements, `step` bytes apart.
    fn gather(&self, e: &mut Emitter, dtype: DType, at: Value, step: Value) -> Value {
        let first = self.load_lane(e, dtype, at);
        let mut vector = e.b.ins().splat(value_type(dtype, Mode::Vector), first);
        let mut at = at;
        for lane in 1..LANES as u8 {
            at = e.b.ins().iadd(at, step);
            let element = self.load_lane(e, dtype, at);
            vector = e.b.ins().insertlane(vector, element, lane);
        }
        vector
    }

    /// Element `by` of a row; out of range NaN, 0 or false. The address is made safe before it is read.
    #[expect(clippy::too_many_arguments, reason = "the parts of one access")]
    fn load_at(
        &self,
        e: &mut Emitter,
        access: &Access,
        at: Value,
        by: Value,
        by_inner: bool,
        stride: Value,
        bound: Value,
    ) -> Value {
        let dtype = access.dtype;
        let inner_stride = self.inner.map(|axis| access.strides[axis].clone());
        let none = |e: &mut Emitter| match dtype {
            DType::F32 | DType::BF16 => e.b.ins().f32const(f32::NAN),
            _ => e.b.ins().iconst(types::I32, 0),
        };
        // Address and whether it is in range, of one index.
        let locate = |e: &mut Emitter, by: Value, at: Value| {
            let by = e.b.ins().sextend(types::I64, by);
            let in_range = e.b.ins().icmp(IntCC::UnsignedLessThan, by, bound);
            let zero = e.integer(0);
            let safe = e.b.ins().select(in_range, by, zero);
            let elements = e.b.ins().imul(safe, stride);
            let bytes = scale(e, elements, dtype);
            (e.b.ins().iadd(at, bytes), in_range)
        };
        let one = |e: &mut Emitter, by: Value, at: Value| {
            let (at, in_range) = locate(e, by, at);
            let element = self.load_lane(e, dtype, at);
            let none = none(e);
            e.b.ins().select(in_range, element, none)
        };
        match (self.mode, inner_stride) {
            (Mode::Scalar, _) => one(e, by, at),
            (Mode::Vector, Some(s)) if !by_inner && s.is_const(1) => {
                let by = e.b.ins().extractlane(by, 0);
                let (at, in_range) = locate(e, by, at);
                let row = self.load(e, access, at);
                let none = none(e);
                let none = self.splat(e, none, dtype);
                let mask = e.b.ins().bmask(types::I32, in_range);
                let mask = e.b.ins().splat(types::I32X4, mask);
                self.choose(e, mask, row, none)
            }
            (Mode::Vector, s) => {
                let step = match s {
                    Some(s) => {
                        let s = e.dim(&s);
                        scale(e, s, dtype)
                    }
                    None => e.integer(0),
                };
                let mut at = at;
                let mut vector = None;
                for lane in 0..LANES as u8 {
                    let by = e.b.ins().extractlane(by, lane);
                    let element = one(e, by, at);
                    vector = Some(match vector {
                        None => e.b.ins().splat(value_type(dtype, Mode::Vector), element),
                        Some(vector) => e.b.ins().insertlane(vector, element, lane),
                    });
                    at = e.b.ins().iadd(at, step);
                }
                vector.expect("a vector has lanes")
            }
        }
    }

    fn store_lane(&self, e: &mut Emitter, dtype: DType, at: Value, lane: Value) {
        match dtype {
            DType::F32 | DType::I32 => {
                e.b.ins().store(memory(), lane, at, 0);
            }
            DType::BF16 => {
                let bits = e.b.ins().bitcast(types::I32, MemFlags::new(), lane);
                let half = e.b.ins().ushr_imm_s(bits, 16);
                e.b.ins().istore16(memory(), half, at, 0);
            }
            DType::U8 => {
                e.b.ins().istore8(memory(), lane, at, 0);
            }
            DType::Bool => {
                let bit = e.b.ins().band_imm_s(lane, 1);
                e.b.ins().istore8(memory(), bit, at, 0);
            }
        }
    }

    fn store(&self, e: &mut Emitter, access: &Access, at: Value, value: Value) {
        let dtype = access.dtype;
        let stride = self.inner.map(|axis| &access.strides[axis]);
        match (self.mode, stride) {
            (Mode::Vector, Some(s)) if s.is_const(1) && dtype.bytes() == 4 => {
                e.b.ins().store(memory(), value, at, 0);
            }
            (Mode::Vector, Some(s)) if s.is_const(1) && dtype == DType::BF16 => {
                let bits = e.b.ins().bitcast(types::I32X4, little(), value);
                let halves = e.b.ins().ushr_imm_s(bits, 16);
                let halves = e.b.ins().unarrow(halves, halves);
                let four = e.b.ins().bitcast(types::I64X2, little(), halves);
                let four = e.b.ins().extractlane(four, 0);
                e.b.ins().store(memory(), four, at, 0);
            }
            (Mode::Vector, Some(s)) => {
                let stride = e.dim(s);
                let step = scale(e, stride, dtype);
                let mut at = at;
                for lane in 0..LANES as u8 {
                    let element = e.b.ins().extractlane(value, lane);
                    self.store_lane(e, dtype, at, element);
                    at = e.b.ins().iadd(at, step);
                }
            }
            _ => self.store_lane(e, dtype, at, value),
        }
    }

    /// A reduction's result, at the indices of the parallel axes.
    pub fn store_result(&self, e: &mut Emitter, access: &Access, value: Value, index: &[Value]) {
        let base = Base { address: self.address(e, access, index), beyond: 0 };
        let at = self.moved(e, base, access, index);
        self.store(e, access, at, value);
    }

    /// Goes around the loop over a row that is added at a place, if its index gives none; the block behind the loop.
    pub fn leave_without_place(&self, e: &mut Emitter) -> Block {
        let [Store { kind: StoreKind::AddAt { index, bound, .. }, .. }] = &self.nest.stores[..] else {
            unreachable!("it adds a row")
        };
        let (inside, after) = (e.b.create_block(), e.b.create_block());
        let index = self.first_lane(e, *index);
        let bound = e.dim(bound);
        let in_range = e.b.ins().icmp(IntCC::UnsignedLessThan, index, bound);
        e.b.ins().brif(in_range, inside, &[], after, &[]);
        e.b.switch_to_block(inside);
        after
    }

    /// An index as i64; of a vector its first lane.
    fn first_lane(&self, e: &mut Emitter, index: u32) -> Value {
        let mut index = self.value(index);
        if self.mode == Mode::Vector {
            index = e.b.ins().extractlane(index, 0);
        }
        e.b.ins().sextend(types::I64, index)
    }

    /// An addition at a place that an index gives; of vectors only where all lanes have the same index.
    fn add_at(&self, e: &mut Emitter, i: usize, store: &Store, index: &[Value]) {
        let StoreKind::AddAt { index: by, stride, bound } = &store.kind else { return };
        let base = self.store_base[i].expect("made by `outer`");
        let at = self.moved(e, base, &store.access, index);
        let by = self.first_lane(e, *by);
        let (stride, bound) = (e.dim(stride), e.dim(bound));
        let (inside, after) = (e.b.create_block(), e.b.create_block());
        let in_range = e.b.ins().icmp(IntCC::UnsignedLessThan, by, bound);
        e.b.ins().brif(in_range, inside, &[], after, &[]);
        e.b.switch_to_block(inside);
        let elements = e.b.ins().imul(by, stride);
        let bytes = scale(e, elements, store.access.dtype);
        let at = e.b.ins().iadd(at, bytes);
        let before = self.load(e, &store.access, at);
        let value = self.value(store.value);
        let sum = match store.access.dtype {
            DType::F32 => e.b.ins().fadd(before, value),
            _ => e.b.ins().iadd(before, value),
        };
        self.store(e, &store.access, at, sum);
        e.b.ins().jump(after, &[]);
        e.b.switch_to_block(after);
    }
}

/// Elements to bytes.
pub fn scale(e: &mut Emitter, elements: Value, dtype: DType) -> Value {
    match dtype.bytes() {
        1 => elements,
        n => e.b.ins().ishl_imm_s(elements, i64::from(n.ilog2())),
    }
}
