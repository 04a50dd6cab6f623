//! Factors of products in tiles that are made where they are multiplied.
//!
//! What enters: a product's side, and the nest that makes its elements (`nest/fused_product.rs`). What leaves: the text of two functions
//! of an element's place, and of what the helper is given of them (`preamble/made.cuh`): one loads what lies in memory for each element
//! alone, early, the other makes the element of that, of what many elements share, and of numbers. An element is made by the operations of
//! the nest, so that bits are those of a factor that was stored. Not here: which tiles there are (`product.rs`).

use super::body::{Body, storage_type, stored};
use super::kernel::Emitter;
use super::nest::indices;
use super::product::address;
use crate::base::{DType, Dim};
use crate::nest::analysis::merge_axes;
use crate::nest::{Access, Gemm, GemmAxis, Inst, Matrix, Nest};

/// A factor of a product.
pub struct Side<'g> {
    /// `left` or `right`
    pub name: &'static str,
    pub matrix: &'g Matrix,
    /// Its rows or columns that are not summed over.
    pub across: &'g Dim,
    pub at: fn(&GemmAxis) -> &Dim,
    /// Whether neighbours lie along the terms.
    pub by_k: bool,
}

impl Side<'_> {
    /// Where the tile begins, and what counts from there.
    fn first(&self) -> &'static str {
        if self.name == "left" { "row" } else { "column" }
    }

    fn strides(&self) -> [&Dim; 2] {
        let Matrix { row_stride, column_stride, .. } = self.matrix;
        if self.name == "left" { [row_stride, column_stride] } else { [column_stride, row_stride] }
    }
}

/// The index of the nest for element (`r`, `k`) of the tile, where its axes are the factor's.
fn direct(gemm: &Gemm, side: &Side, nest: &Nest) -> Option<Vec<String>> {
    let is_one = gemm.batch.iter().all(|axis| axis.extent.is_const(1) || (side.at)(axis).is_const(0));
    let [outer, inner] = &nest.axes[..] else { return None };
    let (across, term) = (format!("({} + r)", side.first()), "k".to_string());
    let [of_across, of_term] = side.strides();
    let lies_by = |slow: (&Dim, &Dim), fast: (&Dim, &Dim)| {
        *slow.0 == outer.extent && *fast.0 == inner.extent && *slow.1 == inner.extent && fast.1.is_const(1)
    };
    let (rows, terms) = ((side.across, of_across), (&gemm.k, of_term));
    let index = match () {
        () if lies_by(rows, terms) => vec![across, term],
        () if lies_by(terms, rows) => vec![term, across],
        () => return None,
    };
    (is_one && side.matrix.offset.is_const(0)).then_some(index)
}

/// Writes what makes the elements of a side's tiles, and says what the helper is given. `loops`: what the product's loops are called.
pub fn made_factor(
    e: &mut Emitter,
    gemm: &Gemm,
    side: &Side,
    nest: &Nest,
    loops: &[String],
    [tile, terms]: [i64; 2],
) -> String {
    let integer = e.names.integer;
    e.helper("made");
    let nest = merge_axes(nest);
    let axes: Vec<usize> = (0..nest.axes.len()).collect();
    let direct = direct(gemm, side, &nest);
    let across = format!("({} + r)", side.first());
    let place = if side.name == "left" { [&across[..], "k"] } else { ["k", &across[..]] };
    let at = address(e, gemm, side.matrix, side.at, loops, place);
    let index = |e: &mut Emitter| {
        direct.clone().unwrap_or_else(|| {
            let mut index = vec![String::new(); axes.len()];
            e.w.line(format!("const {integer} at = {at};"));
            indices(e, &nest, &axes, "at", None, &mut index);
            index
        })
    };
    // What is one element's own waits in registers; what many share is near.
    let is_own = |access: &Access| {
        let mut moves = nest.axes.iter().zip(&access.strides);
        moves.all(|(axis, stride)| axis.extent.is_const(1) || !stride.is_const(0))
    };
    let own = nest.body.iter().enumerate().filter_map(|(i, inst)| match inst {
        Inst::Load { access } if is_own(access) => Some((i, access)),
        _ => None,
    });
    let own: Vec<(usize, &Access)> = own.collect();
    let mut body = Body::new(&nest, None);
    let (name, ty) = (side.name, format!("Of{}", if side.name == "left" { "Left" } else { "Right" }));
    e.w.open(format!("struct {ty}"));
    for (i, access) in &own {
        e.w.line(format!("{} v{i};", storage_type(access.dtype)));
    }
    e.w.close_with(";");
    e.w.open(format!("const auto load_{name} = [&]({integer} r, {integer} k) -> {ty}"));
    let places = index(e);
    let loads =
        own.iter().map(|(_, access)| format!("{}[{}]", e.buffer(access.buffer), e.address(access, &places)));
    let loads = loads.collect::<Vec<_>>().join(", ");
    e.w.line(format!("return {{{loads}}};"));
    e.w.close_with(";");
    let dtype: DType = side.matrix.dtype;
    e.w.open(format!(
        "const auto make_{name} = [&](const {ty}& loaded, {integer} r, {integer} k) -> {}",
        storage_type(dtype)
    ));
    let places = index(e);
    own.iter().for_each(|(i, _)| body.stage(*i, format!("loaded.v{i}")));
    body.instructions(e, &places, |_| true);
    e.w.line(format!("return {};", stored(dtype, body.value(nest.stores[0].value))));
    e.w.close_with(";");
    let across = e.names.dim(side.across);
    let k = e.names.dim(&gemm.k);
    format!(
        "made<{tile}, {terms}, {}, {ty}, {integer}>(load_{name}, make_{name}, {across} - {}, {k})",
        side.by_k,
        side.first()
    )
}
