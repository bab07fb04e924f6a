//! Reverse-mode derivatives of plain f64 code: each operation records its operands and its partial derivatives on a tape of its thread, and
//! one backward pass over the tape computes the derivatives of a number with respect to all inputs.

use std::cell::RefCell;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub, SubAssign};

/// The operands, as indices of entries, and partial derivatives of one operation; an operand that is not on the tape is entry 0 with
/// partial 0.
type Entry = [(u32, f64); 2];

thread_local! {
    static TAPE: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

/// A number on the tape, or a constant.
#[derive(Clone, Copy, Debug)]
pub struct Var {
    id: Option<u32>,
    /// Its value.
    pub value: f64,
}

/// An independent variable.
pub fn input(value: f64) -> Var {
    note(value, [(0, 0.0), (0, 0.0)])
}

/// A constant, without derivatives.
pub fn constant(value: f64) -> Var {
    Var { id: None, value }
}

/// Clears the tape.
pub fn clear() {
    TAPE.with_borrow_mut(Vec::clear);
}

/// The derivatives of a number with respect to others.
pub fn gradients(of: Var, by: &[Var]) -> Vec<f64> {
    TAPE.with_borrow(|tape| {
        let mut adjoint = vec![0.0; tape.len()];
        if let Some(id) = of.id {
            adjoint[id as usize] = 1.0;
        }
        for (id, entry) in tape.iter().enumerate().rev() {
            for (operand, partial) in entry {
                if *partial != 0.0 {
                    adjoint[*operand as usize] += partial * adjoint[id];
                }
            }
        }
        by.iter().map(|var| var.id.map_or(0.0, |id| adjoint[id as usize])).collect()
    })
}

fn note(value: f64, entry: Entry) -> Var {
    TAPE.with_borrow_mut(|tape| {
        tape.push(entry);
        Var { id: Some(u32::try_from(tape.len() - 1).expect("a tape of fewer than 2^32 operations")), value }
    })
}

/// Records a function of one or two numbers with its partial derivatives.
fn apply(value: f64, operands: [(Var, f64); 2]) -> Var {
    if operands.iter().all(|(var, _)| var.id.is_none()) {
        return constant(value);
    }
    note(value, operands.map(|(var, partial)| var.id.map_or((0, 0.0), |id| (id, partial))))
}

impl Var {
    fn map(self, value: f64, derivative: f64) -> Self {
        apply(value, [(self, derivative), (constant(0.0), 0.0)])
    }
    pub fn exp(self) -> Self {
        self.map(self.value.exp(), self.value.exp())
    }
    pub fn ln(self) -> Self {
        self.map(self.value.ln(), 1.0 / self.value)
    }
    pub fn sqrt(self) -> Self {
        self.map(self.value.sqrt(), 0.5 / self.value.sqrt())
    }
    pub fn sin(self) -> Self {
        self.map(self.value.sin(), self.value.cos())
    }
    pub fn cos(self) -> Self {
        self.map(self.value.cos(), -self.value.sin())
    }
    pub fn atan(self) -> Self {
        self.map(self.value.atan(), 1.0 / (1.0 + self.value * self.value))
    }
    pub fn tanh(self) -> Self {
        let y = self.value.tanh();
        self.map(y, 1.0 - y * y)
    }
    pub fn abs(self) -> Self {
        self.map(self.value.abs(), self.value.signum())
    }
    pub fn sigmoid(self) -> Self {
        let y = 1.0 / (1.0 + (-self.value).exp());
        self.map(y, y * (1.0 - y))
    }
    pub fn softplus(self) -> Self {
        self.map(self.value.exp().ln_1p(), 1.0 / (1.0 + (-self.value).exp()))
    }
    pub fn logsigmoid(self) -> Self {
        -(-self).softplus()
    }
    pub fn silu(self) -> Self {
        self * self.sigmoid()
    }
    /// e^x - 1.
    pub fn exp_m1(self) -> Self {
        self.map(self.value.exp_m1(), self.value.exp())
    }
    /// x^n for a whole n.
    pub fn powi(self, n: i32) -> Self {
        self.map(self.value.powi(n), f64::from(n) * self.value.powi(n - 1))
    }
    /// x^y for x > 0.
    pub fn pow(self, y: Var) -> Self {
        (y * self.ln()).exp()
    }
    /// The larger of the two.
    pub fn max(self, other: f64) -> Self {
        if self.value >= other { self } else { constant(other) }
    }
    /// The smaller of the two.
    pub fn min(self, other: f64) -> Self {
        if self.value <= other { self } else { constant(other) }
    }
}

impl Neg for Var {
    type Output = Self;
    fn neg(self) -> Self {
        self.map(-self.value, -1.0)
    }
}

impl Add for Var {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        apply(self.value + other.value, [(self, 1.0), (other, 1.0)])
    }
}

impl Sub for Var {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        apply(self.value - other.value, [(self, 1.0), (other, -1.0)])
    }
}

impl Mul for Var {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        apply(self.value * other.value, [(self, other.value), (other, self.value)])
    }
}

impl Div for Var {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let y = self.value / other.value;
        apply(y, [(self, 1.0 / other.value), (other, -y / other.value)])
    }
}

macro_rules! with_numbers {
    ($($trait:ident $method:ident),*) => {$(
        impl $trait<f64> for Var {
            type Output = Var;
            fn $method(self, other: f64) -> Var {
                $trait::$method(self, constant(other))
            }
        }
        impl $trait<Var> for f64 {
            type Output = Var;
            fn $method(self, other: Var) -> Var {
                $trait::$method(constant(self), other)
            }
        }
    )*};
}
with_numbers!(Add add, Sub sub, Mul mul, Div div);

impl AddAssign for Var {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Var {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl std::iter::Sum for Var {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(constant(0.0), |sum, next| sum + next)
    }
}
