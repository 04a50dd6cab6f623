//! The planner, from graph to plan, as a recipe.

use super::about::{About, Contents};
use super::alike::{Homes as Stored, Known, Outline};
use super::blocks::{Sections, each_apart, in_turns, sections, split};
use super::epilogue::join;
use super::fuse::{Cluster, fuse, scalars};
use super::gpu::MOST_SHARED_BYTES;
use super::group::{Grouping, group};
use super::late::{lives, updates_last};
use super::layout::{Layout, layouts};
use super::lower::{Arguments, Homes, Lowered, lower};
use super::memory::{Need, place};
use super::parts::{MOST_ROWS, Parts, Segment, is_long_reduction, n_phases, segments};
use super::prepare::prepare;
use super::prologue::{Prologues, own_factors};
use super::recompute::{recompute, recompute_afar};
use super::scatter::by_tiles;
use super::space::Reads;
use super::strips::strips;
use super::tile::{Sizes, flops, scratch_offsets};
use super::{Apart, Buffer, BufferId, Launch, Options, Part, Place, Plan, Target};
use crate::base::hash::{FastMap, FastSet, Mixer};
use crate::base::stopwatch::{count, timed};
use crate::base::{DType, Dim};
use crate::graph::{Graph, NodeId, Op, Origin};
use crate::nest::fused_product::FusedProduct;
use crate::nest::{
    Access, Argument, ArgumentAccess, Axis, BufferRef, Inst, Kernel, Nest, Store, StoreKind, TileOp,
};
use std::collections::BTreeSet;
use std::hash::{BuildHasher, BuildHasherDefault};

/// See the module's documentation. The graph must satisfy `verify_compilable`.
pub fn plan(graph: &Graph, options: &Options) -> Plan {
    let mut graph = timed("prepare", || prepare(graph, options));
    let mut prologues = Prologues::default();
    if options.target == Target::Cuda
        && let Some(found) = timed("prologues", || own_factors(&graph, options))
    {
        (graph, prologues) = found;
    }
    let layouts = timed("layouts", || layouts(&graph));
    let scattered = |id: NodeId| match options.target {
        Target::Cpu => by_tiles(&graph, id, options.max_batch),
        Target::Cuda => super::gpu::has_owners(&graph, id, options.max_batch),
    };
    let reads = timed("reads", || Reads::new(&graph, &layouts).with_tiles(&graph, &scattered));
    let alone = |id: NodeId| options.target == Target::Cuda && super::gpu::stands_alone(&graph, id, options);
    let long = |id: NodeId| {
        options.target == Target::Cpu && is_long_reduction(&graph, &reads, id, options.max_batch)
    };
    let sections = match options.target {
        Target::Cpu => Sections::default(),
        Target::Cuda => timed("blocks", || sections(&graph, &reads, options.cache_bytes)),
    };
    // What was copied for products may be a section's now.
    let is_in_section = |id: &NodeId| sections.is_wide(*id) || sections.section_of(*id).is_some();
    prologues.retain(|product, sides| ![*product].iter().chain(sides.iter().flatten()).any(is_in_section));
    let through = sections.seen(&graph, &reads);
    let seen = through.as_ref().unwrap_or(&reads);
    let mut grouping = timed("group", || group(&graph, &layouts, seen, &sections, &prologues, &alone, &long));
    if options.target == Target::Cuda {
        timed("epilogues", || join(&graph, seen, &mut grouping, options.max_batch));
    }
    let mut cx = Planner::new(&graph, &layouts, [&reads, seen], &sections, &prologues, &grouping, options);
    let mut segments: Vec<Vec<Segment>> =
        timed("fuse", || (0..grouping.groups.len()).map(|g| cx.segments(g)).collect());
    if options.target == Target::Cuda {
        let kept = |id: NodeId| grouping.inline[id.index()] || graph.roots().any(|root| root == id);
        timed("recompute", || recompute_afar(&graph, &reads, &grouping, &prologues, &kept, &mut segments));
    }
    let phases = grouping.phases(&segments.iter().map(|of| n_phases(of)).collect::<Vec<_>>());
    cx.give_buffers(&segments);
    let end = phases.iter().zip(&segments).map(|(phase, of)| phase + n_phases(of)).max().unwrap_or(0);
    timed("lower", || {
        for (g, (segments, phase)) in segments.into_iter().zip(&phases).enumerate() {
            cx.launch_group(g, segments, *phase);
        }
    });
    cx.launch_deferred(end);
    timed("place", || cx.place_buffers());
    if options.target == Target::Cuda {
        timed("late", || cx.move_updates());
    }
    count("nodes", graph.len());
    count("launches", cx.plan.phases.iter().map(Vec::len).sum());
    count("kernels", cx.plan.kernels.len());
    cx.plan
}

struct Planner<'a> {
    graph: &'a Graph,
    layouts: &'a [Layout],
    reads: &'a Reads,
    /// As they are from launch to launch.
    seen: &'a Reads,
    sections: &'a Sections,
    prologues: &'a Prologues,
    grouping: &'a Grouping,
    target: Target,
    cache_bytes: i64,
    plan: Plan,
    /// Buffers by the node that is stored there: leaves, and values seen by several launches or the caller.
    global: FastMap<NodeId, BufferId>,
    /// The variable that a node's value is written into at once.
    variable_of: FastMap<NodeId, NodeId>,
    /// Kernels by the hash of their structure: the name left out.
    known: FastMap<u64, Vec<usize>>,
    /// Launches that others may be like.
    launched: Known,
}

impl<'a> Planner<'a> {
    fn new(
        graph: &'a Graph,
        layouts: &'a [Layout],
        [reads, seen]: [&'a Reads; 2],
        sections: &'a Sections,
        prologues: &'a Prologues,
        grouping: &'a Grouping,
        options: &Options,
    ) -> Self {
        let plan = Plan { max_batch: options.max_batch, ..Plan::default() };
        let (global, variable_of) = (FastMap::default(), FastMap::default());
        Planner {
            graph,
            layouts,
            reads,
            seen,
            sections,
            prologues,
            grouping,
            target: options.target,
            cache_bytes: options.cache_bytes,
            plan,
            global,
            variable_of,
            known: FastMap::default(),
            launched: Known::default(),
        }
    }

    fn add_buffer(&mut self, id: NodeId, name: &str, place: Place) {
        let ty = self.graph.ty(id);
        let buffer = Buffer { name: name.into(), dtype: ty.dtype, shape: ty.shape.clone(), place };
        self.global.insert(id, BufferId(self.plan.buffers.len() as u32));
        self.plan.buffers.push(buffer);
    }

    /// The inline scalars that nodes need.
    fn scalars(&self, nodes: &[NodeId]) -> Option<Cluster> {
        scalars(self.graph, self.layouts, self.grouping, nodes)
    }

    /// A product among what its factors are made of, each for itself, and what is made of it.
    fn around(&self, product: NodeId, nodes: &[NodeId]) -> Vec<Cluster> {
        let sides = self.prologues.get(&product).into_iter().flatten();
        let before: Vec<&Vec<NodeId>> = sides.filter(|side| !side.is_empty()).collect();
        let is_behind = |id: &&NodeId| **id != product && !before.iter().any(|side| side.contains(id));
        let behind: Vec<NodeId> = nodes.iter().filter(is_behind).copied().collect();
        let product = [product];
        let parts = before.into_iter().map(|side| &side[..]).chain([&product[..], &behind]);
        let clusters = parts.flat_map(|nodes| fuse(self.graph, self.reads, None, nodes));
        self.scalars(nodes).into_iter().chain(clusters).collect()
    }

    /// What a group's nodes are launched in.
    fn segments(&self, g: usize) -> Vec<Segment> {
        let group = &self.grouping.groups[g];
        if let Some(number) = self.sections.section_of(group.nodes[0]) {
            let blocks = self.sections.blocks(self.graph, self.reads, number, self.cache_bytes);
            let nodes: Vec<NodeId> = blocks.leaves().iter().flat_map(Cluster::nodes).copied().collect();
            let scalars = self.scalars(&nodes);
            return vec![Segment::new(scalars.into_iter().chain([blocks]).collect())];
        }
        if let Some(product) = group.product {
            return vec![Segment::new(self.around(product, &group.nodes))];
        }
        let clusters = fuse(self.graph, self.reads, self.scalars(&group.nodes), &group.nodes);
        if group.rows.is_none() {
            return vec![Segment::new(clusters)];
        }
        if self.target == Target::Cuda {
            let rows = group.rows.as_ref().expect("it was seen to have some");
            if let Some(apart) = each_apart(self.reads, rows, &clusters) {
                return apart.into_iter().map(Segment::new).collect();
            }
            let apart = split(self.graph, self.reads, self.cache_bytes, clusters);
            return apart.into_iter().map(Segment::new).collect();
        }
        // The new value of a variable is written when the old one has been read.
        let is_update = |id: NodeId| self.reads.is_update(id);
        let of_others = |id: NodeId| {
            let mut users = self.reads.by_users(id);
            users.any(|(user, _)| self.grouping.group_of[user.index()].is_none_or(|of| of != g))
        };
        let kept = |id: NodeId| {
            self.grouping.inline[id.index()] || self.graph.roots().any(|root| root == id) || of_others(id)
        };
        segments(self.graph, self.reads, clusters, self.plan.max_batch, &is_update, &kept)
    }

    /// Buffers for leaves, for what crosses from launch to launch, and for what the caller reads.
    fn give_buffers(&mut self, segments: &[Vec<Segment>]) {
        let graph = self.graph;
        for id in graph.ids() {
            match &graph.node(id).op {
                Op::Input(name) => self.add_buffer(id, name, Place::Input),
                Op::Param(name) | Op::State(name) => self.add_buffer(id, name, Place::Variable),
                _ => {}
            }
        }
        for (i, (variable, value)) in graph.updates.iter().enumerate() {
            if !self.grouping.deferred.contains(&i) {
                self.variable_of.insert(*value, *variable);
            } else if !self.global.contains_key(value) {
                self.add_buffer(*value, &value.to_string(), Place::Arena { offset: 0 });
            }
        }
        for (name, id) in &graph.outputs {
            self.add_buffer(*id, name, Place::Arena { offset: 0 });
            self.plan.outputs.push((name.clone(), self.global[id]));
        }
        for base in self.crossing(segments) {
            if !self.global.contains_key(&base) && !self.variable_of.contains_key(&base) {
                self.add_buffer(base, &base.to_string(), Place::Arena { offset: 0 });
            }
        }
    }

    /// What is read in another launch than that which makes it first, in order.
    fn crossing(&self, segments: &[Vec<Segment>]) -> BTreeSet<NodeId> {
        let mut crossing = BTreeSet::new();
        let is_made = |base: &NodeId| self.grouping.group_of[base.index()].is_some();
        for segment in segments.iter().flatten() {
            let leaves = || segment.clusters.iter().flat_map(Cluster::leaves);
            let made_first =
                leaves().flat_map(|leaf| leaf.nodes().iter().filter(|id| !leaf.makes_again(**id)));
            let own: FastSet<NodeId> = made_first.copied().collect();
            for leaf in leaves() {
                for id in leaf.nodes() {
                    let all = self.seen.of(*id).iter().chain(self.reads.of(*id)).map(|read| read.base);
                    crossing.extend(
                        all.filter(|base| is_made(base) && !own.contains(base) && !leaf.makes_again(*base)),
                    );
                }
            }
        }
        crossing
    }

    fn launch_group(&mut self, g: usize, segments: Vec<Segment>, phase: usize) {
        let group = &self.grouping.groups[g];
        let mut phase = phase;
        for segment in segments {
            let outline = self.outline(group.rows.as_ref(), &segment);
            if let Some(outline) = &outline
                && self.launch_like(outline, &group.reason, phase)
            {
                phase += 1;
                continue;
            }
            let Segment { mut clusters, is_long, makes_again } = segment;
            let kept = |id: NodeId| {
                let is_inline = self.grouping.inline[id.index()];
                is_inline || self.global.contains_key(&id) || self.variable_of.contains_key(&id)
            };
            match self.target {
                Target::Cuda
                    if group.rows.is_some() && self.sections.section_of(group.nodes[0]).is_none() =>
                {
                    clusters = in_turns(self.graph, self.reads, clusters);
                }
                Target::Cuda => {}
                Target::Cpu => {
                    if !makes_again {
                        recompute(self.graph, self.reads, &kept, &mut clusters);
                    }
                    if !is_long {
                        let tiled = group.rows.is_some();
                        clusters = strips(self.graph, self.reads, &kept, tiled, self.cache_bytes, clusters);
                    }
                }
            }
            // Nothing may be left of what was made of its elements.
            if let Some(product) = group.product.filter(|_| clusters.len() > 1) {
                self.launch_product(product, &clusters, &group.reason, phase);
                phase += 1;
                continue;
            }
            let lowered = self.lowered(group.rows.is_some(), &mut clusters);
            let rows = group.rows.clone().unwrap_or(Dim::from(1));
            let contents = Contents::new(self.graph, &clusters, &lowered);
            let about = contents.about(self.graph, &group.reason);
            if is_long {
                self.launch_parts(Parts::new(lowered, rows), about, phase);
                phase += 2;
            } else {
                // Blocks share the turns of one example.
                let is_in_turns = matches!(clusters.last(), Some(Cluster::Blocks(_)));
                let tile = if is_in_turns { 1 } else { self.choose(&rows, &lowered) };
                let before = self.plan.flops;
                self.launch(rows, tile, lowered, about, phase);
                if let Some(outline) = outline {
                    let launch = self.plan.phases[phase].last().expect("it was launched above");
                    let flops = self.plan.flops - before;
                    self.launched.add(outline, &self.global, launch, contents, flops);
                }
                phase += 1;
            }
        }
    }

    /// What a segment's launch has in common with others that are like it, where that is asked.
    fn outline(&self, rows: Option<&Dim>, segment: &Segment) -> Option<Outline> {
        if self.target != Target::Cpu || segment.is_long {
            return None;
        }
        let homes = Stored {
            global: &self.global,
            variable_of: &self.variable_of,
            inline: &self.grouping.inline,
            makes_again: segment.makes_again,
        };
        Outline::new(self.graph, self.reads, &homes, rows, &segment.clusters)
    }

    /// Launches what is like another launch, if there is one.
    fn launch_like(&mut self, outline: &Outline, reason: &str, phase: usize) -> bool {
        let Some(like) = self.launched.like(self.graph, self.reads, outline) else { return false };
        let name = |id: NodeId| like.outline.renamed(id, outline);
        let About { note, origin, parts } = like.contents.renamed(&name).about(self.graph, reason);
        let arguments = like.arguments.iter().map(|id| self.global[&name(*id)]).collect();
        let launch = Launch { kernel: like.kernel, arguments, note, origin, parts, apart: None };
        self.plan.flops += like.flops;
        self.push(launch, phase);
        true
    }

    /// A product, what its factors are made of, and what is made of each of its elements.
    fn launch_product(&mut self, product: NodeId, clusters: &[Cluster], reason: &str, phase: usize) {
        let sides = self.prologues.get(&product).cloned().unwrap_or_default();
        let factors: Vec<NodeId> = sides.iter().filter_map(|side| side.last()).copied().collect();
        let is_wanted = self.global.contains_key(&product);
        let temporary: Vec<NodeId> = factors.iter().copied().chain((!is_wanted).then_some(product)).collect();
        for id in &temporary {
            self.add_buffer(*id, &id.to_string(), Place::Arena { offset: 0 });
        }
        let mut together = self.lowered(false, &mut clusters.to_vec());
        for id in temporary {
            together.arguments[&self.global[&id]].access = ArgumentAccess::Temporary;
        }
        let about = self.about(clusters, &together, reason);
        self.launch(Dim::from(1), 1, together, about, phase);
        // What makes a factor, the product, what follows, each with the scalars that it needs.
        let part_of = |cluster: &Cluster| {
            let makes = |id: &NodeId| cluster.nodes().contains(id);
            let side = sides.iter().position(|side| side.iter().any(makes));
            if makes(&product) { 2 } else { side.unwrap_or(3) }
        };
        let is_scalar = |id: &NodeId| self.grouping.inline[id.index()];
        let (mut launches, mut of_product) = (Vec::new(), 0);
        for part in 0..4 {
            let own = clusters.iter().filter(|cluster| part_of(cluster) == part);
            let own: Vec<&Cluster> = own.filter(|cluster| !cluster.nodes().iter().all(is_scalar)).collect();
            let nodes: Vec<NodeId> = own.iter().flat_map(|cluster| cluster.nodes()).copied().collect();
            let Some(last) = nodes.last() else { continue };
            let rows = if part == 2 { Dim::from(1) } else { self.graph.ty(*last).shape[0].clone() };
            let mut clusters: Vec<Cluster> =
                self.scalars(&nodes).into_iter().chain(own.into_iter().cloned()).collect();
            let lowered = self.lowered(!rows.is_const(1), &mut clusters);
            let about = self.about(&clusters, &lowered, reason);
            let tile = self.choose(&rows, &lowered);
            if part == 2 {
                of_product = launches.len();
            }
            launches.push(self.launch_of(rows, tile, lowered, about));
        }
        let launch = self.plan.phases[phase].last_mut().expect("it was launched above");
        let kernel = &self.plan.kernels[launch.kernel];
        debug_assert!(FusedProduct::of(kernel).is_some(), "a block would make all of it: {kernel}");
        launch.apart = Some(Box::new(Apart { launches, product: of_product }));
    }

    /// A section's blocks get smaller until there is room for them.
    fn lowered(&self, tiled: bool, clusters: &mut [Cluster]) -> Lowered {
        loop {
            let placed = FastMap::default();
            let homes = Homes { global: &self.global, variable_of: &self.variable_of, placed };
            let lowered = lower(self.graph, self.reads, homes, (self.target, tiled), clusters);
            let Some(Cluster::Blocks(blocks)) = clusters.last_mut() else { return lowered };
            let (_, bytes) = scratch_offsets(&lowered.scratch, &Sizes::new(self.plan.max_batch, 1));
            if bytes <= MOST_SHARED_BYTES || !blocks.halve() {
                return lowered;
            }
        }
    }

    fn about(&self, clusters: &[Cluster], lowered: &Lowered, reason: &str) -> About {
        Contents::new(self.graph, clusters, lowered).about(self.graph, reason)
    }

    /// A long reduction, in this phase and the next.
    fn launch_parts(&mut self, parts: Parts, about: About, phase: usize) {
        let id = BufferId(self.plan.buffers.len() as u32);
        let rows = parts.rows().clone();
        let n_rows = Sizes::new(self.plan.max_batch, 1).of(&rows);
        // Where the parts lie has no part in how long they are.
        let tile = self.choose(&rows, &parts.first(id, n_rows as i64, 1)).min(MOST_ROWS);
        let n_parts = n_rows.div_ceil(tile.into()) as i64;
        let shape = vec![Dim::from(parts.n_elements(tile.into(), n_parts))];
        let place = Place::Arena { offset: 0 };
        let name = format!("parts{}", id.0).into();
        self.plan.buffers.push(Buffer { name, dtype: DType::F32, shape, place });
        let [first, second] = [parts.first(id, tile.into(), n_parts), parts.second(id, tile.into(), n_parts)];
        let of_op = about.parts.last().expect("it reduces").clone();
        let of_ops = |n: usize, note: &str| About {
            note: format!("{}; {note}", about.note),
            origin: about.origin.clone(),
            parts: vec![of_op.clone(); n],
        };
        let columns = parts.columns().clone();
        let of_rows = of_ops(first.ops.len(), "of each tile's rows");
        self.launch(rows, tile, first, of_rows, phase);
        let tile = self.choose(&columns, &second);
        let of_parts = of_ops(second.ops.len(), "of all tiles together");
        self.launch(columns, tile, second, of_parts, phase + 1);
    }

    /// Rows in a tile.
    fn choose(&self, rows: &Dim, lowered: &Lowered) -> u32 {
        let batch = self.plan.max_batch;
        let n_rows = Sizes::new(batch, 1).of(rows);
        let choose = match self.target {
            Target::Cpu => super::tile::choose,
            Target::Cuda => super::gpu::choose,
        };
        choose(&lowered.ops, &lowered.scratch, n_rows, batch)
    }

    fn launch(&mut self, rows: Dim, tile: u32, lowered: Lowered, about: About, phase: usize) {
        let all = Sizes::new(self.plan.max_batch, Sizes::new(self.plan.max_batch, 1).of(&rows) as i64);
        self.plan.flops += lowered.ops.iter().map(|op| flops(op, &all)).sum::<u64>();
        let launch = self.launch_of(rows, tile, lowered, about);
        self.push(launch, phase);
    }

    fn push(&mut self, launch: Launch, phase: usize) {
        if self.plan.phases.len() <= phase {
            self.plan.phases.resize(phase + 1, Vec::new());
        }
        self.plan.phases[phase].push(launch);
    }

    /// A launch, and its kernel among the others.
    fn launch_of(&mut self, rows: Dim, tile: u32, lowered: Lowered, about: About) -> Launch {
        let About { note, origin, parts } = about;
        let name = if origin.scope.is_empty() { "kernel".to_string() } else { origin.scope.to_string() };
        let batch = self.plan.max_batch;
        let (scratch, _) = scratch_offsets(&lowered.scratch, &Sizes::new(batch, tile.into()));
        let (arguments, types): (Vec<BufferId>, Vec<Argument>) = lowered.arguments.into_iter().unzip();
        let kernel = Kernel { name: String::new(), rows, tile, arguments: types, scratch, ops: lowered.ops };
        debug_assert_eq!(crate::nest::verify::verify(&kernel), Ok(()), "{kernel}");
        let next = self.plan.kernels.len();
        let alike = self.known.entry(structure(&kernel)).or_default();
        let same = |i: &usize| is_same(&self.plan.kernels[*i], &kernel);
        let index = alike.iter().copied().find(same).unwrap_or_else(|| {
            alike.push(next);
            self.plan.kernels.push(Kernel { name, ..kernel });
            next
        });
        Launch { kernel: index, arguments, note, origin, parts, apart: None }
    }

    /// Values that waited, to their variables, when all else is done.
    fn launch_deferred(&mut self, phase: usize) {
        for i in &self.grouping.deferred {
            let (variable, value) = self.graph.updates[*i];
            let ty = self.graph.ty(value).clone();
            let tiled = ty.rank() > 0;
            let strides = ty.row_major_strides();
            let offset = match strides.first() {
                Some(stride) => Dim::symbol("start") * stride.clone(),
                None => Dim::from(0),
            };
            let access = |i: u32| Access {
                buffer: BufferRef::Argument(i),
                dtype: ty.dtype,
                offset: offset.clone(),
                strides: strides.clone(),
            };
            let extent = |(i, e): (usize, &Dim)| if i == 0 { Dim::symbol("tile") } else { e.clone() };
            let axes = ty
                .shape
                .iter()
                .enumerate()
                .map(|axis| Axis { extent: extent(axis), reduce: false })
                .collect();
            let body = vec![Inst::Load { access: access(0) }];
            let stores = vec![Store { value: 0, access: access(1), kind: StoreKind::Set }];
            let argument = |access| Argument { dtype: ty.dtype, access };
            let lowered = Lowered {
                arguments: Arguments::from_iter([
                    (self.global[&value], argument(ArgumentAccess::Read)),
                    (self.global[&variable], argument(ArgumentAccess::Write)),
                ]),
                scratch: Vec::new(),
                ops: vec![TileOp::Nest(Nest { axes, body, stores })],
                clock: 1,
                clusters: Vec::new(),
            };
            let rows = if tiled { ty.shape[0].clone() } else { Dim::from(1) };
            let name = self.graph.node(variable).op.leaf_name().expect("a variable has a name");
            let note = format!("{name} takes its new value; begun: the old one was needed to the end");
            let origin = Origin { scope: name.clone(), ..self.graph.node(value).origin.clone() };
            let parts = vec![Part { what: "[copy]".into(), origin: origin.clone() }];
            let tile = self.choose(&rows, &lowered);
            self.launch(rows, tile, lowered, About { note, origin, parts }, phase);
        }
    }

    /// Updates go to the last phase, unless places are found for less without it.
    fn move_updates(&mut self) {
        let before = (self.plan.phases.clone(), self.plan.arena_bytes);
        updates_last(&mut self.plan);
        self.place_buffers();
        if self.plan.arena_bytes > before.1 {
            self.plan.phases = before.0;
            self.place_buffers();
        }
    }

    fn place_buffers(&mut self) {
        let live = lives(&self.plan);
        let end = self.plan.phases.len();
        let in_arena: Vec<usize> = (0..self.plan.buffers.len())
            .filter(|i| matches!(self.plan.buffers[*i].place, Place::Arena { .. }))
            .collect();
        let need = |i: &usize| {
            let id = BufferId(*i as u32);
            let bytes = self.plan.greatest_bytes(id).unwrap_or(u64::MAX / 4);
            Need { bytes, live: live[*i].unwrap_or((0, end)) }
        };
        let needs: Vec<Need> = in_arena.iter().map(need).collect();
        let (offsets, bytes) = place(&needs);
        for (i, offset) in in_arena.into_iter().zip(offsets) {
            self.plan.buffers[i].place = Place::Arena { offset };
        }
        self.plan.arena_bytes = bytes;
    }
}

/// A hash of a kernel but for its name.
fn structure(Kernel { name: _, rows, tile, arguments, scratch, ops }: &Kernel) -> u64 {
    BuildHasherDefault::<Mixer>::default().hash_one((rows, tile, arguments, scratch, ops))
}

/// Whether two kernels differ in their names at most.
fn is_same(a: &Kernel, b: &Kernel) -> bool {
    (&a.rows, a.tile, &a.arguments, &a.scratch, &a.ops) == (&b.rows, b.tile, &b.arguments, &b.scratch, &b.ops)
}
