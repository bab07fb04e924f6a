//! Contexts in which nodes are built: the outer graph, or a body with its captures.

use super::value::{Tensor, Value};
use super::{Elaborator, Eval, MAX_NODES, errors};
use crate::graph::{AxisId, Dag, Node, NodeId, Op, Rate, Type};
use crate::source::Place;
use std::collections::HashMap;

/// A graph inside the graph, while it is being built.
#[derive(Clone)]
pub struct Context {
    /// Its level.
    pub serial: u32,
    /// Kind of the body.
    pub kind: ContextKind,
    /// Its nodes.
    pub dag: Dag,
    /// Outer nodes that it reads.
    pub captures: Vec<NodeId>,
    /// Leaves for outer nodes, by node and whether at the past token.
    leaves: HashMap<(NodeId, bool), NodeId>,
    /// Recipes realised in this init, by address: one written draw is one value.
    pub realised: HashMap<usize, Tensor>,
}

/// Kind of a context's body.
#[derive(Clone, Debug)]
pub enum ContextKind {
    /// `scan`
    Scan,
    /// `attend`
    Attend,
    /// The init of a parameter with these axes; `fan` is the number of contracted elements, if there are any.
    Init {
        /// Sorted by id.
        axes: Vec<AxisId>,
        /// Contracted elements of all inputs together.
        fan: Option<usize>,
    },
}

impl Elaborator<'_> {
    /// Opens a context.
    pub(super) fn open(&mut self, kind: ContextKind) {
        self.serial += 1;
        self.contexts.push(Context {
            serial: self.serial,
            kind,
            dag: Dag::new(),
            captures: Vec::new(),
            leaves: HashMap::new(),
            realised: HashMap::new(),
        });
    }

    /// Closes the innermost context.
    pub(super) fn close(&mut self) -> Context {
        self.contexts.pop().expect("archc bug: a context is closed that was not opened")
    }

    /// Whether an init is being built.
    pub(super) fn in_init(&self) -> bool {
        matches!(self.contexts.last(), Some(Context { kind: ContextKind::Init { .. }, .. }))
    }

    /// Axes of the parameter whose init is being built, if there is one.
    pub(super) fn init_axes(&self) -> Vec<AxisId> {
        match self.contexts.last().map(|c| &c.kind) {
            Some(ContextKind::Init { axes, .. }) => axes.clone(),
            _ => Vec::new(),
        }
    }

    /// Whether an attend is being built.
    pub(super) fn in_attend(&self) -> bool {
        matches!(self.contexts.last(), Some(Context { kind: ContextKind::Attend, .. }))
    }

    /// Adds a node at the level of its operands. `axes` need not be sorted.
    pub(super) fn make(
        &mut self,
        op: Op,
        operands: &[Tensor],
        mut axes: Vec<AxisId>,
        rate: Rate,
        place: Place,
    ) -> Eval<Tensor> {
        axes.sort_unstable();
        let top = self.contexts.last().map_or(0, |c| c.serial);
        let inner = self.in_init() || operands.iter().any(|o| o.level != 0);
        let operands = operands.iter().map(|o| self.reach(o, inner, place)).collect::<Eval<Vec<_>>>()?;
        self.add(op, &operands, Type { axes, rate }, if inner { top } else { 0 }, place)
    }

    /// Adds a leaf of the body that is being built.
    pub(super) fn make_inner(&mut self, op: Op, mut axes: Vec<AxisId>, rate: Rate, place: Place) -> Eval<Tensor> {
        axes.sort_unstable();
        let top = self.contexts.last().map_or(0, |c| c.serial);
        self.add(op, &[], Type { axes, rate }, top, place)
    }

    fn add(&mut self, op: Op, operands: &[NodeId], ty: Type, level: u32, place: Place) -> Eval<Tensor> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            if self.nodes == MAX_NODES + 1 {
                self.report(errors::too_large(place));
            }
            return Err(super::Failed);
        }
        let node = Node { op, ty: ty.clone(), name: String::new(), place: self.node_place(place) };
        let dag = match self.contexts.last_mut() {
            Some(context) if level != 0 => &mut context.dag,
            _ => &mut self.graph.dag,
        };
        Ok(Tensor { node: dag.add(node, operands), level, axes: ty.axes, rate: ty.rate })
    }

    /// Node of a tensor in the outer graph (`inner` false) or in the innermost context.
    fn reach(&mut self, tensor: &Tensor, inner: bool, place: Place) -> Eval<NodeId> {
        let top = self.contexts.last().map_or(0, |c| c.serial);
        if tensor.level == 0 {
            return match (inner, self.in_init()) {
                (false, _) => Ok(tensor.node),
                (true, true) => self.import(tensor.node, place),
                (true, false) => self.capture(tensor, false),
            };
        }
        if tensor.level == top { Ok(tensor.node) } else { self.fail(errors::state_dependent(place)) }
    }

    /// Leaf of the innermost body for an outer node. Constants are copied, not captured.
    pub(super) fn capture(&mut self, tensor: &Tensor, past: bool) -> Eval<NodeId> {
        let node = self.graph.dag.node(tensor.node).clone();
        let Some(context) = self.contexts.last_mut() else { return Ok(tensor.node) };
        if let Some(leaf) = context.leaves.get(&(tensor.node, past)) {
            return Ok(*leaf);
        }
        let leaf = match node.op {
            Op::Const(_) => context.dag.add(node, &[]),
            _ => {
                let index = context.captures.iter().position(|c| *c == tensor.node).unwrap_or_else(|| {
                    context.captures.push(tensor.node);
                    context.captures.len() - 1
                });
                let op = if past { Op::Past(index) } else { Op::Capture(index) };
                let rate = if past && node.ty.rate == Rate::Token { Rate::Pair } else { node.ty.rate };
                context.dag.add(Node { op, ty: Type { rate, ..node.ty }, ..node }, &[])
            }
        };
        context.leaves.insert((tensor.node, past), leaf);
        Ok(leaf)
    }

    /// Copies an outer node and its operands into the init that is being built.
    fn import(&mut self, id: NodeId, place: Place) -> Eval<NodeId> {
        if let Some(leaf) = self.contexts.last().and_then(|c| c.leaves.get(&(id, false))) {
            return Ok(*leaf);
        }
        let node = self.graph.dag.node(id).clone();
        let random = matches!(node.op, Op::Dropout { .. } | Op::Anneal { .. } | Op::Step);
        if node.ty.rate != Rate::Fixed || random || matches!(node.op, Op::Param(_) | Op::Linear(_)) {
            return self.fail(errors::init_depends(place));
        }
        let operands = self.graph.dag.operands(id).to_vec();
        let operands = operands.into_iter().map(|o| self.import(o, place)).collect::<Eval<Vec<_>>>()?;
        let context = self.contexts.last_mut().expect("archc bug: import outside of an init");
        let copy = context.dag.add(node, &operands);
        context.leaves.insert((id, false), copy);
        Ok(copy)
    }

    /// Mutable node of a tensor, to name it.
    pub(super) fn node_mut(&mut self, tensor: &Tensor) -> Option<&mut Node> {
        match self.contexts.iter_mut().find(|c| c.serial == tensor.level) {
            Some(context) => Some(context.dag.node_mut(tensor.node)),
            None if tensor.level == 0 => Some(self.graph.dag.node_mut(tensor.node)),
            None => None,
        }
    }

    /// Names a node after its binding, if it has no name.
    pub(super) fn name_node(&mut self, value: &Value, name: &str) {
        if let Value::Tensor(t) = value
            && let Some(node) = self.node_mut(t)
            && node.name.is_empty()
        {
            node.name = name.to_string();
        }
    }

    /// A number as a tensor.
    pub(super) fn constant(&mut self, x: f64, place: Place) -> Eval<Tensor> {
        if x.is_finite() && !(x as f32).is_finite() && !self.not_taken {
            return self.fail(errors::constant_not_finite(place, "E0709", &format!("{x:e}"), x));
        }
        self.make(Op::Const(x), &[], Vec::new(), Rate::Fixed, place)
    }
}
