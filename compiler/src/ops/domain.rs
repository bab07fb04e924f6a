//! Domains in which a function and its derivative are finite.

use super::Interval;

/// Largest x for which e^x fits f32: the logarithm of its largest number.
pub(crate) const EXP_MAX: f64 = 88.72;
/// Bound up to which e^x is far from overflowing.
const EXP_SAFE: f64 = 80.0;

/// Operands at which a function is defined and finite with its derivative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Domain {
    /// Everywhere.
    All,
    /// Above the bound, which is a pole.
    Above(f64),
    /// From the bound on, at which the derivative has a pole.
    From(f64),
    /// Other than 0.
    NonZero,
    /// Between two numbers; beyond, the function overflows f32.
    Within(f64, f64),
    /// Defined everywhere, but beyond [`EXP_MAX`] it overflows f32.
    Exponent,
}

/// Position of an operand's range relative to a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meets {
    /// It lies inside.
    Inside,
    /// Some of it may lie outside.
    Partly,
    /// It lies outside.
    Outside,
}

impl Domain {
    /// Whether there is an operand of moderate size at which the function or its derivative is not finite.
    pub fn has_pole(self) -> bool {
        match self {
            Self::Above(_) | Self::From(_) | Self::NonZero => true,
            Self::All | Self::Within(..) | Self::Exponent => false,
        }
    }

    /// Whether function and derivative are finite in the whole interval.
    pub(crate) fn is_regular(self, x: Interval) -> bool {
        match self {
            Self::All => true,
            Self::Above(bound) | Self::From(bound) => x.above(bound),
            Self::NonZero => !x.contains(0.0),
            Self::Within(low, high) => x.within(low, high),
            Self::Exponent => x.at_most(EXP_SAFE),
        }
    }

    /// An operand at which function and derivative are finite.
    pub(crate) fn regular(self) -> f64 {
        match self {
            Self::All | Self::Exponent => 0.0,
            Self::Above(_) | Self::From(_) | Self::NonZero | Self::Within(..) => 1.0,
        }
    }

    /// Position of an interval relative to the domain.
    pub(crate) fn meets(self, x: Interval) -> Meets {
        let (inside, outside) = match self {
            Self::All => (true, false),
            Self::Above(bound) => (x.above(bound), x.hi <= bound),
            Self::From(bound) => (x.lo >= bound, (-x).above(-bound)),
            Self::NonZero => (!x.contains(0.0), x == Interval::point(0.0)),
            Self::Within(low, high) => (x.within(low, high), x.lo > high || x.hi < low),
            Self::Exponent => (x.hi <= EXP_MAX, x.lo > EXP_MAX),
        };
        match (inside, outside) {
            (_, true) => Meets::Outside,
            (true, _) => Meets::Inside,
            _ => Meets::Partly,
        }
    }

    /// Description of the required operand.
    pub(crate) fn wanted(self) -> String {
        match self {
            Self::All => "any number".into(),
            Self::Above(0.0) => "positive".into(),
            Self::Above(bound) => format!("above {bound}"),
            Self::From(bound) => format!("at least {bound}"),
            Self::NonZero => "other than 0".into(),
            Self::Within(low, high) => format!("between {low} and {high}"),
            Self::Exponent => "at most 88, so that it fits f32".into(),
        }
    }
}
