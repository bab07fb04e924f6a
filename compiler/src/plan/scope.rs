//! What planning a scope works on: facts about its values, decisions about them, their homes, and the kernels so far.

use super::constants::constant;
use super::memory::{Buffer, Home, Kernel, Place, View};
use super::planner::Planner;
use super::{Element, Leaf, Scope};
use crate::lowered::{Dag, DimId, Fact, Op, ValueId};
use std::collections::BTreeMap;

/// A scope under planning: what is known of its values, what is decided about them, where they lie, and the kernels so far.
pub(super) struct ScopePlan<'d> {
    pub values: Values<'d>,
    pub joins: Joins,
    pub homes: Homes,
    pub kernels: Vec<Kernel>,
}

/// What is known of the values of a scope before anything is decided.
pub(super) struct Values<'d> {
    pub dag: &'d Dag,
    pub roots: Vec<ValueId>,
    /// Live users of each value; roots count as one more.
    pub uses: Vec<usize>,
    /// Who they are, roots apart.
    pub users: Vec<Vec<ValueId>>,
    pub live: Vec<bool>,
    pub constant: Vec<bool>,
    /// The values that parameters alone decide, if their kernels come first.
    pub prepared: Option<Vec<bool>>,
    /// Name of the scope, for its constants.
    number: usize,
    /// Whether these are the constants themselves.
    pub inside_constants: bool,
}

/// Which values share a kernel, other than by fusion.
#[derive(Default)]
pub(super) struct Joins {
    /// Sums into which a contraction adds: the sum, its other operand, the contraction.
    pub adds: BTreeMap<ValueId, (ValueId, ValueId)>,
    /// Values that only exist inside of the kernel of their user.
    pub absorbed: Vec<bool>,
    /// Products that several values share, and who belongs to which.
    pub groups: Vec<Group>,
    pub grouped: BTreeMap<ValueId, usize>,
    /// Rows and columns of the tile, in an attend.
    pub tile: Option<[DimId; 2]>,
}

/// Where values lie.
#[derive(Default)]
pub(super) struct Homes {
    pub buffers: Vec<Buffer>,
    /// Where each live value is (for values inside of fused loops: would be).
    pub place: Vec<Option<View>>,
    /// Results that someone wants in a place of their own.
    pub wishes: BTreeMap<ValueId, View>,
    /// Leaves that the caller fills in (of the root scope).
    pub leaves: Vec<(Leaf, View)>,
}

impl<'d> Values<'d> {
    fn new(dag: &'d Dag, roots: Vec<ValueId>, number: usize) -> Self {
        let live = dag.reachable(&roots);
        let mut users = dag.users();
        users.iter_mut().for_each(|all| all.retain(|user| live[user.0 as usize]));
        let mut uses: Vec<usize> = users.iter().map(Vec::len).collect();
        roots.iter().for_each(|r| uses[r.0 as usize] += 1);
        let constant = constant(dag);
        Self { dag, roots, uses, users, live, constant, prepared: None, number, inside_constants: false }
    }

    /// Whether a kernel makes this value (it is no leaf, no constant, and no other name for something).
    pub fn made(&self, id: ValueId) -> bool {
        let op = &self.dag.node(id).op;
        !self.is_constant(id) && !op.is(Fact::Leaf) && !op.is(Fact::Name)
    }

    pub fn is_constant(&self, id: ValueId) -> bool {
        self.constant[id.0 as usize] && !self.inside_constants
    }

    /// Where a constant is.
    pub fn constant_at(&self, planner: &mut Planner<'_>, id: ValueId) -> View {
        planner.constants.place(self.number, self.dag, id, &planner.sizes)
    }

    /// The value behind names that change nothing inside of a fused loop.
    pub fn looked_through(&self, mut id: ValueId) -> ValueId {
        while let Op::StopGrad | Op::Expand(_) = self.dag.node(id).op {
            if self.is_constant(id) {
                break;
            }
            id = self.dag.operands(id)[0];
        }
        id
    }
}

impl Homes {
    /// Where the caller puts a leaf.
    pub fn leaf(&mut self, planner: &Planner<'_>, leaf: Leaf, element: Element, dims: &[DimId]) -> View {
        if let Some((_, view)) = self.leaves.iter().find(|l| l.0 == leaf && l.1.element == element) {
            return view.clone();
        }
        let view = self.dense(element, dims, &planner.sizes, true);
        self.leaves.push((leaf, view.clone()));
        view
    }

    /// Where positions are, for kernels that look at where documents start.
    pub fn positions(&mut self, planner: &Planner<'_>) -> View {
        self.leaf(planner, Leaf::Positions, Element::U32, Leaf::Positions.dims())
    }

    /// The start of a new buffer.
    pub fn buffer(&mut self, element: Element, len: usize, pinned: bool) -> Place {
        self.buffers.push(Buffer { bytes: element.bytes() * len, pinned });
        Place { home: Home::Own(self.buffers.len() - 1), offset: 0 }
    }

    /// Where the arena of a body starts: a buffer of its own.
    pub fn arena(&mut self, body: &Scope) -> Place {
        self.buffer(Element::F32, body.arena.div_ceil(Element::F32.bytes()), false)
    }

    /// Resizes a view's buffer to `count` copies of the view side by side, alive throughout.
    pub fn grow(&mut self, view: &View, count: usize) {
        if let Some(buffer) = view.start.buffer() {
            self.buffers[buffer] = Buffer { bytes: view.element.bytes() * view.len() * count, pinned: true };
        }
    }

    /// A dense value in a new buffer.
    fn dense(&mut self, element: Element, dims: &[DimId], sizes: &[usize], pinned: bool) -> View {
        let len = dims.iter().map(|d| sizes[d.0 as usize]).product();
        View { element, ..View::dense(self.buffer(element, len, pinned), dims, sizes) }
    }

    /// A dense value of f32 in a new buffer.
    pub fn fresh(&mut self, dims: &[DimId], sizes: &[usize], pinned: bool) -> View {
        self.dense(Element::F32, dims, sizes, pinned)
    }

    /// The same, alive throughout.
    pub fn pinned(&mut self, dims: &[DimId], sizes: &[usize]) -> View {
        self.fresh(dims, sizes, true)
    }

    /// Keeps a buffer alive to the end of the scope.
    pub fn keep(&mut self, view: &View) {
        if let Some(buffer) = view.start.buffer() {
            self.buffers[buffer].pinned = true;
        }
    }
}

impl<'d> ScopePlan<'d> {
    pub fn new(planner: &mut Planner<'_>, dag: &'d Dag, roots: Vec<ValueId>) -> Self {
        planner.scopes += 1;
        let count = dag.len();
        Self {
            values: Values::new(dag, roots, planner.scopes),
            joins: Joins { absorbed: vec![false; count], ..Joins::default() },
            homes: Homes { place: vec![None; count], ..Homes::default() },
            kernels: Vec::new(),
        }
    }
}

/// What one product does for several values.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Its unit: contractions, or sums into which contractions add.
    pub members: Vec<ValueId>,
    /// The shared operand, if it is one value's place; else the gradients' wide buffer is the left operand.
    pub left: Side,
    pub right: Side,
    pub over: Vec<DimId>,
    pub result: Side,
    pub accumulate: bool,
}

/// Where an operand or result of a group is.
#[derive(Clone, Debug)]
pub(super) enum Side {
    /// The place of a value.
    Value(ValueId),
    /// A view of its own.
    View(View),
}
