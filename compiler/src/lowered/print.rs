//! Text form of a lowered graph: numbered, stable, used by snapshots.

use super::{Dag, Dim, DimId, Extent, Keep, Lowered, Op, Pairs, Weighing};
use crate::graph::UnaryOp;
use std::fmt::Write;

/// Text form of a graph, one line per value; bodies are indented.
pub fn print(graph: &Lowered) -> String {
    let names = Names::of(&graph.dims);
    let joint = !graph.param_grads.is_empty() || !graph.input_grads.is_empty();
    let mut text = format!("{} {} ", if joint { "joint" } else { "lowered" }, graph.source.name);
    for (i, dim) in graph.dims.iter().enumerate() {
        let _ = write!(text, " {}={}", names.0[i], extent(dim.extent));
    }
    text.push('\n');
    let printer = Printer { graph, names: &names };
    printer.dag(&mut text, &graph.dag, 1, if joint { Some(graph.forward_nodes) } else { None });
    for output in &graph.outputs {
        let _ = writeln!(text, "  output {} = %{} {}", output.name, output.value.0, names.list(&output.axes));
    }
    if let Some((objective, loss)) = graph.objective {
        let _ = writeln!(text, "  objective %{}, cross-entropy %{}", objective.0, loss.0);
    }
    for carry in &graph.carries {
        let last = match carry.keep {
            Keep::Whole => String::new(),
            Keep::Last(n) => format!(" last {n} tokens"),
            Keep::Seen(usize::MAX) => " tokens of the document".into(),
            Keep::Seen(n) => format!(" last {n} tokens of the document"),
        };
        let low = carry.low.map_or_else(String::new, |low| format!(" + %{}", low.0));
        let _ = writeln!(text, "  carry {} = %{}{low}{last}", carry.name, carry.value.0);
    }
    for (param, value) in &graph.param_grads {
        let _ = writeln!(text, "  gradient of {} = %{}", graph.source.param(*param).path, value.0);
    }
    for (input, value) in &graph.input_grads {
        let _ = writeln!(text, "  gradient of input {} = %{}", graph.source.inputs[*input].name, value.0);
    }
    text
}

fn extent(extent: Extent) -> String {
    match extent {
        Extent::Fixed(n) => n.to_string(),
        Extent::Batch => "batch".into(),
        Extent::Time => "time".into(),
        Extent::Chunks(n) => format!("time/{n}"),
        Extent::Carried(usize::MAX) => "carried".into(),
        Extent::Carried(n) => format!("carried<={n}"),
        Extent::Known(usize::MAX) => "known".into(),
        Extent::Known(n) => format!("known<={n}+time"),
        Extent::Rows(n) => format!("time<={n}"),
    }
}

/// Unique names: the second `W` is `W.2`.
pub(crate) struct Names(pub(crate) Vec<String>);

impl Names {
    pub(crate) fn of(dims: &[Dim]) -> Self {
        let mut names = Vec::with_capacity(dims.len());
        for (i, dim) in dims.iter().enumerate() {
            let earlier = dims[..i].iter().filter(|d| d.name == dim.name).count();
            names.push(if earlier == 0 { dim.name.clone() } else { format!("{}.{}", dim.name, earlier + 1) });
        }
        Self(names)
    }

    pub(crate) fn get(&self, dim: DimId) -> &str {
        self.0.get(dim.0 as usize).map_or("", String::as_str)
    }

    pub(crate) fn list(&self, dims: &[DimId]) -> String {
        let names: Vec<&str> = dims.iter().map(|d| self.get(*d)).collect();
        format!("[{}]", names.join(", "))
    }
}

struct Printer<'a> {
    graph: &'a Lowered,
    names: &'a Names,
}

impl Printer<'_> {
    fn dag(&self, text: &mut String, dag: &Dag, depth: usize, backward: Option<usize>) {
        let indent = "  ".repeat(depth);
        for id in dag.ids() {
            if backward == Some(id.0 as usize) {
                let _ = writeln!(text, "{indent}-- backward");
            }
            let node = dag.node(id);
            let operands: Vec<String> = dag.operands(id).iter().map(|o| format!(" %{}", o.0)).collect();
            let name = if node.name.is_empty() { String::new() } else { format!(" {}", node.name) };
            let dims = self.names.list(&node.dims);
            let _ = writeln!(text, "{indent}%{}{name} = {}{} : {dims}", id.0, self.op(&node.op), operands.concat());
            self.body(text, &node.op, depth + 1);
        }
    }

    fn body(&self, text: &mut String, op: &Op, depth: usize) {
        let indent = "  ".repeat(depth);
        match op {
            Op::Loop(l) => {
                for (i, state) in l.states.iter().enumerate() {
                    let _ = writeln!(text, "{indent}state {i} {}{}", state.name, self.names.list(&state.dims));
                }
                self.dag(text, &l.body, depth, None);
                for (state, next) in l.states.iter().zip(&l.next) {
                    let _ = writeln!(text, "{indent}next {} = %{}", state.name, next.0);
                }
                for (name, value) in &l.emits {
                    let _ = writeln!(text, "{indent}emit {name} = %{}", value.0);
                }
                for recurrence in l.recurrences() {
                    let states: Vec<&str> = recurrence.states.iter().map(|s| l.states[*s].name.as_str()).collect();
                    let along = self.names.list(&recurrence.independent);
                    let _ = writeln!(text, "{indent}{} is {} over {along}", states.join(", "), recurrence.step.name());
                }
            }
            Op::Attend(a) => {
                self.dag(text, &a.body, depth, None);
                self.weighing(text, &indent, a.visible, a.weighing);
                if let Some(sink) = a.sink {
                    let _ = writeln!(text, "{indent}sink %{}", sink.0);
                }
                for (name, value) in &a.emits {
                    let _ = writeln!(text, "{indent}emit {name} = %{}", value.0);
                }
            }
            Op::AttendGrad(g) => {
                self.dag(text, &g.body, depth, None);
                self.weighing(text, &indent, g.visible, g.weighing);
                for (capture, value) in &g.sums {
                    let _ = writeln!(text, "{indent}gradient of capture {capture} += %{}", value.0);
                }
                for (i, value) in g.running.iter().enumerate() {
                    let _ = writeln!(text, "{indent}running {i} = %{}", value.0);
                }
            }
            _ => {}
        }
    }

    fn weighing(&self, text: &mut String, indent: &str, visible: Option<super::ValueId>, weighing: Weighing) {
        if let Some(visible) = visible {
            let _ = writeln!(text, "{indent}where %{}", visible.0);
        }
        let _ = match weighing {
            Weighing::Score(n) => writeln!(text, "{indent}score %{}", n.0),
            Weighing::Weight(n) => writeln!(text, "{indent}weight %{}", n.0),
        };
    }

    fn op(&self, op: &Op) -> String {
        let names = self.names;
        let source = &self.graph.source;
        match op {
            Op::Input(i) => format!("input {}", source.inputs[*i].name),
            Op::Param(p) => format!("param {}", source.param(*p).path),
            other => op_text(other, names),
        }
    }
}

fn running(dim: &str, reverse: bool, exclusive: bool) -> String {
    format!("[{dim}]{}{}", if reverse { " reverse" } else { "" }, if exclusive { " exclusive" } else { "" })
}

fn pairs(p: &Pairs, names: &Names) -> String {
    let which = if p.before {
        " before"
    } else if p.strict {
        " strict"
    } else {
        ""
    };
    format!("[{} {}]{which}", names.get(p.rows), names.get(p.cols))
}

/// Text of an op without its operands.
pub(crate) fn op_text(op: &Op, names: &Names) -> String {
    let list = |dims: &[DimId]| names.list(dims);
    let one = |dim: &DimId| names.get(*dim).to_string();
    let lower = |debug: String| debug.to_lowercase();
    match op {
        Op::Input(i) => format!("input {i}"),
        Op::Param(p) => format!("param {}", p.0),
        Op::Const(x) => format!("const {x}"),
        Op::Index(along) => format!("index{}", list(along)),
        Op::Table(dim, values) => format!("table[{}] {values:?}", one(dim)),
        Op::Pos => "pos".into(),
        Op::Doc => "doc".into(),
        Op::Step => "step".into(),
        Op::TokenWeight => "token_weight".into(),
        Op::Carried(name, _) => format!("carried {name}"),
        Op::CarriedLow(name, _) => format!("carried_low {name}"),
        Op::Cotangent(i, _) => format!("cotangent {i}"),
        Op::Capture(i, _) => format!("capture {i}"),
        Op::Past(i, _) => format!("past {i}"),
        Op::Lag(..) => "lag".into(),
        Op::State(i, _) => format!("state {i}"),
        Op::Weight(..) => "weight".into(),
        Op::Visible(..) => "visible".into(),
        Op::Delta(_) => "delta".into(),
        Op::Sofar(_, i) => format!("so far {i}"),
        Op::Last => "last".into(),
        Op::Unary(UnaryOp::Powi(n)) => format!("powi {n}"),
        Op::Unary(u) => u.row().name.into(),
        Op::Binary(b) => lower(format!("{b:?}")),
        Op::Select => "select".into(),
        Op::Reduce(r, dims) => format!("{}{}", r.row().name, list(dims)),
        Op::Contract(dims) => format!("contract{}", list(dims)),
        Op::Softmax(dims) => format!("softmax{}", list(dims)),
        Op::Sparsemax(d) => format!("sparsemax[{}]", one(d)),
        Op::Cumsum { dim, reverse, exclusive } => format!("cumsum{}", running(&one(dim), *reverse, *exclusive)),
        Op::CumsumLow { dim, reverse, exclusive } => format!("cumsum_low{}", running(&one(dim), *reverse, *exclusive)),
        Op::Cumprod { dim, reverse, exclusive } => format!("cumprod{}", running(&one(dim), *reverse, *exclusive)),
        Op::CumprodGrad { dim, reverse, exclusive } => {
            format!("cumprod_grad{}", running(&one(dim), *reverse, *exclusive))
        }
        Op::Sort(d) => format!("sort[{}]", one(d)),
        Op::Unsort(d) => format!("unsort[{}]", one(d)),
        Op::TopK(d, n) => format!("topk[{}] {n}", one(d)),
        Op::TopKMask(d, n) => format!("topk_mask[{}] {n}", one(d)),
        Op::Stack(d) => format!("stack[{}]", one(d)),
        Op::Pick(d, i) => format!("pick[{} = {i}]", one(d)),
        Op::Put(d, i) => format!("put[{} = {i}]", one(d)),
        Op::Split(d, into) => format!("split[{} -> {}]", one(d), list(into)),
        Op::Flatten(from, into) => format!("flatten[{} -> {}]", list(from), one(into)),
        Op::Cat(parts, into) => format!("cat[{} -> {}]", list(parts), one(into)),
        Op::Cut { from, offset, into } => format!("cut[{} -> {} at {offset}]", one(from), one(into)),
        Op::Paste { from, offset, into } => format!("paste[{} -> {} at {offset}]", one(from), one(into)),
        Op::Expand(dims) => format!("expand{}", list(dims)),
        Op::Rename(a, b) => format!("rename[{} -> {}]", one(a), one(b)),
        Op::Chunk { chunks, rows, fill } => format!("chunk[{} {}] fill {fill}", one(chunks), one(rows)),
        Op::Unchunk { chunks, rows } => format!("unchunk[{} {}]", one(chunks), one(rows)),
        Op::Embed { vocab, .. } => format!("embed[{}]", one(vocab)),
        Op::Scatter { of, .. } => format!("scatter[{}]", one(of)),
        Op::Dropout { path } => format!("dropout {path}"),
        Op::StopGrad => "stop_grad".into(),
        Op::CrossEntropy { vocab } => format!("cross_entropy[{}]", one(vocab)),
        Op::CrossEntropyGrad { vocab } => format!("cross_entropy_grad[{}]", one(vocab)),
        Op::Window { dim, step } => format!("window[{}] step {step}", one(dim)),
        Op::Unwindow { dim, step } => format!("unwindow[{}] step {step}", one(dim)),
        Op::LongConv { lag } => format!("long_conv[{}]", one(lag)),
        Op::LongConvBack { lag } => format!("long_conv_back[{}]", one(lag)),
        Op::LongConvFilter { lag } => format!("long_conv_filter[{}]", one(lag)),
        Op::SolveUnitLower { rows, cols, transpose } => {
            format!("solve_unit_lower[{} {}]{}", one(rows), one(cols), if *transpose { " transpose" } else { "" })
        }
        Op::PairDecay(p) => format!("pair_decay{}", pairs(p, names)),
        Op::PairDecayGrad(p) => format!("pair_decay_grad{}", pairs(p, names)),
        Op::PairProduct(p) => format!("pair_product{}", pairs(p, names)),
        Op::PairProductGrad(p) => format!("pair_product_grad{}", pairs(p, names)),
        Op::DecayDot { over, pairs: p } => format!("decay_dot[{}]{}", one(over), pairs(p, names)),
        Op::DecayDotGrad { over, pairs: p, parts } => {
            format!("decay_dot_grad[{}]{} as {}", one(over), pairs(p, names), one(parts))
        }
        Op::Loop(l) => {
            let map = if l.map.is_empty() { String::new() } else { format!(" map {}", list(&l.map)) };
            format!("loop[{}]{}{map}", one(&l.over), if l.reverse { " reverse" } else { "" })
        }
        Op::Attend(a) => format!("attend map {}", list(&a.map)),
        Op::AttendGrad(g) => format!("attend_grad map {}", list(&g.forward.map)),
        Op::Emit(i) => format!("emit {i}"),
        Op::Final(i) => format!("final {i}"),
    }
}

/// Name of an op, without dimensions.
pub fn op_name(op: &Op) -> String {
    let text = op_text(op, &Names(Vec::new()));
    text.split(['[', ' ']).next().unwrap_or_default().to_string()
}
