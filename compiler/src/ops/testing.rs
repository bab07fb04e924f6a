//! Small graphs built by hand, for the tests of the analyses.

use crate::graph::{
    Attend, Axis, AxisId, BinaryOp, Dag, Graph, Input, Linear, Node, NodeId, Op, Output, Param, ParamId, ParamKind,
    Rate, ReduceOp, Scan, State, Type, UnaryOp,
};
use crate::source::{FileId, Place};
use archc_grammar::Span;

fn nowhere() -> Place {
    Place { file: FileId(0), span: Span { start: 0, end: 0 } }
}

/// Adds a node to a DAG; its rate is the highest of its operands' and the op's own.
pub(crate) fn node(dag: &mut Dag, op: Op, axes: &[AxisId], operands: &[NodeId]) -> NodeId {
    let own = match &op {
        Op::Input(_) | Op::Pos | Op::State(_) | Op::Capture(_) | Op::Scan(_) | Op::Attend(_) | Op::Emit(_) => {
            Rate::Token
        }
        Op::Past(_) | Op::Lag => Rate::Pair,
        _ => Rate::Fixed,
    };
    let rate = operands.iter().map(|o| dag.rate(*o)).fold(own, |a, b| match (a, b) {
        (Rate::Pair, _) | (_, Rate::Pair) => Rate::Pair,
        (Rate::Token, _) | (_, Rate::Token) => Rate::Token,
        _ => Rate::Fixed,
    });
    let mut axes = axes.to_vec();
    axes.sort_unstable();
    dag.add(Node { op, ty: Type { axes, rate }, name: String::new(), place: nowhere() }, operands)
}

fn broadcast(dag: &mut Dag, op: Op, operands: &[NodeId]) -> NodeId {
    let mut axes: Vec<AxisId> = operands.iter().flat_map(|o| dag.ty(*o).axes.clone()).collect();
    axes.sort_unstable();
    axes.dedup();
    node(dag, op, &axes, operands)
}

/// Adds a broadcasting function of two values to a DAG.
pub(crate) fn binary(dag: &mut Dag, op: BinaryOp, a: NodeId, b: NodeId) -> NodeId {
    broadcast(dag, Op::Binary(op), &[a, b])
}

/// Adds a sum over axes to a DAG.
pub(crate) fn sum(dag: &mut Dag, over: &[AxisId], x: NodeId) -> NodeId {
    let axes: Vec<AxisId> = dag.ty(x).axes.iter().copied().filter(|a| !over.contains(a)).collect();
    node(dag, Op::Reduce(ReduceOp::Sum, over.to_vec()), &axes, &[x])
}

/// A graph under construction.
pub(crate) struct Build {
    pub graph: Graph,
}

impl Build {
    pub(crate) fn new() -> Self {
        let graph = Graph {
            name: "Test".into(),
            axes: Vec::new(),
            params: Vec::new(),
            inputs: Vec::new(),
            dag: Dag::new(),
            outputs: Vec::new(),
            losses: Vec::new(),
            prefix: None,
            vocab: None,
            derived: crate::graph::Derived::default(),
        };
        Self { graph }
    }

    pub(crate) fn axis(&mut self, name: &str, size: usize) -> AxisId {
        self.graph.axes.push(Axis { name: name.into(), size, labels: None });
        AxisId(self.graph.axes.len() as u32 - 1)
    }

    pub(crate) fn node(&mut self, op: Op, axes: &[AxisId], operands: &[NodeId]) -> NodeId {
        node(&mut self.graph.dag, op, axes, operands)
    }

    pub(crate) fn input(&mut self, axes: &[AxisId]) -> NodeId {
        let i = self.graph.inputs.len();
        self.graph.inputs.push(Input { name: format!("x{i}"), axes: axes.to_vec() });
        self.node(Op::Input(i), axes, &[])
    }

    pub(crate) fn constant(&mut self, x: f64) -> NodeId {
        self.node(Op::Const(x), &[], &[])
    }

    fn declare(&mut self, path: &str, axes: &[AxisId], kind: ParamKind, out: usize) -> NodeId {
        let mut init = Dag::new();
        let init_value = node(&mut init, Op::Const(1.0), &[], &[]);
        self.graph.params.push(Param {
            path: path.into(),
            axes: axes.to_vec(),
            kind,
            per: 0,
            out,
            init,
            init_value,
            place: nowhere(),
        });
        let id = ParamId(self.graph.params.len() as u32 - 1);
        let mut distinct = axes.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        self.node(Op::Param(id), &distinct, &[])
    }

    pub(crate) fn param(&mut self, path: &str, axes: &[AxisId]) -> NodeId {
        self.declare(path, axes, ParamKind::Free, 0)
    }

    pub(crate) fn linear(&mut self, path: &str, x: NodeId, from: &[AxisId], to: &[AxisId]) -> NodeId {
        let weight = self.declare(path, &[to, from].concat(), ParamKind::Weight, to.len());
        let mut axes: Vec<AxisId> = self.graph.dag.ty(x).axes.iter().copied().filter(|a| !from.contains(a)).collect();
        axes.extend(to);
        let linear = Linear { contracted: vec![from.to_vec()], per: vec![], out: to.to_vec(), bias: false };
        self.node(Op::Linear(linear), &axes, &[x, weight])
    }

    pub(crate) fn unary(&mut self, op: UnaryOp, x: NodeId) -> NodeId {
        broadcast(&mut self.graph.dag, Op::Unary(op), &[x])
    }

    pub(crate) fn binary(&mut self, op: BinaryOp, a: NodeId, b: NodeId) -> NodeId {
        binary(&mut self.graph.dag, op, a, b)
    }

    pub(crate) fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(BinaryOp::Add, a, b)
    }

    pub(crate) fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(BinaryOp::Mul, a, b)
    }

    pub(crate) fn sum(&mut self, over: &[AxisId], x: NodeId) -> NodeId {
        sum(&mut self.graph.dag, over, x)
    }

    /// `x * rsqrt(sum[over](x ^ 2) + 1e-6)`
    pub(crate) fn l2norm(&mut self, over: &[AxisId], x: NodeId) -> NodeId {
        let square = self.unary(UnaryOp::Powi(2), x);
        let total = self.sum(over, square);
        let eps = self.constant(1e-6);
        let total = self.add(total, eps);
        let scale = self.unary(UnaryOp::Rsqrt, total);
        self.mul(x, scale)
    }

    /// Adds a scan with states (name, axes, initial value) and captures; the closure returns the next values and the emits.
    pub(crate) fn scan(
        &mut self,
        states: &[(&str, &[AxisId], NodeId)],
        captures: &[NodeId],
        body: impl FnOnce(&mut Dag) -> (Vec<NodeId>, Vec<(&'static str, NodeId)>),
    ) -> NodeId {
        let mut dag = Dag::new();
        let (next, emits) = body(&mut dag);
        let scan = Scan {
            states: (states.iter().enumerate())
                .map(|(number, (name, axes, _))| State { name: (*name).into(), axes: axes.to_vec(), number })
                .collect(),
            body: dag,
            next,
            emits: emits.into_iter().map(|(name, e)| (name.to_string(), e)).collect(),
        };
        let operands: Vec<NodeId> = states.iter().map(|s| s.2).chain(captures.iter().copied()).collect();
        self.node(Op::Scan(Box::new(scan)), &[], &operands)
    }

    pub(crate) fn attend(&mut self, captures: &[NodeId], body: impl FnOnce(&mut Dag) -> Attend) -> NodeId {
        let mut dag = Dag::new();
        let attend = body(&mut dag);
        let attend = Attend { body: dag, ..attend };
        self.node(Op::Attend(Box::new(attend)), &[], captures)
    }

    pub(crate) fn emit(&mut self, memory: NodeId, i: usize) -> NodeId {
        let axes = match self.graph.dag.op(memory) {
            Op::Scan(scan) => scan.body.ty(scan.emits[i].1).axes.clone(),
            Op::Attend(attend) => {
                let (crate::graph::Weighing::Score(w) | crate::graph::Weighing::Weight(w)) = attend.weighing;
                let mut axes = attend.body.ty(attend.emits[i].1).axes.clone();
                axes.extend(attend.body.ty(w).axes.clone());
                axes.sort_unstable();
                axes.dedup();
                axes
            }
            _ => Vec::new(),
        };
        self.node(Op::Emit(i), &axes, &[memory])
    }

    pub(crate) fn output(&mut self, value: NodeId) {
        let axes = self.graph.dag.ty(value).axes.clone();
        let name =
            if self.graph.outputs.is_empty() { "output".into() } else { format!("output{}", self.graph.outputs.len()) };
        self.graph.outputs.push(Output { name, value, axes });
    }
}

/// A delta-rule block: D = 8, H = 2, K = 4, V = 4, all learned maps, keys normalised, no decay.
pub(crate) fn delta_net() -> Graph {
    delta_net_with(true, |b, logits| b.unary(UnaryOp::Sigmoid, logits))
}

/// The delta-rule block with or without normalised keys, and another gate.
pub(crate) fn delta_net_with(normalised: bool, gate: impl FnOnce(&mut Build, NodeId) -> NodeId) -> Graph {
    let mut b = Build::new();
    let (d, h, k, v) = (b.axis("D", 8), b.axis("H", 2), b.axis("K", 4), b.axis("V", 4));
    let x = b.input(&[d]);
    let mut query = b.linear("q.linear.weight", x, &[d], &[h, k]);
    let mut key = b.linear("k.linear.weight", x, &[d], &[h, k]);
    if normalised {
        query = b.l2norm(&[k], query);
        key = b.l2norm(&[k], key);
    }
    let value = b.linear("v.linear.weight", x, &[d], &[h, v]);
    let logits = b.linear("beta.linear.weight", x, &[d], &[h]);
    let beta = gate(&mut b, logits);
    let zero = b.constant(0.0);
    let scan = b.scan(&[("S", &[h, k, v], zero)], &[key, beta, value, query], |body| {
        let s = node(body, Op::State(0), &[h, k, v], &[]);
        let key = node(body, Op::Capture(0), &[h, k], &[]);
        let beta = node(body, Op::Capture(1), &[h], &[]);
        let value = node(body, Op::Capture(2), &[h, v], &[]);
        let query = node(body, Op::Capture(3), &[h, k], &[]);
        let read = binary(body, BinaryOp::Mul, key, s);
        let read = sum(body, &[k], read);
        let error = binary(body, BinaryOp::Sub, value, read);
        let write = binary(body, BinaryOp::Mul, beta, key);
        let write = binary(body, BinaryOp::Mul, write, error);
        let next = binary(body, BinaryOp::Add, s, write);
        let out = binary(body, BinaryOp::Mul, query, next);
        let out = sum(body, &[k], out);
        (vec![next], vec![("o", out)])
    });
    let o = b.emit(scan, 0);
    let y = b.linear("output.linear.weight", o, &[h, v], &[d]);
    b.output(y);
    b.graph
}
