//! Normalization of a scan with one state, or two that rotate into each other (`rotation`), to its [`Form`], or to the reason why it has
//! none.
//!
//! The state's versions delimit steps; each step is multiplied out into a factor on the state (a decay), values written back through
//! a read (a delta), and written values. Axes follow from their use: those that a transition's read contracts, or else a read's, are
//! K; axes of the state that keys, queries or decays have beyond K are heads, over which everything is mapped; the others are V.
//! Decays in the middle of a token move to its beginning: a key written before one is multiplied by it.

use super::algebra::{Algebra, Factor, Obstacle, Part, Product, Ref, Term};
use super::drafts::Draft;
use super::form::{Decay, Delta, Event, Form, Read, Rotation, Scaled, Seen, Side, Sight};
use super::operands::Operands;
use crate::checks::Ranges;
use crate::graph::{AxisId, BinaryOp, NodeId, Op, Scan, State};
use std::collections::BTreeMap;

/// Reason why a recurrence does not run in chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// The update is not affine in the state.
    Affine(String),
    /// Nothing contracts the state: no axis is K.
    NoRead,
    /// A factor of a write has both key and value axes.
    FullWrite,
    /// The decay has both key and value axes.
    FullDecay,
    /// The decay's size may be above 1.
    Grows(String),
    /// The decay of each channel may be near 0 or change sign, and has no logarithm by rule.
    NearZero(String),
    /// Another reason.
    Other(String),
}

impl From<Obstacle> for Unfit {
    fn from(o: Obstacle) -> Self {
        Self::Affine(o.0)
    }
}

/// One step of the token, multiplied out.
pub(super) struct Step {
    pub keeps: Vec<Product>,
    pub deltas: Vec<(Product, Vec<AxisId>, Product)>,
    pub writes: Vec<Product>,
}

impl Step {
    fn of(terms: Vec<Term>) -> Self {
        let mut step = Self { keeps: Vec::new(), deltas: Vec::new(), writes: Vec::new() };
        for term in terms {
            match term.part {
                Part::Whole => step.keeps.push(term.by),
                Part::Read(over, key) => step.deltas.push((term.by, over, key)),
                Part::Nothing if term.by.c == 0.0 => {}
                Part::Nothing => step.writes.push(term.by),
            }
        }
        step
    }

    fn decays(&self) -> bool {
        !matches!(self.keeps.as_slice(), [one] if one.is_one())
    }
}

/// An emit as a read.
pub(super) struct Reading {
    pub version: usize,
    pub over: Vec<AxisId>,
    pub query: Product,
}

/// Parts of the update, before it has a form.
pub(super) struct Normalizer<'a> {
    pub operands: Operands<'a>,
    pub algebra: &'a Algebra<'a>,
    pub steps: Vec<Step>,
    pub readings: Vec<Reading>,
    pub keys: Vec<AxisId>,
    /// Angle by which every step rotates the state, and the axis of its two parts.
    pub turned: Option<(Product, AxisId)>,
}

/// Form of a scan's recurrence.
pub(super) fn normalize(
    algebra: &Algebra,
    ranges: &Ranges,
    id: NodeId,
    scan: &Scan,
    first: &BTreeMap<usize, NodeId>,
) -> Result<Form, Unfit> {
    let on = algebra.dependent(&[0]);
    let versions = algebra.versions(0, &on);
    if !matches!(scan.body.op(versions[0]), Op::State(_)) {
        return Err(Unfit::Other("its next value does not depend on it".into()));
    }
    let free = |node: NodeId| !on[node.0 as usize];
    let steps = versions
        .windows(2)
        .map(|pair| Ok(Step::of(algebra.expand(pair[1], pair[0], &free)?)))
        .collect::<Result<Vec<Step>, Obstacle>>()?;
    let read = algebra.versions_read(&versions, &on);
    let mut readings = Vec::new();
    for (name, emit) in &scan.emits {
        let unreadable = || Unfit::Other(format!("`{name}` is not a read of it"));
        if versions.contains(emit) || matches!(scan.body.op(*emit), Op::State(_)) {
            return Err(Unfit::NoRead);
        }
        let version = read[emit.0 as usize].ok_or_else(unreadable)?;
        match algebra.expand(*emit, versions[version], &free).map_err(|_| unreadable())?.as_slice() {
            [Term { by, part: Part::Read(over, query), .. }] if by.factors.is_empty() => {
                let mut query = query.clone();
                query.c *= by.c;
                readings.push(Reading { version, over: over.clone(), query });
            }
            _ => return Err(unreadable()),
        }
    }
    let keys = key_axes(&steps, &readings)?;
    let operands = Operands::new(algebra, ranges, id, first);
    let state = scan.states[0].clone();
    Normalizer { operands, algebra, steps, readings, keys, turned: None }.form(state, id)
}

/// Key axes: those that transitions contract, else those that reads contract.
pub(super) fn key_axes(steps: &[Step], readings: &[Reading]) -> Result<Vec<AxisId>, Unfit> {
    let sorted = |axes: &[AxisId]| {
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        axes
    };
    let mut by_delta: Vec<Vec<AxisId>> = steps.iter().flat_map(|s| &s.deltas).map(|d| sorted(&d.1)).collect();
    by_delta.dedup();
    match by_delta.as_slice() {
        [] => {}
        [one] => return Ok(one.clone()),
        _ => return Err(Unfit::Other("its update reads it over keys and over values".into())),
    }
    let mut keys = sorted(&readings.first().ok_or(Unfit::NoRead)?.over);
    for reading in &readings[1..] {
        let common: Vec<AxisId> = keys.iter().copied().filter(|a| reading.over.contains(a)).collect();
        if !common.is_empty() {
            keys = common;
        }
    }
    Ok(keys)
}

impl Normalizer<'_> {
    pub(super) fn has_key(&self, factor: &Factor) -> bool {
        self.algebra.factor_axes(factor).iter().any(|a| self.keys.contains(a))
    }

    /// Form of a state, of which the scan has one or two.
    pub(super) fn form(mut self, state: State, id: NodeId) -> Result<Form, Unfit> {
        let rest: Vec<AxisId> = state.axes.iter().copied().filter(|a| !self.keys.contains(a)).collect();
        // a rotation happens together with a decay, and a read is before both or after both
        let turned = self.turned.is_some();
        let decays: Vec<usize> = (0..self.steps.len()).filter(|s| turned || self.steps[*s].decays()).collect();

        // heads: axes that queries, read keys and decays have, and those that a read over values leaves
        let decay_axes = self.decay_axes();
        let mut carried: Vec<AxisId> = Vec::new();
        for reading in &self.readings {
            if reading.over.iter().any(|a| self.keys.contains(a)) {
                carried.extend(self.algebra.product_axes(&reading.query));
            } else {
                carried.extend(rest.iter().filter(|a| !reading.over.contains(a)));
            }
        }
        for step in &self.steps {
            for (by, _, key) in &step.deltas {
                carried.extend(self.algebra.product_axes(key));
                carried.extend(self.algebra.product_axes(by));
            }
        }
        if let Some((angle, _)) = &self.turned {
            let open: Vec<AxisId> = rest.iter().copied().filter(|a| !carried.contains(a)).collect();
            let axes = self.algebra.product_axes(angle);
            if !open.is_empty() && open.iter().all(|a| axes.contains(a)) {
                return Err(Unfit::Other("each value column turns by an angle of its own".into()));
            }
            carried.extend(axes);
        }
        let open: Vec<AxisId> = rest.iter().copied().filter(|a| !carried.contains(a)).collect();
        let full = !open.is_empty() && open.iter().all(|a| decay_axes.contains(a));
        let by_key = decay_axes.iter().any(|a| self.keys.contains(a));
        if full && by_key {
            return Err(Unfit::FullDecay);
        }
        if full && self.steps.iter().any(|s| !s.deltas.is_empty()) {
            return Err(Unfit::Other("each value column has a decay of its own under a transition".into()));
        }
        if !full {
            carried.extend(&decay_axes);
        }
        let open: Vec<AxisId> = rest.iter().copied().filter(|a| !carried.contains(a)).collect();
        for step in &self.steps {
            for write in &step.writes {
                let keys = write.factors.iter().filter(|f| self.has_key(f));
                carried.extend(keys.flat_map(|f| self.algebra.factor_axes(f)));
            }
        }
        let values: Vec<AxisId> = rest.iter().copied().filter(|a| !carried.contains(a)).collect();
        if values.is_empty() && !open.is_empty() {
            return Err(Unfit::FullWrite);
        }
        let heads: Vec<AxisId> = rest.iter().copied().filter(|a| !values.contains(a)).collect();

        let (decay, negative) = self.decay(&decays, &values)?;
        let of_each = match decay {
            Decay::Value(_) => Some("value"),
            Decay::Key(_) => Some("key"),
            _ => None,
        };
        if let Some(each) = of_each
            && self.readings.iter().any(|r| !r.over.iter().any(|a| self.keys.contains(a)))
        {
            return Err(Unfit::Other(format!("it is read over keys and over values under a decay of each {each}")));
        }

        let drafts = self.drafts(&decays);
        let events = self.events(&drafts, &decays, &values)?;
        let reads = self.reads(&drafts, &decays, &values)?;
        let inits = self.algebra.graph.dag.operands(id);
        let inits = &inits[..self.algebra.scan.states.len()];
        let from_zero = inits.iter().all(|init| self.algebra.number(Ref::Outer(*init)) == Some(0.0));
        let rotation = self.turned.take().map(|(angle, part)| {
            let angle = self.operands.product(&angle).unwrap_or_else(|| self.operands.number(1.0));
            Rotation { angle, part }
        });
        let keys = self.keys.clone();
        let Operands { dag, leaves, .. } = self.operands;
        Ok(Form {
            dag,
            leaves,
            state,
            heads,
            keys,
            values,
            decay,
            negative,
            rotation,
            events,
            reads,
            from_zero,
            beside: Vec::new(),
        })
    }

    /// Decay of a whole token, and whether it is negative, so that its logarithm is that of its size.
    fn decay(&mut self, decays: &[usize], values: &[AxisId]) -> Result<(Decay, bool), Unfit> {
        let (mut negative, mut log, mut near_zero) = (false, None, None);
        for s in decays.iter().filter(|s| self.steps[**s].decays()) {
            let keeps = self.steps[*s].keeps.clone();
            let interval = self.operands.sum_interval(&keeps);
            if !interval.within(-1.0 - 1e-12, 1.0 + 1e-12) {
                return Err(Unfit::Grows(format!("{interval}")));
            }
            match self.operands.log_of_sum(&keeps) {
                Some(found) => {
                    negative ^= found.negative;
                    log = Some(log.map_or(found.log, |l| self.operands.binary(BinaryOp::Add, l, found.log)));
                }
                None => near_zero = Some(interval),
            }
        }
        let axes = self.decay_axes();
        let (by_key, by_value) = (axes.iter().any(|a| self.keys.contains(a)), axes.iter().any(|a| values.contains(a)));
        let decay = match (near_zero, log) {
            // products of one number per pair; one per pair and channel would be as much work as the token loop
            (Some(interval), _) if by_key || by_value => return Err(Unfit::NearZero(format!("{interval}"))),
            (Some(_), _) => match self.decay_of(decays.iter().copied()) {
                Some(factor) => return Ok((Decay::Product(factor), false)),
                None => Decay::None,
            },
            (None, None) => Decay::None,
            (None, Some(g)) if by_key => Decay::Key(g),
            (None, Some(g)) if by_value => Decay::Value(g),
            (None, Some(g)) => Decay::Scalar(g),
        };
        Ok((decay, negative))
    }

    fn decay_axes(&self) -> Vec<AxisId> {
        let decays = self.steps.iter().filter(|s| s.decays());
        decays.flat_map(|s| &s.keeps).flat_map(|p| self.algebra.product_axes(p)).collect()
    }

    /// Whether the decay of a step has a key axis.
    pub(super) fn keyed(&self, step: usize) -> bool {
        self.steps[step].keeps.iter().any(|p| self.algebra.product_axes(p).iter().any(|a| self.keys.contains(a)))
    }

    /// The decays of these steps as one factor.
    fn decay_of(&mut self, steps: impl Iterator<Item = usize>) -> Option<NodeId> {
        let mut value: Option<NodeId> = None;
        for s in steps {
            let keeps = self.steps[s].keeps.clone();
            let x = self.operands.sum(&keeps);
            value = Some(value.map_or(x, |v| self.operands.binary(BinaryOp::Mul, v, x)));
        }
        value
    }

    fn times(&mut self, a: Option<NodeId>, b: Option<NodeId>) -> Option<NodeId> {
        match (a, b) {
            (Some(a), Some(b)) => Some(self.operands.binary(BinaryOp::Mul, a, b)),
            (a, b) => a.or(b),
        }
    }

    fn core(&mut self, core: &[Factor]) -> Option<NodeId> {
        self.operands.product(&Product { c: 1.0, factors: core.to_vec() })
    }

    fn key_node(&mut self, draft: &Draft) -> NodeId {
        match self.core(&draft.key.core) {
            Some(node) => node,
            None => self.operands.number(1.0),
        }
    }

    /// Whether a reader in the middle of the token sees the event of a step.
    pub(super) fn seen_midway(&self, step: usize, decays: &[usize]) -> bool {
        let midway = |version: usize| version > step && decays.iter().any(|s| *s >= version);
        let deltas = (0..self.steps.len()).filter(|s| !self.steps[*s].deltas.is_empty());
        deltas.chain(self.readings.iter().map(|r| r.version)).any(midway)
    }

    fn events(&mut self, drafts: &[Draft], decays: &[usize], values: &[AxisId]) -> Result<Vec<Event>, Unfit> {
        let mut events = Vec::new();
        for draft in drafts {
            let mut key = self.key_node(draft);
            // later decays scale the values that it writes: through its factors, or through its key if that is seen before or a decay has a
            // channel
            // axis; values written by the same key after one decay and before another are scaled by the later one
            let later: Vec<usize> = decays.iter().copied().filter(|s| *s > draft.step).collect();
            let in_key = later.iter().any(|s| self.keyed(*s)) || self.seen_midway(draft.step, decays);
            let last = draft.values.iter().map(|v| v.0).fold(draft.step, usize::max);
            let (of_numbers, of_key): (Vec<usize>, Vec<usize>) = later.into_iter().partition(|s| !in_key || *s <= last);
            if let Some(f) = self.decay_of(of_key.into_iter()) {
                key = self.operands.binary(BinaryOp::Mul, key, f);
            }
            let scale = self.decay_of(of_numbers.iter().copied());
            let delta = match &draft.delta {
                None => None,
                Some(read) => {
                    let core = self.core(&read.core);
                    let own = self.operands.product(&read.scale);
                    let own = self.times(own, scale);
                    let (sight, before) = self.sight(draft.step, core, drafts, decays);
                    // reads of the token itself are separate, and must not be scaled with the rest
                    let apart = sight.sees.iter().any(|s| matches!(s, Seen::Dot(_)));
                    let in_vector = apart || before.is_some_and(|n| self.with_key(n));
                    let (own, vector) =
                        if in_vector { (own, self.times(core, before)) } else { (self.times(own, before), core) };
                    Some(Delta { key: Scaled { scale: own, vector }, sight })
                }
            };
            let mut written = Vec::new();
            for (step, value) in &draft.values {
                let of_value = |axes: &[AxisId]| axes.iter().any(|a| values.contains(a));
                let (vector, factors): (Vec<Factor>, Vec<Factor>) =
                    value.factors.iter().cloned().partition(|f| of_value(&self.algebra.factor_axes(f)));
                let own = self.operands.product(&Product { c: value.c, factors });
                let vector = self.operands.product(&Product { c: 1.0, factors: vector });
                let passed = self.decay_of(of_numbers.iter().copied().filter(|s| s > step));
                written.push(match passed {
                    Some(f) if of_value(self.operands.axes(f)) => {
                        Scaled { scale: own, vector: self.times(vector, Some(f)) }
                    }
                    other => Scaled { scale: self.times(own, other), vector },
                });
            }
            events.push(Event { key, delta, values: written });
        }
        Ok(events)
    }

    fn with_key(&self, node: NodeId) -> bool {
        self.operands.axes(node).iter().any(|a| self.keys.contains(a))
    }

    /// Visibility for a reader of a version, and the factor on its vector.
    fn sight(
        &mut self,
        version: usize,
        vector: Option<NodeId>,
        drafts: &[Draft],
        decays: &[usize],
    ) -> (Sight, Option<NodeId>) {
        let before = decays.iter().any(|s| *s >= version);
        let mut sees = Vec::new();
        for draft in drafts {
            sees.push(if draft.step >= version {
                Seen::No
            } else if !before {
                Seen::Yes
            } else {
                let key = self.key_node(draft);
                let passed: Vec<usize> = decays.iter().copied().filter(|s| *s > draft.step && *s < version).collect();
                let passed = self.decay_of(passed.into_iter());
                let key = self.times(Some(key), passed);
                Seen::Dot(self.dot(vector, key))
            });
        }
        let passed: Vec<usize> = decays.iter().copied().filter(|s| before && *s < version).collect();
        (Sight { before, sees }, self.decay_of(passed.into_iter()))
    }

    /// Sum over K of a product.
    fn dot(&mut self, a: Option<NodeId>, b: Option<NodeId>) -> NodeId {
        let product = match self.times(a, b) {
            Some(product) => product,
            None => self.operands.number(1.0),
        };
        let keys = self.keys.clone();
        self.operands.summed(product, &keys)
    }

    fn reads(&mut self, drafts: &[Draft], decays: &[usize], values: &[AxisId]) -> Result<Vec<Read>, Unfit> {
        let mut reads = Vec::new();
        for i in 0..self.readings.len() {
            let (version, over, query) = {
                let r = &self.readings[i];
                (r.version, r.over.clone(), r.query.clone())
            };
            let query = self.operands.product(&query);
            let (sight, factor) = self.sight(version, query, drafts, decays);
            let query = self.times(query, factor);
            let query = match query {
                Some(query) => query,
                None => self.operands.number(1.0),
            };
            let contracts = |a: &AxisId| over.contains(a);
            let side = if self.keys.iter().all(contracts) {
                Side::Key
            } else if self.keys.iter().any(contracts) {
                return Err(Unfit::Other("a read sums a part of its key axes".into()));
            } else {
                Side::Value
            };
            if side == Side::Value && sight.sees.iter().any(|s| matches!(s, Seen::Dot(_))) {
                return Err(Unfit::Other("it is read over values between two decays".into()));
            }
            let read = match side {
                Side::Key => &self.keys,
                Side::Value => values,
            };
            let summed = over.iter().copied().filter(|a| !read.contains(a)).collect();
            reads.push(Read { query, side, sight, summed });
        }
        Ok(reads)
    }
}
