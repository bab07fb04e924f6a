//! Element-wise ops, reductions, learned maps, filters.

use super::{Draft, Kind, Scope, Val, Writer, sorted, union, within, without};

impl Writer {
    /// Writes one element-wise op, reduction or op along axes, which may occur in any body.
    pub(super) fn plain(&mut self) -> Option<usize> {
        match self.dice.below(16) {
            0..=3 => self.unary(),
            4..=7 => self.binary(),
            8 | 9 => self.outer(),
            10 | 11 => self.reduction(),
            12 => self.along(),
            13 => self.choice(),
            14 => self.repeated(),
            _ => self.constant(),
        }
    }

    fn unary(&mut self) -> Option<usize> {
        let v = self.any()?;
        let x = self.text(v);
        let degree = self.values[v].degree;
        let mut draft = self.like(v, String::new());
        draft.exact = false;
        let bounded = matches!(self.values[v].kind, Kind::Unit | Kind::Signed);
        match self.dice.below(28) {
            0 => (draft.text, draft.exact) = (format!("abs({x})"), self.values[v].exact),
            1 => (draft.text, draft.kind, draft.exact) = (format!("-{x}"), Kind::Any, self.values[v].exact),
            2 | 3 => {
                let v = self.steady(|_, _| true)?;
                draft = self.like(v, String::new());
                let x = self.text(v);
                draft.text = match self.dice.below(4) {
                    0 => format!("sign({x})"),
                    1 => format!("floor({x})"),
                    2 => format!("floor({x} * 4)"),
                    _ => format!("{x} % {}", self.dice.pick(&["1", "2", "0.5"])),
                };
                draft.kind = Kind::Any;
            }
            4 | 5 => {
                let inner = if bounded {
                    x
                } else {
                    match self.dice.below(3) {
                        0 => format!("min({x}, 2)"),
                        1 => format!("-abs({x})"),
                        _ => format!("tanh({x})"),
                    }
                };
                let name = self.dice.pick(&["exp", "exp", "expm1"]);
                (draft.text, draft.kind, draft.degree) = (format!("{name}({inner})"), Kind::Any, 0);
            }
            6 | 7 => {
                let inner = self.positive(v);
                let name = self.dice.pick(&["log", "log1p", "sqrt", "rsqrt"]);
                (draft.text, draft.kind) = (format!("{name}({inner})"), Kind::Any);
                draft.degree = degree.min(1);
            }
            8 => {
                (draft.text, draft.kind) =
                    (format!("sqrt({})", self.dice.pick(&["abs(", "relu("]).to_string() + &x + ")"), Kind::Any)
            }
            9 | 10 => (draft.text, draft.kind, draft.degree) = (format!("sigmoid({x})"), Kind::Unit, 0),
            11 | 12 => (draft.text, draft.kind, draft.degree) = (format!("tanh({x})"), Kind::Signed, 0),
            13 => (draft.text, draft.kind) = (format!("silu({x})"), Kind::Any),
            14 => (draft.text, draft.kind) = (format!("gelu({x})"), Kind::Any),
            15 => (draft.text, draft.kind, draft.exact) = (format!("relu({x})"), Kind::Any, self.values[v].exact),
            16 => (draft.text, draft.kind) = (format!("elu({x})"), Kind::Any),
            17 => (draft.text, draft.kind) = (format!("softplus({x})"), Kind::Any),
            18 | 19 if degree <= 1 => {
                let name = self.dice.pick(&["sin", "cos"]);
                (draft.text, draft.kind, draft.degree) = (format!("{name}({x})"), Kind::Signed, 0);
            }
            20 => (draft.text, draft.kind, draft.degree) = (format!("atan({x})"), Kind::Any, 0),
            21 => (draft.text, draft.kind, draft.degree) = (format!("erf({x})"), Kind::Signed, 0),
            22 => (draft.text, draft.kind, draft.degree) = (format!("{x} ^ 2"), Kind::Any, 2 * degree),
            23 if degree <= 1 => (draft.text, draft.kind, draft.degree) = (format!("{x} ^ 3"), Kind::Any, 3 * degree),
            24 => {
                let inner = self.positive(v);
                let power = self.dice.pick(&["-1", "-2", "0.5", "-0.5", "1.5"]);
                (draft.text, draft.kind) = (format!("{inner} ^ {power}"), Kind::Any);
                draft.degree = 2 * degree;
            }
            25 => {
                let n = self.number();
                draft.exact = self.values[v].exact && !matches!(n.as_str(), "0.3" | "-0.7" | "3" | "1.5");
                (draft.text, draft.kind) = (format!("{n} * {x}"), Kind::Any);
            }
            26 => {
                let n = self.number();
                (draft.text, draft.kind) = (format!("{x} + {n}"), Kind::Any);
            }
            _ => (draft.text, draft.exact, draft.kind) = (format!("stop_grad({x})"), self.values[v].exact, Kind::Any),
        }
        Some(self.add(draft))
    }

    /// Writes a binary op on two operands of which one has the axes of the other.
    fn binary(&mut self) -> Option<usize> {
        let a = self.any()?;
        let own = self.values[a].axes.clone();
        let b = self.operand(|_, v| within(&v.axes, &own))?;
        let (x, y) = (self.text(a), self.text(b));
        let mut draft = self.joined(&[a, b], String::new());
        draft.degree = self.values[a].degree.max(self.values[b].degree);
        let turn = self.dice.chance(0.5);
        let (p, q) = if turn { (y.clone(), x.clone()) } else { (x.clone(), y.clone()) };
        // a value that underflows may be 0 in one arithmetic and not in another, and then compare equal to an exact 0
        let vanishing = |v: usize| !self.values[v].exact && matches!(self.values[v].kind, Kind::Unit | Kind::Positive);
        let level = vanishing(a) == vanishing(b);
        draft.text = match self.dice.below(12) {
            5 if level => format!("min({p}, {q})"),
            6 if level => format!("max({p}, {q})"),
            0..=2 | 5 | 6 => format!("{p} + {q}"),
            3 | 4 => format!("{p} - {q}"),
            7 => {
                draft.degree = self.values[a].degree + self.values[b].degree;
                format!("{p} * {q}")
            }
            8 => {
                let d = self.positive(if turn { a } else { b });
                format!("{p} / {d}")
            }
            9 => {
                let base = self.positive(if turn { b } else { a });
                let power = self.signed(if turn { a } else { b });
                draft.degree = 1;
                format!("{base} ^ {power}")
            }
            10 => {
                let m = self.unit(if turn { b } else { a });
                draft.degree += 1;
                format!("lerp({p}, {q}, {m})")
            }
            _ => {
                draft.degree = draft.degree.min(1);
                let m = self.positive(if turn { a } else { b });
                format!("softcap({p}, cap = {m})")
            }
        };
        draft.exact = draft.text.starts_with("m") && self.values[a].exact && self.values[b].exact;
        Some(self.add(draft))
    }

    /// Writes a product or quotient that may have the axes of either operand.
    fn outer(&mut self) -> Option<usize> {
        let a = self.any()?;
        let own = self.values[a].axes.clone();
        let room = self.room;
        let b = self.operand(|w, v| w.count(&union([own.as_slice(), v.axes.as_slice()].into_iter())) <= room)?;
        let draft = if self.dice.chance(0.8) {
            self.joined(&[a, b], format!("{} * {}", self.text(a), self.text(b)))
        } else {
            let d = self.positive(b);
            let mut draft = self.joined(&[a, b], format!("{} / {d}", self.text(a)));
            draft.degree = self.values[a].degree.max(1);
            draft
        };
        Some(self.add(draft))
    }

    /// Removes some axes of a value.
    pub(super) fn reduction(&mut self) -> Option<usize> {
        let v = self.operand(|_, v| !v.axes.is_empty())?;
        let own = self.values[v].axes.clone();
        let over = self.subset(&own, 1);
        Some(self.reduced(v, &over))
    }

    fn reduced(&mut self, v: usize, over: &[usize]) -> usize {
        let brackets = self.brackets(over);
        let x = self.text(v);
        let mut draft = self.like(v, String::new());
        draft.axes = without(&draft.axes, over);
        let (op, exact) = match self.dice.below(12) {
            0..=3 => ("sum", false),
            4 | 5 => ("mean", false),
            6 => ("max", true),
            7 => ("min", true),
            8 => ("var", false),
            9 => ("std", false),
            10 => ("norm", false),
            _ => ("logsumexp", false),
        };
        draft.exact &= exact;
        draft.kind = Kind::Any;
        if op == "var" {
            draft.degree *= 2;
        }
        let sample = matches!(op, "var" | "std") && self.count(over) > 1 && self.dice.chance(0.3);
        draft.text = format!("{op}{brackets}({x}{})", if sample { ", sample = 1" } else { "" });
        self.add(draft)
    }

    /// Removes exactly these axes, by a sum or a mean.
    pub(super) fn summed(&mut self, v: usize, over: &[usize]) -> usize {
        let brackets = self.brackets(over);
        let op = self.dice.pick(&["sum", "mean"]);
        let mut draft = self.like(v, format!("{op}{brackets}({})", self.text(v)));
        draft.axes = without(&draft.axes, over);
        (draft.kind, draft.exact) = (Kind::Any, false);
        self.add(draft)
    }

    /// Writes an op that keeps the axes it runs along.
    fn along(&mut self) -> Option<usize> {
        let kind = self.dice.below(7);
        let v =
            if kind >= 4 { self.steady(|_, v| !v.axes.is_empty())? } else { self.operand(|_, v| !v.axes.is_empty())? };
        let x = self.text(v);
        let own = self.values[v].axes.clone();
        let one = *self.dice.pick(&own);
        let (a, size) = (self.axes[one].name.clone(), self.axes[one].size);
        let mut draft = self.like(v, String::new());
        match kind {
            0 | 1 => {
                let over = self.subset(&own, 1);
                let brackets = self.brackets(&over);
                draft.text = format!("softmax{brackets}({x})");
                (draft.kind, draft.degree, draft.exact) = (Kind::Unit, 0, false);
            }
            2 | 3 => (draft.text, draft.kind, draft.exact) = (format!("cumsum[{a}]({x})"), Kind::Any, false),
            4 => (draft.text, draft.kind) = (format!("sort[{a}]({x})"), draft.kind),
            5 => (draft.text, draft.kind) = (format!("topk[{a}]({x}, {})", 1 + self.dice.below(size)), Kind::Any),
            _ => {
                draft.text = format!("sparsemax[{a}]({x})");
                (draft.kind, draft.degree, draft.exact) = (Kind::Unit, 0, false);
            }
        }
        Some(self.add(draft))
    }

    /// Writes a comparison, `select` or `clamp`.
    fn choice(&mut self) -> Option<usize> {
        let a = self.steady(|_, _| true)?;
        let own = self.values[a].axes.clone();
        let x = self.text(a);
        let other = if self.dice.chance(0.6) { None } else { self.steady(|_, v| within(&v.axes, &own)) };
        let y = match other {
            Some(b) => self.text(b),
            None => self.dice.pick(&["0", "0.5", "-1", "1"]).to_string(),
        };
        let compared = format!("{x} {} {y}", self.dice.pick(&["<", "<=", ">", ">=", "==", "!="]));
        let mut draft = self.joined(&[&[a], other.as_slice()].concat(), String::new());
        draft.exact = self.values[a].exact && other.is_none_or(|b| self.values[b].exact);
        match self.dice.below(6) {
            0 => (draft.text, draft.degree) = (format!("({compared}) * 1"), 0),
            1 => (draft.text, draft.degree) = (format!("({compared}) and not ({x} > 1)"), 0),
            2 => draft.text = format!("clamp({x}, -0.5, 1)"),
            _ => {
                let t = self.operand(|_, v| within(&v.axes, &own))?;
                let e = self.operand(|_, v| within(&v.axes, &own))?;
                let exact = draft.exact && self.values[t].exact && self.values[e].exact;
                let of = [&[a, t, e], other.as_slice()].concat();
                draft = self.joined(&of, format!("select({compared}, {}, {})", self.text(t), self.text(e)));
                draft.exact = exact;
                draft.degree = self.values[t].degree.max(self.values[e].degree);
            }
        }
        // a comparison has no gradient; a value that depends on an input stays alive all the same
        Some(self.add(draft))
    }

    /// Writes an `expand`: broadcasts a value along an axis that it lacks.
    pub(super) fn repeated(&mut self) -> Option<usize> {
        let room = self.room;
        let v = self.operand(|w, v| {
            (0..w.axes.len()).any(|a| !v.axes.contains(&a) && w.count(&v.axes) * w.axes[a].size <= room)
        })?;
        let own = self.values[v].axes.clone();
        let fits: Vec<usize> = (0..self.axes.len())
            .filter(|a| !own.contains(a) && self.count(&own) * self.axes[*a].size <= room)
            .collect();
        let new = *self.dice.pick(&fits);
        let mut draft = self.like(v, format!("expand[{}]({})", self.axes[new].name, self.text(v)));
        draft.axes = sorted(&[draft.axes.as_slice(), &[new]].concat());
        Some(self.add(draft))
    }

    /// Writes a value that depends on no input: an index, a position, a label constant, a schedule.
    fn constant(&mut self) -> Option<usize> {
        let mut draft = Draft {
            text: String::new(),
            axes: Vec::new(),
            token: false,
            kind: Kind::Any,
            degree: 0,
            exact: true,
            alive: false,
        };
        let labelled: Vec<usize> = (0..self.axes.len()).filter(|a| !self.axes[*a].labels.is_empty()).collect();
        match self.dice.below(5) {
            0 if !self.axes.is_empty() => {
                let a = self.dice.below(self.axes.len());
                draft.text = format!("index[{}] * 0.5", self.axes[a].name);
                draft.axes = vec![a];
            }
            1 if self.scope == Scope::Block => {
                draft.text = (*self.dice.pick(&["pos % 4", "1 / (1 + pos)", "pos == 0", "log1p(pos)"])).to_owned();
                (draft.token, draft.exact) = (true, !draft.text.starts_with("lo") && !draft.text.starts_with("1 /"));
            }
            2 if !labelled.is_empty() => {
                let a = *self.dice.pick(&labelled);
                let label = self.dice.pick(&self.axes[a].labels.clone()).clone();
                let n = self.number();
                draft.text = format!("{}{{{label} = {n}}}", self.axes[a].name);
                draft.axes = vec![a];
                draft.exact = false;
            }
            3 => {
                draft.text = format!(
                    "anneal(1, {}, steps = 10, shape = {})",
                    self.dice.pick(&["0.5", "2"]),
                    self.dice.pick(&["linear", "cosine", "exp"])
                );
                draft.exact = false;
            }
            _ => draft.text = format!("{} + step", self.number()),
        }
        Some(self.add(draft))
    }

    /// Writes a learned map.
    pub(super) fn linear(&mut self) -> Option<usize> {
        let v = self.operand(|_, v| !v.axes.is_empty())?;
        let own = self.values[v].axes.clone();
        let from = self.subset(&own, 1);
        let stay = without(&own, &from);
        let mut candidates: Vec<usize> = (0..self.axes.len()).filter(|a| !stay.contains(a)).collect();
        self.dice.shuffle(&mut candidates);
        let most = self.dice.below(3);
        let mut out = Vec::new();
        for a in candidates {
            let numbers = self.count(&out) * self.axes[a].size * self.count(&stay);
            if out.len() < most
                && numbers <= self.room
                && self.count(&out) * self.axes[a].size * self.count(&from) <= 256
            {
                out.push(a);
            }
        }
        let mut from_order = from.clone();
        self.dice.shuffle(&mut from_order);
        let mut options = String::new();
        let per = if stay.is_empty() || self.dice.chance(0.6) { Vec::new() } else { self.subset(&stay, 1) };
        if !per.is_empty() {
            options.push_str(&format!(", per = [{}]", self.names(&per)));
        }
        if self.dice.chance(0.4) {
            let bias = *self.dice.pick(&[", bias = fan", ", bias = 0.5", ", bias = normal(0.3)"]);
            options.push_str(bias);
        }
        if self.dice.chance(0.2) {
            let init = *self.dice.pick(&[", init = normal(0.5)", ", init = orthogonal(1)", ", init = eye"]);
            options.push_str(init);
        }
        let x = self.text(v);
        let mut inputs = x.clone();
        // a second input that shares some of the contracted axes
        let mut of = vec![v];
        if per.is_empty() && self.dice.chance(0.2) {
            let (f, s) = (from.clone(), own.clone());
            if let Some(u) = self.operand(|_, u| u.axes.iter().any(|a| f.contains(a)) && within(&u.axes, &s)) {
                inputs.push_str(&format!(", {}", self.text(u)));
                of.push(u);
            }
        }
        let text = format!("linear[{} -> {}]({inputs}{options})", self.names(&from_order), self.names(&out));
        let mut draft = self.joined(&of, text);
        draft.axes = sorted(&[stay, out].concat());
        draft.degree = of.iter().map(|v| self.values[*v].degree).max().unwrap_or(0);
        Some(self.add(draft))
    }

    /// Writes a filter over the last tokens.
    pub(super) fn window(&mut self) -> Option<usize> {
        let v = self.any()?;
        let x = self.text(v);
        let mut draft = self.like(v, String::new());
        (draft.token, draft.kind) = (true, Kind::Any);
        match self.dice.below(7) {
            0 | 1 => {
                let (width, dilation) = (1 + self.dice.below(5), 1 + self.dice.below(3));
                let init = self.dice.pick(&["fan", "dirac + normal(0.3)", "normal(0.5)"]);
                draft.text = format!("conv({x}, width = {width}, dilation = {dilation}, init = {init})");
                draft.exact = false;
            }
            2 => draft.text = format!("shift({x}, {})", self.dice.pick(&[1, 2, 7])),
            3 => (draft.text, draft.exact) = (format!("window_mean({x}, n = {})", 1 + self.dice.below(5)), false),
            4 => draft.text = format!("window_max({x}, n = {})", 1 + self.dice.below(5)),
            _ => {
                let size = *self.dice.pick(&[1, 2, 3, 5]);
                if self.count(&draft.axes) * size > self.room {
                    return None;
                }
                let w = self.axis("W", size, true);
                let step = *self.dice.pick(&[1, 1, 2, 17]);
                draft.text = format!("window[{}]({x}, step = {step})", self.axes[w].name);
                draft.axes.push(w);
                let at = self.add(draft);
                return Some(match self.dice.below(3) {
                    0 => at,
                    1 => {
                        let over = if self.dice.chance(0.5) { self.values[at].axes.clone() } else { vec![w] };
                        let filter = self.param(&over);
                        let y = self.joined(
                            &[at, filter],
                            format!("sum[{}]({} * {})", self.axes[w].name, self.text(filter), self.text(at)),
                        );
                        let axes = without(&y.axes, &[w]);
                        self.mark(&[at, filter]);
                        self.add(Draft { axes, ..y })
                    }
                    _ => {
                        self.mark(&[at]);
                        self.reduced(at, &[w])
                    }
                });
            }
        }
        Some(self.add(draft))
    }

    pub(super) fn mark(&mut self, of: &[usize]) {
        of.iter().for_each(|v| self.values[*v].used = true);
    }

    /// Writes a call of a function of the library.
    pub(super) fn library(&mut self) -> Option<usize> {
        let v = self.operand(|_, v| !v.axes.is_empty())?;
        let x = self.text(v);
        let own = self.values[v].axes.clone();
        let over = self.subset(&own, 1);
        let brackets = self.brackets(&over);
        let one = *self.dice.pick(&own);
        let (a, size) = (self.axes[one].name.clone(), self.axes[one].size);
        let degree = self.values[v].degree;
        let mut draft = self.like(v, String::new());
        (draft.kind, draft.exact) = (Kind::Any, false);
        let flat = |draft: &mut Draft| (draft.degree, draft.kind) = (0, Kind::Any);
        match self.dice.below(22) {
            0 => draft.text = format!("rmsnorm{brackets}({x})"),
            1 => draft.text = format!("layernorm{brackets}({x})"),
            2 if self.count(&over) > 1 => draft.text = format!("l2norm{brackets}({x})"),
            3 => draft.text = format!("rms{brackets}({x})"),
            4 if over.len() < own.len() => {
                let per = without(&own, &over);
                draft.text = format!("groupnorm{brackets}({x}, per = [{}])", self.names(&per));
            }
            5 => draft.text = format!("dyt{brackets}({x})"),
            6 => draft.text = format!("exp_map[{a}]({x})"),
            7 => draft.text = format!("elu1({x})"),
            8 if degree <= 1 => draft.text = format!("relu2({x})"),
            9 => (draft.text, draft.token) = (format!("token_shift{brackets}({x})"), true),
            10 => (draft.text, draft.token) = (format!("running_sum({x}) / (pos + 1)"), true),
            11 => (draft.text, draft.token) = (format!("causal_mean({x})"), true),
            12 => (draft.text, draft.token) = (format!("running_max({x})"), true),
            13 => {
                let decay = if self.dice.chance(0.4) {
                    self.dice.pick(&["0.9", "0.5", "0", "1"]).to_string()
                } else {
                    let o = own.clone();
                    let d = self.operand(|_, v| within(&v.axes, &o))?;
                    draft.alive |= self.values[d].alive;
                    self.unit(d)
                };
                (draft.text, draft.token) = (format!("ema({x}, decay = {decay})"), true);
            }
            14 => (draft.text, draft.token) = (format!("learned_ema{brackets}({x})"), true),
            15 => {
                let o = own.clone();
                let l = self.operand(|_, v| within(&v.axes, &o))?;
                draft = self.joined(&[v, l], format!("softmax_average({x}, {})", self.text(l)));
                (draft.token, draft.degree) = (true, degree);
            }
            16 => (draft.text, draft.token) = (format!("novelty({x})"), true),
            17 if size % 2 == 0 => (draft.text, draft.token) = (format!("rope[{a}]({x})"), true),
            18 if self.count(&own) / size * 2 * size <= self.room => {
                let f = self.axis("F", 2 * size, false);
                draft.text = format!("dpfp[{a} -> {}]({x})", self.axes[f].name);
                draft.axes = sorted(&[without(&own, &[one]), vec![f]].concat());
                draft.degree *= 2;
            }
            19 => draft.text = format!("lora[{a} -> {a}]({x}, R = 2)"),
            20 => {
                draft.text = format!("sparse_route[{a}]({x})");
                flat(&mut draft);
            }
            21 => {
                draft.text = format!("soft_route[{a}]({x}, temp = 1.5, least = 0.01)");
                flat(&mut draft);
            }
            _ => draft.text = format!("softmax_map[{a}]({x})"),
        }
        Some(self.add(draft))
    }

    /// A value over exactly these axes: an existing one, or a map of one.
    pub(super) fn over(&mut self, axes: &[usize]) -> Option<usize> {
        let axes = sorted(axes);
        let wanted = axes.clone();
        if self.dice.chance(0.6)
            && let Some(v) = self.operand(|_, v: &Val| v.axes == wanted && v.token)
        {
            return Some(v);
        }
        let v = self.operand(|_, v| !v.axes.is_empty() && v.token && v.alive)?;
        let own = self.values[v].axes.clone();
        let mut out = axes.clone();
        self.dice.shuffle(&mut out);
        let text = format!("linear[{} -> {}]({})", self.names(&own), self.names(&out), self.text(v));
        let mut draft = self.like(v, text);
        (draft.axes, draft.kind, draft.exact) = (axes, Kind::Any, false);
        Some(self.add(draft))
    }
}
