//! What a kernel must be; backends trust it.
//!
//! 1. A buffer that is named exists, and is accessed as elements of its own type.
//! 2. An argument is written only if its access says so.
//! 3. An access has one stride for each axis of its nest; parallel axes come before reducing ones.
//! 4. Operands of an instruction are earlier values; a call has its function's arity and operand types.
//! 5. A stored value has the buffer's type; a place of the greatest is i32; an index is i32; what is reduced, compared for its
//!    place or added is f32 or i32.
//! 6. A reducing store does not move along reducing axes, and there is no `ArgMax` over more than one axis.
//! 7. All sizes are over `batch`, `rows`, `start`, `tile` and the turns of the loops around, whose symbols differ and which have at
//!    least one place; `Kernel::rows` is over `batch`.
//! 8. Matrices and random numbers are f32; the factors of a product may both be bf16.
//! 9. A tile has at least one row.
//! 10. A scratch buffer starts at a multiple of 64 bytes and holds whole elements.
//! 11. Scratch is accessed inside of its buffer, in the greatest tile and in a tile of one row, where the batch has no part in
//!     the sizes (`bounds.rs`).
//! 12. A sort's source is f32 or i32, its places are i32 and neighbours, its keys lie in scratch of i32.

use super::bounds::{verify_fill_bounds, verify_gemm_bounds, verify_nest_bounds, verify_sort_bounds};
use super::{Access, ArgumentAccess, BufferRef, Inst, Kernel, Nest, Sort, StoreKind, TileOp, Value};
use crate::base::{DType, Dim};
use smol_str::SmolStr;

/// The first rule that is broken, and where.
pub fn verify(kernel: &Kernel) -> Result<(), String> {
    in_scope(&kernel.rows, &vec![("batch".into(), None)])?;
    if kernel.tile == 0 {
        return Err("rule 9: the tile has no rows".into());
    }
    for (i, scratch) in kernel.scratch.iter().enumerate() {
        let is_whole = scratch.bytes.is_multiple_of(scratch.dtype.bytes() as u64);
        if !scratch.offset.is_multiple_of(64) || !is_whole {
            return Err(format!("rule 10: ~{i}: {} bytes at {}", scratch.bytes, scratch.offset));
        }
    }
    let mut symbols: Symbols = ["batch", "rows", "start", "tile"].map(|s| (s.into(), None)).to_vec();
    verify_ops(kernel, &kernel.ops, &mut symbols).map_err(|e| format!("{}, {e}", kernel.name))
}

/// Those that sizes may name at this place; of the number of a turn's places what it is at most.
pub type Symbols = Vec<(SmolStr, Option<i64>)>;

fn verify_ops(kernel: &Kernel, ops: &[TileOp], symbols: &mut Symbols) -> Result<(), String> {
    for (i, op) in ops.iter().enumerate() {
        verify_op(kernel, op, symbols).map_err(|e| format!("op {i}: {e}"))?;
    }
    Ok(())
}

fn verify_op(kernel: &Kernel, op: &TileOp, symbols: &mut Symbols) -> Result<(), String> {
    match op {
        TileOp::Nest(nest) => {
            verify_nest(kernel, nest, symbols)?;
            verify_nest_bounds(kernel, nest, symbols)
        }
        TileOp::Gemm(gemm) => {
            let sides = [(&gemm.lhs, false), (&gemm.rhs, false), (&gemm.out, true)];
            let dims = [&gemm.m, &gemm.n, &gemm.k].into_iter();
            let loops = gemm.batch.iter().flat_map(|a| [&a.extent, &a.lhs, &a.rhs, &a.out]);
            let strides = sides.iter().flat_map(|(m, _)| [&m.offset, &m.row_stride, &m.column_stride]);
            dims.chain(loops).chain(strides).try_for_each(|dim| in_scope(dim, symbols))?;
            for (matrix, write) in sides {
                verify_buffer(kernel, matrix.buffer, matrix.dtype, write)?;
            }
            let [left, right, out] = sides.map(|(matrix, _)| matrix.dtype);
            if left != right || !matches!(left, DType::F32 | DType::BF16) || out != DType::F32 {
                return Err(format!("rule 8: {out} from {left} and {right}"));
            }
            verify_gemm_bounds(kernel, gemm, symbols)
        }
        TileOp::Fill(fill) => {
            [&fill.offset, &fill.count, &fill.first].into_iter().try_for_each(|d| in_scope(d, symbols))?;
            verify_buffer(kernel, fill.buffer, DType::F32, true)?;
            verify_fill_bounds(kernel, fill, symbols)
        }
        TileOp::Sort(sort) => {
            verify_sort(kernel, sort, symbols)?;
            verify_sort_bounds(kernel, sort, symbols)
        }
        TileOp::Loop(l) => {
            in_scope(&l.extent, symbols)?;
            if symbols.iter().any(|(symbol, _)| *symbol == l.turn) {
                return Err(format!("rule 7: {} is taken", l.turn));
            }
            if l.block == 0 {
                return Err(format!("rule 7: a turn of {} has no places", l.turn));
            }
            let n_outside = symbols.len();
            symbols.push((l.turn.clone(), None));
            symbols.extend((l.block > 1).then(|| (l.size_symbol(), Some(l.block.into()))));
            let checked = verify_ops(kernel, &l.ops, symbols);
            symbols.truncate(n_outside);
            checked
        }
    }
}

fn in_scope(dim: &Dim, symbols: &Symbols) -> Result<(), String> {
    match dim.symbols().iter().find(|s| !symbols.iter().any(|(symbol, _)| symbol == *s)) {
        None => Ok(()),
        Some(symbol) => Err(format!("rule 7: {symbol} in {dim}")),
    }
}

fn verify_buffer(kernel: &Kernel, buffer: BufferRef, dtype: DType, write: bool) -> Result<(), String> {
    let found = match buffer {
        BufferRef::Argument(i) => kernel.arguments.get(i as usize).map(|a| (a.dtype, a.access)),
        BufferRef::Scratch(i) => kernel.scratch.get(i as usize).map(|s| (s.dtype, ArgumentAccess::ReadWrite)),
    };
    match found {
        None => Err(format!("rule 1: there is no {buffer}")),
        Some((found, _)) if found != dtype => Err(format!("rule 1: {buffer} is {found}, not {dtype}")),
        Some((_, ArgumentAccess::Read)) if write => Err(format!("rule 2: {buffer} is only read")),
        Some((_, ArgumentAccess::Write)) if !write => Err(format!("rule 2: {buffer} is only written")),
        Some(_) => Ok(()),
    }
}

fn verify_access(
    kernel: &Kernel,
    nest: &Nest,
    access: &Access,
    write: bool,
    symbols: &Symbols,
) -> Result<(), String> {
    if access.strides.len() != nest.axes.len() {
        return Err(format!("rule 3: {access} in a nest of {} axes", nest.axes.len()));
    }
    access.strides.iter().chain([&access.offset]).try_for_each(|dim| in_scope(dim, symbols))?;
    verify_buffer(kernel, access.buffer, access.dtype, write)
}

fn verify_nest(kernel: &Kernel, nest: &Nest, symbols: &Symbols) -> Result<(), String> {
    nest.axes.iter().try_for_each(|axis| in_scope(&axis.extent, symbols))?;
    if nest.axes.windows(2).any(|w| w[0].reduce && !w[1].reduce) {
        return Err("rule 3: a parallel axis inside of a reducing one".into());
    }
    let mut types: Vec<DType> = Vec::with_capacity(nest.body.len());
    for (i, inst) in nest.body.iter().enumerate() {
        let of = |v: &Value| types.get(*v as usize).copied().ok_or(format!("rule 4: v{v} in v{i}"));
        let dtype = match inst {
            Inst::Load { access } => {
                verify_access(kernel, nest, access, false, symbols)?;
                access.dtype
            }
            Inst::LoadAt { access, index, stride, bound } => {
                verify_access(kernel, nest, access, false, symbols)?;
                in_scope(stride, symbols).and_then(|()| in_scope(bound, symbols))?;
                is_index(of(index)?)?;
                access.dtype
            }
            Inst::Const { dtype, .. } => *dtype,
            Inst::Index { axis, offset } => {
                in_scope(offset, symbols)?;
                if *axis as usize >= nest.axes.len() {
                    return Err(format!("rule 3: there is no axis {axis}"));
                }
                DType::I32
            }
            Inst::Size { size } => {
                in_scope(size, symbols)?;
                DType::F32
            }
            Inst::Call { func, arguments } => {
                let operands: Result<Vec<DType>, String> = arguments.iter().map(of).collect();
                func.result_dtype(&operands?).map_err(|e| format!("rule 4: v{i}, {}: {e}", func.name()))?
            }
            Inst::Cast { to, argument } => {
                of(argument)?;
                *to
            }
        };
        types.push(dtype);
    }
    let n_reduced = nest.axes.iter().filter(|axis| axis.reduce).count();
    for store in &nest.stores {
        verify_access(kernel, nest, &store.access, true, symbols)?;
        let value = *types.get(store.value as usize).ok_or(format!("rule 4: v{} is stored", store.value))?;
        let expected = if store.kind == StoreKind::ArgMax { DType::I32 } else { value };
        if store.access.dtype != expected {
            return Err(format!("rule 5: {store}: v{} is {value}", store.value));
        }
        if store.kind != StoreKind::Set && !matches!(value, DType::F32 | DType::I32) {
            return Err(format!("rule 5: {store}: {value} does not count"));
        }
        match &store.kind {
            StoreKind::Reduce(_) | StoreKind::ArgMax => {
                let fixed = &store.access.strides[nest.axes.len() - n_reduced..];
                let too_many = store.kind == StoreKind::ArgMax && n_reduced != 1;
                if too_many || fixed.iter().any(|s| !s.is_const(0)) {
                    return Err(format!("rule 6: {store}"));
                }
            }
            StoreKind::AddAt { index, stride, bound } => {
                in_scope(stride, symbols).and_then(|()| in_scope(bound, symbols))?;
                is_index(*types.get(*index as usize).ok_or(format!("rule 4: v{index}"))?)?;
            }
            StoreKind::Set => {}
        }
    }
    Ok(())
}

fn verify_sort(kernel: &Kernel, sort: &Sort, symbols: &Symbols) -> Result<(), String> {
    sort.axes.iter().chain([&sort.n]).try_for_each(|dim| in_scope(dim, symbols))?;
    for (access, write) in [(&sort.source, false), (&sort.out, true)] {
        if access.strides.len() != sort.axes.len() + 1 {
            return Err(format!("rule 3: {access} in a sort within {} loops", sort.axes.len()));
        }
        access.strides.iter().chain([&access.offset]).try_for_each(|dim| in_scope(dim, symbols))?;
        verify_buffer(kernel, access.buffer, access.dtype, write)?;
    }
    let types_fit = matches!(sort.source.dtype, DType::F32 | DType::I32) && sort.out.dtype == DType::I32;
    let neighbours = sort.out.strides.last().is_some_and(|stride| stride.is_const(1));
    if !types_fit || !neighbours || !matches!(sort.keys, BufferRef::Scratch(_)) {
        return Err(format!("rule 12: {} from {}, keys in {}", sort.out, sort.source, sort.keys));
    }
    verify_buffer(kernel, sort.keys, DType::I32, true)
}

fn is_index(dtype: DType) -> Result<(), String> {
    if dtype == DType::I32 { Ok(()) } else { Err(format!("rule 5: an index of type {dtype}")) }
}
