//! Closed and half-open real intervals, in which the range rules of the ops compute.
//!
//! An end may be *open*: approached, never reached. `exp(x)` of an unbounded x lies in (0, inf), so
//! dividing by it is not a division by zero, while `relu(x)` reaches its 0. The arithmetic is that of
//! real numbers, `0 * inf` is 0: the bounds ignore rounding and underflow.

use std::fmt;

/// All reals from `lo` to `hi`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub lo: f64,
    /// Upper end.
    pub hi: f64,
    /// Whether the lower end is approached but not reached.
    pub lo_open: bool,
    /// Whether the upper end is approached but not reached.
    pub hi_open: bool,
}

impl Interval {
    /// All real numbers.
    pub const ALL: Self = Self::closed(f64::NEG_INFINITY, f64::INFINITY);
    /// From 0 to 1, both included.
    pub const UNIT: Self = Self::closed(0.0, 1.0);
    /// From 0 to infinity, 0 included.
    pub const NON_NEGATIVE: Self = Self::closed(0.0, f64::INFINITY);

    /// Interval that includes both ends.
    pub const fn closed(lo: f64, hi: f64) -> Self {
        Self { lo, hi, lo_open: false, hi_open: false }
    }

    /// Interval that excludes both ends.
    pub const fn open(lo: f64, hi: f64) -> Self {
        Self { lo, hi, lo_open: true, hi_open: true }
    }

    /// Interval of one number; all numbers for NaN.
    pub fn point(x: f64) -> Self {
        if x.is_nan() { Self::ALL } else { Self::closed(x, x) }
    }

    /// From -r to r.
    pub const fn symmetric(r: f64) -> Self {
        Self::closed(-r, r)
    }

    /// Whether it is a single number.
    pub fn is_point(&self) -> bool {
        self.lo == self.hi
    }

    /// Whether x is in the interval.
    pub fn contains(&self, x: f64) -> bool {
        (self.lo < x || self.lo == x && !self.lo_open) && (x < self.hi || x == self.hi && !self.hi_open)
    }

    /// Whether all of it is at least x.
    pub fn at_least(&self, x: f64) -> bool {
        self.lo >= x
    }

    /// Whether all of it is at most x.
    pub fn at_most(&self, x: f64) -> bool {
        self.hi <= x
    }

    /// Whether all of it is greater than x.
    pub fn above(&self, x: f64) -> bool {
        self.lo > x || self.lo == x && self.lo_open
    }

    /// Whether it lies in `[lo, hi]`.
    pub fn within(&self, lo: f64, hi: f64) -> bool {
        self.lo >= lo && self.hi <= hi
    }

    /// The largest absolute value.
    pub fn magnitude(&self) -> f64 {
        self.lo.abs().max(self.hi.abs())
    }

    /// Smallest interval around both.
    pub fn hull(self, other: Self) -> Self {
        let (lo, lo_open) = lower((self.lo, self.lo_open), (other.lo, other.lo_open));
        let (hi, hi_open) = upper((self.hi, self.hi_open), (other.hi, other.hi_open));
        Self { lo, hi, lo_open, hi_open }
    }

    /// Intersection; `self` if it is empty (two facts about one value never exclude each other).
    pub fn meet(self, other: Self) -> Self {
        let (lo, lo_open) = match self.lo.total_cmp(&other.lo) {
            std::cmp::Ordering::Less => (other.lo, other.lo_open),
            std::cmp::Ordering::Equal => (self.lo, self.lo_open || other.lo_open),
            std::cmp::Ordering::Greater => (self.lo, self.lo_open),
        };
        let (hi, hi_open) = match self.hi.total_cmp(&other.hi) {
            std::cmp::Ordering::Less => (self.hi, self.hi_open),
            std::cmp::Ordering::Equal => (self.hi, self.hi_open || other.hi_open),
            std::cmp::Ordering::Greater => (other.hi, other.hi_open),
        };
        if lo > hi { self } else { Self { lo, hi, lo_open, hi_open } }
    }

    /// Smallest interval around this one and 0.
    pub fn with_zero(self) -> Self {
        self.hull(Self::point(0.0))
    }

    /// Image under an increasing function; its limits at infinity are not reached.
    pub fn increasing(self, f: impl Fn(f64) -> f64) -> Self {
        let (lo, hi) = (f(self.lo), f(self.hi));
        if lo.is_nan() || hi.is_nan() {
            return Self::ALL;
        }
        Self { lo, hi, lo_open: self.lo_open || self.lo.is_infinite(), hi_open: self.hi_open || self.hi.is_infinite() }
    }

    /// Image under a decreasing function.
    pub fn decreasing(self, f: impl Fn(f64) -> f64) -> Self {
        (-self).increasing(|x| f(-x))
    }

    /// c x
    pub fn scale(self, c: f64) -> Self {
        self * Self::point(c)
    }

    /// 1 / x; all numbers if 0 is strictly inside.
    pub fn recip(self) -> Self {
        let inv = |x: f64| if x.is_infinite() { 0.0 } else { 1.0 / x };
        if self.lo > 0.0 || self.hi < 0.0 {
            Self {
                lo: inv(self.hi),
                hi: inv(self.lo),
                lo_open: self.hi_open || self.hi.is_infinite(),
                hi_open: self.lo_open || self.lo.is_infinite(),
            }
        } else if self.lo == 0.0 && self.hi > 0.0 {
            Self { lo: inv(self.hi), hi: f64::INFINITY, lo_open: self.hi_open || self.hi.is_infinite(), hi_open: false }
        } else if self.hi == 0.0 && self.lo < 0.0 {
            -(-self).recip()
        } else {
            Self::ALL
        }
    }

    /// |x|
    pub fn abs(self) -> Self {
        if self.lo >= 0.0 {
            self
        } else if self.hi <= 0.0 {
            -self
        } else {
            let (hi, hi_open) = upper((-self.lo, self.lo_open), (self.hi, self.hi_open));
            Self { lo: 0.0, hi, lo_open: false, hi_open }
        }
    }

    /// x^n
    pub fn powi(self, n: i32) -> Self {
        match n {
            0 => Self::point(1.0),
            n if n < 0 => self.powi(-n).recip(),
            n if n % 2 == 0 => self.abs().increasing(|x| x.powi(n)).unopened(self.abs()),
            n => self.increasing(|x| x.powi(n)).unopened(self),
        }
    }

    /// The smaller of x and y.
    pub fn min(self, y: Self) -> Self {
        -(-self).max(-y)
    }

    /// The larger of x and y.
    pub fn max(self, y: Self) -> Self {
        let pick = |a: (f64, bool), b: (f64, bool)| match a.0.total_cmp(&b.0) {
            std::cmp::Ordering::Less => b,
            std::cmp::Ordering::Equal => (a.0, a.1 && b.1),
            std::cmp::Ordering::Greater => a,
        };
        // at equal lower ends the larger one is open if either is: it is above both
        let lo = if self.lo == y.lo {
            (self.lo, self.lo_open || y.lo_open)
        } else {
            pick((self.lo, self.lo_open), (y.lo, y.lo_open))
        };
        let hi = pick((self.hi, self.hi_open), (y.hi, y.hi_open));
        Self { lo: lo.0, hi: hi.0, lo_open: lo.1, hi_open: hi.1 }
    }

    /// Sum of n values of this interval.
    pub fn sum_of(self, n: f64) -> Self {
        self.scale(n)
    }

    /// `increasing` opens infinite ends; powers keep them as they were.
    fn unopened(self, from: Self) -> Self {
        Self { lo_open: from.lo_open, hi_open: from.hi_open, ..self }
    }
}

impl std::ops::Neg for Interval {
    type Output = Self;

    fn neg(self) -> Self {
        Self { lo: -self.hi, hi: -self.lo, lo_open: self.hi_open, hi_open: self.lo_open }
    }
}

impl std::ops::Add for Interval {
    type Output = Self;

    fn add(self, y: Self) -> Self {
        let lo = self.lo + y.lo;
        let hi = self.hi + y.hi;
        Self {
            lo: if lo.is_nan() { f64::NEG_INFINITY } else { lo },
            hi: if hi.is_nan() { f64::INFINITY } else { hi },
            lo_open: self.lo_open || y.lo_open,
            hi_open: self.hi_open || y.hi_open,
        }
    }
}

impl std::ops::Sub for Interval {
    type Output = Self;

    fn sub(self, y: Self) -> Self {
        self + -y
    }
}

impl std::ops::Mul for Interval {
    type Output = Self;

    fn mul(self, y: Self) -> Self {
        let ends = |i: Self| [(i.lo, i.lo_open), (i.hi, i.hi_open)];
        let product = |(a, a_open): (f64, bool), (b, b_open): (f64, bool)| {
            if a == 0.0 || b == 0.0 {
                // 0 is reached if one factor reaches it
                (0.0, (a_open || a != 0.0) && (b_open || b != 0.0))
            } else {
                (a * b, a_open || b_open)
            }
        };
        let mut lo = (f64::INFINITY, true);
        let mut hi = (f64::NEG_INFINITY, true);
        for a in ends(self) {
            for b in ends(y) {
                let p = product(a, b);
                lo = lower(lo, p);
                hi = upper(hi, p);
            }
        }
        Self { lo: lo.0, hi: hi.0, lo_open: lo.1, hi_open: hi.1 }
    }
}

impl std::ops::Div for Interval {
    type Output = Self;

    #[allow(clippy::suspicious_arithmetic_impl)] // a quotient is a product with the reciprocal
    fn div(self, y: Self) -> Self {
        self * y.recip()
    }
}

fn lower(a: (f64, bool), b: (f64, bool)) -> (f64, bool) {
    if a.0 < b.0 {
        a
    } else if b.0 < a.0 {
        b
    } else {
        (a.0, a.1 && b.1)
    }
}

fn upper(a: (f64, bool), b: (f64, bool)) -> (f64, bool) {
    if a.0 > b.0 {
        a
    } else if b.0 > a.0 {
        b
    } else {
        (a.0, a.1 && b.1)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |x: f64| {
            if x.is_infinite() {
                if x > 0.0 { "inf".to_string() } else { "-inf".to_string() }
            } else if x == 0.0 {
                "0".to_string()
            } else if x.abs() >= 1e6 || x.abs() < 1e-3 {
                format!("{x:.3e}")
            } else {
                let text = format!("{x:.4}");
                text.trim_end_matches('0').trim_end_matches('.').to_string()
            }
        };
        let left = if self.lo_open || self.lo.is_infinite() { '(' } else { '[' };
        let right = if self.hi_open || self.hi.is_infinite() { ')' } else { ']' };
        write!(f, "{left}{}, {}{right}", number(self.lo), number(self.hi))
    }
}

#[cfg(test)]
mod tests {
    use super::Interval;

    /// Samples of an interval, ends included where they are reached.
    fn samples(i: Interval) -> Vec<f64> {
        let (lo, hi) = (i.lo.max(-50.0), i.hi.min(50.0));
        (0..=40).map(|n| lo + (hi - lo) * f64::from(n) / 40.0).filter(|x| i.contains(*x)).collect()
    }

    #[test]
    fn arithmetic_encloses_every_sample() {
        let intervals = [
            Interval::closed(-2.0, 3.0),
            Interval::open(0.0, 1.0),
            Interval::closed(-5.0, -1.0),
            Interval::NON_NEGATIVE,
            Interval::point(0.0),
            Interval::ALL,
        ];
        let rounded = |i: Interval, x: f64| i.contains(x) || (x - i.lo).abs() < 1e-9 || (x - i.hi).abs() < 1e-9;
        for a in intervals {
            for x in samples(a) {
                assert!(rounded(a.abs(), x.abs()), "|{x}| of {a}");
                assert!(rounded(a.powi(2), x * x), "{x}^2 of {a}");
                assert!(rounded(a.powi(3), x * x * x), "{x}^3 of {a}");
                for b in intervals {
                    for y in samples(b) {
                        assert!(rounded(a + b, x + y), "{x} + {y} of {a} {b}");
                        assert!(rounded(a - b, x - y), "{x} - {y} of {a} {b}");
                        assert!(rounded(a * b, x * y), "{x} * {y} of {a} {b}");
                        assert!(rounded(a.max(b), x.max(y)), "max({x}, {y}) of {a} {b}");
                        assert!(rounded(a.min(b), x.min(y)), "min({x}, {y}) of {a} {b}");
                        if y != 0.0 {
                            assert!(rounded(a / b, x / y), "{x} / {y} of {a} {b}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn open_ends_survive_products_and_sums() {
        let positive = Interval::ALL.increasing(f64::exp);
        assert!(positive.above(0.0) && (positive * positive).above(0.0) && (positive + positive).above(0.0));
        assert!(!(positive * Interval::UNIT).above(0.0));
        assert!((Interval::NON_NEGATIVE + positive).above(0.0));
        assert_eq!(format!("{}", positive), "(0, inf)");
    }
}
