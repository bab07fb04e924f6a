//! The invariants of a plan, checked in debug builds and tests.

use super::memory::touch;
use super::{Base, Fused, FusedOp, Kernel, Plan, Scope, View, Work};

/// Checks the invariants listed in the module's essay.
///
/// # Errors
/// A sentence that names the first kernel that breaks one.
pub fn verify(plan: &Plan) -> Result<(), String> {
    let room = Room { constants: plan.constants_len, params: plan.params_len };
    room.scope(&plan.constants, "constants")?;
    for (i, launch) in plan.root.launches.iter().enumerate() {
        let kernel = plan.root.launched(launch);
        room.kernel(&kernel, plan.root.arena, &format!("launch {i} ({})", kernel.name))?;
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
    fn scope(&self, scope: &Scope, what: &str) -> Result<(), String> {
        for (i, kernel) in scope.kernels.iter().enumerate() {
            let place = format!("{what} kernel {i} ({})", kernel.name);
            self.kernel(kernel, scope.arena, &place)?;
        }
        Ok(())
    }

    fn kernel(&self, kernel: &Kernel, arena: usize, place: &str) -> Result<(), String> {
        let mut starts = Vec::new();
        touch(&mut kernel.clone(), &mut |base, offset| starts.push((*base, *offset)));
        for (base, offset) in starts {
            self.inside(base, offset, arena, place)?;
        }
        match &kernel.work {
            Work::Fused(f) => {
                for view in f.inputs.iter().chain(f.outputs.iter().map(|o| &o.1)) {
                    self.view(view, arena, place)?;
                }
                code(f).map_err(|why| format!("{place}: {why}"))
            }
            Work::Copy(c) => {
                self.view(&c.from, arena, place)?;
                self.view(&c.to, arena, place)
            }
            Work::Single(s) => s.inputs.iter().chain([&s.output]).try_for_each(|v| self.view(v, arena, place)),
            Work::Gemm(g) => {
                let batches = g.batch.len();
                if [&g.a, &g.b, &g.c].iter().any(|m| m.batch.len() != batches) {
                    return Err(format!("{place}: a matrix lacks batch strides"));
                }
                Ok(())
            }
            Work::Conv(_) => Ok(()),
            Work::Loop(l) => self.scope(&l.body, place),
            Work::Attend(a) => {
                self.scope(&a.body, place)?;
                a.grad.as_ref().map_or(Ok(()), |g| self.scope(&g.after, place))
            }
        }
    }

    fn view(&self, view: &View, arena: usize, place: &str) -> Result<(), String> {
        if view.is_empty() { Ok(()) } else { self.inside(view.base, view.offset + view.reach(), arena, place) }
    }

    fn inside(&self, base: Base, at: usize, arena: usize, place: &str) -> Result<(), String> {
        let room = match base {
            Base::Scratch => arena,
            Base::Constants => self.constants,
            Base::Params | Base::Grads => self.params,
            Base::Port(_) => return Ok(()),
        };
        // an empty buffer may start at the end
        if at <= room { Ok(()) } else { Err(format!("{place} reaches {at} of {room} in {base:?}")) }
    }
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
    Ok(())
}
