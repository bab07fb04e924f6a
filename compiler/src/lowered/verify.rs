//! Invariants of a lowered graph, checked after every pass of lowering in debug builds, and in tests.

use super::build::shape;
use super::{Dag, DimId, Lowered, Op, ValueId, order};

/// Checks the invariants listed in the module's essay.
///
/// # Errors
/// A sentence that names the first value that breaks one.
pub fn verify(graph: &Lowered) -> Result<(), String> {
    verify_dag(graph, &graph.dag, &[], None)?;
    for root in graph.roots() {
        inside(&graph.dag, root, "a root")?;
    }
    let scalar = |v: &ValueId| graph.dag.node(*v).dims.is_empty();
    if graph.objective.is_some_and(|(a, b)| !scalar(&a) || !scalar(&b)) {
        return Err("the objective is no scalar".into());
    }
    for (param, value) in &graph.param_grads {
        let mut dims: Vec<DimId> = graph.source.param(*param).axes.iter().map(|a| Lowered::axis_dim(*a)).collect();
        order(&graph.dims, &mut dims);
        if graph.dag.node(*value).dims != dims {
            return Err(format!("the gradient %{} of {} has other axes", value.0, graph.source.param(*param).path));
        }
    }
    Ok(())
}

fn inside(dag: &Dag, id: ValueId, what: &str) -> Result<(), String> {
    if (id.0 as usize) < dag.len() { Ok(()) } else { Err(format!("{what} %{} is not in its graph", id.0)) }
}

/// Checks a DAG. `banned`: dimensions that no value of it may have; `captures`: in a body, number of captures of the surrounding node.
fn verify_dag(graph: &Lowered, dag: &Dag, banned: &[DimId], captures: Option<usize>) -> Result<(), String> {
    for id in dag.ids() {
        let (node, operands) = (dag.node(id), dag.operands(id));
        let fail = |why: &str| Err(format!("%{} ({:?}): {why}", id.0, node.op));
        if operands.iter().any(|o| *o >= id) {
            return fail("an operand comes after its user");
        }
        if node.dims.iter().any(|d| d.0 as usize >= graph.dims.len()) {
            return fail("a dimension is not in the table");
        }
        let mut sorted = node.dims.clone();
        order(&graph.dims, &mut sorted);
        if sorted != node.dims {
            return fail("its dimensions are not in canonical order");
        }
        if let Some(d) = node.dims.iter().find(|d| banned.contains(d)) {
            return fail(&format!("it has the dimension {} of the loop around it", graph.dim(*d).name));
        }
        if !matches!(node.op, Op::Param(_) | Op::Input(_)) && shape(&graph.dims, dag, &node.op, operands) != node.dims {
            return fail("its dimensions are not what its shape rule gives");
        }
        let misses = |i: usize, d: &DimId| !dag.node(operands[i]).dims.contains(d);
        match &node.op {
            Op::Capture(i, _) | Op::Past(i, _) if captures.is_none_or(|n| *i >= n) => return fail("no such capture"),
            Op::State(..) | Op::Lag(..) if captures.is_none() => return fail("a body's leaf outside of a body"),
            Op::Expand(new) if (1..new.len()).any(|i| new[..i].contains(&new[i])) => {
                return fail("it adds a dimension twice");
            }
            Op::Reduce(_, over) | Op::Softmax(over) if over.iter().any(|d| misses(0, d)) => {
                return fail("its operand lacks a dimension that it is over");
            }
            Op::Contract(over) if over.iter().any(|d| misses(0, d) || misses(1, d)) => {
                return fail("an operand lacks a dimension that it is over");
            }
            Op::Cumsum { dim, .. }
            | Op::CumsumLow { dim, .. }
            | Op::Cumprod { dim, .. }
            | Op::CumprodGrad { dim, .. }
            | Op::Sort(dim)
            | Op::Pick(dim, _)
                if misses(0, dim) =>
            {
                return fail("its operand lacks a dimension that it is over");
            }
            Op::Cumsum { dim, .. } | Op::CumsumLow { dim, .. }
                if operands
                    .get(1)
                    .is_some_and(|starts| misses(1, dim) || dag.node(*starts).dims.iter().any(|d| misses(0, d))) =>
            {
                return fail("where it starts anew is not known along its dimension");
            }
            Op::PairDecay(p) | Op::PairProduct(p) if misses(0, &p.rows) => return fail("its operand lacks the rows"),
            Op::PairProductGrad(p) if misses(0, &p.rows) || [1, 2].iter().any(|i| misses(*i, &p.cols)) => {
                return fail("an operand lacks rows or columns");
            }
            Op::Rename(from, to) | Op::Cut { from, into: to, .. } => {
                if misses(0, from) || !misses(0, to) {
                    return fail("its operand lacks the old dimension or has the new one");
                }
                if matches!(node.op, Op::Rename(..)) && graph.dim(*from).extent != graph.dim(*to).extent {
                    return fail("the dimensions differ in length");
                }
            }
            Op::Loop(l) => {
                if operands.len() < l.states.len() || l.next.len() != l.states.len() {
                    return fail("states, initial values and next values differ in number");
                }
                let mut banned = banned.to_vec();
                banned.extend(&l.map);
                banned.push(l.over);
                verify_dag(graph, &l.body, &banned, Some(operands.len() - l.states.len()))?;
                for (state, next) in l.states.iter().zip(&l.next) {
                    inside(&l.body, *next, "next")?;
                    if l.body.node(*next).dims != state.dims {
                        return fail(&format!("the next value of {} has other dimensions", state.name));
                    }
                }
                for (i, state) in l.states.iter().enumerate() {
                    let given = &dag.node(operands[i]).dims;
                    if given.iter().any(|d| !state.dims.contains(d) && !l.map.contains(d)) {
                        return fail(&format!("the initial value of {} has further dimensions", state.name));
                    }
                }
                l.emits.iter().try_for_each(|(_, e)| inside(&l.body, *e, "emit"))?;
            }
            Op::Attend(a) => {
                let mut banned = banned.to_vec();
                banned.extend(&a.map);
                banned.push(super::TIME);
                verify_dag(graph, &a.body, &banned, Some(operands.len()))?;
                let weight = &a.body.node(a.weighing.value()).dims;
                if weight.iter().any(|d| *d != a.rows && *d != a.cols) {
                    return fail("its score has axes that are not mapped");
                }
            }
            Op::AttendGrad(g) => {
                let mut banned = banned.to_vec();
                banned.extend(&g.forward.map);
                banned.push(super::TIME);
                verify_dag(graph, &g.body, &banned, Some(operands.len()))?;
            }
            Op::Emit(i) | Op::Final(i) => {
                let count = match (&dag.node(operands[0]).op, &node.op) {
                    (Op::Loop(l), Op::Emit(_)) => l.emits.len(),
                    (Op::Loop(l), _) => l.states.len(),
                    (Op::Attend(a), Op::Emit(_)) => a.emits.len() + a.statistics(),
                    (Op::AttendGrad(g), Op::Emit(_)) => g.sums.len(),
                    _ => 0,
                };
                if *i >= count {
                    return fail("its operand gives nothing of this number");
                }
            }
            _ => {}
        }
    }
    Ok(())
}
