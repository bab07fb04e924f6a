//! Attends: scores and weights of products, distances and lags; visibility; sinks; averaged values.

use super::{Draft, Kind, PAIR_NUMBERS, Writer, union, within, without};

impl Writer {
    /// Writes an attend; returns the last of its emits.
    pub(super) fn attend(&mut self) -> Option<usize> {
        if self.axes.is_empty() {
            return None;
        }
        // keys over one or two axes, with heads or without
        let all: Vec<usize> = (0..self.axes.len()).filter(|a| self.axes[*a].size <= 8).collect();
        let keys = {
            let mut some = self.subset(&all, 1);
            some.truncate(1 + usize::from(self.dice.chance(0.2)));
            some
        };
        let others = without(&all, &keys);
        let small = |w: &Self, axes: &[usize], most: usize| w.count(axes) <= most;
        let mut heads = if self.dice.chance(0.6) { self.subset(&others, 0) } else { Vec::new() };
        while !small(self, &heads, 8) {
            heads.pop();
        }
        // queries with more heads than keys, or the other way round
        let q_heads = if self.dice.chance(0.7) { heads.clone() } else { self.subset(&heads, 0) };
        let k_heads = if self.dice.chance(0.7) { heads.clone() } else { self.subset(&heads, 0) };
        let heads = union([q_heads.as_slice(), k_heads.as_slice()].into_iter());
        let q = self.over(&union([keys.as_slice(), q_heads.as_slice()].into_iter()))?;
        let k = self.over(&union([keys.as_slice(), k_heads.as_slice()].into_iter()))?;
        let mut values = Vec::new();
        for _ in 0..1 + self.dice.below(2) {
            let h = heads.clone();
            let v =
                self.operand(|w, v| v.token && w.count(&union([v.axes.as_slice(), h.as_slice()].into_iter())) <= 48)?;
            values.push(v);
        }
        let mask = if self.dice.chance(0.5) { self.steady(|_, v| v.token && v.axes.is_empty()) } else { None };
        let mask = match mask {
            Some(m) => Some(m),
            None if self.dice.chance(0.3) => {
                let v = self.steady(|_, v| v.token && !v.axes.is_empty())?;
                let mut draft = self.like(v, self.text(v));
                let picks: Vec<String> = draft
                    .axes
                    .iter()
                    .map(|a| {
                        let axis = &self.axes[*a];
                        let at = axis.labels.first().cloned().unwrap_or_else(|| "0".into());
                        format!("[{} = {at}]", axis.name)
                    })
                    .collect();
                draft.text.push_str(&picks.concat());
                draft.axes.clear();
                Some(self.add(draft))
            }
            None => None,
        };
        let along = if self.dice.chance(0.5) { heads.clone() } else { Vec::new() };
        let slope = self.param(&along);
        let running = if self.dice.chance(0.2) { Some(self.running(&heads)?) } else { None };
        let scored = self.dice.chance(0.7);
        self.mark(&[q, k, slope]);
        let (score, heads) = self.score(&keys, q, k, slope, running, mask, scored);
        let sink = if scored && self.dice.chance(0.25) {
            let h = heads.clone();
            Some(match self.dice.below(3) {
                0 => self.number(),
                1 => {
                    let p = self.param(&heads);
                    self.mark(&[p]);
                    self.text(p)
                }
                _ => {
                    let v = self.operand(|_, v| within(&v.axes, &h))?;
                    self.signed(v)
                }
            })
        } else {
            None
        };
        let visible = self.visible(mask);
        let (emits, lines) = self.body(|w| {
            w.room = PAIR_NUMBERS;
            if let Some(visible) = visible {
                w.line(&format!("where {visible}"));
            }
            let weighing = if w.dice.chance(0.3) {
                let name = w.fresh("a");
                w.line(&format!("let {name} = {score}"));
                name
            } else {
                score
            };
            w.line(&format!("{} {weighing}", if scored { "score" } else { "weight" }));
            if let Some(sink) = sink {
                w.line(&format!("sink {sink}"));
            }
            let mut emits = Vec::new();
            for v in values {
                let x = w.text(v);
                let own = w.values[v].axes.clone();
                let mut degree = w.values[v].degree + u8::from(!scored);
                let text = match w.dice.below(10) {
                    0..=5 => format!("past({x})"),
                    6 => {
                        let o = own.clone();
                        let u = w.operand(|_, u| u.token && within(&u.axes, &o));
                        degree += 1;
                        u.map_or_else(
                            || format!("past({x})"),
                            |u| {
                                let u = w.signed(u);
                                format!("past({x}) * {u}")
                            },
                        )
                    }
                    7 => format!("past({x}) * {}", w.falling()),
                    8 => format!("tanh(past({x}) - {x})"),
                    _ => "1".into(),
                };
                let name = w.fresh("e");
                w.line(&format!("emit {name} = {text}"));
                let own = if text == "1" { Vec::new() } else { own };
                let axes = union([own.as_slice(), heads.as_slice()].into_iter());
                emits.push((
                    name,
                    Draft {
                        text: String::new(),
                        axes,
                        token: true,
                        kind: Kind::Any,
                        degree,
                        exact: false,
                        alive: true,
                    },
                ));
            }
            emits
        });
        self.room = super::NUMBERS;
        self.line("attend {");
        self.lines.extend(lines);
        self.line("}");
        let mut last = None;
        for (name, draft) in emits {
            last = Some(self.known(name, draft));
        }
        last
    }

    /// A running sum of negative numbers: a log decay between two tokens.
    fn running(&mut self, heads: &[usize]) -> Option<usize> {
        let h = heads.to_vec();
        let v = self.operand(|_, v| v.token && within(&v.axes, &h))?;
        let text = format!(
            "running_sum({})",
            match self.dice.below(2) {
                0 => format!("-softplus({})", self.text(v)),
                _ => format!("logsigmoid({})", self.text(v)),
            }
        );
        let mut draft = self.like(v, text);
        (draft.token, draft.kind, draft.exact) = (true, Kind::Any, false);
        let at = self.add(draft);
        self.mark(&[at]);
        Some(at)
    }

    /// A function of the distance that does not grow.
    fn falling(&mut self) -> String {
        self.dice
            .pick(&[
                "exp(-0.3 * lag)",
                "exp(-2 * lag)",
                "0.5 ^ lag",
                "1 / (1 + lag)",
                "(1 + lag) ^ -1.5",
                "rsqrt(1 + lag)",
                "cos(lag)",
                "max(1 - 0.1 * lag, 0)",
            ])
            .to_string()
    }

    /// A function of the distance that may grow slowly.
    fn rising(&mut self) -> String {
        self.dice.pick(&["lag", "log1p(lag)", "sqrt(lag)", "tanh(lag)", "lag % 3", "min(lag, 4)"]).to_string()
    }

    #[allow(clippy::too_many_arguments)]
    fn score(
        &mut self,
        keys: &[usize],
        q: usize,
        k: usize,
        slope: usize,
        running: Option<usize>,
        mask: Option<usize>,
        scored: bool,
    ) -> (String, Vec<usize>) {
        let brackets = self.brackets(keys);
        let along = self.values[slope].axes.clone();
        let paired = without(&union([q, k].iter().map(|v| self.values[*v].axes.as_slice())), keys);
        let mut axes = union([paired.as_slice(), along.as_slice()].into_iter());
        let (x, y, s) = (self.text(q), self.text(k), self.text(slope));
        let plain = match self.dice.below(10) {
            0..=5 => format!("sum{brackets}({x} * past({y}))"),
            6 => format!("0.5 * sum{brackets}({x} * past({y}))"),
            7 if within(&self.values[k].axes, &self.values[q].axes)
                || within(&self.values[q].axes, &self.values[k].axes) =>
            {
                format!("-0.5 * sum{brackets}(({x} - past({y})) ^ 2)")
            }
            8 => format!("sum{brackets}(relu({x}) * past({y}))"),
            _ => format!("mean{brackets}({x} * past({y}))"),
        };
        let mut text = match self.dice.below(16) {
            0..=5 => {
                axes = paired;
                plain
            }
            6 => format!("{plain} - softplus({s}) * {}", self.rising()),
            7 => {
                axes = paired;
                format!("{plain} * {}", self.falling())
            }
            8 => {
                axes = along;
                format!("-abs({s}) * {}", self.rising())
            }
            9 => {
                axes = paired;
                format!("tanh({plain})")
            }
            10 => format!("{plain} - {s} * log1p(lag)"),
            11 => format!("{plain} * exp(-softplus({s}) * lag)"),
            12 => format!("{plain} + {s}"),
            13 => format!("{plain} * {s} + sin(lag)"),
            14 => {
                axes = paired;
                format!("relu({plain}) - 0.01 * lag")
            }
            15 => {
                axes.clear();
                self.falling()
            }
            _ => unreachable!("one of sixteen"),
        };
        if let Some(c) = running {
            axes = union([axes.as_slice(), self.values[c].axes.as_slice()].into_iter());
            let c = self.text(c);
            text = format!("{text} + {c} - past({c})");
        }
        if let Some(m) = mask {
            let m = self.text(m);
            match self.dice.below(5) {
                0 => text = format!("select(past({m}) > 0, {text}, {})", self.dice.pick(&["-1e9", "-1e4", "-30"])),
                1 => text = format!("{text} + past({m})"),
                2 => text = format!("{text} * ({m} == past({m}))"),
                _ => {}
            }
        }
        if scored {
            return (text, axes);
        }
        let text = match self.dice.below(6) {
            0 | 1 => format!("sigmoid({text})"),
            2 => format!("relu({text}) / (1 + lag)"),
            3 => format!("exp(min({text}, 1)) / (1 + lag)"),
            4 => format!("tanh({text})"),
            _ => format!("({text}) / (pos + 1)"),
        };
        (text, axes)
    }

    /// A condition on the tokens before.
    fn visible(&mut self, mask: Option<usize>) -> Option<String> {
        let m = mask.map(|m| self.text(m));
        let near = format!("lag < {}", self.dice.pick(&[1, 2, 5, 20, 70]));
        Some(match self.dice.below(10) {
            0 | 1 => near,
            2 => "lag > 0".into(),
            3 => "lag % 2 == 0".into(),
            4 => format!("past({}) > 0", m?),
            5 => format!("{0} == past({0})", m?),
            6 => format!("{near} and past({}) >= 0", m?),
            7 => format!("{near} or lag > 40"),
            _ => return None,
        })
    }
}
