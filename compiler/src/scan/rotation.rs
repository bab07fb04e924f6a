//! Two states that a token rotates into each other, as one state of complex numbers.
//!
//! The update (re, im) <- (a (cos(w) re - sin(w) im) + .., a (sin(w) re + cos(w) im) + ..) multiplies re + i im by a exp(i w) and adds to
//! it: retention with xPos (arXiv 2307.08621), complex linear attention, a rotary state with data-dependent angles. The two
//! parts become a key axis of two, along which keys and queries are complex vectors, and the rest is the recurrence of one state
//! that decays by a: a [`Form`] with a rotation, which [`super::turned`] folds into keys and queries.
//!
//! The analysis extracts the four factors between the two states. They must be one magnitude times the cosine and the sine of one angle,
//! whose
//! sines have opposite signs; the signs determine the direction of rotation. Constants, (0.6 re - 0.8 im, 0.8 re + 0.6 im), are a rotation
//! too.

use super::algebra::{Algebra, Factor, Part, Product, Ref, Term};
use super::form::Form;
use super::normal::{Normalizer, Reading, Step, Unfit, key_axes};
use super::operands::Operands;
use crate::checks::Ranges;
use crate::graph::{Axis, AxisId, BinaryOp, Graph, NodeId, Op, Scan, State, UnaryOp};
use std::collections::{BTreeMap, BTreeSet};

/// Name of the axis of the two parts, which no axis of a program can have.
const PART: &str = "re|im";

/// Maximum depth to which a product is split.
const DEPTH: usize = 12;

/// Whether an axis is that of the two parts: forms stack values along it.
pub(crate) fn is_part_axis(axis: &Axis) -> bool {
    axis.name == PART
}

/// The axis of the two parts, if the graph has it.
fn part_axis(graph: &Graph) -> Option<AxisId> {
    graph.axes.iter().position(is_part_axis).map(|i| AxisId(i as u32))
}

/// Adds the axis of the two parts to a graph.
pub(super) fn add_part_axis(graph: &mut Graph) {
    if part_axis(graph).is_none() {
        graph.axes.push(Axis { name: PART.into(), size: 2, labels: None });
    }
}

/// Rotation of two states into each other.
pub(super) struct Turn {
    /// Magnitude of both.
    magnitude: Product,
    /// The angle.
    angle: Product,
    /// Terms added to each state.
    writes: [Vec<Product>; 2],
}

/// A product without its cosines and sines.
struct Apart {
    rest: Product,
    /// The removed factors: whether each is a sine, and its angle.
    turns: Vec<(bool, Ref)>,
}

fn apart(algebra: &Algebra, product: &Product) -> Apart {
    let mut found = Apart { rest: Product::number(product.c), turns: Vec::new() };
    for factor in &product.factors {
        match factor {
            Factor::Plain(r) => take_apart(algebra, *r, &mut found, DEPTH),
            other => found.rest.factors.push(other.clone()),
        }
    }
    found
}

fn take_apart(algebra: &Algebra, r: Ref, into: &mut Apart, depth: usize) {
    if let Some(c) = algebra.number(r) {
        into.rest.c *= c;
        return;
    }
    if !turns(algebra, r, depth) {
        into.rest.factors.push(Factor::Plain(r));
        return;
    }
    let operands = algebra.operands(r);
    match &algebra.node(r).op {
        Op::Unary(UnaryOp::Neg) => {
            into.rest.c = -into.rest.c;
            take_apart(algebra, operands[0], into, depth - 1);
        }
        Op::Unary(f) => {
            let sine = *f == UnaryOp::Sin;
            let mut angle = operands[0];
            loop {
                match &algebra.node(angle).op {
                    Op::Unary(UnaryOp::Neg) if sine => into.rest.c = -into.rest.c,
                    Op::Unary(UnaryOp::Neg) | Op::Expand(_) => {}
                    _ => break,
                }
                angle = algebra.operands(angle)[0];
            }
            into.turns.push((sine, angle));
        }
        Op::Binary(BinaryOp::Div) => {
            take_apart(algebra, operands[0], into, depth - 1);
            into.rest.factors.push(Factor::Recip(operands[1]));
        }
        _ => operands.into_iter().for_each(|o| take_apart(algebra, o, into, depth - 1)),
    }
}

/// Whether a value is a product with a cosine or a sine among its factors.
fn turns(algebra: &Algebra, r: Ref, depth: usize) -> bool {
    if depth == 0 {
        return false;
    }
    let operands = algebra.operands(r);
    let operand = |i: usize| turns(algebra, operands[i], depth - 1);
    match &algebra.node(r).op {
        Op::Unary(UnaryOp::Cos | UnaryOp::Sin) => true,
        Op::Unary(UnaryOp::Neg) | Op::Expand(_) | Op::Binary(BinaryOp::Div) => operand(0),
        Op::Binary(BinaryOp::Mul) => operand(0) || operand(1),
        _ => false,
    }
}

/// Smallest factors of a product under their canonical names: equal factors denote equal values, whatever their order.
fn smallest(algebra: &Algebra, product: &Product, same: &dyn Fn(Ref) -> Ref) -> Product {
    fn walk(algebra: &Algebra, r: Ref, same: &dyn Fn(Ref) -> Ref, into: &mut Product, depth: usize) {
        if let Some(c) = algebra.number(r) {
            into.c *= c;
            return;
        }
        let operands = algebra.operands(r);
        match &algebra.node(r).op {
            _ if depth == 0 => into.factors.push(Factor::Plain(same(r))),
            Op::Unary(UnaryOp::Neg) => {
                into.c = -into.c;
                walk(algebra, operands[0], same, into, depth - 1);
            }
            Op::Expand(_) => walk(algebra, operands[0], same, into, depth - 1),
            Op::Binary(BinaryOp::Mul) => {
                operands.into_iter().for_each(|o| walk(algebra, o, same, into, depth - 1));
            }
            _ => into.factors.push(Factor::Plain(same(r))),
        }
    }
    let mut all = Product::number(product.c);
    for factor in &product.factors {
        match factor {
            Factor::Plain(r) => walk(algebra, *r, same, &mut all, DEPTH),
            Factor::Recip(r) => match algebra.number(*r) {
                Some(c) => all.c /= c,
                None => all.factors.push(Factor::Recip(same(*r))),
            },
            Factor::Is(r) => all.factors.push(Factor::Is(same(*r))),
            Factor::Not(r) => all.factors.push(Factor::Not(same(*r))),
            other => all.factors.push(other.clone()),
        }
    }
    all
}

/// Factors of the first list only, of the second only, and of both.
fn differences(a: &[Factor], b: &[Factor]) -> (Vec<Factor>, Vec<Factor>, Vec<Factor>) {
    let (mut left, mut right, mut both) = (Vec::new(), b.to_vec(), Vec::new());
    for factor in a {
        match right.iter().position(|f| f == factor) {
            Some(i) => both.push(right.remove(i)),
            None => left.push(factor.clone()),
        }
    }
    (left, right, both)
}

/// The nodes of two states in a scan's body.
pub(super) fn state_nodes(algebra: &Algebra, states: [usize; 2]) -> Option<[NodeId; 2]> {
    let body = algebra.body();
    let find = |s: usize| body.ids().find(|id| matches!(body.op(*id), Op::State(i) if *i == s));
    Some([find(states[0])?, find(states[1])?])
}

/// Rotation of two states, if they have one; `same` returns the canonical name of a value.
pub(super) fn turn_of(algebra: &Algebra, states: [usize; 2], on: &[bool], same: &dyn Fn(Ref) -> Ref) -> Option<Turn> {
    if algebra.scan.states[states[0]].axes != algebra.scan.states[states[1]].axes {
        return None;
    }
    let base = state_nodes(algebra, states)?;
    let free = |node: NodeId| !on[node.0 as usize];
    let mut writes = [Vec::new(), Vec::new()];
    // for each next value, the factors on both states
    let mut keeps = Vec::new();
    for (i, state) in states.into_iter().enumerate() {
        let terms = algebra.expand_over(algebra.scan.next[state], &base, &free).ok()?;
        let mut row: [Option<Product>; 2] = [None, None];
        for Term { by, part, of } in terms {
            match part {
                Part::Whole if row[of].is_none() => row[of] = Some(by),
                Part::Nothing if by.c == 0.0 => {}
                Part::Nothing => writes[i].push(by),
                Part::Whole | Part::Read(..) => return None,
            }
        }
        let [first, second] = row;
        keeps.extend([apart(algebra, &first?), apart(algebra, &second?)]);
    }
    let [re_re, re_im, im_re, im_im] = <[Apart; 4]>::try_from(keeps).ok()?;
    let own = smallest(algebra, &re_re.rest, same);
    for other in [&re_im, &im_re, &im_im] {
        let other = smallest(algebra, &other.rest, same);
        let (left, right, _) = differences(&own.factors, &other.factors);
        if !left.is_empty() || !right.is_empty() {
            return None;
        }
    }
    let c = [&re_re, &re_im, &im_re, &im_im].map(|a| smallest(algebra, &a.rest, same).c);
    if c[0] != c[3] || c[1] != -c[2] || c.contains(&0.0) {
        return None;
    }
    let turns = [&re_re, &re_im, &im_re, &im_im].map(|a| a.turns.as_slice());
    let (size, angle) = match turns {
        [[], [], [], []] => {
            let size = c[0].hypot(c[2]);
            // 0.8 and 0.6 are no decay, whatever their rounding
            let size = if (size - 1.0).abs() < 1e-12 { 1.0 } else { size };
            (size, Product { c: c[2].atan2(c[0]), factors: Vec::new() })
        }
        [[(false, w)], [(true, x)], [(true, y)], [(false, z)]] => {
            if c[0].abs() != c[2].abs() || [x, y, z].iter().any(|o| same(**o) != same(*w)) {
                return None;
            }
            let way = if c[0] == c[2] { 1.0 } else { -1.0 };
            (c[0], Product { c: way, factors: vec![Factor::Plain(same(*w))] })
        }
        _ => return None,
    };
    // the factors as written, whose logarithms are known best; their constants are in the size
    let written = smallest(algebra, &Product { c: 1.0, factors: re_re.rest.factors.clone() }, same).c;
    let magnitude = Product { c: size / written, factors: re_re.rest.factors };
    Some(Turn { magnitude, angle, writes })
}

/// A read of two versions of one time: the summed axes, and the query of each, 0 if it is not read.
pub(super) fn read_of(
    algebra: &Algebra,
    node: NodeId,
    versions: &[NodeId; 2],
    on: &[bool],
) -> Option<(Vec<AxisId>, [Product; 2])> {
    let terms = algebra.expand_over(node, versions, &|n| !on[n.0 as usize]).ok()?;
    let mut axes: Option<Vec<AxisId>> = None;
    let mut queries: [Option<Product>; 2] = [None, None];
    for Term { by, part, of } in terms {
        let Part::Read(mut over, mut query) = part else { return None };
        over.sort_unstable();
        // a factor in front of the sum may move to the query, unless it would add a value axis to it
        let own = algebra.product_axes(&query);
        let fits = algebra.product_axes(&by).iter().all(|a| own.contains(a));
        if !fits || queries[of].is_some() || axes.as_ref().is_some_and(|a| *a != over) {
            return None;
        }
        axes = Some(over);
        query = query.and(&by);
        queries[of] = Some(query);
    }
    Some((axes?, queries.map(|q| q.unwrap_or(Product::number(0.0)))))
}

/// Form of two states that rotate into each other; none if they do not.
pub(super) fn normalize_turned(
    algebra: &Algebra,
    ranges: &Ranges,
    id: NodeId,
    scan: &Scan,
    first: &BTreeMap<usize, NodeId>,
) -> Option<Result<Form, Unfit>> {
    let operands = Operands::new(algebra, ranges, id, first);
    let on = algebra.dependent(&[0, 1]);
    let turn = turn_of(algebra, [0, 1], &on, &|r| operands.canonical(r))?;
    let part = part_axis(algebra.graph)?;
    let versions = [state_nodes(algebra, [0, 1])?, [scan.next[0], scan.next[1]]];
    Some(form_of(algebra, operands, id, scan, turn, part, &versions, &on))
}

#[allow(clippy::too_many_arguments)] // what was found so far
fn form_of(
    algebra: &Algebra,
    operands: Operands,
    id: NodeId,
    scan: &Scan,
    turn: Turn,
    part: AxisId,
    versions: &[[NodeId; 2]; 2],
    on: &[bool],
) -> Result<Form, Unfit> {
    let mut readings = Vec::new();
    for (name, emit) in &scan.emits {
        if versions.iter().flatten().any(|v| v == emit) || matches!(scan.body.op(*emit), Op::State(_)) {
            return Err(Unfit::NoRead);
        }
        let found = [1, 0].into_iter().find_map(|v| Some((v, read_of(algebra, *emit, &versions[v], on)?)));
        let Some((version, (over, queries))) = found else {
            return Err(Unfit::Other(format!("`{name}` is not a read of one moment")));
        };
        let query = Product { c: 1.0, factors: vec![Factor::Parts(part, queries.to_vec())] };
        readings.push(Reading { version, over, query });
    }
    let mut keys = key_axes(&[], &readings)?;
    if readings.iter().any(|r| keys.iter().any(|k| !r.over.contains(k))) {
        return Err(Unfit::Other("it is read over keys and over values".into()));
    }
    let writes = joined(algebra, &operands, part, &keys, &readings, &turn);
    keys.insert(0, part);
    readings.iter_mut().for_each(|r| r.over.push(part));
    let steps = vec![Step { keeps: vec![turn.magnitude], deltas: Vec::new(), writes }];
    let [re, im] = [&scan.states[0], &scan.states[1]];
    let mut axes = re.axes.clone();
    axes.push(part);
    axes.sort_unstable();
    let state = State { name: format!("{}, {}", re.name, im.name), axes, number: re.number };
    Normalizer { operands, algebra, steps, readings, keys, turned: Some((turn.angle, part)) }.form(state, id)
}

/// Written values with complex keys: writes of one value into both parts are one.
fn joined(
    algebra: &Algebra,
    operands: &Operands,
    part: AxisId,
    keys: &[AxisId],
    readings: &[Reading],
    turn: &Turn,
) -> Vec<Product> {
    let has_key = |f: &Factor| algebra.factor_axes(f).iter().any(|a| keys.contains(a));
    let split = |write: &Product| -> (Product, Vec<Factor>) {
        let (own, rest): (Vec<Factor>, Vec<Factor>) =
            write.factors.iter().map(|f| operands.canonical_factor(f)).partition(has_key);
        (Product { c: write.c, factors: own }, rest)
    };
    let [re, im] = &turn.writes;
    let (re, mut im): (Vec<_>, Vec<_>) = (re.iter().map(split).collect(), im.iter().map(split).collect());
    // axes of heads, along which a key may differ
    let mut heads: BTreeSet<AxisId> = keys.iter().copied().collect();
    heads.extend(readings.iter().flat_map(|r| algebra.product_axes(&r.query)));
    heads.extend(re.iter().chain(&im).flat_map(|(key, _)| algebra.product_axes(key)));
    let fits = |left: &[Factor]| left.iter().all(|f| algebra.factor_axes(f).iter().all(|a| heads.contains(a)));
    let write = |first: Product, second: Product, rest: Vec<Factor>| {
        let mut factors = vec![Factor::Parts(part, vec![first, second])];
        factors.extend(rest);
        Product { c: 1.0, factors }
    };
    let with = |key: Product, left: Vec<Factor>| key.and(&Product { c: 1.0, factors: left });
    let mut writes = Vec::new();
    for (key, rest) in re {
        let partner = im.iter().position(|(_, other)| {
            let (left, right, both) = differences(&rest, other);
            fits(&left) && fits(&right) && (!both.is_empty() || rest == *other)
        });
        writes.push(match partner {
            Some(i) => {
                let (second, other) = im.remove(i);
                let (left, right, both) = differences(&rest, &other);
                write(with(key, left), with(second, right), both)
            }
            None => write(key, Product::number(0.0), rest),
        });
    }
    writes.extend(im.into_iter().map(|(key, rest)| write(Product::number(0.0), key, rest)));
    writes
}
