//! Matrix products.
//!
//! What enters: a `Gemm`. What leaves: loops. Each element is one sum in the order of its terms, one fused multiply-add after another,
//! as on the CPU and with the same bits; products on tensor cores (of bf16 factors, or of f32 factors where the plan allows that they are
//! rounded to tf32) add the terms of a step in the order of the device. A
//! small product, or one inside of a kernel of many ops, gives a thread one element at a time. A kernel that is one large product
//! gives a block a tile of the result: the greatest of `TILES` of which there are enough for a large GPU. Inside of turns that blocks
//! share a block makes all tiles of its product, one after another. An epilogue (`nest/fused_product.rs`) finds each sum in the register in
//! which it was made; a prologue makes each element of a factor that a thread brings to shared memory (`made_factor.rs`).

use super::body::{Body, loaded};
use super::kernel::Emitter;
use super::made_factor::{Side, made_factor};
use super::nest::indices;
use crate::base::{DType, Dim};
use crate::nest::analysis::merge_axes;
use crate::nest::fused_product::FusedProduct;
use crate::nest::{BufferRef, Gemm, GemmAxis, Matrix};
use crate::plan::is_tiled;

/// Rows and columns of a block's tile.
const TILES: [i64; 3] = [128, 64, 32];
/// Blocks that keep a large GPU busy.
const ENOUGH: f64 = 256.0;
/// Threads of a block that makes a tile.
const THREADS: f64 = 256.0;

/// Tiles of the result, of a size.
fn n_tiles(e: &Emitter, gemm: &Gemm, tile: i64) -> f64 {
    let loops = gemm.batch.iter().filter(|axis| !axis.reduce).map(|axis| e.names.most(&axis.extent));
    let along = |dim: &Dim| (e.names.most(dim) / tile as f64).ceil();
    loops.product::<f64>() * along(&gemm.m) * along(&gemm.n)
}

/// The size of a block's tile, if the product is made in tiles.
fn tile(e: &Emitter, gemm: &Gemm) -> Option<i64> {
    let is_alone = e.kernel.ops.len() == 1 && e.kernel.scratch.is_empty() || e.fused.is_some();
    if !(is_alone || e.in_turns) || !has_tiles(e, gemm) {
        return None;
    }
    let (m, n) = (e.names.most(&gemm.m), e.names.most(&gemm.n));
    let is_enough = |tile: i64| e.in_turns || n_tiles(e, gemm, tile) >= ENOUGH;
    let fits = |tile: &i64| m.min(n) * 2.0 > *tile as f64 && is_enough(*tile);
    Some(TILES.into_iter().find(fits).unwrap_or(TILES[2]))
}

/// Indices that threads can share.
pub fn units(e: &Emitter, gemm: &Gemm) -> f64 {
    if let Some(tile) = tile(e, gemm) {
        return n_tiles(e, gemm, tile) * THREADS;
    }
    let loops = gemm.batch.iter().filter(|axis| !axis.reduce).map(|axis| &axis.extent);
    loops.chain([&gemm.m, &gemm.n]).map(|dim| e.names.most(dim)).product()
}

/// `offset + loops + row * row_stride + column * column_stride`
pub fn address(
    e: &Emitter,
    gemm: &Gemm,
    matrix: &Matrix,
    at: fn(&GemmAxis) -> &Dim,
    loops: &[String],
    [row, column]: [&str; 2],
) -> String {
    let mut strides: Vec<Dim> = gemm.batch.iter().map(|axis| at(axis).clone()).collect();
    strides.extend([matrix.row_stride.clone(), matrix.column_stride.clone()]);
    let index: Vec<String> = loops.iter().cloned().chain([row.to_string(), column.to_string()]).collect();
    e.names.address(&matrix.offset, &strides, &index)
}

/// What makes a tile: the helper, and how many neighbours of a factor it copies at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    F32,
    /// Tensor cores.
    Bf16,
    Tf32,
}

impl Unit {
    fn of(e: &Emitter, gemm: &Gemm) -> Unit {
        match gemm.lhs.dtype {
            DType::BF16 => Unit::Bf16,
            _ if e.allows_tf32 => Unit::Tf32,
            _ => Unit::F32,
        }
    }

    fn helper(self) -> (&'static str, i64) {
        match self {
            Unit::F32 => ("add_product_f32", 4),
            Unit::Bf16 => ("add_product_bf16", 8),
            Unit::Tf32 => ("add_product_tf32", 4),
        }
    }

    /// Terms of a tile.
    fn terms(self) -> i64 {
        if self == Unit::Bf16 { 32 } else { 16 }
    }

    /// Shared memory for tiles, at most: two stages of both factors.
    fn bytes(self, tile: i64) -> u32 {
        let of_stage = match self {
            Unit::F32 => 16 * (tile + 4) * 4,
            Unit::Bf16 => (tile * 40).max(32 * (tile + 8)) * 2,
            Unit::Tf32 => 16 * (tile + 8) * 4,
        };
        4 * of_stage as u32
    }
}

/// Whether a block that has the product alone makes a tile of it.
pub fn has_tiles(e: &Emitter, gemm: &Gemm) -> bool {
    let [m, n, k] = [&gemm.m, &gemm.n, &gemm.k].map(|dim| e.names.most(dim));
    is_tiled(m, n, k)
}

pub fn emit_product(e: &mut Emitter, gemm: &Gemm) {
    match tile(e, gemm) {
        Some(tile) => by_tile(e, gemm, tile),
        None => by_element(e, gemm),
    }
}

/// What a factor's layout allows: whether neighbours lie along k, and whether `at_once` of them can be copied together.
fn layout(
    e: &Emitter,
    matrix: &Matrix,
    [across, along]: [&Dim; 2],
    loops: &[&Dim],
    at_once: i64,
) -> (bool, bool) {
    let aligned = |other: &Dim| {
        [&matrix.offset, other]
            .into_iter()
            .chain(loops.iter().copied())
            .all(|d| e.names.is_multiple(d, at_once))
    };
    if along.is_const(1) {
        (true, aligned(across))
    } else {
        (!across.is_const(1), across.is_const(1) && aligned(along))
    }
}

fn by_tile(e: &mut Emitter, gemm: &Gemm, tile: i64) {
    let integer = e.names.integer;
    let unit = Unit::of(e, gemm);
    let (name, at_once) = unit.helper();
    e.helper(name);
    let (m, n, k) = (e.names.dim(&gemm.m), e.names.dim(&gemm.n), e.names.dim(&gemm.k));
    let tiles = |size: &Dim, text: &str| match e.names.resolve(size).as_const() {
        Some(size) => ((size + tile - 1) / tile).to_string(),
        None => format!("(({text} + {}) / {tile})", tile - 1),
    };
    let (m_tiles, n_tiles) = (tiles(&gemm.m, &m), tiles(&gemm.n, &n));
    let parallel: Vec<usize> = (0..gemm.batch.len()).filter(|i| !gemm.batch[*i].reduce).collect();
    let around = parallel.iter().fold(Dim::from(1), |n, i| n * gemm.batch[*i].extent.clone());
    let all = format!("{} * {m_tiles} * {n_tiles}", e.names.dim(&around));
    let first = if e.parts == 1 { "0" } else { "part" };
    if [&n_tiles, &m_tiles].into_iter().all(|n| n == "1") && around.is_const(1) {
        e.w.open("");
        e.w.line(format!("const {integer} column = 0, row = 0;"));
    } else {
        e.w.open(format!("for ({integer} i = {first}; i < {all}; i += {})", e.parts));
        e.w.line(format!("const {integer} column = i % {n_tiles} * {tile};"));
        e.w.line(format!("const {integer} row = i / {n_tiles} % {m_tiles} * {tile};"));
    }
    let mut loops = vec!["0".to_string(); gemm.batch.len()];
    let mut inside = format!("{n_tiles} * {m_tiles}");
    for axis in parallel.iter().rev().filter(|axis| !gemm.batch[**axis].extent.is_const(1)) {
        let extent = e.names.dim(&gemm.batch[*axis].extent);
        e.w.line(format!("const {integer} b{axis} = i / ({inside}) % {extent};"));
        loops[*axis] = format!("b{axis}");
        inside = format!("{inside} * {extent}");
    }
    let out_at = address(e, gemm, &gemm.out, |axis| &axis.out, &loops, ["(row + r)", "(column + c)"]);
    let out = e.buffer(gemm.out.buffer);
    // Elements of a thread: their places in `sums`, in the tile.
    let (sums, places, row, column) = if unit != Unit::F32 {
        let (down, across) = (tile / 2, tile / 4);
        (
            format!("sums[{}][{}][4]", tile / 32, tile / 32),
            vec![("i", tile / 32), ("j", tile / 32), ("e", 4)],
            format!("thread / 128 * {down} + i * 16 + thread % 32 / 4 + e / 2 * 8"),
            format!("thread / 32 % 4 * {across} + j * 8 + thread % 4 * 2 + e % 2"),
        )
    } else {
        (
            format!("sums[{}][{}]", tile / 16, tile / 16),
            vec![("i", tile / 16), ("j", tile / 16)],
            "thread / 16 + i * 16".to_string(),
            "thread % 16 + j * 16".to_string(),
        )
    };
    let place: String = places.iter().map(|(name, _)| format!("[{name}]")).collect();
    let each = |e: &mut Emitter, statements: &dyn Fn(&mut Emitter)| {
        for (name, n) in &places {
            e.w.line("#pragma unroll");
            e.w.open(format!("for (int {name} = 0; {name} < {n}; ++{name})"));
        }
        e.w.line(format!("const int r = {row}, c = {column};"));
        e.w.line(format!("if (row + r >= {m} || column + c >= {n}) continue;"));
        statements(e);
        places.iter().for_each(|_| e.w.close());
    };
    e.w.line(format!("float {sums} = {{}};"));
    if gemm.accumulate {
        each(e, &|e| e.w.line(format!("sums{place} = {out}[{out_at}];")));
    }
    let reducing: Vec<usize> = (0..gemm.batch.len()).filter(|i| gemm.batch[*i].reduce).collect();
    for axis in &reducing {
        let extent = e.names.dim(&gemm.batch[*axis].extent);
        e.w.open(format!("for ({integer} b{axis} = 0; b{axis} < {extent}; ++b{axis})"));
        loops[*axis] = format!("b{axis}");
    }
    let strides = |at: fn(&GemmAxis) -> &Dim| -> Vec<&Dim> { gemm.batch.iter().map(at).collect() };
    let (left, right) = (&gemm.lhs, &gemm.rhs);
    let lhs = layout(e, left, [&left.row_stride, &left.column_stride], &strides(|axis| &axis.lhs), at_once);
    let rhs =
        layout(e, right, [&right.column_stride, &right.row_stride], &strides(|axis| &axis.rhs), at_once);
    // Tiles of f32 lie across k whatever the factor, so only what lies across it is copied by fours.
    let together = |(by_k, aligned): (bool, bool)| aligned && (unit == Unit::Bf16 || !by_k);
    let is_far = |matrix: &Matrix| matches!(matrix.buffer, BufferRef::Argument(_));
    let lhs_at = address(e, gemm, left, |axis| &axis.lhs, &loops, ["row", "0"]);
    let rhs_at = address(e, gemm, right, |axis| &axis.rhs, &loops, ["0", "column"]);
    let (a, b) = (e.buffer(left.buffer), e.buffer(right.buffer));
    let instance = format!(
        "{name}<{tile}, {tile}, {}, {}, {}, {}, {}, {}, {integer}>",
        is_far(left),
        lhs.0,
        together(lhs),
        is_far(right),
        rhs.0,
        together(rhs)
    );
    let prologues = e.fused.map_or([None; 2], |fused| fused.prologues);
    let terms = unit.terms();
    let sides = [
        Side { name: "left", matrix: left, across: &gemm.m, at: |axis| &axis.lhs, by_k: lhs.0 },
        Side { name: "right", matrix: right, across: &gemm.n, at: |axis| &axis.rhs, by_k: rhs.0 },
    ];
    let mut makers = Vec::new();
    for (side, prologue) in sides.iter().zip(prologues) {
        makers.push(match prologue {
            Some(prologue) => made_factor(e, gemm, side, prologue.nest, &loops, [tile, terms]),
            None => "Copied()".into(),
        });
    }
    e.w.line(format!("{instance}("));
    e.of_products = e.of_products.max(unit.bytes(tile));
    let size = |dim: &Dim| e.names.dim(dim);
    let (lhs_row, lhs_k) = (size(&left.row_stride), size(&left.column_stride));
    let (rhs_k, rhs_column) = (size(&right.row_stride), size(&right.column_stride));
    let makers = match &prologues {
        [None, None] => String::new(),
        _ => format!(", {}", makers.join(", ")),
    };
    let [lies_left, lies_right] = prologues.map(|prologue| prologue.is_none());
    let nowhere = || "nullptr, 0, 0".to_string();
    let lhs = if lies_left { format!("{a} + {lhs_at}, {lhs_row}, {lhs_k}") } else { nowhere() };
    let rhs = if lies_right { format!("{b} + {rhs_at}, {rhs_k}, {rhs_column}") } else { nowhere() };
    e.w.line(format!("    sums, stages, {lhs}, {m} - row,"));
    e.w.line(format!("    {rhs}, {n} - column, {k}{makers});"));
    reducing.iter().for_each(|_| e.w.close());
    let fused = e.fused;
    each(e, &|e| {
        if fused.is_none_or(|fused| fused.is_stored(e.kernel)) {
            e.w.line(format!("{out}[{out_at}] = sums{place};"));
        }
        if let Some(fused) = &fused {
            follow(e, fused, &format!("sums{place}"), &out_at);
        }
    });
    e.w.close();
}

/// What is made of the element `sum` of a product, which is element `at` of its result, in order.
fn follow(e: &mut Emitter, fused: &FusedProduct, sum: &str, at: &str) {
    let Some(nest) = fused.epilogue.map(merge_axes) else { return };
    let gemm = fused.gemm;
    let mut index = vec![String::new(); nest.axes.len()];
    let extents: Vec<&Dim> = nest.axes.iter().map(|axis| &axis.extent).collect();
    let is_row_by_row = gemm.batch.iter().all(|axis| axis.reduce || axis.extent.is_const(1))
        && gemm.out.column_stride.is_const(1)
        && gemm.out.row_stride == gemm.n;
    match extents[..] {
        [m, n] if is_row_by_row && *m == gemm.m && *n == gemm.n => {
            index = vec!["(row + r)".into(), "(column + c)".into()];
        }
        _ => {
            let axes: Vec<usize> = (0..nest.axes.len()).collect();
            e.w.line(format!("const {} at = {at};", e.names.integer));
            indices(e, &nest, &axes, "at", None, &mut index);
        }
    }
    let mut body = Body::new(&nest, None);
    for (i, _) in nest.body.iter().enumerate().filter(|(_, inst)| fused.is_of_product(inst)) {
        body.stage(i, sum.to_string());
    }
    body.instructions(e, &index, |_| true);
    body.sets(e, &index);
}

fn by_element(e: &mut Emitter, gemm: &Gemm) {
    let integer = e.names.integer;
    let parallel: Vec<usize> = (0..gemm.batch.len()).filter(|i| !gemm.batch[*i].reduce).collect();
    let all = parallel.iter().map(|i| &gemm.batch[*i].extent).chain([&gemm.m, &gemm.n]);
    let extents: Vec<Dim> = all.map(|dim| e.names.resolve(dim)).collect();
    let n = e.names.dim(&extents.iter().fold(Dim::from(1), |n, extent| n * extent.clone()));
    e.each("i", &n);
    let mut loops = vec![String::new(); gemm.batch.len()];
    let (mut inside, mut names) = (Dim::from(1), vec!["0".to_string(); extents.len()]);
    for (at, extent) in extents.iter().enumerate().rev().filter(|(_, extent)| !extent.is_const(1)) {
        let quotient = if inside.is_const(1) { "i".into() } else { format!("i / {}", e.names.dim(&inside)) };
        let is_outermost = extents[..at].iter().all(|extent| extent.is_const(1));
        let text = if is_outermost { quotient } else { format!("{quotient} % {}", e.names.dim(extent)) };
        inside = inside * extent.clone();
        names[at] = match at.checked_sub(parallel.len()) {
            None => format!("b{}", parallel[at]),
            Some(0) => "row".into(),
            Some(_) => "column".into(),
        };
        e.w.line(format!("const {integer} {} = {text};", names[at]));
    }
    let column = names.pop().expect("a product has columns");
    let row = names.pop().expect("a product has rows");
    for (axis, name) in parallel.iter().zip(names) {
        loops[*axis] = name;
    }
    let zero_loops = |loops: &[String]| -> Vec<String> {
        loops.iter().map(|name| if name.is_empty() { "0".to_string() } else { name.clone() }).collect()
    };
    let out = address(e, gemm, &gemm.out, |axis| &axis.out, &zero_loops(&loops), [&row, &column]);
    let out = format!("{}[{out}]", e.buffer(gemm.out.buffer));
    e.w.line(format!("float sum = {};", if gemm.accumulate { out.as_str() } else { "0.0f" }));
    let reducing: Vec<usize> = (0..gemm.batch.len()).filter(|i| gemm.batch[*i].reduce).collect();
    for axis in &reducing {
        let extent = e.names.dim(&gemm.batch[*axis].extent);
        e.w.open(format!("for ({integer} b{axis} = 0; b{axis} < {extent}; ++b{axis})"));
        loops[*axis] = format!("b{axis}");
    }
    let k = e.names.dim(&gemm.k);
    e.w.open(format!("for ({integer} k = 0; k < {k}; ++k)"));
    let lhs = address(e, gemm, &gemm.lhs, |axis| &axis.lhs, &loops, [&row, "k"]);
    let rhs = address(e, gemm, &gemm.rhs, |axis| &axis.rhs, &loops, ["k", &column]);
    let factor =
        |matrix: &Matrix, at: &str| loaded(matrix.dtype, &format!("{}[{at}]", e.buffer(matrix.buffer)));
    let line = format!("sum = __fmaf_rn({}, {}, sum);", factor(&gemm.lhs, &lhs), factor(&gemm.rhs, &rhs));
    e.w.line(line);
    (0..=reducing.len()).for_each(|_| e.w.close());
    e.w.line(format!("{out} = sum;"));
    e.w.close();
}
