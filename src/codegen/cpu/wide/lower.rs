//! A nest as loops over vectors.
//!
//! What enters: a verified nest whose neighbouring axes are merged, and its form. What leaves: a program. A value is made in the
//! outermost loop that knows all that it depends on. The loop along the vector axis is written up to three times: several vectors
//! side by side, one, and the tail, which has less lanes than a vector. `turn` writes the innermost loop of transposes. Only the vector
//! axis's counter indexes memory; along all
//! others the pointers move: each iteration by the axis's stride, less what the loops inside of it have moved.

use super::super::calls::Around;
use super::form::Form;
use super::program::{Along, Amount, Binary, Class, Counter, Item, Label, Op, Place, Program, Unary, V};
use super::rows::Rows;
use super::values::Values;
use crate::base::{DType, Dim, ReduceOp};
use crate::nest::analysis::{depends_on, types_of};
use crate::nest::{Access, BufferRef, Inst, Nest, Store, StoreKind};

const BYTES_OF_LINE: i64 = 64;

pub fn lower(nest: &Nest, form: &Form, around: &Around) -> Program {
    let mut lowering = Lowering::new(nest, form, around);
    lowering.whole();
    lowering.values.finish()
}

/// Accesses that keep their distance.
struct Group<'n> {
    access: &'n Access,
}

pub(super) struct Lowering<'n> {
    pub(super) nest: &'n Nest,
    pub(super) form: &'n Form,
    pub(super) around: &'n Around,
    types: Vec<DType>,
    pub(super) values: Values,
    groups: Vec<Group<'n>>,
    /// By instruction: how many loops it depends on, from outside, and whether its lanes may differ.
    depth: Vec<usize>,
    varies: Vec<bool>,
    /// By instruction, by vector beside; a single one where they are the same.
    made: Vec<Vec<V>>,
    /// Running values, by vector beside and by reducing store.
    sums: Vec<Vec<V>>,
    pub(super) beside: i64,
    pub(super) masked: bool,
    /// Whether what is written are the running values' first ones, in memory.
    begins: bool,
    /// By instruction, of a load that is turned, by vector beside: the vectors at a few indices of the innermost axis; and which of
    /// them is next.
    pub(super) turned: Vec<Vec<Vec<V>>>,
    pub(super) next_turned: Option<usize>,
    /// Whether whole vectors are written past the caches.
    pub(super) streams: bool,
    /// Rows that are read or added to at places.
    pub(super) rows: Rows,
}

impl<'n> Lowering<'n> {
    fn new(nest: &'n Nest, form: &'n Form, around: &'n Around) -> Self {
        let n = nest.body.len();
        let mut depth = vec![0; n];
        for (i, axis) in form.order.iter().enumerate() {
            for (inst, depends) in depends_on(nest, *axis).into_iter().enumerate() {
                if depends {
                    depth[inst] = i + 1;
                }
            }
        }
        let mut values = Values::default();
        values.program.n_counters = form.order.len();
        values.program.vector_counter = form.depth(form.vector);
        let (types, varies) = (types_of(nest), depends_on(nest, form.vector));
        let (made, sums) = (vec![Vec::new(); n], Vec::new());
        Lowering {
            nest,
            form,
            around,
            types,
            values,
            groups: Vec::new(),
            depth,
            varies,
            made,
            sums,
            beside: 1,
            masked: false,
            begins: false,
            turned: vec![Vec::new(); n],
            next_turned: None,
            streams: false,
            rows: Rows::default(),
        }
        .with_groups()
    }

    /// A pointer for each group of accesses.
    fn with_groups(mut self) -> Self {
        for access in crate::nest::analysis::accesses(self.nest) {
            if self.locate(access).is_none() {
                self.groups.push(Group { access });
                let (buffer, dtype, offset) = (access.buffer, access.dtype, access.offset.clone());
                let item = self.values.program.item(Item::Address { buffer, dtype, offset });
                self.values.program.pointers.push(item);
            }
        }
        self.find_rows();
        self
    }

    /// The group of an access, and its distance in bytes.
    pub(super) fn locate(&self, access: &Access) -> Option<(usize, i64)> {
        self.groups.iter().enumerate().find_map(|(i, Group { access: first })| {
            let same = (first.buffer, first.dtype) == (access.buffer, access.dtype)
                && first.strides == access.strides;
            let apart = same.then(|| (access.offset.clone() - first.offset.clone()).as_const()).flatten()?;
            let bytes = apart.checked_mul(access.dtype.bytes() as i64)?;
            // Less than an i32 by enough for vectors beside.
            (bytes.abs() < 1 << 30).then_some((i, bytes))
        })
    }

    pub(super) fn place(&self, access: &Access, beside: i64) -> Place {
        let (pointer, mut beyond) = self.locate(access).expect("all accesses have groups");
        let bytes = access.dtype.bytes() as i64;
        let counter = self.values.program.vector_counter;
        let stride = access.strides[self.form.vector].as_const().expect("the form has seen to it");
        beyond += beside * self.form.kind.lanes() * stride * bytes;
        let along = match stride {
            0 => Along::Fixed,
            1 => Along::Unit(counter),
            stride => Along::Strided(counter, Amount::Known(stride * bytes)),
        };
        Place { pointer, along, beyond }
    }

    /// Everything inside of the first `depth` loops.
    pub(super) fn run(&mut self, depth: usize) {
        let n_loops = self.form.order.len();
        if self.begins || depth == n_loops {
            return self.innermost(depth);
        }
        for beside in 0..self.n_beside(depth) {
            self.make(depth, beside);
        }
        let reduces = self.nest.stores.iter().any(|s| matches!(s.kind, StoreKind::Reduce(_)));
        if self.form.along_rows && depth + 1 == self.form.n_parallel {
            self.begins = true;
            self.vectors(n_loops - 1);
            self.begins = false;
            self.over(depth);
        } else if depth == self.form.n_parallel && reduces && !self.form.along_rows {
            self.reduction(depth);
        } else if depth + 1 == n_loops && self.rows.are_there() {
            self.rows(depth);
        } else {
            self.over(depth);
        }
    }

    /// How many vectors side by side the code that is being written takes at this depth.
    fn n_beside(&self, depth: usize) -> i64 {
        if depth > self.form.depth(self.form.vector) { self.beside } else { 1 }
    }

    /// The values that depend on the first `depth` loops, and on no further one.
    fn make(&mut self, depth: usize, beside: i64) {
        for i in 0..self.nest.body.len() {
            if self.depth[i] == depth && (beside == 0 || self.varies[i]) {
                let value = self.inst(i, beside);
                if beside == 0 {
                    self.made[i].clear();
                }
                self.made[i].push(value);
            }
        }
    }

    pub(super) fn value(&self, of: u32, beside: i64) -> V {
        let made = &self.made[of as usize];
        if self.varies[of as usize] { made[beside as usize] } else { made[0] }
    }

    fn inst(&mut self, i: usize, beside: i64) -> V {
        let nest = self.nest;
        match &nest.body[i] {
            Inst::Load { access } => match self.next_turned.filter(|_| self.form.turns(access)) {
                Some(next) => self.turned[i][beside as usize][next],
                None => self.load(access, beside),
            },
            Inst::LoadAt { access, .. } => self.load_of_row(i, access, beside),
            Inst::Const { bits, dtype } => {
                let value = f64::from_bits(*bits);
                match dtype {
                    DType::F32 | DType::BF16 => self.values.float(value as f32),
                    DType::Bool => self.values.always(value != 0.0),
                    DType::I32 | DType::U8 => self.values.integer(value as i32),
                }
            }
            Inst::Index { axis, offset } => self.index(*axis as usize, offset, beside),
            Inst::Size { size } => {
                let item = Item::Float(size.clone());
                self.values.item(item)
            }
            Inst::Call { func, arguments } => {
                let operands: Vec<V> = arguments.iter().map(|v| self.value(*v, beside)).collect();
                let dtype = self.types[*arguments.last().expect("a function has an operand") as usize];
                self.values.call(*func, &operands, dtype)
            }
            Inst::Cast { to, argument } => {
                let (value, from) = (self.value(*argument, beside), self.types[*argument as usize]);
                self.values.cast(value, from, *to)
            }
        }
    }

    fn load(&mut self, access: &Access, beside: i64) -> V {
        let (at, dtype, masked) = (self.place(access, beside), access.dtype, self.masked);
        let class = if dtype == DType::Bool { Class::Mask } else { Class::Lanes };
        self.ask_ahead(access, at);
        match at.along {
            Along::Fixed => self.values.make(class, |to| Op::Splat { to, at, dtype }),
            Along::Unit(_) => self.values.make(class, |to| Op::Load { to, at, dtype, masked }),
            Along::Strided(..) => {
                let steps = self.steps(access);
                self.values.make(class, |to| Op::Gather { to, at, steps, masked })
            }
        }
    }

    /// Asks for the line at the same place of the next tile: of vectors side by side for each line once.
    fn ask_ahead(&mut self, access: &Access, at: Place) {
        let (BufferRef::Argument(slot) | BufferRef::Scratch(slot)) = access.buffer;
        let rows = self.around.ahead.get(slot as usize).map_or(0, |rows| i64::from(*rows));
        let next = |symbol: &str| (symbol == "start").then(|| Dim::symbol("start") + Dim::from(rows));
        let begins_line = matches!(at.along, Along::Unit(_)) && at.beyond % BYTES_OF_LINE == 0;
        if rows == 0 || self.masked || !begins_line {
            return;
        }
        let apart = (access.offset.substitute(&next) - access.offset.clone()).as_const();
        let bytes = apart.and_then(|n| n.checked_mul(access.dtype.bytes() as i64));
        if let Some(bytes) = bytes.filter(|bytes| (1..1 << 30).contains(bytes)) {
            self.push(Op::Fetch { at: Place { beyond: at.beyond + bytes, ..at }, dtype: access.dtype });
        }
    }

    /// The lanes' distances from the first, in elements.
    fn steps(&mut self, access: &Access) -> V {
        let stride = access.strides[self.form.vector].as_const().expect("the form has seen to it");
        self.values.steps(stride as i32)
    }

    fn index(&mut self, axis: usize, offset: &Dim, beside: i64) -> V {
        let counter = self.form.depth(axis);
        let mut value = self.values.make(Class::Lanes, |to| Op::Index { to, counter });
        let mut add = |values: &mut Values, b: V| value = values.binary(Binary::AddI, value, b);
        match offset.as_const() {
            Some(0) => {}
            Some(offset) => {
                let offset = self.values.integer(offset as i32);
                add(&mut self.values, offset);
            }
            None => {
                let offset = self.values.item(Item::Size(offset.clone()));
                add(&mut self.values, offset);
            }
        }
        if axis == self.form.vector {
            let lanes = self.values.steps(1);
            add(&mut self.values, lanes);
            if beside > 0 {
                let further = self.values.integer((beside * self.form.kind.lanes()) as i32);
                add(&mut self.values, further);
            }
        }
        value
    }

    /// What is made at each index, what is stored there, and what sums take: one vector after another, so that few values wait.
    fn innermost(&mut self, depth: usize) {
        let nest = self.nest;
        for beside in 0..self.n_beside(self.form.order.len()) {
            if !self.begins {
                self.make(depth, beside);
            }
            let mut n_sums = 0;
            for store in &nest.stores {
                if self.form.along_rows {
                    self.take_in_memory(store, beside);
                    continue;
                }
                let value = self.value(store.value, beside);
                match store.kind {
                    StoreKind::Reduce(op) => {
                        let (sum, op) = (
                            self.sums[beside as usize][n_sums],
                            combination(op, self.types[store.value as usize]),
                        );
                        // Lanes that the tail does not have belong to no sum only where lanes are what is summed.
                        let masked = self.masked && nest.axes[self.form.vector].reduce;
                        self.values.push(Op::Take { op, sum, value, masked });
                        n_sums += 1;
                    }
                    StoreKind::AddAt { .. } => self.add(store, value),
                    _ => self.store(store, value, beside),
                }
            }
        }
    }

    /// Puts a running value's first one into memory, or takes the value at this index into what is there.
    fn take_in_memory(&mut self, store: &Store, beside: i64) {
        let StoreKind::Reduce(op) = store.kind else { unreachable!("the form has no others") };
        let dtype = self.types[store.value as usize];
        let value = if self.begins {
            self.identity(op, dtype)
        } else {
            let (at, masked) = (self.place(&store.access, beside), self.masked);
            let before = self.values.make(Class::Lanes, |to| Op::Load { to, at, dtype, masked });
            let value = self.value(store.value, beside);
            self.values.binary(combination(op, dtype), before, value)
        };
        self.store(store, value, beside);
    }

    fn store(&mut self, store: &Store, value: V, beside: i64) {
        let (at, dtype, masked) = (self.place(&store.access, beside), store.access.dtype, self.masked);
        match at.along {
            Along::Fixed => self.values.push(Op::StoreFirst { value, at }),
            Along::Unit(_) => {
                let value = self.values.stored(value, dtype);
                let streams = self.streams && !masked;
                self.values.push(Op::Store { value, at, dtype, masked, streams });
            }
            Along::Strided(..) => {
                let steps = self.steps(&store.access);
                self.values.push(Op::Scatter { value, at, steps, masked });
            }
        }
    }

    /// The reducing loops, from `depth` on, at one parallel index or at a vector of them.
    fn reduction(&mut self, depth: usize) {
        let nest = self.nest;
        let along = nest.axes[self.form.vector].reduce;
        let n_beside = if along { self.form.beside } else { self.beside };
        let reducing: Vec<&Store> = nest.stores.iter().filter(|s| s.kind != StoreKind::Set).collect();
        self.sums = (0..n_beside)
            .map(|_| reducing.iter().map(|store| self.begin(store)).collect::<Vec<V>>())
            .collect();
        self.over(depth);
        let mut sums = std::mem::take(&mut self.sums);
        if along {
            self.put_together(&reducing, &mut sums);
        }
        for (beside, of_vector) in sums.iter().enumerate() {
            for (store, sum) in reducing.iter().zip(of_vector) {
                self.store(store, *sum, beside as i64);
            }
        }
    }

    fn begin(&mut self, store: &Store) -> V {
        let StoreKind::Reduce(op) = store.kind else { unreachable!("the form has no others") };
        let identity = self.identity(op, self.types[store.value as usize]);
        self.values.make(Class::Lanes, |to| Op::Copy { to, a: identity })
    }

    fn identity(&mut self, op: ReduceOp, dtype: DType) -> V {
        match (op, dtype) {
            (ReduceOp::Sum, DType::F32) => self.values.float(0.0),
            (ReduceOp::Prod, DType::F32) => self.values.float(1.0),
            (ReduceOp::Max, DType::F32) => self.values.float(f32::NEG_INFINITY),
            (ReduceOp::Min, DType::F32) => self.values.float(f32::INFINITY),
            (ReduceOp::Sum, _) => self.values.integer(0),
            (ReduceOp::Prod, _) => self.values.integer(1),
            (ReduceOp::Max, _) => self.values.integer(i32::MIN),
            (ReduceOp::Min, _) => self.values.integer(i32::MAX),
        }
    }

    /// Vectors side by side into the first, and its lanes into its first lane: by halves.
    fn put_together(&mut self, reducing: &[&Store], sums: &mut Vec<Vec<V>>) {
        for (i, store) in reducing.iter().enumerate() {
            let StoreKind::Reduce(op) = store.kind else { unreachable!("the form has no others") };
            let op = combination(op, self.types[store.value as usize]);
            let mut width = sums.len();
            while width > 1 {
                let half = width.div_ceil(2);
                for k in 0..width - half {
                    sums[k][i] = self.values.binary(op, sums[k][i], sums[k + half][i]);
                }
                width = half;
            }
            // Half a vector's lanes, a quarter's, …
            for half in 4 - self.form.kind.lanes().ilog2() as u8..4 {
                let other = self.values.unary(Unary::Swap(half), sums[0][i]);
                sums[0][i] = self.values.binary(op, sums[0][i], other);
            }
        }
        sums.truncate(1);
    }

    pub(super) fn over(&mut self, depth: usize) {
        let axis = self.form.order[depth];
        if axis == self.form.vector {
            self.vectors(depth);
        } else if self.form.turn == Some(axis) && !self.masked {
            self.turns(depth);
        } else {
            self.indices(depth);
        }
    }

    pub(super) fn push(&mut self, op: Op) {
        self.values.push(op);
    }

    /// How far a pointer has moved when the loops from `depth` on have run.
    fn net(&self, group: usize, depth: usize) -> Dim {
        let Some(axis) = self.form.order.get(depth).copied().filter(|axis| *axis != self.form.vector) else {
            return Dim::from(0);
        };
        self.nest.axes[axis].extent.clone() * self.stride(group, axis)
    }

    fn stride(&self, group: usize, axis: usize) -> Dim {
        let access = self.groups[group].access;
        access.strides[axis].clone() * Dim::from(access.dtype.bytes() as i64)
    }

    /// Moves the pointers at the end of an iteration.
    pub(super) fn advance(&mut self, depth: usize) {
        let axis = self.form.order[depth];
        for pointer in 0..self.groups.len() {
            let stride = if axis == self.form.vector { Dim::from(0) } else { self.stride(pointer, axis) };
            let by = stride - self.net(pointer, depth + 1);
            if !by.is_const(0) {
                let by = self.values.program.amount(&by);
                self.push(Op::Advance { pointer, by });
            }
        }
    }

    fn indices(&mut self, depth: usize) {
        let counter: Counter = depth;
        let limit = self.values.program.extent(&self.nest.axes[self.form.order[depth]].extent);
        if matches!(limit, Amount::Known(n) if n <= 0) {
            return;
        }
        self.push(Op::Start { counter });
        self.looped(
            counter,
            1,
            limit,
            !matches!(limit, Amount::Known(_)),
            limit == Amount::Known(1),
            |this| {
                this.run(depth + 1);
                this.advance(depth);
            },
        );
    }

    /// `body` while the counter is below the limit; `may_be_none`: look before the first time; `once`: there is only one.
    pub(super) fn looped(
        &mut self,
        counter: Counter,
        step: i64,
        limit: Amount,
        may_be_none: bool,
        once: bool,
        body: impl FnOnce(&mut Self),
    ) {
        let [top, end]: [Label; 2] = std::array::from_fn(|_| self.values.program.label());
        if may_be_none {
            self.push(Op::Leave { counter, limit, label: end });
        }
        self.push(Op::Bind { label: top });
        body(self);
        if once {
            self.push(Op::Bump { counter, step });
        } else {
            self.push(Op::Next { counter, step, limit, label: top });
        }
        self.push(Op::Bind { label: end });
    }

    fn vectors(&mut self, depth: usize) {
        let counter: Counter = depth;
        let extent = self.values.program.extent(&self.nest.axes[self.form.vector].extent);
        self.push(Op::Start { counter });
        let mut from = 0;
        let rounds = if self.form.beside > 1 { vec![self.form.beside, 1] } else { vec![1] };
        for beside in rounds {
            let step = beside * self.form.kind.lanes();
            let (limit, n_times) = match extent {
                Amount::Known(n) => {
                    let whole = from + (n - from).max(0) / step * step;
                    let n_times = (whole - from) / step;
                    from = whole;
                    (Amount::Known(whole), Some(n_times))
                }
                of => (self.values.whole(of, step), None),
            };
            if n_times == Some(0) {
                continue;
            }
            self.beside = beside;
            self.looped(counter, step, limit, n_times.is_none(), n_times == Some(1), |this| {
                this.run(depth + 1);
                this.advance(depth);
            });
        }
        self.beside = 1;
        if matches!(extent, Amount::Known(n) if n <= from) {
            return;
        }
        let end = self.values.program.label();
        if !matches!(extent, Amount::Known(_)) {
            self.push(Op::Leave { counter, limit: extent, label: end });
        }
        self.push(Op::Tail { counter, extent });
        self.masked = true;
        self.run(depth + 1);
        self.advance(depth);
        self.masked = false;
        self.push(Op::Bind { label: end });
    }
}

pub(super) fn combination(op: ReduceOp, dtype: DType) -> Binary {
    match (op, dtype == DType::F32) {
        (ReduceOp::Sum, true) => Binary::AddF,
        (ReduceOp::Prod, true) => Binary::MulF,
        (ReduceOp::Max, true) => Binary::MaxF,
        (ReduceOp::Min, true) => Binary::MinF,
        (ReduceOp::Sum, false) => Binary::AddI,
        (ReduceOp::Prod, false) => Binary::MulI,
        (ReduceOp::Max, false) => Binary::MaxI,
        (ReduceOp::Min, false) => Binary::MinI,
    }
}
