//! Kernels as text, for `gradc dump --after nest` and for snapshots.
//!
//! What enters: a kernel. What leaves: the same text for the same kernel: a header, arguments and scratch, then each op.
//! Buffers print as `$0` (argument) and `~0` (scratch), values as `v3`, indices as `i0`. One line a loop, one line an
//! instruction, in the order in which they run.

use super::{
    Access, BufferRef, Fill, Gemm, Inst, Kernel, Matrix, Nest, Sort, Store, StoreKind, TileOp, TurnOrder,
};
use crate::base::Dim;
use std::fmt::{self, Display, Formatter};

impl Display for BufferRef {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            BufferRef::Argument(i) => write!(f, "${i}"),
            BufferRef::Scratch(i) => write!(f, "~{i}"),
        }
    }
}

impl Display for Kernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "kernel {} rows {} tile {} {{", self.name, self.rows, self.tile)?;
        for (i, argument) in self.arguments.iter().enumerate() {
            writeln!(f, "  ${i}: {} {}", argument.dtype, format!("{:?}", argument.access).to_lowercase())?;
        }
        for (i, scratch) in self.scratch.iter().enumerate() {
            writeln!(f, "  ~{i}: {} {} bytes at {}", scratch.dtype, scratch.bytes, scratch.offset)?;
        }
        write_ops(f, &self.ops, "  ")?;
        writeln!(f, "}}")
    }
}

impl Display for Nest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_nest(f, self, "")
    }
}

fn write_ops(f: &mut Formatter<'_>, ops: &[TileOp], indent: &str) -> fmt::Result {
    ops.iter().try_for_each(|op| match op {
        TileOp::Nest(nest) => write_nest(f, nest, indent),
        TileOp::Gemm(gemm) => write_gemm(f, gemm, indent),
        TileOp::Fill(fill) => write_fill(f, fill, indent),
        TileOp::Sort(sort) => write_sort(f, sort, indent),
        TileOp::Loop(l) => {
            let by = if l.block > 1 { format!(" by {}", l.block) } else { String::new() };
            let order = match l.order {
                TurnOrder::Counted => "",
                TurnOrder::Any => ", in any order",
                TurnOrder::Alone => ", each alone",
            };
            writeln!(f, "{indent}each {} < {}{by}{order} {{", l.turn, l.extent)?;
            write_ops(f, &l.ops, &format!("{indent}  "))?;
            writeln!(f, "{indent}}}")
        }
    })
}

fn write_nest(f: &mut Formatter<'_>, nest: &Nest, indent: &str) -> fmt::Result {
    let mut indent = indent.to_string();
    for (i, axis) in nest.axes.iter().enumerate() {
        let word = if axis.reduce { "fold" } else { "for" };
        writeln!(f, "{indent}{word} i{i} < {}", axis.extent)?;
        indent.push_str("  ");
    }
    if nest.axes.is_empty() {
        writeln!(f, "{indent}once")?;
        indent.push_str("  ");
    }
    for (i, inst) in nest.body.iter().enumerate() {
        writeln!(f, "{indent}v{i} = {inst}")?;
    }
    nest.stores.iter().try_for_each(|store| writeln!(f, "{indent}{store}"))
}

/// `$0[start * 784 + 784 i0 + i1]`
impl Display for Access {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.buffer, address(&self.offset, &self.strides))
    }
}

fn address(offset: &Dim, strides: &[Dim]) -> String {
    let index = |(i, stride): (usize, &Dim)| match stride.as_const() {
        Some(0) => None,
        Some(1) => Some(format!("i{i}")),
        Some(c) => Some(format!("{c} i{i}")),
        None => Some(format!("({stride}) i{i}")),
    };
    let mut terms: Vec<String> = strides.iter().enumerate().filter_map(index).collect();
    if !offset.is_const(0) || terms.is_empty() {
        terms.insert(0, offset.to_string());
    }
    terms.join(" + ")
}

impl Display for Inst {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Inst::Load { access } => write!(f, "load {} {access}", access.dtype),
            Inst::LoadAt { access, index, stride, bound } => {
                write!(f, "load {} {access} at v{index} * {stride} if v{index} < {bound}", access.dtype)
            }
            Inst::Const { bits, dtype } => write!(f, "const {dtype} {:?}", f64::from_bits(*bits)),
            Inst::Index { axis, offset } if offset.is_const(0) => write!(f, "index i{axis}"),
            Inst::Index { axis, offset } => write!(f, "index {offset} + i{axis}"),
            Inst::Size { size } => write!(f, "size {size}"),
            Inst::Call { func, arguments } => {
                write!(f, "{}", func.name())?;
                let mut separator = " ";
                for v in arguments {
                    write!(f, "{separator}v{v}")?;
                    separator = ", ";
                }
                Ok(())
            }
            Inst::Cast { to, argument } => write!(f, "cast {to} v{argument}"),
        }
    }
}

impl Display for Store {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (access, value) = (&self.access, self.value);
        match &self.kind {
            StoreKind::Set => write!(f, "{access} = v{value}"),
            StoreKind::Reduce(op) => write!(f, "{access} = {} of v{value}", format!("{op:?}").to_lowercase()),
            StoreKind::ArgMax => write!(f, "{access} = place of the greatest v{value}"),
            StoreKind::AddAt { index, stride, bound } => {
                write!(f, "{access} at v{index} * {stride} += v{value} if v{index} < {bound}")
            }
        }
    }
}

fn write_gemm(f: &mut Formatter<'_>, gemm: &Gemm, indent: &str) -> fmt::Result {
    let mut indent = indent.to_string();
    for (i, axis) in gemm.batch.iter().enumerate() {
        let word = if axis.reduce { "fold" } else { "for" };
        let (lhs, rhs, out) = (&axis.lhs, &axis.rhs, &axis.out);
        writeln!(f, "{indent}{word} b{i} < {}: left {lhs}, right {rhs}, out {out}", axis.extent)?;
        indent.push_str("  ");
    }
    let matrix =
        |m: &Matrix| format!("{}[{} + {} r + {} c]", m.buffer, m.offset, m.row_stride, m.column_stride);
    let (out, lhs, rhs) = (matrix(&gemm.out), matrix(&gemm.lhs), matrix(&gemm.rhs));
    let sign = if gemm.accumulate { "+=" } else { "=" };
    writeln!(f, "{indent}gemm {} x {} x {}: {out} {sign} {lhs} * {rhs}", gemm.m, gemm.n, gemm.k)
}

fn write_fill(f: &mut Formatter<'_>, fill: &Fill, indent: &str) -> fmt::Result {
    let kind = format!("{:?}", fill.distribution).to_lowercase();
    let Fill { buffer, offset, count, first, site, .. } = fill;
    writeln!(f, "{indent}random {kind} {site}: {buffer}[{offset} ..], {count} from element {first}")
}

fn write_sort(f: &mut Formatter<'_>, sort: &Sort, indent: &str) -> fmt::Result {
    let mut indent = indent.to_string();
    for (i, extent) in sort.axes.iter().enumerate() {
        writeln!(f, "{indent}for i{i} < {extent}")?;
        indent.push_str("  ");
    }
    let word = if sort.descending { "down" } else { "up" };
    let Sort { axes, n, source, out, keys, .. } = sort;
    let line = axes.len();
    writeln!(
        f,
        "{indent}sort {word} i{line} < {n}: {out} = places of {} {source}, keys in {keys}",
        source.dtype
    )
}
