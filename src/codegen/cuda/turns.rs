//! Loops over turns, and who takes which of them.
//!
//! What enters: a loop of a kernel. What leaves: the loop around its ops. Turns of most loops are taken one after another by each block. Where
//! the last op of a kernel is a loop whose turns may run at the same time, and there is nothing before it but what a block works out for
//! itself, the blocks of a tile deal the turns of this loop, and of such loops that are all there is inside of it, among each other. Inside,
//! a block shares no index with others.

use super::kernel::Emitter;
use crate::nest::{BufferRef, Kernel, Loop, TileOp, TurnOrder};

impl Emitter<'_> {
    pub fn turns(&mut self, l: &Loop) {
        let of_blocks = parallel_turns(self.kernel);
        if of_blocks.first().is_some_and(|first| std::ptr::eq(*first, l)) {
            return self.dealt_turns(&of_blocks);
        }
        let (integer, turn, block) = (self.names.integer, &l.turn, l.block);
        let extent = self.names.dim(&l.extent);
        let step = if block == 1 { format!("++{turn}") } else { format!("{turn} += {block}") };
        self.w.open(format!("for ({integer} {turn} = 0; {turn} < {extent}; {step})"));
        self.size(l);
        self.names.enter(l);
        self.ops(&l.ops, &[]);
        self.names.leave(l);
        self.barrier();
        self.w.close();
    }

    /// Turns that the tile's blocks share, one loop inside of another.
    fn dealt_turns(&mut self, loops: &[&Loop]) {
        let integer = self.names.integer;
        let mut counts = Vec::new();
        for l in loops {
            let (extent, block) = (self.names.resolve(&l.extent), i64::from(l.block));
            counts.push(match extent.as_const() {
                Some(extent) => ((extent + block - 1) / block).to_string(),
                None if block == 1 => self.names.dim(&extent),
                None => format!("(({} + {}) / {block})", self.names.dim(&extent), block - 1),
            });
        }
        let first = if self.blocks > 1 { "part" } else { "0" };
        let all = counts.join(" * ");
        self.w.open(format!("for ({integer} i = {first}; i < {all}; i += {})", self.blocks));
        for (n, l) in loops.iter().enumerate() {
            let inside = &counts[n + 1..];
            let mut at = "i".to_string();
            if !inside.is_empty() {
                at = format!("{at} / ({})", inside.join(" * "));
            }
            if n > 0 {
                at = format!("{at} % {}", counts[n]);
            }
            if l.block > 1 {
                at = format!("{at} * {}", l.block);
            }
            self.w.line(format!("const {integer} {} = {at};", l.turn));
            self.size(l);
            self.names.enter(l);
        }
        self.in_turns = true;
        self.ops(&loops.last().expect("there is one").ops, &[]);
        self.in_turns = false;
        loops.iter().rev().for_each(|l| self.names.leave(l));
        self.barrier();
        self.w.close();
    }

    /// How many places a turn has, where that is not known.
    fn size(&mut self, l: &Loop) {
        if l.block > 1 && !self.names.is_whole(l) {
            let (integer, extent) = (self.names.integer, self.names.dim(&l.extent));
            let (size, block, turn) = (l.size_symbol(), l.block, &l.turn);
            self.w.line(format!("const {integer} {size} = min(({integer}){block}, {extent} - {turn});"));
            self.w.line(format!("__builtin_assume({size} > 0);"));
        }
    }
}

/// The loops, one in another, whose turns blocks can share: nothing else in the kernel is seen by anyone but the block itself.
pub fn parallel_turns(kernel: &Kernel) -> Vec<&Loop> {
    let Some((TileOp::Loop(outermost), before)) = kernel.ops.split_last() else { return Vec::new() };
    let is_own = |op: &TileOp| match op {
        TileOp::Nest(nest) => nest.stores.iter().all(|s| matches!(s.access.buffer, BufferRef::Scratch(_))),
        _ => false,
    };
    if outermost.order != TurnOrder::Alone || !before.iter().all(is_own) {
        return Vec::new();
    }
    let mut loops = vec![outermost];
    while let [TileOp::Loop(inner)] = &loops[loops.len() - 1].ops[..]
        && inner.order == TurnOrder::Alone
    {
        loops.push(inner);
    }
    loops
}
