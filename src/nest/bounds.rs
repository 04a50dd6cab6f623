//! Which elements of scratch an op can reach.
//!
//! What enters: an op of a kernel whose names and types are right. What leaves: nothing, or the first access that leaves its
//! scratch buffer. Sizes are taken for the greatest tile and for a tile of one row, and for the greatest number of places of a turn; an
//! access whose sizes depend on the batch or on the place of the tile or of a turn is left to the interpreter. Not here: arguments, whose sizes a kernel does not know.

use super::verify::Symbols;
use super::{Access, BufferRef, Fill, Gemm, Inst, Kernel, Matrix, Nest, Sort, StoreKind};
use crate::base::Dim;

/// The least and the greatest of `offset + sum of index * stride`; `None` if there is no index or a size is not known.
fn reach(
    (kernel, symbols): (&Kernel, &Symbols),
    tile: i64,
    offset: &Dim,
    steps: &[(&Dim, &Dim)],
) -> Option<(i64, i64)> {
    let value = |dim: &Dim| {
        dim.eval(&|symbol| match symbol {
            "tile" => Some(tile),
            "rows" => kernel.rows.as_const(),
            other => symbols.iter().find(|(name, _)| name == other)?.1,
        })
    };
    let offset = value(offset)?;
    let (mut least, mut greatest) = (offset, offset);
    for (extent, stride) in steps {
        let (extent, stride) = (value(extent)?, value(stride)?);
        if extent <= 0 {
            return None;
        }
        least += (stride * (extent - 1)).min(0);
        greatest += (stride * (extent - 1)).max(0);
    }
    Some((least, greatest))
}

fn inside(
    scope: (&Kernel, &Symbols),
    buffer: BufferRef,
    offset: &Dim,
    steps: &[(&Dim, &Dim)],
) -> Result<(), String> {
    let kernel = scope.0;
    let BufferRef::Scratch(i) = buffer else { return Ok(()) };
    let scratch = &kernel.scratch[i as usize];
    let n_elements = (scratch.bytes / scratch.dtype.bytes() as u64) as i64;
    for tile in [i64::from(kernel.tile), 1] {
        match reach(scope, tile, offset, steps) {
            Some((least, greatest)) if least < 0 || greatest >= n_elements => {
                let at = if least < 0 { least } else { greatest };
                return Err(format!(
                    "rule 11: element {at} of {buffer}, which has {n_elements}, in a tile of {tile}"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

pub fn verify_nest_bounds(kernel: &Kernel, nest: &Nest, symbols: &Symbols) -> Result<(), String> {
    let check = |access: &Access, indexed: Option<(&Dim, &Dim)>| {
        let axes = nest.axes.iter().map(|axis| &axis.extent).zip(&access.strides);
        let steps: Vec<(&Dim, &Dim)> = axes.chain(indexed).collect();
        inside((kernel, symbols), access.buffer, &access.offset, &steps)
    };
    for inst in &nest.body {
        match inst {
            Inst::Load { access } => check(access, None)?,
            Inst::LoadAt { access, stride, bound, .. } => check(access, Some((bound, stride)))?,
            _ => {}
        }
    }
    nest.stores.iter().try_for_each(|store| match &store.kind {
        StoreKind::AddAt { stride, bound, .. } => check(&store.access, Some((bound, stride))),
        StoreKind::Reduce(_) | StoreKind::ArgMax => {
            let parallel = nest.axes.iter().zip(&store.access.strides).filter(|(axis, _)| !axis.reduce);
            let steps: Vec<(&Dim, &Dim)> = parallel.map(|(axis, stride)| (&axis.extent, stride)).collect();
            inside((kernel, symbols), store.access.buffer, &store.access.offset, &steps)
        }
        StoreKind::Set => check(&store.access, None),
    })
}

pub fn verify_gemm_bounds(kernel: &Kernel, gemm: &Gemm, symbols: &Symbols) -> Result<(), String> {
    let check = |matrix: &Matrix, rows: &Dim, columns: &Dim, along: fn(&super::GemmAxis) -> &Dim| {
        let loops = gemm.batch.iter().map(|axis| (&axis.extent, along(axis)));
        let own = [(rows, &matrix.row_stride), (columns, &matrix.column_stride)];
        inside((kernel, symbols), matrix.buffer, &matrix.offset, &loops.chain(own).collect::<Vec<_>>())
    };
    check(&gemm.lhs, &gemm.m, &gemm.k, |axis| &axis.lhs)?;
    check(&gemm.rhs, &gemm.k, &gemm.n, |axis| &axis.rhs)?;
    check(&gemm.out, &gemm.m, &gemm.n, |axis| &axis.out)
}

pub fn verify_fill_bounds(kernel: &Kernel, fill: &Fill, symbols: &Symbols) -> Result<(), String> {
    inside((kernel, symbols), fill.buffer, &fill.offset, &[(&fill.count, &Dim::from(1))])
}

pub fn verify_sort_bounds(kernel: &Kernel, sort: &Sort, symbols: &Symbols) -> Result<(), String> {
    for access in [&sort.source, &sort.out] {
        let extents = sort.axes.iter().chain([&sort.n]);
        let steps: Vec<(&Dim, &Dim)> = extents.zip(&access.strides).collect();
        inside((kernel, symbols), access.buffer, &access.offset, &steps)?;
    }
    inside((kernel, symbols), sort.keys, &Dim::from(0), &[(&Sort::key_elements(&sort.n), &Dim::from(1))])
}
