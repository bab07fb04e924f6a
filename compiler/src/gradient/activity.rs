//! Values that a gradient passes through: those that depend, by differentiable ops, on a leaf whose gradient is wanted.

use super::table::flows;
use crate::lowered::{Attend, Dag, Loop, Op, ValueId};
use std::collections::BTreeMap;

/// The active values of a DAG.
pub(super) struct Activity {
    active: Vec<bool>,
}

/// Active parts of a loop.
pub(super) struct LoopActivity {
    /// Active states.
    pub states: Vec<bool>,
    /// Active body values, and thereby emits.
    pub body: Activity,
}

impl Activity {
    /// Activity of a DAG. `wanted` selects the leaves whose gradient is wanted.
    pub fn of(dag: &Dag, wanted: impl Fn(&Op) -> bool) -> Self {
        let mut active = vec![false; dag.len()];
        let mut ports: BTreeMap<ValueId, (Vec<bool>, Vec<bool>)> = BTreeMap::new();
        for id in dag.ids() {
            let node = dag.node(id);
            let operands: Vec<bool> = dag.operands(id).iter().map(|o| active[o.0 as usize]).collect();
            active[id.0 as usize] = match &node.op {
                Op::Loop(l) => {
                    let inner = LoopActivity::of(l, &operands);
                    let emits = l.emits.iter().map(|(_, e)| inner.body.is_active(*e)).collect();
                    ports.insert(id, (emits, inner.states));
                    operands.contains(&true)
                }
                Op::Attend(a) => {
                    ports.insert(id, (attend_emits(a, &operands), Vec::new()));
                    operands.contains(&true)
                }
                Op::Emit(i) => ports.get(&dag.operands(id)[0]).is_some_and(|p| p.0[*i]),
                Op::Final(i) => ports.get(&dag.operands(id)[0]).is_some_and(|p| p.1[*i]),
                op => wanted(op) || operands.iter().enumerate().any(|(i, active)| *active && flows(op, i)),
            };
        }
        Self { active }
    }

    /// Whether a gradient passes through a value. Values added after the analysis are backward, and not active.
    pub fn is_active(&self, id: ValueId) -> bool {
        self.active.get(id.0 as usize).copied().unwrap_or(false)
    }

    /// Activity of a copy: `map` has the new id of each value, `count` is the size of the new DAG.
    pub fn copied(&self, map: &[ValueId], count: usize) -> Self {
        let pairs: Vec<(ValueId, ValueId)> = map.iter().enumerate().map(|(i, to)| (ValueId(i as u32), *to)).collect();
        self.moved(&pairs, count)
    }

    /// Activity of moved values, as (old, new) pairs in a DAG of `count` values.
    pub fn moved(&self, values: &[(ValueId, ValueId)], count: usize) -> Self {
        let mut active = vec![false; count];
        for (old, new) in values {
            active[new.0 as usize] |= self.is_active(*old);
        }
        Self { active }
    }

    /// Marks the active values on which the roots depend through active values only.
    pub fn between(&self, dag: &Dag, roots: &[ValueId]) -> Vec<bool> {
        let mut seen = vec![false; dag.len()];
        let mut stack: Vec<ValueId> = roots.iter().copied().filter(|r| self.is_active(*r)).collect();
        while let Some(id) = stack.pop() {
            if std::mem::replace(&mut seen[id.0 as usize], true) {
                continue;
            }
            let node = dag.node(id);
            let inputs = dag.operands(id).iter().enumerate();
            stack.extend(inputs.filter(|(i, o)| self.is_active(**o) && flows(&node.op, *i)).map(|(_, o)| *o));
        }
        seen
    }
}

impl LoopActivity {
    /// Activity of a loop. `operands` marks its active operands.
    pub fn of(l: &Loop, operands: &[bool]) -> Self {
        let (initial, captures) = operands.split_at(l.states.len());
        let mut states = initial.to_vec();
        loop {
            let body = Activity::of(&l.body, |op| match op {
                Op::State(s, _) => states[*s],
                Op::Capture(c, _) => captures[*c],
                _ => false,
            });
            let grown: Vec<bool> =
                states.iter().zip(&l.next).map(|(active, next)| *active || body.is_active(*next)).collect();
            if grown == states {
                return Self { states, body };
            }
            states = grown;
        }
    }
}

/// Activity of an attend's body.
pub(super) fn attend_body(body: &Dag, operands: &[bool]) -> Activity {
    Activity::of(body, |op| matches!(op, Op::Capture(c, _) | Op::Past(c, _) if operands[*c]))
}

/// Activity of the emits, followed by that of the normalisers.
fn attend_emits(a: &Attend, operands: &[bool]) -> Vec<bool> {
    let body = attend_body(&a.body, operands);
    let weights = body.is_active(a.weighing.value()) || a.sink.is_some_and(|s| body.is_active(s));
    let emits = a.emits.iter().map(|(_, e)| weights || body.is_active(*e));
    emits.chain(std::iter::repeat_n(weights, a.statistics())).collect()
}
