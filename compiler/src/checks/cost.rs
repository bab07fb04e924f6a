//! Cost of a program: parameters, FLOPs, bytes, state, time class.
//!
//! # Rules
//! - FLOPs of an op are stated in [`crate::ops`]. They are counted per token; work that is the same at every token is counted
//!   separately, once per step.
//! - Backward: for each operand that needs a gradient (it depends on a parameter or an input) of each op
//!   that gets one, the op's gradient cost. A scan's backward pass runs its body once more, and so does an
//!   attend's: both save entry states and captures only.
//! - The body of an attend runs once for each visible pair, of which a token has (T + 1) / 2 on average,
//!   or with `where lag < w` w (fewer at the start: w - w (w - 1) / 2T). The part of a body that does not
//!   depend on the past token is counted once per token.
//! - Bytes: activations that cross memory if every op runs by itself, 4 bytes per element: its operands read,
//!   its result written; views cost nothing; a window reads its operand once. Inside of a scan body values
//!   stay in registers: its captures and states are read, its emits and states written once per token. The
//!   same for an attend, whose past operands are read once for each tile of [`TILE`] tokens. Backward is
//!   twice that: the same operands are read again together with the cotangent, and a gradient is written.
//!   Fusion only lowers these counts. Parameters, read once per batch, are not included.
//! - State: elements that one sequence carries from token to token when decoding: the states of scans, the
//!   history of windows (shared by windows over the same value), the past operands of attends, which grow
//!   with every token, up to w tokens with `where lag < w`.

use super::flow::{EdgeKind, Flow};
use crate::graph::{Attend, BinaryOp, Dag, Graph, NodeId, Op, ParamId, ParamKind, Rate, UnaryOp};
use crate::ops::{Storage, attend_flops_per_pair, rules};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Length of an attend's tile in tokens, for the count of bytes.
pub const TILE: f64 = 64.0;

/// A group of parameters.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParamGroup {
    /// First part of their paths.
    pub name: String,
    /// Number of elements.
    pub count: usize,
}

/// A count per token that may depend on the length T.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Flops {
    /// The part that does not depend on T.
    pub per_token: f64,
    /// The part per visible pair, for each reach of an attend (in tokens; none: all of the past).
    pub per_pair: Vec<(Option<u64>, f64)>,
}

impl Flops {
    /// Average per token of a sequence of T tokens.
    pub fn at(&self, tokens: usize) -> f64 {
        self.per_token + self.per_pair.iter().map(|(reach, n)| n * pairs(*reach, tokens)).sum::<f64>()
    }

    fn add_pairs(&mut self, reach: Option<u64>, count: f64) {
        if count == 0.0 {
            return;
        }
        match self.per_pair.iter_mut().find(|(r, _)| *r == reach) {
            Some((_, n)) => *n += count,
            None => {
                self.per_pair.push((reach, count));
                self.per_pair.sort_by_key(|(r, _)| *r);
            }
        }
    }
}

/// Visible pairs per token of a sequence of T tokens, on average.
fn pairs(reach: Option<u64>, tokens: usize) -> f64 {
    let t = tokens.max(1) as f64;
    let w = reach.map_or(t, |w| (w as f64).min(t));
    w - w * (w - 1.0) / (2.0 * t)
}

/// Elements that one sequence carries while decoding.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StateSize {
    /// States of scans.
    pub scans: u64,
    /// Histories of windows.
    pub windows: u64,
    /// Elements per past token, for each reach of an attend.
    pub per_past_token: Vec<(Option<u64>, u64)>,
}

impl StateSize {
    /// Elements after T tokens.
    pub fn at(&self, tokens: usize) -> u64 {
        let t = tokens as u64;
        let kept = |(reach, n): &(Option<u64>, u64)| reach.map_or(t, |w| w.min(t)) * n;
        self.scans + self.windows + self.per_past_token.iter().map(kept).sum::<u64>()
    }
}

/// Growth of a sequence's time with its length T.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum TimeClass {
    /// O(T)
    Linear,
    /// O(T*w) with a window of w tokens
    Windowed(u64),
    /// O(T^2)
    Quadratic,
}

impl fmt::Display for TimeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linear => write!(f, "O(T)"),
            Self::Windowed(w) => write!(f, "O(T*w), w = {w}"),
            Self::Quadratic => write!(f, "O(T^2)"),
        }
    }
}

/// Cost of a program. `{}` prints it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostReport {
    /// Number of learned elements.
    pub params: usize,
    /// Learned elements by the first part of their paths, in order of declaration.
    pub groups: Vec<ParamGroup>,
    /// Learned elements that decay: the weights of linear and conv.
    pub weights: usize,
    /// FLOPs per token forward.
    pub forward: Flops,
    /// FLOPs per token backward.
    pub backward: Flops,
    /// Forward FLOPs once per step, independent of the number of tokens.
    pub per_step: f64,
    /// Bytes per token forward.
    pub bytes_forward: Flops,
    /// Bytes per token backward.
    pub bytes_backward: Flops,
    /// Elements that a sequence carries.
    pub state: StateSize,
    /// Growth of time with T.
    pub time: TimeClass,
    /// Length of the printed example, in tokens.
    pub tokens: usize,
}

/// Counts the cost of a graph. `tokens` is the length of the example that is printed beside the formulas.
pub fn cost(graph: &Graph, tokens: usize) -> CostReport {
    let flow = Flow::new(graph);
    let differentiable = |to: usize, edge| flow.differentiable(to, edge);
    let trained = |op: &Op| matches!(op, Op::Param(_) | Op::Input(_) | Op::Embed { .. });
    let counter = Counter {
        needs: flow.ahead(trained, differentiable),
        gets: flow.behind(&flow.roots(), differentiable),
        // a value of the lag alone is the same for all pairs at one lag
        pairwise: flow.ahead(
            |op| matches!(op, Op::Past(_)),
            |_, edge| !matches!(edge.kind, EdgeKind::Emitted | EdgeKind::Weight | EdgeKind::Visible | EdgeKind::Sink),
        ),
        lagged: flow.ahead(
            |op| matches!(op, Op::Lag),
            |_, edge| !matches!(edge.kind, EdgeKind::Emitted | EdgeKind::Weight | EdgeKind::Visible | EdgeKind::Sink),
        ),
        users: graph.dag.users(),
        flow: &flow,
    };
    let mut sums = Sums::default();
    for vertex in 0..flow.vertices.len() {
        counter.flops(vertex, &mut sums);
        counter.bytes(vertex, &mut sums);
    }
    let doubled = |once: &Flops| Flops {
        per_token: 2.0 * once.per_token,
        per_pair: once.per_pair.iter().map(|(reach, n)| (*reach, 2.0 * n)).collect(),
    };
    CostReport {
        params: graph.param_count(),
        groups: groups(graph),
        weights: weights(graph),
        forward: sums.forward,
        backward: sums.backward,
        per_step: sums.per_step,
        bytes_backward: doubled(&sums.bytes),
        bytes_forward: sums.bytes,
        state: state_size(&flow),
        time: time_class(&flow),
        tokens,
    }
}

#[derive(Default)]
struct Sums {
    forward: Flops,
    backward: Flops,
    per_step: f64,
    bytes: Flops,
}

/// Frequency with which the value of a vertex is computed.
#[derive(Clone, Copy)]
enum Often {
    Step,
    Token,
    Pair(Option<u64>),
}

struct Counter<'a> {
    flow: &'a Flow<'a>,
    /// Marks vertices that depend on a trained value.
    needs: Vec<bool>,
    /// Marks vertices that receive a gradient.
    gets: Vec<bool>,
    /// Marks vertices that depend on the past token.
    pairwise: Vec<bool>,
    /// Marks vertices that depend on the lag.
    lagged: Vec<bool>,
    /// Users of each node of the graph's own DAG, where all scans and attends are.
    users: Vec<Vec<NodeId>>,
}

impl Counter<'_> {
    fn often(&self, vertex: usize) -> Often {
        let v = self.flow.vertices[vertex];
        match (v.dag.rate(v.id), v.home) {
            (Rate::Fixed, _) => Often::Step,
            (Rate::Pair, Some(home)) if self.is_pairwise(vertex) => Often::Pair(reach(self.flow, home)),
            _ => Often::Token,
        }
    }

    /// Whether a vertex is computed for each pair. Values of the lag and of fixed values only are computed once per lag, T of them.
    fn is_pairwise(&self, vertex: usize) -> bool {
        self.pairwise[vertex] || self.lagged[vertex] && self.reads_present(vertex)
    }

    fn reads_present(&self, vertex: usize) -> bool {
        let behind = self.flow.behind(&[vertex], |_, edge| edge.kind != EdgeKind::Capture);
        behind.iter().enumerate().any(|(i, b)| {
            let v = self.flow.vertices[i];
            *b && matches!(v.op(), Op::Capture(_)) && v.dag.rate(v.id) != Rate::Fixed
        })
    }

    fn flops(&self, vertex: usize, sums: &mut Sums) {
        let v = self.flow.vertices[vertex];
        let at = v.at(self.flow.graph);
        let op = rules(v.op());
        let forward = op.flops(at);
        let mut backward = 0.0;
        if self.gets[vertex] {
            for edge in &self.flow.into[vertex] {
                if let EdgeKind::Operand(i) = edge.kind
                    && self.needs[edge.from]
                    && op.differentiable(i)
                {
                    backward += op.gradient_flops(at, i);
                }
            }
            if v.home.is_some() && self.needs[vertex] {
                backward += forward; // the body runs once more
            }
        }
        match self.often(vertex) {
            Often::Step => sums.per_step += forward,
            Often::Token => {
                sums.forward.per_token += forward;
                sums.backward.per_token += backward;
            }
            Often::Pair(reach) => {
                sums.forward.add_pairs(reach, forward);
                sums.backward.add_pairs(reach, backward);
            }
        }
        if let Op::Attend(attend) = v.op() {
            let pair = attend_flops_per_pair(self.flow.graph, attend);
            let reach = reach(self.flow, vertex);
            sums.forward.add_pairs(reach, pair);
            // the gradients of weights and values: one product each; the softmax again and its gradient
            sums.backward.add_pairs(reach, 2.0 * pair);
        }
    }

    fn bytes(&self, vertex: usize, sums: &mut Sums) {
        let v = self.flow.vertices[vertex];
        let at = v.at(self.flow.graph);
        let operands = v.dag.operands(v.id);
        let numbers = |ids: &[NodeId]| -> f64 {
            ids.iter().filter(|o| v.dag.rate(**o) != Rate::Fixed).map(|o| at.numbers(&v.dag.ty(*o).axes)).sum()
        };
        match v.op() {
            Op::Scan(scan) => {
                let states: f64 = scan.states.iter().map(|s| at.numbers(&s.axes)).sum();
                let captures = numbers(&operands[scan.states.len()..]);
                sums.bytes.per_token += 4.0 * (2.0 * states + captures + numbers(&self.users[v.id.0 as usize]));
            }
            Op::Attend(attend) => {
                let (present, past) = attend_operands(v.dag, v.id, attend);
                sums.bytes.per_token += 4.0 * (numbers(&present) + numbers(&self.users[v.id.0 as usize]));
                sums.bytes.add_pairs(reach(self.flow, vertex), 4.0 * numbers(&past) / TILE);
            }
            op if v.home.is_none() && at.ty().rate != Rate::Fixed && rules(op).storage() == Storage::Fresh => {
                let read: Vec<NodeId> = operands.iter().map(|o| behind_window(v.dag, *o)).collect();
                sums.bytes.per_token += 4.0 * (numbers(&read) + at.elements());
            }
            _ => {}
        }
    }
}

/// The value whose past a window contains.
fn behind_window(dag: &Dag, id: NodeId) -> NodeId {
    match dag.op(id) {
        Op::Window { .. } => dag.operands(id)[0],
        _ => id,
    }
}

/// The operands that an attend reads at the present and at the past token.
fn attend_operands(dag: &Dag, id: NodeId, attend: &Attend) -> (Vec<NodeId>, Vec<NodeId>) {
    let operands = dag.operands(id);
    let (mut present, mut past) = (Vec::new(), Vec::new());
    for inner in attend.body.ids() {
        match attend.body.op(inner) {
            Op::Capture(i) => present.push(operands[*i]),
            Op::Past(i) => past.push(operands[*i]),
            _ => {}
        }
    }
    for list in [&mut present, &mut past] {
        list.sort_unstable();
        list.dedup();
    }
    (present, past)
}

/// The w of `where lag < w`; none if all of the past is visible.
fn reach(flow: &Flow, attend: usize) -> Option<u64> {
    match flow.vertices[attend].op() {
        Op::Attend(a) => bound_on_lag(flow, flow.inner(attend, a.visible?)),
        _ => None,
    }
}

/// The number of lags at which a condition can hold.
fn bound_on_lag(flow: &Flow, condition: usize) -> Option<u64> {
    let operand = |i: usize| flow.into[condition].get(i).map(|e| e.from);
    let is_lag = |v: usize| matches!(flow.vertices[v].op(), Op::Lag);
    let count = |x: f64| (x.is_finite()).then_some(x.max(0.0) as u64);
    let less = |lag: usize, limit: usize, equal: bool| {
        let limit = if is_lag(lag) { flow.constant(limit)? } else { return None };
        count(if equal { limit.floor() + 1.0 } else { limit.ceil() })
    };
    match flow.vertices[condition].op() {
        Op::Binary(BinaryOp::Lt) => less(operand(0)?, operand(1)?, false),
        Op::Binary(BinaryOp::Le) => less(operand(0)?, operand(1)?, true),
        Op::Binary(BinaryOp::Gt) => less(operand(1)?, operand(0)?, false),
        Op::Binary(BinaryOp::Ge) => less(operand(1)?, operand(0)?, true),
        // both must hold
        Op::Binary(BinaryOp::Min | BinaryOp::Mul) => {
            let (a, b) = (bound_on_lag(flow, operand(0)?), bound_on_lag(flow, operand(1)?));
            a.into_iter().chain(b).min()
        }
        Op::Unary(UnaryOp::Not) => {
            let inner = operand(0)?;
            let operand = |i: usize| flow.into[inner].get(i).map(|e| e.from);
            match flow.vertices[inner].op() {
                Op::Binary(BinaryOp::Ge) => less(operand(0)?, operand(1)?, false),
                Op::Binary(BinaryOp::Gt) => less(operand(0)?, operand(1)?, true),
                _ => None,
            }
        }
        _ => None,
    }
}

fn time_class(flow: &Flow) -> TimeClass {
    let attends = (0..flow.vertices.len()).filter(|v| matches!(flow.vertices[*v].op(), Op::Attend(_)));
    let class = |v| reach(flow, v).map_or(TimeClass::Quadratic, TimeClass::Windowed);
    attends.map(class).max().unwrap_or(TimeClass::Linear)
}

fn state_size(flow: &Flow) -> StateSize {
    let graph = flow.graph;
    let numbers = |axes: &[crate::graph::AxisId]| axes.iter().map(|a| graph.size(*a) as u64).product::<u64>();
    let mut size = StateSize::default();
    let mut windows: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut past: BTreeMap<NodeId, Option<u64>> = BTreeMap::new();
    for id in graph.dag.ids() {
        match graph.dag.op(id) {
            Op::Scan(scan) => size.scans += scan.states.iter().map(|s| numbers(&s.axes)).sum::<u64>(),
            Op::Window { axis, step } => {
                let of = graph.dag.operands(id)[0];
                let history = (graph.size(*axis) as u64 - 1) * *step as u64;
                let longest = windows.entry(of).or_default();
                *longest = history.max(*longest);
            }
            Op::Attend(attend) => {
                let reach = reach(flow, flow.outer(id));
                for of in attend_operands(&graph.dag, id, attend).1 {
                    let kept = past.entry(of).or_insert(reach);
                    *kept = match (*kept, reach) {
                        (Some(a), Some(b)) => Some(a.max(b)),
                        _ => None,
                    };
                }
            }
            _ => {}
        }
    }
    let moves = |id: &NodeId| graph.dag.rate(*id) != Rate::Fixed;
    size.windows = windows.iter().filter(|(id, _)| moves(id)).map(|(id, n)| n * numbers(&graph.dag.ty(*id).axes)).sum();
    let mut grows: BTreeMap<Option<u64>, u64> = BTreeMap::new();
    for (id, reach) in past.iter().filter(|(id, _)| moves(id)) {
        *grows.entry(*reach).or_default() += numbers(&graph.dag.ty(*id).axes);
    }
    size.per_past_token = grows.into_iter().collect();
    size
}

fn groups(graph: &Graph) -> Vec<ParamGroup> {
    let mut groups: Vec<ParamGroup> = Vec::new();
    for (i, param) in graph.params.iter().enumerate() {
        let name = param.path.split('.').next().unwrap_or_default();
        let count = graph.param_numbers(ParamId(i as u32));
        match groups.iter_mut().find(|g| g.name == name) {
            Some(group) => group.count = group.count.saturating_add(count),
            None => groups.push(ParamGroup { name: name.to_string(), count }),
        }
    }
    groups
}

fn weights(graph: &Graph) -> usize {
    let numbers = |i| graph.param_numbers(ParamId(i as u32));
    (0..graph.params.len())
        .filter(|i| graph.params[*i].kind == ParamKind::Weight)
        .map(numbers)
        .fold(0, usize::saturating_add)
}

/// Text of a number rounded to an integer, with separators: 1234567 as 1,234,567.
fn grouped(x: f64) -> String {
    let digits = format!("{:.0}", x);
    let mut text = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(c);
    }
    text
}

impl fmt::Display for Flops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", grouped(self.per_token))?;
        self.per_pair.iter().try_for_each(|(reach, n)| {
            write!(f, " + {} * ", grouped(*n))?;
            match reach {
                Some(w) => write!(f, "min({w}, T)"),
                None => write!(f, "(T + 1) / 2"),
            }
        })
    }
}

impl fmt::Display for CostReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "params          {} (weights of linear and conv: {})",
            grouped(self.params as f64),
            grouped(self.weights as f64)
        )?;
        for group in &self.groups {
            writeln!(f, "  {:<14}{}", group.name, grouped(group.count as f64))?;
        }
        writeln!(f, "time            {}", self.time)?;
        writeln!(f, "FLOPs a token   forward {}, backward {}", self.forward, self.backward)?;
        if self.per_step > 0.0 {
            writeln!(f, "FLOPs a step    {}", grouped(self.per_step))?;
        }
        writeln!(f, "bytes a token   forward {}, backward {}", self.bytes_forward, self.bytes_backward)?;
        write!(f, "state           {} numbers", self.state.scans + self.state.windows)?;
        if self.state.scans > 0 && self.state.windows > 0 {
            write!(f, " (scans {}, windows {})", self.state.scans, self.state.windows)?;
        }
        for (reach, n) in &self.state.per_past_token {
            match reach {
                Some(w) => write!(f, " + {n} for each of the last {w} tokens")?,
                None => write!(f, " + {n} a token")?,
            }
        }
        writeln!(f)?;
        let t = self.tokens;
        writeln!(
            f,
            "at T = {t:<9}forward {} FLOPs and {} bytes a token, backward {} FLOPs, state {}",
            grouped(self.forward.at(t)),
            grouped(self.bytes_forward.at(t)),
            grouped(self.backward.at(t)),
            grouped(self.state.at(t) as f64),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Weighing;
    use crate::ops::testing::{Build, binary, delta_net, node, sum};
    use crate::passes::optimize;

    #[test]
    fn a_linear_costs_one_multiply_add_a_weight_and_twice_that_backward() {
        let mut b = Build::new();
        let (d, h) = (b.axis("D", 8), b.axis("H", 3));
        let x = b.input(&[d]);
        let y = b.linear("y.linear.weight", x, &[d], &[h]);
        b.output(y);
        let report = cost(&b.graph, 16);
        assert_eq!(report.params, 24);
        assert_eq!(report.forward, Flops { per_token: 48.0, per_pair: vec![] });
        assert_eq!(report.backward.per_token, 96.0);
        assert_eq!(report.bytes_forward.per_token, 4.0 * 11.0);
        assert_eq!(report.time, TimeClass::Linear);
    }

    #[test]
    fn a_delta_rule_by_hand() {
        let report = cost(&optimize(&delta_net()), 64);
        let linears = 2.0 * 8.0 * (8.0 + 8.0 + 8.0 + 2.0 + 8.0);
        let norm = 8.0 + 8.0 + 2.0 + 2.0 + 8.0; // x^2, sum, + eps, rsqrt, product
        let body = 2.0 * 32.0 + 8.0 + 8.0 + 32.0 + 32.0 + 2.0 * 32.0; // read, error, beta k, write, add, read
        assert_eq!(report.forward.per_token, linears + 2.0 * norm + 2.0 + body);
        assert_eq!(report.state, StateSize { scans: 32, windows: 0, per_past_token: vec![] });
        assert!(report.backward.per_token > 2.0 * report.forward.per_token);
        assert!(report.backward.per_token < 3.0 * report.forward.per_token);
    }

    fn attention(window: Option<f64>) -> Graph {
        let mut b = Build::new();
        let (k, v) = (b.axis("K", 4), b.axis("V", 6));
        let (x, y) = (b.input(&[k]), b.input(&[v]));
        let w = b.constant(window.unwrap_or(0.0));
        let attend = b.attend(&[x, y, w], |body| {
            let q = node(body, Op::Capture(0), &[k], &[]);
            let past_k = node(body, Op::Past(0), &[k], &[]);
            let past_v = node(body, Op::Past(1), &[v], &[]);
            let w = node(body, Op::Capture(2), &[], &[]);
            let lag = node(body, Op::Lag, &[], &[]);
            let visible = binary(body, BinaryOp::Lt, lag, w);
            let score = binary(body, BinaryOp::Mul, q, past_k);
            let score = sum(body, &[k], score);
            Attend {
                body: Dag::new(),
                visible: window.map(|_| visible),
                weighing: Weighing::Score(score),
                sink: None,
                emits: vec![("o".into(), past_v)],
            }
        });
        let o = b.emit(attend, 0);
        b.output(o);
        optimize(&b.graph)
    }

    #[test]
    fn attention_is_quadratic_and_a_window_is_not() {
        let full = cost(&attention(None), 100);
        assert_eq!(full.time, TimeClass::Quadratic);
        assert_eq!(full.forward.per_pair, [(None, 2.0 * 4.0 + 4.0 + 2.0 * 6.0)]);
        assert_eq!(full.forward.at(100), 24.0 * 50.5);
        assert_eq!(full.state.at(100), 1000);
        let local = cost(&attention(Some(16.0)), 100);
        assert_eq!(local.time, TimeClass::Windowed(16));
        assert_eq!(local.state.at(100), 160);
        // 15 tokens see less than 16: 1 + 2 + ... + 15 = 120 pairs, the other 85 see 16
        let pairs = (120.0 + 85.0 * 16.0) / 100.0;
        assert!((local.forward.at(100) - 25.0 * pairs).abs() < 1e-9, "{}", local.forward.at(100) / pairs);
    }

    #[test]
    fn windows_over_one_value_share_their_history() {
        let mut b = Build::new();
        let (d, w5, w3) = (b.axis("D", 4), b.axis("W", 5), b.axis("W", 3));
        let x = b.input(&[d]);
        let a = b.node(Op::Window { axis: w5, step: 1 }, &[d, w5], &[x]);
        let c = b.node(Op::Window { axis: w3, step: 3 }, &[d, w3], &[x]);
        let a = b.linear("a", a, &[w5], &[]);
        let c = b.linear("c", c, &[w3], &[]);
        let y = b.add(a, c);
        b.output(y);
        assert_eq!(cost(&b.graph, 8).state.windows, 6 * 4);
    }
}
