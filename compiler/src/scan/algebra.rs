//! The algebra of a scan's body: a state's update as a chain of steps, each affine in the value before it.
//!
//! The versions of a state are the value before the token, the value after it, and values between them: values of the state's own shape
//! that every dependence on the state passes through. `S = a * S` and then `S = S + b * k * (v - sum[K](k * S))` has one in the middle.
//! A step multiplied out is a sum of [`Term`]s: the previous version times a state-free factor, a read of it over axes times a state-free
//! factor, or a state-free term.

use crate::graph::{AxisId, BinaryOp, Dag, Graph, Node, NodeId, Op, ReduceOp, Scan, UnaryOp};
use petgraph::algo::dominators::simple_fast;
use petgraph::graph::DiGraph;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A value that does not depend on the state: in the scan's body, or in the graph around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ref {
    Body(NodeId),
    Outer(NodeId),
}

/// A state-free factor.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Factor {
    Plain(Ref),
    /// 1 / x
    Recip(Ref),
    /// 1 where x is not 0, else 0
    Is(Ref),
    /// 1 where x is 0, else 0
    Not(Ref),
    /// The sum of a product over axes
    Dot(Vec<AxisId>, Product),
    /// Two products along an axis of two: the parts of complex numbers
    Parts(AxisId, Vec<Product>),
}

/// A product of state-free factors.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Product {
    pub c: f64,
    pub factors: Vec<Factor>,
}

impl Product {
    pub(super) fn number(c: f64) -> Self {
        Self { c, factors: Vec::new() }
    }

    pub(super) fn one() -> Self {
        Self::number(1.0)
    }

    pub(super) fn is_one(&self) -> bool {
        self.c == 1.0 && self.factors.is_empty()
    }

    fn times(&self, c: f64, factor: Option<Factor>) -> Self {
        let mut product = self.clone();
        product.c *= c;
        product.factors.extend(factor);
        product
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        let mut product = self.times(other.c, None);
        product.factors.extend(other.factors.iter().cloned());
        product
    }
}

/// Part of the previous version that a term contains.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    /// The whole version.
    Whole,
    /// The version times a product, summed over axes.
    Read(Vec<AxisId>, Product),
    /// No part: the term is state-free.
    Nothing,
}

/// A product, times a part of the previous version.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    pub by: Product,
    pub part: Part,
    /// The version's index in `base`.
    pub of: usize,
}

/// Reason why a value is not affine in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Obstacle(pub String);

/// Maximum number of terms of an update; beyond it the update counts as too involved.
const TERMS: usize = 64;

/// A scan's body with the graph around it.
pub(super) struct Algebra<'a> {
    pub graph: &'a Graph,
    pub scan: &'a Scan,
    /// Nodes whose values are captured.
    pub captures: Vec<NodeId>,
    /// Cache of [`Self::is_outer`].
    outer: RefCell<BTreeMap<Ref, bool>>,
}

impl<'a> Algebra<'a> {
    /// The body of a scan node.
    pub(super) fn new(graph: &'a Graph, id: NodeId, scan: &'a Scan) -> Self {
        let captures = graph.dag.operands(id)[scan.states.len()..].to_vec();
        Self { graph, scan, captures, outer: RefCell::default() }
    }

    pub(super) fn body(&self) -> &'a Dag {
        &self.scan.body
    }

    /// Reference to a state-free body node; a capture becomes the captured node.
    pub(super) fn free(&self, id: NodeId) -> Ref {
        match self.body().op(id) {
            Op::Capture(i) => Ref::Outer(self.captures[*i]),
            _ => Ref::Body(id),
        }
    }

    pub(super) fn node(&self, r: Ref) -> &'a Node {
        match r {
            Ref::Body(id) => self.body().node(id),
            Ref::Outer(id) => self.graph.dag.node(id),
        }
    }

    pub(super) fn operands(&self, r: Ref) -> Vec<Ref> {
        match r {
            Ref::Body(id) => self.body().operands(id).iter().map(|o| self.free(*o)).collect(),
            Ref::Outer(id) => self.graph.dag.operands(id).iter().copied().map(Ref::Outer).collect(),
        }
    }

    pub(super) fn axes(&self, r: Ref) -> &'a [AxisId] {
        &self.node(r).ty.axes
    }

    /// The constant that a value is, looked up through layout.
    pub(super) fn number(&self, r: Ref) -> Option<f64> {
        match &self.node(r).op {
            Op::Const(x) => Some(*x),
            Op::Expand(_) => self.number(self.operands(r)[0]),
            Op::Unary(UnaryOp::Neg) => self.number(self.operands(r)[0]).map(|x| -x),
            _ => None,
        }
    }

    /// Marks the body nodes that depend on one of the states.
    pub(super) fn dependent(&self, states: &[usize]) -> Vec<bool> {
        let body = self.body();
        let mut on = vec![false; body.len()];
        for id in body.ids() {
            on[id.0 as usize] = match body.op(id) {
                Op::State(i) => states.contains(i),
                _ => body.operands(id).iter().any(|o| on[o.0 as usize]),
            };
        }
        on
    }

    /// The axes of a product.
    pub(super) fn product_axes(&self, product: &Product) -> Vec<AxisId> {
        let mut axes: Vec<AxisId> = product.factors.iter().flat_map(|f| self.factor_axes(f)).collect();
        axes.sort_unstable();
        axes.dedup();
        axes
    }

    pub(super) fn factor_axes(&self, factor: &Factor) -> Vec<AxisId> {
        match factor {
            Factor::Plain(r) | Factor::Recip(r) | Factor::Is(r) | Factor::Not(r) => self.axes(*r).to_vec(),
            Factor::Dot(over, product) => {
                self.product_axes(product).into_iter().filter(|a| !over.contains(a)).collect()
            }
            Factor::Parts(axis, parts) => parts.iter().flat_map(|p| self.product_axes(p)).chain([*axis]).collect(),
        }
    }

    /// Versions of a state: its value before the token, the intermediate ones, its next value. Intermediate are those of the state's shape
    /// that are on every path from the state to its next value. `on` marks the nodes that depend on it.
    pub(super) fn versions(&self, state: usize, on: &[bool]) -> Vec<NodeId> {
        let (body, next, shape) = (self.body(), self.scan.next[state], &self.scan.states[state].axes);
        let is_state = |id: NodeId| matches!(body.op(id), Op::State(_));
        let depends = |id: &NodeId| on[id.0 as usize];
        let before = body.ids().find(|id| depends(id) && is_state(*id));
        let Some(before) = before.filter(|_| depends(&next) && !is_state(next)) else { return vec![next] };
        // all leaves of the state are one vertex
        let reads = |id: NodeId| {
            let operands = body.operands(id).iter().copied().filter(depends);
            operands.map(move |o| (id.0, if is_state(o) { before.0 } else { o.0 }))
        };
        let uses = DiGraph::<(), ()>::from_edges(body.ids().filter(depends).flat_map(reads));
        let path = simple_fast(&uses, next.0.into());
        let path =
            path.dominators(before.0.into()).expect("archc bug: a value depends on a state that it does not reach");
        let version = |id: &NodeId| [before, next].contains(id) || body.ty(*id).axes == *shape;
        path.map(|vertex| NodeId(vertex.index() as u32)).filter(version).collect()
    }

    /// For each node the latest of the versions through which it reads the state: each is on every path to the next one. None for nodes
    /// that read nothing or another state.
    pub(super) fn versions_read(&self, versions: &[NodeId], on: &[bool]) -> Vec<Option<usize>> {
        let body = self.body();
        let mut version = vec![None; body.len()];
        versions.iter().enumerate().for_each(|(v, id)| version[id.0 as usize] = Some(v));
        let mut read: Vec<Option<usize>> = Vec::with_capacity(body.len());
        for id in body.ids() {
            let i = id.0 as usize;
            let of = match body.op(id) {
                _ if !on[i] => None,
                Op::State(_) => versions.first().is_some_and(|first| self.same(id, *first)).then_some(0),
                _ if version[i].is_some() => version[i],
                _ => {
                    let operands = body.operands(id).iter().filter(|o| on[o.0 as usize]);
                    operands.map(|o| read[o.0 as usize]).min().flatten()
                }
            };
            read.push(of);
        }
        read
    }

    fn same(&self, a: NodeId, b: NodeId) -> bool {
        a == b
            || match (self.body().op(a), self.body().op(b)) {
                (Op::State(i), Op::State(j)) => i == j,
                _ => false,
            }
    }

    /// Multiplies a node out over the version `base`; `free` tells whether a node is free of the state.
    pub(super) fn expand(
        &self,
        node: NodeId,
        base: NodeId,
        free: &dyn Fn(NodeId) -> bool,
    ) -> Result<Vec<Term>, Obstacle> {
        self.expand_over(node, &[base], free)
    }

    /// Multiplies a node out over several versions of one shape: those of coupled states.
    pub(super) fn expand_over(
        &self,
        node: NodeId,
        base: &[NodeId],
        free: &dyn Fn(NodeId) -> bool,
    ) -> Result<Vec<Term>, Obstacle> {
        let mut terms = Vec::new();
        self.terms(node, base, free, &Product::one(), &mut terms)?;
        Ok(terms)
    }

    fn terms(
        &self,
        node: NodeId,
        base: &[NodeId],
        free: &dyn Fn(NodeId) -> bool,
        by: &Product,
        out: &mut Vec<Term>,
    ) -> Result<(), Obstacle> {
        let body = self.body();
        if out.len() > TERMS {
            return Err(Obstacle("its update has too many terms".into()));
        }
        if let Some(of) = base.iter().position(|b| self.same(node, *b)) {
            out.push(Term { by: by.clone(), part: Part::Whole, of });
            return Ok(());
        }
        if free(node) {
            self.free_terms(self.free(node), by, out);
            return Ok(());
        }
        let operands = body.operands(node);
        let op = body.op(node);
        match op {
            Op::Binary(BinaryOp::Add) => {
                self.terms(operands[0], base, free, by, out)?;
                self.terms(operands[1], base, free, by, out)
            }
            Op::Binary(BinaryOp::Sub) => {
                self.terms(operands[0], base, free, by, out)?;
                self.terms(operands[1], base, free, &by.times(-1.0, None), out)
            }
            Op::Unary(UnaryOp::Neg) => self.terms(operands[0], base, free, &by.times(-1.0, None), out),
            Op::Expand(_) => self.terms(operands[0], base, free, by, out),
            Op::Binary(BinaryOp::Mul) => {
                let (x, y) = if free(operands[1]) { (operands[1], operands[0]) } else { (operands[0], operands[1]) };
                if !free(x) {
                    return Err(Obstacle("its update multiplies two values that depend on it".into()));
                }
                self.terms(y, base, free, &self.multiplied(by, self.free(x)), out)
            }
            Op::Binary(BinaryOp::Div) if free(operands[1]) => {
                let by = by.times(1.0, Some(Factor::Recip(self.free(operands[1]))));
                self.terms(operands[0], base, free, &by, out)
            }
            Op::Select if free(operands[0]) => {
                let c = self.free(operands[0]);
                self.terms(operands[1], base, free, &by.times(1.0, Some(Factor::Is(c))), out)?;
                self.terms(operands[2], base, free, &by.times(1.0, Some(Factor::Not(c))), out)
            }
            Op::Reduce(ReduceOp::Sum, axes) => self.sum(operands[0], None, axes, 1.0, base, free, by, out),
            Op::Reduce(ReduceOp::Mean, axes) => {
                let size: f64 = axes.iter().map(|a| self.graph.size(*a) as f64).product();
                self.sum(operands[0], None, axes, 1.0 / size, base, free, by, out)
            }
            Op::Contract(axes) => {
                let (x, y) = if free(operands[1]) { (operands[1], operands[0]) } else { (operands[0], operands[1]) };
                if !free(x) {
                    return Err(Obstacle("its update multiplies two values that depend on it".into()));
                }
                self.sum(y, Some(self.free(x)), axes, 1.0, base, free, by, out)
            }
            _ => Err(Obstacle(format!("its update takes {} of it", what(op)))),
        }
    }

    /// A product with one more factor; constants join the coefficient.
    fn multiplied(&self, by: &Product, x: Ref) -> Product {
        match self.number(x) {
            Some(c) => by.times(c, None),
            None => by.times(1.0, Some(Factor::Plain(x))),
        }
    }

    /// The sum over axes of `factor * inner`.
    #[allow(clippy::too_many_arguments)] // the sum's parts, and what `terms` carries along
    fn sum(
        &self,
        inner: NodeId,
        factor: Option<Ref>,
        axes: &[AxisId],
        scale: f64,
        base: &[NodeId],
        free: &dyn Fn(NodeId) -> bool,
        by: &Product,
        out: &mut Vec<Term>,
    ) -> Result<(), Obstacle> {
        let start = Product::number(scale);
        let start = factor.map_or(start.clone(), |x| self.multiplied(&start, x));
        let mut parts = Vec::new();
        self.terms(inner, base, free, &start, &mut parts)?;
        for term in parts {
            // factors without a summed axis move in front of the sum
            let (inside, outside): (Vec<Factor>, Vec<Factor>) =
                term.by.factors.iter().cloned().partition(|f| self.factor_axes(f).iter().any(|a| axes.contains(a)));
            let of = term.of;
            let mut by = by.times(term.by.c, None);
            by.factors.extend(outside);
            let inside = Product { c: 1.0, factors: inside };
            match term.part {
                Part::Whole => {
                    let state = &self.body().ty(base[0]).axes;
                    let (axes, lone): (Vec<AxisId>, Vec<AxisId>) = axes.iter().partition(|a| state.contains(a));
                    let query = if lone.is_empty() { inside } else { self.summed(Product::one(), &lone, inside) };
                    let part = if axes.is_empty() { Part::Whole } else { Part::Read(axes, query.clone()) };
                    let by = if part == Part::Whole { by.and(&query) } else { by };
                    out.push(Term { by, part, of });
                }
                Part::Nothing => {
                    let by = self.summed(by, axes, inside);
                    out.push(Term { by, part: Part::Nothing, of });
                }
                Part::Read(over, query) => {
                    // summed axes that the read still has are summed with it
                    let left: Vec<AxisId> =
                        axes.iter().copied().filter(|a| self.read_axes(base[0], &over, &query).contains(a)).collect();
                    let own: Vec<AxisId> = axes.iter().copied().filter(|a| !left.contains(a)).collect();
                    if left.is_empty() {
                        let by = self.summed(by, &own, inside);
                        out.push(Term { by, part: Part::Read(over, query), of });
                    } else if own.is_empty() && self.product_axes(&inside).iter().all(|a| !over.contains(a)) {
                        let over = [over, left].concat();
                        out.push(Term { by, part: Part::Read(over, query.and(&inside)), of });
                    } else {
                        return Err(Obstacle("its update sums a read of it again".into()));
                    }
                }
            }
        }
        Ok(())
    }

    fn read_axes(&self, base: NodeId, over: &[AxisId], query: &Product) -> Vec<AxisId> {
        let mut axes = self.body().ty(base).axes.clone();
        axes.extend(self.product_axes(query));
        axes.retain(|a| !over.contains(a));
        axes
    }

    /// `by` times the sum over axes of a product.
    fn summed(&self, mut by: Product, axes: &[AxisId], inside: Product) -> Product {
        let own = self.product_axes(&inside);
        let (carried, constant): (Vec<AxisId>, Vec<AxisId>) = axes.iter().partition(|a| own.contains(a));
        by.c *= constant.iter().map(|a| self.graph.size(*a) as f64).product::<f64>();
        if carried.is_empty() {
            by.factors.extend(inside.factors);
        } else {
            by.factors.push(Factor::Dot(carried, inside));
        }
        by
    }

    /// A state-free value as terms: sums of outer products are split.
    fn free_terms(&self, r: Ref, by: &Product, out: &mut Vec<Term>) {
        let operands = self.operands(r);
        let size = |r: Ref| self.axes(r).iter().map(|a| self.graph.size(*a)).product::<usize>();
        let grows = !operands.is_empty() && operands.iter().all(|o| size(*o) < size(r));
        match &self.node(r).op {
            Op::Expand(_) => self.free_terms(operands[0], by, out),
            Op::Unary(UnaryOp::Neg) => self.free_terms(operands[0], &by.times(-1.0, None), out),
            Op::Binary(BinaryOp::Add | BinaryOp::Sub)
                if out.len() <= TERMS && (grows || operands.iter().any(|o| self.is_outer(*o))) =>
            {
                let sign = if matches!(self.node(r).op, Op::Binary(BinaryOp::Sub)) { -1.0 } else { 1.0 };
                self.free_terms(operands[0], by, out);
                self.free_terms(operands[1], &by.times(sign, None), out);
            }
            _ => {
                let mut product = by.clone();
                self.factors(r, &mut product);
                out.push(Term { by: product, part: Part::Nothing, of: 0 });
            }
        }
    }

    /// Whether a value is, up to factors, an outer product: larger than its operands.
    fn is_outer(&self, r: Ref) -> bool {
        if let Some(known) = self.outer.borrow().get(&r) {
            return *known;
        }
        let size = |r: Ref| self.axes(r).iter().map(|a| self.graph.size(*a)).product::<usize>();
        let outer = match &self.node(r).op {
            Op::Binary(BinaryOp::Mul) => {
                let operands = self.operands(r);
                operands.iter().all(|o| size(*o) < size(r)) || operands.iter().any(|o| self.is_outer(*o))
            }
            Op::Unary(UnaryOp::Neg) | Op::Binary(BinaryOp::Add | BinaryOp::Sub) => {
                self.operands(r).iter().any(|o| self.is_outer(*o))
            }
            _ => false,
        };
        self.outer.borrow_mut().insert(r, outer);
        outer
    }

    /// Splits an outer product as long as it has few factors; other products stay whole.
    pub(super) fn factors(&self, r: Ref, into: &mut Product) {
        if let Some(c) = self.number(r) {
            into.c *= c;
            return;
        }
        match &self.node(r).op {
            Op::Unary(UnaryOp::Neg) => {
                into.c = -into.c;
                self.factors(self.operands(r)[0], into);
            }
            Op::Binary(BinaryOp::Mul) if into.factors.len() < TERMS && self.is_outer(r) => {
                self.operands(r).into_iter().for_each(|o| self.factors(o, into));
            }
            Op::Expand(_) => self.factors(self.operands(r)[0], into),
            _ => into.factors.push(Factor::Plain(r)),
        }
    }
}

/// Description of an op.
pub(super) fn what(op: &Op) -> String {
    match op {
        Op::Unary(u) => format!("{u:?}").to_lowercase(),
        Op::Binary(b) => format!("a {b:?}").to_lowercase(),
        Op::Reduce(r, _) => match r {
            ReduceOp::Var { .. } => "the variance".into(),
            ReduceOp::Std { .. } => "the deviation".into(),
            other => format!("the {other:?}").to_lowercase(),
        },
        Op::Softmax(_) => "a softmax".into(),
        Op::Linear(_) => "a learned map".into(),
        Op::Select => "a choice by it".into(),
        Op::Rename(..) => "a renaming".into(),
        Op::State(_) => "another state".into(),
        _ => "a rearrangement".into(),
    }
}
