//! Agreement with the reference: the quantities compared, their tolerances, and the findings.
//!
//! There is one rule of tolerance for every program. The error of a quantity (an output, a gradient) of a device may be up to the
//! [`Bounds`], or up to [`AMPLIFIED`] times the rounding error of the reference itself, if that is more: the worst error of the reference
//! in f32 on these inputs and parameters and on some that are perturbed by at most one rounding of f32; for a device in f64, the same
//! scaled to the unit of f64. Where that tolerance exceeds [`MOST`], the program amplifies rounding so much that no judgement is possible:
//! the quantity is not judged, and is reported as such. A number that is not finite where the reference has a finite one, in f32 as well,
//! is a finding whatever the bounds are.
#![allow(clippy::neg_cmp_op_on_partial_ord)] // NaN counts as an error, too

use archc_runtime::{Dtype, Tensor, Tensors};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// The bounds on the errors of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The arithmetic of the device.
    pub dtype: Dtype,
    /// Bound for outputs: root mean square of the error relative to that of the output.
    pub forward: f64,
    /// Bound for each gradient: root mean square of the error relative to that of the gradient.
    pub gradient: f64,
    /// Bound for each gradient: largest error relative to the largest element.
    pub largest: f64,
}

impl Bounds {
    /// The bounds of every f32 path: f32 rounds at 6e-8, and some hundred roundings add up; gates sum terms that nearly cancel, so that
    /// their largest error counts too.
    pub const F32: Self = Self { dtype: Dtype::F32, forward: 1e-5, gradient: 1e-4, largest: 1e-3 };
    /// The bounds of f64 paths: both sides sum the same terms in f64 in different orders, and decays are sums of logarithms on one side and
    /// products on the other: 1e-16 per term, some thousand terms.
    pub const F64: Self = Self { dtype: Dtype::F64, forward: 1e-9, gradient: 1e-9, largest: 1e-8 };

    /// The bounds of an arithmetic.
    pub fn of(dtype: Dtype) -> Self {
        if dtype == Dtype::F64 { Self::F64 } else { Self::F32 }
    }
}

/// Factor on the rounding error of the reference: a device's functions round to a few units where candle's round to one.
pub const AMPLIFIED: f64 = 4.0;

/// Upper limit of all tolerances.
pub const MOST: f64 = 1e-2;

/// A quantity that is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// An output, by name.
    Output(String),
    /// The objective that is differentiated: `R` for sum(output * R), or `loss`.
    Objective(&'static str),
    /// A gradient of that objective, by the parameter's path or the input's name.
    Gradient(&'static str, String),
    /// Another number: a metric of a training step, a moment.
    Other(String),
    /// The whole run.
    Run,
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output(name) => write!(f, "output {name}"),
            Self::Objective(what) => write!(f, "objective {what}"),
            Self::Gradient(what, of) => write!(f, "d{what}/d {of}"),
            Self::Other(what) => f.write_str(what),
            Self::Run => f.write_str("the run"),
        }
    }
}

/// A fault of a quantity.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// An error above the tolerance: root mean square and largest error, relative.
    Off {
        /// Root mean square of the error relative to that of the reference.
        square: f64,
        /// The largest error relative to the largest element.
        top: f64,
    },
    /// A value that is not finite where it should be.
    NotFinite,
    /// A fault of the reference itself: its values are finite, but a gradient is not.
    ReferenceNotFinite,
    /// A gradient of the reference that disagrees with differences of its values.
    Differs {
        /// The derivative by the gradient.
        gradient: f64,
        /// The derivative by differences.
        difference: f64,
    },
    /// Different bits from the same calls.
    Bits,
    /// A change caused by later tokens, or by another document or sequence.
    Leaks {
        /// The largest change relative to the largest element.
        top: f64,
    },
    /// An error where there should be none.
    Refused(String),
    /// A panic.
    Panicked(String),
}

impl Fault {
    /// Whether two faults are of the same kind, whatever their numbers.
    pub fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off { square, top } => write!(f, "relative RMS {square:.1e}, largest {top:.1e}"),
            Self::NotFinite => f.write_str("not finite"),
            Self::ReferenceNotFinite => f.write_str("the reference's is not finite, though its values are"),
            Self::Differs { gradient, difference } => {
                write!(f, "the reference's is {gradient:.6e} along a direction, by differences {difference:.6e}")
            }
            Self::Bits => f.write_str("the same calls gave other bits"),
            Self::Leaks { top } => write!(f, "changed by what it cannot see, by {top:.1e}"),
            Self::Refused(message) => write!(f, "refused: {message}"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
        }
    }
}

/// A finding: a fault of a quantity in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The run: its length, whether packed, in which pieces.
    pub run: String,
    /// The quantity.
    pub of: Quantity,
    /// The fault.
    pub fault: Fault,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.run.is_empty() {
            write!(f, "{}, ", self.run)?;
        }
        write!(f, "{}: {}", self.of, self.fault)
    }
}

/// Name of the run of quantities that amplify rounding too much.
pub const NOT_JUDGED: &str = "not judged";

/// The findings, and the quantities that could not be judged.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The findings.
    pub findings: Vec<Finding>,
    /// Quantities that amplify rounding too much, with the noise of the reference itself.
    pub unjudged: Vec<(Quantity, f64)>,
}

impl Verdict {
    /// All findings for a program whose quantities should all be judged; quantities that were not count as findings.
    pub fn strict(self) -> Vec<Finding> {
        let unjudged = self.unjudged.into_iter().map(|(of, noise)| Finding {
            run: NOT_JUDGED.into(),
            of,
            fault: Fault::Off { square: noise, top: noise },
        });
        self.findings.into_iter().chain(unjudged).collect()
    }
}

/// The class of a quantity, which selects its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// [`Bounds::forward`].
    Forward,
    /// [`Bounds::gradient`] and [`Bounds::largest`].
    Gradient,
}

/// Quantities of one kind: those that should be 0 by cancellation are compared with the largest element of the group.
#[derive(Clone, Debug)]
pub struct Group {
    class: Class,
    numbers: BTreeMap<Quantity, Tensor>,
    /// Lower limit of the magnitude that errors are relative to.
    floor: f64,
    /// Lower limit of the magnitude that errors are relative to, as a share of the group's largest element.
    share: f64,
    /// Magnitude that the elements would have without cancellation: used where all of them cancel.
    scale: f64,
}

/// Assumed magnitude of outputs that are all 0: with the share of 1e-3 and the bound of 1e-5, errors up to 1e-6 are allowed.
pub(crate) const OUTPUTS: f64 = 100.0;

/// Share of the largest element that errors are at least relative to in f32: 1e-4 of that is one rounding of the largest.
const SHARE: f64 = 1e-3;
/// The corresponding share where all gradients are one vector, so that sums over all tokens cancel beside them: some ten roundings.
const SHARE_OF_ALL: f64 = 1e-2;

/// Share of |R| that errors of a gradient of sum(output * R) are at least relative to in f32: 1e-4 of that is four roundings.
const TERMS: f64 = 2.4e-3;

impl Group {
    /// Creates a group from tensors by name.
    pub fn new(class: Class, tensors: Tensors, of: impl Fn(String) -> Quantity) -> Self {
        let numbers = tensors.into_iter().map(|(name, t)| (of(name), t)).collect();
        Self { class, numbers, floor: 0.0, share: SHARE, scale: 0.0 }
    }

    /// Sets the magnitude that the elements would have without cancellation.
    #[must_use]
    pub fn scaled(self, scale: f64) -> Self {
        Self { scale, ..self }
    }

    /// Joins two groups to one vector.
    #[must_use]
    pub fn joined(mut self, others: Self) -> Self {
        self.numbers.extend(others.numbers);
        Self { share: SHARE_OF_ALL, ..self }
    }

    /// The tensors by quantity.
    pub fn numbers(&self) -> &BTreeMap<Quantity, Tensor> {
        &self.numbers
    }

    /// The number of quantities.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether the group has no quantities.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// The part of outputs at some tokens of one sequence.
    pub fn part(&self, row: usize, tokens: Range<usize>) -> Self {
        let of = |t: &Tensor| {
            let (len, width) = (t.shape[1], t.shape[2..].iter().product::<usize>());
            let data = t.data[(row * len + tokens.start) * width..(row * len + tokens.end) * width].to_vec();
            Tensor { shape: [&[1, tokens.len()], &t.shape[2..]].concat(), data }
        };
        let numbers = self.numbers.iter().map(|(q, t)| (q.clone(), of(t))).collect();
        Self { numbers, ..self.clone() }
    }

    /// A group of one number, whose errors are relative to at least `floor`.
    pub fn number(of: Quantity, class: Class, x: f64, floor: f64) -> Self {
        let tensor = Tensor { shape: Vec::new(), data: vec![x] };
        Self { class, numbers: [(of, tensor)].into(), floor, share: SHARE, scale: 0.0 }
    }
}

/// The results of a run.
pub type Results = Vec<Group>;

/// Root mean square and largest element of the difference, each relative to that of `want`.
///
/// Values that should be 0 by cancellation are not exactly 0: magnitudes of `want` below `floor` count as `floor`.
pub fn errors(have: &Tensor, want: &Tensor, floor: f64) -> [f64; 2] {
    assert_eq!(have.shape, want.shape);
    let count = want.data.len().max(1) as f64;
    let rms = |x: &mut dyn Iterator<Item = f64>| (x.map(|x| x * x).sum::<f64>() / count).sqrt();
    let top = |x: &mut dyn Iterator<Item = f64>| x.fold(0.0f64, |m, x| if x.is_nan() { x } else { m.max(x.abs()) });
    let mut difference = have.data.iter().zip(&want.data).map(|(a, b)| a - b);
    let mut wanted = want.data.iter().copied();
    let square = rms(&mut difference.clone()) / rms(&mut wanted.clone()).max(floor);
    [square, top(&mut difference) / top(&mut wanted).max(floor)]
}

fn finite(t: &Tensor) -> bool {
    t.data.iter().all(|x| x.is_finite())
}

/// Whether all elements are finite.
pub fn all_finite(results: &Results) -> bool {
    results.iter().all(|g| g.numbers.values().all(finite))
}

/// The quantities that are not finite.
pub fn not_finite(results: &Results) -> Vec<Quantity> {
    let bad = |g: &Group| -> Vec<Quantity> { g.numbers.iter().filter(|n| !finite(n.1)).map(|n| n.0.clone()).collect() };
    results.iter().flat_map(bad).collect()
}

/// The errors of one quantity.
struct Measured {
    of: Quantity,
    class: Class,
    finite: bool,
    square: f64,
    top: f64,
}

fn measure(have: &Results, want: &Results, dtype: Dtype) -> Vec<Measured> {
    assert_eq!(have.len(), want.len());
    let mut all = Vec::new();
    for (have, want) in have.iter().zip(want) {
        let largest = want.numbers.values().flat_map(|t| &t.data).fold(0.0f64, |m, x| m.max(x.abs()));
        // In f64 a sum that cancels may leave 1e-16 of the group's largest element; 1e-9 of this floor is more.
        let share = if dtype == Dtype::F64 { 1e-6 } else { want.share };
        // where all elements have cancelled to the rounding errors of f64, or outputs to nothing at all
        let cancels = if want.class == Class::Gradient { 1e-9 } else { 1e-14 };
        let largest = if largest < cancels * want.scale { want.scale } else { largest };
        // the terms of a gradient are products with R: a sum that cancels leaves some roundings of these
        let rounded = if want.class == Class::Gradient && dtype == Dtype::F32 { TERMS * want.scale } else { 0.0 };
        let floor = (largest * share).max(rounded).max(want.floor).max(1e-300);
        assert!(have.numbers.keys().eq(want.numbers.keys()), "not the same quantities");
        for (of, want_numbers) in &want.numbers {
            let numbers = &have.numbers[of];
            let [square, top] = errors(numbers, want_numbers, floor);
            all.push(Measured { of: of.clone(), class: want.class, finite: finite(numbers), square, top });
        }
    }
    all
}

/// The effect of rounding on a correct device.
#[derive(Clone, Debug, Default)]
pub struct Noise {
    /// Results in f32, on these values and on some that are perturbed by one rounding.
    pub samples: Vec<Results>,
    /// Quantities that are not finite in f32 if all cotangents are [`NEAR`] times as large: too near to the limits of f32 to count as
    /// faults.
    pub near: Vec<Quantity>,
}

/// Factor below the limits of f32 within which the order of factors decides whether a number overflows.
pub const NEAR: f64 = 1e5;

/// Compares results with those of the reference. `noise` computes the effect of rounding on the reference; it is called only where a bound
/// is missed.
pub fn judge(have: &Results, want: &Results, bounds: &Bounds, noise: impl FnOnce() -> Noise) -> Verdict {
    let Bounds { dtype, forward, gradient, largest } = *bounds;
    let missed = |m: &Measured| match m.class {
        Class::Forward => !(m.square <= forward),
        Class::Gradient => !(m.square <= gradient && m.top <= largest),
    };
    let mut off = measure(have, want, dtype);
    off.retain(missed);
    let mut verdict = Verdict::default();
    if off.is_empty() {
        return verdict;
    }
    let Noise { samples, mut near } = noise();
    let samples: Vec<Vec<Measured>> = samples.iter().map(|own| measure(own, want, dtype)).collect();
    // the unit of f64 is smaller by this factor, and f64 holds values that overflow f32
    let double = dtype == Dtype::F64;
    if double {
        near.clear();
    }
    let unit = if double { f64::EPSILON / f64::from(f32::EPSILON) } else { 1.0 };
    // values that overflow f32 on the way have no gradient there either
    let overflows = !double && samples.iter().flatten().any(|own| own.class == Class::Forward && !own.finite);
    for m in off {
        // sum(output * R) is as accurate as the outputs are
        let objective = |q: &Quantity| matches!(q, Quantity::Objective(_));
        let same = |own: &&Measured| own.of == m.of || objective(&m.of) && own.class == Class::Forward;
        let own = samples.iter().flatten().filter(same).filter(|own| own.finite || !double);
        let [square, top] = own.fold([0.0f64; 2], |[s, t], own| {
            let worse = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) };
            [worse(s, own.square * unit), worse(t, own.top * unit)]
        });
        let most = match m.class {
            Class::Forward => square,
            Class::Gradient => square.max(top),
        };
        let fault = if m.finite { Fault::Off { square: m.square, top: m.top } } else { Fault::NotFinite };
        let excused = m.square <= AMPLIFIED * square && (m.class == Class::Forward || m.top <= AMPLIFIED * top);
        // no tolerance exceeds the cap: beyond it no judgement is possible, below it the error is accepted
        let below = excused && m.square <= MOST && (m.class == Class::Forward || m.top <= MOST);
        if overflows || !(AMPLIFIED * most <= MOST || below) || !m.finite && near.contains(&m.of) {
            verdict.unjudged.push((m.of, most));
        } else if !m.finite || !excused {
            verdict.findings.push(Finding { run: String::new(), of: m.of, fault });
        }
    }
    verdict
}

/// Prefixes findings with the run in which they were made.
pub fn named(findings: Vec<Finding>, run: &str) -> Vec<Finding> {
    let within = |f: Finding| {
        let run = if f.run.is_empty() { run.to_owned() } else { format!("{run}, {}", f.run) };
        Finding { run, ..f }
    };
    findings.into_iter().map(within).collect()
}

/// Formats findings, one per line.
pub fn lines(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(data: &[f64]) -> Tensor {
        Tensor { shape: vec![data.len()], data: data.to_vec() }
    }

    #[test]
    fn errors_are_relative_to_what_is_wanted() {
        let [square, top] = errors(&tensor(&[3.0, 4.5]), &tensor(&[3.0, 4.0]), 1e-9);
        assert!((square - 0.1).abs() < 1e-15 && (top - 0.125).abs() < 1e-15);
        assert_eq!(errors(&tensor(&[1e-9]), &tensor(&[0.0]), 1e-3), [1e-6; 2]);
        assert!(errors(&tensor(&[f64::NAN]), &tensor(&[0.0]), 1e-3).iter().all(|e| e.is_nan()));
    }

    fn output(data: &[f64]) -> Results {
        vec![Group::new(Class::Forward, [("y".to_string(), tensor(data))].into(), Quantity::Output)]
    }

    #[test]
    fn tolerance_is_the_bound_or_what_rounding_does_to_the_reference() {
        let want = output(&[1.0, 1.0]);
        let judged = |have: &[f64], own: &[f64]| {
            let noise = || Noise { samples: vec![output(own)], near: Vec::new() };
            judge(&output(have), &want, &Bounds::F32, noise)
        };
        let found = |v: Verdict| (v.findings.len(), v.unjudged.len());
        assert_eq!(found(judged(&[1.0, 1.0 + 1e-6], &[1.0, 1.0])), (0, 0), "within the bound");
        assert_eq!(found(judged(&[1.001, 1.001], &[1.0, 1.0])), (1, 0), "the reference does better");
        assert_eq!(found(judged(&[1.001, 1.001], &[1.0003, 1.0003])), (0, 0), "the reference does no better");
        assert_eq!(found(judged(&[1.01, 1.01], &[1.003, 1.003])), (0, 1), "nothing can be said above 1e-2");
        assert_eq!(found(judged(&[f64::NAN, 1.0], &[1.0, 1.0])), (1, 0), "not a number");
        assert_eq!(found(judged(&[f64::NAN, 1.0], &[1.0003, 1.0003])), (1, 0), "whatever rounding does");
        assert_eq!(found(judged(&[f64::NAN, 1.0], &[f64::NAN, 1.0])), (0, 1), "f32 cannot hold it");
    }

    #[test]
    fn a_device_in_f64_is_held_in_its_own_unit() {
        let want = output(&[1.0, 1.0]);
        let judged = |have: &[f64], own: &[f64], near: Vec<Quantity>| {
            let noise = || Noise { samples: vec![output(own)], near };
            let verdict = judge(&output(have), &want, &Bounds::F64, noise);
            (verdict.findings.len(), verdict.unjudged.len())
        };
        // an error of 10 in f32 is one of 2e-8 in f64
        assert_eq!(judged(&[1.0 + 5e-8, 1.0 + 5e-8], &[11.0, 11.0], Vec::new()), (0, 0));
        assert_eq!(judged(&[1.0 + 5e-7, 1.0 + 5e-7], &[11.0, 11.0], Vec::new()), (1, 0));
        let near = vec![Quantity::Output("y".into())];
        assert_eq!(judged(&[f64::NAN, 1.0], &[f64::NAN, 1.0], near), (1, 0), "f64 holds what overflows f32");
    }
}
