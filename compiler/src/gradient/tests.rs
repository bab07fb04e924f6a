//! Structure of the joint graphs of whole programs; their values are compared with finite differences and the reference device elsewhere.

use super::{Seed, Wanted, differentiate, recompute};
use crate::lower::{LowerOptions, lower};
use crate::lowered::{BATCH, Dag, Lowered, Node, Op, TIME, print, verify};
use crate::source::SourceMap;
use crate::{Options, Target, compile};
use std::sync::Arc;

fn joint(text: &str) -> (Lowered, Lowered) {
    let mut sources = SourceMap::new();
    let file = sources.add("test", text.to_string());
    let graph = match compile(&sources, file, &Options::default()).into_graph() {
        Ok(graph) => Arc::new(graph),
        Err(found) => panic!("{found:?}"),
    };
    let options = LowerOptions { training: true, ..LowerOptions::plain(Target::cpu(), 64) };
    let lowered = lower(&graph, &options);
    let joint = differentiate(
        &lowered,
        &Wanted { seed: Seed::Cotangents, inputs: true, params: true, update: false, exact: false },
    );
    let lean = recompute(&joint);
    for graph in [&joint, &lean] {
        if let Err(why) = verify(graph) {
            panic!("{why}\n{}", print(graph));
        }
    }
    (joint, lean)
}

/// The forward values that the backward part reads, other than parameters, inputs and constants.
fn crossing(graph: &Lowered) -> usize {
    let mut read = vec![false; graph.forward_nodes];
    for id in graph.dag.ids().skip(graph.forward_nodes) {
        for operand in graph.dag.operands(id) {
            if let Some(read) = read.get_mut(operand.0 as usize) {
                *read = true;
            }
        }
    }
    let forward = graph.dag.nodes().iter().zip(&read).filter(|(_, r)| **r);
    forward.filter(|(n, _)| !matches!(n.op, Op::Param(_) | Op::Input(_) | Op::Const(_))).count()
}

#[test]
fn a_map_has_two_products_in_its_gradient() {
    let (joint, lean) = joint("block Map[D] { input x[D] output linear[D -> D](x, bias = zeros) }");
    let backward = &joint.dag.nodes()[joint.forward_nodes..];
    let products = backward.iter().filter(|n| matches!(n.op, Op::Contract(_))).count();
    assert_eq!((products, joint.param_grads.len(), joint.input_grads.len()), (2, 2, 1), "{}", print(&joint));
    let over_tokens = |n: &&Node| matches!(&n.op, Op::Contract(over) if over[..] == [BATCH, TIME]);
    assert_eq!(backward.iter().filter(over_tokens).count(), 1, "{}", print(&joint));
    assert_eq!(crossing(&lean), 0, "{}", print(&lean));
}

/// silu(gate) is recomputed from the maps' results. Its product with the other half is kept: both passes need it in memory.
#[test]
fn products_of_matrices_are_kept_and_what_follows_is_computed_again() {
    let text = "block Gated[D](F = 128) {
        input x[D]
        let gate[F] = linear[F](x)
        let up[F] = linear[F](x)
        output linear[D](silu(gate) * up)
    }";
    let (joint, lean) = joint(text);
    assert!(crossing(&joint) > 3, "{}", print(&joint));
    assert_eq!(crossing(&lean), 3, "{}", print(&lean));
}

/// Products of matrices in the loops of a graph: those over at least three dimensions.
fn products_in_loops(dag: &Dag) -> usize {
    let bodies = dag.nodes().iter().filter_map(|n| if let Op::Loop(l) = &n.op { Some(&l.body) } else { None });
    let large = |n: &&Node| matches!(&n.op, Op::Contract(over) if over.len() + n.dims.len() > 2);
    bodies.map(|body| body.nodes().iter().filter(large).count()).sum()
}

/// Values needed by pairs of rows are computed once for both, forward and backward.
#[test]
fn a_normaliser_beside_a_memory_costs_no_product_of_matrices() {
    let text = |states: &str, updates: &str, o: &str| {
        format!(
            "block Memory[D](K = 8, V = 16) {{
                input x[D]
                let q[K] = linear[K](x)
                let k[K] = linear[K](x)
                let v[V] = linear[V](x)
                let a = sigmoid(linear[D -> ](x))
                scan {{
                    state S[K, V] = 0
                    {states}
                    S = a * S
                    S = S + k * (v - sum[K](k * S))
                    {updates}
                    emit o = {o}
                }}
                output linear[V -> D](o)
            }}"
        )
    };
    let update = "z = a * z\n z = z + k * (1 - sum[K](k * z))";
    let alone = joint(&text("", "", "sum[K](q * S)"));
    let both = joint(&text("state z[K] = 0", update, "sum[K](q * S) / (1 + abs(sum[K](q * z)))"));
    let count = |graph: &Lowered| products_in_loops(&graph.dag);
    assert!(count(&alone.0) > 10, "{}", print(&alone.0));
    assert_eq!(count(&both.0), count(&alone.0), "{}", print(&both.0));
    assert_eq!(count(&both.1), count(&alone.1), "{}", print(&both.1));
}
