//! `shield` keeps invisible pairs of attends finite, so that weights of 0 hide them.
//!
//! A device computes tiles of pairs, including invisible ones: of the future, of other documents, those that `where` excludes.
//! Their weights are 0, and so are their cotangents; but 0 times infinity is NaN, and would spread into a sum over pairs.
//! `log1p(lag)` of the future is infinite or NaN, `log(past(m))` under `where past(m) > 0` is -inf where it is invisible.
//!
//! So the operand of an op that has poles (log, a quotient, a power) or that overflows at moderate operands (exp) becomes
//! `select(visible, x, harmless)` if it may reach either, and so does a capture that may be infinite there. `visible`
//! is the language's visibility: `lag >= 0 and lag <= pos`, and the condition of `where`. Operands that are known to be harmless at
//! every token (`past(softplus(x) + 1)`) stay unchanged, and so do products of vectors, of which most attends consist.
//!
//! The smallest example, `score -s * log1p(lag)`, becomes `score -s * log1p(select(lag >= 0 and lag <= pos, lag, 1))`.

use super::flow::Flow;
use super::ranges::Ranges;
use crate::graph::{Attend, AxisId, BinaryOp, Dag, Graph, Node, NodeId, Op, Rate, Type, Weighing};
use crate::ops::Domain;
use crate::passes::rewrite::{Copied, add, attend_roots, graph_roots, join, minus, union, with_dag};

/// Dependences of a value of a body: the row's token, the column's token, the lag.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sides(u8);

const NONE: Sides = Sides(0);
const ROW: Sides = Sides(1);
const COL: Sides = Sides(2);
const LAG: Sides = Sides(4);

impl Sides {
    fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

/// Keeps invisible pairs of all attends finite.
pub fn shield(graph: &Graph) -> Graph {
    let attends = |id: &NodeId| matches!(graph.dag.op(*id), Op::Attend(_));
    if !graph.dag.ids().any(|id| attends(&id)) {
        return graph.clone();
    }
    let flow = Flow::new(graph);
    let ranges = Ranges::new(&flow);
    let mut wild = vec![false; graph.dag.len()];
    for id in graph.dag.ids() {
        let vertex = flow.outer(id);
        let meets_pole = |vertex: usize| {
            let at = |i: usize| ranges.interval(flow.into[vertex][i].from);
            poles(flow.vertices[vertex].op()).iter().any(|p| p.domain.has_pole() && !p.domain.is_regular(at(p.operand)))
        };
        let within = match graph.dag.op(id) {
            Op::Scan(scan) => scan.body.ids().any(|n| meets_pole(flow.inner(vertex, n))),
            Op::Attend(attend) => attend.body.ids().any(|n| meets_pole(flow.inner(vertex, n))),
            _ => meets_pole(vertex),
        };
        // a value computed from one that may be infinite may be so too, except for a comparison
        let compared = matches!(graph.dag.op(id), Op::Binary(f) if f.is_comparison());
        wild[id.0 as usize] = !compared && (within || graph.dag.operands(id).iter().any(|o| wild[o.0 as usize]));
    }
    let mut new = Copied::of(&graph.dag);
    let live = graph.dag.reachable(&graph_roots(graph));
    for id in graph.dag.ids().filter(|id| live[id.0 as usize]) {
        let shielded = match graph.dag.op(id) {
            Op::Attend(attend) => Body::new(graph, &ranges, id, attend, &wild).shield(),
            _ => None,
        };
        match shielded {
            None => {
                new.copy(&graph.dag, id, graph.dag.op(id).clone());
            }
            Some(attend) => {
                let node = graph.dag.node(id);
                let token = Type { axes: Vec::new(), rate: Rate::Token };
                let pos = add(&mut new.dag, node, Op::Pos, token, &[]);
                let mut operands: Vec<NodeId> = graph.dag.operands(id).iter().map(|o| new.get(*o)).collect();
                operands.push(pos);
                let made = add(&mut new.dag, node, Op::Attend(Box::new(attend)), node.ty.clone(), &operands);
                new.at[id.0 as usize] = Some(made);
            }
        }
    }
    with_dag(graph, new)
}

/// An operand of an op at which it, or its gradient, may be non-finite.
struct Pole {
    operand: usize,
    /// Domain in which the op and its gradient are finite.
    domain: Domain,
}

fn poles(op: &Op) -> Vec<Pole> {
    let pole = |operand: usize, domain: Domain| Pole { operand, domain };
    match op {
        Op::Unary(f) if f.domain() != Domain::All => vec![pole(0, f.domain())],
        Op::Binary(BinaryOp::Div | BinaryOp::Rem) => vec![pole(1, Domain::NonZero)],
        Op::Binary(BinaryOp::Pow) => vec![pole(0, Domain::Above(0.0)), pole(1, Domain::Within(-8.0, 8.0))],
        _ => Vec::new(),
    }
}

/// Body of an attend during the pass.
struct Body<'a> {
    attend: &'a Attend,
    ranges: &'a Ranges<'a>,
    home: usize,
    sides: Vec<Sides>,
    /// Whether each capture may be infinite.
    wild: Vec<bool>,
    captures: usize,
}

impl<'a> Body<'a> {
    fn new(graph: &Graph, ranges: &'a Ranges<'a>, id: NodeId, attend: &'a Attend, wild: &[bool]) -> Self {
        let operands = graph.dag.operands(id);
        let dag = &attend.body;
        let mut sides = vec![NONE; dag.len()];
        for n in dag.ids() {
            let varies = |c: &usize| graph.dag.rate(operands[*c]) != Rate::Fixed;
            sides[n.0 as usize] = match dag.op(n) {
                Op::Capture(c) if varies(c) => ROW,
                Op::Past(c) if varies(c) => COL,
                Op::Lag => LAG,
                _ => dag.operands(n).iter().map(|o| sides[o.0 as usize]).fold(NONE, Sides::and),
            };
        }
        let wild = operands.iter().map(|o| wild[o.0 as usize]).collect();
        Self { attend, ranges, home: ranges.vertex_of(id), sides, wild, captures: operands.len() }
    }

    fn sides(&self, id: NodeId) -> Sides {
        self.sides[id.0 as usize]
    }

    /// Whether it is a convolution with a filter over lags, which computes no pairs: every lag is one that a document may have.
    fn is_filter(&self) -> bool {
        let of_lag = |id: NodeId| self.sides(id).within(LAG);
        match self.attend.weighing {
            Weighing::Score(_) => false,
            Weighing::Weight(w) => {
                of_lag(w)
                    && self.attend.visible.is_none_or(of_lag)
                    && self.attend.emits.iter().all(|e| self.sides(e.1).within(COL))
            }
        }
    }

    /// Operands of an op that have to be kept harmless, with their values where nothing is visible.
    fn dangers(&self, id: NodeId) -> Vec<(usize, f64)> {
        let dag = &self.attend.body;
        let operands = dag.operands(id);
        let danger = |p: Pole| {
            let x = operands[p.operand];
            let known = p.domain.is_regular(self.ranges.interval(self.ranges.inner_vertex(self.home, x)));
            // a value of columns only is computed once per token; as a value of pairs it would cost more than an overflow is worth
            let single = self.sides(x).within(COL) || self.sides(x).within(ROW);
            let safe =
                self.sides(x) == NONE || known && self.sides(x).within(ROW.and(COL)) || single && !p.domain.has_pole();
            (!safe).then_some((p.operand, p.domain.regular()))
        };
        poles(dag.op(id)).into_iter().filter_map(danger).collect()
    }

    /// Whether a leaf may be infinite.
    fn is_wild(&self, id: NodeId) -> bool {
        match self.attend.body.op(id) {
            Op::Capture(c) | Op::Past(c) => self.wild[*c] && self.sides(id) != NONE,
            _ => false,
        }
    }

    /// The attend with one more capture, the position of the present token; none if nothing is dangerous.
    fn shield(&self) -> Option<Attend> {
        let dag = &self.attend.body;
        let live = dag.reachable(&attend_roots(self.attend));
        let hidden = |id: &NodeId| live[id.0 as usize] && (self.is_wild(*id) || !self.dangers(*id).is_empty());
        if self.is_filter() || !dag.ids().any(|id| hidden(&id)) {
            return None;
        }
        let condition: Vec<NodeId> = self.attend.visible.into_iter().collect();
        let before = dag.reachable(&condition);
        // the condition unchanged; a comparison with NaN is false
        let mut plain = Copied::of(dag);
        for id in dag.ids().filter(|id| before[id.0 as usize]) {
            plain.copy(dag, id, dag.op(id).clone());
        }
        let like = dag.node(NodeId(0));
        let Copied { dag: copied, at: plain } = plain;
        let mut new = Copied { dag: copied, at: vec![None; dag.len()] };
        let mut seen = Seen::new(self, &mut new.dag, like, |id| plain[id.0 as usize]);
        // values computed from the condition's own values without any danger are not computed twice
        let mut touched = vec![false; dag.len()];
        for id in dag.ids().filter(|id| live[id.0 as usize]) {
            let i = id.0 as usize;
            touched[i] = hidden(&id) || dag.operands(id).iter().any(|o| touched[o.0 as usize]);
            if let (false, Some(same)) = (touched[i], plain[i]) {
                new.at[i] = Some(same);
                continue;
            }
            let mut operands: Vec<NodeId> = dag.operands(id).iter().map(|o| new.get(*o)).collect();
            for (which, harmless) in self.dangers(id) {
                let sides = self.sides(dag.operands(id)[which]);
                operands[which] = seen.select(&mut new.dag, dag.node(id), sides, operands[which], harmless);
            }
            let node = dag.node(id);
            let old: Vec<AxisId> = union_of(dag.operands(id).iter().map(|o| &dag.ty(*o).axes));
            let now: Vec<AxisId> = union_of(operands.iter().map(|o| &new.dag.ty(*o).axes));
            let rate = operands.iter().map(|o| new.dag.rate(*o)).fold(node.ty.rate, join);
            let ty = Type { axes: union(&node.ty.axes, &minus(&now, &old)), rate };
            let mut made = add(&mut new.dag, node, node.op.clone(), ty, &operands);
            if self.is_wild(id) {
                made = seen.select(&mut new.dag, node, self.sides(id), made, 0.0);
            }
            new.at[i] = Some(made);
        }
        let at = |id: NodeId| new.get(id);
        Some(Attend {
            visible: self.attend.visible.and_then(|v| plain[v.0 as usize]),
            weighing: match self.attend.weighing {
                Weighing::Score(n) => Weighing::Score(at(n)),
                Weighing::Weight(n) => Weighing::Weight(at(n)),
            },
            sink: self.attend.sink.map(at),
            emits: self.attend.emits.iter().map(|(name, e)| (name.clone(), at(*e))).collect(),
            body: new.dag,
        })
    }
}

fn union_of<'a>(all: impl Iterator<Item = &'a Vec<AxisId>>) -> Vec<AxisId> {
    all.fold(Vec::new(), |axes, more| union(&axes, more))
}

/// Condition under which a pair is visible, as values of the body.
struct Seen {
    /// Condition of a pair.
    pair: NodeId,
    /// Condition of a row, if `where` depends on nothing else.
    row: Option<NodeId>,
}

impl Seen {
    fn new(body: &Body<'_>, dag: &mut Dag, like: &Node, at: impl Fn(NodeId) -> Option<NodeId>) -> Self {
        let leaf = |dag: &mut Dag, op: Op, rate: Rate| {
            let ty = Type { axes: Vec::new(), rate };
            add(dag, like, op, ty, &[])
        };
        let both = |dag: &mut Dag, op: BinaryOp, a: NodeId, b: NodeId| {
            let axes = union(&dag.ty(a).axes, &dag.ty(b).axes);
            let ty = Type { axes, rate: join(dag.rate(a), dag.rate(b)) };
            add(dag, like, Op::Binary(op), ty, &[a, b])
        };
        let lag = leaf(dag, Op::Lag, Rate::Pair);
        let pos = leaf(dag, Op::Capture(body.captures), Rate::Token);
        let zero = leaf(dag, Op::Const(0.0), Rate::Fixed);
        let past = both(dag, BinaryOp::Ge, lag, zero);
        let own = both(dag, BinaryOp::Le, lag, pos);
        let mut pair = both(dag, BinaryOp::Min, past, own);
        let mut row = None;
        if let Some((visible, sides)) = body.attend.visible.map(|v| (at(v), body.sides(v)))
            && let Some(visible) = visible
        {
            let holds = both(dag, BinaryOp::Ne, visible, zero);
            pair = both(dag, BinaryOp::Min, pair, holds);
            row = sides.within(ROW).then_some(holds);
        }
        Self { pair, row }
    }

    /// x where it is visible, else a harmless number. A value of rows only stays one.
    fn select(&mut self, dag: &mut Dag, like: &Node, sides: Sides, x: NodeId, harmless: f64) -> NodeId {
        let condition = if sides.within(ROW) { self.row } else { Some(self.pair) };
        let Some(condition) = condition else { return x };
        let fixed = Type { axes: Vec::new(), rate: Rate::Fixed };
        let other = add(dag, like, Op::Const(harmless), fixed, &[]);
        let axes = union(&dag.ty(condition).axes, &dag.ty(x).axes);
        let ty = Type { axes, rate: join(dag.rate(condition), dag.rate(x)) };
        add(dag, like, Op::Select, ty, &[condition, x, other])
    }
}
