//! Evaluation of a graph, op by op, in the order of its nodes.

use super::attend::{Pairs, attend};
use super::binary::{binary, select};
use super::contract::{contract, sum};
use super::kernels::host;
use super::layout;
use super::linear::linear;
use super::loss::token_mean;
use super::moved::Moves;
use super::origin::Notes;
use super::rows::{RowOp, rows};
use super::scan::scan;
use super::training::{DropoutSeed, anneal, dropout};
use super::unary::unary;
use super::value::{Dim, Value, axes};
use super::window::Lags;
use super::wiring::Wiring;
use crate::batch::Tokens;
use archc_compiler::graph::{Dag, Graph, NodeId, Op, Rate, ReduceOp};
use archc_compiler::lower::carried::{capture_name, window_name};
use archc_compiler::lower::most_carried;
use candle_core::{DType, Result, Tensor, bail};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The state shared by all ops of one evaluation.
pub(crate) struct Frame<'a> {
    pub graph: &'a Graph,
    pub dtype: DType,
    pub tokens: &'a Tokens,
    /// Number of updates done.
    pub step: u64,
    /// The seed of dropout, in training only.
    pub dropout: Option<u64>,
    /// Random perturbations of values, if there are any.
    pub moved: Option<Moves>,
    /// Record of values that are not finite, if it is kept.
    pub notes: Option<&'a Notes>,
    /// Parameters in the order of the graph.
    pub params: &'a [Value],
    /// Inputs in the order of the graph, `[Batch, Time, axes]`.
    pub inputs: &'a [Value],
    /// 1 / (number of unmasked tokens) for those, 0 for the others.
    pub weights: &'a Value,
    /// Values carried from an earlier piece, by name.
    pub carry: &'a BTreeMap<String, Value>,
}

/// A body of a scan or attend.
pub(crate) struct Body<'a> {
    pub dag: &'a Dag,
    pub wiring: &'a Wiring,
    /// The pairs, in an attend.
    pub pairs: Option<&'a Pairs>,
    /// The index of the token, in a scan.
    pub time: Option<usize>,
}

/// The value of a node that must have one.
pub(crate) fn taken(values: &[Option<Value>], id: NodeId) -> Result<&Value> {
    match &values[id.0 as usize] {
        Some(value) => Ok(value),
        None => bail!("node %{} was not evaluated", id.0),
    }
}

impl Body<'_> {
    /// Computes the values that are needed and missing; `leaf` provides states, captures and other leaves of the body.
    pub fn evaluate(
        &self,
        frame: &Frame<'_>,
        leaf: &mut dyn FnMut(NodeId, &Op) -> Result<Option<Value>>,
        values: &mut [Option<Value>],
    ) -> Result<()> {
        for id in self.dag.ids() {
            let i = id.0 as usize;
            if !self.wiring.live[i] || values[i].is_some() {
                continue;
            }
            let op = self.dag.op(id);
            let value = match leaf(id, op)? {
                Some(value) => value,
                None => {
                    let operands = &self.wiring.operands[i];
                    let mut given: Vec<&Value> =
                        operands.iter().map(|&o| taken(values, NodeId(o as u32))).collect::<Result<_>>()?;
                    let spread;
                    if let Some(pairs) = self.pairs {
                        let paired =
                            |v: &&Value| v.dims.iter().any(|d| matches!(d, Dim::Batch | Dim::Time | Dim::Past));
                        if given.iter().any(paired) && given.iter().any(|v| v.has(Dim::Lag)) {
                            spread = given.iter().map(|v| pairs.spread(v)).collect::<Result<Vec<Value>>>()?;
                            given = spread.iter().collect();
                        }
                    }
                    moving(frame, op, &given, |x| apply(frame, self.time, op, x))?
                }
            };
            values[i] = Some(value);
        }
        Ok(())
    }

    /// The values of a scan's body that are the same at every token.
    pub fn constants(&self, frame: &Frame<'_>) -> Result<Vec<Option<Value>>> {
        let mut values = vec![None; self.dag.len()];
        for id in self.dag.ids().filter(|id| self.wiring.constant[id.0 as usize] && self.wiring.live[id.0 as usize]) {
            let operands: Vec<&Value> = self.wiring.operands[id.0 as usize]
                .iter()
                .map(|&o| taken(&values, NodeId(o as u32)))
                .collect::<Result<_>>()?;
            values[id.0 as usize] = Some(apply(frame, None, self.dag.op(id), &operands)?);
        }
        Ok(values)
    }
}

/// Computes an op, with random perturbations of operands and result if there are any.
fn moving(frame: &Frame<'_>, op: &Op, x: &[&Value], compute: impl FnOnce(&[&Value]) -> Result<Value>) -> Result<Value> {
    let Some(moves) = &frame.moved else { return compute(x) };
    let mut x: Vec<Cow<'_, Value>> = x.iter().map(|x| moves.operand(x)).collect::<Result<_>>()?;
    if let Op::Reduce(ReduceOp::Var { .. } | ReduceOp::Std { .. }, _) = op {
        // equal elements differ from their mean by its rounding
        x[0] = Cow::Owned(moves.rounded(x[0].clone().into_owned())?);
    }
    moves.result(op, compute(&x.iter().map(|x| &**x).collect::<Vec<_>>())?)
}

/// Evaluates ops that are the same in a graph and in any body: those that do not involve time.
pub(crate) fn apply(frame: &Frame<'_>, time: Option<usize>, op: &Op, x: &[&Value]) -> Result<Value> {
    let graph = frame.graph;
    let size = |a| graph.size(a);
    match op {
        Op::Const(value) => Value::scalar(*value, frame.dtype),
        Op::Index(along) => {
            let shape: Vec<usize> = along.iter().map(|&a| graph.size(a)).collect();
            let count = shape.iter().product::<usize>();
            Value::constant((0..count).map(|i| i as f64).collect(), shape, axes(along), frame.dtype)
        }
        Op::Table(axis, numbers) => {
            Value::constant(numbers.clone(), vec![numbers.len()], vec![Dim::Axis(*axis)], frame.dtype)
        }
        Op::Step => Value::scalar(frame.step as f64, frame.dtype),
        Op::Param(id) => Ok(frame.params[id.0 as usize].clone()),
        Op::Unary(op) => unary(*op, x[0]),
        Op::Binary(op) => binary(*op, x[0], x[1]),
        Op::Select => select(x[0], x[1], x[2]),
        Op::Reduce(ReduceOp::Sum, over) => sum(x[0], &axes(over), 1.0),
        Op::Reduce(ReduceOp::Mean, over) => sum(x[0], &axes(over), 1.0 / count_of(graph, over)),
        Op::Reduce(reduce, over) => rows(RowOp::Reduce(*reduce), x[0], &axes(over)),
        Op::Contract(over) => contract(x[0], x[1], &axes(over)),
        Op::Softmax(over) => rows(RowOp::Softmax, x[0], &axes(over)),
        Op::Sparsemax(axis) => rows(RowOp::Sparsemax, x[0], &axes(&[*axis])),
        Op::Cumsum(axis) => rows(RowOp::Cumsum, x[0], &axes(&[*axis])),
        Op::Sort(axis) => rows(RowOp::Sort, x[0], &axes(&[*axis])),
        Op::TopK(axis, n) => rows(RowOp::TopK(*n), x[0], &axes(&[*axis])),
        Op::Stack(axis) => layout::stack(*axis, x),
        Op::Pick(axis, index) => layout::pick(*axis, *index, x[0]),
        Op::Split(axis, into) => layout::split(size, *axis, into, x[0]),
        Op::Flatten(from, into) => layout::flatten(from, *into, x[0]),
        Op::Cat(parts, into) => layout::cat(size, parts, *into, x),
        Op::Cut { from, offset, into } => layout::cut(size, *from, *offset, *into, x[0]),
        Op::Expand(new) => layout::expand(size, new, x[0]),
        Op::Rename(from, to) => Ok(x[0].clone().renamed(Dim::Axis(*from), Dim::Axis(*to))),
        Op::Linear(map) => {
            let inputs: Vec<Operand<'_>> = x.iter().take(map.contracted.len()).map(|v| Operand::Value(v)).collect();
            linear(map, &inputs, &x[inputs.len()..])
        }
        Op::Dropout { path } => match frame.dropout {
            None => Ok(x[0].clone()),
            Some(seed) => {
                let p = host(&x[1].tensor)?[0];
                dropout(path, x[0], p, DropoutSeed { seed, step: frame.step, len: frame.tokens.grid.len, time })
            }
        },
        Op::StopGrad => Ok(Value::new(x[0].tensor.detach(), x[0].dims.clone())),
        Op::Anneal { steps, start, shape } => anneal(x[0], x[1], (frame.step as f64 - start) / steps, *shape),
        Op::TokenMean => token_mean(x[0], frame.weights),
        Op::Draw(_)
        | Op::Input(_)
        | Op::Pos
        | Op::Capture(_)
        | Op::Past(_)
        | Op::Lag
        | Op::State(_)
        | Op::Embed { .. }
        | Op::Window { .. }
        | Op::Scan(_)
        | Op::Attend(_)
        | Op::Emit(_) => bail!("{op:?} stands where it has no meaning"),
    }
}

fn count_of(graph: &Graph, over: &[archc_compiler::graph::AxisId]) -> f64 {
    over.iter().map(|&a| graph.size(a)).product::<usize>() as f64
}

/// An operand of a contraction: a value, or a window that is not materialised.
pub(crate) enum Operand<'a> {
    Value(&'a Value),
    Lags(&'a Lags),
}

impl Operand<'_> {
    /// The sum over `over` of this operand times f.
    pub fn times(&self, f: &Value, over: &[Dim]) -> Result<Value> {
        match self {
            Self::Value(x) => contract(x, f, over),
            Self::Lags(x) => x.times(f, over),
        }
    }
}

/// The value of a node of the graph.
enum Slot {
    Empty,
    One(Value),
    Lags(Lags),
    Emits(Vec<Value>),
}

impl Slot {
    fn noted(&self, node: usize, notes: &Notes) -> Result<()> {
        match self {
            Self::Empty => Ok(()),
            Self::One(value) => notes.see(node, [value]),
            Self::Lags(lags) => notes.see(node, [&lags.unfolded()?]),
            Self::Emits(emits) => notes.see(node, emits),
        }
    }
}

/// The result of an evaluation.
pub(crate) struct Outcome {
    /// The values of the roots, in the requested order.
    pub values: Vec<Value>,
    /// The carry for the next piece, by name.
    pub carry: BTreeMap<String, Value>,
}

/// Evaluates the roots of a graph.
pub(crate) fn evaluate(frame: &Frame<'_>, wiring: &Wiring, roots: &[NodeId]) -> Result<Outcome> {
    let dag = &frame.graph.dag;
    let mut slots: Vec<Slot> = (0..dag.len()).map(|_| Slot::Empty).collect();
    let mut carry = BTreeMap::new();
    for id in dag.ids().filter(|id| wiring.live[id.0 as usize]) {
        let i = id.0 as usize;
        let operands = &wiring.operands[i];
        let slot = node(frame, wiring, i, dag.op(id), operands, &mut slots, &mut carry)?;
        if let Some(notes) = frame.notes {
            slot.noted(i, notes)?;
        }
        slots[i] = slot;
        for &o in operands {
            if wiring.last_use[o] == i {
                slots[o] = Slot::Empty;
            }
        }
    }
    let values = roots.iter().map(|r| one(&mut slots, r.0 as usize).cloned()).collect::<Result<_>>()?;
    Ok(Outcome { values, carry })
}

/// The value of a node; a window that an op other than a filter reads is materialised now.
fn one(slots: &mut [Slot], i: usize) -> Result<&Value> {
    if let Slot::Lags(lags) = &slots[i] {
        slots[i] = Slot::One(lags.unfolded()?);
    }
    there(slots, i)
}

fn there(slots: &[Slot], i: usize) -> Result<&Value> {
    match &slots[i] {
        Slot::One(value) => Ok(value),
        _ => bail!("node %{i} holds no value"),
    }
}

fn node(
    frame: &Frame<'_>,
    wiring: &Wiring,
    i: usize,
    op: &Op,
    operands: &[usize],
    slots: &mut [Slot],
    carry: &mut BTreeMap<String, Value>,
) -> Result<Slot> {
    if let Some(value) = filtered(op, operands, slots)? {
        return Ok(Slot::One(value));
    }
    for &o in operands {
        if matches!(slots[o], Slot::Lags(_)) {
            one(slots, o)?;
        }
    }
    if let (Op::Emit(n), Slot::Emits(emits)) = (op, &slots[operands.first().copied().unwrap_or(i)]) {
        return Ok(Slot::One(emits[*n].clone()));
    }
    let x: Vec<&Value> = operands.iter().map(|&o| there(slots, o)).collect::<Result<_>>()?;
    let grid = &frame.tokens.grid;
    Ok(Slot::One(match op {
        Op::Input(n) => frame.inputs[*n].clone(),
        Op::Pos => {
            let pos = grid.pos.iter().map(|&p| p as f64).collect();
            Value::constant(pos, vec![grid.batch, grid.len], vec![Dim::Batch, Dim::Time], frame.dtype)?
        }
        Op::Embed { vocab } => embed(frame, Dim::Axis(*vocab), x[0], x.get(1).copied())?,
        Op::Window { axis, step } => {
            let name = window_name(NodeId(i as u32));
            let width = frame.graph.size(*axis);
            let lags = Lags::new(x[0], Dim::Axis(*axis), width, *step, frame.carry.get(&name), grid)?;
            if width > 1 {
                carry.insert(name, lags.carry((width - 1) * step)?);
            }
            return Ok(Slot::Lags(lags));
        }
        Op::Scan(body) => {
            let (initial, captures) = x.split_at(body.states.len());
            let done = scan(frame, body, &wiring.bodies[&i], initial, captures, NodeId(i as u32))?;
            carry.extend(done.carry);
            return Ok(Slot::Emits(done.emits));
        }
        Op::Attend(body) => {
            let pasts = pasts(frame, wiring, i, &x, carry)?;
            let pairs = Pairs { carried: frame.tokens.carried, len: grid.len };
            let emits = attend(frame, body, &wiring.bodies[&i], &x, &pasts, &pairs)?;
            let Some(moves) = &frame.moved else { return Ok(Slot::Emits(emits)) };
            return emits.into_iter().map(|e| moves.result(op, e)).collect::<Result<_>>().map(Slot::Emits);
        }
        _ => moving(frame, op, &x, |x| apply(frame, None, op, x))?,
    }))
}

/// Evaluates ops over the axis of a window that need no materialised window.
fn filtered(op: &Op, operands: &[usize], slots: &[Slot]) -> Result<Option<Value>> {
    let lags = |o: usize| match &slots[operands[o]] {
        Slot::Lags(lags) => Some(lags),
        _ => None,
    };
    Ok(match op {
        Op::Reduce(ReduceOp::Sum, over) if lags(0).is_some_and(|l| axes(over) == [l.axis()]) => {
            lags(0).map(|l| l.total(1.0)).transpose()?
        }
        Op::Pick(axis, index) => match lags(0).filter(|l| l.axis() == Dim::Axis(*axis)) {
            Some(l) => Some(l.entry(*index)?),
            None => None,
        },
        Op::Contract(over) => match (lags(0), lags(1)) {
            (Some(l), None) => Some(l.times(there(slots, operands[1])?, &axes(over))?),
            (None, Some(l)) => Some(l.times(there(slots, operands[0])?, &axes(over))?),
            _ => None,
        },
        Op::Linear(map) if (0..map.contracted.len()).any(|o| lags(o).is_some()) => {
            let inputs: Vec<Operand<'_>> = (0..map.contracted.len())
                .map(|o| match lags(o) {
                    Some(l) => Ok(Operand::Lags(l)),
                    None => there(slots, operands[o]).map(Operand::Value),
                })
                .collect::<Result<_>>()?;
            let rest: Vec<&Value> = operands[inputs.len()..].iter().map(|&o| there(slots, o)).collect::<Result<_>>()?;
            Some(linear(map, &inputs, &rest)?)
        }
        _ => None,
    })
}

/// The captures of an attend at the past tokens; adds to the carry the part that may still be visible to later tokens.
fn pasts(
    frame: &Frame<'_>,
    wiring: &Wiring,
    node: usize,
    captures: &[&Value],
    carry: &mut BTreeMap<String, Value>,
) -> Result<Vec<Value>> {
    let grid = &frame.tokens.grid;
    let most = match frame.graph.dag.op(NodeId(node as u32)) {
        Op::Attend(attend) => most_carried(attend),
        _ => usize::MAX,
    };
    let mut pasts: Vec<Value> = captures.iter().map(|&c| c.clone()).collect();
    for c in seen_captures(&frame.graph.dag, wiring, node) {
        let x = captures[c];
        let axes = x.dims.iter().filter(|d| !matches!(d, Dim::Batch | Dim::Time)).map(|&d| (d, x.size(d)));
        let order: Vec<(Dim, usize)> =
            [(Dim::Batch, grid.batch), (Dim::Time, grid.len)].into_iter().chain(axes).collect();
        let mut past = x.expanded(&order)?;
        let name = capture_name(NodeId(node as u32), c);
        if let Some(before) = frame.carry.get(&name) {
            past.tensor = Tensor::cat(&[&before.permuted(&past.dims)?.tensor, &past.tensor], 1)?;
        } else if frame.tokens.carried > 0 {
            // captures that only losses need are not carried
            past.tensor = past.tensor.pad_with_zeros(1, frame.tokens.carried, 0)?;
        }
        // Later tokens of the same documents may look back as far as those documents go and `where` lets them.
        let reach = grid.ends().into_iter().max().unwrap_or(0);
        let have = past.tensor.dim(1)?;
        let keep = reach.min(most).min(have);
        carry.insert(name, Value::new(past.tensor.narrow(1, have - keep, keep)?, past.dims.clone()));
        pasts[c] = past.renamed(Dim::Time, Dim::Past);
    }
    Ok(pasts)
}

/// The captures that an attend reads at past tokens and that differ from token to token.
pub(crate) fn seen_captures(dag: &Dag, wiring: &Wiring, node: usize) -> Vec<usize> {
    let (Op::Attend(attend), Some(body)) = (dag.op(NodeId(node as u32)), wiring.bodies.get(&node)) else {
        return Vec::new();
    };
    let live = attend.body.ids().filter(|id| body.live[id.0 as usize]);
    let read: Vec<usize> = live
        .filter_map(|id| match attend.body.op(id) {
            Op::Past(c) => Some(*c),
            _ => None,
        })
        .collect();
    let operands = &wiring.operands[node];
    let differs = |c: usize| dag.rate(NodeId(operands[c] as u32)) != Rate::Fixed;
    (0..operands.len()).filter(|c| read.contains(c) && differs(*c)).collect()
}

/// Looks up the rows of the table at the tokens; ids past the vocabulary are learned prefix tokens.
fn embed(frame: &Frame<'_>, vocab: Dim, table: &Value, prefix: Option<&Value>) -> Result<Value> {
    let table = table.permuted(&[&[vocab], rest(table, vocab).as_slice()].concat())?;
    let width = table.dims[1];
    let rows = match prefix {
        Some(prefix) => {
            let order: Vec<Dim> = rest(prefix, width).into_iter().chain([width]).collect();
            Tensor::cat(&[&table.tensor, &prefix.permuted(&order)?.tensor], 0)?
        }
        // A second table of a model with a prefix: its rows for the prefix tokens are zeros.
        None => match frame.graph.prefix {
            Some(prefix) => {
                let tokens = frame.graph.param_shape(prefix)[0];
                table.tensor.pad_with_zeros(0, 0, tokens)?
            }
            None => table.tensor.clone(),
        },
    };
    let grid = &frame.tokens.grid;
    let ids = Tensor::from_slice(&frame.tokens.ids, frame.tokens.ids.len(), rows.device())?;
    let picked = rows.contiguous()?.index_select(&ids, 0)?;
    let shape = (grid.batch, grid.len, table.size(width));
    Ok(Value::new(picked.reshape(shape)?, vec![Dim::Batch, Dim::Time, width]))
}

fn rest(x: &Value, without: Dim) -> Vec<Dim> {
    x.dims.iter().copied().filter(|&d| d != without).collect()
}
