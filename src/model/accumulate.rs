//! Gradients of several steps for one update: `accumulate = 4`.
//!
//! What enters: gradients, and the updates that optimizers make of them. What leaves: gradients that are means over the
//! examples of all steps since the last update, and updates that hold only in the last of those steps. Invariant: an
//! optimizer sees what it would see in one step with all those examples; its `step` counts updates. States of the
//! network itself change in every step.

use super::elaborate::{Elaborator, Leaf};
use super::{Initial, Variable};
use crate::base::{DType, Dim, TensorType};
use crate::graph::NodeId;
use crate::scalar::Func;
use smol_str::{SmolStr, format_smolstr};

/// Where the running sums are kept.
const STAGE: &str = "accumulate";

impl<'a> Elaborator<'a> {
    /// From here on gradients are gathered over `steps` steps. Gives whether this step is the last of them.
    pub(super) fn begin_accumulation(&mut self, steps: u64) -> Option<NodeId> {
        self.accumulate = steps;
        (steps > 1).then(|| self.place_is(steps - 1))
    }

    /// Lets what was updated since there were `before` updates keep its value, unless this step is the last.
    pub(super) fn end_accumulation(&mut self, before: usize, last: Option<NodeId>) {
        self.accumulate = 1;
        let Some(last) = last else { return };
        for (leaf, next) in self.graph.updates.split_off(before) {
            let own = self.graph.node(leaf).op.leaf_name().is_some_and(|name| name.starts_with(STAGE));
            let held = match own {
                true => next,
                false => self.graph.map_broadcast(Func::Select, &[last, next, leaf]).unwrap_or(next),
            };
            self.graph.updates.push((leaf, held));
        }
    }

    /// The mean gradient over the examples since the last update.
    pub(super) fn accumulated(&mut self, path: &SmolStr, gradient: NodeId) -> NodeId {
        if self.accumulate == 1 {
            return gradient;
        }
        let examples = self.graph.size(Dim::symbol("batch"));
        let count = self.sum(format_smolstr!("{STAGE}/examples"), examples);
        let weighted = self.graph.map_broadcast(Func::Mul, &[gradient, examples]);
        let total = weighted.map(|weighted| self.sum(format_smolstr!("{STAGE}/{path}"), weighted));
        total.and_then(|total| self.graph.map_broadcast(Func::Div, &[total, count])).unwrap_or(gradient)
    }

    /// The number of updates before this step.
    pub(super) fn update_count(&mut self, step: NodeId) -> NodeId {
        if self.accumulate == 1 {
            return step;
        }
        let every = self.graph.constant(self.accumulate as f64, DType::F32);
        let share = self.graph.map(Func::Div, &[step, every]);
        share.and_then(|share| self.graph.map(Func::Floor, &[share])).unwrap_or(step)
    }

    /// The sum of `value` over the steps since the last update, this one included.
    fn sum(&mut self, path: SmolStr, value: NodeId) -> NodeId {
        let ty = self.graph.ty(value).clone();
        let state = match self.leaves.get(&path) {
            Some(leaf) => leaf.node,
            None => {
                let node = self.graph.state(path.clone(), ty.clone());
                let variable = Variable {
                    path: path.clone(),
                    ty,
                    initial: Initial::Constant(0.0),
                    begins_as: None,
                    trained: false,
                    span: Default::default(),
                };
                self.leaves.insert(path, Leaf { variable, call: None, node });
                node
            }
        };
        let first = self.place_is(0);
        let more = self.graph.map(Func::Add, &[state, value]);
        let sum = more.and_then(|more| self.graph.map_broadcast(Func::Select, &[first, value, more]));
        let sum = sum.unwrap_or(value);
        self.graph.updates.retain(|(leaf, _)| *leaf != state);
        self.graph.updates.push((state, sum));
        sum
    }

    /// Whether this step is the n-th of those that share an update.
    fn place_is(&mut self, n: u64) -> NodeId {
        let step = self.input("step", TensorType::scalar(DType::I32));
        let every = self.graph.constant(self.accumulate as f64, DType::I32);
        let wanted = self.graph.constant(n as f64, DType::I32);
        let place = self.graph.map(Func::Rem, &[step, every]).unwrap_or(step);
        self.graph.map(Func::Eq, &[place, wanted]).expect("whole numbers compare")
    }
}
