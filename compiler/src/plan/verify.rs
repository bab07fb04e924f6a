//! The invariants of a plan, checked in debug builds and tests.

use super::memory::touch;
use super::{AttendKernel, Base, Fused, FusedOp, Gemm, GemmDim, Kernel, Matrix, Plan, Scope, TilePort, View, Work};

/// Checks the invariants listed in the module's essay.
///
/// # Errors
/// A sentence that names the first kernel that breaks one.
pub fn verify(plan: &Plan) -> Result<(), String> {
    let room = Room { constants: plan.constants_len, params: plan.params_len };
    room.scope(&plan.constants, None, "constants")?;
    for (i, launch) in plan.root.launches.iter().enumerate() {
        let kernel = plan.root.launched(launch);
        room.kernel(&kernel, plan.root.arena, None, &format!("launch {i} ({})", kernel.name))?;
    }
    for (value, view) in &plan.results {
        room.view(view, plan.root.arena, &format!("result %{}", value.0))?;
    }
    Ok(())
}

struct Room {
    constants: usize,
    params: usize,
}

impl Room {
    /// The kernels of a scope, which may be the body of an attend.
    fn scope(&self, scope: &Scope, attend: Option<&AttendKernel>, what: &str) -> Result<(), String> {
        for (i, kernel) in scope.kernels.iter().enumerate() {
            let place = format!("{what} kernel {i} ({})", kernel.name);
            self.kernel(kernel, scope.arena, attend, &place)?;
        }
        Ok(())
    }

    fn kernel(&self, kernel: &Kernel, arena: usize, attend: Option<&AttendKernel>, place: &str) -> Result<(), String> {
        let mut starts = Vec::new();
        touch(&mut kernel.clone(), &mut |base, offset| starts.push((*base, *offset)));
        for (base, offset) in starts {
            self.inside(base, offset, arena, place)?;
            if let (Base::Port(port), Some(attend)) = (base, attend)
                && port >= attend.panels
            {
                return Err(format!("{place} reads port {port} of {}", attend.panels));
            }
        }
        match &kernel.work {
            Work::Fused(f) => {
                for view in f.inputs.iter().chain(f.outputs.iter().map(|o| &o.1)) {
                    self.view(view, arena, place)?;
                }
                code(f).map_err(|why| format!("{place}: {why}"))
            }
            Work::Copy(c) => {
                let fill = c.fill.as_ref().map(|f| &f.0);
                [&c.from, &c.to].into_iter().chain(fill).try_for_each(|v| self.view(v, arena, place))
            }
            Work::Single(s) => s.inputs.iter().chain([&s.output]).try_for_each(|v| self.view(v, arena, place)),
            Work::Gemm(g) => self.gemm(g, arena, attend, place),
            Work::Conv(c) => {
                let others = [&c.dy, &c.y, &c.carried].into_iter().flatten();
                [&c.x, &c.filter, &c.pos].into_iter().chain(others).try_for_each(|v| self.view(v, arena, place))
            }
            Work::Loop(l) => self.scope(&l.body, None, place),
            Work::Attend(a) => {
                self.panels(a, place)?;
                self.scope(&a.body, Some(a), place)?;
                a.grad.as_ref().map_or(Ok(()), |g| self.scope(&g.after, Some(a), place))
            }
        }
    }

    fn gemm(&self, g: &Gemm, arena: usize, attend: Option<&AttendKernel>, place: &str) -> Result<(), String> {
        type Along = fn(&(usize, isize, isize)) -> isize;
        let matrices: [(&str, &Matrix, [usize; 2], Along); 3] = [
            ("A", &g.a, [g.m, g.k], |sum| sum.1),
            ("B", &g.b, [g.k, g.n], |sum| sum.2),
            ("C", &g.c, [g.m, g.n], |_| 0),
        ];
        for (name, matrix, [rows, cols], along_sum) in matrices {
            if matrix.batch.len() != g.batch.len() {
                return Err(format!("{place}: {name} lacks batch strides"));
            }
            let summed = g.sums.iter().map(|sum| (sum.0, along_sum(sum)));
            let batch = g.batch.iter().copied().zip(matrix.batch.iter().copied());
            let along = summed.chain(batch).chain([(rows, matrix.row), (cols, matrix.col)]);
            if let Some(end) = end(matrix, along) {
                self.inside(matrix.base, end, arena, place)?;
            }
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
            false => Err(format!("{place}: {pairs:?} are not the rows and columns of a tile")),
        }
    }

    /// Panels have ports of their own, and lie in the body's arena with all their tiles.
    fn panels(&self, a: &AttendKernel, place: &str) -> Result<(), String> {
        let tiles = a.cols.div_ceil(a.tile_cols.max(1));
        let mut taken = vec![false; a.panels];
        let mut take = |port: usize, view: &View| {
            match taken.get_mut(port) {
                Some(taken) if !*taken => *taken = true,
                _ => return Err(format!("{place}: port {port} is no free one of {}", a.panels)),
            }
            self.inside(view.base, view.offset + view.len() * tiles, a.body.arena, place)
        };
        let sums = a.grad.iter().flat_map(|g| &g.sums).map(|s| &s.port);
        for port in a.ports.iter().chain(sums) {
            if let Some(panel) = port.panel {
                take(panel, &port.tile)?;
            }
            if let Some((panel, transposed)) = &port.transposed {
                take(*panel, transposed)?;
                if !is_transpose(port, transposed) {
                    return Err(format!("{place}: port {panel} is no transpose of its tile"));
                }
            }
        }
        match taken.iter().position(|taken| !taken) {
            None => Ok(()),
            Some(port) => Err(format!("{place}: port {port} moves along no panel")),
        }
    }

    fn view(&self, view: &View, arena: usize, place: &str) -> Result<(), String> {
        if view.is_empty() { Ok(()) } else { self.inside(view.base, view.offset + view.reach() + 1, arena, place) }
    }

    fn inside(&self, base: Base, end: usize, arena: usize, place: &str) -> Result<(), String> {
        let room = match base {
            Base::Scratch => arena,
            Base::Constants => self.constants,
            Base::Params | Base::Grads => self.params,
            Base::Port(_) => return Ok(()),
        };
        if end <= room { Ok(()) } else { Err(format!("{place} reaches {end} of {room} in {base:?}")) }
    }
}

/// Where a matrix ends in its buffer, of which nothing lies before its offset; none if it is empty.
fn end(matrix: &Matrix, along: impl Iterator<Item = (usize, isize)>) -> Option<usize> {
    let mut end = matrix.offset;
    for (n, stride) in along {
        end += n.checked_sub(1)? * stride.unsigned_abs();
    }
    Some(end + 1)
}

/// Whether a panel has the axes of a port's tile, its tokens last.
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
            return Err(format!("op {i} reads input {n} of {}", fused.inputs.len()));
        }
        if instr.op.operands().iter().any(|o| *o >= i) {
            return Err(format!("op {i} reads a later one"));
        }
        if instr.dims.iter().any(|d| !fused.dims.contains(d)) {
            return Err(format!("op {i} has a dimension that the loop lacks"));
        }
    }
    for (value, view) in &fused.outputs {
        let Some(instr) = fused.code.get(*value) else { return Err(format!("there is no op {value} to write")) };
        if view.axes.iter().any(|a| !fused.dims.contains(&a.dim)) {
            return Err(format!("the place of op {value} has a dimension that the loop lacks"));
        }
        if instr.dims.iter().any(|d| view.axis(*d).is_none()) {
            return Err(format!("op {value} has a dimension that its place lacks"));
        }
    }
    Ok(())
}
