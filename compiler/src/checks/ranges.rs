//! Interval analysis: the range of every value, and the ops that may leave their domain.
//!
//! The operators' own rules (in [`crate::ops`]) derive an interval from the operands' intervals. Two more
//! kinds of facts are tracked beside it, which intervals cannot express: a bound on the L2 norm over
//! some axes (`x * rsqrt(sum[K](x ^ 2) + eps)` has norm at most 1), and the mass of non-negative values
//! along axes (a softmax sums to 1). `relations` adds facts that follow from the structure of an expression:
//! `x - max(x, y) <= 0`, `a + (1 - a) * b` between b and 1, and similar ones.
//!
//! Inputs, parameters and the results of learned maps may have any value. A state's interval is the smallest
//! one around its initial value that its update preserves, found by iteration with widening.
//!
//! A finding is an error if every value of the operand is outside of the op's domain, and a warning
//! if a closed end or the inside of its interval is. Values that approach a bad point without reaching
//! it (`exp(x)` and 0) are not reported, nor an `exp` of parameters alone.

use super::equal::{Value, Values};
use super::flow::{EdgeKind, Flow};
use super::relations;
use crate::diag::Diagnostic;
use crate::graph::{AxisId, BinaryOp, Graph, Node, NodeId, Op, Rate, ReduceOp, UnaryOp, Weighing};
use crate::ops::{At, Domain, EXP_MAX, Interval, Meets, Trait, rules};
use std::collections::BTreeSet;

/// Known facts about a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// Range of the value.
    pub interval: Interval,
    /// Bounds on its L2 norm over axes.
    pub norms: Vec<(Vec<AxisId>, f64)>,
    /// For a non-negative value: axes, and bounds on the sum over them.
    pub mass: Option<(Vec<AxisId>, f64, f64)>,
}

impl From<Interval> for Fact {
    fn from(interval: Interval) -> Self {
        Self { interval, norms: Vec::new(), mass: None }
    }
}

/// Facts about all values of a graph.
pub struct Ranges<'a> {
    pub(super) flow: &'a Flow<'a>,
    pub(super) values: Values<'a>,
    pub(super) facts: Vec<Fact>,
}

/// Rounds of a state's iteration before its ends are widened to 0, 1, -1, and before they become infinite.
const ROUNDS: (usize, usize) = (4, 10);

impl<'a> Ranges<'a> {
    /// Analyses a graph.
    pub fn new(flow: &'a Flow<'a>) -> Self {
        let values = Values::new(flow);
        let facts = vec![Fact::from(Interval::ALL); values.vertex.len()];
        let mut ranges = Self { flow, values, facts };
        for vertex in 0..flow.vertices.len() {
            if flow.vertices[vertex].home.is_none() {
                ranges.visit(vertex);
            }
        }
        ranges
    }

    /// Range of a vertex.
    pub fn interval(&self, vertex: usize) -> Interval {
        self.facts[self.values.of[vertex]].interval
    }

    /// Range of a node of the outer DAG.
    pub fn of_node(&self, id: NodeId) -> Interval {
        self.interval(self.flow.outer(id))
    }

    /// Vertex of a node of the outer DAG.
    pub(crate) fn vertex_of(&self, id: NodeId) -> usize {
        self.flow.outer(id)
    }

    /// Vertex of a node in the body of a scan or attend vertex.
    pub(crate) fn inner_vertex(&self, home: usize, id: NodeId) -> usize {
        self.flow.inner(home, id)
    }

    /// Value number of a vertex: equal if two vertices have the same value by construction.
    pub(crate) fn value_number(&self, vertex: usize) -> usize {
        self.values.of[vertex]
    }

    /// Bound on the L2 norm of a value over axes.
    pub(super) fn norm(&self, value: Value, axes: &[AxisId]) -> f64 {
        let graph = self.flow.graph;
        let vertex = self.flow.vertices[self.values.vertex[value]];
        let own = &vertex.dag.ty(vertex.id).axes;
        let size = |axes: &[AxisId]| axes.iter().map(|a| graph.size(*a) as f64).product::<f64>();
        let axes: Vec<AxisId> = axes.iter().copied().filter(|a| own.contains(a)).collect();
        let by_elements = self.facts[value].interval.magnitude() * size(&axes).sqrt();
        self.facts[value].norms.iter().fold(by_elements, |best, (over, bound)| {
            let further: Vec<AxisId> = axes.iter().copied().filter(|a| !over.contains(a)).collect();
            best.min(bound * size(&further).sqrt())
        })
    }

    fn visit(&mut self, vertex: usize) {
        let body = match self.flow.vertices[vertex].op() {
            Op::Scan(scan) => Some(scan.body.len()),
            Op::Attend(attend) => Some(attend.body.len()),
            _ => None,
        };
        match (body, self.flow.vertices[vertex].op()) {
            (Some(_), Op::Scan(scan)) => self.scan(vertex, scan),
            (Some(len), _) => (0..len as u32).for_each(|i| self.visit(self.flow.inner(vertex, NodeId(i)))),
            _ => self.update(vertex),
        }
    }

    fn update(&mut self, vertex: usize) {
        let value = self.values.of[vertex];
        if self.values.vertex[value] == vertex && !matches!(self.flow.vertices[vertex].op(), Op::State(_)) {
            self.facts[value] = self.fact(vertex);
        }
    }

    fn scan(&mut self, vertex: usize, scan: &crate::graph::Scan) {
        let body: Vec<usize> = scan.body.ids().map(|id| self.flow.inner(vertex, id)).collect();
        let mut leaves: Vec<Vec<usize>> = vec![Vec::new(); scan.states.len()];
        let mut initial: Vec<Interval> = vec![Interval::ALL; scan.states.len()];
        for &inner in &body {
            if let Op::State(i) = self.flow.vertices[inner].op() {
                leaves[*i].push(inner);
                for edge in self.flow.into[inner].iter().filter(|e| e.kind == EdgeKind::Initial) {
                    initial[*i] = self.interval(edge.from);
                }
            }
        }
        let mut states = initial.clone();
        for round in 0.. {
            self.run(&body, &leaves, &states);
            let mut stable = true;
            for (i, state) in states.iter_mut().enumerate() {
                let next = self.interval(body[scan.next[i].0 as usize]);
                let grown = state.hull(next);
                if grown != *state {
                    stable = false;
                    *state = widened(*state, grown, round);
                }
            }
            if stable {
                break;
            }
        }
        // one narrowing step: the state's initial and next value bound what a widened state became
        let narrowed: Vec<Interval> = (0..states.len())
            .map(|i| initial[i].hull(self.interval(body[scan.next[i].0 as usize])).meet(states[i]))
            .collect();
        self.run(&body, &leaves, &narrowed);
    }

    fn run(&mut self, body: &[usize], leaves: &[Vec<usize>], states: &[Interval]) {
        for (leaves, state) in leaves.iter().zip(states) {
            for leaf in leaves {
                self.facts[self.values.of[*leaf]] = Fact::from(*state);
            }
        }
        body.iter().for_each(|v| self.update(*v));
    }

    /// Fact about a vertex from those about its operands.
    fn fact(&self, vertex: usize) -> Fact {
        let v = self.flow.vertices[vertex];
        let edges = &self.flow.into[vertex];
        let value = self.values.of[vertex];
        let operands: Vec<Interval> = match v.op() {
            Op::Emit(_) => vec![self.emitted(vertex)],
            _ => edges.iter().filter(|e| e.kind != EdgeKind::Next).map(|e| self.interval(e.from)).collect(),
        };
        let base = match (v.op(), self.values.args[value].as_slice()) {
            // the same value twice, even if written twice
            (Op::Binary(BinaryOp::Mul), [a, b]) if a == b => operands[0].powi(2),
            _ => rules(v.op()).range(v.at(self.flow.graph), &operands),
        };
        relations::refine(self, value, base)
    }

    /// Range of an emit: of an attend, a mean of the emitted values or a weighted sum over some tokens.
    fn emitted(&self, vertex: usize) -> Interval {
        let v = self.flow.vertices[vertex];
        let memory = v.dag.operands(v.id)[0];
        let from = |kind| self.flow.into[vertex].iter().find(|e| e.kind == kind).map(|e| self.interval(e.from));
        let emitted = from(EdgeKind::Emitted).unwrap_or(Interval::ALL);
        match v.dag.op(memory) {
            // a row without visible tokens is 0, and a sink takes a share
            Op::Attend(attend) if matches!(attend.weighing, Weighing::Score(_)) => emitted.with_zero(),
            Op::Attend(_) => {
                let product = emitted * from(EdgeKind::Weight).unwrap_or(Interval::ALL);
                let end = |x: f64| if x == 0.0 { 0.0 } else { x * f64::INFINITY };
                let product = product.with_zero();
                Interval::closed(end(product.lo), end(product.hi))
            }
            _ => emitted,
        }
    }
}

/// Widens the ends that moved to the next of -1, 0, 1, then to infinity.
fn widened(old: Interval, grown: Interval, round: usize) -> Interval {
    if round < ROUNDS.0 {
        return grown;
    }
    let steps: &[f64] = if round < ROUNDS.1 { &[-1.0, 0.0, 1.0] } else { &[] };
    let mut wide = grown;
    if grown.lo < old.lo {
        wide.lo = steps.iter().rev().copied().find(|s| *s <= grown.lo).unwrap_or(f64::NEG_INFINITY);
        wide.lo_open = false;
    }
    if grown.hi > old.hi {
        wide.hi = steps.iter().copied().find(|s| *s >= grown.hi).unwrap_or(f64::INFINITY);
        wide.hi_open = false;
    }
    // ends that only became closed are not widened
    wide
}

/// Reports E0701 to E0705, W0701 to W0705.
pub fn check_ranges(ranges: &Ranges) -> Vec<Diagnostic> {
    let flow = ranges.flow;
    let used = flow.behind(&flow.roots(), |_, _| true);
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); flow.vertices.len()];
    for (to, edges) in flow.into.iter().enumerate() {
        edges.iter().for_each(|e| users[e.from].push(to));
    }
    let mut found = Findings::default();
    for (i, vertex) in flow.vertices.iter().enumerate().filter(|(i, _)| used[*i]) {
        let operands: Vec<Interval> = flow.into[i].iter().map(|e| ranges.interval(e.from)).collect();
        let node = vertex.dag.node(vertex.id);
        let harmless = || node.ty.rate == Rate::Fixed || is_tame(ranges, &users, i);
        found.domain(node, &operands, harmless);
    }
    for param in &flow.graph.params {
        init(flow.graph, &param.init, &mut found);
    }
    found.list
}

/// Ranges of a parameter's init; no relation is needed there.
fn init(graph: &Graph, dag: &crate::graph::Dag, found: &mut Findings) {
    let mut intervals: Vec<Interval> = Vec::with_capacity(dag.len());
    for id in dag.ids() {
        let operands: Vec<Interval> = dag.operands(id).iter().map(|o| intervals[o.0 as usize]).collect();
        // a normal draw is unbounded, but its values are never large
        found.domain(dag.node(id), &operands, || true);
        intervals.push(rules(dag.op(id)).range(At::new(graph, dag, id), &operands));
    }
}

/// Whether a large value is harmless: through products and sums it reaches only functions that are bounded there, as in `exp(-exp(x))`, or
/// a divisor.
fn is_tame(ranges: &Ranges, users: &[Vec<usize>], vertex: usize) -> bool {
    let mut seen = BTreeSet::new();
    let mut stack = vec![vertex];
    while let Some(vertex) = stack.pop() {
        if !seen.insert(vertex) {
            continue;
        }
        if users[vertex].is_empty() || seen.len() > 64 {
            return false;
        }
        for &user in &users[vertex] {
            let operand = |i: usize| ranges.flow.into[user].get(i).map(|e| e.from);
            match ranges.flow.vertices[user].op() {
                Op::Unary(f) if f.is(Trait::Saturates) => {}
                Op::Unary(UnaryOp::Exp | UnaryOp::Expm1)
                    if operand(0).is_some_and(|x| ranges.interval(x).hi <= EXP_MAX) => {}
                // as a divisor it makes the quotient 0
                Op::Binary(BinaryOp::Div) if operand(0) != Some(vertex) => {}
                Op::Unary(UnaryOp::Neg)
                | Op::Binary(BinaryOp::Mul | BinaryOp::Add | BinaryOp::Sub | BinaryOp::Max)
                | Op::Expand(_)
                | Op::Capture(_)
                | Op::Past(_)
                | Op::Reduce(ReduceOp::Sum, _) => stack.push(user),
                _ => return false,
            }
        }
    }
    true
}

/// Findings, one for each code and place: an unrolled loop is reported once.
#[derive(Default)]
struct Findings {
    list: Vec<Diagnostic>,
    said: BTreeSet<(&'static str, crate::source::Place)>,
}

impl Findings {
    fn domain(&mut self, node: &Node, x: &[Interval], harmless: impl Fn() -> bool) {
        match &node.op {
            Op::Unary(f) => {
                let row = f.row();
                let meets = match (row.domain, row.domain.meets(x[0])) {
                    (Domain::Exponent, Meets::Partly) if harmless() => Meets::Inside,
                    (_, meets) => meets,
                };
                let what = if row.traits.contains(&Trait::Called) { row.name } else { "a negative power" };
                self.say(node, row.outside.0, meets, what, row.domain, x[0], row.outside.1);
            }
            Op::Binary(op @ (BinaryOp::Div | BinaryOp::Rem)) => {
                let what = if *op == BinaryOp::Div { "a division" } else { "a remainder" };
                let help =
                    "keep the divisor away from 0: `x / (softplus(y) + 1e-4)`, `x / (abs(y) + 1)`, `x / max(y, 1)`";
                self.say(node, ["E0703", "W0703"], Domain::NonZero.meets(x[1]), what, Domain::NonZero, x[1], help);
            }
            Op::Binary(BinaryOp::Pow) => {
                let zero = x[0].contains(0.0) && x[1].lo < 0.0;
                let meets = if (-x[0]).above(0.0) || x[0] == Interval::point(0.0) && x[1].hi < 0.0 {
                    Meets::Outside
                } else if x[0].lo < 0.0 || zero {
                    Meets::Partly
                } else {
                    Meets::Inside
                };
                let help = "keep the base positive, or use an integer literal as exponent, which holds for any sign";
                let what = "a power with a real exponent";
                self.say(node, ["E0704", "W0704"], meets, what, Domain::Above(0.0), x[0], help);
            }
            _ => {}
        }
    }

    #[allow(clippy::too_many_arguments)] // one sentence in parts
    fn say(
        &mut self,
        node: &Node,
        codes: [&'static str; 2],
        meets: Meets,
        what: &str,
        domain: Domain,
        range: Interval,
        help: &str,
    ) {
        let (code, severity) = match meets {
            Meets::Inside => return,
            Meets::Outside => (codes[0], "is never"),
            Meets::Partly => (codes[1], "is not known to be"),
        };
        let wanted = domain.wanted();
        if !self.said.insert((code, node.place)) {
            return;
        }
        let operand = if what.starts_with("a division") || what.starts_with("a remainder") {
            "divisor"
        } else if what.ends_with("power") || what.starts_with("a power") {
            "base"
        } else {
            "operand"
        };
        let message = if range == Interval::point(0.0) && meets == Meets::Outside {
            format!("the {operand} of {what} is always 0; it should be {wanted}")
        } else {
            format!("the {operand} of {what} {severity} {wanted}: it lies in {range}")
        };
        let diagnostic =
            if meets == Meets::Outside { Diagnostic::error(code, message) } else { Diagnostic::warning(code, message) };
        self.list.push(diagnostic.at(node.place, format!("this {operand} should be {wanted}")).help(help));
    }
}

#[cfg(test)]
mod tests;
