//! Gradients of a derivation.

use super::derive::{Deriver, Line, join, line};
use super::derive_turned::gradient_lines;
use super::form::{Decay, Side};

impl Deriver<'_> {
    /// Indices of the reads that contract K.
    fn key_reads(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.form.reads.len()).filter(|r| self.form.reads[*r].side == Side::Key)
    }

    pub(super) fn backward(&self) -> Vec<Line> {
        let f = self.form;
        let mut lines = Vec::new();
        if f.rotation.is_some() {
            lines.push(line(
                "dS' <- Rot(-Th_C) dS', and S' likewise",
                "dS' &\\leftarrow \\operatorname{Rot}(-\\Theta_C)\\, dS', \\quad S' \\leftarrow \\operatorname{Rot}(-\\Theta_C)\\, S'",
            ));
        }
        let decayed = |t: &str, l: &str| match f.decay {
            Decay::None => (format!("b{t}"), format!("b{l}")),
            Decay::Product(_) => (format!("(D(C, j) b{t})"), format!("(D_{{C,\\,j}}\\, b{l})")),
            _ => (format!("(exp(G_C - G_j) b{t})"), format!("(e^{{G_C - G_j}} \\odot b{l})")),
        };
        let deltas = self.deltas();
        // in the order of events: the one read last gets its gradient first
        for e in 0..f.events.len() {
            let (t, l) = self.event(e);
            let mut sum = Vec::new();
            for r in self.key_reads() {
                let m = self.read_matrix(r, e);
                let (rt, rl) = self.read(r);
                sum.push((format!("{}^T dO{rt}", m.0), format!("{{{}}}^\\top dO{rl}", m.1)));
            }
            let (kt, kl) = decayed(&t, &l);
            sum.push((format!("dS'^T {kt}"), format!("dS'^\\top {kl}")));
            let (st, sl) = join(&sum, " + ", " + ");
            lines.push((format!("dU{t} = {st}"), format!("dU{l} &= {sl}")));
        }
        if !deltas.is_empty() {
            let name = if deltas.len() > 1 || f.events.len() > 1 {
                let all = deltas.iter().map(|d| (d + 1).to_string()).collect::<Vec<_>>().join(", ");
                (format!(" over the events {all} together"), format!(" \\quad\\text{{over the events {all}}}"))
            } else {
                (String::new(), String::new())
            };
            lines.push((
                format!("R = solve((I - diag(s) A)^T, dU){}", name.0),
                format!("R &= (I - \\operatorname{{diag}}(s) A)^{{-\\top}} dU{}", name.1),
            ));
        }
        for (e, event) in f.events.iter().enumerate() {
            let (t, l) = self.event(e);
            if event.delta.is_some() {
                lines.push((format!("dV{t} = R{t}"), format!("dV{l} &= R{l}")));
            } else {
                let mut sum = vec![(format!("dU{t}"), format!("dU{l}"))];
                for d in &deltas {
                    let m = self.matrix(*d, e);
                    let (dt, dl) = self.event(*d);
                    sum.push((
                        format!("{}^T diag(s{dt}) R{dt}", m.0),
                        format!("{{{}}}^\\top \\operatorname{{diag}}(s{dl}) R{dl}", m.1),
                    ));
                }
                let (st, sl) = join(&sum, " + ", " + ");
                lines.push((format!("dV{t} = {st}"), format!("dV{l} &= {sl}")));
            }
        }
        for e in 0..f.events.len() {
            let (t, l) = self.event(e);
            for r in self.key_reads() {
                let m = self.read_matrix(r, e);
                let (rt, rl) = self.read(r);
                lines.push((
                    format!("d{} = mask(dO{rt} U{t}^T)", m.0),
                    format!("d{} &= \\operatorname{{mask}}(dO{rl}\\, U{l}^\\top)", m.1),
                ));
            }
            for d in &deltas {
                let m = self.matrix(*d, e);
                let (dt, dl) = self.event(*d);
                lines.push((
                    format!("d{} = mask(diag(s{dt}) R{dt} U{t}^T)", m.0),
                    format!("d{} &= \\operatorname{{mask}}(\\operatorname{{diag}}(s{dl}) R{dl}\\, U{l}^\\top)", m.1),
                ));
            }
        }
        // factors of the retained state; without a decay there are none
        let decays = self.alpha().is_some();
        if decays {
            lines.push(self.what_is_kept());
        }
        let kept = if decays { line("kept_i ", "\\mathrm{kept}_i \\odot ") } else { line("", "") };
        let d = |i: &str, j: &str| {
            if decays { (format!("D({i}, {j}) "), format!("D({i}, {j}) \\odot ")) } else { line("", "") }
        };
        let scaled = |x: &str| {
            let (text, latex) = (format!("{}{x}", kept.0), format!("{}{x}", kept.1));
            if decays { (format!("({text})"), format!("({latex})")) } else { (text, latex) }
        };
        let (ij, cj, c0) = (d("i", "j"), d("C", "j"), d("C", "0"));
        lines.push((
            format!("dq_i = {}S dO_i + sum_j dB_ij {}b_j", kept.0, ij.0),
            format!("dq_i &= {}(S\\, dO_i) + \\textstyle\\sum_j dB_{{ij}}\\, {}b_j", kept.1, ij.1),
        ));
        let mut key = (format!("sum_i dB_ij {}q_i", ij.0), format!("\\textstyle\\sum_i dB_{{ij}}\\, {}q_i", ij.1));
        let (q, a) = (scaled("q_i"), scaled("a_i"));
        let mut start = (format!("sum_i {} dO_i^T", q.0), format!("\\textstyle\\sum_i {}\\, dO_i^\\top", q.1));
        if !deltas.is_empty() {
            lines.push((
                format!("da_i = {}S (s_i R_i) + sum_j dA_ij {}b_j", kept.0, ij.0),
                format!("da_i &= {}(S\\, s_i R_i) + \\textstyle\\sum_j dA_{{ij}}\\, {}b_j", kept.1, ij.1),
            ));
            lines.push(line("ds_i = R_i . (what s_i scales)", "ds_i &= R_i^\\top (\\text{what } s_i \\text{ scales})"));
            key.0 += &format!(" + sum_i dA_ij {}a_i", ij.0);
            key.1 += &format!(" + \\sum_i dA_{{ij}}\\, {}a_i", ij.1);
            start.0 += &format!(" + sum_i {} (s_i R_i)^T", a.0);
            start.1 += &format!(" + \\sum_i {}(s_i R_i)^\\top", a.1);
        }
        lines
            .push((format!("db_j = {} + {}dS' u_j", key.0, cj.0), format!("db_j &= {} + {}(dS'\\, u_j)", key.1, cj.1)));
        lines.push((format!("dS = {}dS' + {}", c0.0, start.0), format!("dS &= {}dS' + {}", c0.1, start.1)));
        if self.by_product() {
            lines.extend(self.product_gradient(deltas.is_empty()));
        } else if let Decay::Key(_) = self.form.decay {
            lines.extend(self.key_decay_gradient(deltas.is_empty()));
        } else if self.alpha().is_some() {
            let (text, latex) = if deltas.is_empty() {
                line("q_i dq_i - b_i db_i", "q_i \\odot dq_i - b_i \\odot db_i")
            } else {
                line("q_i dq_i + a_i da_i - b_i db_i", "q_i \\odot dq_i + a_i \\odot da_i - b_i \\odot db_i")
            };
            lines.push((
                format!("dG_i = {text}   (reads add, writes subtract; a read before the decay counts for row i-1)"),
                format!("dG_i &= {latex}"),
            ));
            lines.push(line(
                "  at row C also D(C, 0) sum(dS' S) + sum_j D(C, j) b_j (dS' u_j)",
                "dG_C &\\mathrel{+}= D(C, 0) \\odot (dS' \\odot S) + \\textstyle\\sum_j D(C, j) \\odot b_j \\odot (dS'\\, u_j)",
            ));
            lines.push(line("dg = reverse running sum of dG", "dg_l &= \\textstyle\\sum_{i \\ge l} dG_i"));
        }
        lines.extend(gradient_lines(f));
        lines
    }

    /// Definition of D(i, j) and kept_i.
    fn what_is_kept(&self) -> Line {
        let (sign, tex_sign) = if self.form.negative { ("(-1)^(i-j) ", "(-1)^{i-j}\\, ") } else { ("", "") };
        let (text, latex) = match self.form.decay {
            Decay::Product(_) => (String::new(), "D(i, j) = D_{i,\\,j}".to_owned()),
            _ => (format!("D(i, j) = {sign}exp(G_i - G_j), "), format!("D(i, j) = {tex_sign}e^{{G_i - G_j}}")),
        };
        (
            format!("  where {text}kept_i = D(i, 0); for a read before the decay D(i-1, j) and D(i-1, 0)"),
            format!(
                "&\\text{{where }} {latex},\\ \\mathrm{{kept}}_i = D(i, 0),\\text{{ or a row earlier for a read before the decay}}"
            ),
        )
    }

    /// Gradient of decays by key: the contributions that pass each row, in rectangles of pairs. No pair of a row with itself is among them.
    fn key_decay_gradient(&self, no_delta: bool) -> Vec<Line> {
        let mut pair = line("D(i, j) q_i dB_ij b_j", "D(i, j) \\odot q_i \\odot dB_{ij}\\, b_j");
        let mut entry = line("kept_i q_i (S dO_i)", "\\mathrm{kept}_i \\odot q_i \\odot (S\\, dO_i)");
        if !no_delta {
            let own = line("D(i, j) a_i dA_ij b_j", "D(i, j) \\odot a_i \\odot dA_{ij}\\, b_j");
            pair = join(&[pair, own], " + ", " + ");
            let own = line("kept_i a_i (S s_i R_i)", "\\mathrm{kept}_i \\odot a_i \\odot (S\\, s_i R_i)");
            entry = join(&[entry, own], " + ", " + ");
        }
        vec![
            (
                format!("dg_l = sum over j < l <= i of {}   (l < i for a read before the decay)", pair.0),
                format!("dg_l &= \\textstyle\\sum_{{j < l \\le i}} {}", pair.1),
            ),
            (format!("  + sum over i >= l of {}", entry.0), format!("&+ \\textstyle\\sum_{{i \\ge l}} {}", entry.1)),
            line(
                "  + sum over j < l of D(C, j) b_j (dS' u_j) + D(C, 0) sum over V of dS' S",
                "&+ \\textstyle\\sum_{j < l} D(C, j) \\odot b_j \\odot (dS'\\, u_j) + D(C, 0) \\odot \\textstyle\\sum_V dS' \\odot S",
            ),
        ]
    }

    /// Gradient of a decay without logarithm: the reversed recurrence of D.
    fn product_gradient(&self, no_delta: bool) -> Vec<Line> {
        let (mut pair, mut entry) =
            (line("dB_ij (q_i . b_j)", "dB_{ij}\\, q_i^\\top b_j"), line("q_i . (S dO_i)", "q_i^\\top S\\, dO_i"));
        if !no_delta {
            pair = join(&[pair, line("dA_ij (a_i . b_j)", "dA_{ij}\\, a_i^\\top b_j")], " + ", " + ");
            entry = join(&[entry, line("a_i . (S s_i R_i)", "a_i^\\top S\\, s_i R_i")], " + ", " + ");
        }
        vec![
            (format!("E_ij = {}   for 0 < j < i", pair.0), format!("E_{{ij}} &= {} \\quad (0 < j < i)", pair.1)),
            (format!("E_i0 = {}", entry.0), format!("E_{{i0}} &= {}", entry.1)),
            line(
                "  at row C also E_Cj += b_j . (dS' u_j), E_C0 += sum(dS' S); a read before the decay counts for row i-1",
                "E_{Cj} &\\mathrel{+}= b_j^\\top dS'\\, u_j, \\quad E_{C0} \\mathrel{+}= \\textstyle\\sum dS' \\odot S",
            ),
            line("F_ij = E_ij + al_{i+1} F_{i+1, j}", "F_{ij} &= E_{ij} + \\alpha_{i+1} F_{i+1,\\,j}"),
            line(
                "dal_i = sum over j < i of D(i-1, j) F_ij",
                "d\\alpha_i &= \\textstyle\\sum_{j < i} D_{i-1,\\,j} F_{ij}",
            ),
        ]
    }
}
