//! Random well-typed programs.
//!
//! A program grows statement by statement: each takes operands among the existing values, with a preference for those that nothing reads
//! yet, and adds a value. Values that nothing reads at the end are summed into the outputs. Types are known as the text is written (axes
//! and their sizes, whether a value is bounded, how fast it grows), so that nearly every program checks and stays finite: logarithms get
//! positive operands, exponentials bounded ones, and values of too high a degree are squashed.
//!
//! Discontinuous ops (floor, comparisons, `topk`) get operands that are exact in every arithmetic: inputs, parameters, small integers, and
//! rearrangements of these. For other operands, one rounding may decide on which side of a jump a number lies, and then two correct devices
//! differ.

mod attends;
mod blocks;
mod layout;
mod maps;
mod scans;

use archc_runtime::random::Stream;

/// A program and its sizes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// Its text.
    pub text: String,
    /// The block or model to run.
    pub block: String,
    /// Sizes for `--set`.
    pub set: Vec<(String, usize)>,
    /// The vocabulary of a model.
    pub vocab: usize,
}

/// Generates program `number` of a seed; a function of both.
pub fn program(seed: u64, number: u64) -> Program {
    let dice = Dice::new(&[b"program", &seed.to_le_bytes(), &number.to_le_bytes()]);
    blocks::program(dice)
}

/// A random source: each draw is a function of the seed and of the draws before it.
pub struct Dice(Stream);

impl Dice {
    /// Creates a random source seeded by a name.
    pub fn new(parts: &[&[u8]]) -> Self {
        let all: Vec<&[u8]> = std::iter::once(b"selftest".as_slice()).chain(parts.iter().copied()).collect();
        Self(Stream::new(&all))
    }

    /// A number below n; n is at least 1.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.0.uniform() * n as f64) as usize).min(n - 1)
    }

    /// True with this probability.
    pub fn chance(&mut self, p: f64) -> bool {
        self.0.uniform() < p
    }

    /// One of these elements.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// An index, with probabilities in proportion to the weights; none if all are 0.
    fn weighted(&mut self, weights: &[f64]) -> Option<usize> {
        let total: f64 = weights.iter().sum();
        let mut left = self.0.uniform() * total;
        let at = weights.iter().position(|w| {
            left -= w;
            left < 0.0 && *w > 0.0
        });
        at.or_else(|| weights.iter().rposition(|w| *w > 0.0))
    }

    /// Shuffles into random order.
    fn shuffle<T>(&mut self, all: &mut [T]) {
        for i in (1..all.len()).rev() {
            let j = self.below(i + 1);
            all.swap(i, j);
        }
    }

    /// A uniform number in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.0.uniform()
    }

    /// A standard normal number.
    pub fn normal(&mut self) -> f64 {
        self.0.normal_pair()[0]
    }
}

/// The lengths that axes have.
const SIZES: [usize; 5] = [1, 2, 3, 5, 8];

/// Maximum number of elements of a value, at one token.
const NUMBERS: usize = 192;

/// Maximum number of elements of a value of pairs, at one pair.
const PAIR_NUMBERS: usize = 24;

/// Maximum degree of a value in its inputs before it is squashed.
const DEGREE: u8 = 3;

/// An axis.
#[derive(Clone, Debug)]
struct Axis {
    name: String,
    size: usize,
    labels: Vec<String>,
}

/// The known range of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Any,
    /// A value of at least about .1.
    Positive,
    /// A value from 0 to 1.
    Unit,
    /// A value from about -1 to 1.
    Signed,
}

/// The scope of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// The block.
    Block,
    /// The body of a scan or an attend.
    Body,
}

/// A value.
#[derive(Clone, Debug)]
struct Val {
    name: String,
    /// Its axes, sorted.
    axes: Vec<usize>,
    token: bool,
    kind: Kind,
    /// Degree: the power of the inputs with which it grows.
    degree: u8,
    /// Whether it has the same value in every arithmetic.
    exact: bool,
    /// Whether it depends on an input.
    alive: bool,
    used: bool,
}

/// A new value before it has a name.
struct Draft {
    text: String,
    axes: Vec<usize>,
    token: bool,
    kind: Kind,
    degree: u8,
    exact: bool,
    alive: bool,
}

/// A block under construction.
struct Writer {
    dice: Dice,
    axes: Vec<Axis>,
    values: Vec<Val>,
    /// The statements of the current body.
    lines: Vec<String>,
    indent: usize,
    scope: Scope,
    /// Maximum number of elements of a value in this scope.
    room: usize,
    serial: usize,
    /// Prefix of every name, so that blocks of one file look different.
    prefix: String,
}

impl Writer {
    fn new(dice: Dice, prefix: &str) -> Self {
        Self {
            dice,
            axes: Vec::new(),
            values: Vec::new(),
            lines: Vec::new(),
            indent: 1,
            scope: Scope::Block,
            room: NUMBERS,
            serial: 0,
            prefix: prefix.to_owned(),
        }
    }

    fn fresh(&mut self, stem: &str) -> String {
        self.serial += 1;
        format!("{}{stem}{}", self.prefix, self.serial - 1)
    }

    fn line(&mut self, text: &str) {
        self.lines.push(format!("{}{text}", "    ".repeat(self.indent)));
    }

    /// A new axis; `declared` writes the statement.
    fn axis(&mut self, stem: &str, size: usize, declared: bool) -> usize {
        // upper case, as axes are by custom, and hyperparameters by rule
        let name = self.fresh(stem).to_uppercase();
        if declared {
            self.line(&format!("axis {name} = {size}"));
        }
        self.axes.push(Axis { name, size, labels: Vec::new() });
        self.axes.len() - 1
    }

    fn count(&self, axes: &[usize]) -> usize {
        axes.iter().map(|a| self.axes[*a].size).product()
    }

    /// `A, B` in this order.
    fn names(&self, axes: &[usize]) -> String {
        axes.iter().map(|a| self.axes[*a].name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// `[A, B]` in any order, nothing for no axes.
    fn brackets(&mut self, axes: &[usize]) -> String {
        if axes.is_empty() {
            return String::new();
        }
        let mut axes = axes.to_vec();
        self.dice.shuffle(&mut axes);
        format!("[{}]", self.names(&axes))
    }

    /// A random subset of at least `least` axes.
    fn subset(&mut self, axes: &[usize], least: usize) -> Vec<usize> {
        let mut all = axes.to_vec();
        self.dice.shuffle(&mut all);
        let count = least.min(all.len()) + self.dice.below(all.len() + 1 - least.min(all.len()));
        all.truncate(count);
        all.sort_unstable();
        all
    }

    /// Names a draft by `let`. A draft of too high a degree is squashed first.
    fn add(&mut self, mut draft: Draft) -> usize {
        if draft.degree > DEGREE {
            let t = &draft.text;
            draft.text = match self.dice.below(4) {
                0 => format!("tanh({t})"),
                1 => format!("atan({t})"),
                2 => format!("softcap({t}, cap = 2)"),
                _ => format!("sin(tanh({t}))"),
            };
            (draft.degree, draft.kind, draft.exact) = (0, Kind::Signed, false);
        }
        let name = self.fresh("v");
        let axes = if self.dice.chance(0.1) { self.brackets(&draft.axes) } else { String::new() };
        self.line(&format!("let {name}{axes} = {}", draft.text));
        self.known(name, draft)
    }

    /// Adds a value that has a name already.
    fn known(&mut self, name: String, draft: Draft) -> usize {
        let Draft { axes, token, kind, degree, exact, alive, .. } = draft;
        self.values.push(Val { name, axes, token, kind, degree, exact, alive, used: false });
        self.values.len() - 1
    }

    /// A value, preferably one that nothing reads yet; marks it as read.
    fn operand(&mut self, fits: impl Fn(&Self, &Val) -> bool) -> Option<usize> {
        let last = self.values.len();
        let weights: Vec<f64> = (0..last)
            .map(|i| {
                let v = &self.values[i];
                let recent = if i + 4 >= last { 2.0 } else { 1.0 };
                let fresh = if v.used { 1.0 } else { 4.0 };
                let alive = if v.alive { 2.0 } else { 1.0 };
                if fits(self, v) { recent * fresh * alive } else { 0.0 }
            })
            .collect();
        let at = self.dice.weighted(&weights)?;
        self.values[at].used = true;
        Some(at)
    }

    fn any(&mut self) -> Option<usize> {
        self.operand(|_, _| true)
    }

    /// An operand for discontinuous ops, exact in every arithmetic.
    fn steady(&mut self, fits: impl Fn(&Self, &Val) -> bool) -> Option<usize> {
        self.operand(|w, v| v.exact && fits(w, v))
    }

    fn text(&self, v: usize) -> String {
        self.values[v].name.clone()
    }

    /// A draft with the properties of one value.
    fn like(&self, v: usize, text: String) -> Draft {
        let Val { axes, token, kind, degree, exact, alive, .. } = &self.values[v];
        Draft { text, axes: axes.clone(), token: *token, kind: *kind, degree: *degree, exact: *exact, alive: *alive }
    }

    /// A draft of several values: the union of their axes, no known range, degrees as in a product.
    fn joined(&self, of: &[usize], text: String) -> Draft {
        let all = || of.iter().map(|v| &self.values[*v]);
        let axes = union(all().map(|v| v.axes.as_slice()));
        Draft {
            text,
            axes,
            token: all().any(|v| v.token),
            kind: Kind::Any,
            degree: all().map(|v| v.degree).sum(),
            exact: false,
            alive: all().any(|v| v.alive),
        }
    }

    /// The value as something at least about .1.
    fn positive(&mut self, v: usize) -> String {
        let (x, kind, degree) = (self.text(v), self.values[v].kind, self.values[v].degree);
        if kind == Kind::Positive {
            return x;
        }
        match self.dice.below(if degree > 1 { 4 } else { 6 }) {
            0 => format!("(abs({x}) + 0.3)"),
            1 => format!("(softplus({x}) + 0.1)"),
            2 => format!("exp(tanh({x}))"),
            3 => format!("(1.5 + sin(tanh({x})))"),
            4 => format!("({x} ^ 2 + 0.5)"),
            _ => format!("(1 + elu({x}) + 0.2)"),
        }
    }

    /// The value as something from 0 to 1.
    fn unit(&mut self, v: usize) -> String {
        let (x, kind) = (self.text(v), self.values[v].kind);
        if kind == Kind::Unit && self.dice.chance(0.7) {
            return x;
        }
        match self.dice.below(6) {
            0 | 1 => format!("sigmoid({x})"),
            2 => format!("exp(-softplus({x}))"),
            3 => format!("(0.5 + 0.5 * tanh({x}))"),
            4 => format!("exp(-abs({x}))"),
            _ => format!("(1 / (1 + abs({x})))"),
        }
    }

    /// The value as something from -1 to 1.
    fn signed(&mut self, v: usize) -> String {
        let (x, kind) = (self.text(v), self.values[v].kind);
        if matches!(kind, Kind::Signed | Kind::Unit) {
            return x;
        }
        match self.dice.below(4) {
            0 | 1 => format!("tanh({x})"),
            2 => format!("clamp({x}, -1, 1)"),
            _ => format!("({x} / (1 + abs({x})))"),
        }
    }

    /// A random number as text; most are sums of few powers of two.
    fn number(&mut self) -> String {
        (*self.dice.pick(&["0.5", "2", "-1", "0.25", "1", "-0.5", "1.5", "0.3", "-0.7", "3", "0"])).to_owned()
    }

    /// A new parameter over these axes.
    fn param(&mut self, axes: &[usize]) -> usize {
        let name = self.fresh("p");
        let brackets = self.brackets(axes);
        let along: Vec<usize> = axes.iter().copied().filter(|a| self.axes[*a].size > 1).collect();
        let init = match self.dice.below(7) {
            0..=2 => "normal(0.5)".to_owned(),
            3 => "uniform(-1, 1)".to_owned(),
            4 if !along.is_empty() => {
                let a = *self.dice.pick(&along);
                format!("index[{0}] / {0}", self.axes[a].name)
            }
            4 | 5 => "0.5".to_owned(),
            _ => "uniform(0.5, 2)".to_owned(),
        };
        self.line(&format!("param {name}{brackets} = {init}"));
        let axes = sorted(axes);
        self.known(
            name,
            Draft { text: String::new(), axes, token: false, kind: Kind::Any, degree: 0, exact: true, alive: false },
        )
    }

    /// Writes a body with its own statements; its values go out of scope at its end.
    fn body<T>(&mut self, write: impl FnOnce(&mut Self) -> T) -> (T, Vec<String>) {
        let known = self.values.len();
        let outer = std::mem::take(&mut self.lines);
        let scope = std::mem::replace(&mut self.scope, Scope::Body);
        self.indent += 1;
        let made = write(self);
        self.indent -= 1;
        self.scope = scope;
        self.values.truncate(known);
        (made, std::mem::replace(&mut self.lines, outer))
    }
}

fn sorted(axes: &[usize]) -> Vec<usize> {
    let mut axes = axes.to_vec();
    axes.sort_unstable();
    axes.dedup();
    axes
}

fn union<'a>(all: impl Iterator<Item = &'a [usize]>) -> Vec<usize> {
    sorted(&all.flatten().copied().collect::<Vec<_>>())
}

fn without(axes: &[usize], gone: &[usize]) -> Vec<usize> {
    axes.iter().copied().filter(|a| !gone.contains(a)).collect()
}

fn within(inner: &[usize], outer: &[usize]) -> bool {
    inner.iter().all(|a| outer.contains(a))
}
