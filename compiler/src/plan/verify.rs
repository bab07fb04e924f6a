//! Invariants of a plan. A compile checks them once, in release builds too: a kernel does not check its addresses.

use super::{
    AttendKernel, Base, Definition, Element, Fused, FusedOp, Gemm, GemmDim, Kernel, Leaf, LoopKernel, Matrix, Plan,
    Scope, Start, TilePort, View, Work,
};
use crate::lowered::{Dag, Op, ValueId};

/// Checks the invariants listed in the module's essay.
///
/// # Errors
/// A sentence that names the first kernel that breaks one.
pub fn verify(plan: &Plan) -> Result<(), String> {
    let bytes = |elements: usize| elements * Element::F32.bytes();
    let buffers = Buffers { constants: bytes(plan.constants_len), params: bytes(plan.params_len) };
    buffers.scope(&plan.constants, &[], None, "constants")?;
    let mut needs = Vec::with_capacity(plan.root.kernels.len());
    for (i, kernel) in plan.root.kernels.iter().enumerate() {
        // bytes that it accesses from each of its starts on
        let mut need: Vec<usize> = Vec::new();
        let mut touch = |start: Start, bytes: usize| {
            let Base::Port(port) = start.base else { return Err(format!("an operand in {:?}", start.base)) };
            need.resize(need.len().max(port + 1), 0);
            need[port] = need[port].max(start.bytes + bytes);
            Ok(())
        };
        buffers.kernel(kernel, &mut touch, None, &format!("kernel {} ({})", i + 1, kernel.name))?;
        needs.push(need);
    }
    let arena = plan.root.arena;
    for (i, launch) in plan.root.launches.iter().enumerate() {
        let place = || format!("launch {i} ({})", plan.root.kernels[launch.kernel].name);
        let need = &needs[launch.kernel];
        if need.len() > launch.starts.len() {
            return Err(format!("{} has {} starts of {}", place(), launch.starts.len(), need.len()));
        }
        for (start, need) in launch.starts.iter().zip(need) {
            buffers.inside(*start, *need, arena, &[]).map_err(|why| format!("{} {why}", place()))?;
        }
    }
    let results = plan.results.iter().map(|(value, view)| (format!("result %{}", value.0), view));
    let norm = plan.norm.iter().map(|view| ("norm".to_owned(), view));
    let leaves = plan.leaves.iter().map(|(leaf, view)| (format!("leaf {}", leaf.name()), view));
    for (what, view) in results.chain(leaves).chain(norm) {
        touched(view, &mut |start, bytes| buffers.inside(start, bytes, arena, &[]))
            .map_err(|why| format!("{what} {why}"))?;
    }
    Ok(())
}

/// Sizes of the buffers that all scopes share, in bytes.
struct Buffers {
    constants: usize,
    params: usize,
}

/// Callback that receives a start and the number of bytes that may be accessed from there on.
type Touch<'t> = dyn FnMut(Start, usize) -> Result<(), String> + 't;

/// Reports the bytes that a view covers.
fn touched(view: &View, touch: &mut Touch<'_>) -> Result<(), String> {
    let bytes = view.element.bytes();
    if !view.start.bytes.is_multiple_of(bytes.min(8)) {
        return Err(format!("reads {} at byte {}", view.element.name(), view.start.bytes));
    }
    if view.is_empty() { Ok(()) } else { touch(view.start, bytes * (view.reach() + 1)) }
}

impl Buffers {
    /// Checks that `bytes` bytes from a start on lie inside of its buffer. `ports`: bytes behind each port.
    fn inside(&self, start: Start, bytes: usize, arena: usize, ports: &[usize]) -> Result<(), String> {
        let room = match start.base {
            Base::Scratch => arena,
            Base::Constants => self.constants,
            Base::Params | Base::Grads | Base::First | Base::Second => self.params,
            Base::Port(port) => match ports.get(port) {
                Some(room) => *room,
                None => return Err(format!("reads port {port} of {}", ports.len())),
            },
        };
        let end = start.bytes + bytes;
        if end <= room { Ok(()) } else { Err(format!("reaches {end} of {room} bytes in {:?}", start.base)) }
    }

    /// Checks the kernels of a scope, which may be the body of an attend. `ports`: bytes behind each of its ports.
    fn scope(&self, scope: &Scope, ports: &[usize], attend: Option<&AttendKernel>, what: &str) -> Result<(), String> {
        for (i, kernel) in scope.kernels.iter().enumerate() {
            let place = format!("{what} kernel {i} ({})", kernel.name);
            let mut touch = |start, bytes| self.inside(start, bytes, scope.arena, ports);
            self.kernel(kernel, &mut touch, attend, &place)?;
        }
        Ok(())
    }

    fn kernel(
        &self,
        kernel: &Kernel,
        touch: &mut Touch<'_>,
        attend: Option<&AttendKernel>,
        place: &str,
    ) -> Result<(), String> {
        let here = |why: String| format!("{place} {why}");
        let mut of = |view: &View, element: Element| {
            if view.element != element {
                return Err(here(format!("reads {} as {}", view.element.name(), element.name())));
            }
            touched(view, touch).map_err(here)
        };
        match &kernel.work {
            Work::Fused(f) => {
                code(f).map_err(here)?;
                f.inputs.iter().chain(f.outputs.iter().map(|o| &o.1)).try_for_each(|v| of(v, Element::F32))
            }
            Work::Copy(c) => {
                let fill = c.fill.as_ref().map(|f| &f.0);
                [&c.from, &c.to].into_iter().chain(fill).try_for_each(|v| of(v, Element::F32))
            }
            Work::Single(s) => {
                let beside = Leaf::beside(&s.op);
                let Some(operands) = s.inputs.len().checked_sub(beside.len()) else {
                    return Err(here("lacks what its op reads".into()));
                };
                let (operands, leaves) = s.inputs.split_at(operands);
                operands.iter().chain([&s.output]).try_for_each(|v| of(v, Element::F32))?;
                leaves.iter().zip(beside).try_for_each(|(v, (_, element))| of(v, element))
            }
            Work::Conv(c) => {
                let others = [&c.dy, &c.y, &c.carried].into_iter().flatten();
                of(&c.pos, Element::U32)?;
                [&c.x, &c.filter].into_iter().chain(others).try_for_each(|v| of(v, Element::F32))
            }
            Work::Norm(n) => {
                n.gradients.iter().try_for_each(|v| of(v, Element::F32))?;
                of(&n.norm, Element::F64)
            }
            Work::AdamW(a) => {
                let own = [&a.param, &a.gradient, &a.first, &a.second];
                if own.iter().any(|v| v.len() != v.reach() + 1 || v.len() != a.param.len()) {
                    return Err(here("updates a parameter with gaps".into()));
                }
                own.into_iter().chain([&a.objective]).try_for_each(|v| of(v, Element::F32))?;
                of(&a.rule, Element::Rule)?;
                of(&a.norm, Element::F64)
            }
            Work::Gemm(g) => gemm(g, touch, attend).map_err(here),
            Work::Loop(l) => {
                let ports = loop_ports(l, touch).map_err(here)?;
                let held = |port: usize| l.ports.get(port).and_then(Option::as_ref).map(|port| &port.outer);
                defined(&l.definition, &held).map_err(here)?;
                touch(l.arena, l.body.arena).map_err(here)?;
                self.scope(&l.body, &ports, None, place)
            }
            Work::Attend(a) => {
                let ports = panels(a).map_err(here)?;
                attend_ports(a, touch).map_err(here)?;
                defined(&a.definition, &|port| a.ports.get(port).map(|port| &port.tile)).map_err(here)?;
                touch(a.arena, a.body.arena).map_err(here)?;
                self.scope(&a.body, &ports, Some(a), place)?;
                a.grad.as_ref().map_or(Ok(()), |g| self.scope(&g.after, &ports, Some(a), place))
            }
        }
    }
}

/// Reports the bytes that a walk from a start on covers: lengths and strides, in f32 elements.
fn walk(start: Start, along: impl Iterator<Item = (usize, isize)>, touch: &mut Touch<'_>) -> Result<(), String> {
    let mut last = 0;
    for (n, stride) in along {
        match n.checked_sub(1) {
            Some(steps) => last += steps * stride.unsigned_abs(),
            None => return Ok(()), // it is empty
        }
    }
    touch(start, Element::F32.bytes() * (last + 1))
}

/// Reports the bytes that a view covers while it also moves along further dimensions.
fn moving(view: &View, along: impl Iterator<Item = (usize, isize)>, touch: &mut Touch<'_>) -> Result<(), String> {
    if view.element != Element::F32 {
        return Err(format!("moves along {}", view.element.name()));
    }
    walk(view.start, view.axes.iter().map(|a| (a.size, a.stride)).chain(along), touch)
}

fn gemm(g: &Gemm, touch: &mut Touch<'_>, attend: Option<&AttendKernel>) -> Result<(), String> {
    type Along = fn(&(usize, isize, isize)) -> isize;
    let matrices: [(&str, &Matrix, [usize; 2], Along); 3] =
        [("A", &g.a, [g.m, g.k], |sum| sum.1), ("B", &g.b, [g.k, g.n], |sum| sum.2), ("C", &g.c, [g.m, g.n], |_| 0)];
    for (name, matrix, [rows, cols], along_sum) in matrices {
        if matrix.batch.len() != g.batch.len() {
            return Err(format!("lacks batch strides of {name}"));
        }
        let summed = g.sums.iter().map(|sum| (sum.0, along_sum(sum)));
        let batch = g.batch.iter().copied().zip(matrix.batch.iter().copied());
        walk(matrix.start, summed.chain(batch).chain([(rows, matrix.row), (cols, matrix.col)]), touch)?;
    }
    let Some(pairs) = g.pairs else { return Ok(()) };
    let tile = attend.map(|a| [a.tile_rows, a.tile_cols]);
    let length = |d: GemmDim| match d {
        GemmDim::M => g.m,
        GemmDim::N => g.n,
        GemmDim::K => g.k,
    };
    match pairs[0] != pairs[1] && Some(pairs.map(length)) == tile {
        true => Ok(()),
        false => Err(format!("has {pairs:?}, which are not the rows and columns of a tile")),
    }
}

/// Checks that each live operand of a definition's body has one port, which holds its dimensions.
fn defined<'v>(definition: &Definition, held: &dyn Fn(usize) -> Option<&'v View>) -> Result<(), String> {
    let (body, mut roots): (&Dag, Vec<ValueId>) = match &definition.op {
        Op::Loop(l) => (&l.body, l.next.clone()),
        Op::Attend(a) => (&a.body, a.visible.into_iter().chain([a.weighing.value()]).chain(a.sink).collect()),
        Op::AttendGrad(g) => (&g.body, g.visible.into_iter().chain([g.weighing.value()]).collect()),
        op => return Err(format!("computes {op:?}")),
    };
    for (number, _) in &definition.emits {
        match &definition.op {
            Op::Loop(l) => roots.push(l.emits[*number].1),
            Op::Attend(a) => roots.push(a.emits[*number].1),
            Op::AttendGrad(g) => roots.push(g.sums[*number].1),
            _ => {}
        }
    }
    let live = body.reachable(&roots);
    for id in body.ids().filter(|id| live[id.0 as usize]) {
        let node = body.node(id);
        if !matches!(node.op, Op::Capture(..) | Op::Past(..) | Op::Cotangent(..)) {
            continue;
        }
        let ports: Vec<usize> = definition.reads.iter().filter(|r| r.0 == node.op).map(|r| r.1).collect();
        let dims =
            |view: &View| view.axes.len() == node.dims.len() && node.dims.iter().all(|d| view.axis(*d).is_some());
        if !matches!(ports[..], [port] if held(port).is_some_and(dims)) {
            return Err(format!("has {:?} in ports {ports:?}", node.op));
        }
    }
    Ok(())
}

/// The bytes behind each port of a loop's body, at every mapped index and iteration; reports the bytes that the ports walk over.
fn loop_ports(l: &LoopKernel, touch: &mut Touch<'_>) -> Result<Vec<usize>, String> {
    let mut rooms = Vec::with_capacity(l.ports.len());
    let mapped = |map: &[isize]| -> Vec<(usize, isize)> { l.map.iter().copied().zip(map.iter().copied()).collect() };
    for port in &l.ports {
        let Some(port) = port else {
            rooms.push(0);
            continue;
        };
        moving(&port.outer, mapped(&port.map).into_iter().chain([(l.count, port.over)]), touch)?;
        rooms.push(if port.outer.is_empty() { 0 } else { Element::F32.bytes() * (port.outer.reach() + 1) });
    }
    for state in &l.states {
        let bytes = Element::F32.bytes() * state.len;
        for (port, buffer) in state.ports.into_iter().zip(state.buffers) {
            match rooms.get_mut(port) {
                Some(room) if l.ports[port].is_none() => *room = bytes,
                _ => return Err(format!("has a state at port {port} of {}", l.ports.len())),
            }
            if buffer.base != Base::Scratch || buffer.bytes + bytes > l.body.arena {
                return Err(format!("has a state that reaches {} of {} bytes", buffer.bytes + bytes, l.body.arena));
            }
        }
        if state.view.len() != state.len {
            return Err(format!("has a state of {} elements in {}", state.view.len(), state.len));
        }
        for port in [Some(&state.initial), state.last.as_ref()].into_iter().flatten() {
            moving(&port.outer, mapped(&port.map).into_iter(), touch)?;
        }
    }
    Ok(rooms)
}

/// Reports all bytes that the tiles of an attend are copied from and to.
fn attend_ports(a: &AttendKernel, touch: &mut Touch<'_>) -> Result<(), String> {
    if a.pos.element != Element::U32 {
        return Err(format!("reads positions of {}", a.pos.element.name()));
    }
    touched(&a.pos, touch)?;
    let grad = a.grad.iter().flat_map(|g| g.delta.iter().chain(g.sums.iter().map(|s| &s.port)));
    let ports = a.ports.iter().chain(a.emits.iter().map(|e| &e.sum)).chain(a.normal.iter().flatten()).chain(grad);
    for port in ports {
        let tokens = match (port.timed, port.rows) {
            (false, _) => 1,
            (true, true) => a.rows,
            (true, false) => a.cols,
        };
        let mapped = a.map.iter().copied().zip(port.map.iter().copied());
        moving(&port.outer, mapped.chain([(tokens, port.token)]), touch)?;
        inside_arena(&port.tile, 1, a)?;
    }
    let grad = a.grad.iter().flat_map(|g| g.running.iter().flatten().chain(&g.last));
    let own = [&a.lag, &a.visible, &a.sink, &a.shown].into_iter().flatten().chain([&a.weight, &a.weights]);
    own.chain(a.emits.iter().map(|e| &e.value)).chain(grad).try_for_each(|view| inside_arena(view, 1, a))
}

/// Checks that `tiles` tiles side by side lie in the body's arena, if the view starts there.
fn inside_arena(view: &View, tiles: usize, a: &AttendKernel) -> Result<(), String> {
    let bytes = view.element.bytes() * (view.len() * (tiles - 1) + view.reach() + 1);
    match view.start.base {
        Base::Scratch if view.start.bytes + bytes > a.body.arena => {
            Err(format!("reaches {} of {} bytes of its arena", view.start.bytes + bytes, a.body.arena))
        }
        _ => Ok(()),
    }
}

/// The bytes behind each port of an attend's body. Panels have ports of their own, and lie with all their tiles in the body's arena.
fn panels(a: &AttendKernel) -> Result<Vec<usize>, String> {
    let tiles = a.cols.div_ceil(a.tile_cols.max(1));
    let mut rooms: Vec<Option<usize>> = vec![None; a.panels];
    let mut take = |port: usize, view: &View| {
        match rooms.get_mut(port) {
            Some(room) if room.is_none() => *room = Some(view.element.bytes() * view.len()),
            _ => return Err(format!("has a panel at port {port}, no free one of {}", a.panels)),
        }
        inside_arena(view, tiles, a)
    };
    let sums = a.grad.iter().flat_map(|g| &g.sums).map(|s| &s.port);
    for port in a.ports.iter().chain(sums) {
        if let Some(panel) = port.panel {
            take(panel, &port.tile)?;
        }
        if let Some((panel, transposed)) = &port.transposed {
            take(*panel, transposed)?;
            if !is_transpose(port, transposed) {
                return Err(format!("has a panel at port {panel} that is no transpose of its tile"));
            }
        }
    }
    match rooms.iter().position(Option::is_none) {
        None => Ok(rooms.into_iter().flatten().collect()),
        Some(port) => Err(format!("has port {port}, which moves along no panel")),
    }
}

/// Whether a panel has the axes of a port's tile, with its tokens last in memory.
fn is_transpose(port: &TilePort, transposed: &View) -> bool {
    let Some((tokens, others)) = port.tile.axes.split_first() else { return false };
    let sizes = transposed.axes.iter().map(|t| (t.dim, t.size)).eq(port.tile.axes.iter().map(|t| (t.dim, t.size)));
    let strides = others.iter().map(|t| t.stride * tokens.size as isize);
    sizes && transposed.axes.iter().map(|t| t.stride).eq([1].into_iter().chain(strides))
}

fn code(fused: &Fused) -> Result<(), String> {
    for (i, instr) in fused.code.iter().enumerate() {
        if let FusedOp::Input(n) = instr.op
            && n >= fused.inputs.len()
        {
            return Err(format!("has op {i}, which reads input {n} of {}", fused.inputs.len()));
        }
        if instr.op.operands().iter().any(|o| *o >= i) {
            return Err(format!("has op {i}, which reads a later one"));
        }
        if instr.dims.iter().any(|d| !fused.dims.contains(d)) {
            return Err(format!("has op {i} with a dimension that the loop lacks"));
        }
    }
    for (value, view) in &fused.outputs {
        let Some(instr) = fused.code.get(*value) else { return Err(format!("writes op {value}, which is not there")) };
        if view.axes.iter().any(|a| !fused.dims.contains(&a.dim)) {
            return Err(format!("writes op {value} to a place with a dimension that the loop lacks"));
        }
        if instr.dims.iter().any(|d| view.axis(*d).is_none()) {
            return Err(format!("writes op {value} to a place that lacks one of its dimensions"));
        }
    }
    Ok(())
}
