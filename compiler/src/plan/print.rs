//! Text form of a plan: one line for each launch, with the kernel's number and counts; bodies are indented, and printed once.

use super::{Base, ConvWork, Element, FusedOp, Kernel, Plan, Scope, View, Work};
use crate::lowered::DimId;
use std::fmt::Write;

/// Text form of a plan: kernels in order, buffers, and the bytes that each kernel moves.
pub fn print(plan: &Plan) -> String {
    let source = &plan.graph.source;
    let mut text = format!("plan {}  B={} T={}", source.name, plan.shape.batch, plan.shape.len);
    if plan.shape.carried > 0 {
        let _ = write!(text, " carried={}", plan.shape.carried);
    }
    let (kernels, launches) = plan.kernel_count();
    let again = if launches > kernels { format!(" in {launches} places") } else { String::new() };
    let _ = writeln!(
        text,
        ": {kernels} kernel{}{again}, arena {} bytes, constants {} bytes, parameters {}",
        if kernels == 1 { "" } else { "s" },
        plan.root.arena,
        4 * plan.constants_len,
        plan.params_len
    );
    let printer = Printer { plan };
    for (leaf, place) in &plan.leaves {
        let element = if place.element == Element::F32 { "" } else { place.element.name() };
        let _ = writeln!(text, "  leaf {:<12}{element:>4} -> {}", leaf.name(), printer.view(place));
    }
    let mut printed = 0;
    for (i, launch) in plan.root.launches.iter().enumerate() {
        if plan.prepared > 0 && i == plan.prepared {
            let _ = writeln!(text, "  -- at every call; what is above once for the same parameters");
        }
        let kernel = plan.root.launched(launch);
        let line = format!("{:>4}  {:<60} {}", launch.kernel + 1, printer.kernel(&kernel), kernel.name);
        let _ = writeln!(text, "{}", line.trim_end());
        // kernels are numbered in the order of their first launch
        if launch.kernel >= printed {
            printer.bodies(&mut text, &kernel, 3);
            printed = launch.kernel + 1;
        }
    }
    text
}

struct Printer<'a> {
    plan: &'a Plan,
}

impl Printer<'_> {
    fn scope(&self, text: &mut String, scope: &Scope, depth: usize) {
        for kernel in &scope.kernels {
            let indent = "  ".repeat(depth);
            let line = format!("{indent}{:<60} {}", self.kernel(kernel), kernel.name);
            let _ = writeln!(text, "{}", line.trim_end());
            self.bodies(text, kernel, depth);
        }
    }

    fn bodies(&self, text: &mut String, kernel: &Kernel, depth: usize) {
        match &kernel.work {
            Work::Loop(l) => self.scope(text, &l.body, depth + 1),
            Work::Attend(a) => {
                self.scope(text, &a.body, depth + 1);
                if let Some(g) = &a.grad {
                    let _ = writeln!(text, "{}  -- weights", "  ".repeat(depth));
                    self.scope(text, &g.after, depth + 1);
                }
            }
            _ => {}
        }
    }

    fn kernel(&self, kernel: &Kernel) -> String {
        let bytes =
            |views: &mut dyn Iterator<Item = &View>| -> usize { views.map(|v| v.element.bytes() * distinct(v)).sum() };
        match &kernel.work {
            Work::Gemm(g) => {
                let batch: usize = g.batch.iter().product();
                let times = if batch > 1 { format!("{batch} x ") } else { String::new() };
                let sums: usize = g.sums.iter().map(|s| s.0).product();
                let sums = if sums > 1 { format!(" x {sums} sums") } else { String::new() };
                let way = if g.accumulate { "+=" } else { "=" };
                let pairs = if g.pairs.is_some() { " at most" } else { "" };
                format!("gemm {times}[{} {}] {way} k {}{sums}, {} flop{pairs}", g.m, g.n, g.k, g.flops())
            }
            Work::Fused(f) => {
                let ops = f.code.iter().filter(|i| !matches!(i.op, FusedOp::Input(_) | FusedOp::Number(_))).count();
                let moved = bytes(&mut f.inputs.iter().chain(f.outputs.iter().map(|o| &o.1)));
                format!(
                    "fused {}: {} in, {} out, {ops} op{}, {moved} bytes",
                    self.sizes(&f.dims),
                    f.inputs.len(),
                    f.outputs.len(),
                    if ops == 1 { "" } else { "s" }
                )
            }
            Work::Copy(c) => format!("copy {}, {} bytes", self.view(&c.to), 8 * c.to.len()),
            Work::Conv(c) => {
                let work = match c.work {
                    ConvWork::Forward => "conv",
                    ConvWork::Backward => "conv back",
                    ConvWork::Filter => "conv filter",
                };
                format!("{work} {} taps {}", self.view(&c.x), c.filter.size(c.window))
            }
            Work::Norm(n) => format!("norm of {} gradients", n.gradients.len()),
            Work::AdamW(a) => {
                format!("adamw {}{}", self.view(&a.param), if a.decays { "" } else { " without decay" })
            }
            Work::Single(s) => format!("{} {}", crate::lowered::op_name(&s.op), self.view(&s.output)),
            Work::Loop(l) => {
                let map: usize = l.map.iter().product();
                let way = if l.reverse { " reverse" } else { "" };
                format!("loop {} x {}{way}, body arena {} bytes", map, l.count, l.body.arena)
            }
            Work::Attend(a) => {
                let what = if a.grad.is_some() { "attend back" } else { "attend" };
                format!(
                    "{what} {} x [{} {}] in tiles of {} x {}",
                    a.map.iter().product::<usize>(),
                    a.rows,
                    a.cols,
                    a.tile_rows,
                    a.tile_cols
                )
            }
        }
    }

    fn sizes(&self, dims: &[DimId]) -> String {
        let sizes: Vec<String> = dims.iter().map(|d| self.plan.sizes[d.0 as usize].to_string()).collect();
        format!("[{}]", sizes.join(", "))
    }

    fn view(&self, view: &View) -> String {
        let sizes: Vec<String> = view.axes.iter().map(|a| a.size.to_string()).collect();
        let base = match view.start.base {
            Base::Scratch => "a".to_string(),
            Base::Constants => "c".into(),
            Base::Params => "p".into(),
            Base::Grads => "g".into(),
            Base::First => "m".into(),
            Base::Second => "v".into(),
            Base::Port(i) => format!("port{i}+"),
        };
        format!("{base}{} [{}]", view.start.bytes / view.element.bytes(), sizes.join(", "))
    }
}

/// Number of distinct elements that a view covers.
fn distinct(view: &View) -> usize {
    view.axes.iter().filter(|a| a.stride != 0).map(|a| a.size).product()
}

impl super::Gemm {
    /// Number of multiplications and additions.
    pub fn flops(&self) -> usize {
        let sums: usize = self.sums.iter().map(|s| s.0).product();
        2 * self.m * self.n * self.k * sums * self.batch.iter().product::<usize>()
    }
}
