//! An op's function: prologue, sizes, and the op.
//!
//! What enters: an op of a verified kernel, as `calls` numbers its buffers. What leaves: CLIF in `cx.func`. Sizes are i64 arithmetic over the function's parameters,
//! written where they are used: Cranelift makes equal ones one and moves them out of loops. Nests are `nest.rs`'s.

use super::body::scale;
use super::calls::{self, Around, Tile};
use super::nest::emit_nest;
use super::portions::{self, Portioned, at_once};
use super::products::{Numbers, PANEL, Product};
use super::sort::Line;
use super::wide::{self, Item, Kind, Wide};
use crate::base::stopwatch::timed;
use crate::base::{DType, Dim, Distribution};
use crate::nest::analysis::each_buffer;
use crate::nest::{Access, BufferRef, Fill, Gemm, GemmAxis, Loop, Matrix, Sort, TileOp};
use cranelift_codegen::Context;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, BlockArg, FuncRef, Function, InstBuilder, MemFlagsData as MemFlags, Signature, StackSlotData,
    StackSlotKind, Type, Value, types,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::JITModule;
use cranelift_module::{Linkage, Module};
use smol_str::SmolStr;
use std::collections::VecDeque;
use std::mem::offset_of;

pub const GEMM: &str = "gradc_gemm";
pub const GEMM_BF16: &str = "gradc_gemm_bf16";
pub const FILL: &str = "gradc_fill";
pub const SORT: &str = "gradc_sort";

/// Accesses are in bounds and may be unaligned.
pub fn memory() -> MemFlags {
    MemFlags::new().with_notrap()
}

/// A function that is being written, and what its op's symbols are.
pub struct Emitter<'a, 'b> {
    pub b: FunctionBuilder<'b>,
    function: &'a calls::Function,
    pub pointer: Type,
    /// The call's slots, arguments' addresses, scratch, the tile.
    places: [Value; 4],
    /// By slot, once it is asked for.
    buffers: Vec<Option<Value>>,
    batch: Value,
    start: Value,
    tile: Value,
    env: Value,
    rows: Option<Value>,
    /// Of the loops around, outermost first.
    turns: Vec<(SmolStr, Value)>,
    /// Of the nests that are not written yet, the next first.
    wide: VecDeque<Option<(Wide, FuncRef)>>,
    /// From which turn to which, if the op is a loop in portions.
    of_turns: Option<(Value, Value)>,
}

pub fn build(
    module: &mut JITModule,
    cx: &mut Context,
    frontend: &mut FunctionBuilderContext,
    function: &calls::Function,
    vectors: Option<Kind>,
) {
    let pointer = module.target_config().pointer_type();
    let mut signature = module.make_signature();
    signature.params.extend([AbiParam::new(pointer); 4]);
    cx.func = Function::with_name_signature(Default::default(), signature);
    let mut callee: Signature = module.make_signature();
    callee.params.push(AbiParam::new(pointer));
    let ops = std::slice::from_ref(&function.op);
    let mut wide = VecDeque::new();
    if let Some(kind) = vectors {
        define_wide(module, &mut cx.func, &callee, (ops, &function.around), kind, &mut wide);
    }
    let mut import = |name: &str, func: &mut Function| {
        let id = module.declare_function(name, Linkage::Import, &callee).expect("one signature a name");
        module.declare_func_in_func(id, func)
    };
    let callees = [GEMM, GEMM_BF16, FILL, SORT].map(|name| import(name, &mut cx.func));
    let mut b = FunctionBuilder::new(&mut cx.func, frontend);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let p = b.block_params(entry).to_vec();
    let mut of_tile = |ty: Type, at: usize| b.ins().load(ty, fixed(), p[3], at as i32);
    let batch = of_tile(types::I64, offset_of!(Tile, batch));
    let start = of_tile(types::I64, offset_of!(Tile, start));
    let tile = of_tile(types::I64, offset_of!(Tile, rows));
    let env = of_tile(pointer, offset_of!(Tile, env));
    let places = [p[0], p[1], p[2], p[3]];
    let buffers = vec![None; function.n_slots];
    let (rows, turns) = (None, Vec::new());
    let of_turns = None;
    let mut e = Emitter {
        b,
        function,
        pointer,
        places,
        buffers,
        batch,
        start,
        tile,
        env,
        rows,
        turns,
        wide,
        of_turns,
    };
    let mut of_op = function.op.clone();
    each_buffer(&mut of_op, &mut |buffer| e.find(*buffer));
    if function.rows.as_const().is_none() {
        e.rows = Some(e.dim(&function.rows));
    }
    if let Some(portioned) = &function.portioned {
        e.begin_portion(portioned);
    }
    e.ops(ops, &callees);
    e.b.ins().return_(&[]);
    e.b.seal_all_blocks();
    e.b.finalize(module.target_config());
}

/// Whether an axis goes over panels of the right operand and of the result.
fn are_panels(gemm: &Gemm, axis: &GemmAxis) -> bool {
    !axis.reduce
        && gemm.lhs.dtype == DType::F32
        && axis.lhs.is_const(0)
        && gemm.n.is_const(PANEL)
        && axis.out.is_const(PANEL)
        && gemm.out.column_stride.is_const(1)
}

/// What does not change while the function runs.
fn fixed() -> MemFlags {
    MemFlags::trusted().with_readonly()
}

/// Defines the functions of the nests that `wide` has code for, in the ops' order.
fn define_wide(
    module: &mut JITModule,
    func: &mut Function,
    signature: &Signature,
    (ops, around): (&[TileOp], &Around),
    kind: Kind,
    to: &mut VecDeque<Option<(Wide, FuncRef)>>,
) {
    for op in ops {
        match op {
            TileOp::Nest(nest) => {
                to.push_back(timed("wide", || wide::compile(nest, kind, around)).map(|wide| {
                    let id = module.declare_anonymous_function(signature).expect("a function without a name");
                    module.define_function_bytes(id, 64, &wide.bytes, &[]).expect("bytes need nothing else");
                    let callee = module.declare_func_in_func(id, func);
                    (wide, callee)
                }))
            }
            TileOp::Loop(l) => define_wide(module, func, signature, (&l.ops, &Around::default()), kind, to),
            _ => {}
        }
    }
}

impl Emitter<'_, '_> {
    /// `callees`: product, that of bf16, random numbers, sort.
    fn ops(&mut self, ops: &[TileOp], callees: &[FuncRef; 4]) {
        let [gemm, gemm_bf16, fill, sort] = *callees;
        for op in ops {
            match op {
                TileOp::Nest(nest) => match self.wide.pop_front().flatten() {
                    Some((wide, callee)) => self.wide(&wide, callee),
                    None => emit_nest(self, nest),
                },
                TileOp::Gemm(g) if g.lhs.dtype == DType::BF16 => self.gemm(g, gemm_bf16),
                TileOp::Gemm(g) => self.gemm(g, gemm),
                TileOp::Fill(f) => self.fill(f, fill),
                TileOp::Sort(s) => self.sort(s, sort),
                TileOp::Loop(l) if self.of_turns.is_some() => self.turns_at_once(l, callees),
                TileOp::Loop(l) => {
                    let (zero, extent) = (self.integer(0), self.dim(&l.extent));
                    self.each(zero, extent, l.block.into(), |e, turn| {
                        let n_outside = e.turns.len();
                        e.turns.push((l.turn.clone(), turn));
                        if l.block > 1 {
                            let (block, rest) = (e.integer(l.block.into()), e.b.ins().isub(extent, turn));
                            let n = e.b.ins().smin(block, rest);
                            e.turns.push((l.size_symbol(), n));
                        }
                        e.ops(&l.ops, callees);
                        e.turns.truncate(n_outside);
                    });
                }
            }
        }
    }

    /// Works out which portion this call does; none if there are fewer than calls.
    fn begin_portion(&mut self, portioned: &Portioned) {
        let n = self.extent(&portioned.extent);
        let [.., tile] = self.places;
        let mut of_tile = |at: usize| self.b.ins().load(types::I64, fixed(), tile, at as i32);
        let (part, parts) = (of_tile(offset_of!(Tile, part)), of_tile(offset_of!(Tile, parts)));
        // Steps of all, of each portion.
        let step = i64::from(portioned.step);
        let up = self.b.ins().iadd_imm_s(n, step - 1);
        let step = self.integer(step);
        let steps = self.b.ins().udiv(up, step);
        let up = self.b.ins().iadd(steps, parts);
        let up = self.b.ins().iadd_imm_s(up, -1);
        let of_each = self.b.ins().udiv(up, parts);
        let of_each = self.b.ins().imul(of_each, step);
        let from = self.b.ins().imul(part, of_each);
        let to = self.b.ins().iadd(from, of_each);
        let to = self.b.ins().smin(to, n);
        let (some, none) = (self.b.create_block(), self.b.create_block());
        let is_some = self.b.ins().icmp(IntCC::SignedLessThan, from, to);
        self.b.ins().brif(is_some, some, &[], none, &[]);
        self.b.switch_to_block(none);
        self.b.ins().return_(&[]);
        self.b.switch_to_block(some);
        if let TileOp::Loop(_) = self.function.op {
            self.of_turns = Some((from, to));
        } else {
            let size = self.b.ins().isub(to, from);
            self.turns.extend([(portions::FIRST.into(), from), (portions::SIZE.into(), size)]);
        }
    }

    /// Turns of loops that may all run at the same time, as one loop over this call's portion of them.
    fn turns_at_once(&mut self, l: &Loop, callees: &[FuncRef; 4]) {
        let (from, to) = self.of_turns.take().expect("asked before");
        let loops = at_once(l);
        let sizes: Vec<Value> = loops.iter().map(|l| self.dim(&l.extent)).collect();
        self.each(from, to, 1, |e, number| {
            let (mut rest, mut turns) = (number, Vec::new());
            for (l, size) in loops.iter().zip(&sizes).rev() {
                turns.push((l.turn.clone(), e.b.ins().urem(rest, *size)));
                rest = e.b.ins().udiv(rest, *size);
            }
            e.turns.extend(turns);
            e.ops(&loops[loops.len() - 1].ops, callees);
            e.turns.clear();
        });
    }

    pub fn integer(&mut self, value: i64) -> Value {
        self.b.ins().iconst(types::I64, value)
    }

    /// A size's value, i64.
    pub fn dim(&mut self, dim: &Dim) -> Value {
        if let Some(value) = dim.as_const() {
            return self.integer(value);
        }
        let mut sum: Option<Value> = None;
        for (symbols, coefficient) in dim.terms() {
            let mut term = match symbols.first() {
                None => self.integer(coefficient),
                Some(first) => {
                    let first = self.symbol(first);
                    if coefficient == 1 { first } else { self.b.ins().imul_imm_s(first, coefficient) }
                }
            };
            for symbol in symbols.iter().skip(1) {
                let factor = self.symbol(symbol);
                term = self.b.ins().imul(term, factor);
            }
            sum = Some(match sum {
                None => term,
                Some(sum) => self.b.ins().iadd(sum, term),
            });
        }
        sum.expect("a size that is not a constant has terms")
    }

    /// The number of indices of an axis: none where its size is negative.
    pub fn extent(&mut self, size: &Dim) -> Value {
        let value = self.dim(size);
        if size.terms().iter().all(|(_, coefficient)| *coefficient >= 0) {
            return value;
        }
        let zero = self.integer(0);
        self.b.ins().smax(value, zero)
    }

    fn symbol(&mut self, symbol: &str) -> Value {
        match symbol {
            "batch" => self.batch,
            "start" => self.start,
            "tile" => self.tile,
            "rows" => match self.rows {
                Some(rows) => rows,
                None => self.dim(&self.function.rows),
            },
            other => {
                let turn = self.turns.iter().find(|(turn, _)| turn == other);
                turn.unwrap_or_else(|| unreachable!("verified: {other} is no symbol of a kernel")).1
            }
        }
    }

    /// The address of a buffer's first element.
    pub fn buffer(&mut self, buffer: BufferRef) -> Value {
        let (BufferRef::Argument(slot) | BufferRef::Scratch(slot)) = buffer;
        self.buffers[slot as usize].expect("all of the op's buffers were found when it began")
    }

    /// Takes a buffer's address from the call's slot.
    fn find(&mut self, buffer: BufferRef) {
        let (BufferRef::Argument(slot) | BufferRef::Scratch(slot)) = buffer;
        if self.buffers[slot as usize].is_some() {
            return;
        }
        let [slots, arguments, scratch, tile] = self.places;
        let place = self.b.ins().load(self.pointer, fixed(), slots, 8 * slot as i32);
        let address = match buffer {
            BufferRef::Argument(_) => {
                let at = self.b.ins().iadd(arguments, place);
                self.b.ins().load(self.pointer, fixed(), at, 0)
            }
            BufferRef::Scratch(_) if self.function.portioned.is_some() => {
                let own = self.b.ins().load(self.pointer, fixed(), tile, offset_of!(Tile, own) as i32);
                let is_own = self.b.ins().band_imm_u(place, calls::OWN as i64);
                let place = self.b.ins().isub(place, is_own);
                let base = self.b.ins().select(is_own, own, scratch);
                self.b.ins().iadd(base, place)
            }
            BufferRef::Scratch(_) => self.b.ins().iadd(scratch, place),
        };
        self.buffers[slot as usize] = Some(address);
    }

    /// `for i in from..to, step`: runs `body` for each; `i` is i64.
    pub fn each(&mut self, from: Value, to: Value, step: i64, body: impl FnOnce(&mut Self, Value)) {
        let (head, inside, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let i = self.b.append_block_param(head, types::I64);
        self.b.ins().jump(head, &[BlockArg::Value(from)]);
        self.b.switch_to_block(head);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, i, to);
        self.b.ins().brif(more, inside, &[], after, &[]);
        self.b.switch_to_block(inside);
        body(self, i);
        let next = self.b.ins().iadd_imm_s(i, step);
        self.b.ins().jump(head, &[BlockArg::Value(next)]);
        self.b.switch_to_block(after);
    }

    fn wide(&mut self, wide: &Wide, callee: FuncRef) {
        let size = 8 * wide.frame.len() as u32;
        let slot = self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, size, 3));
        let fields: Vec<Value> = wide.frame.iter().map(|item| self.item(item)).collect();
        self.call(slot, &fields, callee);
    }

    fn item(&mut self, item: &Item) -> Value {
        match item {
            Item::Address { buffer, dtype, offset } => {
                let base = self.buffer(*buffer);
                let offset = self.dim(offset);
                let bytes = scale(self, offset, *dtype);
                self.b.ins().iadd(base, bytes)
            }
            Item::Size(size) => self.dim(size),
            Item::Extent(size) => self.extent(size),
            Item::Float(size) => {
                let size = self.dim(size);
                let float = self.b.ins().fcvt_from_sint(types::F32, size);
                let bits = self.b.ins().bitcast(types::I32, MemFlags::new(), float);
                self.b.ins().uextend(types::I64, bits)
            }
        }
    }

    fn gemm(&mut self, gemm: &Gemm, callee: FuncRef) {
        let size = size_of::<Product>() as u32;
        let slot = self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, size, 3));
        let zero = self.integer(0);
        let accumulate = self.integer(i64::from(gemm.accumulate));
        let panels = gemm.batch.last().filter(|axis| are_panels(gemm, axis));
        // The innermost sum is the product's, too: between its turns the result would be written and read.
        let runs = gemm.batch.last().filter(|axis| axis.reduce);
        let loops = &gemm.batch[..gemm.batch.len() - usize::from(panels.or(runs).is_some())];
        self.gemm_loops(loops, [zero; 3], accumulate, &mut |e, shifts, accumulate| {
            let (m, n, k) = (e.dim(&gemm.m), e.dim(&gemm.n), e.dim(&gemm.k));
            let mut fields = vec![m, n, k];
            for (matrix, shift) in [(&gemm.out, shifts[2]), (&gemm.lhs, shifts[0]), (&gemm.rhs, shifts[1])] {
                fields.extend(e.matrix(matrix, shift));
            }
            fields.push(accumulate);
            fields.extend(match panels {
                Some(axis) => [e.extent(&axis.extent), e.dim(&axis.rhs)],
                None => [e.integer(1), e.integer(0)],
            });
            fields.extend(match runs {
                Some(axis) => [e.dim(&axis.extent), e.dim(&axis.lhs), e.dim(&axis.rhs)],
                None => [1, 0, 0].map(|n| e.integer(n)),
            });
            e.call(slot, &fields, callee);
        });
    }

    /// The loops around a product; `shifts` are elements for left, right and output.
    fn gemm_loops(
        &mut self,
        loops: &[GemmAxis],
        shifts: [Value; 3],
        accumulate: Value,
        inside: &mut dyn FnMut(&mut Self, [Value; 3], Value),
    ) {
        let Some((axis, others)) = loops.split_first() else { return inside(self, shifts, accumulate) };
        let (zero, extent) = (self.integer(0), self.dim(&axis.extent));
        self.each(zero, extent, 1, |e, i| {
            let mut shifts = shifts;
            for (shift, stride) in shifts.iter_mut().zip([&axis.lhs, &axis.rhs, &axis.out]) {
                let stride = e.dim(stride);
                let step = e.b.ins().imul(i, stride);
                *shift = e.b.ins().iadd(*shift, step);
            }
            // All but the first turn of a summed axis add to what is there.
            let accumulate = if axis.reduce { e.b.ins().bor(accumulate, i) } else { accumulate };
            e.gemm_loops(others, shifts, accumulate, inside);
        });
    }

    fn matrix(&mut self, matrix: &Matrix, shift: Value) -> [Value; 3] {
        let base = self.buffer(matrix.buffer);
        let offset = self.dim(&matrix.offset);
        let at = self.b.ins().iadd(offset, shift);
        let bytes = scale(self, at, matrix.dtype);
        let address = self.b.ins().iadd(base, bytes);
        [address, self.dim(&matrix.row_stride), self.dim(&matrix.column_stride)]
    }

    fn fill(&mut self, fill: &Fill, callee: FuncRef) {
        let size = size_of::<Numbers>() as u32;
        let slot = self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, size, 3));
        let base = self.buffer(fill.buffer);
        let offset = self.dim(&fill.offset);
        let bytes = self.b.ins().ishl_imm_s(offset, 2);
        let out = self.b.ins().iadd(base, bytes);
        let (count, first) = (self.dim(&fill.count), self.dim(&fill.first));
        let site = self.integer(fill.site.into());
        let normal = self.integer((fill.distribution == Distribution::Normal).into());
        self.call(slot, &[out, count, first, site, normal, self.env], callee);
    }

    fn sort(&mut self, sort: &Sort, callee: FuncRef) {
        let size = size_of::<Line>() as u32;
        let slot = self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, size, 3));
        let zero = self.integer(0);
        self.sort_loops(sort, 0, [zero; 2], &mut |e, shifts| {
            let element = |e: &mut Self, access: &Access, shift: Value| {
                let base = e.buffer(access.buffer);
                let offset = e.dim(&access.offset);
                let at = e.b.ins().iadd(offset, shift);
                let bytes = e.b.ins().ishl_imm_s(at, 2);
                e.b.ins().iadd(base, bytes)
            };
            let n = e.dim(&sort.n);
            let source = element(e, &sort.source, shifts[0]);
            let stride = e.dim(&sort.source.strides[sort.axes.len()]);
            let places = element(e, &sort.out, shifts[1]);
            let keys = e.buffer(sort.keys);
            let whole = e.integer((sort.source.dtype == DType::I32).into());
            let descending = e.integer(sort.descending.into());
            e.call(slot, &[n, source, stride, places, keys, whole, descending], callee);
        });
    }

    /// The loops around a sort; `shifts` are elements for source and places.
    fn sort_loops(
        &mut self,
        sort: &Sort,
        depth: usize,
        shifts: [Value; 2],
        inside: &mut dyn FnMut(&mut Self, [Value; 2]),
    ) {
        let Some(extent) = sort.axes.get(depth) else { return inside(self, shifts) };
        let (zero, extent) = (self.integer(0), self.dim(extent));
        self.each(zero, extent, 1, |e, i| {
            let mut shifts = shifts;
            for (shift, access) in shifts.iter_mut().zip([&sort.source, &sort.out]) {
                let stride = e.dim(&access.strides[depth]);
                let step = e.b.ins().imul(i, stride);
                *shift = e.b.ins().iadd(*shift, step);
            }
            e.sort_loops(sort, depth + 1, shifts, inside);
        });
    }

    /// Calls with the address of a description on the stack.
    fn call(&mut self, slot: cranelift_codegen::ir::StackSlot, fields: &[Value], callee: FuncRef) {
        for (i, field) in fields.iter().enumerate() {
            let pointer = self.pointer;
            self.b.ins().stack_store(pointer, *field, slot, 8 * i as i32);
        }
        let address = self.b.ins().stack_addr(self.pointer, slot, 0);
        self.b.ins().call(callee, &[address]);
    }
}
