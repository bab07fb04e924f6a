//! Dependence checks: does the output depend on the input, can every parameter learn, does something mix time?
//!
//! All of them are reachability in the [`Flow`] graph, which includes the bodies of scans and attends: an unread state
//! is found, however long the body. Names that are unused in the *source* are reported by the front end; these are the cases that only the
//! graph shows.

use super::flow::{EdgeKind, Flow};
use crate::diag::Diagnostic;
use crate::graph::{Graph, Op, ParamId};
use std::collections::BTreeSet;

/// Reports E0601, E0602, W0602, W0603, W0604, W0606.
pub fn check_dependence(graph: &Graph) -> Vec<Diagnostic> {
    let flow = Flow::new(graph);
    let mut found = Vec::new();
    outputs(&flow, &mut found);
    params(&flow, &mut found);
    time(&flow, &mut found);
    states(&flow, &mut found);
    found
}

/// Whether a leaf depends on the sequence.
fn is_input(op: &Op) -> bool {
    matches!(op, Op::Input(_) | Op::Embed { .. })
}

fn outputs(flow: &Flow, found: &mut Vec<Diagnostic>) {
    let reads = flow.ahead(is_input, |_, _| true);
    let what = if flow.graph.inputs.is_empty() { "the tokens" } else { "an input" };
    for output in flow.graph.outputs.iter().filter(|o| !reads[flow.outer(o.value)]) {
        let place = flow.graph.dag.node(output.value).place;
        found.push(
            Diagnostic::error("E0601", format!("the output `{}` does not depend on {what}", output.name))
                .at(place, "the same for every sequence")
                .help("compute it from the input, for example by `x |> linear[D]`"),
        );
    }
}

fn params(flow: &Flow, found: &mut Vec<Diagnostic>) {
    let roots = flow.roots();
    let used = flow.behind(&roots, |_, _| true);
    let learns = flow.behind(&roots, |to, edge| flow.differentiable(to, edge));
    let reached = |marks: &[bool]| -> BTreeSet<ParamId> {
        let marked = flow.vertices.iter().zip(marks).filter(|(_, m)| **m);
        marked.filter_map(|(v, _)| if let Op::Param(p) = v.op() { Some(*p) } else { None }).collect()
    };
    let (used, learning) = (reached(&used), reached(&learns));
    for (i, param) in flow.graph.params.iter().enumerate() {
        let id = ParamId(i as u32);
        if learning.contains(&id) || flow.graph.prefix == Some(id) {
            continue;
        }
        if !used.contains(&id) {
            found.push(
                Diagnostic::warning("W0603", format!("the parameter `{}` reaches no output and no loss", param.path))
                    .at(param.place, "never used")
                    .help("use its value in the output, or remove it"),
            );
            continue;
        }
        let (place, why, frozen) = blocker(flow, id, &learns);
        let diagnostic = if frozen {
            Diagnostic::warning("W0602", format!("the parameter `{}` is frozen by stop_grad", param.path))
                .help("remove `stop_grad` if it should learn")
        } else {
            Diagnostic::error("E0602", format!("the parameter `{}` can never receive a gradient", param.path))
                .help("use it in a smooth expression too, for example through `sigmoid` instead of a comparison")
        };
        let diagnostic = diagnostic.at(param.place, "declared here");
        found.push(match place {
            Some(place) => diagnostic.label(place, why),
            None => diagnostic.note(why),
        });
    }
}

/// The first op that stops the gradient from the outputs on a path to the parameter.
fn blocker(flow: &Flow, param: ParamId, learns: &[bool]) -> (Option<crate::source::Place>, String, bool) {
    let carries = flow.ahead(|op| matches!(op, Op::Param(p) if *p == param), |_, _| true);
    let mut blocks = Vec::new();
    for (to, edges) in flow.into.iter().enumerate().filter(|(to, _)| learns[*to]) {
        for edge in edges.iter().filter(|e| carries[e.from] && !flow.differentiable(to, **e)) {
            blocks.push((to, *edge));
        }
    }
    // of several blocking ops, one that is not stop_grad is more informative
    let frozen = !blocks.is_empty() && blocks.iter().all(|(to, _)| matches!(flow.vertices[*to].op(), Op::StopGrad));
    let chosen = blocks.iter().find(|(to, _)| frozen || !matches!(flow.vertices[*to].op(), Op::StopGrad));
    match chosen {
        Some((to, edge)) => {
            let vertex = flow.vertices[*to];
            let why = match (edge.kind, vertex.op()) {
                (EdgeKind::Visible, _) => "the condition of `where` has no gradient",
                (_, Op::Select) => "the condition of `select` has no gradient",
                (_, Op::StopGrad) => "no gradient passes here",
                (_, Op::Dropout { .. }) => "the probability of `dropout` has no gradient",
                _ => "the gradient of this is 0 everywhere",
            };
            (Some(vertex.dag.node(vertex.id).place), why.to_string(), frozen)
        }
        None => (None, "no op on its way to the output passes a gradient".into(), false),
    }
}

fn time(flow: &Flow, found: &mut Vec<Diagnostic>) {
    let used = flow.behind(&flow.roots(), |_, _| true);
    let mixes = |op: &Op| matches!(op, Op::Window { .. } | Op::State(_) | Op::Past(_));
    if flow.vertices.iter().zip(&used).any(|(v, used)| *used && mixes(v.op())) {
        return;
    }
    if let Some(output) = flow.graph.outputs.first() {
        found.push(
            Diagnostic::warning(
                "W0604",
                format!("nothing in `{}` mixes time: each token sees only itself", flow.graph.name),
            )
            .at(flow.graph.dag.node(output.value).place, "depends on the present token alone")
            .help("add a memory: `conv`, `shift`, a `scan` or an `attend`"),
        );
    }
}

fn states(flow: &Flow, found: &mut Vec<Diagnostic>) {
    let used = flow.behind(&flow.roots(), |_, _| true);
    for (vertex, v) in flow.vertices.iter().enumerate() {
        let Op::Scan(scan) = v.op() else { continue };
        let alive = |i: &usize| flow.vertices[*i].home == Some(vertex) && used[*i];
        let live: BTreeSet<usize> = (0..flow.vertices.len())
            .filter(alive)
            .filter_map(|i| if let Op::State(s) = flow.vertices[i].op() { Some(*s) } else { None })
            .collect();
        // a scan without readers is an unused name, which the front end reports
        if !(0..flow.vertices.len()).any(|i| alive(&i)) {
            continue;
        }
        for (i, state) in scan.states.iter().enumerate().filter(|(i, _)| !live.contains(i)) {
            found.push(
                Diagnostic::warning("W0606", format!("no output depends on the state `{}`", state.name))
                    .at(scan.body.node(scan.next[i]).place, "the value after each token, which nothing reads")
                    .help("read it in an `emit` or in another state's update, or remove it"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{BinaryOp, Dag, UnaryOp};
    use crate::ops::testing::{Build, binary, delta_net, node};

    fn codes(graph: &Graph) -> Vec<&'static str> {
        check_dependence(graph).iter().map(|d| d.code).collect()
    }

    #[test]
    fn a_good_block_has_no_findings() {
        assert_eq!(codes(&delta_net()), Vec::<&str>::new());
    }

    #[test]
    fn an_output_without_input() {
        let mut b = Build::new();
        let d = b.axis("D", 4);
        b.input(&[d]);
        let w = b.param("w", &[d]);
        b.output(w);
        assert_eq!(codes(&b.graph), ["E0601", "W0604"]);
    }

    #[test]
    fn params_behind_flat_ops_cannot_learn() {
        for (flat, code) in
            [(Op::Unary(UnaryOp::Floor), "E0602"), (Op::Unary(UnaryOp::Sign), "E0602"), (Op::StopGrad, "W0602")]
        {
            let mut b = Build::new();
            let d = b.axis("D", 4);
            let x = b.input(&[d]);
            let w = b.param("w", &[d]);
            let stepped = b.node(flat, &[d], &[w]);
            let y = b.mul(x, stepped);
            b.output(y);
            assert_eq!(codes(&b.graph), [code, "W0604"]);
            let z = b.mul(y, w); // a second, smooth way
            b.output(z);
            assert_eq!(codes(&b.graph), ["W0604"]);
        }
    }

    #[test]
    fn a_param_that_only_decides_visibility_cannot_learn() {
        let mut b = Build::new();
        let d = b.axis("D", 4);
        let x = b.input(&[d]);
        let w = b.param("reach", &[]);
        let attend = b.attend(&[x, w], |body| {
            let past = node(body, Op::Past(0), &[d], &[]);
            let reach = node(body, Op::Capture(1), &[], &[]);
            let lag = node(body, Op::Lag, &[], &[]);
            let visible = binary(body, BinaryOp::Lt, lag, reach);
            let zero = node(body, Op::Const(0.0), &[], &[]);
            crate::graph::Attend {
                body: Dag::new(),
                visible: Some(visible),
                weighing: crate::graph::Weighing::Score(zero),
                sink: None,
                emits: vec![("o".into(), past)],
            }
        });
        let o = b.emit(attend, 0);
        b.output(o);
        let found = check_dependence(&b.graph);
        assert_eq!(found.iter().map(|d| d.code).collect::<Vec<_>>(), ["E0602"]);
        assert_eq!(found[0].labels[0].text, "the condition of `where` has no gradient");
    }

    #[test]
    fn unused_params_and_states() {
        let mut b = Build::new();
        let d = b.axis("D", 4);
        let x = b.input(&[d]);
        b.param("unused", &[d]);
        let zero = b.constant(0.0);
        let scan = b.scan(&[("s", &[d], zero), ("t", &[d], zero)], &[x], |body| {
            let s = node(body, Op::State(0), &[d], &[]);
            let t = node(body, Op::State(1), &[d], &[]);
            let x = node(body, Op::Capture(0), &[d], &[]);
            let s = binary(body, BinaryOp::Add, s, x);
            let t = binary(body, BinaryOp::Add, t, x);
            (vec![s, t], vec![("a", s)])
        });
        let a = b.emit(scan, 0);
        b.output(a);
        assert_eq!(codes(&b.graph), ["W0603", "W0606"]);
        b.graph.outputs[0].value = x;
        assert_eq!(codes(&b.graph), ["W0603", "W0604"], "an unread scan is the front's to tell");
    }
}
