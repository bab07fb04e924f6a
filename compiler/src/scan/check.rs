//! Check of a form, in f64 on random numbers: the chunk's equations against the token loop.
//!
//! Both are written out over plain matrices, one head at a time, without the machinery that devices run: the equations that `archc derive`
//! prints are computed here.

use super::evaluate::{Index, Tensor, at, evaluate};
use super::form::{Decay, Form, Rotation, Scaled, Seen, Side, Sight};
use super::turned::turn_numbers;
use crate::graph::{AxisId, Graph, NodeId, Op, Rate};
use std::collections::BTreeMap;

/// Number of tokens of the check, in chunks of [`CHUNK`], the last one ragged.
const TOKENS: usize = 21;
/// Number of rows of the check's chunks.
const CHUNK: usize = 8;

/// Largest difference between the chunk form and the token loop, relative to the largest value; none if no random numbers were found that
/// keep the decay at most 1.
pub fn check_form(graph: &Graph, form: &Form) -> Option<f64> {
    let draws = [(-1.0, 1.0), (0.3, 0.95), (-1.0, -0.05)];
    draws.into_iter().find_map(|draw| {
        let operands = Evaluated::new(graph, form, draw)?;
        operands.decays_are_at_most_one().then(|| operands.difference())
    })
}

struct Evaluated<'a> {
    graph: &'a Graph,
    form: &'a Form,
    /// Values of the form's DAG at each token.
    tokens: Vec<Vec<Tensor>>,
    start: BTreeMap<(usize, usize, usize), f64>,
}

/// Generator of random numbers in (0, 1): linear congruential (Knuth's constants).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }
}

impl<'a> Evaluated<'a> {
    /// Draws the leaves, those of the decay from an interval of their own, and evaluates the operands.
    fn new(graph: &'a Graph, form: &'a Form, draw: (f64, f64)) -> Option<Self> {
        let mut random = Random(7);
        let dag = &form.dag;
        let decay = form.decay.node().map_or(vec![false; dag.len()], |node| dag.reachable(&[node]));
        let mut tokens: Vec<Vec<Tensor>> = Vec::new();
        for t in 0..TOKENS {
            let mut values: Vec<Tensor> = Vec::with_capacity(dag.len());
            for id in dag.ids() {
                let axes = dag.ty(id).axes.clone();
                let value = match dag.op(id) {
                    Op::Capture(_) if t > 0 && dag.rate(id) == Rate::Fixed => tokens[0][id.0 as usize].clone(),
                    Op::Capture(_) => {
                        let (lo, hi) = if decay[id.0 as usize] { draw } else { (-0.5, 0.5) };
                        let n = axes.iter().map(|a| graph.size(*a)).product();
                        Tensor { axes, data: (0..n).map(|_| lo + (hi - lo) * random.next()).collect() }
                    }
                    op => {
                        let operands: Vec<&Tensor> = dag.operands(id).iter().map(|o| &values[o.0 as usize]).collect();
                        evaluate(graph, op, &axes, &operands)?
                    }
                };
                values.push(value);
            }
            tokens.push(values);
        }
        let mut this = Self { graph, form, tokens, start: BTreeMap::new() };
        if !form.from_zero {
            let (heads, keys, values) =
                (this.numbers(&form.heads), this.numbers(&form.keys), this.numbers(&form.values));
            for h in 0..heads {
                for k in 0..keys {
                    for v in 0..values {
                        this.start.insert((h, k, v), random.next() - 0.5);
                    }
                }
            }
        }
        Some(this)
    }

    fn numbers(&self, axes: &[AxisId]) -> usize {
        axes.iter().map(|a| self.graph.size(*a)).product()
    }

    /// Converts a flat index along axes to one index for each axis.
    fn index(&self, axes: &[AxisId], mut flat: usize, into: &mut Index) {
        for axis in axes.iter().rev() {
            into.insert(*axis, flat % self.graph.size(*axis));
            flat /= self.graph.size(*axis);
        }
    }

    fn at(&self, t: usize, node: NodeId, index: &Index) -> f64 {
        at(self.graph, &self.tokens[t][node.0 as usize], index)
    }

    fn decays_are_at_most_one(&self) -> bool {
        let fits = |x: f64| if let Decay::Product(_) = self.form.decay { x.abs() <= 1.0 + 1e-12 } else { x <= 1e-12 };
        let decay = self.form.decay.node();
        decay.is_none_or(|node| self.tokens.iter().all(|t| t[node.0 as usize].data.iter().all(|x| fits(*x))))
    }

    fn difference(&self) -> f64 {
        let (mut worst, mut largest) = (0.0f64, 1e-300f64);
        let heads = self.numbers(&self.form.heads);
        for h in 0..heads.min(2) {
            let mut head = Index::new();
            self.index(&self.form.heads, h, &mut head);
            let one = self.by_token(&head, h);
            let other = self.by_chunk(&head, h);
            for (a, b) in one.iter().zip(&other) {
                largest = largest.max(a.abs());
                worst = worst.max((a - b).abs());
            }
        }
        worst / largest
    }

    // ---- one head as plain vectors

    fn over(&self, t: usize, node: Option<NodeId>, axes: &[AxisId], at: &Index) -> Vec<f64> {
        let n = self.numbers(axes);
        (0..n)
            .map(|i| {
                let mut index = at.clone();
                self.index(axes, i, &mut index);
                node.map_or(1.0, |node| self.at(t, node, &index))
            })
            .collect()
    }

    fn scalar(&self, t: usize, node: Option<NodeId>, at: &Index) -> f64 {
        node.map_or(1.0, |n| self.at(t, n, at))
    }

    /// The values that an event writes, without its delta.
    fn written(&self, t: usize, values: &[Scaled], at: &Index) -> Vec<f64> {
        let mut sum = vec![0.0; self.numbers(&self.form.values)];
        for value in values {
            let scale = self.scalar(t, value.scale, at);
            let vector = self.over(t, value.vector, &self.form.values, at);
            sum.iter_mut().zip(vector).for_each(|(s, v)| *s += scale * v);
        }
        sum
    }

    /// Decays of the state at a token, `[K, V]` flattened.
    fn decay(&self, t: usize, at: &Index, keys: usize, values: usize) -> Vec<f64> {
        let mut all = vec![1.0; keys * values];
        if let Some(node) = self.form.decay.node() {
            let factor = |x: f64| match self.form.decay {
                Decay::Product(_) => x,
                _ if self.form.negative => -x.exp(),
                _ => x.exp(),
            };
            let mut index = at.clone();
            for k in 0..keys {
                self.index(&self.form.keys, k, &mut index);
                for v in 0..values {
                    self.index(&self.form.values, v, &mut index);
                    all[k * values + v] = factor(self.at(t, node, &index));
                }
            }
        }
        all
    }

    /// Rotation angle of each key channel at a token, once for both parts; empty if the state has no rotation.
    fn angles(&self, t: usize, at: &Index) -> Vec<f64> {
        let one = |rotation: Rotation| {
            let channels: Vec<AxisId> = self.form.keys.iter().copied().filter(|k| *k != rotation.part).collect();
            self.over(t, Some(rotation.angle), &channels, at)
        };
        self.form.rotation.map(one).unwrap_or_default()
    }

    fn begin(&self, h: usize, keys: usize, values: usize) -> Vec<f64> {
        let at = |i: usize| self.start.get(&(h, i / values, i % values)).copied().unwrap_or(0.0);
        (0..keys * values).map(at).collect()
    }

    /// Indices along the further axes of a query.
    fn rows_of(&self, query: NodeId) -> Vec<Index> {
        let form = self.form;
        let further: Vec<AxisId> = form
            .dag
            .ty(query)
            .axes
            .iter()
            .copied()
            .filter(|a| !form.heads.contains(a) && !form.keys.contains(a) && !form.values.contains(a))
            .collect();
        (0..self.numbers(&further))
            .map(|i| {
                let mut index = Index::new();
                self.index(&further, i, &mut index);
                index
            })
            .collect()
    }

    // ---- token by token

    fn by_token(&self, head: &Index, h: usize) -> Vec<f64> {
        let form = self.form;
        let (keys, values) = (self.numbers(&form.keys), self.numbers(&form.values));
        let mut state = self.begin(h, keys, values);
        let mut out = Vec::new();
        for t in 0..TOKENS {
            let before = state.clone();
            let decay = self.decay(t, head, keys, values);
            state.iter_mut().zip(&decay).for_each(|(s, d)| *s *= d);
            turn_numbers(&mut state, &each(&self.angles(t, head), values), false);
            // state visible to each reader so far: the decayed state and the events so far
            let decayed = state.clone();
            let mut done: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
            let read = |vector: &[f64], sight: &Sight, at: &Index, done: &[(Vec<f64>, Vec<f64>)]| {
                let base = if sight.before { &before } else { &decayed };
                let mut read: Vec<f64> =
                    (0..values).map(|v| (0..keys).map(|k| vector[k] * base[k * values + v]).sum()).collect();
                for (e, (key, u)) in done.iter().enumerate() {
                    let share = match sight.sees[e] {
                        Seen::No => continue,
                        Seen::Yes => key.iter().zip(vector).map(|(a, b)| a * b).sum(),
                        Seen::Dot(dot) => self.at(t, dot, at),
                    };
                    read.iter_mut().zip(u).for_each(|(r, u)| *r += share * u);
                }
                read
            };
            for event in &form.events {
                let mut u = self.written(t, &event.values, head);
                if let Some(delta) = &event.delta {
                    let vector = self.over(t, delta.key.vector, &form.keys, head);
                    let scale = self.scalar(t, delta.key.scale, head);
                    let taken = read(&vector, &delta.sight, head, &done);
                    u.iter_mut().zip(taken).for_each(|(u, r)| *u += scale * r);
                }
                let key = self.over(t, Some(event.key), &form.keys, head);
                for k in 0..keys {
                    for v in 0..values {
                        state[k * values + v] += key[k] * u[v];
                    }
                }
                done.push((key, u));
            }
            for reading in &form.reads {
                for further in self.rows_of(reading.query) {
                    let mut at = head.clone();
                    at.extend(further);
                    match reading.side {
                        Side::Key => {
                            let vector = self.over(t, Some(reading.query), &form.keys, &at);
                            out.extend(read(&vector, &reading.sight, &at, &done));
                        }
                        Side::Value => {
                            let mut seen = if reading.sight.before { before.clone() } else { decayed.clone() };
                            for (e, (key, u)) in done.iter().enumerate() {
                                if reading.sight.sees[e] == Seen::Yes {
                                    (0..keys * values).for_each(|i| seen[i] += key[i / values] * u[i % values]);
                                }
                            }
                            let p = self.over(t, Some(reading.query), &form.values, &at);
                            out.extend(
                                (0..keys).map(|k| (0..values).map(|v| seen[k * values + v] * p[v]).sum::<f64>()),
                            );
                        }
                    }
                }
            }
        }
        out.extend(state);
        out
    }

    // ---- chunk by chunk

    fn by_chunk(&self, head: &Index, h: usize) -> Vec<f64> {
        let (keys, values) = (self.numbers(&self.form.keys), self.numbers(&self.form.values));
        let mut state = self.begin(h, keys, values);
        let mut out = Vec::new();
        for start in (0..TOKENS).step_by(CHUNK) {
            let rows: Vec<usize> = (start..(start + CHUNK).min(TOKENS)).collect();
            state = Chunk::new(self, head, &rows, keys, values).run(&state, &mut out);
        }
        out.extend(state);
        out
    }
}

/// Repeats each number for all columns.
fn each(numbers: &[f64], columns: usize) -> Vec<f64> {
    numbers.iter().flat_map(|x| std::iter::repeat_n(*x, columns)).collect()
}

/// One chunk of one head.
struct Chunk<'a> {
    all: &'a Evaluated<'a>,
    head: &'a Index,
    rows: &'a [usize],
    keys: usize,
    values: usize,
    decays: Decays,
    /// Sums of the angles up to each row; row 0 is the chunk's entry.
    angles: Vec<Vec<f64>>,
}

/// Decays up to each row: `[row][k][v]`; row 0 is the chunk's entry.
enum Decays {
    /// Sums of logarithms.
    Sums(Vec<Vec<f64>>),
    /// Factor of each row.
    Factors(Vec<Vec<f64>>),
}

/// Vectors of a reader, one for each row.
struct Reader<'a> {
    vectors: Vec<Vec<f64>>,
    sight: &'a Sight,
    at: Index,
}

impl<'a> Chunk<'a> {
    fn new(all: &'a Evaluated<'a>, head: &'a Index, rows: &'a [usize], keys: usize, values: usize) -> Self {
        let own = rows.iter().map(|t| all.decay(*t, head, keys, values));
        let decays = if let Decay::Product(_) = all.form.decay {
            Decays::Factors(own.collect())
        } else {
            let mut sums = vec![vec![0.0; keys * values]];
            for decay in own {
                let last = sums.last().expect("it starts with the entry");
                sums.push(last.iter().zip(decay).map(|(s, d)| s + d.abs().ln()).collect());
            }
            Decays::Sums(sums)
        };
        let mut angles = Vec::new();
        for t in rows {
            let own = all.angles(*t, head);
            let first = vec![0.0; own.len()];
            let last: &Vec<f64> = angles.last().unwrap_or(&first);
            let sum: Vec<f64> = last.iter().zip(own).map(|(a, b)| a + b).collect();
            if angles.is_empty() {
                angles.push(first);
            }
            angles.push(sum);
        }
        Self { all, head, rows, keys, values, decays, angles }
    }

    /// exp(G_i - G_j) with its sign, or the product of the decays of rows j + 1 to i, at a row and column of the state; row 0 is the entry.
    fn between(&self, i: usize, j: usize, at: usize) -> f64 {
        match &self.decays {
            Decays::Sums(sums) => {
                let sign = if self.all.form.negative && (i - j) % 2 == 1 { -1.0 } else { 1.0 };
                sign * (sums[i][at] - sums[j][at]).exp()
            }
            Decays::Factors(own) => own[j..i].iter().map(|row| row[at]).product(),
        }
    }

    fn reader(&self, vector: Option<NodeId>, sight: &'a Sight, axes: &[AxisId], at: Index) -> Reader<'a> {
        let turned = |(i, t): (usize, &usize)| {
            let mut x = self.all.over(*t, vector, axes, &at);
            turn_numbers(&mut x, &self.angles[if sight.before { i } else { i + 1 }], true);
            x
        };
        let vectors = self.rows.iter().enumerate().map(turned).collect();
        Reader { vectors, sight, at }
    }

    /// Contribution of the entry's state to row i.
    fn entry(&self, r: &Reader, state: &[f64], i: usize, v: usize) -> f64 {
        let last = if r.sight.before { i } else { i + 1 };
        (0..self.keys)
            .map(|k| r.vectors[i][k] * self.between(last, 0, k * self.values + v) * state[k * self.values + v])
            .sum()
    }

    /// A_ij of a reader and an event, for a value column.
    fn share(&self, r: &Reader, event: usize, i: usize, j: usize, v: usize) -> f64 {
        if j > i {
            return 0.0;
        }
        if i == j {
            return match r.sight.sees[event] {
                Seen::No => 0.0,
                Seen::Yes => {
                    let key = self.key(event, j);
                    r.vectors[i].iter().zip(key).map(|(a, b)| a * b).sum()
                }
                Seen::Dot(dot) => self.all.at(self.rows[i], dot, &r.at),
            };
        }
        let last = if r.sight.before { i } else { i + 1 };
        let key = self.key(event, j);
        (0..self.keys).map(|k| r.vectors[i][k] * key[k] * self.between(last, j + 1, k * self.values + v)).sum()
    }

    fn key(&self, event: usize, j: usize) -> Vec<f64> {
        let form = self.all.form;
        let mut key = self.all.over(self.rows[j], Some(form.events[event].key), &form.keys, self.head);
        turn_numbers(&mut key, &self.angles[j + 1], true);
        key
    }

    fn run(&self, state: &[f64], out: &mut Vec<f64>) -> Vec<f64> {
        let (form, n) = (self.all.form, self.rows.len());
        // u of every event and row; deltas by forward substitution, row by row and event by event
        let mut u = vec![vec![vec![0.0; self.values]; n]; form.events.len()];
        let readers: Vec<Option<Reader>> = form
            .events
            .iter()
            .map(|e| e.delta.as_ref().map(|d| self.reader(d.key.vector, &d.sight, &form.keys, self.head.clone())))
            .collect();
        for i in 0..n {
            for (e, event) in form.events.iter().enumerate() {
                let own = self.all.written(self.rows[i], &event.values, self.head);
                for v in 0..self.values {
                    let mut sum = 0.0;
                    if let (Some(r), Some(delta)) = (&readers[e], &event.delta) {
                        sum = self.entry(r, state, i, v);
                        for (d, rows) in u.iter().enumerate() {
                            sum += (0..=i).map(|j| self.share(r, d, i, j, v) * rows[j][v]).sum::<f64>();
                        }
                        sum *= self.all.scalar(self.rows[i], delta.key.scale, self.head);
                    }
                    u[e][i][v] = own[v] + sum;
                }
            }
        }
        for i in 0..n {
            for read in &form.reads {
                for further in self.all.rows_of(read.query) {
                    let mut at = self.head.clone();
                    at.extend(further);
                    match read.side {
                        Side::Key => {
                            let r = self.reader(Some(read.query), &read.sight, &form.keys, at);
                            for v in 0..self.values {
                                let mut sum = self.entry(&r, state, i, v);
                                for (d, rows) in u.iter().enumerate() {
                                    sum += (0..=i).map(|j| self.share(&r, d, i, j, v) * rows[j][v]).sum::<f64>();
                                }
                                out.push(sum);
                            }
                        }
                        Side::Value => out.extend(self.read_by_value(read.query, &read.sight, at, i, state, &u)),
                    }
                }
            }
        }
        let mut next = vec![0.0; self.keys * self.values];
        for (at, next) in next.iter_mut().enumerate() {
            *next = self.between(n, 0, at) * state[at];
            for (e, rows) in u.iter().enumerate() {
                for (j, row) in rows.iter().enumerate() {
                    *next += self.between(n, j + 1, at) * self.key(e, j)[at / self.values] * row[at % self.values];
                }
            }
        }
        turn_numbers(&mut next, &each(&self.angles[n], self.values), false);
        next
    }

    fn read_by_value(
        &self,
        query: NodeId,
        sight: &'a Sight,
        at: Index,
        i: usize,
        state: &[f64],
        u: &[Vec<Vec<f64>>],
    ) -> Vec<f64> {
        let r = self.reader(Some(query), sight, &self.all.form.values, at);
        let last = if sight.before { i } else { i + 1 };
        (0..self.keys)
            .map(|k| {
                let row = k * self.values;
                let mut sum: f64 =
                    (0..self.values).map(|v| self.between(last, 0, row + v) * state[row + v] * r.vectors[i][v]).sum();
                for (e, rows) in u.iter().enumerate() {
                    let seen = if sight.sees[e] == Seen::Yes { i + 1 } else { i };
                    for (j, written) in rows.iter().enumerate().take(seen) {
                        let share: f64 = written.iter().zip(&r.vectors[i]).map(|(a, b)| a * b).sum();
                        sum += self.between(last, j + 1, row) * self.key(e, j)[k] * share;
                    }
                }
                sum
            })
            .collect()
    }
}
