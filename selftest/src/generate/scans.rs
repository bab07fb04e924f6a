//! Recurrences: memories that are written by outer products, decayed, corrected and read; running extrema; rotations; others.

use super::{Draft, Kind, Writer, sorted, union, within, without};

/// A state while its scan is written.
struct State {
    name: String,
    axes: Vec<usize>,
}

impl Writer {
    /// Writes a scan; returns the last of its emits.
    pub(super) fn scan(&mut self) -> Option<usize> {
        let states = 1 + self.dice.weighted(&[6.0, 3.0, 1.0])?;
        let mut axes = Vec::new();
        for _ in 0..states {
            axes.push(self.state_axes());
        }
        // operands of the body, so that there are values over the axes of states to write
        for a in &axes {
            let part = self.subset(a, 1);
            if !part.is_empty() {
                self.over(&part)?;
            }
            let rest = without(a, &part);
            if !rest.is_empty() {
                self.over(&rest)?;
            }
        }
        let start: Vec<String> = axes.iter().map(|a| self.start(a)).collect();
        let (emits, lines) = self.body(|w| {
            let mut all = Vec::new();
            for (a, start) in axes.iter().zip(start) {
                let name = w.fresh("s");
                let brackets = w.brackets(a);
                w.line(&format!("state {name}{brackets} = {start}"));
                all.push(State { name, axes: a.clone() });
            }
            let mut emits = Vec::new();
            let steps = 1 + w.dice.below(4);
            for _ in 0..steps {
                if w.dice.chance(0.25) {
                    w.read(&all, &mut emits);
                }
                let s = w.dice.below(all.len());
                w.update(&all, s);
            }
            for _ in 0..1 + w.dice.below(2) {
                w.read(&all, &mut emits);
            }
            if emits.is_empty() {
                let s = &all[0];
                let draft = w.state_draft(s);
                emits.push((s.name.clone(), draft));
            }
            let mut named = Vec::new();
            for (text, draft) in emits {
                let name = w.fresh("e");
                w.line(&format!("emit {name} = {text}"));
                named.push((name, draft));
            }
            named
        });
        self.line("scan {");
        self.lines.extend(lines);
        self.line("}");
        let mut last = None;
        for (name, draft) in emits {
            last = Some(self.known(name, draft));
        }
        last
    }

    /// Draws the axes of a state of few elements.
    fn state_axes(&mut self) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.axes.len()).collect();
        self.dice.shuffle(&mut all);
        let want = self.dice.weighted(&[1.0, 4.0, 6.0, 3.0]).unwrap_or(1);
        let mut axes = Vec::new();
        for a in all {
            if axes.len() < want && self.count(&axes) * self.axes[a].size <= 96 {
                axes.push(a);
            }
        }
        sorted(&axes)
    }

    /// The initial value of a state.
    fn start(&mut self, axes: &[usize]) -> String {
        match self.dice.below(8) {
            0..=4 => "0".into(),
            5 => self.dice.pick(&["1", "-0.5", "0.25"]).to_string(),
            _ => {
                let some = self.subset(axes, 0);
                let p = self.param(&some);
                self.values[p].used = true;
                self.text(p)
            }
        }
    }

    fn state_draft(&self, s: &State) -> Draft {
        Draft {
            text: String::new(),
            axes: s.axes.clone(),
            token: true,
            kind: Kind::Any,
            degree: 2,
            exact: false,
            alive: true,
        }
    }

    /// A factor of a state: none, scalar, by some axes or by all; 0, negative, at most 1 in magnitude but for one in fifty.
    fn decay(&mut self, axes: &[usize]) -> Option<String> {
        let own = axes.to_vec();
        if self.dice.chance(0.35) {
            return Some(
                self.dice.pick(&["0.9", "0.5", "-0.7", "0", "1", "-1", "0.99", "0.9", "0.8", "1.02"]).to_string(),
            );
        }
        let v = self.operand(|_, v| within(&v.axes, &own))?;
        let x = self.text(v);
        Some(match self.dice.below(10) {
            0..=2 => self.unit(v),
            3 => format!("exp(-softplus({x}))"),
            4 => format!("exp(-exp(clamp({x}, -3, 3)))"),
            5 => format!("tanh({x})"),
            6 => format!("cos({})", self.signed(v)),
            7 => format!("select({x} > 0, 0.9, 0)"),
            8 => format!("(1 - {})", self.unit(v)),
            _ => format!("exp(-4 * abs({x}))"),
        })
    }

    /// A product of values that together have exactly these axes, or some of them.
    fn write(&mut self, axes: &[usize]) -> Option<String> {
        let own = axes.to_vec();
        let first = self.operand(|_, v| v.token && within(&v.axes, &own) && v.degree <= 2)?;
        let rest = without(axes, &self.values[first].axes.clone());
        let mut text = self.bounded(first);
        if !rest.is_empty() {
            let r = rest.clone();
            let second =
                self.operand(|_, v| v.token && within(&v.axes, &own) && within(&r, &v.axes) && v.degree <= 2)?;
            text = format!("{text} * {}", self.bounded(second));
        } else if self.dice.chance(0.3) {
            let second = self.operand(|_, v| within(&v.axes, &own) && v.degree <= 1)?;
            text = format!("{text} * {}", self.bounded(second));
        }
        Some(text)
    }

    /// The value as it is, or bounded where it may be large.
    fn bounded(&mut self, v: usize) -> String {
        if self.values[v].degree > 1 || self.dice.chance(0.15) { self.signed(v) } else { self.text(v) }
    }

    /// Writes one assignment to a state.
    fn update(&mut self, all: &[State], at: usize) {
        let (s, axes) = (all[at].name.clone(), all[at].axes.clone());
        let made = match self.dice.below(20) {
            0..=3 => self.decay(&axes).map(|d| format!("{d} * {s}")),
            4..=7 => self.write(&axes).map(|w| format!("{s} + {w}")),
            8 | 9 => self.decay(&axes).and_then(|d| self.write(&axes).map(|w| format!("{d} * {s} + {w}"))),
            10 | 11 => self.delta(&s, &axes),
            12 => {
                let own = axes.clone();
                self.operand(|_, v| within(&v.axes, &own)).and_then(|v| {
                    let a = self.unit(v);
                    self.write(&axes).map(|w| format!("{a} * {s} + (1 - {a}) * {w}"))
                })
            }
            13 => {
                let op = *self.dice.pick(&["max", "min"]);
                self.write(&axes).map(|w| format!("{op}({s}, {w})"))
            }
            14 => self.write(&axes).map(|w| format!("tanh({s} + {w})")),
            15 => self.stabilised(&s, &axes),
            16 | 17 => self.coupled(all, at),
            18 => self.rotated(all, at),
            _ => {
                let own = axes.clone();
                self.steady(|_, v| v.token && within(&v.axes, &own)).and_then(|c| {
                    let c = self.text(c);
                    self.write(&axes).map(|w| format!("select({c} > 0, {s}, {w})"))
                })
            }
        };
        match made {
            Some(text) if text.starts_with('(') && text.contains("|") => {
                let (targets, values) = text.split_once('|').expect("two halves");
                self.line(&format!("{targets} = {values}"));
            }
            Some(text) => self.line(&format!("{s} = {text}")),
            None => self.line(&format!("{s} = 0.5 * {s}")),
        }
    }

    /// A delta update: the value at a key is replaced in part, or only erased.
    fn delta(&mut self, s: &str, axes: &[usize]) -> Option<String> {
        if axes.is_empty() {
            return None;
        }
        let keys = self.subset(axes, 1);
        let (k, r) = (keys.clone(), axes.to_vec());
        // the key has the axes that are summed by the read, and maybe heads; it is no read of a state, whose norm at 0 would amplify 1000
        // times per token
        let key = self.operand(|_, v| v.token && v.degree <= 2 && within(&k, &v.axes) && within(&v.axes, &r))?;
        let brackets = self.brackets(&keys);
        let unit = self.fresh("k");
        let x = self.text(key);
        // of one element, a norm leaves the sign, and its gradient is the rounding error of 0
        let normed = if self.count(&keys) > 1 { format!("l2norm{brackets}({x})") } else { self.signed(key) };
        self.line(&format!("let {unit} = {normed}"));
        let heads = without(axes, &keys);
        let beta = match self.operand(|_, v| within(&v.axes, &heads)) {
            Some(b) => match self.dice.below(3) {
                0 => "1".to_owned(),
                1 => format!("2 * {}", self.unit(b)),
                _ => self.unit(b),
            },
            None => "0.5".to_owned(),
        };
        let h = heads.clone();
        let value = self.operand(|_, v| v.token && within(&v.axes, &h) && v.degree <= 2);
        let read = format!("sum{brackets}({unit} * {s})");
        let erased = match value {
            Some(v) if self.dice.chance(0.8) => {
                let v = self.bounded(v);
                // a value that lacks axes of the read is constant along them
                format!("({v} - {read})")
            }
            _ => format!("(0 - {read})"),
        };
        Some(format!("{s} + {beta} * {unit} * {erased}"))
    }

    /// log(exp(s) + exp(x)), with a running maximum subtracted.
    fn stabilised(&mut self, s: &str, axes: &[usize]) -> Option<String> {
        let w = self.write(axes)?;
        let (x, m) = (self.fresh("x"), self.fresh("m"));
        self.line(&format!("let {x} = {w}"));
        self.line(&format!("let {m} = max({s}, {x})"));
        Some(format!("{m} + log(exp({s} - {m}) + exp({x} - {m}))"))
    }

    /// An update from another state, or from a read of it.
    fn coupled(&mut self, all: &[State], at: usize) -> Option<String> {
        let (s, axes) = (all[at].name.clone(), all[at].axes.clone());
        let others: Vec<usize> = (0..all.len()).filter(|o| *o != at).collect();
        if others.is_empty() {
            // its own read, squashed or not
            let over = self.subset(&axes, usize::from(!axes.is_empty()));
            if over.is_empty() {
                return Some(format!("0.9 * {s} + 0.1 * sin({s})"));
            }
            let brackets = self.brackets(&over);
            let op = *self.dice.pick(&["mean", "max", "norm", "mean"]);
            return Some(format!("0.5 * {s} + 0.3 * {op}{brackets}({s})"));
        }
        let other = *self.dice.pick(&others);
        let (o, theirs) = (all[other].name.clone(), all[other].axes.clone());
        let extra = without(&theirs, &axes);
        let text = if extra.is_empty() {
            o
        } else {
            let brackets = self.brackets(&extra);
            let e = extra.clone();
            let q = if self.dice.chance(0.7) {
                let fits = union([axes.as_slice(), theirs.as_slice()].into_iter());
                self.operand(|_, v| v.token && v.axes.iter().any(|a| e.contains(a)) && within(&v.axes, &fits))
            } else {
                None
            };
            match q {
                Some(q) => {
                    let q = self.signed(q);
                    format!("mean{brackets}({q} * {o})")
                }
                None => format!("mean{brackets}({o})"),
            }
        };
        let d = self.decay(&axes)?;
        Some(format!("{d} * {s} + {} * {text}", self.dice.pick(&["0.1", "0.3", "-0.2"])))
    }

    /// A rotation of two states of the same axes.
    fn rotated(&mut self, all: &[State], at: usize) -> Option<String> {
        let (s, axes) = (all[at].name.clone(), all[at].axes.clone());
        let other = (0..all.len()).find(|o| *o != at && all[*o].axes == axes)?;
        let o = all[other].name.clone();
        let own = axes.clone();
        let v = self.operand(|_, v| within(&v.axes, &own))?;
        let angle = self.signed(v);
        let c = self.fresh("c");
        self.line(&format!("let {c} = {angle}"));
        Some(format!("({s}, {o})|(cos({c}) * {s} - sin({c}) * {o}, sin({c}) * {s} + cos({c}) * {o})"))
    }

    /// Reads a state and puts the read among the emits.
    fn read(&mut self, all: &[State], emits: &mut Vec<(String, Draft)>) {
        let at = self.dice.below(all.len());
        let (s, axes) = (all[at].name.clone(), all[at].axes.clone());
        let mut draft = self.state_draft(&all[at]);
        let mut text = s.clone();
        if !axes.is_empty() {
            let over = self.subset(&axes, 1);
            let brackets = self.brackets(&over);
            match self.dice.below(12) {
                0..=5 => {
                    let (o, own) = (over.clone(), axes.clone());
                    let wide = self.dice.chance(0.2);
                    let room = self.room;
                    // a query: the axes that are summed by the read, with heads of the state or axes of its own
                    let q = self.operand(|w, v| {
                        v.token
                            && v.axes.iter().any(|a| o.contains(a))
                            && (wide || within(&v.axes, &own))
                            && w.count(&union([v.axes.as_slice(), own.as_slice()].into_iter())) <= room
                    });
                    let Some(q) = q else { return };
                    let theirs = self.values[q].axes.clone();
                    let x = self.text(q);
                    text = format!("sum{brackets}({x} * {s})");
                    draft.axes = without(&union([theirs.as_slice(), axes.as_slice()].into_iter()), &over);
                    draft.degree = 3;
                }
                6 | 7 => {
                    text = format!("{}{brackets}({s})", self.dice.pick(&["sum", "mean"]));
                    draft.axes = without(&axes, &over);
                }
                8 => {
                    text = format!("{}{brackets}({s})", self.dice.pick(&["max", "norm", "logsumexp"]));
                    draft.axes = without(&axes, &over);
                }
                9 => {
                    let own = axes.clone();
                    let Some(v) = self.operand(|_, v| within(&v.axes, &own)) else { return };
                    text = format!("{} * {s}", self.signed(v));
                    draft.degree = 3;
                }
                _ => {}
            }
        }
        // divided by a normaliser, which is another state or the same
        if self.dice.chance(0.2) {
            let divisors: Vec<&State> = all.iter().filter(|o| within(&o.axes, &draft.axes)).collect();
            if !divisors.is_empty() {
                let n = self.dice.pick(&divisors).name.clone();
                text = match self.dice.below(2) {
                    0 => format!("{text} / max(abs({n}), 1)"),
                    _ => format!("{text} / (0.5 + {n} ^ 2)"),
                };
            }
        } else if self.dice.chance(0.15) {
            text = format!("{}({text})", self.dice.pick(&["tanh", "silu", "sigmoid"]));
        }
        let name = self.fresh("r");
        self.line(&format!("let {name} = {text}"));
        // later updates may use the read
        if self.dice.chance(0.3) {
            let own = Draft { text: String::new(), axes: draft.axes.clone(), degree: 3, ..self.state_draft(&all[at]) };
            self.known(name.clone(), own);
        }
        emits.push((name, draft));
    }
}
