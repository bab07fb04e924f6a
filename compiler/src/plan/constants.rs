//! Values that are the same at every call: computed once, when a session is made.

use super::memory::{Place, View};
use super::roll::Numbered;
use super::{Base, Element};
use crate::lowered::{Dag, Fact, Node, Op, ValueId};
use crate::source::{self, FileId};
use archc_grammar::Span;
use std::collections::BTreeMap;

/// All constants that kernels read, as one DAG with a place for each.
#[derive(Default)]
pub(super) struct Constants {
    /// Nodes of the constants of all scopes.
    pub dag: Dag,
    /// Constants that are read, with their views.
    pub placed: Vec<(ValueId, View)>,
    /// Total length of all constants, in elements, padding included.
    pub len: usize,
    /// Alignment of each constant, in elements.
    align: usize,
    /// View of each constant, by scope number and value.
    known: BTreeMap<(usize, ValueId), View>,
    /// Definition of each placed constant, and its offset in elements.
    distinct: Vec<(Essence, usize)>,
}

/// A constant's definition: its DAG with dimensions renumbered, and the dimensions' lengths.
type Essence = (Dag, Vec<usize>);

/// Marks values that depend on no token, parameter, state or step.
pub(super) fn constant(dag: &Dag) -> Vec<bool> {
    made_of(dag, &|_| false)
}

/// Marks values that depend on parameters, but on no token, state or step.
pub(super) fn of_params(dag: &Dag) -> Vec<bool> {
    made_of(dag, &|op| matches!(op, Op::Param(_)))
}

/// Marks values computed from numbers and the given leaves by pure ops only.
fn made_of(dag: &Dag, leaf: &dyn Fn(&Op) -> bool) -> Vec<bool> {
    let mut constant: Vec<bool> = Vec::with_capacity(dag.len());
    for id in dag.ids() {
        let op = &dag.node(id).op;
        let fixed = leaf(op) || op.is(Fact::Pure) && dag.operands(id).iter().all(|o| constant[o.0 as usize]);
        constant.push(fixed);
    }
    constant
}

impl Constants {
    /// No constants yet; each will start at a multiple of `align` bytes.
    pub fn new(align: usize) -> Self {
        Self { align: align.div_ceil(Element::F32.bytes()), ..Self::default() }
    }

    /// View of a constant of scope number `scope`. Equal constants share a place.
    pub fn place(&mut self, scope: usize, dag: &Dag, id: ValueId, sizes: &[usize]) -> View {
        if let Some(view) = self.known.get(&(scope, id)) {
            return view.clone();
        }
        let mut view = View::dense(self.next(), &dag.node(id).dims, sizes);
        let mut own = Dag::new();
        gather(dag, id, &mut BTreeMap::new(), &mut own);
        let mut numbers = Numbered::default();
        let mut same = own.clone();
        for id in own.ids() {
            let node = same.node_mut(id);
            node.op.each_dim(&mut |d| numbers.number(d));
            node.dims.iter_mut().for_each(|d| numbers.number(d));
        }
        let essence = (same, numbers.lengths(sizes));
        match self.distinct.iter().find(|d| d.0 == essence) {
            Some((_, start)) => view.start.offset = *start,
            None => {
                self.distinct.push((essence, view.start.offset));
                self.add(own, view.clone());
            }
        }
        self.known.insert((scope, id), view.clone());
        view
    }

    /// View of a scalar constant.
    pub fn number(&mut self, x: f64) -> View {
        let op = Op::Const(x);
        let place = source::Place { file: FileId(0), span: Span { start: 0, end: 0 } };
        let view = View { start: self.next(), element: Element::F32, axes: Vec::new() };
        let mut own = Dag::new();
        own.add(Node { op, dims: Vec::new(), name: String::new(), place }, &[]);
        self.add(own, view.clone());
        view
    }

    fn next(&self) -> Place {
        Place::there(Base::Constants, self.len)
    }

    /// Adds a constant's DAG, whose last node is read at `view`.
    fn add(&mut self, own: Dag, view: View) {
        let before = self.dag.len() as u32;
        for (node, mut operands) in own.into_nodes() {
            operands.iter_mut().for_each(|o| o.0 += before);
            self.dag.add(node, &operands);
        }
        self.len += view.len().next_multiple_of(self.align);
        self.placed.push((ValueId(self.dag.len() as u32 - 1), view));
    }
}

/// Copies a value and everything it is computed from into `own`; returns the value's new id.
fn gather(dag: &Dag, id: ValueId, at: &mut BTreeMap<ValueId, ValueId>, own: &mut Dag) -> ValueId {
    if let Some(copy) = at.get(&id) {
        return *copy;
    }
    let operands: Vec<ValueId> = dag.operands(id).iter().map(|o| gather(dag, *o, at, own)).collect();
    let copy = own.add(dag.node(id).clone(), &operands);
    at.insert(id, copy);
    copy
}
