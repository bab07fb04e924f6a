//! Layout of parameters in memory.

use super::{AxisId, Graph, NodeId, Op, ParamId};
use std::collections::BTreeMap;

/// Offset of each parameter and total length, in elements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParamLayout {
    /// Offset of each parameter.
    pub starts: Vec<usize>,
    /// Length of all parameters.
    pub len: usize,
}

impl Graph {
    /// Layout of all parameters: weights of maps of the same input are contiguous, so that their products can be one.
    ///
    /// It depends on the order of the ops, so it is computed once, from a program's own graph, and passed on: a graph derived from it
    /// (without its losses, with its scans split) would have another layout.
    pub fn param_layout(&self) -> ParamLayout {
        let mut order: Vec<usize> = Vec::new();
        let mut taken = vec![false; self.params.len()];
        let mut groups: BTreeMap<(NodeId, Vec<AxisId>), Vec<usize>> = BTreeMap::new();
        for id in self.dag.ids() {
            let Op::Linear(map) = self.dag.op(id) else { continue };
            let operands = self.dag.operands(id);
            if map.contracted.len() != 1 || !map.per.is_empty() {
                continue;
            }
            if let Op::Param(p) = self.dag.op(operands[1])
                && !std::mem::replace(&mut taken[p.0 as usize], true)
            {
                groups.entry((operands[0], map.contracted[0].clone())).or_default().push(p.0 as usize);
            }
        }
        order.extend(groups.into_values().flatten());
        order.extend((0..self.params.len()).filter(|p| !taken[*p]));
        let mut layout = ParamLayout { starts: vec![0; self.params.len()], len: 0 };
        for p in order {
            layout.starts[p] = layout.len;
            layout.len += self.param_numbers(ParamId(p as u32));
        }
        layout
    }
}
