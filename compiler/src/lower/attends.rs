//! Decomposition of attends: values that depend on one side of a pair are computed outside, over tokens; the tile computes the rest.
//!
//! With a carry the past is longer than the sequence: a capture that is read at past tokens is appended to its carried tokens, and
//! everything that depends on columns only is computed over all of those tokens. If `where` bounds the lag, no more tokens are carried than
//! that.

use super::carried::capture_name;
use super::ordinary::{dims, ordinary};
use super::reach::most_carried;
use super::tokens::Lowering;
use crate::graph::{self, AxisId, BinaryOp, NodeId, Op as Source, Rate, UnaryOp};
use crate::lowered::{BATCH, Carry, DimId, Keep, Op, TIME, ValueId};
use std::collections::BTreeMap;

/// Dependences of a value of the body, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sides(u8);

impl Sides {
    pub const NONE: Self = Self(0);
    pub const ROW: Self = Self(1);
    pub const COL: Self = Self(2);
    pub const LAG: Self = Self(4);

    fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether its dependences are a subset of the other's.
    pub fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

/// The decomposed body of an attend.
pub(super) struct Pairs<'a> {
    pub attend: &'a graph::Attend,
    /// Emits without the factors that depend on rows only: these multiply the sum.
    pub emits: Vec<Emit>,
    /// Captures at the rows' tokens, `[B, T, ..]`.
    pub captures: Vec<ValueId>,
    /// Captures at past tokens, `[B, T, ..]` or with a carry `[B, Known, ..]`.
    past: Vec<ValueId>,
    /// Differences of a running sum and its past, with the low parts of both.
    pub low_parts: BTreeMap<NodeId, [ValueId; 2]>,
    /// Dependences of each node that a result needs.
    pub sides: Vec<Option<Sides>>,
    /// Outer value of each node that is computed outside.
    pub outer: Vec<Option<ValueId>>,
    /// Products whose other factor was moved into this node.
    pub alias: BTreeMap<NodeId, NodeId>,
    /// Outer values that replace operands, by (node, operand number).
    pub scaled: BTreeMap<(NodeId, usize), (ValueId, Sides)>,
}

/// A value that is summed over the past.
pub(super) struct Emit {
    pub name: String,
    pub node: NodeId,
    /// Multiplications and divisions of the sum, in order.
    pub after: Vec<(BinaryOp, ValueId)>,
}

impl Emit {
    /// Value of the emit, from the sum.
    pub fn finish(&self, l: &mut Lowering<'_>, sum: ValueId) -> ValueId {
        self.after.iter().fold(sum, |y, (op, factor)| l.b.binary(*op, y, *factor))
    }
}

/// Lowers an attend; returns its emits, `[B, T, ..]`.
pub(super) fn lower_attend<'a>(l: &mut Lowering<'a>, id: NodeId, attend: &'a graph::Attend) -> Vec<ValueId> {
    let mut pairs = Pairs::new(l, id, attend);
    pairs.emits = attend.emits.iter().map(|(name, e)| pairs.peeled(name, *e)).collect();
    if let Some(emits) = super::filters::lower_filter(l, &pairs) {
        return emits;
    }
    pairs.push_factors(l);
    pairs.tile(l)
}

/// Nodes of a body that are read from outside.
fn roots(attend: &graph::Attend) -> Vec<NodeId> {
    let single = [attend.visible, Some(weight(attend)), attend.sink];
    single.into_iter().flatten().chain(attend.emits.iter().map(|e| e.1)).collect()
}

pub(super) fn weight(attend: &graph::Attend) -> NodeId {
    match attend.weighing {
        graph::Weighing::Score(n) | graph::Weighing::Weight(n) => n,
    }
}

impl<'a> Pairs<'a> {
    /// Lowers the nodes that depend on rows only or columns only.
    fn new(l: &mut Lowering<'a>, id: NodeId, attend: &'a graph::Attend) -> Self {
        let (graph, dag) = (l.graph, &attend.body);
        let nodes = graph.dag.operands(id);
        let captures: Vec<ValueId> = nodes.iter().map(|o| l.value(*o)).collect();
        let live = dag.reachable(&roots(attend));
        let mut pairs = Self {
            attend,
            emits: Vec::new(),
            past: captures.clone(),
            low_parts: BTreeMap::new(),
            captures,
            sides: vec![None; dag.len()],
            outer: vec![None; dag.len()],
            alias: BTreeMap::new(),
            scaled: BTreeMap::new(),
        };
        let mut joined = vec![false; nodes.len()];
        let most = most_carried(attend);
        for id_in in dag.ids().filter(|n| live[n.0 as usize]) {
            let (i, node, operands) = (id_in.0 as usize, dag.node(id_in), dag.operands(id_in));
            l.b.name.clone_from(&node.name);
            l.b.place = node.place;
            let differs = |c: &usize| graph.dag.rate(nodes[*c]) != Rate::Fixed;
            let sides = match &node.op {
                Source::Capture(c) if differs(c) => Sides::ROW,
                Source::Past(c) if differs(c) => Sides::COL,
                Source::Lag => Sides::LAG,
                _ => operands.iter().filter_map(|o| pairs.sides[o.0 as usize]).fold(Sides::NONE, Sides::and),
            };
            pairs.sides[i] = Some(sides);
            let random = matches!(node.op, Source::Dropout { .. }) && l.options.training && sides != Sides::ROW;
            let value = match &node.op {
                Source::Past(c) if sides == Sides::COL => {
                    if !std::mem::replace(&mut joined[*c], true) {
                        pairs.past[*c] = join(l, id, *c, nodes[*c], pairs.captures[*c], most);
                    }
                    Some(pairs.past[*c])
                }
                Source::Capture(c) | Source::Past(c) => Some(pairs.captures[*c]),
                op if sides.within(Sides::ROW) || (sides == Sides::COL && !random && pairs.pays(l, id_in)) => {
                    let x: Option<Vec<ValueId>> = operands.iter().map(|o| pairs.outer[o.0 as usize]).collect();
                    x.map(|x| ordinary(graph, &mut l.b, op, &x, l.options.training))
                }
                _ => None,
            };
            pairs.outer[i] = value;
            if let (Source::Binary(BinaryOp::Sub), [row, col]) = (&node.op, operands)
                && let (Source::Capture(c), Source::Past(p)) = (dag.op(*row), dag.op(*col))
                && let (true, Some(low)) = (c == p, l.low_parts.get(&pairs.captures[*c]).copied())
            {
                let name = capture_name(l.origin(id).node, l.origin(id).operands[*c]);
                let own = dims(&graph.dag.ty(nodes[*c]).axes);
                let past = past(l, low, own, most, &mut |l, own| l.carried_low(&name, own));
                pairs.low_parts.insert(id_in, [low, past]);
            }
        }
        pairs
    }

    /// Whether a value of columns is no larger than its operands, so that keeping it is cheaper than recomputing it in each tile.
    fn pays(&self, l: &Lowering<'_>, id: NodeId) -> bool {
        let dag = &self.attend.body;
        let size = |axes: &[AxisId]| axes.iter().fold(1usize, |n, a| n.saturating_mul(l.graph.size(*a)));
        let given = dag.operands(id).iter().filter(|o| self.sides[o.0 as usize] == Some(Sides::COL));
        let given = given.fold(0usize, |n, o| n.saturating_add(size(&dag.ty(*o).axes)));
        size(&dag.ty(id).axes) <= given
    }

    pub fn sides(&self, id: NodeId) -> Sides {
        self.sides[id.0 as usize].unwrap_or_else(|| panic!("archc bug: %{} of an attend is dead", id.0))
    }

    /// An emit without its row factors: the sum of w f g over the past is f times the sum of w g.
    fn peeled(&self, name: &str, mut node: NodeId) -> Emit {
        let dag = &self.attend.body;
        let mut after = Vec::new();
        while self.outer[node.0 as usize].is_none() {
            let Source::Binary(op @ (BinaryOp::Mul | BinaryOp::Div)) = dag.op(node) else { break };
            let operands = dag.operands(node);
            let row = |o: NodeId| self.outer[o.0 as usize].filter(|_| self.sides(o).within(Sides::ROW));
            match (row(operands[0]), row(operands[1])) {
                (_, Some(factor)) => {
                    after.insert(0, (*op, factor));
                    node = operands[0];
                }
                (Some(factor), None) if *op == BinaryOp::Mul => {
                    after.insert(0, (*op, factor));
                    node = operands[1];
                }
                _ => break,
            }
        }
        Emit { name: name.into(), node, after }
    }

    /// Nodes of the body that are read from outside.
    pub fn roots(&self) -> Vec<NodeId> {
        let single = [self.attend.visible, Some(weight(self.attend)), self.attend.sink];
        single.into_iter().flatten().chain(self.emits.iter().map(|e| e.node)).collect()
    }

    /// Moves factors of a scalar product onto the vectors: `scale * sum[K](q * past(k))` scales q once for each token instead of once for
    /// each pair.
    fn push_factors(&mut self, l: &mut Lowering<'_>) {
        let dag = &self.attend.body;
        let mut uses = vec![0usize; dag.len()];
        for id in dag.ids().filter(|id| self.sides[id.0 as usize].is_some()) {
            dag.operands(id).iter().for_each(|o| uses[o.0 as usize] += 1);
        }
        self.roots().iter().for_each(|r| uses[r.0 as usize] += 1);
        for id in dag.ids().rev() {
            let inside = self.sides[id.0 as usize].is_some() && self.outer[id.0 as usize].is_none();
            if !inside || !matches!(dag.op(id), Source::Binary(BinaryOp::Mul)) {
                continue;
            }
            let operands = dag.operands(id);
            for (factor, product) in [(operands[0], operands[1]), (operands[1], operands[0])] {
                if let Some(value) = self.outer[factor.0 as usize] {
                    let mut sides = Vec::new();
                    if self.pushes(product, factor, &uses, &mut sides) {
                        l.b.name.clone_from(&dag.node(id).name);
                        for (node, which) in sides {
                            let operand = dag.operands(node)[which];
                            let (old, side) = self.scaled.get(&(node, which)).copied().unwrap_or_else(|| {
                                let old = self.outer[operand.0 as usize];
                                (old.expect("archc bug: a factor without a value"), self.sides(operand))
                            });
                            let new = l.b.mul(old, value);
                            self.scaled.insert((node, which), (new, side.and(self.sides(factor))));
                        }
                        self.alias.insert(id, product);
                        break;
                    }
                }
            }
        }
    }

    /// Whether a factor can move into a value; `onto` gets the contractions and their operands that it moves onto.
    fn pushes(&self, id: NodeId, factor: NodeId, uses: &[usize], onto: &mut Vec<(NodeId, usize)>) -> bool {
        if uses[id.0 as usize] != 1 || self.outer[id.0 as usize].is_some() {
            return false;
        }
        let dag = &self.attend.body;
        let operands = dag.operands(id);
        match dag.op(id) {
            Source::Contract(_) => {
                let wanted = if self.sides(factor) == Sides::COL { Sides::COL } else { Sides::ROW };
                let fits = |o: &NodeId| {
                    let axes = &dag.ty(*o).axes;
                    self.outer[o.0 as usize].is_some()
                        && self.sides(*o) == wanted
                        && dag.ty(factor).axes.iter().all(|a| axes.contains(a))
                };
                let which = operands.iter().position(fits);
                onto.extend(which.map(|which| (id, which)));
                which.is_some()
            }
            Source::Binary(BinaryOp::Add | BinaryOp::Sub) => {
                operands.iter().all(|o| self.pushes(*o, factor, uses, onto))
            }
            Source::Unary(UnaryOp::Neg) => self.pushes(operands[0], factor, uses, onto),
            Source::Binary(BinaryOp::Mul) => match self.alias.get(&id) {
                Some(product) => self.pushes(*product, factor, uses, onto),
                None => false,
            },
            _ => false,
        }
    }

    pub fn resolved(&self, id: NodeId) -> NodeId {
        self.alias.get(&id).map_or(id, |to| self.resolved(*to))
    }
}

/// A value at all tokens that may be visible: the carried ones, then those of the sequence. `own`: its axes.
fn past<'a>(
    l: &mut Lowering<'a>,
    value: ValueId,
    mut own: Vec<DimId>,
    most: usize,
    carried: &mut dyn FnMut(&mut Lowering<'a>, Vec<DimId>) -> ValueId,
) -> ValueId {
    if !l.options.carry {
        return value;
    }
    let (before, known) = l.known(most);
    own.extend([BATCH, before]);
    let carried = carried(l, own);
    l.b.op(Op::Cat(vec![before, TIME], known), &[carried, value])
}

/// A capture at all tokens that may be visible; records the carry for later pieces.
fn join(l: &mut Lowering<'_>, attend: NodeId, capture: usize, node: NodeId, value: ValueId, most: usize) -> ValueId {
    let own = dims(&l.graph.dag.ty(node).axes);
    let low = l.low_parts.get(&value).copied();
    let value = if l.options.carry { l.b.expand(value, &[BATCH, TIME]) } else { value };
    past(l, value, own, most, &mut |l, own| {
        let origin = l.origin(attend);
        let name = capture_name(origin.node, origin.operands[capture]);
        let carried = l.carried(&name, own);
        l.carries.push(Carry { name, value, low, keep: Keep::Seen(most) });
        carried
    })
}
