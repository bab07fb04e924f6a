//! Description of parts, printed by `archc check --verbose` for each scan.

use super::analysis::Scans;
use super::classify::{Part, ScanClass};
use super::form::{Form, Seen};
use crate::graph::{Graph, NodeId, Op, UnaryOp};
use std::fmt::Write;

/// A line or two for each scan: parts, class, reason; for a chunk of `tokens` tokens its updates, reads, shared operands and size.
pub fn print_classes(scans: &Scans, tokens: usize, place: &dyn Fn(&Part) -> String) -> String {
    let mut text = String::new();
    for part in scans.classes.parts.values() {
        let _ =
            writeln!(text, "scan {:<10} {}: {} ({})", part.states.join(", "), part.class.name(), part.why, place(part));
        if let ScanClass::Chunk(form) = &part.class {
            let _ = writeln!(text, "{:16}{}", "", details(&scans.graph, form, tokens));
        }
    }
    text
}

fn details(graph: &Graph, form: &Form, chunk: usize) -> String {
    let axes = |axes: &[crate::graph::AxisId]| {
        let names: Vec<&str> = axes.iter().map(|a| graph.axis(*a).name.as_str()).collect();
        format!("[{}]", names.join(", "))
    };
    let plural = |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
    let mut parts = vec![
        format!("heads {}, K {}, V {}", axes(&form.heads), axes(&form.keys), axes(&form.values)),
        format!("{} a token", plural(form.events.len(), "update")),
        plural(form.reads.len(), "read"),
    ];
    parts.extend(shared(form));
    if !form.beside.is_empty() {
        parts.push(format!("one loop and one matrix of pairs with {}", form.beside.join(", ")));
    }
    parts.push(format!("chunks of {chunk}"));
    parts.join("; ")
}

/// Vectors that are equal: `a = b = k`.
fn shared(form: &Form) -> Option<String> {
    let mut found = Vec::new();
    for event in &form.events {
        let mut names = Vec::new();
        if let Some(delta) = &event.delta {
            if delta.key.vector == Some(event.key) {
                names.push("a");
            }
            names.push("b");
            if !event.values.is_empty() {
                names.push("k");
            }
        }
        if names.len() > 1 && !found.contains(&names.join(" = ")) {
            found.push(names.join(" = "));
        }
    }
    (!found.is_empty()).then(|| format!("shared {}", found.join(", ")))
}

/// Whether a reader sees an event.
pub(super) fn sees(seen: Seen) -> bool {
    seen != Seen::No
}

/// The expression of an operand, as text or as LaTeX; values of the graph by their names.
pub(super) struct Expressions<'a> {
    pub graph: &'a Graph,
    pub form: &'a Form,
    pub latex: bool,
}

/// Binding strength of an expression.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binds {
    Sum,
    Product,
    Atom,
}

impl Expressions<'_> {
    pub(super) fn of(&self, node: NodeId) -> String {
        self.bound(node, FUEL).0
    }

    /// An operand of a product: with parentheses around a sum.
    pub(super) fn factor(&self, node: NodeId) -> String {
        self.within(node, Binds::Product, FUEL)
    }

    fn within(&self, node: NodeId, at_least: Binds, fuel: usize) -> String {
        let (text, binds) = self.bound(node, fuel);
        if binds >= at_least { text } else { self.parentheses(&text) }
    }

    fn parentheses(&self, text: &str) -> String {
        if self.latex { format!("\\left({text}\\right)") } else { format!("({text})") }
    }

    /// Name of a value of the graph.
    fn name(&self, outer: NodeId) -> String {
        let node = self.graph.dag.node(outer);
        let name = if node.name.is_empty() { format!("x{}", outer.0) } else { node.name.clone() };
        if !self.latex {
            return name;
        }
        if name.chars().count() == 1 { name } else { format!("\\mathrm{{{}}}", name.replace('_', "\\_")) }
    }

    fn call(&self, name: &str, arguments: &[String]) -> String {
        let name =
            if self.latex { format!("\\operatorname{{{}}}", name.replace('_', "\\_")) } else { name.to_string() };
        name + &self.parentheses(&arguments.join(", "))
    }

    fn bound(&self, node: NodeId, fuel: usize) -> (String, Binds) {
        use crate::graph::BinaryOp as B;
        let dag = &self.form.dag;
        let operands = dag.operands(node);
        if fuel == 0 {
            return ("..".into(), Binds::Atom);
        }
        let fuel = fuel - 1;
        let x = |i: usize, binds: Binds| self.within(operands[i], binds, fuel);
        let dot = if self.latex { "\\, " } else { " * " };
        match dag.op(node) {
            Op::Capture(i) => self.leaf(self.form.leaves[*i], fuel),
            Op::Const(c) => (format!("{c}"), if *c < 0.0 { Binds::Sum } else { Binds::Atom }),
            Op::Binary(B::Add) => (format!("{} + {}", x(0, Binds::Sum), x(1, Binds::Sum)), Binds::Sum),
            Op::Binary(B::Sub) => (format!("{} - {}", x(0, Binds::Sum), x(1, Binds::Product)), Binds::Sum),
            Op::Binary(B::Mul) => (format!("{}{dot}{}", x(0, Binds::Product), x(1, Binds::Product)), Binds::Product),
            Op::Binary(B::Div) if self.latex => {
                (format!("\\frac{{{}}}{{{}}}", x(0, Binds::Sum), x(1, Binds::Sum)), Binds::Atom)
            }
            Op::Binary(B::Div) => (format!("{} / {}", x(0, Binds::Product), x(1, Binds::Atom)), Binds::Product),
            Op::Unary(UnaryOp::Neg) => (format!("-{}", x(0, Binds::Product)), Binds::Sum),
            // no atom: a power of a power, as an entry of an entry, needs parentheses
            Op::Unary(UnaryOp::Powi(n)) => (format!("{}^{{{n}}}", x(0, Binds::Atom)), Binds::Product),
            Op::Unary(u) => (self.call(&format!("{u:?}").to_lowercase(), &[x(0, Binds::Sum)]), Binds::Atom),
            Op::Binary(f) => {
                (self.call(&format!("{f:?}").to_lowercase(), &[x(0, Binds::Sum), x(1, Binds::Sum)]), Binds::Atom)
            }
            Op::Select => {
                let parts: Vec<String> = (0..3).map(|i| x(i, Binds::Sum)).collect();
                (self.call("select", &parts), Binds::Atom)
            }
            Op::Expand(_) | Op::Rename(..) | Op::StopGrad => self.bound(operands[0], fuel),
            Op::Reduce(..) => (self.call("sum", &[x(0, Binds::Sum)]), Binds::Atom),
            Op::Pick(_, i) => (format!("{}_{{{i}}}", x(0, Binds::Atom)), Binds::Product),
            Op::Stack(_) => {
                let parts: Vec<String> = (0..operands.len()).map(|i| x(i, Binds::Sum)).collect();
                (self.parentheses(&parts.join(", ")), Binds::Atom)
            }
            _ => {
                let parts: Vec<String> = (0..operands.len()).map(|i| x(i, Binds::Sum)).collect();
                (self.call("layout", &parts), Binds::Atom)
            }
        }
    }

    /// A value of the graph: its name, or its expression if it has none.
    fn leaf(&self, outer: NodeId, fuel: usize) -> (String, Binds) {
        let node = self.graph.dag.node(outer);
        let operands = self.graph.dag.operands(outer);
        if !node.name.is_empty() || fuel == 0 {
            return (self.name(outer), Binds::Atom);
        }
        let x = |i: usize, at_least: Binds| {
            let (text, binds) = self.leaf(operands[i], fuel - 1);
            if binds >= at_least { text } else { self.parentheses(&text) }
        };
        match &node.op {
            Op::Const(c) => (format!("{c}"), if *c < 0.0 { Binds::Sum } else { Binds::Atom }),
            Op::Expand(_) | Op::Rename(..) => self.leaf(operands[0], fuel - 1),
            Op::Unary(UnaryOp::Neg) => (format!("-{}", x(0, Binds::Product)), Binds::Sum),
            Op::Unary(UnaryOp::Powi(n)) => (format!("{}^{{{n}}}", x(0, Binds::Atom)), Binds::Product),
            Op::Unary(u) => (self.call(&format!("{u:?}").to_lowercase(), &[x(0, Binds::Sum)]), Binds::Atom),
            Op::Binary(f) => {
                use crate::graph::BinaryOp as B;
                let (sign, binds, right) = match f {
                    B::Add => ("+", Binds::Sum, Binds::Sum),
                    B::Sub => ("-", Binds::Sum, Binds::Product),
                    B::Mul if self.latex => ("\\cdot", Binds::Product, Binds::Product),
                    B::Mul => ("*", Binds::Product, Binds::Product),
                    B::Div => ("/", Binds::Product, Binds::Atom),
                    _ => {
                        let arguments = [x(0, Binds::Sum), x(1, Binds::Sum)];
                        return (self.call(&format!("{f:?}").to_lowercase(), &arguments), Binds::Atom);
                    }
                };
                (format!("{} {sign} {}", x(0, binds), x(1, right)), binds)
            }
            _ => (self.name(outer), Binds::Atom),
        }
    }
}

/// Maximum depth of a printed expression.
const FUEL: usize = 8;
