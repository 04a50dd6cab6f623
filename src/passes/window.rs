//! Convolutions: the gradient by the input is a convolution, too.
//!
//! A product whose pieces are added up, `fold(a[.., p, ..] * w[t, ..])`, would first make all pieces, as many times the result as
//! there are taps. It is the product of windows on the padded `a` with the kernel turned about, which makes nothing but the
//! result (Dumoulin and Visin 2016, arXiv 1603.07285, section 4): element q gets `a` at `q - t * dilation` for each tap t,
//! which is tap `T - 1 - t` of the window at q on `a` with `(T - 1) * dilation` zeros before and behind.
//! Only at stride 1: at others most of what the windows read would be zeros between the elements of `a`.
//! So it is where a reshape of other axes stands between, which comes behind the result.
//! Before: `%p = contract %a, %w` with out labels `.. p t ..`, `fold %p`; after: `contract (window (pad %a)), (flip %w)`.

use crate::base::Dim;
use crate::graph::rewrite::{rewrite_in, use_counts};
use crate::graph::{Contraction, Graph, Kind, NodeId, Op, View, Windowing};

pub fn run(graph: &mut Graph) -> bool {
    if !graph.ids().any(|id| graph.node(id).kind() == Kind::Fold) {
        return false;
    }
    let (old, counts) = (graph.clone(), use_counts(graph));
    rewrite_in(graph, |new, node, operands| {
        if node.kind() != Kind::Fold {
            return None;
        }
        let Op::Fold(window) = node.op else { return None };
        // A product that others read, too, is there anyway.
        let pieces = old.node(node.operands[0]);
        let is_reshaped = pieces.op == Op::View(View::Reshape);
        let read = [Some(node.operands[0]), pieces.operands.first().copied().filter(|_| is_reshaped)];
        let alone = read.into_iter().flatten().all(|id| counts[id.index()] == 1);
        alone.then(|| reshaped(new, window, operands[0], &node.ty.shape)).flatten()
    })
}

/// Pieces may be a product whose last axes were put together, as groups of channels are: then so is the result.
fn reshaped(graph: &mut Graph, window: Windowing, pieces: NodeId, shape: &[Dim]) -> Option<NodeId> {
    let n = &shape[window.axis];
    if graph.node(pieces).op != Op::View(View::Reshape) {
        return convolution(graph, window, pieces, n);
    }
    let product = graph.node(pieces).operands[0];
    let first = 0..window.axis + 2;
    if graph.ty(product).shape.get(first.clone()) != graph.ty(pieces).shape.get(first) {
        return None;
    }
    let image = convolution(graph, window, product, n)?;
    graph.reshape(image, shape.to_vec()).ok()
}

fn convolution(graph: &mut Graph, window: Windowing, product: NodeId, n: &Dim) -> Option<NodeId> {
    let node = graph.node(product).clone();
    let Op::Contract(contraction) = &node.op else { return None };
    if window.stride != 1 {
        return None;
    }
    let [position, tap] = [0, 1].map(|i| contraction.out[window.axis + i]);
    let sides = [&contraction.lhs, &contraction.rhs];
    let only = |label: u8, side: usize| sides[side].contains(&label) && !sides[1 - side].contains(&label);
    // Which side has the positions; the other one is the kernel.
    let side = (0..2).find(|side| only(position, *side) && only(tap, 1 - side))?;
    let place =
        |label: u8, side: usize| sides[side].iter().position(|l| *l == label).expect("a label of that side");
    let (axis, tap_axis) = (place(position, side), place(tap, 1 - side));
    let [a, kernel] = [node.operands[side], node.operands[1 - side]];
    let taps = graph.ty(kernel).shape[tap_axis].clone();
    let border = (taps.clone() - Dim::from(1)) * Dim::from(window.dilation);

    let mut shape = graph.ty(a).shape.clone();
    let mut start = vec![Dim::from(0); shape.len()];
    start[axis] = border.clone();
    shape[axis] = n.clone() + border;
    let steps = vec![1; shape.len()];
    let padded = graph.pad(a, start, &steps, shape).ok()?;
    let on_a = Windowing { axis, ..window };
    let windows = graph.window(padded, on_a, n.clone(), taps).ok()?;
    let turned = graph.flip(kernel, &[tap_axis]).ok()?;

    let mut of_windows = sides[side].clone();
    of_windows.insert(axis + 1, tap);
    let mut out = contraction.out.clone();
    out.remove(window.axis + 1);
    let kernel_labels = sides[1 - side].clone();
    let (lhs, rhs) = if side == 0 { (of_windows, kernel_labels) } else { (kernel_labels, of_windows) };
    let [left, right] = if side == 0 { [windows, turned] } else { [turned, windows] };
    graph.contract(left, right, Contraction { lhs, rhs, out }).ok()
}
