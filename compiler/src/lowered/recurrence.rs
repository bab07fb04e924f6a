//! [`Loop::recurrences`]: the recurrences of a loop's states, read from its body, so that passes and gradients need not keep facts of the
//! scan up to date.

use super::{Dag, DimId, Loop, Node, Op, ValueId};
use crate::graph::{BinaryOp, ReduceOp, UnaryOp};
use std::collections::BTreeSet;

/// Form of an update of one state or of several that depend on each other, with values that do not depend on them as coefficients. Two
/// updates of one form compose to a third, except for opaque ones; a device may then group iterations freely (Blelloch 1990; arXiv
/// 1709.04057).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// h <- f(h): iterations in order.
    Opaque,
    /// h <- h + b, element by element.
    Sum,
    /// h <- A h + b. A is diagonal along the independent dimensions.
    Affine,
    /// Several states, affine in each other: A has a block for each element.
    Blocks,
    /// h <- max(h + a, b).
    MaxPlus,
    /// h <- min(h + a, b).
    MinPlus,
    /// h <- log(exp(h + a) + exp(b)).
    LogSumExp,
}

impl StepKind {
    /// Its name: opaque, sum, affine, blocks, max-plus, min-plus, log-sum-exp.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opaque => "opaque",
            Self::Sum => "sum",
            Self::Affine => "affine",
            Self::Blocks => "blocks",
            Self::MaxPlus => "max-plus",
            Self::MinPlus => "min-plus",
            Self::LogSumExp => "log-sum-exp",
        }
    }
}

/// States that depend on each other from one iteration to the next: a strongly connected component of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recurrence {
    /// Numbers of its states, in order.
    pub states: Vec<usize>,
    /// Form of its update.
    pub step: StepKind,
    /// Dimensions along which no element of its states depends on another: the loop's mapped ones, and those of the states that no op
    /// between the states and their next values works along.
    pub independent: Vec<DimId>,
}

impl Loop {
    /// The recurrences of the states, each after those that it depends on.
    pub fn recurrences(&self) -> Vec<Recurrence> {
        let parts = self.body.parts(&self.next, |node: &Node| match node.op {
            Op::State(state, _) => Some(state),
            _ => None,
        });
        parts.into_iter().map(|states| self.recurrence(states)).collect()
    }

    fn recurrence(&self, states: Vec<usize>) -> Recurrence {
        let given = |s: usize| if states.contains(&s) { Forms::STATE } else { Forms::FREE };
        let mut values = Values { along: BTreeSet::new() };
        let forms = values.body(&self.body, &given, &|_| Forms::FREE, &self.next_of(&states));
        let next = self.next_of(&states).iter().fold(Forms::ALL, |all, n| all.and(forms[n.0 as usize].value()));
        let coupled = states.len() > 1;
        let independent = self.map.iter().chain(&self.states[states[0]].dims).copied().filter(|d| {
            let everywhere = states.iter().all(|s| self.states[*s].dims.contains(d));
            self.map.contains(d) || everywhere && !values.along.contains(d)
        });
        let independent = independent.collect();
        Recurrence { step: next.kind(coupled), independent, states }
    }

    fn next_of(&self, states: &[usize]) -> Vec<ValueId> {
        states.iter().map(|s| self.next[*s]).collect()
    }
}

/// The forms that a value has in the states, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Forms(u8);

impl Forms {
    const SUM: Self = Self(1);
    const AFFINE: Self = Self(2);
    const MAX: Self = Self(4);
    const MIN: Self = Self(8);
    /// The logarithm of a value affine in the exponentials of the states.
    const LOG: Self = Self(16);
    /// Affine in the exponentials of the states.
    const EXP: Self = Self(32);
    const ALL: Self = Self(63);
    const NONE: Self = Self(0);
    /// It does not depend on the states: every form but that of a sum.
    const FREE: Self = Self(64 | 2 | 4 | 8 | 16 | 32);
    /// A state itself.
    const STATE: Self = Self(1 | 2 | 4 | 8 | 16);

    fn has(self, form: Self) -> bool {
        self.0 & form.0 == form.0
    }

    fn is_free(self) -> bool {
        self == Self::FREE
    }

    /// The forms that both have.
    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The forms that either has.
    fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of these forms for which a condition holds.
    fn of(forms: &[Self], holds: impl Fn(Self) -> bool) -> Self {
        forms.iter().filter(|form| holds(**form)).fold(Self::NONE, |all, form| all.or(*form))
    }

    fn kind(self, coupled: bool) -> StepKind {
        let kinds = [
            (Self::SUM, StepKind::Sum),
            (Self::AFFINE, if coupled { StepKind::Blocks } else { StepKind::Affine }),
            (Self::MAX, StepKind::MaxPlus),
            (Self::MIN, StepKind::MinPlus),
            (Self::LOG, StepKind::LogSumExp),
        ];
        kinds.into_iter().find(|(form, _)| self.has(*form)).map_or(StepKind::Opaque, |(_, kind)| kind)
    }
}

/// Forms of a node.
#[derive(Clone, Debug)]
enum Found {
    Value(Forms),
    /// A loop: its final states and its emits.
    Loop(Vec<Forms>, Vec<Forms>),
}

impl Found {
    fn value(&self) -> Forms {
        match self {
            Self::Value(forms) => *forms,
            Self::Loop(..) => Forms::NONE,
        }
    }
}

/// Forms of values, and the dimensions that ops on dependent ones work along.
struct Values {
    along: BTreeSet<DimId>,
}

impl Values {
    /// Forms of the values of a body that the roots need, with those of its leaves.
    fn body(
        &mut self,
        dag: &Dag,
        state: &dyn Fn(usize) -> Forms,
        capture: &dyn Fn(usize) -> Forms,
        roots: &[ValueId],
    ) -> Vec<Found> {
        let live = dag.reachable(roots);
        let mut found: Vec<Found> = Vec::with_capacity(dag.len());
        for id in dag.ids() {
            if !live[id.0 as usize] {
                found.push(Found::Value(Forms::FREE));
                continue;
            }
            let node = dag.node(id);
            let operands: Vec<Forms> = dag.operands(id).iter().map(|o| found[o.0 as usize].value()).collect();
            let here = match &node.op {
                Op::State(s, _) => Found::Value(state(*s)),
                Op::Capture(c, _) => Found::Value(capture(*c)),
                Op::Emit(i) | Op::Final(i) => {
                    let of = &found[dag.operands(id)[0].0 as usize];
                    Found::Value(match (of, &node.op) {
                        (Found::Loop(_, emits), Op::Emit(_)) => emits[*i],
                        (Found::Loop(last, _), _) => last[*i],
                        (Found::Value(forms), _) => *forms,
                    })
                }
                Op::Loop(l) if !operands.iter().all(|o| o.is_free()) => self.inner(l, &operands),
                op => {
                    let forms = match guarded(dag, id) {
                        Some(product) => found[product.0 as usize].value(),
                        None => value(op, &operands),
                    };
                    if !forms.is_free() && !matches!(op, Op::Expand(_)) {
                        op.clone().each_dim(&mut |d| {
                            self.along.insert(*d);
                        });
                    }
                    Found::Value(forms)
                }
            };
            found.push(here);
        }
        found
    }

    /// Forms of what a loop inside of the body gives: those that its states keep through every iteration.
    fn inner(&mut self, l: &Loop, operands: &[Forms]) -> Found {
        let (first, captures) = operands.split_at(l.states.len());
        let mut states = first.to_vec();
        let roots: Vec<ValueId> = l.next.iter().copied().chain(l.emits.iter().map(|e| e.1)).collect();
        self.along.insert(l.over);
        loop {
            let found = self.body(&l.body, &|s| states[s], &|c| captures[c], &roots);
            let after: Vec<Forms> =
                states.iter().zip(&l.next).map(|(s, n)| s.and(found[n.0 as usize].value())).collect();
            if after == states {
                let emits = l.emits.iter().map(|(_, e)| found[e.0 as usize].value()).collect();
                return Found::Loop(states, emits);
            }
            states = after;
        }
    }
}

/// The product p in `select c p 0` for p = c times other values: 0 where c is, also where another factor is infinite. Gradients at poles
/// are guarded so.
fn guarded(dag: &Dag, id: ValueId) -> Option<ValueId> {
    let node = dag.node(id);
    let (Op::Select, &[condition, product, other]) = (&node.op, dag.operands(id)) else { return None };
    let mut factors = vec![product];
    while let Some(factor) = factors.pop() {
        if factor == condition {
            return matches!(dag.node(other).op, Op::Const(0.0)).then_some(product);
        }
        let operands = dag.operands(factor);
        match dag.node(factor).op {
            Op::Binary(BinaryOp::Mul) | Op::Unary(UnaryOp::Neg) => factors.extend(operands),
            Op::Binary(BinaryOp::Div) => factors.push(operands[0]),
            _ => {}
        }
    }
    None
}

/// Forms of an op's value, from those of its operands. An op that no rule knows has none.
fn value(op: &Op, x: &[Forms]) -> Forms {
    const SHIFTED: [Forms; 4] = [Forms::SUM, Forms::MAX, Forms::MIN, Forms::LOG];
    const SCALED: [Forms; 2] = [Forms::AFFINE, Forms::EXP];
    if x.iter().all(|x| x.is_free()) {
        return Forms::FREE;
    }
    let every = |form: Forms| x.iter().all(|x| x.has(form));
    // one operand has the form, the others are free
    let dependent = || x.iter().filter(|x| !x.is_free());
    let one = |form: Forms| dependent().count() == 1 && dependent().all(|x| x.has(form));
    let first = |form: Forms| x[0].has(form) && x[1..].iter().all(|x| x.is_free());
    match op {
        Op::Binary(BinaryOp::Add) => Forms::of(&SHIFTED, one).or(Forms::of(&SCALED, every)),
        Op::Binary(BinaryOp::Sub) => Forms::of(&SHIFTED, first).or(Forms::of(&[Forms::AFFINE], every)),
        Op::Binary(BinaryOp::Mul) => Forms::of(&SCALED, one),
        Op::Binary(BinaryOp::Div) => Forms::of(&SCALED, first),
        Op::Binary(BinaryOp::Max) | Op::Reduce(ReduceOp::Max, _) => Forms::of(&[Forms::MAX], every),
        Op::Binary(BinaryOp::Min) | Op::Reduce(ReduceOp::Min, _) => Forms::of(&[Forms::MIN], every),
        Op::Reduce(ReduceOp::LogSumExp, _) => Forms::of(&[Forms::LOG], every),
        Op::Unary(UnaryOp::Exp) if x[0].has(Forms::LOG) => Forms::EXP,
        Op::Unary(UnaryOp::Log) if x[0].has(Forms::EXP) => Forms::LOG,
        Op::Contract(_) => Forms::of(&[Forms::AFFINE], one),
        Op::SolveUnitLower { .. } => Forms::of(&[Forms::AFFINE], |form| x[0].is_free() && x[1].has(form)),
        Op::Unary(UnaryOp::Neg)
        | Op::Reduce(ReduceOp::Sum | ReduceOp::Mean, _)
        | Op::Cumsum { .. }
        | Op::Put(..)
        | Op::Paste { .. } => Forms::of(&[Forms::AFFINE], first),
        Op::Select if x[0].is_free() => x[1].and(x[2]),
        Op::Expand(_) | Op::StopGrad => x[0],
        // other elements of the states
        Op::Rename(..)
        | Op::Pick(..)
        | Op::Stack(_)
        | Op::Split(..)
        | Op::Flatten(..)
        | Op::Cat(..)
        | Op::Cut { .. } => Forms::of(&[Forms::AFFINE, Forms::MAX, Forms::MIN, Forms::LOG, Forms::EXP], every),
        _ => Forms::NONE,
    }
}
