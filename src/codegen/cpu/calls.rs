//! A kernel as calls: equal ops are one function.
//!
//! What enters: kernels. What leaves: the functions to be compiled, each of one op, and for each kernel which of them it calls and
//! where that call's buffers lie. Two ops are equal if they differ in nothing but their buffers' places; so twelve layers take the
//! code of one, whatever kernels they are in. Invariant: a kernel's calls are its ops, in their order. Not here: machine code.

use super::StepEnv;
use super::portions::{self, Portioned};
use super::ticks::{What, mark};
use crate::base::Dim;
use crate::base::hash::{FastMap, FastSet};
use crate::nest::analysis::{each_buffer, types_of};
use crate::nest::{ArgumentAccess, BufferRef, Inst, Kernel, TileOp};
use std::ops::Range;

/// An op whose buffers are numbered in the order in which it names them; `rows` are its kernel's.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Function {
    pub rows: Dim,
    pub op: TileOp,
    /// How many buffers it names.
    pub n_slots: usize,
    pub around: Around,
    /// If threads take it in portions.
    pub portioned: Option<Portioned>,
}

/// What the rest of its kernel means for an op.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub struct Around {
    /// Whether no other op of the kernel, nor any load of its own, touches what it stores to.
    pub only_stores: bool,
    /// By slot: rows to the next tile, as long as the plan has it, if what that reads there can be asked for while this op computes. So it is for the
    /// first op that reads this tile's part again and has work enough for the time that takes, if no op writes there and a cache has room
    /// for both parts; else it is 0.
    pub ahead: Vec<u32>,
}

/// Of an array, what a core's second-level cache has room for beside what else a tile reads and writes.
const AHEAD_BYTES: i64 = 256 * 1024;
/// Steps at an index that take longer than to read an element takes.
const AHEAD_STEPS: usize = 3;

/// What a kernel does with a tile.
pub struct Calls {
    /// Which function, and the first of its slots.
    calls: Vec<(usize, usize)>,
    /// For an argument the bytes before its address in the table of addresses, for scratch those before it in the tile's scratch, or in
    /// the thread's own (`OWN`).
    slots: Vec<u64>,
    /// For each op whether threads may take it in portions.
    portioned: Vec<bool>,
}

/// Marks a slot for scratch that is a thread's own, while several are at the tile: places are multiples of 64.
pub const OWN: u64 = 1;

/// A tile, and the step that it is of.
#[repr(C)]
pub struct Tile {
    pub batch: i64,
    pub start: i64,
    pub rows: i64,
    pub env: *const StepEnv,
    /// Of ops in portions the one that is to be done, of so many.
    pub part: i64,
    pub parts: i64,
    /// Scratch of the thread that nobody else looks at.
    pub own: *mut u8,
}

impl Tile {
    /// A tile of one thread.
    pub fn whole(batch: i64, start: i64, rows: i64, env: *const StepEnv, scratch: *mut u8) -> Tile {
        Tile { batch, start, rows, env, part: 0, parts: 1, own: scratch }
    }
}

/// The call's slots, arguments' addresses, scratch, the tile.
pub type OpFn = unsafe extern "C" fn(*const u64, *const *mut u8, *mut u8, *const Tile);

/// The functions that the kernels take, each once, in the order of their first calls; and the kernels' calls. `in_portions`: of each
/// kernel whether several threads are at a tile of it.
pub fn share(kernels: &[Kernel], in_portions: &dyn Fn(usize) -> bool) -> (Vec<Function>, Vec<Calls>) {
    let mut known: FastMap<Function, usize> = FastMap::default();
    let calls =
        kernels.iter().enumerate().map(|(i, kernel)| calls(kernel, in_portions(i), &mut known)).collect();
    let mut functions: Vec<(Function, usize)> = known.into_iter().collect();
    functions.sort_unstable_by_key(|(_, number)| *number);
    (functions.into_iter().map(|(function, _)| function).collect(), calls)
}

fn calls(kernel: &Kernel, in_portions: bool, known: &mut FastMap<Function, usize>) -> Calls {
    let (mut calls, mut slots) = (Vec::with_capacity(kernel.ops.len()), Vec::new());
    let mut portioned = Vec::with_capacity(kernel.ops.len());
    let mut n_named: FastMap<BufferRef, usize> = FastMap::default();
    for op in &kernel.ops {
        each_buffer(&mut op.clone(), &mut |buffer| *n_named.entry(*buffer).or_default() += 1);
    }
    let mut of_op: Vec<BufferRef> = Vec::new();
    let [mut was_read, mut asked]: [FastSet<BufferRef>; 2] = Default::default();
    for kernel_op in &kernel.ops {
        let mut op = kernel_op.clone();
        of_op.clear();
        each_buffer(&mut op, &mut |buffer| {
            let slot = of_op.iter().position(|known| known == buffer).unwrap_or_else(|| {
                of_op.push(*buffer);
                of_op.len() - 1
            });
            *buffer = match buffer {
                BufferRef::Argument(_) => BufferRef::Argument(slot as u32),
                BufferRef::Scratch(_) => BufferRef::Scratch(slot as u32),
            };
        });
        let next = known.len();
        let mut around = Around {
            only_stores: stores_to(&op).all(|slot| n_named[&of_op[slot as usize]] == 1),
            ahead: vec![0; of_op.len()],
        };
        let has_time = n_steps(&op) >= AHEAD_STEPS;
        for (slot, bytes) in loads_of(&op, kernel.tile) {
            let buffer = of_op[slot];
            let fits = bytes.is_some_and(|n| n <= AHEAD_BYTES);
            let may_ask = fits && has_time && is_only_read(kernel, buffer) && was_read.contains(&buffer);
            if may_ask && asked.insert(buffer) {
                around.ahead[slot] = kernel.tile;
            }
        }
        was_read.extend(loads_of(&op, kernel.tile).map(|(slot, _)| of_op[slot]));
        // What a loop's turns alone touch is made by each anew.
        let mut n_inside: FastMap<BufferRef, usize> = FastMap::default();
        let taken = if in_portions { portions::in_portions(&op) } else { None };
        let (op, of) = match taken {
            Some((op, of)) => {
                if let TileOp::Loop(_) = op {
                    each_buffer(&mut kernel_op.clone(), &mut |buffer| {
                        *n_inside.entry(*buffer).or_default() += 1
                    });
                }
                (op, Some(of))
            }
            None => (op, None),
        };
        portioned.push(of.is_some());
        let function =
            Function { rows: kernel.rows.clone(), op, n_slots: of_op.len(), around, portioned: of };
        calls.push((*known.entry(function).or_insert(next), slots.len()));
        slots.extend(of_op.iter().map(|buffer| match buffer {
            BufferRef::Argument(i) => u64::from(*i) * size_of::<*mut u8>() as u64,
            BufferRef::Scratch(i) => {
                let is_own = n_inside.get(buffer) == Some(&n_named[buffer]);
                kernel.scratch[*i as usize].offset | if is_own { OWN } else { 0 }
            }
        }));
    }
    Calls { calls, slots, portioned }
}

/// The slots that a nest stores to.
fn stores_to(op: &TileOp) -> impl Iterator<Item = u32> {
    let stores = if let TileOp::Nest(nest) = op { &nest.stores[..] } else { &[] };
    stores.iter().map(|store| match store.access.buffer {
        BufferRef::Argument(slot) | BufferRef::Scratch(slot) => slot,
    })
}

/// The slots that a nest loads from, and how many bytes of each a tile of so many rows visits, if that is known.
fn loads_of(op: &TileOp, tile: u32) -> impl Iterator<Item = (usize, Option<i64>)> {
    let nest = if let TileOp::Nest(nest) = op { Some(nest) } else { None };
    let loads = nest.into_iter().flat_map(|nest| nest.body.iter().map(move |inst| (nest, inst)));
    loads.filter_map(move |(nest, inst)| {
        let Inst::Load { access } = inst else { return None };
        let (BufferRef::Argument(slot) | BufferRef::Scratch(slot)) = access.buffer;
        let size = |dim: &Dim| dim.eval(&|symbol| (symbol == "tile").then_some(tile.into()));
        let axes = nest.axes.iter().zip(&access.strides).filter(|(_, stride)| !stride.is_const(0));
        let bytes = access.dtype.bytes() as i64;
        let bytes =
            axes.map(|(axis, _)| size(&axis.extent)).try_fold(bytes, |n, extent| n.checked_mul(extent?));
        Some((slot as usize, bytes))
    })
}

/// What a nest computes at an index.
fn n_steps(op: &TileOp) -> usize {
    let TileOp::Nest(nest) = op else { return 0 };
    let types = types_of(nest);
    let of_inst = |inst: &Inst| match inst {
        Inst::Call { func, arguments } => {
            arguments.last().map_or(0, |last| func.n_steps(types[*last as usize]))
        }
        _ => 0,
    };
    nest.body.iter().map(of_inst).sum()
}

fn is_only_read(kernel: &Kernel, buffer: BufferRef) -> bool {
    matches!(buffer, BufferRef::Argument(i) if kernel.arguments[i as usize].access == ArgumentAccess::Read)
}

impl Calls {
    /// The function of each op.
    pub fn functions(&self) -> impl Iterator<Item = usize> {
        self.calls.iter().map(|(function, _)| *function)
    }

    /// For each op whether threads may take it in portions.
    pub fn portioned(&self) -> &[bool] {
        &self.portioned
    }

    /// Runs some of the ops; in portions only such as can be.
    ///
    /// # Safety
    /// `functions` are those that `share` gave along with these calls, compiled; `arguments` are addresses of the kernel's
    /// arguments, and `scratch` and the tile's own have its bytes; all are this call's alone to use, as far as it writes.
    pub unsafe fn run(
        &self,
        functions: &[OpFn],
        ops: Range<usize>,
        arguments: *const *mut u8,
        scratch: *mut u8,
        tile: &Tile,
        ticks: bool,
    ) {
        for (op, (function, first)) in ops.clone().zip(&self.calls[ops]) {
            // SAFETY: the function was compiled from an op with as many slots as begin here; the rest is the caller's promise.
            unsafe { functions[*function](self.slots[*first..].as_ptr(), arguments, scratch, tile) };
            if ticks {
                mark(What::Done { op: op as u32 });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::DType;
    use crate::nest::samples::*;
    use crate::nest::{Loop, Scratch, TurnOrder};
    use crate::scalar::Func;

    /// Two ops that differ in their buffers alone are one function; another size, or scratch for an argument, is another.
    #[test]
    fn equal_ops_are_one_function() {
        let mut kernel = affine(2);
        kernel.scratch.push(Scratch { dtype: DType::F32, offset: 128, bytes: 64 });
        let first = kernel.ops[0].clone();
        let of = |to: &dyn Fn(u32) -> BufferRef| {
            let mut op = first.clone();
            each_buffer(&mut op, &mut |buffer| {
                if let BufferRef::Argument(i) = buffer {
                    *buffer = to(*i);
                }
            });
            op
        };
        kernel.ops.push(of(&|i| argument(7 - i)));
        kernel.ops.push(of(&|i| argument(7 - i)));
        kernel.ops.push(of(&|i| if i == 0 { scratch(0) } else { argument(i) }));
        let mut longer = kernel.clone();
        longer.rows = longer.rows + Dim::from(1);
        let (functions, calls) = share(&[kernel.clone(), longer, kernel], &|_| false);
        let called: Vec<Vec<usize>> = calls.iter().map(|calls| calls.functions().collect()).collect();
        assert_eq!(called, [[0, 0, 0, 1], [2, 2, 2, 3], [0, 0, 0, 1]]);
        assert_eq!(functions.len(), 4);
        assert!(
            functions.iter().all(|function| !function.around.only_stores),
            "all arguments are named twice"
        );
        let (functions, _) = share(&[affine(2)], &|_| false);
        assert!(functions.iter().all(|function| function.around.only_stores), "each argument is named once");
        let n = functions[0].n_slots;
        assert_eq!(calls[0].slots[..2 * n].iter().sum::<u64>(), 7 * 8 * n as u64);
        assert!(calls[0].slots[2 * n..].contains(&128));
    }

    /// The next tile's rows are asked for by who has the time for it, where they stay, and where nobody writes.
    #[test]
    fn rows_are_asked_for_ahead() {
        let cases = [
            (visited_twice(1024, Func::Exp, false), 16),
            (visited_twice(1024, Func::Neg, false), 0),
            (visited_twice(8192, Func::Exp, false), 0),
            (visited_twice(1024, Func::Exp, true), 0),
        ];
        for (kernel, rows) in cases {
            let (functions, _) = share(&[kernel], &|_| false);
            assert_eq!(functions[0].around.ahead, [0, 0]);
            assert_eq!(functions[1].around.ahead[0], rows, "{:?}", functions[1].op);
            assert!(functions[1].around.ahead[1..].iter().all(|rows| *rows == 0));
        }
    }

    /// What the turns of a loop in any order alone touch lies in each thread's own scratch, and nothing else does.
    #[test]
    fn portions_of_a_loop_have_scratch_of_their_own() {
        let turn = || Dim::symbol("turn");
        let copy = |from, at_from, to, at_to| {
            let load = load(at(from, DType::F32, at_from, &[1]));
            nest(&[c(1)], &[], vec![load], vec![set(at(to, DType::F32, at_to, &[1]), 0)])
        };
        for (order, is_read_after, own) in [
            (TurnOrder::Any, false, [true, false]),
            (TurnOrder::Any, true, [false, false]),
            (TurnOrder::Counted, false, [false, false]),
        ] {
            let ops =
                vec![copy(argument(0), turn(), scratch(0), c(0)), copy(scratch(0), c(0), scratch(1), turn())];
            let l = Loop { turn: "turn".into(), extent: c(9), block: 1, order, ops };
            let mut after = vec![copy(scratch(1), c(0), argument(1), c(0))];
            after.extend(is_read_after.then(|| copy(scratch(0), c(0), argument(1), c(1))));
            let ops = std::iter::once(TileOp::Loop(l)).chain(after).collect();
            let kernel = with_scratch(
                kernel(c(1), 1, &[(DType::F32, 'r'), (DType::F32, 'w')], ops),
                &[(DType::F32, 64, 1), (DType::F32, 128, 9)],
            );
            for in_portions in [true, false] {
                let (functions, calls) = share(std::slice::from_ref(&kernel), &|_| in_portions);
                let n_slots = functions[calls[0].calls[0].0].n_slots;
                let slots = &calls[0].slots[..n_slots];
                let is_own = |place: u64| slots.contains(&(place | OWN));
                let expected = own.map(|own| own && in_portions);
                assert_eq!(
                    [64, 128].map(is_own),
                    expected,
                    "{order:?}, read after: {is_read_after}, {slots:?}"
                );
                assert_eq!(calls[0].portioned[0], in_portions && order == TurnOrder::Any);
            }
        }
    }
}
