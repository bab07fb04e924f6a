//! `plan`: from a graph and a shape to kernels. The order of decisions is that of the plan's essay.

use super::constants::{Constants, of_params};
use super::contraction::Roles;
use super::fuse::{Fusion, Role, Units};
use super::memory::{Layout, View};
use super::planner::{Planner, copy};
use super::scope::ScopePlan;
use super::{Base, Element, Leaf, Plan, Schedule, Scope};
use crate::lowered::{Dag, Fact, Lowered, Op, Shape, ValueId};
use crate::target::Target;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Plans a graph for a batch shape and a target.
pub fn plan(graph: &Arc<Lowered>, shape: Shape, target: &Target) -> Plan {
    graph.largest().into_iter().for_each(crate::work::at);
    let sizes: Vec<usize> = graph.dims.iter().map(|d| d.extent.at(shape)).collect();
    let constants = Constants::new(target.align);
    let mut planner = Planner { graph, shape, target: *target, sizes, constants, scopes: 0 };
    let mut scope = ScopePlan::new(&mut planner, &graph.dag, graph.roots());
    for (param, value) in &graph.param_grads {
        let view = planner.param_view(*param, Base::Grads);
        scope.wish(*value, view);
    }
    // without gradients, parameters keep their values from call to call, and so do the values computed from them alone
    if graph.param_grads.is_empty() && graph.input_grads.is_empty() {
        scope.values.prepared = Some(of_params(&graph.dag));
    }
    let prepared = scope.build(&mut planner, &mut root_leaf, &[]);
    scope.keep_prepared(prepared);
    let mut results: Vec<(ValueId, View)> = Vec::new();
    for root in graph.roots() {
        if !results.iter().any(|r| r.0 == root) {
            let view = scope.read(&mut planner, root);
            results.push((root, view));
        }
    }
    // parameter gradients that no kernel writes in place are copied to their places
    for (param, value) in &graph.param_grads {
        let to = planner.param_view(*param, Base::Grads);
        let from = scope.read(&mut planner, *value);
        if from != to {
            scope.kernels.push(copy(from, to, "gradient"));
        }
    }
    let norm = if graph.update { scope.emit_update(&mut planner) } else { None };
    results.iter().map(|r| &r.1).chain(&norm).for_each(|view| scope.homes.keep(view));
    let layout = Layout::new(&scope.kernels, &scope.homes.buffers, target.align);
    let addressed = |view: View| view.relocate(&mut |place, element| layout.start(place, element));
    let leaves = scope.homes.leaves.into_iter().map(|(leaf, view)| (leaf, addressed(view))).collect();
    let results = results.into_iter().map(|(value, view)| (value, addressed(view))).collect();
    let norm = norm.map(addressed);
    let root = Schedule::of(layout.scope(scope.kernels), &planner.sizes);

    let dag = std::mem::take(&mut planner.constants.dag);
    let placed = std::mem::take(&mut planner.constants.placed);
    let constants_len = planner.constants.len;
    let constants = planner.constants_scope(&dag, &placed);
    Plan {
        graph: graph.clone(),
        shape,
        sizes: planner.sizes,
        constants,
        constants_len,
        prepared,
        root,
        leaves,
        params: graph.params.starts.clone(),
        params_len: graph.params.len,
        results,
        norm,
    }
}

/// Places of the leaves of the whole graph: parameters in their buffer, all others where the caller puts them before a run.
fn root_leaf(scope: &mut ScopePlan<'_>, planner: &Planner<'_>, id: ValueId) -> View {
    let node = scope.values.dag.node(id);
    if let Op::Param(param) = node.op {
        return planner.param_view(param, Base::Params);
    }
    let leaf = Leaf::of(&node.op).unwrap_or_else(|| panic!("archc bug: {:?} is no leaf of a graph", node.op));
    scope.homes.leaf(planner, leaf, Element::F32, &node.dims)
}

impl Planner<'_> {
    fn constants_scope(&mut self, dag: &Dag, placed: &[(ValueId, View)]) -> Scope {
        let mut scope = ScopePlan::new(self, dag, placed.iter().map(|p| p.0).collect());
        scope.values.inside_constants = true;
        for (value, view) in placed {
            scope.wish(*value, view.clone());
        }
        let mut none = |_: &mut ScopePlan<'_>, _: &Planner<'_>, id: ValueId| -> View {
            panic!("archc bug: constant %{} depends on something", id.0)
        };
        scope.build(self, &mut none, &[]);
        for (value, to) in placed {
            let from = scope.read(self, *value);
            if from != *to {
                scope.kernels.push(copy(from, to.clone(), "constant"));
            }
        }
        Layout::new(&scope.kernels, &scope.homes.buffers, self.target.align).scope(scope.kernels)
    }
}

/// Places of a scope's own leaves.
pub(super) type LeafPlace<'l, 'd> = dyn FnMut(&mut ScopePlan<'d>, &Planner<'_>, ValueId) -> View + 'l;

impl<'d> ScopePlan<'d> {
    /// Requests a place for a result. The first request counts; only values that a kernel makes have one.
    pub fn wish(&mut self, value: ValueId, view: View) {
        if self.values.made(value) {
            self.homes.wishes.entry(value).or_insert(view);
        }
    }

    /// Whether a value has a wish.
    pub fn wished(&self, value: ValueId) -> bool {
        self.homes.wishes.contains_key(&self.base(value))
    }

    /// First value of a chain of in-place sums; its place is that of the whole chain.
    pub fn base(&self, mut value: ValueId) -> ValueId {
        while let Some((base, _)) = self.joins.adds.get(&value) {
            value = *base;
        }
        value
    }

    /// Keeps what the first kernels leave for the others, which run again without them.
    fn keep_prepared(&mut self, first: usize) {
        let mut left = vec![false; self.homes.buffers.len()];
        for (i, kernel) in self.kernels.iter().enumerate() {
            kernel.each_start(&mut |place| {
                if let Some(buffer) = place.buffer() {
                    left[buffer] |= i < first;
                    self.homes.buffers[buffer].pinned |= i >= first && left[buffer];
                }
            });
        }
    }

    /// Where to read a value.
    pub fn read(&mut self, planner: &mut Planner<'_>, id: ValueId) -> View {
        if self.values.is_constant(id) {
            return self.values.constant_at(planner, id);
        }
        match &self.homes.place[id.0 as usize] {
            Some(view) => view.clone(),
            None => panic!("archc bug: value %{} has no place", id.0),
        }
    }

    /// Plans and emits the kernels. Kernels that the `first` values need, or those of prepared values, come before all others; returns the
    /// number of these.
    pub fn build(&mut self, planner: &mut Planner<'_>, leaf: &mut LeafPlace<'_, 'd>, first: &[ValueId]) -> usize {
        self.find_adds(planner);
        self.find_absorbed(planner);
        self.find_groups(planner);
        self.find_parts(planner);
        self.find_places(planner, leaf);
        let roles = self.roles(planner);
        let gate = self.sources(&roles, first, &[]);
        let needs: Vec<Vec<ValueId>> = self.values.dag.ids().map(|id| self.needs(&roles, id, &gate)).collect();
        let reads: Vec<Vec<ValueId>> = self.values.dag.ids().map(|id| self.reads(&roles, id)).collect();
        let fused = |id: &ValueId| matches!(roles[id.0 as usize], Role::Fused(_));
        let direct: Vec<Vec<ValueId>> = reads.iter().map(|r| r.iter().copied().filter(fused).collect()).collect();
        let fusion = Fusion {
            graph: planner.graph,
            target: &planner.target,
            backward: ValueId(if self.is_root_dag(planner) { planner.graph.forward_nodes as u32 } else { u32::MAX }),
            reads: &reads,
            dag: self.values.dag,
            sizes: &planner.sizes,
            roles: &roles,
            needs: &needs,
            direct: &direct,
            grouped: &self.joins.grouped,
        };
        let units = fusion.units();
        let early = match &self.values.prepared {
            Some(prepared) => alone(&units, &needs, prepared),
            None => behind(&units, &needs, &gate),
        };
        let (order, split) = schedule(&units, &needs, &early);
        let mut split_kernels = 0;
        for (n, unit) in order.into_iter().enumerate() {
            if n == split {
                split_kernels = self.kernels.len();
            }
            let unit = &units.units[unit];
            if unit.fused {
                self.emit_fused(planner, unit, &roles);
            } else {
                match self.joins.grouped.get(&unit.members[0]) {
                    Some(group) => self.emit_group(planner, *group),
                    None => self.emit_kernel(planner, unit.members[0]),
                }
            }
            if n + 1 == split {
                split_kernels = self.kernels.len();
            }
        }
        split_kernels
    }

    fn roles(&self, planner: &Planner<'_>) -> Vec<Role> {
        let role = |id: ValueId| {
            let i = id.0 as usize;
            let (node, operands) = (self.values.dag.node(id), self.values.dag.operands(id));
            if !self.values.live[i] || self.values.is_constant(id) || node.op.is(Fact::Leaf) || self.joins.absorbed[i] {
                return Role::None;
            }
            if self.joins.adds.contains_key(&id) {
                return Role::Kernel;
            }
            let of = |n: usize| self.values.dag.node(operands[n]).dims.clone();
            match &node.op {
                Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Softmax(_) => Role::Fused(node.dims.clone()),
                Op::Const(_) => Role::Fused(Vec::new()),
                Op::Reduce(..) if self.joins.absorbed[operands[0].0 as usize] => Role::Kernel,
                Op::Reduce(..) => Role::Fused(of(0)),
                Op::Contract(over) => {
                    let window = operands.iter().any(|o| {
                        matches!(self.values.dag.node(*o).op, Op::Window { .. }) && self.joins.absorbed[o.0 as usize]
                    });
                    if window || !Roles::new(&of(0), &of(1), over).is_dot(&planner.sizes, &planner.target) {
                        Role::Kernel
                    } else {
                        let mut dims = [of(0), of(1)].concat();
                        planner.graph.order(&mut dims);
                        Role::Fused(dims)
                    }
                }
                Op::Emit(_) | Op::Final(_) => Role::None,
                op if op.is(Fact::Name) && self.is_name_here(planner, id) => Role::None,
                _ => Role::Kernel,
            }
        };
        self.values.dag.ids().map(role).collect()
    }

    /// The nearest values with roles on which these depend. The weights of a tile, which the device computes between kernels, depend on
    /// `gate`.
    fn sources(&self, roles: &[Role], of: &[ValueId], gate: &[ValueId]) -> Vec<ValueId> {
        let mut found = Vec::new();
        let mut stack = of.to_vec();
        while let Some(id) = stack.pop() {
            if roles[id.0 as usize] != Role::None {
                found.push(id);
            } else if let Op::Weight(..) | Op::Visible(..) = self.values.dag.node(id).op {
                found.extend(gate);
            } else if !self.values.is_constant(id) {
                stack.extend(self.values.dag.operands(id));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn needs(&self, roles: &[Role], id: ValueId, gate: &[ValueId]) -> Vec<ValueId> {
        match roles[id.0 as usize] {
            Role::None => Vec::new(),
            _ => self.sources(roles, self.values.dag.operands(id), gate),
        }
    }

    /// Operands of a fused value, aliases with equal elements looked through.
    fn reads(&self, roles: &[Role], id: ValueId) -> Vec<ValueId> {
        match roles[id.0 as usize] {
            Role::Fused(_) => self.values.dag.operands(id).iter().map(|o| self.values.looked_through(*o)).collect(),
            _ => Vec::new(),
        }
    }
}

/// Marks the units of these values and all units on which they depend.
fn behind(units: &Units, needs: &[Vec<ValueId>], values: &[ValueId]) -> Vec<bool> {
    let mut early = vec![false; units.units.len()];
    let mut stack: Vec<usize> = values.iter().filter_map(|v| units.of[v.0 as usize]).collect();
    while let Some(u) = stack.pop() {
        if !std::mem::replace(&mut early[u], true) {
            stack.extend(
                units.units[u].members.iter().flat_map(|m| &needs[m.0 as usize]).filter_map(|n| units.of[n.0 as usize]),
            );
        }
    }
    early
}

/// Marks the units whose members are all marked and that depend on such units only.
fn alone(units: &Units, needs: &[Vec<ValueId>], marked: &[bool]) -> Vec<bool> {
    let whole = |u: &super::fuse::Unit| !u.members.is_empty() && u.members.iter().all(|m| marked[m.0 as usize]);
    let mut early: Vec<bool> = units.units.iter().map(whole).collect();
    loop {
        let waits = |u: usize| {
            let mut needed = units.units[u].members.iter().flat_map(|m| &needs[m.0 as usize]);
            needed.any(|n| units.of[n.0 as usize].is_some_and(|o| !early[o]))
        };
        let late: Vec<usize> = (0..early.len()).filter(|u| early[*u] && waits(*u)).collect();
        if late.is_empty() {
            return early;
        }
        late.into_iter().for_each(|u| early[u] = false);
    }
}

/// Topological order of the units, otherwise in program order; early units come before all others. Also the number of early units.
fn schedule(units: &Units, needs: &[Vec<ValueId>], early: &[bool]) -> (Vec<usize>, usize) {
    let count = units.units.len();
    let mut waits = vec![0usize; count];
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (u, unit) in units.units.iter().enumerate() {
        let mut operands: Vec<usize> =
            unit.members.iter().flat_map(|m| &needs[m.0 as usize]).filter_map(|n| units.of[n.0 as usize]).collect();
        operands.sort_unstable();
        operands.dedup();
        for o in operands.into_iter().filter(|o| *o != u) {
            waits[u] += 1;
            users[o].push(u);
        }
    }
    // a max-heap of reversed keys: early units first, then by their last member
    let key = |u: usize| {
        let last = units.units[u].members.last().map_or(0, |m| m.0);
        (early[u], std::cmp::Reverse(last), u)
    };
    let mut ready: BinaryHeap<_> =
        (0..count).filter(|u| waits[*u] == 0 && !units.units[*u].members.is_empty()).map(key).collect();
    let mut order = Vec::with_capacity(count);
    while let Some((_, _, u)) = ready.pop() {
        order.push(u);
        for &user in &users[u] {
            waits[user] -= 1;
            if waits[user] == 0 {
                ready.push(key(user));
            }
        }
    }
    let all = units.units.iter().filter(|u| !u.members.is_empty()).count();
    assert!(order.len() == all, "archc bug: the plan's kernels wait for each other");
    let split = order.iter().filter(|u| early[**u]).count();
    (order, split)
}
