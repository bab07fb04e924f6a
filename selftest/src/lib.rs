//! The self-test: any device against the reference in f64, on the library and on random programs.
//!
//! A device is right if it computes what a program says, on every program, not only on those that somebody thought of. So programs are
//! drawn ([`generate`]), run for batches that are drawn as well ([`setting`]), and held ([`battery`]) to what the language promises:
//! outputs and gradients are those of the reference up to rounding ([`case`], [`agree`]), the same calls give the same bits, a sequence in pieces
//! is the sequence, and nothing sees the future, another document or another sequence. Some programs hold the reference itself against
//! differences of its values ([`differences`]). What fails is made small ([`reduce`]).
//!
//! The tests of the devices compare with the same functions.

pub mod agree;
pub mod batches;
pub mod battery;
pub mod case;
pub mod differences;
pub mod generate;
pub mod pieces;
pub mod reduce;
pub mod run;
pub mod setting;
