//! `contract_sums`: a sum of a product becomes contractions, outside and in bodies.
//!
//! The factors of a single-use product under a `sum[A]` are separated. Those without an axis of A move
//! outside of the sum; axes of only one factor are summed in it alone; the rest is contracted
//! two by two, the pair with the smallest product first. So a read `sum[K](k * S)` never builds
//! `[H, K, V]`, and `sum[K](q * (beta * k))` multiplies by beta once, after the sum.

use super::rewrite::{Copied, add, graph_roots, join, minus, multiply, rewrite_bodies, union, with_dag};
use crate::graph::{AxisId, BinaryOp, Dag, Graph, NodeId, Op, ReduceOp, Type};

/// Turns sums of products into contractions; see the module's essay.
pub fn contract_sums(graph: &Graph) -> Graph {
    let pass = |dag: &Dag, roots: &[NodeId]| contract_dag(graph, dag, roots);
    with_dag(graph, pass(&graph.dag, &graph_roots(graph)))
}

fn contract_dag(graph: &Graph, dag: &Dag, roots: &[NodeId]) -> Copied {
    let mut uses = vec![0usize; dag.len()];
    for id in dag.ids() {
        dag.operands(id).iter().for_each(|o| uses[o.0 as usize] += 1);
    }
    roots.iter().for_each(|r| uses[r.0 as usize] += 1);

    let mut factors: Vec<Option<Vec<NodeId>>> = vec![None; dag.len()];
    let mut absorbed = vec![false; dag.len()];
    for id in dag.ids().rev() {
        if let Op::Reduce(ReduceOp::Sum, _) = dag.op(id) {
            let product = dag.operands(id)[0];
            if is_private_product(dag, &uses, product) {
                let mut found = Vec::new();
                take_apart(dag, &uses, product, &mut found, &mut absorbed);
                factors[id.0 as usize] = Some(found);
            }
        }
    }

    let mut new = Copied::of(dag);
    for id in dag.ids() {
        if absorbed[id.0 as usize] {
            continue;
        }
        match (&factors[id.0 as usize], dag.op(id)) {
            (Some(factors), Op::Reduce(_, axes)) => {
                let factors = factors.iter().map(|f| new.get(*f)).collect();
                let value = contract(graph, &mut new.dag, dag, id, factors, axes);
                new.at[id.0 as usize] = Some(value);
            }
            (_, op) => {
                let op = rewrite_bodies(op, &|body, roots| contract_dag(graph, body, roots));
                new.copy(dag, id, op);
            }
        }
    }
    new
}

/// Whether only one op reads this product.
fn is_private_product(dag: &Dag, uses: &[usize], id: NodeId) -> bool {
    matches!(dag.op(id), Op::Binary(BinaryOp::Mul)) && uses[id.0 as usize] == 1
}

/// Collects the factors of a tree of products; a product with a lower rate than the whole stays one factor, because it is computed less
/// often too.
fn take_apart(dag: &Dag, uses: &[usize], root: NodeId, out: &mut Vec<NodeId>, absorbed: &mut [bool]) {
    let mut stack = vec![root];
    let mut count = 0;
    while let Some(id) = stack.pop() {
        if is_private_product(dag, uses, id) && dag.rate(id) == dag.rate(root) && count < FACTORS {
            absorbed[id.0 as usize] = true;
            count += 1;
            stack.extend(dag.operands(id).iter().rev());
        } else {
            out.push(id);
        }
    }
}

/// Maximum number of factors of a product that is contracted: pairing factors takes cubic time.
const FACTORS: usize = 16;

/// Builds the sum over `axes` of the product of the factors.
fn contract(graph: &Graph, new: &mut Dag, old: &Dag, id: NodeId, factors: Vec<NodeId>, axes: &[AxisId]) -> NodeId {
    let like = old.node(id);
    let size = |axes: &[AxisId]| axes.iter().map(|a| graph.size(*a) as f64).product::<f64>();
    let (mut inside, mut outside): (Vec<NodeId>, Vec<NodeId>) =
        factors.into_iter().partition(|f| new.ty(*f).axes.iter().any(|a| axes.contains(a)));

    loop {
        // an axis of only one factor is summed there
        for i in 0..inside.len() {
            let others = inside.iter().enumerate().filter(|(j, _)| *j != i);
            let shared: Vec<AxisId> = others.flat_map(|(_, f)| new.ty(*f).axes.clone()).collect();
            let ty = new.ty(inside[i]).clone();
            let own: Vec<AxisId> = minus(&ty.axes, &shared).into_iter().filter(|a| axes.contains(a)).collect();
            if !own.is_empty() {
                let ty = Type { axes: minus(&ty.axes, &own), rate: ty.rate };
                inside[i] = add(new, like, Op::Reduce(ReduceOp::Sum, own), ty, &[inside[i]]);
            }
        }
        if inside.len() < 2 {
            break;
        }
        let mut best = (f64::INFINITY, 0, 1);
        for i in 0..inside.len() {
            for j in i + 1..inside.len() {
                let cost = size(&union(&new.ty(inside[i]).axes, &new.ty(inside[j]).axes));
                if cost < best.0 {
                    best = (cost, i, j);
                }
            }
        }
        let (_, i, j) = best;
        let (b, a) = (inside.remove(j), inside.remove(i));
        let elsewhere: Vec<AxisId> = inside.iter().flat_map(|f| new.ty(*f).axes.clone()).collect();
        let both: Vec<AxisId> = new.ty(a).axes.iter().copied().filter(|x| new.ty(b).axes.contains(x)).collect();
        let over: Vec<AxisId> = minus(&both, &elsewhere).into_iter().filter(|x| axes.contains(x)).collect();
        let value = if over.is_empty() {
            multiply(new, like, a, b)
        } else {
            let all = union(&new.ty(a).axes, &new.ty(b).axes);
            let ty = Type { axes: minus(&all, &over), rate: join(new.rate(a), new.rate(b)) };
            add(new, like, Op::Contract(over), ty, &[a, b])
        };
        inside.insert(i, value);
    }

    // small factors first, so that the sum itself is multiplied once
    outside.sort_by(|a, b| size(&new.ty(*a).axes).total_cmp(&size(&new.ty(*b).axes)));
    let scale = outside.into_iter().reduce(|a, b| multiply(new, like, a, b));
    match (inside.pop(), scale) {
        (Some(sum), Some(scale)) => multiply(new, like, sum, scale),
        (Some(sum), None) => sum,
        (None, _) => unreachable!("archc bug: a sum over an axis that its operand lacks"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{print, verify};
    use crate::ops::testing::{Build, delta_net};

    #[test]
    fn reads_of_a_state_are_contractions() {
        let after = contract_sums(&delta_net());
        verify(&after).unwrap();
        let text = print(&after);
        assert_eq!(text.matches("contract[K]").count(), 2, "{text}");
        assert_eq!(text.matches("sum[K]").count(), 2, "only those of the norms, which sum no product: {text}");
    }

    #[test]
    fn factors_without_the_axis_leave_the_sum_and_small_pairs_go_first() {
        let mut b = Build::new();
        let (h, k, v) = (b.axis("H", 2), b.axis("K", 3), b.axis("V", 5));
        let (q, w, s, beta) = (b.input(&[h, k]), b.input(&[h, k]), b.input(&[h, k, v]), b.input(&[h]));
        let product = b.mul(s, q);
        let product = b.mul(beta, product);
        let product = b.mul(product, w);
        let y = b.sum(&[k], product);
        b.output(y);
        let after = contract_sums(&b.graph);
        verify(&after).unwrap();
        let dag = &after.dag;
        let value = after.outputs[0].value;
        assert_eq!(dag.ty(value).axes, vec![h, v]);
        let ops: Vec<String> = dag.ids().skip(4).map(|i| format!("{:?} {:?}", dag.op(i), dag.ty(i).axes)).collect();
        assert_eq!(
            ops,
            [
                "Binary(Mul) [AxisId(0), AxisId(1)]",
                "Contract([AxisId(1)]) [AxisId(0), AxisId(2)]",
                "Binary(Mul) [AxisId(0), AxisId(2)]"
            ]
        );
    }

    #[test]
    fn an_axis_of_one_factor_is_summed_there_and_shared_products_stay() {
        let mut b = Build::new();
        let (k, v) = (b.axis("K", 3), b.axis("V", 5));
        let (x, y) = (b.input(&[k]), b.input(&[v]));
        let product = b.mul(x, y);
        let total = b.sum(&[k, v], product);
        b.output(total);
        let after = contract_sums(&b.graph);
        verify(&after).unwrap();
        assert!(!print(&after).contains("[K, V]"), "{}", print(&after));
        b.output(product); // now read twice: it is built anyway
        let after = contract_sums(&b.graph);
        assert!(print(&after).contains("sum[K, V]"), "{}", print(&after));
    }
}
