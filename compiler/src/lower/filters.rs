//! Long convolutions: attends whose weight depends on the lag alone.
//!
//! The filter is computed once for each lag instead of once for each pair: the body's lag becomes 0, 1, 2, ... along a dimension as long as
//! time, and the ordinary lowering handles the rest.

use super::attends::{Pairs, Sides, weight};
use super::ordinary::ordinary;
use super::reach::most_carried;
use super::tokens::Lowering;
use crate::graph::{self, NodeId, Op as Source};
use crate::lowered::{BATCH, Op, ValueId};

/// Lowers an attend as a convolution with a filter over lags, if it is one.
pub(super) fn lower_filter<'a>(l: &mut Lowering<'a>, pairs: &Pairs<'a>) -> Option<Vec<ValueId>> {
    let attend = pairs.attend;
    let of_lag = |id: NodeId| pairs.sides(id).within(Sides::LAG);
    let of_past = |id: NodeId| pairs.sides(id).within(Sides::COL) && pairs.outer[id.0 as usize].is_some();
    let plain = matches!(attend.weighing, graph::Weighing::Weight(_));
    let whole = of_lag(weight(attend)) && attend.visible.is_none_or(of_lag);
    if !plain || !whole || !pairs.emits.iter().all(|e| of_past(e.node)) {
        return None;
    }
    let most = most_carried(attend);
    let lag = l.lag(most);
    let dag = &attend.body;
    let mut values = pairs.outer.clone();
    let live = dag.reachable(&[Some(weight(attend)), attend.visible].into_iter().flatten().collect::<Vec<_>>());
    for id in dag.ids().filter(|id| live[id.0 as usize]) {
        if values[id.0 as usize].is_some() {
            continue;
        }
        let node = dag.node(id);
        l.b.name.clone_from(&node.name);
        l.b.place = node.place;
        let x: Vec<ValueId> = dag.operands(id).iter().map(|o| at(&values, *o)).collect();
        values[id.0 as usize] = Some(match &node.op {
            Source::Lag => l.b.op(Op::Index(vec![lag]), &[]),
            op => ordinary(l.graph, &mut l.b, op, &x, l.options.training),
        });
    }
    let mut filter = at(&values, weight(attend));
    if let Some(visible) = attend.visible {
        let zero = l.b.number(0.0);
        filter = l.b.op(Op::Select, &[at(&values, visible), filter, zero]);
    }
    filter = l.b.expand(filter, &[lag]);
    let past = l.past(most);
    let mut emitted = Vec::with_capacity(pairs.emits.len());
    for emit in &pairs.emits {
        l.b.name.clone_from(&emit.name);
        let x = l.b.expand(at(&values, emit.node), &[BATCH, past]);
        let sum = l.b.op(Op::LongConv { lag }, &[filter, x]);
        emitted.push(emit.finish(l, sum));
    }
    Some(emitted)
}

fn at(values: &[Option<ValueId>], id: NodeId) -> ValueId {
    values[id.0 as usize].unwrap_or_else(|| panic!("archc bug: %{} of a filter has no value", id.0))
}
