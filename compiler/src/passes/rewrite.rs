//! Building blocks of passes: types of new nodes, and copying a graph DAG by DAG.

use crate::graph::{Attend, AxisId, BinaryOp, Dag, Graph, Node, NodeId, Op, Rate, Scan, Type, Weighing};

/// Rate of a value computed from values of these rates.
pub(crate) fn join(a: Rate, b: Rate) -> Rate {
    match (a, b) {
        (Rate::Pair, _) | (_, Rate::Pair) => Rate::Pair,
        (Rate::Token, _) | (_, Rate::Token) => Rate::Token,
        (Rate::Fixed, Rate::Fixed) => Rate::Fixed,
    }
}

/// Sorted union of two sorted lists.
pub(crate) fn union(a: &[AxisId], b: &[AxisId]) -> Vec<AxisId> {
    let mut axes = [a, b].concat();
    axes.sort_unstable();
    axes.dedup();
    axes
}

/// Axes of `a` that are not in `b`.
pub(crate) fn minus(a: &[AxisId], b: &[AxisId]) -> Vec<AxisId> {
    a.iter().copied().filter(|x| !b.contains(x)).collect()
}

/// Adds a node with the name and place of `like`, another op and another type.
pub(crate) fn add(dag: &mut Dag, like: &Node, op: Op, ty: Type, operands: &[NodeId]) -> NodeId {
    dag.add(Node { op, ty, name: like.name.clone(), place: like.place }, operands)
}

/// Adds a product, possibly an outer product.
pub(crate) fn multiply(dag: &mut Dag, like: &Node, a: NodeId, b: NodeId) -> NodeId {
    let ty = Type { axes: union(&dag.ty(a).axes, &dag.ty(b).axes), rate: join(dag.rate(a), dag.rate(b)) };
    add(dag, like, Op::Binary(BinaryOp::Mul), ty, &[a, b])
}

/// A DAG and the new ids of the old nodes.
pub(crate) struct Copied {
    pub dag: Dag,
    /// New id of each old node; none if it was removed.
    pub at: Vec<Option<NodeId>>,
}

impl Copied {
    /// An empty copy of a DAG.
    pub(crate) fn of(old: &Dag) -> Self {
        Self { dag: Dag::new(), at: vec![None; old.len()] }
    }

    /// New id of a node that was kept.
    ///
    /// # Panics
    /// If it was removed: a bug of the pass.
    pub(crate) fn get(&self, old: NodeId) -> NodeId {
        self.at[old.0 as usize].unwrap_or_else(|| panic!("archc bug: a pass dropped %{} but needs it", old.0))
    }

    /// Copies a node under another op; its operands must have been copied.
    pub(crate) fn copy(&mut self, old: &Dag, id: NodeId, op: Op) -> NodeId {
        let operands: Vec<NodeId> = old.operands(id).iter().map(|o| self.get(*o)).collect();
        let node = old.node(id);
        let new = add(&mut self.dag, node, op, node.ty.clone(), &operands);
        self.at[id.0 as usize] = Some(new);
        new
    }
}

/// Nodes of a scan's body that are read outside of it.
pub(crate) fn scan_roots(scan: &Scan) -> Vec<NodeId> {
    scan.next.iter().copied().chain(scan.emits.iter().map(|(_, e)| *e)).collect()
}

/// Nodes of an attend's body that are read outside of it.
pub(crate) fn attend_roots(attend: &Attend) -> Vec<NodeId> {
    let (Weighing::Score(weight) | Weighing::Weight(weight)) = attend.weighing;
    let single = [attend.visible, Some(weight), attend.sink];
    single.into_iter().flatten().chain(attend.emits.iter().map(|(_, e)| *e)).collect()
}

/// Nodes of a graph that are read from outside.
pub(crate) fn graph_roots(graph: &Graph) -> Vec<NodeId> {
    graph.outputs.iter().map(|o| o.value).chain(graph.losses.iter().copied()).collect()
}

/// Rewrites the bodies inside an op with a pass over one DAG and its roots.
pub(crate) fn rewrite_bodies(op: &Op, pass: &impl Fn(&Dag, &[NodeId]) -> Copied) -> Op {
    match op {
        Op::Scan(scan) => {
            let new = pass(&scan.body, &scan_roots(scan));
            Op::Scan(Box::new(Scan {
                states: scan.states.clone(),
                next: scan.next.iter().map(|n| new.get(*n)).collect(),
                emits: scan.emits.iter().map(|(name, e)| (name.clone(), new.get(*e))).collect(),
                body: new.dag,
            }))
        }
        Op::Attend(attend) => {
            let new = pass(&attend.body, &attend_roots(attend));
            Op::Attend(Box::new(Attend {
                visible: attend.visible.map(|n| new.get(n)),
                weighing: match attend.weighing {
                    Weighing::Score(n) => Weighing::Score(new.get(n)),
                    Weighing::Weight(n) => Weighing::Weight(new.get(n)),
                },
                sink: attend.sink.map(|n| new.get(n)),
                emits: attend.emits.iter().map(|(name, e)| (name.clone(), new.get(*e))).collect(),
                body: new.dag,
            }))
        }
        other => other.clone(),
    }
}

/// The graph with another outer DAG.
pub(crate) fn with_dag(graph: &Graph, new: Copied) -> Graph {
    let mut after = graph.clone();
    for output in &mut after.outputs {
        output.value = new.get(output.value);
    }
    for loss in &mut after.losses {
        *loss = new.get(*loss);
    }
    after.dag = new.dag;
    after
}
