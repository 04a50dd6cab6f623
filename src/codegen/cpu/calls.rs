//! A kernel as calls: equal ops are one function.
//!
//! What enters: kernels. What leaves: the functions to be compiled, each of one op, and for each kernel which of them it calls and
//! where that call's buffers lie. Two ops are equal if they differ in nothing but their buffers' places; so twelve layers take the
//! code of one, whatever kernels they are in. Invariant: a kernel's calls are its ops, in their order. Not here: machine code.

use super::StepEnv;
use super::ticks::{What, mark};
use crate::base::Dim;
use crate::base::hash::FastMap;
use crate::nest::analysis::each_buffer;
use crate::nest::{BufferRef, Kernel, TileOp};

/// An op whose buffers are numbered in the order in which it names them; `rows` are its kernel's.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Function {
    pub rows: Dim,
    pub op: TileOp,
    /// How many buffers it names.
    pub n_slots: usize,
    /// Whether no other op of its kernel, nor any load of its own, touches what it stores to.
    pub only_stores: bool,
}

/// What a kernel does with a tile.
pub struct Calls {
    /// Which function, and the first of its slots.
    calls: Vec<(usize, usize)>,
    /// For an argument the bytes before its address in the table of addresses, for scratch those before it in the thread's scratch.
    slots: Vec<u64>,
}

/// A tile, and the step that it is of.
#[repr(C)]
pub struct Tile {
    pub batch: i64,
    pub start: i64,
    pub rows: i64,
    pub env: *const StepEnv,
}

/// The call's slots, arguments' addresses, scratch, the tile.
pub type OpFn = unsafe extern "C" fn(*const u64, *const *mut u8, *mut u8, *const Tile);

/// The functions that the kernels take, each once, in the order of their first calls; and the kernels' calls.
pub fn share(kernels: &[Kernel]) -> (Vec<Function>, Vec<Calls>) {
    let mut known: FastMap<Function, usize> = FastMap::default();
    let calls = kernels.iter().map(|kernel| calls(kernel, &mut known)).collect();
    let mut functions: Vec<(Function, usize)> = known.into_iter().collect();
    functions.sort_unstable_by_key(|(_, number)| *number);
    (functions.into_iter().map(|(function, _)| function).collect(), calls)
}

fn calls(kernel: &Kernel, known: &mut FastMap<Function, usize>) -> Calls {
    let (mut calls, mut slots) = (Vec::with_capacity(kernel.ops.len()), Vec::new());
    let mut n_named: FastMap<BufferRef, usize> = FastMap::default();
    for op in &kernel.ops {
        each_buffer(&mut op.clone(), &mut |buffer| *n_named.entry(*buffer).or_default() += 1);
    }
    let mut of_op: Vec<BufferRef> = Vec::new();
    for op in &kernel.ops {
        let mut op = op.clone();
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
        let only_stores = stores_to(&op).all(|slot| n_named[&of_op[slot as usize]] == 1);
        let function = Function { rows: kernel.rows.clone(), op, n_slots: of_op.len(), only_stores };
        calls.push((*known.entry(function).or_insert(next), slots.len()));
        slots.extend(of_op.iter().map(|buffer| match buffer {
            BufferRef::Argument(i) => u64::from(*i) * size_of::<*mut u8>() as u64,
            BufferRef::Scratch(i) => kernel.scratch[*i as usize].offset,
        }));
    }
    Calls { calls, slots }
}

/// The slots that a nest stores to.
fn stores_to(op: &TileOp) -> impl Iterator<Item = u32> {
    let stores = if let TileOp::Nest(nest) = op { &nest.stores[..] } else { &[] };
    stores.iter().map(|store| match store.access.buffer {
        BufferRef::Argument(slot) | BufferRef::Scratch(slot) => slot,
    })
}

impl Calls {
    /// The function of each op.
    pub fn functions(&self) -> impl Iterator<Item = usize> {
        self.calls.iter().map(|(function, _)| *function)
    }

    /// # Safety
    /// `functions` are those that `share` gave along with these calls, compiled; `arguments` are addresses of the kernel's
    /// arguments, and `scratch` has its bytes; both are this call's alone to use, as far as it writes.
    pub unsafe fn run(
        &self,
        functions: &[OpFn],
        arguments: *const *mut u8,
        scratch: *mut u8,
        tile: &Tile,
        ticks: bool,
    ) {
        for (op, (function, first)) in self.calls.iter().enumerate() {
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
    use crate::nest::Scratch;
    use crate::nest::samples::{affine, argument, scratch};

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
        let (functions, calls) = share(&[kernel.clone(), longer, kernel]);
        let called: Vec<Vec<usize>> = calls.iter().map(|calls| calls.functions().collect()).collect();
        assert_eq!(called, [[0, 0, 0, 1], [2, 2, 2, 3], [0, 0, 0, 1]]);
        assert_eq!(functions.len(), 4);
        assert!(functions.iter().all(|function| !function.only_stores), "all arguments are named twice");
        let (functions, _) = share(&[affine(2)]);
        assert!(functions.iter().all(|function| function.only_stores), "each argument is named once");
        let n = functions[0].n_slots;
        assert_eq!(calls[0].slots[..2 * n].iter().sum::<u64>(), 7 * 8 * n as u64);
        assert!(calls[0].slots[2 * n..].contains(&128));
    }
}
