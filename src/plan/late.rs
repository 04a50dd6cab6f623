//! What only variables wait for comes last.
//!
//! What enters: a plan for a GPU, before its buffers have places. What leaves: the same launches, some of them in the last phase. An optimizer has a
//! launch for each parameter, behind its gradient; in one phase they can be handed over as one (`codegen::cuda`). Invariants: what a launch reads
//! and writes is what it was; in no phase are more bytes of the arena in use than there were in the fullest. Not here: products
//! with an update behind them, which keep it; and whether places could be found that take no more (`build.rs` goes back if not).
//!
//! What is lost is that an update runs beside the products of the layer below, and finds its gradient in the second cache. What is won is a launch
//! of a microsecond or two for each parameter but one, of which most are a bias or a scale: a few thousand elements. Before and after (`W` and `V` are
//! variables, `g` and `h` their gradients):
//!
//! ```text
//! g = ..  |  W = W, g   h = ..  |  V = V, h          g = ..  |  h = ..  |  W = W, g   V = V, h
//! ```

use super::{BufferId, Launch, Place, Plan};
use crate::base::hash::FastSet;
use crate::nest::{ArgumentAccess, TileOp};
use std::collections::BTreeMap;

/// The phases in which each buffer is used, first and last; outputs are to the end.
pub fn lives(plan: &Plan) -> Vec<Option<(usize, usize)>> {
    let mut live = vec![None; plan.buffers.len()];
    for (phase, launches) in plan.phases.iter().enumerate() {
        for id in launches.iter().flat_map(Launch::variants).flat_map(|launch| &launch.arguments) {
            let (first, _) = *live[id.0 as usize].get_or_insert((phase, phase));
            live[id.0 as usize] = Some((first, phase));
        }
    }
    for (_, id) in &plan.outputs {
        let (first, _) = live[id.0 as usize].unwrap_or((0, 0));
        live[id.0 as usize] = Some((first, plan.phases.len()));
    }
    live
}

/// A launch's buffers, and whether each is written.
fn uses<'a>(plan: &'a Plan, launch: &'a Launch) -> impl Iterator<Item = (BufferId, bool)> + 'a {
    let of_one = |launch: &'a Launch| {
        let types = &plan.kernels[launch.kernel].arguments;
        launch.arguments.iter().zip(types).map(|(id, ty)| (*id, ty.access != ArgumentAccess::Read))
    };
    launch.variants().flat_map(of_one)
}

fn has_product(ops: &[TileOp]) -> bool {
    ops.iter().any(|op| match op {
        TileOp::Gemm(_) => true,
        TileOp::Loop(l) => has_product(&l.ops),
        _ => false,
    })
}

/// Whether a launch makes nothing but variables' new values, and no product.
fn is_update(plan: &Plan, launch: &Launch) -> bool {
    let mut written = uses(plan, launch).filter(|(_, writes)| *writes);
    !has_product(&plan.kernels[launch.kernel].ops)
        && written.all(|(id, _)| plan.buffers[id.0 as usize].place == Place::Variable)
}

/// Moves updates to the last phase, where they may and the memory does not grow.
pub fn updates_last(plan: &mut Plan) {
    let Some(end) = plan.phases.len().checked_sub(1) else { return };
    let mut live = lives(plan);
    let bytes_of = |id: BufferId| match plan.buffers[id.0 as usize].place {
        Place::Arena { .. } => plan.greatest_bytes(id).unwrap_or(0),
        Place::Variable | Place::Input => 0,
    };
    let mut in_use = vec![0u64; end + 1];
    for (i, life) in live.iter().enumerate() {
        let Some((first, last)) = *life else { continue };
        let bytes = bytes_of(BufferId(i as u32));
        in_use[first..=last.min(end)].iter_mut().for_each(|sum| *sum += bytes);
    }
    let most = in_use.iter().copied().max().unwrap_or(0);
    // What is used behind the phase that is looked at, and what is written there.
    let (mut used, mut written): (FastSet<BufferId>, FastSet<BufferId>) = Default::default();
    let mut moved = Vec::new();
    for phase in (0..=end).rev() {
        let (mut late, mut stay) = (Vec::new(), Vec::new());
        for (i, launch) in plan.phases[phase].iter().enumerate() {
            let must_not_wait = |(id, writes)| written.contains(&id) || writes && used.contains(&id);
            let last_use = |id: BufferId| live[id.0 as usize].map_or(end, |(_, last)| last);
            let longer: BTreeMap<BufferId, usize> = uses(plan, launch)
                .map(|(id, _)| (id, last_use(id)))
                .filter(|(id, last)| *last < end && bytes_of(*id) > 0)
                .collect();
            let added = |at: usize| -> u64 {
                longer.iter().filter(|(_, last)| **last < at).map(|(id, _)| bytes_of(*id)).sum()
            };
            let fits = || (phase + 1..=end).all(|at| in_use[at] + added(at) <= most);
            if phase == end || !is_update(plan, launch) || uses(plan, launch).any(must_not_wait) || !fits() {
                stay.push(i);
                continue;
            }
            for (id, last) in longer {
                in_use[last + 1..].iter_mut().for_each(|sum| *sum += bytes_of(id));
                let (first, _) = live[id.0 as usize].expect("it is used here");
                live[id.0 as usize] = Some((first, end));
            }
            late.push(i);
        }
        for (id, writes) in plan.phases[phase].iter().flat_map(|launch| uses(plan, launch)) {
            used.insert(id);
            if writes {
                written.insert(id);
            }
        }
        moved.push((phase, late));
    }
    // In the order in which they were.
    let mut last = Vec::new();
    for (phase, late) in moved.into_iter().rev() {
        let mut at = 0;
        plan.phases[phase].retain(|launch| {
            let goes = late.contains(&at);
            at += 1;
            if goes {
                last.push(launch.clone());
            }
            !goes
        });
    }
    last.append(&mut plan.phases[end]);
    plan.phases[end] = last;
    plan.phases.retain(|launches| !launches.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{DType, Dim};
    use crate::graph::Origin;
    use crate::nest::{Argument, Kernel};
    use crate::plan::Buffer;

    /// Of `g=X | X=Xg y=g`: two phases, the second of two launches, each with what it writes and what it reads. Capitals are variables, `y`
    /// and `z` are a hundred times as long as others.
    fn parse(text: &str) -> Plan {
        let mut plan = Plan { max_batch: 1, ..Plan::default() };
        for name in 'A'..='z' {
            let shape = vec![Dim::from(if name < 'y' { 16 } else { 1600 })];
            let place = if name.is_uppercase() { Place::Variable } else { Place::Arena { offset: 0 } };
            plan.buffers.push(Buffer { name: name.to_string().into(), dtype: DType::F32, shape, place });
        }
        for phase in text.split(" | ") {
            plan.phases.push(Vec::new());
            for launch in phase.split(' ') {
                let (written, read) = launch.split_once('=').unwrap();
                let others = read.chars().filter(|name| !written.contains(*name));
                let all: Vec<char> = written.chars().chain(others).collect();
                let access = |name: &char| match (written.contains(*name), read.contains(*name)) {
                    (true, true) => ArgumentAccess::ReadWrite,
                    (true, false) => ArgumentAccess::Write,
                    (false, _) => ArgumentAccess::Read,
                };
                let argument = |name| Argument { dtype: DType::F32, access: access(name) };
                plan.kernels.push(Kernel {
                    name: launch.into(),
                    rows: 1.into(),
                    tile: 1,
                    arguments: all.iter().map(argument).collect(),
                    scratch: Vec::new(),
                    ops: Vec::new(),
                });
                plan.phases.last_mut().unwrap().push(Launch {
                    kernel: plan.kernels.len() - 1,
                    arguments: all.into_iter().map(|name| BufferId(name as u32 - 'A' as u32)).collect(),
                    note: String::new(),
                    origin: Origin::default(),
                    parts: Vec::new(),
                    apart: None,
                });
            }
        }
        plan
    }

    fn text(plan: &Plan) -> String {
        let phase = |phase: &Vec<Launch>| {
            phase.iter().map(|launch| &plan.kernels[launch.kernel].name[..]).collect::<Vec<_>>().join(" ")
        };
        plan.phases.iter().map(phase).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn what_only_variables_wait_for_is_last() {
        for (before, after) in [
            ("g=X z=X | X=Xg h=g | i=h", "g=X z=X | h=g | X=Xg i=h"),
            // The order stays, and a phase of which nothing is left is none.
            ("g=X z=X | X=Xg | h=g | Y=Yh | i=h", "g=X z=X | h=g | X=Xg Y=Yh i=h"),
            // Somebody reads the new value.
            ("g=X z=X | X=Xg | h=X", "g=X z=X | X=Xg | h=X"),
            // It makes what others read.
            ("g=X z=X | Xh=Xg | i=h", "g=X z=X | Xh=Xg | i=h"),
            // What it reads is not there any more.
            ("g=X z=X | X=XY | Y=Yg | h=g", "g=X z=X | X=XY | Y=Yg h=g"),
            // Its gradient would lie beside what takes as much.
            ("z=X | X=Xz | y=Y | h=y", "z=X | X=Xz | y=Y | h=y"),
            ("z=X y=X | X=Xz h=y | i=h | j=i", "z=X y=X | h=y | i=h | X=Xz j=i"),
        ] {
            let mut plan = parse(before);
            updates_last(&mut plan);
            assert_eq!(text(&plan), after, "{before}");
        }
    }
}
