//! Loops: the body planned as a scope of its own, whose captures, states and emits are ports.

use super::super::memory::{Kernel, Layout, Place, View};
use super::super::planner::{Planner, copy};
use super::super::scope::ScopePlan;
use super::super::{Definition, Element, LoopKernel, Port, Start, StateSlot, Work};
use crate::lowered::{DimId, Op, ValueId};
use std::sync::Arc;

impl ScopePlan<'_> {
    /// Emits the kernel of a loop.
    pub fn emit_loop(&mut self, planner: &mut Planner<'_>, id: ValueId) {
        let (node, operands) = (self.values.dag.node(id), self.values.dag.operands(id));
        let Op::Loop(l) = &node.op else { panic!("archc bug: %{} is no loop", id.0) };
        let mut moving = l.map.clone();
        moving.push(l.over);
        let mut ports: Vec<Option<Port<Place>>> = Vec::new();
        let port = |view: &View| -> (Port<Place>, View) {
            let (inner, mut map) = view.without(&moving);
            let over = map.pop().unwrap_or(0);
            (Port { outer: inner.clone(), map, over }, inner)
        };

        // emits that are read, and final values, with their places outside
        let mut emits: Vec<(usize, ValueId)> = Vec::new();
        let mut finals: Vec<(usize, ValueId)> = Vec::new();
        for &user in &self.values.users[id.0 as usize] {
            match self.values.dag.node(user).op {
                Op::Emit(i) => emits.push((i, user)),
                Op::Final(i) => finals.push((i, user)),
                _ => {}
            }
        }
        let mut roots = l.next.clone();
        roots.extend(emits.iter().map(|(i, _)| l.emits[*i].1));
        let mut body = ScopePlan::new(planner, &l.body, roots);

        let mut states: Vec<StateSlot<Place>> = Vec::new();
        // the two buffers of each state, and its view in the first one
        let mut buffers: Vec<[Place; 2]> = Vec::new();
        let mut views: Vec<View> = Vec::new();
        for (i, state) in l.states.iter().enumerate() {
            let (old, new) = (ports.len(), ports.len() + 1);
            ports.extend([None, None]);
            let view = View::dense(Place::port(old), &state.dims, &planner.sizes);
            let len = view.len();
            buffers.push([0, 1].map(|_| body.homes.buffer(Element::F32, len, true)));
            let initial = self.read(planner, operands[i]);
            let (mut initial, inner) = port(&initial);
            // a state may have dimensions along which its initial value is constant
            initial.outer.axes =
                view.axes.iter().map(|a| super::super::Axis { stride: inner.stride(a.dim), ..*a }).collect();
            let last = finals.iter().find(|f| f.0 == i).map(|f| self.read(planner, f.1));
            let last = last.map(|v| port(&v).0);
            body.wish(l.next[i], view.clone().at(Place::port(new)));
            let (none, own) = ([Start::port(old); 2], view.clone().at(Start::port(old)));
            states.push(StateSlot { len, buffers: none, ports: [old, new], initial, view: own, last });
            views.push(view);
        }
        let mut copies: Vec<(ValueId, View)> = Vec::new();
        let mut definition = Definition { op: node.op.clone(), reads: Vec::new(), emits: Vec::new() };
        for (i, user) in &emits {
            definition.emits.push((*i, ports.len()));
            let outer = self.read(planner, *user);
            let (port, inner) = port(&outer);
            let view = inner.at(Place::port(ports.len()));
            ports.push(Some(port));
            let value = l.emits[*i].1;
            body.wish(value, view.clone());
            copies.push((value, view));
        }
        let mut read: Vec<Option<&Op>> = vec![None; operands.len()];
        for v in l.body.ids().filter(|v| body.values.live[v.0 as usize]) {
            if let op @ Op::Capture(c, _) = &l.body.node(v).op {
                read[*c] = Some(op);
            }
        }
        let mut capture_ports: Vec<Option<View>> = Vec::new();
        for (i, outer) in operands[l.states.len()..].iter().enumerate() {
            let Some(leaf) = read[i] else {
                capture_ports.push(None);
                continue;
            };
            definition.reads.push((leaf.clone(), ports.len()));
            let (port, inner) = port(&self.read(planner, *outer));
            capture_ports.push(Some(inner.at(Place::port(ports.len()))));
            ports.push(Some(port));
        }
        let mut leaf = |s: &mut ScopePlan<'_>, _: &Planner<'_>, v: ValueId| -> View {
            match &s.values.dag.node(v).op {
                Op::State(i, _) => views[*i].clone(),
                Op::Capture(i, _) => match &capture_ports[*i] {
                    Some(view) => view.clone(),
                    None => panic!("archc bug: capture {i} of a loop has no port"),
                },
                op => panic!("archc bug: {op:?} in the body of a loop"),
            }
        };
        body.build(planner, &mut leaf, &[]);
        for (i, (state, view)) in states.iter().zip(views).enumerate() {
            let to = view.at(Place::port(state.ports[1]));
            let from = body.read(planner, l.next[i]);
            if from != to {
                body.kernels.push(copy(from, to, &l.states[i].name));
            }
        }
        for (value, to) in copies {
            let from = body.read(planner, value);
            if from != to {
                body.kernels.push(copy(from, to, ""));
            }
        }
        let layout = Layout::new(&body.kernels, &body.homes.buffers, planner.target.align);
        let scope = layout.scope(body.kernels);
        for (state, pair) in states.iter_mut().zip(buffers) {
            state.buffers = pair.map(|buffer| layout.start(buffer, Element::F32));
        }
        let arena = self.homes.arena(&scope);
        let sizes = |dims: &[DimId]| dims.iter().map(|d| planner.size(*d)).collect();
        let kernel = LoopKernel {
            count: planner.size(l.over),
            reverse: l.reverse,
            over: l.over,
            map_dims: l.map.clone(),
            map: sizes(&l.map),
            ports,
            states,
            body: scope,
            arena,
            definition: Arc::new(definition),
        };
        self.kernels.push(Kernel { work: Work::Loop(Box::new(kernel)), name: node.name.clone() });
    }
}
