//! Graphs by hand: a builder that derives axes and rates.

use archc_compiler::graph::*;
use archc_compiler::source::{FileId, Place};
use archc_grammar::Span;
use std::sync::Arc;

pub fn nowhere() -> Place {
    Place { file: FileId(0), span: Span { start: 0, end: 0 } }
}

/// A DAG under construction: a graph's own, a body, or the recipe of a parameter.
#[derive(Default)]
pub struct Nodes(pub Dag);

impl Nodes {
    pub fn leaf(&mut self, op: Op, axes: &[AxisId], rate: Rate) -> NodeId {
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        self.0.add(Node { op, ty: Type { axes, rate }, name: String::new(), place: nowhere() }, &[])
    }

    pub fn op(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        let mut axes: Vec<AxisId> = operands.iter().flat_map(|o| self.0.ty(*o).axes.clone()).collect();
        let without = |axes: &mut Vec<AxisId>, gone: &[AxisId]| axes.retain(|a| !gone.contains(a));
        match &op {
            Op::Index(new) => axes.extend(new),
            Op::Table(new, _) => axes.push(*new),
            Op::Reduce(_, gone) | Op::Contract(gone) => without(&mut axes, gone),
            Op::Stack(new) => axes.push(*new),
            Op::Pick(gone, _) => without(&mut axes, &[*gone]),
            Op::Split(gone, new) => {
                without(&mut axes, &[*gone]);
                axes.extend(new);
            }
            Op::Flatten(gone, new) | Op::Cat(gone, new) => {
                without(&mut axes, gone);
                axes.push(*new);
            }
            Op::Cut { from, into, .. } | Op::Rename(from, into) => {
                without(&mut axes, &[*from]);
                axes.push(*into);
            }
            Op::Expand(new) => axes.extend(new),
            Op::Linear(map) => {
                axes = operands[..map.contracted.len()].iter().flat_map(|o| self.0.ty(*o).axes.clone()).collect();
                map.contracted.iter().for_each(|c| without(&mut axes, c));
                axes.extend(&map.out);
            }
            Op::Embed { vocab } => {
                axes = self.0.ty(operands[0]).axes.clone();
                without(&mut axes, &[*vocab]);
            }
            Op::Dropout { .. } => axes = self.0.ty(operands[0]).axes.clone(),
            Op::Window { axis, .. } => axes.push(*axis),
            Op::Scan(_) | Op::Attend(_) => axes.clear(),
            _ => {}
        }
        axes.sort_unstable();
        axes.dedup();
        let given = operands.iter().map(|o| self.0.rate(*o)).max().unwrap_or(Rate::Fixed);
        let rate = match &op {
            Op::Pos | Op::Embed { .. } | Op::Window { .. } | Op::Scan(_) | Op::Attend(_) => given.max(Rate::Token),
            Op::TokenMean => Rate::Fixed,
            _ => given,
        };
        self.0.add(Node { op, ty: Type { axes, rate }, name: String::new(), place: nowhere() }, operands)
    }

    pub fn number(&mut self, x: f64) -> NodeId {
        self.op(Op::Const(x), &[])
    }

    pub fn unary(&mut self, op: UnaryOp, x: NodeId) -> NodeId {
        self.op(Op::Unary(op), &[x])
    }

    pub fn binary(&mut self, op: BinaryOp, a: NodeId, b: NodeId) -> NodeId {
        self.op(Op::Binary(op), &[a, b])
    }

    pub fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(BinaryOp::Add, a, b)
    }

    pub fn sub(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(BinaryOp::Sub, a, b)
    }

    pub fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(BinaryOp::Mul, a, b)
    }

    pub fn contract(&mut self, over: &[AxisId], a: NodeId, b: NodeId) -> NodeId {
        self.op(Op::Contract(over.to_vec()), &[a, b])
    }

    pub fn reduce(&mut self, op: ReduceOp, over: &[AxisId], x: NodeId) -> NodeId {
        self.op(Op::Reduce(op, over.to_vec()), &[x])
    }
}

/// The parts of an attend's body.
pub struct Paired {
    pub visible: Option<NodeId>,
    pub weighing: Weighing,
    pub sink: Option<NodeId>,
    pub emits: Vec<NodeId>,
}

/// A graph under construction.
pub struct Build {
    pub nodes: Nodes,
    axes: Vec<Axis>,
    params: Vec<Param>,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    pub losses: Vec<NodeId>,
    prefix: Option<ParamId>,
    vocab: Option<AxisId>,
}

impl std::ops::Deref for Build {
    type Target = Nodes;

    fn deref(&self) -> &Nodes {
        &self.nodes
    }
}

impl std::ops::DerefMut for Build {
    fn deref_mut(&mut self) -> &mut Nodes {
        &mut self.nodes
    }
}

impl Build {
    pub fn new() -> Self {
        Self {
            nodes: Nodes::default(),
            axes: Vec::new(),
            params: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            losses: Vec::new(),
            prefix: None,
            vocab: None,
        }
    }

    pub fn axis(&mut self, name: &str, size: usize) -> AxisId {
        self.axes.push(Axis { name: name.into(), size, labels: None });
        AxisId(self.axes.len() as u32 - 1)
    }

    pub fn input(&mut self, name: &str, axes: &[AxisId]) -> NodeId {
        self.inputs.push(Input { name: name.into(), axes: axes.to_vec() });
        let number = self.inputs.len() - 1;
        self.nodes.leaf(Op::Input(number), axes, Rate::Token)
    }

    /// A parameter whose recipe is built by `init`.
    pub fn param_with(
        &mut self,
        path: &str,
        axes: &[AxisId],
        kind: ParamKind,
        (per, out): (usize, usize),
        init: impl FnOnce(&mut Nodes) -> NodeId,
    ) -> NodeId {
        let mut recipe = Nodes::default();
        let init_value = init(&mut recipe);
        let (path, axes_list, place) = (path.to_string(), axes.to_vec(), nowhere());
        self.params.push(Param { path, axes: axes_list, kind, per, out, init: recipe.0, init_value, place });
        let id = ParamId(self.params.len() as u32 - 1);
        self.nodes.leaf(Op::Param(id), axes, Rate::Fixed)
    }

    /// A parameter drawn from normal(0.5).
    pub fn param(&mut self, path: &str, axes: &[AxisId], kind: ParamKind) -> NodeId {
        let all = axes.to_vec();
        self.param_with(path, axes, kind, (0, 0), |n| {
            let std = n.number(0.5);
            let draw = Op::Draw(Draw::Normal);
            n.0.add(
                Node {
                    op: draw,
                    ty: Type { axes: sorted(&all), rate: Rate::Fixed },
                    name: String::new(),
                    place: nowhere(),
                },
                &[std],
            )
        })
    }

    /// linear[from -> to](x) with a new weight.
    pub fn linear(&mut self, path: &str, from: &[AxisId], to: &[AxisId], x: NodeId) -> NodeId {
        // An axis on both sides gets a name of its own on the weight's OUT side.
        let outs: Vec<AxisId> = to
            .iter()
            .map(|&a| {
                if from.contains(&a) {
                    let (n, s) = (self.axes[a.0 as usize].name.clone() + "'", self.axes[a.0 as usize].size);
                    self.axis(&n, s)
                } else {
                    a
                }
            })
            .collect();
        let weight = self.param(path, &[&outs, from].concat(), ParamKind::Weight);
        let map = Linear { contracted: vec![from.to_vec()], per: vec![], out: to.to_vec(), bias: false };
        self.op(Op::Linear(map), &[x, weight])
    }

    /// A model's embedding, with learned tokens before each document if there is a `prefix` axis, whose length is their number.
    pub fn embed(&mut self, vocab: AxisId, d: AxisId, prefix: Option<AxisId>) -> NodeId {
        self.vocab = Some(vocab);
        let table = self.param("embedding", &[vocab, d], ParamKind::Embedding);
        let mut operands = vec![table];
        if let Some(m) = prefix {
            operands.push(self.param("meta", &[m, d], ParamKind::Prefix));
            self.prefix = Some(ParamId(self.params.len() as u32 - 1));
        }
        self.op(Op::Embed { vocab }, &operands)
    }

    /// A scan; `body` maps the states and captures to the next states and the emits.
    pub fn scan(
        &mut self,
        states: &[(&[AxisId], NodeId)],
        captures: &[NodeId],
        body: impl FnOnce(&mut Nodes, &[NodeId], &[NodeId]) -> (Vec<NodeId>, Vec<NodeId>),
    ) -> Vec<NodeId> {
        let mut inner = Nodes::default();
        let olds: Vec<NodeId> = (0..states.len()).map(|i| inner.leaf(Op::State(i), states[i].0, Rate::Token)).collect();
        let caps: Vec<NodeId> = captures
            .iter()
            .enumerate()
            .map(|(i, c)| inner.leaf(Op::Capture(i), &self.0.ty(*c).axes.clone(), self.0.rate(*c)))
            .collect();
        let (next, emits) = body(&mut inner, &olds, &caps);
        let types: Vec<Vec<AxisId>> = emits.iter().map(|e| inner.0.ty(*e).axes.clone()).collect();
        let named =
            states.iter().enumerate().map(|(i, s)| State { name: format!("s{i}"), axes: s.0.to_vec(), number: i });
        let scan = Scan {
            states: named.collect(),
            body: inner.0,
            next,
            emits: emits.into_iter().enumerate().map(|(i, e)| (format!("e{i}"), e)).collect(),
        };
        let operands: Vec<NodeId> = states.iter().map(|s| s.1).chain(captures.iter().copied()).collect();
        let node = self.op(Op::Scan(Box::new(scan)), &operands);
        self.emits(node, types)
    }

    /// An attend; `body` receives the captures at the present token, those at the past one, and the lag.
    pub fn attend(
        &mut self,
        captures: &[NodeId],
        body: impl FnOnce(&mut Nodes, &[NodeId], &[NodeId], NodeId) -> Paired,
    ) -> Vec<NodeId> {
        let mut inner = Nodes::default();
        let mut leaves = |op: fn(usize) -> Op, pair: bool| -> Vec<NodeId> {
            let rate = |c: NodeId| if pair { Rate::Pair } else { self.nodes.0.rate(c) };
            let each = captures.iter().enumerate();
            each.map(|(i, c)| inner.leaf(op(i), &self.nodes.0.ty(*c).axes, rate(*c))).collect()
        };
        let (present, past) = (leaves(Op::Capture, false), leaves(Op::Past, true));
        let lag = inner.leaf(Op::Lag, &[], Rate::Pair);
        let parts = body(&mut inner, &present, &past, lag);
        let of = |n: NodeId| inner.0.ty(n).axes.clone();
        let (Weighing::Score(w) | Weighing::Weight(w)) = parts.weighing;
        let types: Vec<Vec<AxisId>> = parts.emits.iter().map(|e| [of(w), of(*e)].concat()).collect();
        let emits = parts.emits.into_iter().enumerate().map(|(i, e)| (format!("e{i}"), e)).collect();
        let attend =
            Attend { body: inner.0, visible: parts.visible, weighing: parts.weighing, sink: parts.sink, emits };
        let node = self.op(Op::Attend(Box::new(attend)), captures);
        self.emits(node, types)
    }

    fn emits(&mut self, node: NodeId, types: Vec<Vec<AxisId>>) -> Vec<NodeId> {
        let emit = |(i, axes): (usize, Vec<AxisId>)| {
            let ty = Type { axes: sorted(&axes), rate: Rate::Token };
            self.nodes.0.add(Node { op: Op::Emit(i), ty, name: String::new(), place: nowhere() }, &[node])
        };
        types.into_iter().enumerate().map(emit).collect()
    }

    pub fn output(&mut self, value: NodeId) {
        let axes = self.0.ty(value).axes.clone();
        let name = if self.outputs.is_empty() { "output".into() } else { format!("output{}", self.outputs.len()) };
        self.outputs.push(Output { name, value, axes });
    }

    pub fn done(self) -> Arc<Graph> {
        let graph = Graph {
            name: "Test".into(),
            axes: self.axes,
            params: self.params,
            inputs: self.inputs,
            dag: self.nodes.0,
            outputs: self.outputs,
            losses: self.losses,
            prefix: self.prefix,
            vocab: self.vocab,
            derived: Derived::default(),
        };
        verify(&graph).unwrap_or_else(|e| panic!("{e}\n{}", print(&graph)));
        Arc::new(graph)
    }
}

fn sorted(axes: &[AxisId]) -> Vec<AxisId> {
    let mut axes = axes.to_vec();
    axes.sort_unstable();
    axes.dedup();
    axes
}
