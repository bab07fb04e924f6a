//! Values that are the same at every call: computed once, when a session is made.

use super::{Base, View};
use crate::lowered::{Dag, Node, Op, ValueId};
use crate::source::{FileId, Place};
use archc_grammar::Span;
use std::collections::BTreeMap;

/// All constants that some kernel reads, as one DAG with a place for each.
#[derive(Default)]
pub(super) struct Constants {
    /// The constants of all scopes.
    pub dag: Dag,
    /// Those that are read, and where they are.
    pub placed: Vec<(ValueId, View)>,
    /// Numbers of all of them.
    pub len: usize,
    /// From a scope's value to the copy in `dag`.
    known: BTreeMap<(usize, ValueId), ValueId>,
}

/// Marks values that no token, parameter, state or step changes.
pub(super) fn constant(dag: &Dag) -> Vec<bool> {
    let mut constant: Vec<bool> = Vec::with_capacity(dag.nodes.len());
    for node in &dag.nodes {
        let fixed = match &node.op {
            Op::Const(_) | Op::Index(_) | Op::Table(..) => true,
            Op::Unary(_)
            | Op::Binary(_)
            | Op::Select
            | Op::Reduce(..)
            | Op::Contract(_)
            | Op::Softmax(_)
            | Op::Cumsum { .. }
            | Op::Cumprod { .. }
            | Op::Sort(_)
            | Op::Stack(_)
            | Op::Pick(..)
            | Op::Put(..)
            | Op::Split(..)
            | Op::Flatten(..)
            | Op::Cat(..)
            | Op::Cut { .. }
            | Op::Paste { .. }
            | Op::Expand(_)
            | Op::Rename(..)
            | Op::StopGrad => node.operands.iter().all(|o| constant[o.0 as usize]),
            _ => false,
        };
        constant.push(fixed);
    }
    constant
}

impl Constants {
    /// The place of a constant of scope number `scope`.
    pub fn place(&mut self, scope: usize, dag: &Dag, id: ValueId, sizes: &[usize]) -> View {
        let copy = self.copy(scope, dag, id);
        if let Some((_, view)) = self.placed.iter().find(|p| p.0 == copy) {
            return view.clone();
        }
        let view = View::dense(Base::Constants, self.len, &dag.node(id).dims, sizes);
        self.len += view.len().next_multiple_of(16);
        self.placed.push((copy, view.clone()));
        view
    }

    /// The place of a number.
    pub fn number(&mut self, x: f64) -> View {
        let op = Op::Const(x);
        let place = Place { file: FileId(0), span: Span { start: 0, end: 0 } };
        self.dag.nodes.push(Node { op, operands: Vec::new(), dims: Vec::new(), name: String::new(), place });
        let view = View { base: Base::Constants, offset: self.len, axes: Vec::new() };
        self.len += 16;
        self.placed.push((ValueId(self.dag.nodes.len() as u32 - 1), view.clone()));
        view
    }

    fn copy(&mut self, scope: usize, dag: &Dag, id: ValueId) -> ValueId {
        if let Some(copy) = self.known.get(&(scope, id)) {
            return *copy;
        }
        let mut node = dag.node(id).clone();
        node.operands = node.operands.iter().map(|o| self.copy(scope, dag, *o)).collect();
        self.dag.nodes.push(node);
        let copy = ValueId(self.dag.nodes.len() as u32 - 1);
        self.known.insert((scope, id), copy);
        copy
    }
}
