//! Derivation of a chunk form, as text and as LaTeX: the recurrence as classified, its operands, the chunk's equations for this form, and
//! their gradients.
//!
//! Notation: rows 1..C of a chunk, S its entry state, G_i the sum of the log decays up to row i, D(i, j) = exp(G_i - G_j) for
//! j <= i, which for a decay without logarithm is a product of the rows' own; th_i is a row's angle, Th_i the sum of the angles up to row
//! i, Rot the rotation by it. Event e has the key b_e and adds b_e u_e^T; a_e reads the value it removes, s_e scales that, v_e is the value
//! it writes.

use super::check::check_form;
use super::derive_turned::frame_lines;
use super::form::{Decay, Form, Scaled, Seen, Side, Sight};
use super::print::{Expressions, sees};
use crate::graph::{AxisId, Graph, NodeId};
use std::fmt::Write;

/// A line: as text, as LaTeX.
pub(super) type Line = (String, String);

/// Derivation of a form.
#[derive(Clone, Debug)]
pub struct Derivation {
    /// Sections of lines.
    pub sections: Vec<(String, Vec<Line>)>,
    /// Largest relative difference between the chunk form and the token loop in f64 on random numbers, if it could be determined.
    pub difference: Option<f64>,
}

impl Derivation {
    /// The derivation as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (title, lines) in &self.sections {
            let _ = writeln!(text, "{title}");
            for (line, _) in lines {
                let _ = writeln!(text, "  {line}");
            }
        }
        let _ = writeln!(text, "{}", self.verdict());
        text
    }

    /// The derivation as LaTeX: one align* for each section.
    pub fn latex(&self) -> String {
        let mut text = String::new();
        for (title, lines) in &self.sections {
            let _ = writeln!(text, "\\paragraph{{{}}}\n\\begin{{align*}}", escaped(title));
            let lines: Vec<String> = lines.iter().map(|l| one_subscript(&l.1)).collect();
            let _ = writeln!(text, "{}\n\\end{{align*}}", lines.join(" \\\\\n"));
        }
        let _ = writeln!(text, "% {}", self.verdict());
        text
    }

    fn verdict(&self) -> String {
        match self.difference {
            Some(d) => {
                format!("checked in f64 on random numbers: chunk and token loop differ by at most {d:.1e}, relative")
            }
            None => "not checked on random numbers: none were found that keep the decay at most 1".into(),
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('_', "\\_").replace('^', "\\^{}")
}

/// Merges the subscripts of row i of a numbered symbol, `q_{1}_i`, into a single one as LaTeX requires: `q_{1,i}`.
fn one_subscript(line: &str) -> String {
    let mut parts = line.split("}_");
    let mut joined = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let numbered = joined.rsplit_once("_{").is_some_and(|(_, n)| n.chars().all(|c| c.is_ascii_digit()));
        match part.chars().next() {
            Some(row @ ('i' | 'j')) if numbered => {
                joined.push_str(&format!(",{row}}}"));
                joined.push_str(&part[1..]);
            }
            _ => {
                joined.push_str("}_");
                joined.push_str(part);
            }
        }
    }
    joined
}

/// Derives the chunk form of a recurrence.
pub fn derive(graph: &Graph, form: &Form) -> Derivation {
    let d = Deriver { graph, form };
    let sections = vec![
        (d.title(), d.operands()),
        ("One token".into(), d.token()),
        ("A chunk of rows 1..C, entry state S".into(), d.chunk()),
        ("Gradients, with dO and dS' given".into(), d.backward()),
    ];
    Derivation { sections, difference: check_form(graph, form) }
}

pub(super) struct Deriver<'a> {
    graph: &'a Graph,
    pub(super) form: &'a Form,
}

/// Subscript of a symbol if there is more than one.
pub(super) fn sub(n: usize, i: usize) -> Line {
    if n < 2 { (String::new(), String::new()) } else { (format!("{}", i + 1), format!("_{{{}}}", i + 1)) }
}

pub(super) fn line(text: impl Into<String>, latex: impl Into<String>) -> Line {
    (text.into(), latex.into())
}

/// Sum of log decays up to a row, as text.
fn log_sum(row: &str) -> String {
    if row.len() == 1 { format!("G_{row}") } else { format!("G_{{{row}}}") }
}

pub(super) fn join(parts: &[Line], text: &str, latex: &str) -> Line {
    let of = |f: fn(&Line) -> &str, by: &str| parts.iter().map(f).collect::<Vec<_>>().join(by);
    (of(|l| &l.0, text), of(|l| &l.1, latex))
}

impl Deriver<'_> {
    fn names(&self, axes: &[AxisId]) -> String {
        let names: Vec<String> =
            axes.iter().map(|a| format!("{}={}", self.graph.axis(*a).name, self.graph.size(*a))).collect();
        names.join(", ")
    }

    fn title(&self) -> String {
        let f = self.form;
        let heads = if f.heads.is_empty() { String::new() } else { format!(", for each of {}", self.names(&f.heads)) };
        format!("State {}, K = [{}], V = [{}]{heads}", f.state.name, self.names(&f.keys), self.names(&f.values))
    }

    fn expression(&self, node: NodeId) -> Line {
        let of = |latex| Expressions { graph: self.graph, form: self.form, latex }.of(node);
        (of(false), of(true))
    }

    /// LaTeX form of a name.
    fn symbol(&self, name: &str) -> String {
        if name.chars().count() == 1 { name.into() } else { format!("\\mathrm{{{}}}", escaped(name)) }
    }

    fn scaled(&self, s: &Scaled) -> Line {
        let of = |latex: bool| {
            let e = Expressions { graph: self.graph, form: self.form, latex };
            match (s.scale, s.vector) {
                (Some(a), Some(v)) => format!("{}{}{}", e.factor(a), if latex { "\\, " } else { " * " }, e.factor(v)),
                (Some(x), None) | (None, Some(x)) => e.factor(x),
                (None, None) => "1".into(),
            }
        };
        (of(false), of(true))
    }

    pub(super) fn event(&self, e: usize) -> Line {
        sub(self.form.events.len(), e)
    }

    pub(super) fn read(&self, r: usize) -> Line {
        sub(self.form.reads.len(), r)
    }

    // ---- what the symbols stand for

    fn operands(&self) -> Vec<Line> {
        let f = self.form;
        let mut lines = Vec::new();
        let mut define = |symbol: Line, value: Line| {
            lines.push((format!("{:<4}= {}", symbol.0, value.0), format!("{} &= {}", symbol.1, value.1)));
        };
        if let Some(node) = f.decay.node() {
            let symbol = if self.by_product() { line("al", "\\alpha") } else { line("g", "g") };
            define(symbol, self.expression(node));
        }
        if let Some(rotation) = f.rotation {
            define(line("th", "\\theta"), self.expression(rotation.angle));
        }
        for (e, event) in f.events.iter().enumerate() {
            let (t, l) = self.event(e);
            define((format!("b{t}"), format!("b{l}")), self.expression(event.key));
            if let Some(delta) = &event.delta {
                let vector = delta.key.vector.map_or(line("1", "1"), |n| self.expression(n));
                define((format!("a{t}"), format!("a{l}")), vector);
                let scale = delta.key.scale.map_or(line("1", "1"), |n| self.expression(n));
                define((format!("s{t}"), format!("s{l}")), scale);
            }
            if !event.values.is_empty() {
                let values: Vec<Line> = event.values.iter().map(|v| self.scaled(v)).collect();
                define((format!("v{t}"), format!("v{l}")), join(&values, " + ", " + "));
            }
        }
        for (r, read) in f.reads.iter().enumerate() {
            let (t, l) = self.read(r);
            define((format!("q{t}"), format!("q{l}")), self.expression(read.query));
        }
        lines
    }

    /// Whether the decay is multiplied, because it has no logarithm.
    pub(super) fn by_product(&self) -> bool {
        matches!(self.form.decay, Decay::Product(_))
    }

    /// Decay from after row j up to row i.
    fn span(&self, i: &str, j: &str) -> Line {
        if self.by_product() {
            (format!("D({i}, {j})"), format!("D_{{{i},\\,{j}}}"))
        } else if j == "0" {
            (format!("exp({})", log_sum(i)), format!("e^{{G_{{{i}}}}}"))
        } else {
            (format!("exp({} - G_{j})", log_sum(i)), format!("e^{{G_{{{i}}} - G_{j}}}"))
        }
    }

    // ---- the recurrence

    /// Decay factor in front of the state.
    pub(super) fn alpha(&self) -> Option<Line> {
        let sign = if self.form.negative { "-" } else { "" };
        match self.form.decay {
            Decay::None => None,
            Decay::Product(_) => Some(line("al", "\\alpha")),
            Decay::Scalar(_) => Some((format!("{sign}exp(g)"), format!("{sign}e^{{g}}"))),
            Decay::Key(_) => Some((format!("{sign}diag(exp(g))"), format!("{sign}\\operatorname{{diag}}(e^{{g}})"))),
            Decay::Value(_) => Some((format!("{sign}exp(g)^T .*"), format!("{sign}(e^{{g}})^\\top \\odot"))),
        }
    }

    /// State as a reader sees it, in words of the token.
    fn seen(&self, sight: &Sight) -> Line {
        let events: Vec<usize> = (0..sight.sees.len()).filter(|e| sees(sight.sees[*e])).collect();
        let moves = self.alpha().is_some() || self.form.rotation.is_some();
        let base = if sight.before && moves { line("S_prev", "S_{\\mathrm{prev}}") } else { line("S", "S") };
        if events.len() == sight.sees.len() && !sight.before || events.is_empty() {
            return base;
        }
        let after = events.iter().map(|e| (e + 1).to_string()).collect::<Vec<_>>().join(", ");
        (format!("(S after update {after})"), format!("S_{{\\text{{after {after}}}}}"))
    }

    fn token(&self) -> Vec<Line> {
        let f = self.form;
        let mut lines = Vec::new();
        let reads_before = f.reads.iter().any(|r| r.sight.before)
            || f.events.iter().any(|e| e.delta.as_ref().is_some_and(|d| d.sight.before));
        let moved = match (self.alpha(), f.rotation) {
            (alpha, Some(_)) => {
                let (t, l) = alpha.unwrap_or_default();
                let (t, l) = if t.is_empty() { (t, l) } else { (t + " ", l + "\\, ") };
                Some((format!("{t}Rot(th)"), format!("{l}\\operatorname{{Rot}}(\\theta)")))
            }
            (alpha, None) => alpha,
        };
        if let Some((t, l)) = moved {
            if reads_before {
                lines.push(line("S_prev = S", "S_{\\mathrm{prev}} &= S"));
            }
            lines.push((format!("S <- {t} S"), format!("S &\\leftarrow {l}\\, S")));
        }
        for (e, event) in f.events.iter().enumerate() {
            let (t, l) = self.event(e);
            let mut parts = Vec::new();
            if !event.values.is_empty() {
                parts.push((format!("v{t}"), format!("v{l}")));
            }
            if let Some(delta) = &event.delta {
                let (st, sl) = self.seen(&delta.sight);
                parts.push((format!("s{t} {st}^T a{t}"), format!("s{l}\\, {sl}^\\top a{l}")));
            }
            let (ut, ul) = join(&parts, " + ", " + ");
            lines.push((format!("u{t} = {ut}"), format!("u{l} &= {ul}")));
        }
        let updates: Vec<Line> = (0..f.events.len())
            .map(|e| {
                let (t, l) = self.event(e);
                (format!("b{t} u{t}^T"), format!("b{l} u{l}^\\top"))
            })
            .collect();
        if !updates.is_empty() {
            let (t, l) = join(&updates, " + ", " + ");
            lines.push((format!("S <- S + {t}"), format!("S &\\leftarrow S + {l}")));
        }
        for (r, read) in f.reads.iter().enumerate() {
            let (t, l) = self.read(r);
            let (st, sl) = self.seen(&read.sight);
            let (mut text, mut latex) = match read.side {
                Side::Key => (format!("o{t} = {st}^T q{t}"), format!("o{l} &= {sl}^\\top q{l}")),
                Side::Value => (format!("o{t} = {st} q{t}"), format!("o{l} &= {sl} q{l}")),
            };
            if !read.summed.is_empty() {
                let names: Vec<&str> =
                    read.summed.iter().map(|a| self.graph.axes[a.0 as usize].name.as_str()).collect();
                text += &format!("   summed over {}", names.join(", "));
                latex += &format!("\\quad (\\text{{summed over }} {})", names.join(",\\, "));
            }
            lines.push((text, latex));
        }
        lines
    }

    // ---- the chunk

    /// Factor of the entry's state that remains when row i reads.
    fn kept(&self, sight: &Sight) -> Line {
        if self.alpha().is_none() {
            return line("", "");
        }
        let sign = if self.form.negative {
            if sight.before { line("(-1)^(i-1) ", "(-1)^{i-1} ") } else { line("(-1)^i ", "(-1)^i ") }
        } else {
            line("", "")
        };
        let span = self.span(if sight.before { "i-1" } else { "i" }, "0");
        (format!("{}{} ", sign.0, span.0), format!("{}{} ", sign.1, span.1))
    }

    /// A_ij of a reader and an event.
    fn pairs(&self, symbol: Line, vector: Line, sight: &Sight, e: usize) -> Line {
        let (t, l) = self.event(e);
        let rows = if sight.before || sight.sees[e] != Seen::Yes {
            line("j < i", "j < i")
        } else {
            line("j <= i", "j \\le i")
        };
        let last = if sight.before { "i-1" } else { "i" };
        let sign = if self.form.negative { format!("(-1)^({last}-j) ") } else { String::new() };
        let tex_sign = if self.form.negative { format!("(-1)^{{{last}-j}} ") } else { String::new() };
        let span = self.span(last, "j");
        let (body, tex) = match self.form.decay {
            Decay::None => (format!("{}_i . b{t}_j", vector.0), format!("{}_i^\\top b{l}_j", vector.1)),
            Decay::Scalar(_) | Decay::Product(_) => (
                format!("{sign}{} ({}_i . b{t}_j)", span.0, vector.0),
                format!("{tex_sign}{}\\, {}_i^\\top b{l}_j", span.1, vector.1),
            ),
            Decay::Key(_) => (
                format!("{sign}sum over K of {}_i {} b{t}_j", vector.0, span.0),
                format!("{tex_sign}\\textstyle\\sum_K {}_i\\, {}\\, b{l}_j", vector.1, span.1),
            ),
            Decay::Value(_) => (
                format!("{sign}{} ({}_i . b{t}_j), one for each of V", span.0, vector.0),
                format!("{tex_sign}{}\\, {}_i^\\top b{l}_j \\quad\\text{{for each of }} V", span.1, vector.1),
            ),
        };
        let own = if let Seen::Dot(_) = sight.sees[e] {
            (
                format!("; own row: {} . b{t} as it stands there", vector.0),
                "\\ \\text{; own row as it stands there}".to_string(),
            )
        } else {
            (String::new(), String::new())
        };
        (
            format!("{}_ij = {body}   for {}{}", symbol.0, rows.0, own.0),
            format!("{}_{{ij}} &= {tex} \\quad ({}){}", symbol.1, rows.1, own.1),
        )
    }

    /// Product of row factors and of the entry's state with a reader's vector.
    fn entry_read(&self, vector: &Line, sight: &Sight) -> Line {
        let kept = self.kept(sight);
        match self.form.decay {
            Decay::Key(_) => {
                (format!("S^T ({}{}_i)", kept.0, vector.0), format!("S^\\top ({}\\odot {}_i)", kept.1, vector.1))
            }
            Decay::Value(_) => {
                (format!("{}.* (S^T {}_i)", kept.0, vector.0), format!("{}\\odot (S^\\top {}_i)", kept.1, vector.1))
            }
            _ => (format!("{}S^T {}_i", kept.0, vector.0), format!("{}S^\\top {}_i", kept.1, vector.1)),
        }
    }

    pub(super) fn deltas(&self) -> Vec<usize> {
        (0..self.form.events.len()).filter(|e| self.form.events[*e].delta.is_some()).collect()
    }

    /// Matrix between a delta and an event: A12, and the scale of its rows.
    pub(super) fn matrix(&self, d: usize, e: usize) -> Line {
        if self.form.events.len() < 2 {
            line("A", "A")
        } else {
            (format!("A{}{}", d + 1, e + 1), format!("A^{{({}{})}}", d + 1, e + 1))
        }
    }

    pub(super) fn read_matrix(&self, r: usize, e: usize) -> Line {
        let (rt, _) = self.read(r);
        let (et, _) = self.event(e);
        let index = if rt.is_empty() && et.is_empty() { String::new() } else { format!("^{{({rt}{et})}}") };
        (format!("B{rt}{et}"), format!("B{index}"))
    }

    fn chunk(&self) -> Vec<Line> {
        let f = self.form;
        let mut lines = Vec::new();
        if self.by_product() {
            lines.push(line(
                "D(i, j) = al_i D(i-1, j), D(j, j) = 1; row 0 is the entry",
                "D_{i,\\,j} &= \\alpha_i D_{i-1,\\,j}, \\quad D_{j,\\,j} = 1",
            ));
        } else if self.alpha().is_some() {
            lines.push(line("G_i = g_1 + .. + g_i, G_0 = 0", "G_i &= \\textstyle\\sum_{l \\le i} g_l, \\quad G_0 = 0"));
        }
        lines.extend(frame_lines(f));
        for d in self.deltas() {
            let (t, l) = self.event(d);
            let delta = f.events[d].delta.as_ref().expect("just filtered");
            let a = (format!("a{t}"), format!("a{l}"));
            let mut right = Vec::new();
            if !f.events[d].values.is_empty() {
                right.push((format!("v{t}_i"), format!("v{l}_i")));
            }
            let entry = self.entry_read(&a, &delta.sight);
            right.push((format!("s{t}_i {}", entry.0), format!("s{l}_i\\, {}", entry.1)));
            let mut left = vec![(format!("u{t}_i"), format!("u{l}_i"))];
            for (e, event) in f.events.iter().enumerate() {
                let m = self.matrix(d, e);
                lines.push(self.pairs(m.clone(), a.clone(), &delta.sight, e));
                let (et, el) = self.event(e);
                let product = (
                    format!("s{t}_i sum_j {}_ij u{et}_j", m.0),
                    format!("s{l}_i \\textstyle\\sum_j {}_{{ij}} u{el}_j", m.1),
                );
                if event.delta.is_some() { left.push(product) } else { right.push(product) }
            }
            let (lt, ll) = join(&left, " - ", " - ");
            let (rt, rl) = join(&right, " + ", " + ");
            lines.push((format!("{lt} = {rt}   (solved: unit lower triangular)"), format!("{ll} &= {rl}")));
        }
        for (e, event) in f.events.iter().enumerate().filter(|(_, e)| e.delta.is_none()) {
            let (t, l) = self.event(e);
            if !event.values.is_empty() {
                lines.push((format!("u{t} = v{t}"), format!("u{l} &= v{l}")));
            }
        }
        for (r, read) in f.reads.iter().enumerate() {
            let (t, l) = self.read(r);
            let q = (format!("q{t}"), format!("q{l}"));
            if read.side == Side::Value {
                let (kept, span) = (self.kept(&read.sight), self.span("i", "j"));
                lines.push((
                    format!("o{t}_i = {}S {}_i + sum over seen j of {} b_j (u_j . {}_i)", kept.0, q.0, span.0, q.0),
                    format!(
                        "o{l}_i &= {}S {}_i + \\textstyle\\sum_j {} b_j (u_j^\\top {}_i)",
                        kept.1, q.1, span.1, q.1
                    ),
                ));
                continue;
            }
            let mut sum = vec![self.entry_read(&q, &read.sight)];
            for e in 0..f.events.len() {
                let m = self.read_matrix(r, e);
                let (et, el) = self.event(e);
                lines.push(self.pairs(m.clone(), q.clone(), &read.sight, e));
                sum.push((format!("sum_j {}_ij u{et}_j", m.0), format!("\\textstyle\\sum_j {}_{{ij}} u{el}_j", m.1)));
            }
            let (st, sl) = join(&sum, " + ", " + ");
            lines.push((format!("o{t}_i = {st}"), format!("o{l}_i &= {sl}")));
        }
        let mut sum = vec![match self.form.decay {
            Decay::None => line("S", "S"),
            Decay::Product(_) => line("D(C, 0) S", "D_{C,\\,0}\\, S"),
            Decay::Scalar(_) => line("exp(G_C) S", "e^{G_C} S"),
            Decay::Key(_) => line("diag(exp(G_C)) S", "\\operatorname{diag}(e^{G_C}) S"),
            Decay::Value(_) => line("exp(G_C)^T .* S", "(e^{G_C})^\\top \\odot S"),
        }];
        for e in 0..f.events.len() {
            let (t, l) = self.event(e);
            sum.push(match self.form.decay {
                Decay::None => (format!("sum_j b{t}_j u{t}_j^T"), format!("\\textstyle\\sum_j b{l}_j u{l}_j^\\top")),
                Decay::Product(_) => (
                    format!("sum_j (D(C, j) b{t}_j) u{t}_j^T"),
                    format!("\\textstyle\\sum_j (D_{{C,\\,j}}\\, b{l}_j) u{l}_j^\\top"),
                ),
                Decay::Value(_) => (
                    format!("sum_j b{t}_j (exp(G_C - G_j) .* u{t}_j)^T"),
                    format!("\\textstyle\\sum_j b{l}_j (e^{{G_C - G_j}} \\odot u{l}_j)^\\top"),
                ),
                _ => (
                    format!("sum_j (exp(G_C - G_j) b{t}_j) u{t}_j^T"),
                    format!("\\textstyle\\sum_j (e^{{G_C - G_j}} \\odot b{l}_j) u{l}_j^\\top"),
                ),
            });
        }
        let (st, sl) = join(&sum, " + ", " + ");
        let sign = if f.negative { "   (with signs (-1)^C and (-1)^(C-j))" } else { "" };
        lines.push(match f.rotation {
            Some(_) => (
                format!("S' = Rot(Th_C) ({st}){sign}"),
                format!("S' &= \\operatorname{{Rot}}(\\Theta_C) \\left({sl}\\right)"),
            ),
            None => (format!("S' = {st}{sign}"), format!("S' &= {sl}")),
        });
        if !f.beside.is_empty() {
            let all = f.beside.join(" | ");
            lines.push((
                format!("computed as [{} | {all}]: the matrices of pairs are the same for all columns", f.state.name),
                format!(
                    "&\\text{{computed as }} [{} \\mid {}]",
                    self.symbol(&f.state.name),
                    f.beside.iter().map(|n| self.symbol(n)).collect::<Vec<String>>().join(" \\mid ")
                ),
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::one_subscript;

    #[test]
    fn rows_of_numbered_vectors_have_one_subscript() {
        assert_eq!(one_subscript("A^{(12)}_{ij} &= a_{1}_i^\\top b_{2}_j"), "A^{(12)}_{ij} &= a_{1,i}^\\top b_{2,j}");
        assert_eq!(one_subscript("q_{1} u_{2} e^{G_{i-1}}_i"), "q_{1} u_{2} e^{G_{i-1}}_i");
    }
}
