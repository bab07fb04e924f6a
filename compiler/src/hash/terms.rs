//! The canonical form: hash-consed terms with sums and products flattened.
//!
//! Bodies are treated as inlined: a capture is the captured term, a scan's emit the emitted term, a
//! state a leaf with a link to its next value. So it does not matter on which side of a body's border an
//! expression was written.

use super::algebra::PARTS;
use crate::graph::{AxisId, BinaryOp, Dag, Draw, Graph, NodeId, Op, ParamId, ReduceOp, Weighing};
use std::collections::HashMap;

/// A fact that is part of a term's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Number {
    /// Significant in both hashes.
    Kept(u64),
    /// The bits of an f64 that the family hash ignores.
    Sized(u64),
}

/// Role of an argument in a term. Arguments form a multiset; order is in the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Role {
    /// Position, where it matters.
    At(u32),
    /// A term of a sum, times these bits.
    Times(u64),
    /// A factor of a product, to this power.
    Power(i32),
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Term {
    /// Kind of the term.
    pub tag: &'static str,
    /// Further facts.
    pub numbers: Vec<Number>,
    /// Axes with their roles; role 0: an axis of the value.
    pub axes: Vec<(u32, AxisId)>,
    /// Operands, sorted.
    pub args: Vec<(Role, usize)>,
    /// Number of a site, which is never shared; not part of the colour.
    pub site: Option<usize>,
}

/// All terms of a graph, operands first.
pub(super) struct Terms {
    pub list: Vec<Term>,
    /// Pairs of a state and its next value.
    pub next: Vec<(usize, usize)>,
    /// Outputs and losses with their roles.
    pub roots: Vec<(u64, usize)>,
    params: Vec<Option<usize>>,
}

impl Terms {
    /// Term of a parameter.
    pub(super) fn param(&self, id: ParamId) -> Option<usize> {
        self.params[id.0 as usize]
    }
}

/// Rewrites a graph to terms.
pub(super) fn build(graph: &Graph) -> Terms {
    let mut builder = Builder {
        graph,
        terms: Terms { list: Vec::new(), next: Vec::new(), roots: Vec::new(), params: vec![None; graph.params.len()] },
        known: HashMap::new(),
        scans: HashMap::new(),
        sites: 0,
    };
    let at = builder.dag(&graph.dag, &[], &[]);
    for (i, output) in graph.outputs.iter().enumerate() {
        builder.terms.roots.push((i as u64, at[output.value.0 as usize].term()));
    }
    for loss in &graph.losses {
        builder.terms.roots.push((u64::MAX, at[loss.0 as usize].term()));
    }
    builder.terms
}

/// Terms of a node: a value, or a scan or attend with the terms of its body.
enum Place {
    Value(usize),
    Body(Vec<usize>),
}

impl Place {
    pub(super) fn term(&self) -> usize {
        match self {
            Self::Value(t) => *t,
            Self::Body(_) => 0,
        }
    }
}

pub(super) struct Builder<'a> {
    graph: &'a Graph,
    pub(super) terms: Terms,
    known: HashMap<Term, usize>,
    /// Scans built so far, by a text of operands and body: the same scan written twice is one.
    scans: HashMap<String, Vec<usize>>,
    sites: usize,
}

impl Builder<'_> {
    /// Terms of all nodes of a DAG. `states`: terms of the states; `captures`: terms of the captured values.
    fn dag(&mut self, dag: &Dag, states: &[usize], captures: &[usize]) -> Vec<Place> {
        let mut at: Vec<Place> = Vec::with_capacity(dag.len());
        for id in dag.ids() {
            let operands = dag.operands(id);
            let args: Vec<usize> = operands.iter().map(|o| at[o.0 as usize].term()).collect();
            let place = match dag.op(id) {
                Op::Scan(scan) => Place::Body(self.scan(scan, &args)),
                Op::Attend(attend) => Place::Body(self.values(&attend.body, &[], &args)),
                Op::Emit(i) => {
                    let Place::Body(body) = &at[operands[0].0 as usize] else {
                        unreachable!("verified: emit of a body")
                    };
                    let body = body.clone();
                    Place::Value(self.emit(dag, operands[0], *i, &body))
                }
                Op::State(i) => Place::Value(states[*i]),
                Op::Capture(i) => Place::Value(captures[*i]),
                Op::Past(i) => {
                    let of = captures[*i];
                    Place::Value(if dag.rate(id) == crate::graph::Rate::Fixed { of } else { self.plain("past", &[of]) })
                }
                op => Place::Value(self.op(dag, id, op, &args)),
            };
            at.push(place);
        }
        at
    }

    fn values(&mut self, dag: &Dag, states: &[usize], captures: &[usize]) -> Vec<usize> {
        self.dag(dag, states, captures).iter().map(Place::term).collect()
    }

    fn scan(&mut self, scan: &crate::graph::Scan, args: &[usize]) -> Vec<usize> {
        let nodes: Vec<String> =
            scan.body.ids().map(|n| format!("{:?}{:?}", scan.body.op(n), scan.body.operands(n))).collect();
        let axes: Vec<_> = scan.states.iter().map(|s| &s.axes).collect();
        let key = format!("{args:?}{axes:?}{nodes:?}{:?}", scan.next);
        if let Some(known) = self.scans.get(&key) {
            return known.clone();
        }
        let count = scan.states.len();
        let states: Vec<usize> = scan
            .states
            .iter()
            .zip(args)
            .map(|(state, initial)| {
                let site = self.site();
                let axes = state.axes.iter().map(|a| (0, *a)).collect();
                self.add(Term { tag: "state", numbers: vec![], axes, args: vec![(Role::At(0), *initial)], site })
            })
            .collect();
        let body = self.values(&scan.body, &states, &args[count..]);
        for (state, next) in states.iter().zip(&scan.next) {
            self.terms.next.push((*state, body[next.0 as usize]));
        }
        self.scans.insert(key, body.clone());
        body
    }

    fn emit(&mut self, dag: &Dag, memory: NodeId, i: usize, body: &[usize]) -> usize {
        let of = |id: NodeId| body[id.0 as usize];
        match dag.op(memory) {
            Op::Scan(scan) => of(scan.emits[i].1),
            Op::Attend(attend) => {
                let (tag, weight) = match attend.weighing {
                    Weighing::Score(n) => ("softly", n),
                    Weighing::Weight(n) => ("weighed", n),
                };
                let mut args = vec![(Role::At(0), of(attend.emits[i].1)), (Role::At(1), of(weight))];
                args.extend(attend.visible.map(|n| (Role::At(2), of(n))));
                args.extend(attend.sink.map(|n| (Role::At(3), of(n))));
                self.term(tag, vec![], vec![], args)
            }
            _ => unreachable!("verified: emit of a body"),
        }
    }

    fn op(&mut self, dag: &Dag, id: NodeId, op: &Op, args: &[usize]) -> usize {
        match op {
            Op::Input(i) => {
                let axes = dag.ty(id).axes.iter().map(|a| (0, *a)).collect();
                self.leaf("input", vec![Number::Kept(*i as u64)], axes)
            }
            Op::Param(p) => self.param(*p),
            Op::Const(x) => self.number(*x),
            Op::Index(axes) => self.leaf("index", vec![], ordered(1, axes).chain(values(axes)).collect()),
            Op::Table(axis, numbers) => {
                let numbers = numbers.iter().map(|x| Number::Sized(x.to_bits())).collect();
                self.leaf("table", numbers, vec![(0, *axis)])
            }
            Op::Pos => self.leaf("pos", vec![], vec![]),
            Op::Step => self.leaf("step", vec![], vec![]),
            Op::Lag => self.leaf("lag", vec![], vec![]),
            Op::Draw(draw) => {
                let kind = Number::Kept(match draw {
                    Draw::Normal => 0,
                    Draw::Uniform => 1,
                    Draw::LogUniform => 2,
                    Draw::Orthogonal => 3,
                    Draw::Eye => 4,
                    Draw::Dirac => 5,
                });
                let site = self.site();
                self.add(Term { tag: "draw", numbers: vec![kind], axes: vec![], args: positions(args), site })
            }
            Op::Unary(op) => self.unary(*op, args[0]),
            Op::Binary(op) => self.binary(*op, args[0], args[1]),
            Op::Select => self.plain("select", args),
            Op::Reduce(op, axes) => self.reduce(*op, axes, args[0]),
            Op::Contract(axes) => {
                let product = self.binary(BinaryOp::Mul, args[0], args[1]);
                self.reduce(ReduceOp::Sum, axes, product)
            }
            Op::Softmax(axes) => self.along("softmax", axes, args),
            Op::Sparsemax(a) => self.along("sparsemax", &[*a], args),
            Op::Cumsum(a) => self.along("cumsum", &[*a], args),
            Op::Sort(a) => self.along("sort", &[*a], args),
            Op::TopK(a, n) => self.term("topk", vec![sized(*n as f64)], vec![(1, *a)], positions(args)),
            Op::Stack(a) => self.layout("stack", vec![], vec![(2, *a)], args, dag, id),
            Op::Pick(a, i) => self.pick(dag, id, *a, *i, args[0]),
            Op::Split(a, into) => {
                let axes = [(1, *a)].into_iter().chain(ordered(2, into)).collect();
                self.layout("split", vec![], axes, args, dag, id)
            }
            Op::Flatten(axes, into) => {
                let axes = [(1, *into)].into_iter().chain(ordered(2, axes)).collect();
                self.layout("flatten", vec![], axes, args, dag, id)
            }
            Op::Cat(parts, into) => {
                let axes = [(1, *into)].into_iter().chain(ordered(2, parts)).collect();
                self.layout("cat", vec![], axes, args, dag, id)
            }
            Op::Cut { from, offset, into } => {
                self.layout("cut", vec![sized(*offset as f64)], vec![(1, *from), (2, *into)], args, dag, id)
            }
            Op::Expand(axes) => self.layout("expand", vec![], axes.iter().map(|a| (1, *a)).collect(), args, dag, id),
            Op::Rename(a, b) => self.layout("rename", vec![], vec![(1, *a), (2, *b)], args, dag, id),
            Op::Linear(linear) => self.linear(linear, args),
            Op::Embed { vocab } => self.layout("embed", vec![], vec![(1, *vocab)], args, dag, id),
            Op::Dropout { .. } => {
                let site = self.site();
                let axes = self.value_axes(args);
                self.add(Term { tag: "dropout", numbers: vec![], axes, args: positions(args), site })
            }
            Op::StopGrad => self.plain("stop_grad", args),
            Op::Anneal { steps, start, shape } => {
                let shape = Number::Kept(*shape as u64);
                self.term("anneal", vec![sized(*steps), sized(*start), shape], vec![], positions(args))
            }
            Op::TokenMean => self.plain("token_mean", args),
            Op::Window { axis, step } => {
                self.layout("window", vec![sized(*step as f64)], vec![(1, *axis)], args, dag, id)
            }
            Op::Scan(_) | Op::Attend(_) | Op::Emit(_) | Op::State(_) | Op::Capture(_) | Op::Past(_) => {
                unreachable!("handled by `dag`")
            }
        }
    }

    // ---- sites

    fn site(&mut self) -> Option<usize> {
        self.sites += 1;
        Some(self.sites)
    }

    fn param(&mut self, id: ParamId) -> usize {
        if let Some(known) = self.terms.params[id.0 as usize] {
            return known;
        }
        let param = self.graph.param(id);
        let init = self.values(&param.init, &[], &[])[param.init_value.0 as usize];
        let role = |i: usize| {
            if i < param.per {
                1
            } else if i < param.per + param.out {
                2
            } else {
                3
            }
        };
        let site = self.site();
        let term = self.add(Term {
            tag: "param",
            numbers: vec![Number::Kept(param.kind as u64)],
            axes: sorted(param.axes.iter().enumerate().map(|(i, a)| (role(i), *a)).collect()),
            args: vec![(Role::At(0), init)],
            site,
        });
        self.terms.params[id.0 as usize] = Some(term);
        term
    }

    // ---- constructors of terms

    fn add(&mut self, term: Term) -> usize {
        if let Some(known) = self.known.get(&term) {
            return *known;
        }
        let id = self.terms.list.len();
        self.known.insert(term.clone(), id);
        self.terms.list.push(term);
        id
    }

    fn leaf(&mut self, tag: &'static str, numbers: Vec<Number>, axes: Vec<(u32, AxisId)>) -> usize {
        self.add(Term { tag, numbers, axes: sorted(axes), args: vec![], site: None })
    }

    /// Axes of the operands' values.
    fn value_axes(&self, args: &[usize]) -> Vec<(u32, AxisId)> {
        let axes = args.iter().flat_map(|a| self.terms.list[*a].axes.iter().filter(|(role, _)| *role == 0).copied());
        let mut axes = sorted(axes.collect());
        axes.dedup();
        axes
    }

    /// A term with the operands' axes, and further ones in roles.
    pub(super) fn term(
        &mut self,
        tag: &'static str,
        numbers: Vec<Number>,
        roles: Vec<(u32, AxisId)>,
        args: Vec<(Role, usize)>,
    ) -> usize {
        let operands: Vec<usize> = args.iter().map(|a| a.1).collect();
        let axes = sorted([self.value_axes(&operands), roles].concat());
        let args = sorted(args);
        self.add(Term { tag, numbers, axes, args, site: None })
    }

    pub(super) fn plain(&mut self, tag: &'static str, args: &[usize]) -> usize {
        self.term(tag, vec![], vec![], positions(args))
    }

    fn along(&mut self, tag: &'static str, axes: &[AxisId], args: &[usize]) -> usize {
        self.term(tag, vec![], axes.iter().map(|a| (1, *a)).collect(), positions(args))
    }

    /// A term with the node's axes.
    fn layout(
        &mut self,
        tag: &'static str,
        numbers: Vec<Number>,
        roles: Vec<(u32, AxisId)>,
        args: &[usize],
        dag: &Dag,
        id: NodeId,
    ) -> usize {
        let axes = sorted(values(&dag.ty(id).axes).chain(roles).collect());
        self.add(Term { tag, numbers, axes, args: positions(args), site: None })
    }

    pub(super) fn number(&mut self, x: f64) -> usize {
        self.leaf("number", vec![sized(x)], vec![])
    }

    /// Term of an associative, commutative, idempotent op.
    pub(super) fn bag(&mut self, tag: &'static str, a: usize, b: usize) -> usize {
        let mut args = Vec::new();
        for t in [a, b] {
            let term = &self.terms.list[t];
            if term.tag == tag && term.args.len() < PARTS {
                args.extend(term.args.iter().copied());
            } else {
                args.push((Role::At(0), t));
            }
        }
        args.sort_unstable();
        args.dedup();
        if args.len() == 1 { args[0].1 } else { self.term(tag, vec![], vec![], args) }
    }

    pub(super) fn pair(&mut self, tag: &'static str, a: usize, b: usize) -> usize {
        self.term(tag, vec![], vec![], vec![(Role::At(0), a), (Role::At(0), b)])
    }

    fn reduce(&mut self, op: ReduceOp, over: &[AxisId], x: usize) -> usize {
        match op {
            ReduceOp::Sum => self.reduce_sum(over, x),
            ReduceOp::Mean => {
                let n: f64 = over.iter().map(|a| self.graph.size(*a) as f64).product();
                let total = self.reduce_sum(over, x);
                let (c, factors) = self.as_product(total);
                self.product(c / n, factors)
            }
            other => self.remove_axes(other.row().tag, over, x),
        }
    }

    fn reduce_sum(&mut self, over: &[AxisId], x: usize) -> usize {
        let (c, factors) = self.as_product(x);
        let carries = |t: usize| self.terms.list[t].axes.iter().any(|(role, a)| *role == 0 && over.contains(a));
        let (inside, mut outside): (Vec<_>, Vec<_>) = factors.into_iter().partition(|(t, _)| carries(*t));
        let inner = self.product(1.0, inside);
        let inner_term = &self.terms.list[inner];
        let total = if inner_term.tag == "reduce_sum" {
            // a sum of a sum is one sum
            let deeper = inner_term.args[0].1;
            let mut all: Vec<AxisId> = inner_term.axes.iter().filter(|(role, _)| *role == 1).map(|(_, a)| *a).collect();
            all.extend(over);
            self.remove_axes("reduce_sum", &all, deeper)
        } else {
            self.remove_axes("reduce_sum", over, inner)
        };
        outside.push((total, 1));
        self.product(c, outside)
    }

    fn remove_axes(&mut self, tag: &'static str, over: &[AxisId], x: usize) -> usize {
        let kept = self.value_axes(&[x]).into_iter().filter(|(_, a)| !over.contains(a));
        let axes = sorted(kept.chain(over.iter().map(|a| (1, *a))).collect());
        self.add(Term { tag, numbers: vec![], axes, args: positions(&[x]), site: None })
    }

    fn pick(&mut self, dag: &Dag, id: NodeId, axis: AxisId, i: usize, x: usize) -> usize {
        let term = &self.terms.list[x];
        let own = term.axes.iter().any(|a| *a == (1, axis) || *a == (2, axis));
        match term.tag {
            "window" if own => {
                let (of, lag) = (term.args[0].1, value(term.numbers[0]) * i as f64);
                if i == 0 { of } else { self.term("shift", vec![sized(lag)], vec![], positions(&[of])) }
            }
            "stack" if own => {
                let entry = term.args.iter().find(|(role, _)| *role == Role::At(i as u32)).map(|a| a.1);
                match entry {
                    Some(entry) if self.value_axes(&[entry]).len() == dag.ty(id).axes.len() => entry,
                    Some(entry) => self.layout("expand", vec![], vec![], &[entry], dag, id),
                    None => self.layout("pick", vec![sized(i as f64)], vec![(1, axis)], &[x], dag, id),
                }
            }
            _ => self.layout("pick", vec![Number::Kept(i as u64)], vec![(1, axis)], &[x], dag, id),
        }
    }

    /// Term of a learned map: a sum of applications, one for each input, and the bias.
    fn linear(&mut self, linear: &crate::graph::Linear, args: &[usize]) -> usize {
        let inputs = linear.contracted.len();
        let mut terms = Vec::new();
        for (i, contracted) in linear.contracted.iter().enumerate() {
            let kept = self.value_axes(&[args[i]]).into_iter().filter(|(_, a)| !contracted.contains(a));
            let result = kept.chain(values(&linear.out)).chain(values(&linear.per));
            let mut axes = sorted(result.collect());
            axes.dedup();
            axes.extend(contracted.iter().map(|a| (1, *a)));
            axes.extend(linear.out.iter().map(|a| (2, *a)));
            axes.extend(linear.per.iter().map(|a| (3, *a)));
            let axes = sorted(axes);
            let operands = positions(&[args[i], args[inputs + i]]);
            terms.push((self.add(Term { tag: "apply", numbers: vec![], axes, args: operands, site: None }), 1.0));
        }
        if linear.bias {
            // the bias along the axes that the result has
            let axes = sorted(values(&linear.out).chain(values(&linear.per)).collect());
            let operands = positions(&[args[2 * inputs]]);
            terms.push((self.add(Term { tag: "bias", numbers: vec![], axes, args: operands, site: None }), 1.0));
        }
        self.sum(0.0, terms)
    }
}

pub(super) fn sized(x: f64) -> Number {
    // -0 and 0 are one number
    Number::Sized((x + 0.0).to_bits())
}

pub(super) fn value(number: Number) -> f64 {
    match number {
        Number::Sized(bits) | Number::Kept(bits) => f64::from_bits(bits),
    }
}

pub(super) fn times(role: Role) -> f64 {
    match role {
        Role::Times(bits) => f64::from_bits(bits),
        _ => 1.0,
    }
}

fn positions(args: &[usize]) -> Vec<(Role, usize)> {
    args.iter().enumerate().map(|(i, a)| (Role::At(i as u32), *a)).collect()
}

/// Axes in a significant order, as roles from `first`.
fn ordered(first: u32, axes: &[AxisId]) -> impl Iterator<Item = (u32, AxisId)> + '_ {
    axes.iter().enumerate().map(move |(i, a)| (first + i as u32, *a))
}

/// Axes of a value.
fn values(axes: &[AxisId]) -> impl Iterator<Item = (u32, AxisId)> + '_ {
    axes.iter().map(|a| (0, *a))
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items
}
