//! The ops of a fused loop: the pairs that run in one pass, and the corresponding kernel functions.

use archc_compiler::graph::{BinaryOp, UnaryOp};
use archc_compiler::plan::{Fold, Fused, FusedOp};
use archc_kernels::elementwise::{Arith, Binary, Unary};

/// Finds for each op the later op, its only reader, into which it is fused: a sum, difference or product fuses into another of these over
/// the same dimensions, a product also into a sum over dimensions. An op has at most one other fused into it, and is then not fused itself.
pub(super) fn waiting(kernel: &Fused, of: &[Vec<usize>], read: &[usize]) -> Vec<Option<usize>> {
    let code = &kernel.code;
    let mut waits = vec![None; code.len()];
    let mut whole = vec![false; code.len()];
    for (i, instr) in code.iter().enumerate() {
        let fits = |x: usize, only: Option<Arith>| match code[x].op {
            FusedOp::Binary(op, ..) => {
                arith(op).is_some_and(|op| only.is_none_or(|o| o == op))
                    && read[x] == 1
                    && !whole[x]
                    && kernel.outputs.iter().all(|o| o.0 != x)
            }
            _ => false,
        };
        let part = match instr.op {
            FusedOp::Binary(op, a, b) if a != b && arith(op).is_some() => {
                [a, b].into_iter().find(|x| of[*x] == of[i] && fits(*x, None))
            }
            FusedOp::Fold(Fold::Sum, x) if fits(x, Some(Arith::Mul)) => Some(x),
            _ => None,
        };
        if let Some(x) = part {
            waits[x] = Some(i);
            whole[i] = true;
        }
    }
    waits
}

pub(super) fn arith(op: BinaryOp) -> Option<Arith> {
    match op {
        BinaryOp::Add => Some(Arith::Add),
        BinaryOp::Sub => Some(Arith::Sub),
        BinaryOp::Mul => Some(Arith::Mul),
        _ => None,
    }
}

pub(super) fn unary(op: UnaryOp) -> Unary {
    match op {
        UnaryOp::Neg => Unary::Neg,
        UnaryOp::Abs => Unary::Abs,
        UnaryOp::Sign => Unary::Sign,
        UnaryOp::Floor => Unary::Floor,
        UnaryOp::Exp => Unary::Exp,
        UnaryOp::Expm1 => Unary::Expm1,
        UnaryOp::Log => Unary::Log,
        UnaryOp::Log1p => Unary::Log1p,
        UnaryOp::Log2 => Unary::Log2,
        UnaryOp::Sqrt => Unary::Sqrt,
        UnaryOp::Rsqrt => Unary::Rsqrt,
        UnaryOp::Sigmoid => Unary::Sigmoid,
        UnaryOp::Tanh => Unary::Tanh,
        UnaryOp::Silu => Unary::Silu,
        UnaryOp::Gelu => Unary::Gelu,
        UnaryOp::Relu => Unary::Relu,
        UnaryOp::Elu => Unary::Elu,
        UnaryOp::Softplus => Unary::Softplus,
        UnaryOp::Sin => Unary::Sin,
        UnaryOp::Cos => Unary::Cos,
        UnaryOp::Atan => Unary::Atan,
        UnaryOp::Erf => Unary::Erf,
        UnaryOp::Not => Unary::Not,
        UnaryOp::Powi(2) => Unary::Square,
        UnaryOp::Powi(-1) => Unary::Recip,
        UnaryOp::Powi(n) => Unary::Powi(n),
    }
}

pub(super) fn binary(op: BinaryOp) -> Binary {
    match op {
        BinaryOp::Add => Binary::Add,
        BinaryOp::Sub => Binary::Sub,
        BinaryOp::Mul => Binary::Mul,
        BinaryOp::Div => Binary::Div,
        BinaryOp::Rem => Binary::Rem,
        BinaryOp::Pow => Binary::Pow,
        BinaryOp::Min => Binary::Min,
        BinaryOp::Max => Binary::Max,
        BinaryOp::Eq => Binary::Eq,
        BinaryOp::Ne => Binary::Ne,
        BinaryOp::Lt => Binary::Lt,
        BinaryOp::Le => Binary::Le,
        BinaryOp::Gt => Binary::Gt,
        BinaryOp::Ge => Binary::Ge,
    }
}
