//! Attends: the body planned for one tile of rows and columns, with contiguous copies of its operands: one tile of an operand with rows, a
//! panel of tiles for the whole past of an operand with columns. Products that compute a sum over tiles accumulate into it in place.

use super::super::memory::{Kernel, Layout, Place, View};
use super::super::planner::Planner;
use super::super::scope::ScopePlan;
use super::super::{Definition, Element, Scope, Work};
use super::{AttendGradKernel, AttendKernel};
use crate::lowered::{Attend, BATCH, DimId, Op, TIME, ValueId, Weighing};
use std::sync::Arc;

type TilePort = super::TilePort<Place, Place>;
type TileEmit = super::TileEmit<Place, Place>;
type TileSum = super::TileSum<Place, Place>;

impl ScopePlan<'_> {
    /// Emits the kernel of an attend or of its gradient.
    pub fn emit_attend(&mut self, planner: &mut Planner<'_>, id: ValueId) {
        let (node, operands) = (self.values.dag.node(id), self.values.dag.operands(id));
        let (forward, dag, weighing, visible, grad) = match &node.op {
            Op::Attend(a) => (a.as_ref(), &a.body, a.weighing, a.visible, None),
            Op::AttendGrad(g) => (g.forward.as_ref(), &g.body, g.weighing, g.visible, Some(g.as_ref())),
            op => panic!("archc bug: {op:?} is no attend"),
        };
        let softmax = matches!(weighing, Weighing::Score(_));
        // the last operands of a gradient are the emits' cotangents, whether its body reads them or not
        let cotangents = operands.len() - if grad.is_some() { forward.emits.len() } else { 0 };
        let captures = cotangents - if grad.is_some() && softmax { 3 } else { 0 };

        let mut first: Vec<ValueId> = [visible, Some(weighing.value())].into_iter().flatten().collect();
        let mut roots = first.clone();
        match grad {
            None => {
                roots.extend(forward.sink);
                roots.extend(forward.emits.iter().map(|e| e.1));
                first = roots.clone();
            }
            Some(g) => roots.extend(g.sums.iter().map(|s| s.1).chain(g.running.iter().copied())),
        }
        let mut body = ScopePlan::new(planner, dag, roots);
        // a pair left out of a product is 0, of which no op may make a non-finite value: 0 times that is no gradient of 0
        let pair = |v: ValueId| [forward.rows, forward.cols].iter().all(|d| dag.node(v).dims.contains(d));
        let mut live = dag.ids().filter(|v| body.values.live[v.0 as usize]);
        let has_pole =
            |v: ValueId| dag.operands(v).iter().enumerate().any(|(i, o)| dag.node(v).op.has_pole_at(i) && pair(*o));
        if !live.any(has_pole) {
            body.joins.tile = Some([forward.rows, forward.cols]);
        }
        let weights = body.homes.pinned(&[forward.rows, forward.cols], &planner.sizes);
        let mut ports: Vec<TilePort> = Vec::new();
        let mut definition = Definition { op: node.op.clone(), reads: Vec::new(), emits: Vec::new() };
        let mut lag = None;
        let mut shown = None;
        let mut delta = None;
        let mut sofar: Vec<(usize, View)> = Vec::new();
        let mut last = None;
        // one tile of rows visits each tile of columns once, and what a gradient sums by columns must outlast its tile
        let again = grad.is_some() || planner.shape.len > planner.size(forward.rows);
        let tiles = planner.size(forward.past).div_ceil(planner.size(forward.cols));
        let mut panels = Panels { tiles: if again { tiles } else { 1 }, count: 0 };
        // reads of outer values are collected before the body is planned, because both borrow the planner
        let mut outside: Vec<(Op, View)> = Vec::new();
        for v in dag.ids().filter(|v| body.values.live[v.0 as usize]) {
            let op = dag.node(v).op.clone();
            let value = match &op {
                Op::Capture(i, _) | Op::Past(i, _) => operands[*i],
                Op::Cotangent(e, _) => operands[cotangents + e],
                Op::Delta(_) => operands[captures + 2],
                _ => continue,
            };
            let view = self.read(planner, value);
            outside.push((op, view));
        }
        let mut leaf = |s: &mut ScopePlan<'_>, p: &Planner<'_>, v: ValueId| -> View {
            let node = s.values.dag.node(v);
            let op = &node.op;
            match op {
                Op::Weight(..) => return weights.clone(),
                Op::Lag(..) => {
                    return lag.get_or_insert_with(|| s.homes.pinned(&[forward.rows, forward.cols], &p.sizes)).clone();
                }
                Op::Visible(..) => {
                    return shown
                        .get_or_insert_with(|| s.homes.pinned(&[forward.rows, forward.cols], &p.sizes))
                        .clone();
                }
                Op::Sofar(_, i) => {
                    let view = s.homes.pinned(&node.dims, &p.sizes);
                    sofar.push((*i, view.clone()));
                    return view;
                }
                Op::Last => return last.get_or_insert_with(|| s.homes.pinned(&[], &p.sizes)).clone(),
                _ => {}
            }
            let found = outside.iter().find(|o| o.0 == *op);
            let Some((_, outer)) = found else { panic!("archc bug: {op:?} in the body of an attend") };
            let tile = s.homes.pinned(&node.dims, &p.sizes);
            let mut port = tile_port(forward, outer, tile);
            let view = panels.hold(s, &mut port);
            if matches!(op, Op::Delta(_)) {
                delta = Some(port);
            } else {
                definition.reads.push((op.clone(), ports.len()));
                ports.push(port);
            }
            view
        };
        let split = body.build(planner, &mut leaf, &first);
        let weight = body.read(planner, weighing.value());
        let visible = visible.map(|v| body.read(planner, v));
        let sink = if grad.is_none() { forward.sink.map(|v| body.read(planner, v)) } else { None };

        let mut emits = Vec::new();
        let mut sums = Vec::new();
        let mut normal = [None, None];
        let users: Vec<(usize, ValueId)> = self.values.users[id.0 as usize]
            .iter()
            .filter_map(|u| if let Op::Emit(i) = self.values.dag.node(*u).op { Some((i, *u)) } else { None })
            .collect();
        let places: Vec<View> = grad.iter().flat_map(|g| &g.sums).map(|s| body.read(planner, s.1)).collect();
        let mut running = Vec::new();
        for (i, value) in grad.iter().flat_map(|g| g.running.iter().enumerate()) {
            // running values that no kernel reads are not carried on
            if let Some((_, before)) = sofar.iter().find(|s| s.0 == i) {
                running.push([before.clone(), body.read(planner, *value)]);
            }
        }
        let in_arena = |v: &View| v.start.buffer();
        for (i, user) in users {
            let place = self.read(planner, user);
            match grad {
                None if i >= forward.emits.len() => {
                    let tile = body.homes.pinned(&[forward.rows], &planner.sizes);
                    normal[i - forward.emits.len()] = Some(tile_port(forward, &place, tile));
                }
                None => {
                    let value = forward.emits[i].1;
                    let mut dims: Vec<DimId> = dag
                        .node(value)
                        .dims
                        .iter()
                        .copied()
                        .filter(|d| *d != forward.cols && *d != forward.rows)
                        .collect();
                    dims.insert(0, forward.rows);
                    let tile = body.homes.pinned(&dims, &planner.sizes);
                    let sum = tile_port(forward, &place, tile);
                    definition.emits.push((i, emits.len()));
                    emits.push(TileEmit { value: body.read(planner, value), sum });
                }
                Some(_) => {
                    let mut port = tile_port(forward, &place, places[i].clone());
                    let own = in_arena(&port.tile);
                    assert!(own.is_some(), "archc bug: a sum over tiles that no kernel of the tile makes");
                    let alone = places.iter().filter(|v| in_arena(v) == own).count() == 1;
                    let product = body.product_of(&port.tile).filter(|_| alone);
                    let adds = product.is_some();
                    if let Some(at) = product {
                        let view = panels.hold(&mut body, &mut port);
                        if let Work::Gemm(gemm) = &mut body.kernels[at].work {
                            gemm.accumulate = true;
                            gemm.c.start = view.start;
                        }
                    }
                    definition.emits.push((i, sums.len()));
                    sums.push(TileSum { port, adds });
                }
            }
        }
        if grad.is_some() && softmax {
            for (i, port) in normal.iter_mut().enumerate() {
                let place = self.read(planner, operands[captures + i]);
                let tile = body.homes.pinned(&[forward.rows], &planner.sizes);
                *port = Some(tile_port(forward, &place, tile));
            }
        }

        panels.transpose(&mut body, &mut ports);
        // values that the device accesses between and after the kernels keep their memory
        for view in [Some(&weight), visible.as_ref(), sink.as_ref()].into_iter().flatten() {
            body.homes.keep(view);
        }
        emits.iter().for_each(|e: &TileEmit| body.homes.keep(&e.value));
        sums.iter().for_each(|s: &TileSum| body.homes.keep(&s.port.tile));
        running.iter().flatten().for_each(|v: &View| body.homes.keep(v));
        let mut kernel = AttendKernel {
            rows: planner.shape.len,
            cols: planner.size(forward.past),
            tile_rows: planner.size(forward.rows),
            tile_cols: planner.size(forward.cols),
            map: forward.map.iter().map(|d| planner.size(*d)).collect(),
            batch: forward.map.iter().position(|d| *d == BATCH),
            reach: forward.reach,
            panels: panels.count,
            pos: self.homes.positions(planner),
            ports,
            body: Scope::default(),
            arena: Place::port(0),
            weight,
            softmax,
            careful: planner.graph.careful && grad.is_none(),
            lag,
            visible,
            sink,
            weights,
            shown,
            emits,
            normal,
            grad: grad.map(|_| AttendGradKernel { after: Scope::default(), delta, sums, running, last }),
            definition: Arc::new(definition),
        };
        let layout = Layout::new(&body.kernels, &body.homes.buffers, planner.target.align);
        let mut scope = layout.scope(body.kernels);
        kernel.arena = self.homes.arena(&scope);
        if let Some(g) = &mut kernel.grad {
            g.after = Scope { kernels: scope.kernels.split_off(split), arena: scope.arena };
        }
        kernel.body = scope;
        let kernel = kernel.relocate_both(&mut |place, _| place, &mut |place, element| layout.start(place, element));
        self.kernels.push(Kernel { work: Work::Attend(Box::new(kernel)), name: node.name.clone() });
    }

    /// Index of the product that alone touches a tile's buffer and overwrites all of it, so that it can accumulate instead.
    fn product_of(&self, tile: &View) -> Option<usize> {
        let buffer = tile.start.buffer()?;
        if self.homes.buffers[buffer].bytes != tile.element.bytes() * tile.len() || !tile.is_dense() {
            return None;
        }
        let touches = |kernel: &Kernel| {
            let mut here = false;
            kernel.each_start(&mut |place| here |= place.buffer() == Some(buffer));
            here
        };
        let touching: Vec<usize> = (0..self.kernels.len()).filter(|i| touches(&self.kernels[*i])).collect();
        let [one] = touching[..] else { return None };
        match &self.kernels[one].work {
            Work::Gemm(g) => {
                let sets = !g.accumulate && g.c.start == tile.start;
                let whole = g.m * g.n * g.batch.iter().product::<usize>() == tile.len();
                (sets && whole).then_some(one)
            }
            _ => None,
        }
    }
}

/// Panels of an attend.
struct Panels {
    /// Number of tiles of columns.
    tiles: usize,
    /// Number of body ports assigned so far.
    count: usize,
}

impl Panels {
    /// Enlarges the tile's buffer to hold all tiles of columns, and returns the view through which the body reads the current one.
    fn hold(&mut self, body: &mut ScopePlan<'_>, port: &mut TilePort) -> View {
        let mut view = port.tile.clone();
        if port.timed && !port.rows && self.tiles > 1 {
            body.homes.grow(&port.tile, self.tiles);
            port.panel = Some(self.count);
            view.start = Place::port(self.count);
            self.count += 1;
        }
        view
    }

    /// Adds a second panel, tokens last, to ports whose products read along tokens: otherwise each product would transpose its tile again.
    fn transpose(&mut self, body: &mut ScopePlan<'_>, ports: &mut [TilePort]) {
        for at in 0..body.kernels.len() {
            let Work::Gemm(g) = &body.kernels[at].work else { continue };
            let Some(port) = ports.iter_mut().find(|p| p.panel.is_some_and(|p| g.b.start.home == Place::port(p).home))
            else {
                continue;
            };
            // columns of B are the tile's tokens, its rows the elements of each
            let tokens = port.tile.axes[0].size;
            let each = port.tile.len() / tokens;
            let whole =
                g.b.start.offset == 0 && g.batch.is_empty() && g.sums.is_empty() && (g.n, g.k) == (tokens, each);
            if !whole || tokens == 1 || (g.b.row, g.b.col) != (1, each as isize) {
                continue;
            }
            let number = match &port.transposed {
                Some((number, _)) => *number,
                None => {
                    let mut view = port.tile.clone();
                    view.start = body.homes.buffer(Element::F32, view.len() * self.tiles, true);
                    for (i, axis) in view.axes.iter_mut().enumerate() {
                        axis.stride = if i == 0 { 1 } else { axis.stride * tokens as isize };
                    }
                    port.transposed = Some((self.count, view));
                    self.count += 1;
                    self.count - 1
                }
            };
            if let Work::Gemm(g) = &mut body.kernels[at].work {
                (g.b.start, g.b.row, g.b.col) = (Place::port(number), tokens as isize, 1);
            }
        }
    }
}

/// Port from an outer value to a tile.
fn tile_port(attend: &Attend, outer: &View, tile: View) -> TilePort {
    let token = outer.axes.iter().map(|a| a.dim).find(|d| *d == TIME || *d == attend.past);
    let mut gone = attend.map.clone();
    gone.extend(token);
    let (rest, mut map) = outer.without(&gone);
    let stride = if token.is_some() { map.pop().unwrap_or(0) } else { 0 };
    let rows = tile.axis(attend.rows).is_some();
    let timed = rows || tile.axis(attend.cols).is_some();
    TilePort { outer: rest, map, token: stride, rows, tile, timed, panel: None, transposed: None }
}
