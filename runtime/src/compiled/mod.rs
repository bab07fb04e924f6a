//! What every device that runs lowered graphs shares.

mod leaves;

pub use leaves::Leaves;
