//! What a graph must be; every later stage trusts it.
//!
//! 1. Operands come before their users.
//! 2. A node's type is what its primitive's shape rule gives.
//! 3. An input's or variable's name has one leaf, in a graph.
//! 4. The number of a `Const` is one of its element type.
//! 5. `Random` nodes of one site have one distribution and one shape.
//! 6. Outputs are nodes of the graph, under different names.
//! 7. An update's first node is a `Param` or `State`, updated once; its second has the variable's type.
//!
//! A graph that is to be compiled also satisfies (`verify_compilable`):
//!
//! 8. It has no `Grad`, nor has a scan's body.
//! 9. Its only symbol is `batch`, also in the bodies of scans, and variables' shapes have none.

use super::op::infer;
use super::text::print_node;
use super::{Graph, Op};
use crate::base::{DType, Dim};
use std::collections::{HashMap, HashSet};

/// Rules 1 to 7. The error names the node and the rule.
pub fn verify(graph: &Graph) -> Result<(), String> {
    let mut leaves = HashMap::new();
    let mut sites = HashMap::new();
    for id in graph.ids() {
        let node = graph.node(id);
        let fail = |rule: u32, text: String| Err(format!("{id} = {}: rule {rule}: {text}", print_node(node)));
        if let Some(late) = node.operands.iter().find(|operand| **operand >= id) {
            return fail(1, format!("operand {late} does not come before its user"));
        }
        let operands: Vec<_> = node.operands.iter().map(|operand| graph.ty(*operand)).collect();
        match infer(&node.op, &operands, &node.ty) {
            Err(error) => return fail(2, error.to_string()),
            Ok(ty) if ty != node.ty => return fail(2, format!("the shape rule gives {ty}")),
            Ok(_) => {}
        }
        if let Some(name) = node.op.leaf_name()
            && let Some(other) = leaves.insert(name, id)
        {
            return fail(3, format!("{other} has the same name"));
        }
        if let Op::Const(value) = node.op
            && !holds(node.ty.dtype, value)
        {
            return fail(4, format!("{} does not hold {value}", node.ty.dtype));
        }
        if let Op::Random { distribution, site } = node.op {
            let known = sites.entry(site).or_insert((distribution, &node.ty.shape));
            if *known != (distribution, &node.ty.shape) {
                return fail(5, "its site has another distribution or shape elsewhere".into());
            }
        }
    }
    verify_roots(graph)
}

fn verify_roots(graph: &Graph) -> Result<(), String> {
    let mut names = HashSet::new();
    for (name, id) in &graph.outputs {
        if id.index() >= graph.len() {
            return Err(format!("output {name}: rule 6: {id} is not in the graph"));
        }
        if !names.insert(name) {
            return Err(format!("output {name}: rule 6: the name stands twice"));
        }
    }
    let mut updated = HashSet::new();
    for (variable, value) in &graph.updates {
        let fail = |text: String| Err(format!("update {variable} <- {value}: rule 7: {text}"));
        if let Some(id) = [variable, value].into_iter().find(|id| id.index() >= graph.len()) {
            return fail(format!("{id} is not in the graph"));
        }
        if !matches!(graph.node(*variable).op, Op::Param(_) | Op::State(_)) {
            return fail(format!("{variable} is not a variable"));
        }
        if graph.ty(*variable) != graph.ty(*value) {
            return fail(format!("{} is not the variable's {}", graph.ty(*value), graph.ty(*variable)));
        }
        if !updated.insert(variable) {
            return fail(format!("{variable} is updated twice"));
        }
    }
    Ok(())
}

/// Rules 1 to 9.
pub fn verify_compilable(graph: &Graph) -> Result<(), String> {
    verify(graph)?;
    verify_known(graph, true)
}

/// Rules 8 and 9; `outermost` says that variables are a model's, not what a scan carries.
fn verify_known(graph: &Graph, outermost: bool) -> Result<(), String> {
    for id in graph.ids() {
        let node = graph.node(id);
        let fail = |rule: u32, text: String| Err(format!("{id} = {}: rule {rule}: {text}", print_node(node)));
        if matches!(node.op, Op::Grad | Op::Rule { .. } | Op::Hole | Op::Recompute) {
            return fail(8, "a gradient that was not worked out".into());
        }
        let is_variable = outermost && matches!(node.op, Op::Param(_) | Op::State(_));
        let dims = node.ty.shape.iter().chain(node.op.dims());
        for symbol in dims.flat_map(Dim::symbols) {
            if symbol != "batch" || is_variable {
                return fail(9, format!("the size {symbol} is not known"));
            }
        }
        if let Op::Scan(scan) = &node.op {
            verify_known(&scan.body, false)?;
        }
    }
    Ok(())
}

fn holds(dtype: DType, value: f64) -> bool {
    let whole = |low: f64, high: f64| value.fract() == 0.0 && (low..=high).contains(&value);
    match dtype {
        DType::F32 => true,
        DType::BF16 => value.is_nan() || DType::BF16.convert(value) == value,
        DType::I32 => whole(i32::MIN.into(), i32::MAX.into()),
        DType::U8 => whole(0.0, 255.0),
        DType::Bool => whole(0.0, 1.0),
    }
}
