//! `classify_scans`: the class of every scan of a split graph.
//!
//! Chunk, element-wise, sequential are tried in this order, fastest first. The obstacle to a class is kept as the
//! reason, which `archc check --verbose` prints.

use super::algebra::{Algebra, what};
use super::form::{Decay, Form};
use super::join::join_parts;
use super::normal::{Unfit, normalize};
use super::rotation::normalize_turned;
use crate::checks::{Flow, Ranges};
use crate::graph::{BinaryOp, Graph, NodeId, Op, ReduceOp, Scan, UnaryOp};
use crate::source::Place;
use std::collections::BTreeMap;

/// Execution class of a scan's recurrence, by its algebra.
#[derive(Clone, Debug)]
pub enum ScanClass {
    /// Rank-one updates under a decay of at most 1: chunks of rows (arXiv 2312.06635, 2406.06484, 2412.06464).
    Chunk(Box<Form>),
    /// Every element of the state independent of the others, or coupled only with the elements at the same index of the scan's other
    /// states.
    Elementwise(Elementwise),
    /// Token by token.
    Sequential(Reason),
}

/// Algebra of an element-wise recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elementwise {
    /// h <- h + b, with the body node of b. Over whole sequences it is summed in f64, so that differences of sums keep their digits; not
    /// token by token.
    Sum(NodeId),
    /// h <- a h + b: two of these steps compose to one, so that they can be grouped freely (Blelloch 1990; arXiv 1709.04057).
    Affine,
    /// h <- max(h + a, b): affine over max and plus.
    MaxPlus,
    /// h <- log(exp(h + a) + exp(b)): affine in exp(h), kept as its logarithm (arXiv 2105.14103).
    LogSumExp,
    /// Several states, affine in each other element by element: small blocks, as for complex numbers that are read whole (arXiv
    /// 2303.06349).
    Blocks(usize),
}

/// Reason why a scan must run token by token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The update is not affine in the state.
    Nonlinear(String),
    /// States depend on each other beyond elements at the same index.
    Coupled(String),
    /// The decay's size may be above 1, and products of it overflow.
    Growing(String),
    /// The decay of each channel may be near 0 or change sign, where the gradient would lose its digits through the logarithm.
    NearZero(String),
    /// The update has no chunk form for another reason.
    Shape(String),
}

impl Reason {
    /// Description in a sentence.
    pub fn why(&self) -> String {
        match self {
            Self::Nonlinear(what) => what.clone(),
            Self::Coupled(what) => what.clone(),
            Self::Growing(range) => format!("its decay lies in {range} and may be larger than 1 in size"),
            Self::NearZero(range) => {
                format!("its decay lies in {range}: near 0 its logarithm would cost the gradient's digits")
            }
            Self::Shape(what) => what.clone(),
        }
    }
}

impl ScanClass {
    /// Name of the class: chunk, elementwise or sequential.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Chunk(_) => "chunk",
            Self::Elementwise(_) => "elementwise",
            Self::Sequential(_) => "sequential",
        }
    }
}

/// A scan with its class.
#[derive(Clone, Debug)]
pub struct Part {
    /// Names of its states.
    pub states: Vec<String>,
    /// Its class.
    pub class: ScanClass,
    /// Reason for the class, in a sentence.
    pub why: String,
    /// Place where its update was written.
    pub place: Place,
}

/// Classes of all scans of a graph.
#[derive(Clone, Debug, Default)]
pub struct Classes {
    /// Parts by the scan's node.
    pub parts: BTreeMap<NodeId, Part>,
    /// Chunked scans that run in one loop, in order; scans that run alone are not listed.
    pub loops: Vec<Vec<NodeId>>,
}

impl Classes {
    /// Scans of the loop in which a chunked scan runs, itself included.
    pub fn together(&self, id: NodeId) -> Vec<NodeId> {
        self.loops.iter().find(|l| l.contains(&id)).cloned().unwrap_or_else(|| vec![id])
    }
}

/// Classifies every scan of a split graph.
pub fn classify_scans(graph: &Graph) -> Classes {
    let mut classes = Classes::default();
    let scans: Vec<NodeId> = graph.dag.ids().filter(|id| matches!(graph.dag.op(*id), Op::Scan(_))).collect();
    if scans.is_empty() {
        return classes;
    }
    let flow = Flow::new(graph);
    let ranges = Ranges::new(&flow);
    let mut first = BTreeMap::new();
    for id in graph.dag.ids() {
        first.entry(ranges.value_number(ranges.vertex_of(id))).or_insert(id);
    }
    for id in scans {
        if let Op::Scan(scan) = graph.dag.op(id) {
            crate::work::at(graph.dag.node(id).place);
            let algebra = Algebra::new(graph, id, scan);
            let (class, why) = class_of(&algebra, &ranges, id, scan, &first);
            let place = scan.next.first().map_or(graph.dag.node(id).place, |n| scan.body.node(*n).place);
            let states = scan.states.iter().map(|s| s.name.clone()).collect();
            classes.parts.insert(id, Part { states, class, why, place });
        }
    }
    join_parts(graph, &mut classes);
    classes
}

fn class_of(
    algebra: &Algebra,
    ranges: &Ranges,
    id: NodeId,
    scan: &Scan,
    first: &BTreeMap<usize, NodeId>,
) -> (ScanClass, String) {
    if scan.states.len() > 1 {
        let mut unfit = None;
        if scan.states.len() == 2
            && let Some(turned) = normalize_turned(algebra, ranges, id, scan, first)
        {
            match turned {
                Ok(form) => {
                    let why = chunk_why(&form);
                    return (ScanClass::Chunk(Box::new(form)), why);
                }
                Err(why) => unfit = no_rotation(why),
            }
        }
        return match affine(algebra) {
            Ok(()) => {
                let n = scan.states.len();
                let unfit = unfit.map(|why| format!("; they turn, but no chunk: {why}")).unwrap_or_default();
                let why = format!("its {n} states are affine in each other, number by number{unfit}");
                (ScanClass::Elementwise(Elementwise::Blocks(n)), why)
            }
            Err(obstacle) => {
                let names: Vec<&str> = scan.states.iter().map(|s| s.name.as_str()).collect();
                let why = format!("{} depend on each other: {obstacle}", names.join(" and "));
                sequential(Reason::Coupled(why))
            }
        };
    }
    let unfit = match normalize(algebra, ranges, id, scan, first) {
        Ok(form) => {
            let why = chunk_why(&form);
            return (ScanClass::Chunk(Box::new(form)), why);
        }
        Err(unfit) => unfit,
    };
    if let Some(kind) = tropical(algebra) {
        let why = match kind {
            Elementwise::MaxPlus => "a running maximum, number by number",
            _ => "a running logarithm of a sum, number by number",
        };
        return (ScanClass::Elementwise(kind), why.into());
    }
    if let Some(term) = running_sum(algebra) {
        return (ScanClass::Elementwise(Elementwise::Sum(term)), "a running sum, number by number".into());
    }
    if affine(algebra).is_ok() {
        let why = match &unfit {
            Unfit::NoRead => "affine, number by number, and read as it is".into(),
            Unfit::FullWrite => "affine, number by number: what is written has key and value axes in one factor".into(),
            Unfit::FullDecay => "affine, number by number: its decay has key and value axes".into(),
            Unfit::Grows(range) => {
                format!("affine, number by number; its decay lies in {range}, too large for a chunk")
            }
            Unfit::NearZero(range) => {
                format!("affine, number by number; its decay lies in {range}, too near 0 for a logarithm")
            }
            Unfit::Other(why) | Unfit::Affine(why) => format!("affine, number by number; no chunk: {why}"),
        };
        return (ScanClass::Elementwise(Elementwise::Affine), why);
    }
    sequential(match unfit {
        Unfit::Affine(why) => Reason::Nonlinear(why),
        Unfit::NoRead => Reason::Shape("it is given out whole".into()),
        Unfit::FullWrite => {
            Reason::Shape("what is written has key and value axes in one factor, under a transition".into())
        }
        Unfit::FullDecay => Reason::Shape("its decay has key and value axes, under a transition".into()),
        Unfit::Grows(range) => Reason::Growing(range),
        Unfit::NearZero(range) => Reason::NearZero(range),
        Unfit::Other(why) => Reason::Shape(why),
    })
}

fn sequential(reason: Reason) -> (ScanClass, String) {
    let why = reason.why();
    (ScanClass::Sequential(reason), why)
}

/// Reason why states that rotate into each other have no chunk form, if there is more to say than that they are read whole.
fn no_rotation(unfit: Unfit) -> Option<String> {
    match unfit {
        Unfit::NoRead => None,
        Unfit::FullWrite => Some("what is written has key and value axes in one factor".into()),
        Unfit::FullDecay => Some("their decay has key and value axes".into()),
        Unfit::Grows(range) => Some(format!("their decay lies in {range}")),
        Unfit::NearZero(range) => Some(format!("their decay lies in {range}, too near 0 for a logarithm")),
        Unfit::Other(why) | Unfit::Affine(why) => Some(why),
    }
}

fn chunk_why(form: &Form) -> String {
    let deltas = form.events.iter().filter(|e| e.delta.is_some()).count();
    let writes = form.events.len() - deltas;
    let sign = if form.negative { "negative " } else { "" };
    let decay = match form.decay {
        Decay::None => "no decay".into(),
        Decay::Scalar(_) => format!("a {sign}decay a head"),
        Decay::Product(_) => "a decay a head that may be near 0 or change sign, built by products".into(),
        Decay::Key(_) => format!("a {sign}decay for each key channel"),
        Decay::Value(_) => format!("a {sign}decay for each value channel"),
    };
    let count = |n: usize, one: &str, many: &str| match n {
        0 => None,
        1 => Some(format!("one {one}")),
        n => Some(format!("{n} {many}")),
    };
    let parts: Vec<String> =
        [count(deltas, "delta step", "delta steps"), count(writes, "write", "writes")].into_iter().flatten().collect();
    let parts = if parts.is_empty() { "no write".into() } else { parts.join(" and ") };
    let turned = match &form.rotation {
        None => "",
        Some(r) if form.dag.ty(r.angle).axes.iter().any(|a| form.keys.contains(a)) => {
            ", turned by an angle for each key channel"
        }
        Some(_) => ", turned by an angle a head",
    };
    format!("{parts} of rank one under {decay}{turned}")
}

/// Whether the states are affine in each other element by element.
fn affine(algebra: &Algebra) -> Result<(), String> {
    let body = algebra.body();
    let states: Vec<usize> = (0..algebra.scan.states.len()).collect();
    let on = algebra.dependent(&states);
    let dependent = |id: NodeId| on[id.0 as usize];
    let reached = body.reachable(&algebra.scan.next);
    for id in body.ids().filter(|id| reached[id.0 as usize] && dependent(*id)) {
        let operands = body.operands(id);
        let fine = match body.op(id) {
            Op::State(_) | Op::Binary(BinaryOp::Add | BinaryOp::Sub) | Op::Unary(UnaryOp::Neg) | Op::Expand(_) => true,
            Op::Binary(BinaryOp::Mul) => !(dependent(operands[0]) && dependent(operands[1])),
            Op::Binary(BinaryOp::Div) => !dependent(operands[1]),
            Op::Select => !dependent(operands[0]),
            _ => false,
        };
        if !fine {
            return Err(match body.op(id) {
                Op::Reduce(ReduceOp::Sum | ReduceOp::Mean, _) | Op::Contract(_) => {
                    "one reads the other over axes".into()
                }
                Op::Binary(BinaryOp::Mul) => "the update multiplies two values that depend on them".into(),
                op => format!("the update takes {} of them", what(op)),
            });
        }
    }
    Ok(())
}

/// The summand at each token, if the state is a plain sum that is read unchanged.
fn running_sum(algebra: &Algebra) -> Option<NodeId> {
    let body = algebra.body();
    let on = algebra.dependent(&[0]);
    let next = algebra.scan.next[0];
    let state = |id: NodeId| matches!(body.op(id), Op::State(_));
    let read = |(_, emit): &(String, NodeId)| *emit == next || state(*emit);
    let Op::Binary(BinaryOp::Add) = body.op(next) else { return None };
    let operands = body.operands(next);
    let (sum, term) = if state(operands[0]) { (operands[0], operands[1]) } else { (operands[1], operands[0]) };
    (state(sum) && !on[term.0 as usize] && algebra.scan.emits.iter().all(read)).then_some(term)
}

/// Recognizes running maxima and logarithms of sums.
fn tropical(algebra: &Algebra) -> Option<Elementwise> {
    let body = algebra.body();
    let on = algebra.dependent(&[0]);
    let free = |id: NodeId| !on[id.0 as usize];
    // h, or h plus a state-free value
    let shifted = |id: NodeId| {
        let mut id = id;
        loop {
            let operands = body.operands(id);
            match body.op(id) {
                Op::State(_) => return true,
                Op::Binary(BinaryOp::Add) if free(operands[0]) => id = operands[1],
                Op::Binary(BinaryOp::Add | BinaryOp::Sub) if free(operands[1]) => id = operands[0],
                Op::Expand(_) => id = operands[0],
                _ => return false,
            }
        }
    };
    let next = algebra.scan.next[0];
    let operands = body.operands(next);
    let pair = |a: NodeId, b: NodeId| free(a) && shifted(b) || free(b) && shifted(a);
    match body.op(next) {
        Op::Binary(BinaryOp::Max | BinaryOp::Min) => pair(operands[0], operands[1]).then_some(Elementwise::MaxPlus),
        Op::Unary(UnaryOp::Log) => {
            let sum = operands[0];
            let parts = body.operands(sum);
            if !matches!(body.op(sum), Op::Binary(BinaryOp::Add)) {
                return None;
            }
            let exponent = |id: NodeId| matches!(body.op(id), Op::Unary(UnaryOp::Exp)).then(|| body.operands(id)[0]);
            let one = |own: NodeId, other: NodeId| free(other) && !free(own) && exponent(own).is_some_and(shifted);
            (one(parts[0], parts[1]) || one(parts[1], parts[0])).then_some(Elementwise::LogSumExp)
        }
        Op::Reduce(ReduceOp::LogSumExp, axes) => {
            let stack = operands[0];
            let parts = body.operands(stack);
            match (body.op(stack), parts) {
                (Op::Stack(axis), [a, b]) if axes.as_slice() == [*axis] => {
                    pair(*a, *b).then_some(Elementwise::LogSumExp)
                }
                _ => None,
            }
        }
        _ => None,
    }
}
