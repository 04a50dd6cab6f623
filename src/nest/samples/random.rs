//! Random nests: any axes, strides, instructions and stores that the verifier accepts together.
//!
//! What enters: a seed. What leaves: a kernel of one nest, and arguments of the right sizes. Maxima and minima are taken of
//! numbers only, for the meaning of NaN in them is not said; what several tiles write is apart.

use super::parts::*;
use crate::base::philox::block;
use crate::base::{DType, Dim, ReduceOp};
use crate::nest::{Access, Inst, Kernel, Store, StoreKind, Value};
use crate::scalar::Func;

struct Maker {
    seed: u32,
    n_rolls: u32,
    /// Extents, the parallel axes first; the first is cut into tiles.
    extents: Vec<i64>,
    n_parallel: usize,
    body: Vec<Inst>,
    types: Vec<DType>,
    /// Values that are no NaN.
    is_number: Vec<bool>,
    arguments: Vec<(DType, char)>,
    data: Vec<Vec<f64>>,
}

impl Maker {
    fn below(&mut self, n: usize) -> usize {
        self.n_rolls += 1;
        block([self.n_rolls, 0, 0, 0], [self.seed, 0])[0] as usize % n
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    fn push(&mut self, inst: Inst, dtype: DType, is_number: bool) -> Value {
        self.body.push(inst);
        self.types.push(dtype);
        self.is_number.push(is_number);
        self.body.len() as Value - 1
    }

    /// Strides that tell all indices of `axes` apart, in any order of the axes, with gaps, forwards or backwards; and the
    /// first element's place and the number of elements.
    fn strides(&mut self, axes: &[usize]) -> (Vec<i64>, i64, i64) {
        let mut order = axes.to_vec();
        for i in (1..order.len()).rev() {
            let j = self.below(i + 1);
            if self.below(2) == 0 {
                order.swap(i, j);
            }
        }
        let mut strides = vec![0; self.extents.len()];
        let (mut n, mut first) = (self.pick(&[1, 1, 1, 2]), 0);
        for axis in order.into_iter().rev() {
            // The tiled axis runs forwards: a tile begins where `start` says.
            let is_backwards = axis != 0 && self.below(6) == 0;
            strides[axis] = if is_backwards { -n } else { n };
            first += if is_backwards { n * (self.extents[axis] - 1).max(0) } else { 0 };
            n *= self.extents[axis];
        }
        (strides, first, n)
    }

    /// An access of a new argument of `n` elements more than the axes need.
    fn access(&mut self, dtype: DType, axes: &[usize], access: char, n: i64) -> Access {
        let (strides, first, n_elements) = self.strides(axes);
        let i = self.arguments.len() as u32;
        self.arguments.push((dtype, access));
        let element = |maker: &mut Maker| match dtype {
            DType::F32 => maker.below(4001) as f64 / 1000.0 - 2.0,
            DType::BF16 => f64::from(maker.below(512) as u8) / 64.0 - 2.0,
            DType::I32 => maker.below(9) as f64 - 2.0,
            DType::U8 => maker.below(256) as f64,
            DType::Bool => maker.below(2) as f64,
        };
        let data = (0..n_elements + n).map(|_| f64::from(element(self) as f32)).collect();
        self.data.push(data);
        let offset = c(first) + symbol("start") * c(strides.first().copied().unwrap_or(0));
        at(argument(i), dtype, offset, &strides)
    }

    fn some_axes(&mut self) -> Vec<usize> {
        let all: Vec<usize> = (0..self.extents.len()).collect();
        if self.below(2) == 0 { all } else { all.into_iter().filter(|_| self.below(2) == 0).collect() }
    }

    fn instruction(&mut self) {
        match self.below(8) {
            0 | 1 => {
                let (dtype, axes) =
                    (self.pick(&[F32, F32, DType::BF16, I32, DType::U8, DType::Bool]), self.some_axes());
                let access = self.access(dtype, &axes, 'r', 0);
                self.push(load(access), dtype, true);
            }
            2 => {
                let axes = self.some_axes();
                let index = self.access(I32, &axes, 'r', 0);
                let index = self.push(load(index), I32, true);
                let (dtype, axes) = (self.pick(&DType::ALL), self.some_axes());
                let stride = self.pick(&[1, 3]);
                let access = self.access(dtype, &axes, 'r', 4 * stride);
                self.push(load_at(access, index, stride, 5), dtype, !dtype.is_float());
            }
            3 => {
                let value = f64::from(self.pick(&[0.0f32, 1.0, -1.5, 3.0]));
                self.push(number(value, F32), F32, true);
            }
            4 if !self.extents.is_empty() => {
                let axis = self.below(self.extents.len());
                let offset = if axis == 0 { symbol("start") } else { c(2) };
                self.push(Inst::Index { axis: axis as u32, offset }, I32, true);
            }
            5 => {
                let (from, to) = (self.below(self.body.len()), self.pick(&DType::ALL));
                let is_number = !to.is_float() || self.is_number[from];
                self.push(cast(to, from as Value), to, is_number);
            }
            _ => {
                let func = self.pick(Func::ALL);
                let operands: Vec<Value> =
                    (0..func.arity()).map(|_| self.below(self.body.len()) as Value).collect();
                let types: Vec<DType> = operands.iter().map(|v| self.types[*v as usize]).collect();
                if let Ok(dtype) = func.result_dtype(&types) {
                    self.push(call(func, &operands), dtype, dtype != F32);
                }
            }
        }
    }

    fn store(&mut self) -> Option<Store> {
        let value = self.below(self.body.len());
        let (dtype, n_reducing) = (self.types[value], self.extents.len() - self.n_parallel);
        let all: Vec<usize> = (0..self.extents.len()).collect();
        let parallel: Vec<usize> = (0..self.n_parallel).collect();
        let counts = matches!(dtype, DType::F32 | DType::I32);
        let value_id = value as Value;
        Some(match self.below(4) {
            0 => set(self.access(dtype, &all, 'w', 0), value_id),
            1 if counts && n_reducing > 0 => {
                let ops = [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min];
                let n_ops = if self.is_number[value] { 4 } else { 2 };
                let op = self.pick(&ops[..n_ops]);
                reduce(op, self.access(dtype, &parallel, 'w', 0), value_id)
            }
            2 if counts && n_reducing == 1 && self.is_number[value] => {
                argmax(self.access(I32, &parallel, 'w', 0), value_id)
            }
            3 if counts => {
                let indices: Vec<usize> = (0..self.body.len()).filter(|v| self.types[*v] == I32).collect();
                let index = *indices.first()? as Value;
                // Rows of the tiled axis apart, so that tiles do not meet.
                let axes: Vec<usize> = parallel.into_iter().take(1).collect();
                let access = self.access(dtype, &axes, 'b', 0);
                // Each row is five places.
                let widened = Access {
                    offset: access.offset.clone() * c(5),
                    strides: access.strides.iter().map(|s| s.clone() * c(5)).collect(),
                    ..access
                };
                let last = self.data.last_mut().expect("the access has an argument");
                *last = last.repeat(5);
                add_at(widened, index, 1, 5, value_id)
            }
            _ => return None,
        })
    }
}

/// A kernel of one random nest, and its arguments.
pub fn random_nest(seed: u32) -> (Kernel, Vec<Vec<f64>>) {
    let mut maker = Maker {
        seed,
        n_rolls: 0,
        extents: Vec::new(),
        n_parallel: 0,
        body: Vec::new(),
        types: Vec::new(),
        is_number: Vec::new(),
        arguments: Vec::new(),
        data: Vec::new(),
    };
    maker.n_parallel = 1 + maker.below(3);
    for _ in 0..maker.n_parallel + maker.pick(&[0, 0, 1, 1, 2]) {
        let extent = maker.pick(&[1, 2, 3, 4, 5, 7, 8, 9]);
        let extent = if maker.below(30) == 0 { 0 } else { extent };
        maker.extents.push(extent);
    }
    let axes = maker.some_axes();
    let access = maker.access(F32, &axes, 'r', 0);
    maker.push(load(access), F32, true);
    for _ in 0..2 + maker.below(8) {
        maker.instruction();
    }
    let mut stores: Vec<Store> = Vec::new();
    while stores.is_empty() {
        for _ in 0..1 + maker.below(3) {
            stores.extend(maker.store());
        }
    }
    let rows = maker.extents[0];
    let extents = |from: usize, to: usize| -> Vec<Dim> {
        let extent = |i: usize| if i == 0 { symbol("tile") } else { c(maker.extents[i]) };
        (from..to).map(extent).collect()
    };
    let op = nest(
        &extents(0, maker.n_parallel),
        &extents(maker.n_parallel, maker.extents.len()),
        maker.body.clone(),
        stores,
    );
    let tile = maker.pick(&[1, 3, 4, 16]);
    (kernel(c(rows), tile, &maker.arguments, vec![op]), maker.data)
}

/// What a nest's stores are, in words: for tests that ask whether all kinds have come.
pub fn kinds_of_stores(kernel: &Kernel) -> Vec<&'static str> {
    let name = |store: &Store| match store.kind {
        StoreKind::Set => "set",
        StoreKind::Reduce(_) => "reduce",
        StoreKind::ArgMax => "argmax",
        StoreKind::AddAt { .. } => "add at",
    };
    let nests = kernel.ops.iter().filter_map(|op| match op {
        crate::nest::TileOp::Nest(nest) => Some(nest),
        _ => None,
    });
    nests.flat_map(|nest| nest.stores.iter().map(name)).collect()
}
