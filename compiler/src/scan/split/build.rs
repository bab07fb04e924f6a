//! Construction of the parts' scans, and of the values computed at one token around them.

use super::{Given, Plan, Query, Splitter};
use crate::graph::{AxisId, BinaryOp, Dag, Node, NodeId, Op, Rate, ReduceOp, Scan, State, Type};
use crate::scan::algebra::{Factor, Product, Ref};
use crate::scan::nodes::{add, binary};
use std::collections::BTreeMap;

impl Splitter<'_> {
    pub(super) fn emit(&mut self, new: &mut Dag, at: &[NodeId], i: usize) -> NodeId {
        let (name, id) = &self.algebra.scan.emits[i];
        let value = self.value(new, at, *id);
        if new.node(value).name.is_empty() {
            new.node_mut(value).name = name.clone();
        }
        value
    }

    /// Outer value of a body node.
    pub(super) fn value(&mut self, new: &mut Dag, at: &[NodeId], id: NodeId) -> NodeId {
        if let Some(known) = self.outside.get(&id) {
            return *known;
        }
        let body = self.body();
        let value = match (body.op(id), self.plans[id.0 as usize].clone()) {
            (Op::Capture(i), _) => at[self.algebra.captures[*i].0 as usize],
            (_, Plan::Computed) => {
                let operands: Vec<NodeId> = body.operands(id).iter().map(|o| self.value(new, at, *o)).collect();
                new.add(body.node(id).clone(), &operands)
            }
            (_, Plan::Given(group)) => self.given(new, at, (group, 0), &Given::Node(id)),
            (_, Plan::Reads(group, reads)) => {
                let mut sum: Option<NodeId> = None;
                for (by, read) in reads {
                    let factor = (!by.is_one() || read.is_none()).then(|| self.product(new, at, &by, id));
                    let read = read.map(|read| {
                        let hop = self.product_hop(&read.by, group);
                        self.given(new, at, (group, hop), &Given::Read(read))
                    });
                    let term = match (factor, read) {
                        (Some(a), Some(b)) => binary(new, body.node(id), BinaryOp::Mul, a, b),
                        (Some(a), None) | (None, Some(a)) => a,
                        (None, None) => unreachable!("archc bug: a term of nothing"),
                    };
                    sum = Some(match sum {
                        Some(sum) => binary(new, body.node(id), BinaryOp::Add, sum, term),
                        None => term,
                    });
                }
                let sum = sum.expect("a read has at least one term");
                self.fitted(new, sum, body.node(id))
            }
        };
        self.outside.insert(id, value);
        value
    }

    /// A value broadcast to all axes of a node.
    pub(super) fn fitted(&self, new: &mut Dag, value: NodeId, like: &Node) -> NodeId {
        let missing: Vec<AxisId> = like.ty.axes.iter().copied().filter(|a| !new.ty(value).axes.contains(a)).collect();
        if missing.is_empty() {
            return value;
        }
        add(new, like, Op::Expand(missing), like.ty.axes.clone(), &[value])
    }

    /// Outer value of an emit of a scan.
    pub(super) fn given(&mut self, new: &mut Dag, at: &[NodeId], key: (usize, usize), given: &Given) -> NodeId {
        let scan = match self.scans.get(&key) {
            Some(scan) => *scan,
            None => {
                let scan = self.build(new, at, key);
                self.scans.insert(key, scan);
                scan
            }
        };
        let number = self.asked[&key].iter().position(|g| g == given);
        let number = number.unwrap_or_else(|| panic!("archc bug: split_scans needs what it did not ask for"));
        if let Some(known) = self.emits.get(&(key.0, key.1, number)) {
            return *known;
        }
        let Op::Scan(op) = new.op(scan) else { unreachable!("archc bug: a scan that is none") };
        let (name, emitted) = op.emits[number].clone();
        let ty = Type { axes: op.body.ty(emitted).axes.clone(), rate: Rate::Token };
        let node = Node { op: Op::Emit(number), ty, name, place: self.place() };
        let emit = new.add(node, &[scan]);
        self.emits.insert((key.0, key.1, number), emit);
        emit
    }

    pub(super) fn place(&self) -> crate::source::Place {
        self.algebra.graph.dag.node(self.id).place
    }

    /// Value of a product of state-free factors.
    pub(super) fn product(&mut self, new: &mut Dag, at: &[NodeId], product: &Product, like: NodeId) -> NodeId {
        if let Some((_, known)) = self.queries.iter().find(|(p, _)| p == product) {
            return *known;
        }
        let node = self.body().node(like);
        let mut value: Option<NodeId> = None;
        for factor in &product.factors {
            let x = self.factor(new, at, factor, like);
            value = Some(match value {
                Some(v) => binary(new, node, BinaryOp::Mul, v, x),
                None => x,
            });
        }
        let value = match value {
            Some(v) if product.c == 1.0 => v,
            Some(v) => {
                let c = add(new, node, Op::Const(product.c), Vec::new(), &[]);
                binary(new, node, BinaryOp::Mul, v, c)
            }
            None => add(new, node, Op::Const(product.c), Vec::new(), &[]),
        };
        self.queries.push((product.clone(), value));
        value
    }

    pub(super) fn factor(&mut self, new: &mut Dag, at: &[NodeId], factor: &Factor, like: NodeId) -> NodeId {
        let node = self.body().node(like);
        match factor {
            Factor::Plain(r) => self.reference(new, at, *r),
            Factor::Recip(r) => {
                let one = add(new, node, Op::Const(1.0), Vec::new(), &[]);
                let x = self.reference(new, at, *r);
                binary(new, node, BinaryOp::Div, one, x)
            }
            Factor::Is(r) | Factor::Not(r) => {
                let zero = add(new, node, Op::Const(0.0), Vec::new(), &[]);
                let x = self.reference(new, at, *r);
                let op = if matches!(factor, Factor::Is(_)) { BinaryOp::Ne } else { BinaryOp::Eq };
                binary(new, node, op, x, zero)
            }
            Factor::Dot(over, product) => {
                let x = self.product(new, at, product, like);
                let axes = new.ty(x).axes.iter().copied().filter(|a| !over.contains(a)).collect();
                add(new, node, Op::Reduce(ReduceOp::Sum, over.clone()), axes, &[x])
            }
            Factor::Parts(..) => unreachable!("archc bug: parts of complex numbers before scans are split"),
        }
    }

    pub(super) fn reference(&mut self, new: &mut Dag, at: &[NodeId], r: Ref) -> NodeId {
        match r {
            Ref::Body(id) => self.value(new, at, id),
            Ref::Outer(id) => at[id.0 as usize],
        }
    }

    /// The scan of a group and hop, with all requested emits.
    pub(super) fn build(&mut self, new: &mut Dag, at: &[NodeId], key: (usize, usize)) -> NodeId {
        let asked = self.asked[&key].clone();
        let states = self.groups[key.0].states.clone();
        let mut body = Body { dag: Dag::new(), at: BTreeMap::new(), captured: Vec::new() };
        let next: Vec<NodeId> =
            states.iter().map(|s| self.inside(new, at, key.0, &mut body, self.algebra.scan.next[*s])).collect();
        let mut emits: Vec<(String, NodeId)> = Vec::new();
        for given in &asked {
            let (name, value) = match given {
                Given::Node(id) => (self.body().node(*id).name.clone(), self.inside(new, at, key.0, &mut body, *id)),
                Given::Read(query) => self.read(new, at, key.0, &mut body, query),
            };
            let emitted = self.algebra.scan.emits.iter().find(|(_, e)| matches!(given, Given::Node(id) if id == e));
            let base = emitted.map_or(name, |(name, _)| name.clone());
            let base = if base.is_empty() { "read".to_string() } else { base };
            let mut name = base.clone();
            let mut n = 2;
            while emits.iter().any(|(other, _)| *other == name) {
                name = format!("{base}.{n}");
                n += 1;
            }
            emits.push((name, value));
        }
        let scan = Scan {
            states: states.iter().map(|s| self.algebra.scan.states[*s].clone()).collect::<Vec<State>>(),
            body: body.dag,
            next,
            emits,
        };
        let initial = self.algebra.graph.dag.operands(self.id);
        let mut operands: Vec<NodeId> = states.iter().map(|s| at[initial[*s].0 as usize]).collect();
        operands.extend(body.captured);
        let old = self.algebra.graph.dag.node(self.id);
        new.add(
            Node { op: Op::Scan(Box::new(scan)), ty: old.ty.clone(), name: old.name.clone(), place: old.place },
            &operands,
        )
    }

    pub(super) fn read(
        &mut self,
        new: &mut Dag,
        at: &[NodeId],
        group: usize,
        body: &mut Body,
        query: &Query,
    ) -> (String, NodeId) {
        let version = self.inside(new, at, group, body, query.version);
        let mut by = self.product(new, at, &query.by, query.version);
        let node = self.body().node(query.version).clone();
        let missing: Vec<AxisId> = query.over.iter().copied().filter(|a| !new.ty(by).axes.contains(a)).collect();
        if !missing.is_empty() {
            let mut axes = [new.ty(by).axes.clone(), missing.clone()].concat();
            axes.sort_unstable();
            by = add(new, &node, Op::Expand(missing), axes, &[by]);
        }
        let q = body.capture(new, by);
        let mut axes: Vec<AxisId> = [body.dag.ty(q).axes.clone(), body.dag.ty(version).axes.clone()].concat();
        axes.retain(|a| !query.over.contains(a));
        axes.sort_unstable();
        axes.dedup();
        let ty = Type { axes, rate: Rate::Token };
        let node = Node { op: Op::Contract(query.over.clone()), ty, name: String::new(), place: node.place };
        (self.reader_of(query), body.dag.add(node, &[q, version]))
    }

    /// Name of the first emit that depends on a read.
    pub(super) fn reader_of(&self, query: &Query) -> String {
        let body = self.body();
        let reads = |id: NodeId| match &self.plans[id.0 as usize] {
            Plan::Reads(_, reads) => reads.iter().any(|r| r.1.as_ref() == Some(query)),
            _ => false,
        };
        let goes_into = |emit: NodeId| {
            let reached = body.reachable(&[emit]);
            body.ids().any(|id| reached[id.0 as usize] && reads(id))
        };
        let emit = self.algebra.scan.emits.iter().find(|(_, e)| goes_into(*e));
        emit.map_or(String::new(), |(name, _)| name.clone())
    }

    /// A body node inside of a group's own body.
    pub(super) fn inside(&mut self, new: &mut Dag, at: &[NodeId], group: usize, body: &mut Body, id: NodeId) -> NodeId {
        if let Some(known) = body.at.get(&Ref::Body(id)) {
            return *known;
        }
        let old = self.body();
        let value = if self.groups[group].on[id.0 as usize] {
            let operands: Vec<NodeId> =
                old.operands(id).iter().map(|o| self.inside(new, at, group, body, *o)).collect();
            let mut node = old.node(id).clone();
            if let Op::State(s) = node.op {
                node.op = Op::State(self.groups[group].states.iter().position(|t| *t == s).unwrap_or(0));
            }
            body.dag.add(node, &operands)
        } else {
            self.drawn_in(new, at, body, self.algebra.free(id))
        };
        body.at.insert(Ref::Body(id), value);
        value
    }
}

/// Body of a new scan.
pub(super) struct Body {
    pub dag: Dag,
    pub at: BTreeMap<Ref, NodeId>,
    pub captured: Vec<NodeId>,
}

impl Body {
    pub(super) fn capture(&mut self, new: &Dag, outer: NodeId) -> NodeId {
        let i = match self.captured.iter().position(|c| *c == outer) {
            Some(i) => i,
            None => {
                self.captured.push(outer);
                self.captured.len() - 1
            }
        };
        let node = new.node(outer);
        let node = Node { op: Op::Capture(i), ty: node.ty.clone(), name: node.name.clone(), place: node.place };
        let known = self.dag.ids().find(|id| matches!(self.dag.op(*id), Op::Capture(j) if *j == i));
        known.unwrap_or_else(|| self.dag.add(node, &[]))
    }
}
