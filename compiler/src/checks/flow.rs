//! The flow graph: one vertex for every node of a graph and of the bodies in it, and an edge for every use of a value.
//!
//! A capture is connected to the captured value, an emit to the emitted value (and, in an attend, to the
//! weights), a state to its initial value and, back in time, to its next value: this is the only kind of
//! cycle. Scan and attend nodes themselves have no values and no edges. Initial values of parameters
//! are not part of it.

use crate::graph::{BinaryOp, Dag, Graph, NodeId, Op, UnaryOp, Weighing};
use crate::ops::{At, rules};
use std::collections::BTreeMap;

/// A node of the graph or of a body.
#[derive(Clone, Copy, Debug)]
pub struct Vertex<'a> {
    /// DAG that holds it.
    pub dag: &'a Dag,
    /// Id of its node there.
    pub id: NodeId,
    /// Vertex of the scan or attend in whose body it is.
    pub home: Option<usize>,
}

impl<'a> Vertex<'a> {
    /// Its op.
    pub fn op(&self) -> &'a Op {
        self.dag.op(self.id)
    }

    /// The node with its graph and DAG.
    pub fn at(&self, graph: &'a Graph) -> At<'a> {
        At::new(graph, self.dag, self.id)
    }
}

/// Kind of use of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EdgeKind {
    /// Operand number i.
    Operand(usize),
    /// The initial value of a state.
    Initial,
    /// A state's value after the token before.
    Next,
    /// An outer value, at the present or the past token.
    Capture,
    /// The emitted value.
    Emitted,
    /// The score or weight of an emit.
    Weight,
    /// The condition of an emit.
    Visible,
    /// The sink of an emit.
    Sink,
}

/// Source of a value.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// The vertex that computes it.
    pub from: usize,
    /// Kind of use.
    pub kind: EdgeKind,
}

/// All vertices, with the edges into each.
#[derive(Debug)]
pub struct Flow<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Bodies come after the node that holds them.
    pub vertices: Vec<Vertex<'a>>,
    /// Incoming edges of each vertex.
    pub into: Vec<Vec<Edge>>,
    /// Constant value of each vertex that has one.
    constants: Vec<Option<f64>>,
    /// Vertex of each outer node.
    outer: Vec<usize>,
    /// Vertices of the body of each scan or attend vertex.
    bodies: BTreeMap<usize, Vec<usize>>,
}

impl<'a> Flow<'a> {
    /// Builds the flow graph of a graph, bodies included.
    pub fn new(graph: &'a Graph) -> Self {
        let mut flow = Self {
            graph,
            vertices: Vec::new(),
            into: Vec::new(),
            constants: Vec::new(),
            outer: Vec::new(),
            bodies: BTreeMap::new(),
        };
        flow.outer = flow.dag(&graph.dag, None, &[]);
        for vertex in 0..flow.vertices.len() {
            let number = flow.fold(vertex);
            flow.constants.push(number);
        }
        flow
    }

    /// Vertex of a node of the outer DAG.
    pub fn outer(&self, id: NodeId) -> usize {
        self.outer[id.0 as usize]
    }

    /// Vertex of a node in the body of a scan or attend vertex.
    pub fn inner(&self, home: usize, id: NodeId) -> usize {
        self.bodies[&home][id.0 as usize]
    }

    /// Value of a vertex that is computed from constants only.
    pub fn constant(&self, vertex: usize) -> Option<f64> {
        self.constants[vertex]
    }

    fn fold(&self, vertex: usize) -> Option<f64> {
        let operand = |i: usize| self.constants[self.into[vertex].get(i)?.from];
        match self.vertices[vertex].op() {
            Op::Const(x) => Some(*x),
            Op::Capture(_) | Op::Past(_) | Op::Expand(_) => operand(0),
            Op::Unary(UnaryOp::Neg) => operand(0).map(|x| -x),
            Op::Binary(op) => {
                let (a, b) = (operand(0)?, operand(1)?);
                match op {
                    BinaryOp::Add => Some(a + b),
                    BinaryOp::Sub => Some(a - b),
                    BinaryOp::Mul => Some(a * b),
                    BinaryOp::Div => Some(a / b),
                    BinaryOp::Pow => Some(a.powf(b)),
                    BinaryOp::Min => Some(a.min(b)),
                    BinaryOp::Max => Some(a.max(b)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Vertices of outputs and losses.
    pub fn roots(&self) -> Vec<usize> {
        let outputs = self.graph.outputs.iter().map(|o| o.value);
        outputs.chain(self.graph.losses.iter().copied()).map(|id| self.outer(id)).collect()
    }

    /// Whether a gradient flows along an edge into a vertex.
    pub fn differentiable(&self, to: usize, edge: Edge) -> bool {
        match edge.kind {
            EdgeKind::Operand(i) => rules(self.vertices[to].op()).differentiable(i),
            EdgeKind::Visible => false,
            _ => true,
        }
    }

    /// Marks every vertex from which one of the roots is reachable along allowed edges.
    pub fn behind(&self, roots: &[usize], allowed: impl Fn(usize, Edge) -> bool) -> Vec<bool> {
        let mut seen = vec![false; self.vertices.len()];
        let mut stack = roots.to_vec();
        while let Some(v) = stack.pop() {
            if !std::mem::replace(&mut seen[v], true) {
                stack.extend(self.into[v].iter().filter(|e| allowed(v, **e)).map(|e| e.from));
            }
        }
        seen
    }

    /// Marks every vertex that is reachable from a source along allowed edges.
    pub fn ahead(&self, source: impl Fn(&Op) -> bool, allowed: impl Fn(usize, Edge) -> bool) -> Vec<bool> {
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); self.vertices.len()];
        for (to, edges) in self.into.iter().enumerate() {
            for edge in edges.iter().filter(|e| allowed(to, **e)) {
                users[edge.from].push(to);
            }
        }
        let mut stack: Vec<usize> = (0..self.vertices.len()).filter(|v| source(self.vertices[*v].op())).collect();
        let mut seen = vec![false; self.vertices.len()];
        while let Some(v) = stack.pop() {
            if !std::mem::replace(&mut seen[v], true) {
                stack.extend(&users[v]);
            }
        }
        seen
    }

    /// Adds a DAG; `captured` are the vertices behind its captures, initial values of states first.
    fn dag(&mut self, dag: &'a Dag, home: Option<usize>, captured: &[usize]) -> Vec<usize> {
        let states = match home.map(|h| self.vertices[h].op()) {
            Some(Op::Scan(scan)) => scan.states.len(),
            _ => 0,
        };
        let mut at: Vec<usize> = Vec::with_capacity(dag.len());
        for id in dag.ids() {
            let vertex = self.vertices.len();
            self.vertices.push(Vertex { dag, id, home });
            self.into.push(Vec::new());
            at.push(vertex);
            let operands: Vec<usize> = dag.operands(id).iter().map(|o| at[o.0 as usize]).collect();
            let edges = match dag.op(id) {
                Op::Scan(scan) => {
                    let body = self.dag(&scan.body, Some(vertex), &operands);
                    for (node, inner) in scan.body.ids().zip(&body) {
                        if let Op::State(i) = scan.body.op(node) {
                            let next = body[scan.next[*i].0 as usize];
                            self.into[*inner].push(Edge { from: next, kind: EdgeKind::Next });
                        }
                    }
                    self.bodies.insert(vertex, body);
                    Vec::new()
                }
                Op::Attend(attend) => {
                    let body = self.dag(&attend.body, Some(vertex), &operands);
                    self.bodies.insert(vertex, body);
                    Vec::new()
                }
                Op::Emit(i) => self.emit_edges(operands[0], *i),
                Op::Capture(i) | Op::Past(i) => {
                    vec![Edge { from: captured[states + i], kind: EdgeKind::Capture }]
                }
                Op::State(i) => vec![Edge { from: captured[*i], kind: EdgeKind::Initial }],
                _ => {
                    let edge = |(i, from): (usize, &usize)| Edge { from: *from, kind: EdgeKind::Operand(i) };
                    operands.iter().enumerate().map(edge).collect()
                }
            };
            self.into[vertex].extend(edges);
        }
        at
    }

    fn emit_edges(&self, memory: usize, emit: usize) -> Vec<Edge> {
        let edge = |id: NodeId, kind| Edge { from: self.inner(memory, id), kind };
        match self.vertices[memory].op() {
            Op::Scan(scan) => vec![edge(scan.emits[emit].1, EdgeKind::Emitted)],
            Op::Attend(attend) => {
                let (Weighing::Score(weight) | Weighing::Weight(weight)) = attend.weighing;
                let mut edges = vec![edge(attend.emits[emit].1, EdgeKind::Emitted), edge(weight, EdgeKind::Weight)];
                edges.extend(attend.visible.map(|n| edge(n, EdgeKind::Visible)));
                edges.extend(attend.sink.map(|n| edge(n, EdgeKind::Sink)));
                edges
            }
            _ => Vec::new(),
        }
    }
}
