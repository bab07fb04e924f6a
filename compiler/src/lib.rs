//! The compiler: source -> ast -> hir -> graph -> checked graph -> lowered graph -> joint graph -> plan.
//!
//! Pure: (sources, options) -> (output, diagnostics). No IO, no environment, no clock, no device.

pub mod checks;
pub mod dag;
pub mod diag;
mod driver;
pub mod elaborate;
pub mod gradient;
pub mod graph;
pub mod hash;
pub mod hir;
pub mod lower;
pub mod lowered;
pub mod ops;
pub mod passes;
pub mod plan;
pub mod scan;
pub mod source;
pub mod stdlib;
mod target;
pub mod work;

pub use driver::{
    COST_TOKENS, Call, Compilation, Options, Purpose, Stage, compile, joint, offers, plan_for, planned, targets,
};
pub use elaborate::settable;
pub use elaborate::{DEFAULT_D, Sizes};
pub use target::Target;

/// Whether a code is that of a warning of the compiler.
pub(crate) fn is_warning(code: &str) -> bool {
    code.starts_with('W') && codes().iter().any(|known| known.code == code)
}

/// Explanations of the grammar's and the compiler's codes, in order of code.
pub fn codes() -> Vec<diag::Code> {
    let syntax = archc_grammar::CODES.iter().map(|(code, title, text)| diag::Code { code, title, text });
    let mut codes: Vec<diag::Code> = syntax.collect();
    for table in [hir::CODES, elaborate::CODES, checks::CODES] {
        codes.extend_from_slice(table);
    }
    codes.sort_by_key(|c| c.code);
    codes
}
