//! The self-test: any device against the reference in f64, on the library and on random programs.
//!
//! A device is correct if it computes the meaning of every program, not only of those that somebody thought of. Programs are therefore
//! drawn at random ([`generate`]), run on batches that are drawn as well ([`setting`]), and checked ([`battery`]) against the guarantees of
//! the language: outputs and gradients are those of the reference up to rounding ([`case`], [`agree`]), the same calls give the same bits,
//! a sequence run in pieces gives the results of the whole, and no output depends on later tokens, other documents or other sequences. For
//! some programs the reference itself is compared with differences of its values ([`differences`]). Failing programs are reduced
//! ([`reduce`]).
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
