//! Merges matrix products that share an operand.
//!
//! Linear maps of the same input (queries, keys, values, gates) have their weights contiguous in memory
//! ([`Graph::param_layout`](crate::graph::Graph::param_layout)), so that
//! - forward, they are one product with a wide result, of which each map's result is a slice;
//! - backward, if the results' gradients lie side by side in the same way, the weights' gradients are one product, and so is the gradient
//!   of the input, which is then one sum over all maps instead of one accumulating product for each map.
//!
//! Narrow maps (a gate of four heads) gain most: alone they would use a fraction of the machine's throughput.

use super::contraction::Roles;
use super::memory::{Kernel, Place, View};
use super::planner::Planner;
use super::scope::{Group, ScopePlan, Side};
use super::{Axis, Base, Element, Work};
use crate::graph::ParamId;
use crate::lowered::{DimId, Op, ValueId};
use std::collections::BTreeMap;

/// The dimension of a wide result or gradient, used only by its product.
const WIDE: DimId = DimId(u32::MAX);

/// What maps share: their input, the dimensions that are summed, and the axes of their weights' rows in the order of memory.
type Shared = (ValueId, Vec<DimId>, Vec<DimId>);

/// A linear map: its contraction, and its weight as a matrix.
struct Map {
    product: ValueId,
    weight: Weight,
}

/// A weight as a contiguous matrix [out, in].
#[derive(Clone, Debug)]
struct Weight {
    param: ParamId,
    start: usize,
    out: Vec<DimId>,
    /// The axes of a row, outermost first.
    inner: Vec<DimId>,
    wide: usize,
    deep: usize,
}

impl ScopePlan<'_> {
    /// Finds groups, and requests contiguous places for their results.
    pub fn find_groups(&mut self, planner: &Planner<'_>) {
        let mut by_input: BTreeMap<Shared, Vec<Map>> = BTreeMap::new();
        for id in
            self.values.dag.ids().filter(|id| self.values.live[id.0 as usize] && !self.joins.absorbed[id.0 as usize])
        {
            let Op::Contract(over) = &self.values.dag.node(id).op else { continue };
            if !self.is_product(planner, id) || self.wished(id) {
                continue;
            }
            let operands = self.values.dag.operands(id);
            for (x, w) in [(operands[0], operands[1]), (operands[1], operands[0])] {
                if let Some(weight) = self.weight(planner, w, over)
                    && self.side_by_side(x, &weight, over)
                {
                    let mut over = over.clone();
                    over.sort_unstable();
                    by_input.entry((x, over, weight.inner.clone())).or_default().push(Map { product: id, weight });
                    break;
                }
            }
        }
        for ((x, over, _), maps) in by_input {
            for run in neighbours(maps) {
                self.forward_group(planner, x, &over, &run);
            }
        }
        self.backward_groups(planner);
    }

    /// The weight behind a value, if its matrix is contiguous.
    fn weight(&self, planner: &Planner<'_>, value: ValueId, over: &[DimId]) -> Option<Weight> {
        let (param, view) = self.param(planner, value)?;
        let out: Vec<DimId> = view.axes.iter().map(|a| a.dim).filter(|d| !over.contains(d)).collect();
        // in the order of memory, outermost first
        let sorted = |mut dims: Vec<DimId>| {
            dims.sort_by_key(|d| std::cmp::Reverse(view.stride(*d)));
            dims
        };
        let (out, inner) = (sorted(out), sorted(over.to_vec()));
        let (wide, row) = view.run(&out)?;
        let (deep, col) = view.run(&inner)?;
        let dense = (wide == 1 || row == deep as isize) && (deep == 1 || col == 1);
        // the result has these axes in canonical order, which must be that of memory
        let mut canonical = out.clone();
        planner.graph.order(&mut canonical);
        (dense && canonical == out && !out.is_empty() && wide <= planner.target.narrow).then_some(Weight {
            param,
            start: view.start.offset,
            out,
            inner,
            wide,
            deep,
        })
    }

    /// The parameter behind renames, with its view.
    fn param(&self, planner: &Planner<'_>, value: ValueId) -> Option<(ParamId, View)> {
        match &self.values.dag.node(value).op {
            Op::Param(p) => Some((*p, planner.param_view(*p, Base::Params))),
            Op::Rename(from, to) => {
                let (p, mut view) = self.param(planner, self.values.dag.operands(value)[0])?;
                view.axes.iter_mut().filter(|a| a.dim == *from).for_each(|a| a.dim = *to);
                Some((p, view))
            }
            _ => None,
        }
    }

    /// Whether a map's result has the input's other dimensions followed by the weight's.
    fn side_by_side(&self, x: ValueId, weight: &Weight, over: &[DimId]) -> bool {
        let lead = self.values.dag.node(x).dims.iter().filter(|d| !over.contains(d));
        let mut dims: Vec<DimId> = lead.copied().collect();
        let apart = dims.iter().all(|d| !weight.out.contains(d));
        dims.extend(&weight.out);
        apart && over.iter().all(|d| self.values.dag.node(x).dims.contains(d)) && !dims.is_empty()
    }

    fn lead(&self, x: ValueId, over: &[DimId]) -> Vec<DimId> {
        self.values.dag.node(x).dims.iter().copied().filter(|d| !over.contains(d)).collect()
    }

    /// A buffer `[lead, wide]`, and the slice of each weight's result in it.
    fn wide(&mut self, planner: &Planner<'_>, lead: &[DimId], weights: &[Weight]) -> (View, Vec<View>) {
        let total: usize = weights.iter().map(|w| w.wide).sum();
        let mut axes = View::dense(Place::port(0), lead, &planner.sizes).axes;
        axes.iter_mut().for_each(|a| a.stride *= total as isize);
        axes.push(Axis { dim: WIDE, size: total, stride: 1 });
        let len = axes.iter().map(|a| a.size).product();
        let view = View { start: self.homes.buffer(Element::F32, len, false), element: Element::F32, axes };
        let mut before = 0;
        let slices = weights
            .iter()
            .map(|w| {
                let own = View::dense(view.start, &w.out, &planner.sizes);
                let mut slice = view.clone();
                slice.start.offset += before;
                slice.axes.pop();
                slice.axes.extend(own.axes);
                planner.sort(&mut slice);
                before += w.wide;
                slice
            })
            .collect();
        (view, slices)
    }

    /// Weights of a run (or their gradients) as one matrix.
    fn matrix(&self, base: Base, weights: &[Weight], inner: &View) -> View {
        let total = weights.iter().map(|w| w.wide).sum();
        let deep = weights[0].deep as isize;
        let mut axes = vec![Axis { dim: WIDE, size: total, stride: deep }];
        // the inner axes in the order of memory
        axes.extend(inner.axes.iter().copied());
        View { start: Place::there(base, weights[0].start), element: Element::F32, axes }
    }

    /// Inner axes of a weight's matrix.
    fn inner(&self, planner: &Planner<'_>, param: ParamId, over: &[DimId], value: ValueId) -> View {
        let view = self.param(planner, value).map(|p| p.1).unwrap_or_else(|| planner.param_view(param, Base::Params));
        let mut view = view;
        view.axes.retain(|a| over.contains(&a.dim));
        view
    }

    fn forward_group(&mut self, planner: &Planner<'_>, x: ValueId, over: &[DimId], maps: &[Map]) {
        let weights: Vec<Weight> = maps.iter().map(|m| m.weight.clone()).collect();
        let (wide, slices) = self.wide(planner, &self.lead(x, over), &weights);
        for (map, slice) in maps.iter().zip(slices) {
            self.wish(map.product, slice);
        }
        let first = self.values.dag.operands(maps[0].product);
        let weight = if first[0] == x { first[1] } else { first[0] };
        let inner = self.inner(planner, weights[0].param, over, weight);
        let right = Side::View(self.matrix(Base::Params, &weights, &inner));
        let members = maps.iter().map(|m| m.product).collect();
        let group = Group {
            members,
            left: Side::Value(x),
            right,
            over: over.to_vec(),
            result: Side::View(wide),
            accumulate: false,
        };
        self.add_group(group);
    }

    fn add_group(&mut self, mut group: Group) {
        group.members.sort_unstable();
        for m in &group.members {
            self.joins.grouped.insert(*m, self.joins.groups.len());
        }
        self.joins.groups.push(group);
    }

    /// Finds groups among gradients: contractions of gradients with the weights' inputs, and with the weights.
    fn backward_groups(&mut self, planner: &Planner<'_>) {
        // gradients of weights by input and contracted dimensions
        let mut by_input: BTreeMap<Shared, Vec<(Map, ValueId)>> = BTreeMap::new();
        for (param, value) in &planner.graph.param_grads {
            let mut product = *value;
            // dimensions of the product and their names in the gradient
            let mut names: Vec<(DimId, DimId)> = Vec::new();
            if !self.is_root_dag(planner) {
                return;
            }
            while let Op::Rename(from, to) = self.values.dag.node(product).op {
                let last = names.iter().find(|n| n.0 == to).map_or(to, |n| n.1);
                names.push((from, last));
                product = self.values.dag.operands(product)[0];
            }
            let Op::Contract(over) = &self.values.dag.node(product).op else { continue };
            if !self.is_product(planner, product)
                || self.joins.absorbed[product.0 as usize]
                || self.values.uses[product.0 as usize] != 1
            {
                continue;
            }
            let view = planner.param_view(*param, Base::Grads);
            let operands = self.values.dag.operands(product);
            for (dy, x) in [(operands[0], operands[1]), (operands[1], operands[0])] {
                let lead: Vec<DimId> =
                    self.values.dag.node(dy).dims.iter().copied().filter(|d| over.contains(d)).collect();
                let out: Vec<DimId> =
                    self.values.dag.node(dy).dims.iter().copied().filter(|d| !over.contains(d)).collect();
                let deep: usize = self
                    .values
                    .dag
                    .node(x)
                    .dims
                    .iter()
                    .filter(|d| !over.contains(d))
                    .map(|d| planner.size(*d))
                    .product();
                let wide: usize = out.iter().map(|d| planner.size(*d)).product();
                // dense in checkpoint order: the OUT axes first, in canonical order, then the IN axes
                let shape = planner.graph.source.param(*param);
                let places = shape.axes.iter().map(|a| crate::lowered::Lowered::axis_dim(*a));
                let count = places.clone().count();
                let named = |d: &DimId| names.iter().find(|n| n.0 == *d).map_or(*d, |n| n.1);
                let fits = shape.per == 0
                    && count > 0
                    && wide * deep == view.len()
                    && places.clone().take(shape.out).eq(out.iter().map(named));
                let inner: Vec<DimId> = places
                    .skip(shape.out)
                    .map(|place| names.iter().find(|n| n.1 == place).map_or(place, |n| n.0))
                    .collect();
                let free = self.values.made(dy)
                    && !self.wished(dy)
                    && !self.values.roots.contains(&dy)
                    && !self.joins.grouped.contains_key(&dy);
                let apart = self.values.dag.node(x).dims.iter().all(|d| over.contains(d) || !out.contains(d));
                if fits
                    && free
                    && apart
                    && wide <= planner.target.narrow
                    && !out.is_empty()
                    && dy != x
                    && !lead.is_empty()
                {
                    let weight =
                        Weight { param: *param, start: view.start.offset, out, inner: inner.clone(), wide, deep };
                    let mut over = over.clone();
                    over.sort_unstable();
                    by_input.entry((x, over, inner)).or_default().push((Map { product, weight }, dy));
                    break;
                }
            }
        }
        for ((x, over, _), maps) in by_input {
            let dys: BTreeMap<ValueId, ValueId> = maps.iter().map(|(m, dy)| (m.product, *dy)).collect();
            for run in neighbours(maps.into_iter().map(|m| m.0).collect()) {
                let of: Vec<ValueId> = run.iter().map(|m| dys[&m.product]).collect();
                let mut distinct = of.clone();
                distinct.sort_unstable();
                distinct.dedup();
                if distinct.len() == of.len() {
                    self.backward_group(planner, x, &over, &run, &of);
                }
            }
        }
    }

    /// Whether this scope is the graph's own: only it has gradients of parameters.
    pub fn is_root_dag(&self, planner: &Planner<'_>) -> bool {
        std::ptr::eq(self.values.dag, &planner.graph.dag)
    }

    fn backward_group(&mut self, planner: &Planner<'_>, x: ValueId, over: &[DimId], maps: &[Map], dys: &[ValueId]) {
        let weights: Vec<Weight> = maps.iter().map(|m| m.weight.clone()).collect();
        let lead: Vec<DimId> = self.values.dag.node(dys[0]).dims.iter().copied().filter(|d| over.contains(d)).collect();
        let (wide, slices) = self.wide(planner, &lead, &weights);
        for (dy, slice) in dys.iter().zip(slices) {
            self.wish(self.base(*dy), slice);
        }
        // d weights = d results^T input, written to the gradients' own places
        let mut inner = View::dense(Place::there(Base::Grads, 0), &self.lead(x, over), &planner.sizes);
        let in_order = weights[0].inner.iter().copied().eq(inner.axes.iter().map(|a| a.dim));
        if in_order {
            let result = self.matrix(Base::Grads, &weights, &inner);
            self.add_group(Group {
                members: maps.iter().map(|m| m.product).collect(),
                left: Side::View(wide.clone()),
                right: Side::Value(x),
                over: over.to_vec(),
                result: Side::View(result),
                accumulate: false,
            });
        }
        // d input += d results weights: a chain of sums, each adding one map's product
        let mut chain: Vec<ValueId> = Vec::new();
        let mut over_back: Option<Vec<DimId>> = None;
        for (dy, weight) in dys.iter().zip(&weights) {
            let back = self.values.dag.ids().filter(|u| self.values.live[u.0 as usize]).find(|u| {
                let (node, operands) = (self.values.dag.node(*u), self.values.dag.operands(*u));
                let Op::Contract(back) = &node.op else { return false };
                let mut sorted = back.clone();
                planner.graph.order(&mut sorted);
                let own: Vec<DimId> =
                    self.values.dag.node(*dy).dims.iter().copied().filter(|d| sorted.contains(d)).collect();
                operands.contains(dy)
                    && operands.iter().any(|o| {
                        self.param(planner, *o).is_some_and(|(p, v)| {
                            p == weight.param && {
                                inner = v;
                                true
                            }
                        })
                    })
                    && own == sorted
                    && own.iter().map(|d| planner.size(*d)).product::<usize>() == weight.wide
                    && self.is_product(planner, *u)
            });
            let Some(back) = back else { return };
            if let Op::Contract(dims) = &self.values.dag.node(back).op {
                over_back.get_or_insert_with(|| dims.clone());
            }
            chain.push(back);
        }
        let Some(first_over) = over_back else { return };
        inner.axes.retain(|a| !first_over.contains(&a.dim));
        self.chain_group(&weights, &chain, wide, &inner);
    }

    /// Merges the sum of several maps' products into one product, if they are added one after the other.
    fn chain_group(&mut self, weights: &[Weight], products: &[ValueId], wide: View, inner: &View) {
        // the sum that adds a product, or the product itself where it is the base of the chain
        let holder = |product: ValueId| self.joins.adds.iter().find(|(_, (_, added))| *added == product).map(|a| *a.0);
        let mut members: Vec<ValueId> = products.iter().map(|p| holder(*p).unwrap_or(*p)).collect();
        members.sort_unstable();
        members.dedup();
        let base_product = products.iter().find(|p| holder(**p).is_none()).copied();
        if members.len() != products.len() || products.iter().filter(|p| holder(**p).is_none()).count() > 1 {
            return;
        }
        // consecutive: each sum's base is the member before
        for pair in members.windows(2) {
            if self.joins.adds.get(&pair[1]).map(|a| a.0) != Some(pair[0]) {
                return;
            }
        }
        if base_product.is_some_and(|p| members[0] != p || self.joins.grouped.contains_key(&p)) {
            return;
        }
        let dims = &self.values.dag.node(members[0]).dims;
        if inner.axes.iter().any(|a| !dims.contains(&a.dim)) {
            return;
        }
        let right = Side::View(self.matrix(Base::Params, weights, inner));
        let last = members[members.len() - 1];
        self.add_group(Group {
            members,
            left: Side::View(wide),
            right,
            over: vec![WIDE],
            result: Side::Value(last),
            accumulate: base_product.is_none(),
        });
    }

    /// Emits the product of a group.
    pub fn emit_group(&mut self, planner: &mut Planner<'_>, group: usize) {
        let group = self.joins.groups[group].clone();
        let name = self.values.dag.node(group.members[0]).name.clone();
        let mut view = |side: &Side| match side {
            Side::Value(v) => self.read(planner, *v),
            Side::View(v) => v.clone(),
        };
        let (a, b, c) = (view(&group.left), view(&group.right), view(&group.result));
        let dims = |v: &View| -> Vec<DimId> { v.axes.iter().map(|a| a.dim).collect() };
        let roles = Roles::new(&dims(&a), &dims(&b), &group.over);
        self.kernels.push(Kernel { work: Work::Gemm(roles.gemm(&a, &b, &c, group.accumulate, self.joins.tile)), name });
    }
}

/// Runs of at least two maps whose weights are contiguous in memory.
fn neighbours(mut maps: Vec<Map>) -> Vec<Vec<Map>> {
    maps.sort_by_key(|m| m.weight.start);
    let mut runs: Vec<Vec<Map>> = Vec::new();
    for map in maps {
        match runs.last_mut().and_then(|r| r.last().map(|l| l.weight.start + l.weight.wide * l.weight.deep)) {
            Some(end) if end == map.weight.start => {
                if let Some(run) = runs.last_mut() {
                    run.push(map);
                }
            }
            _ => runs.push(vec![map]),
        }
    }
    runs.retain(|r| r.len() > 1);
    runs
}
