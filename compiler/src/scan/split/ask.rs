//! Requests to a scan's parts: all values of them that its emits and the updates of later parts need.

use super::{Given, Plan, Query, Splitter};
use crate::graph::{NodeId, Op};
use crate::scan::algebra::{Factor, Product, Ref};
use std::collections::BTreeSet;

impl Splitter<'_> {
    /// Hop after which a value is known: one more than that of the reads of this group on which it depends. The plans of the value and of
    /// its operands are complete.
    pub(super) fn hop(&self, id: NodeId, group: usize) -> usize {
        if !self.groups[group].on[id.0 as usize] {
            return 0;
        }
        let known = |o: &NodeId| self.hops[o.0 as usize][group];
        match &self.plans[id.0 as usize] {
            Plan::Given(g) if *g == group => 1,
            Plan::Given(_) => 0,
            Plan::Computed => self.body().operands(id).iter().map(known).max().unwrap_or(0),
            Plan::Reads(g, reads) => {
                let own = |(by, read): &(Product, Option<Query>)| {
                    let query = read.as_ref().map_or(0, |r| self.product_hop(&r.by, group));
                    let read = if *g == group && read.is_some() { query + 1 } else { query };
                    read.max(self.product_hop(by, group))
                };
                reads.iter().map(own).max().unwrap_or(0)
            }
        }
    }

    pub(super) fn product_hop(&self, product: &Product, group: usize) -> usize {
        let mut nodes = Vec::new();
        refs(product, &mut nodes);
        nodes.iter().map(|id| self.hops[id.0 as usize][group]).max().unwrap_or(0)
    }

    pub(super) fn ask(&mut self, id: NodeId) {
        let mut seen = BTreeSet::new();
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            if !self.dependent(id) || !seen.insert(id) {
                continue;
            }
            match self.plans[id.0 as usize].clone() {
                Plan::Computed => stack.extend(self.body().operands(id)),
                Plan::Given(group) => {
                    self.give((group, 0), Given::Node(id));
                }
                Plan::Reads(group, reads) => {
                    for (by, read) in reads {
                        refs(&by, &mut stack);
                        if let Some(read) = read {
                            refs(&read.by, &mut stack);
                            let hop = self.product_hop(&read.by, group);
                            self.give((group, hop), Given::Read(read));
                        }
                    }
                }
            }
        }
    }

    pub(super) fn ask_for_update(&mut self, group: usize) {
        // emitted values may need further values of earlier groups inside
        let given: Vec<NodeId> = self
            .asked
            .iter()
            .filter(|(k, _)| k.0 == group)
            .flat_map(|(_, g)| g)
            .filter_map(|g| match g {
                Given::Node(id) => Some(*id),
                Given::Read(_) => None,
            })
            .collect();
        let body = self.body();
        let mut roots: Vec<NodeId> = self.groups[group].states.iter().map(|s| self.algebra.scan.next[*s]).collect();
        roots.extend(given);
        let mut seen = BTreeSet::new();
        while let Some(id) = roots.pop() {
            if !seen.insert(id) {
                continue;
            }
            if self.groups[group].on[id.0 as usize] {
                roots.extend(body.operands(id));
            } else {
                for leaf in self.frontier(id) {
                    self.ask(leaf);
                }
            }
        }
    }

    pub(super) fn give(&mut self, key: (usize, usize), given: Given) -> usize {
        let list = self.asked.entry(key).or_default();
        match list.iter().position(|g| *g == given) {
            Some(i) => i,
            None => {
                list.push(given);
                list.len() - 1
            }
        }
    }

    /// Two groups that would exchange whole matrices at every token, so that one scan is better.
    pub(super) fn too_wide(&self) -> Option<(usize, usize)> {
        let body = self.body();
        for later in 1..self.groups.len() {
            let shape = |s: usize| &self.algebra.scan.states[s].axes;
            let contracted = |s: usize| {
                let axes = shape(s);
                axes.len() > 1
                    && body.ids().any(|id| match body.op(id) {
                        Op::Contract(over) | Op::Reduce(_, over) => {
                            self.groups[later].on[id.0 as usize] && over.iter().any(|a| axes.contains(a))
                        }
                        _ => false,
                    })
            };
            for earlier in 0..later {
                for given in self.asked.iter().filter(|(k, _)| k.0 == earlier).flat_map(|(_, g)| g) {
                    let Given::Node(id) = given else { continue };
                    let used = body.ids().any(|user| {
                        self.groups[later].core[user.0 as usize]
                            && self.groups[later].on[user.0 as usize]
                            && body.operands(user).iter().any(|o| self.reaches(*o, *id, later))
                    });
                    let wide = self.groups[later]
                        .states
                        .iter()
                        .any(|s| contracted(*s) && shape(*s).iter().all(|a| body.ty(*id).axes.contains(a)));
                    if used && wide {
                        return Some((earlier, later));
                    }
                }
            }
        }
        None
    }

    /// Whether a value outside of a group is computed from another.
    pub(super) fn reaches(&self, from: NodeId, to: NodeId, group: usize) -> bool {
        let mut seen = BTreeSet::new();
        let mut stack = vec![from];
        while let Some(id) = stack.pop() {
            if self.groups[group].on[id.0 as usize] || !seen.insert(id) {
                continue;
            }
            if id == to {
                return true;
            }
            stack.extend(self.body().operands(id));
        }
        false
    }
}

/// The body nodes in a product.
fn refs(product: &Product, into: &mut Vec<NodeId>) {
    for factor in &product.factors {
        match factor {
            Factor::Plain(Ref::Body(id))
            | Factor::Recip(Ref::Body(id))
            | Factor::Is(Ref::Body(id))
            | Factor::Not(Ref::Body(id)) => {
                into.push(*id);
            }
            Factor::Dot(_, product) => refs(product, into),
            _ => {}
        }
    }
}
