//! Text and Graphviz forms of a graph: numbered, stable, used by snapshots.

use super::{AnnealShape, AxisId, Dag, Graph, NodeId, Op, Param, Rate, Type, Weighing};
use std::fmt::Write;

/// Text form of a graph, one line per node; bodies are indented.
pub fn print(graph: &Graph) -> String {
    let names = AxisNames::of(graph);
    let mut text = format!("graph {}", graph.name);
    for (i, axis) in graph.axes.iter().enumerate() {
        let _ = write!(text, "{}{}={}", if i == 0 { "  " } else { " " }, names.0[i], axis.size);
        if let Some(labels) = &axis.labels {
            let _ = write!(text, "({})", labels.join(","));
        }
    }
    text.push('\n');
    for param in &graph.params {
        let _ = writeln!(text, "  param {}: {} = {}", param.path, names.list(&param.axes), init_text(param, &names));
    }
    let printer = Printer { graph, names: &names };
    printer.dag(&mut text, &graph.dag, 1);
    for output in &graph.outputs {
        let _ = writeln!(text, "  output {} = %{} {}", output.name, output.value.0, names.list(&output.axes));
    }
    for loss in &graph.losses {
        let _ = writeln!(text, "  loss %{}", loss.0);
    }
    text
}

/// Everything that determines the results of a graph, as text: the output of [`print()`], and the properties of parameters that it omits.
pub fn print_whole(graph: &Graph) -> String {
    let mut text = print(graph);
    for Param { path, kind, per, out, .. } in &graph.params {
        let _ = writeln!(text, "  param {path}: {kind:?} per={per} out={out}");
    }
    let _ = writeln!(text, "  prefix {:?} vocab {:?}", graph.prefix, graph.vocab);
    text
}

/// Graph as a Graphviz digraph; bodies are clusters.
pub fn print_dot(graph: &Graph) -> String {
    let names = AxisNames::of(graph);
    let printer = Printer { graph, names: &names };
    let mut text = format!("digraph \"{}\" {{\n  node [shape=box, fontname=\"monospace\"];\n", graph.name);
    printer.dot(&mut text, &graph.dag, "n");
    for (i, output) in graph.outputs.iter().enumerate() {
        let _ = writeln!(text, "  out{i} [label=\"output {}\", shape=oval];", output.name);
        let _ = writeln!(text, "  n{} -> out{i};", output.value.0);
    }
    text.push_str("}\n");
    text
}

/// Unique axis names: the second `W` is `W.2`.
struct AxisNames(Vec<String>);

impl AxisNames {
    fn of(graph: &Graph) -> Self {
        let mut names: Vec<String> = Vec::new();
        for (i, axis) in graph.axes.iter().enumerate() {
            let earlier = graph.axes[..i].iter().filter(|a| a.name == axis.name).count();
            names.push(if earlier == 0 { axis.name.clone() } else { format!("{}.{}", axis.name, earlier + 1) });
        }
        Self(names)
    }

    fn get(&self, axis: AxisId) -> &str {
        &self.0[axis.0 as usize]
    }

    fn list(&self, axes: &[AxisId]) -> String {
        let names: Vec<&str> = axes.iter().map(|a| self.get(*a)).collect();
        format!("[{}]", names.join(", "))
    }

    fn ty(&self, ty: &Type) -> String {
        let rate = match ty.rate {
            Rate::Fixed => "fixed",
            Rate::Token => "token",
            Rate::Pair => "pair",
        };
        format!("{} {rate}", self.list(&ty.axes))
    }
}

struct Printer<'a> {
    graph: &'a Graph,
    names: &'a AxisNames,
}

impl Printer<'_> {
    fn dag(&self, text: &mut String, dag: &Dag, depth: usize) {
        let indent = "  ".repeat(depth);
        for id in dag.ids() {
            let node = dag.node(id);
            let operands: Vec<String> = dag.operands(id).iter().map(|o| format!(" %{}", o.0)).collect();
            let name = if node.name.is_empty() { String::new() } else { format!(" {}", node.name) };
            let _ = writeln!(
                text,
                "{indent}%{}{name} = {}{} : {}",
                id.0,
                self.op(&node.op),
                operands.concat(),
                self.names.ty(&node.ty)
            );
            self.body(text, &node.op, depth + 1);
        }
    }

    fn body(&self, text: &mut String, op: &Op, depth: usize) {
        let indent = "  ".repeat(depth);
        match op {
            Op::Scan(scan) => {
                for (i, state) in scan.states.iter().enumerate() {
                    let _ = writeln!(text, "{indent}state {i} {}{}", state.name, self.names.list(&state.axes));
                }
                self.dag(text, &scan.body, depth);
                for (state, next) in scan.states.iter().zip(&scan.next) {
                    let _ = writeln!(text, "{indent}next {} = %{}", state.name, next.0);
                }
                self.emits(text, &scan.emits, &indent);
            }
            Op::Attend(attend) => {
                self.dag(text, &attend.body, depth);
                if let Some(visible) = attend.visible {
                    let _ = writeln!(text, "{indent}where %{}", visible.0);
                }
                let _ = match attend.weighing {
                    Weighing::Score(n) => writeln!(text, "{indent}score %{}", n.0),
                    Weighing::Weight(n) => writeln!(text, "{indent}weight %{}", n.0),
                };
                if let Some(sink) = attend.sink {
                    let _ = writeln!(text, "{indent}sink %{}", sink.0);
                }
                self.emits(text, &attend.emits, &indent);
            }
            _ => {}
        }
    }

    fn emits(&self, text: &mut String, emits: &[(String, NodeId)], indent: &str) {
        for (name, value) in emits {
            let _ = writeln!(text, "{indent}emit {name} = %{}", value.0);
        }
    }

    fn dot(&self, text: &mut String, dag: &Dag, prefix: &str) {
        for id in dag.ids() {
            let node = dag.node(id);
            let label = format!("{} {}\\n{}", node.name, self.op(&node.op).replace('"', "'"), self.names.ty(&node.ty));
            let _ = writeln!(text, "  {prefix}{} [label=\"{}\"];", id.0, label.trim_start());
            for operand in dag.operands(id) {
                let _ = writeln!(text, "  {prefix}{} -> {prefix}{};", operand.0, id.0);
            }
            let (body, what) = match &node.op {
                Op::Scan(scan) => (&scan.body, "scan"),
                Op::Attend(attend) => (&attend.body, "attend"),
                _ => continue,
            };
            let inner = format!("{prefix}{}_", id.0);
            let _ = writeln!(text, "  subgraph cluster_{inner} {{ label=\"{what} %{}\";", id.0);
            self.dot(text, body, &inner);
            text.push_str("  }\n");
            let _ = writeln!(text, "  {inner}{} -> {prefix}{} [style=dashed];", body.len() - 1, id.0);
        }
    }

    fn op(&self, op: &Op) -> String {
        op_text(op, self.names, |p| self.graph.param(p).path.clone(), |i| self.graph.inputs[i].name.clone())
    }
}

fn op_text(
    op: &Op,
    names: &AxisNames,
    param: impl Fn(super::ParamId) -> String,
    input: impl Fn(usize) -> String,
) -> String {
    let list = |axes: &[AxisId]| names.list(axes);
    let lower = |debug: String| debug.to_lowercase();
    match op {
        Op::Input(i) => format!("input {}", input(*i)),
        Op::Param(p) => format!("param {}", param(*p)),
        Op::Const(x) => format!("const {x}"),
        Op::Index(axes) => format!("index{}", list(axes)),
        Op::Table(axis, values) => format!("table[{}] {values:?}", names.get(*axis)),
        Op::Pos => "pos".into(),
        Op::Step => "step".into(),
        Op::Draw(draw) => format!("draw {}", lower(format!("{draw:?}"))),
        Op::Capture(i) => format!("capture {i}"),
        Op::Past(i) => format!("past {i}"),
        Op::Lag => "lag".into(),
        Op::State(i) => format!("state {i}"),
        Op::Unary(super::UnaryOp::Powi(n)) => format!("powi {n}"),
        Op::Unary(u) => u.row().name.into(),
        Op::Binary(b) => lower(format!("{b:?}")),
        Op::Select => "select".into(),
        Op::Reduce(r, axes) => format!("{}{}", r.row().name, list(axes)),
        Op::Contract(axes) => format!("contract{}", list(axes)),
        Op::Softmax(axes) => format!("softmax{}", list(axes)),
        Op::Sparsemax(a) => format!("sparsemax{}", list(&[*a])),
        Op::Cumsum(a) => format!("cumsum{}", list(&[*a])),
        Op::Sort(a) => format!("sort{}", list(&[*a])),
        Op::TopK(a, n) => format!("topk{} {n}", list(&[*a])),
        Op::Stack(a) => format!("stack{}", list(&[*a])),
        Op::Pick(a, i) => format!("pick[{} = {i}]", names.get(*a)),
        Op::Split(a, into) => format!("split[{} -> {}]", names.get(*a), list(into)),
        Op::Flatten(axes, into) => format!("flatten[{} -> {}]", list(axes), names.get(*into)),
        Op::Cat(parts, into) => format!("cat[{} -> {}]", list(parts), names.get(*into)),
        Op::Cut { from, offset, into } => format!("cut[{} -> {} at {offset}]", names.get(*from), names.get(*into)),
        Op::Expand(axes) => format!("expand{}", list(axes)),
        Op::Rename(a, b) => format!("rename[{} -> {}]", names.get(*a), names.get(*b)),
        Op::Linear(l) => {
            let parts: Vec<String> = l.contracted.iter().map(|a| list(a)).collect();
            let per = if l.per.is_empty() { String::new() } else { format!(" per{}", list(&l.per)) };
            format!("linear[{} -> {}]{per}{}", parts.join(" "), list(&l.out), if l.bias { " bias" } else { "" })
        }
        Op::Embed { vocab } => format!("embed[{}]", names.get(*vocab)),
        Op::Dropout { path } => format!("dropout {path}"),
        Op::StopGrad => "stop_grad".into(),
        Op::Anneal { steps, start, shape } => {
            let shape = match shape {
                AnnealShape::Linear => "linear",
                AnnealShape::Cosine => "cosine",
                AnnealShape::Exp => "exp",
            };
            format!("anneal {shape} start={start} steps={steps}")
        }
        Op::TokenMean => "token_mean".into(),
        Op::Window { axis, step } => format!("window[{}] step={step}", names.get(*axis)),
        Op::Scan(_) => "scan".into(),
        Op::Attend(_) => "attend".into(),
        Op::Emit(i) => format!("emit {i}"),
    }
}

/// Recipe of a parameter on one line: `log(draw uniform(1, 16))`.
fn init_text(param: &Param, names: &AxisNames) -> String {
    fn go(dag: &Dag, id: NodeId, names: &AxisNames) -> String {
        let op = dag.op(id);
        let head = match op {
            Op::Const(x) => return format!("{x}"),
            _ => op_text(op, names, |_| String::new(), |_| String::new()),
        };
        let operands: Vec<String> = dag.operands(id).iter().map(|o| go(dag, *o, names)).collect();
        if operands.is_empty() { head } else { format!("{head}({})", operands.join(", ")) }
    }
    go(&param.init, param.init_value, names)
}
