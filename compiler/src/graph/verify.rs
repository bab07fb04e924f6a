//! Invariants of a graph, checked after elaboration, and after every pass in debug builds and tests.

use super::{Dag, Graph, NodeId, Op, Rate};

/// Checks the invariants listed in the module's essay.
///
/// # Errors
/// A sentence that names the first node that breaks one.
pub fn verify(graph: &Graph) -> Result<(), String> {
    verify_dag(graph, &graph.dag, 0, false)?;
    for (i, param) in graph.params.iter().enumerate() {
        verify_dag(graph, &param.init, 0, false).map_err(|e| format!("init of {}: {e}", param.path))?;
        if param.per + param.out > param.axes.len() {
            return Err(format!("param {} has {} axes, fewer than per + out", param.path, param.axes.len()));
        }
        if graph.params[..i].iter().any(|p| p.path == param.path) {
            return Err(format!("two params are called {}", param.path));
        }
    }
    for output in &graph.outputs {
        inside(&graph.dag, output.value, "output")?;
        let mut sorted = output.axes.clone();
        sorted.sort_unstable();
        if sorted != graph.dag.ty(output.value).axes {
            return Err(format!("output {} lists other axes than its value has", output.name));
        }
    }
    graph.losses.iter().try_for_each(|&l| inside(&graph.dag, l, "loss"))
}

fn inside(dag: &Dag, id: NodeId, what: &str) -> Result<(), String> {
    if (id.0 as usize) < dag.len() { Ok(()) } else { Err(format!("{what} %{} is not in its graph", id.0)) }
}

/// Checks a DAG. `captures`: number of captures of the surrounding node; `body`: whether it is the body of a scan or attend.
fn verify_dag(graph: &Graph, dag: &Dag, captures: usize, body: bool) -> Result<(), String> {
    for id in dag.ids() {
        let node = dag.node(id);
        let fail = |why: &str| Err(format!("%{} ({:?}): {why}", id.0, node.op));
        let operands = dag.operands(id);
        if operands.iter().any(|o| *o >= id) {
            return fail("an operand comes after its user");
        }
        if !node.ty.axes.windows(2).all(|w| w[0] < w[1]) {
            return fail("its axes are not sorted and distinct");
        }
        if node.ty.axes.iter().any(|a| a.0 as usize >= graph.axes.len()) {
            return fail("an axis is not in the table");
        }
        if node.ty.rate == Rate::Pair && !body {
            return fail("a pairwise value outside of attend");
        }
        match &node.op {
            Op::Capture(i) | Op::Past(i) if *i >= captures => return fail("no such capture"),
            Op::Lag | Op::State(_) if !body => return fail("a body's leaf outside of a body"),
            Op::Param(p) if p.0 as usize >= graph.params.len() => return fail("no such param"),
            Op::Scan(scan) => {
                if operands.len() < scan.states.len() || scan.next.len() != scan.states.len() {
                    return fail("states, initial values and next values differ in number");
                }
                verify_dag(graph, &scan.body, operands.len() - scan.states.len(), true)?;
                for (state, next) in scan.states.iter().zip(&scan.next) {
                    inside(&scan.body, *next, "next")?;
                    if scan.body.ty(*next).axes != state.axes {
                        return fail("a state's next value has other axes");
                    }
                }
                scan.emits.iter().try_for_each(|(_, e)| inside(&scan.body, *e, "emit"))?;
            }
            Op::Attend(attend) => {
                verify_dag(graph, &attend.body, operands.len(), true)?;
                attend.emits.iter().try_for_each(|(_, e)| inside(&attend.body, *e, "emit"))?;
            }
            Op::Emit(i) => {
                let emits = match dag.op(operands[0]) {
                    Op::Scan(scan) => scan.emits.len(),
                    Op::Attend(attend) => attend.emits.len(),
                    _ => return fail("its operand is no scan and no attend"),
                };
                if *i >= emits {
                    return fail("no such emit");
                }
            }
            _ => {}
        }
    }
    Ok(())
}
