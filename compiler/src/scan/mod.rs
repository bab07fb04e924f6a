//! Scans: from a recurrence over tokens to chunks.
//!
//! [`split_scans`] replaces every scan by one node for each strongly connected part of its states, each a recurrence by
//! itself that emits pure reads. [`classify_scans`] finds for each the algebra that lets it run in parallel:
//!
//! - [`ScanClass::Chunk`]: S <- diag(alpha) S + b (a^T S) + k v^T, rank-one updates under a decay, read by r = q^T S. Within a
//!   chunk of C tokens this is a few C x C products, masks and one triangular solve ([`Form`], `lower_chunk`);
//! - [`ScanClass::Elementwise`]: every element of the state evolves independently, so that all run in parallel;
//! - [`ScanClass::Sequential`]: all others, token by token, with the reason.
//!
//! Parts that share their decay, a write key and a read vector run in one loop, as [C | n] would: [`Classes::loops`].
//!
//! Two states that rotate into each other by an angle are one state of complex numbers, whose angles move to keys and queries.
//!
//! Decays of a chunk are sums of logarithms if a logarithm is known by rule or by range. A decay per head that may be near 0 or change sign
//! has none that keeps the gradient's digits: it is multiplied, D_ij = a_i D_{i-1,j}, and never divided by.
//!
//! The smallest example, a decayed sum `S = a * S + k * v` read by `sum[K](q * S)` with a = exp(g), g <= 0: with
//! G_i the sum of g over the chunk's rows up to i, row i reads exp(G_i) q_i^T S_0 + sum over j <= i of
//! exp(G_i - G_j) (q_i . k_j) v_j, and the next chunk starts from exp(G_C) S_0 + sum of exp(G_C - G_j) k_j v_j^T.

mod algebra;
mod analysis;
mod check;
mod chunk;
mod classify;
mod derive;
mod derive_backward;
mod derive_turned;
mod drafts;
mod evaluate;
mod factors;
mod form;
mod join;
mod nodes;
mod normal;
mod operands;
mod print;
mod rate;
mod rotation;
mod split;
mod stack;
mod tile;
mod turned;

pub use analysis::Scans;
pub use check::check_form;
pub use chunk::{ChunkEnv, ChunkResult, ChunkStart, lower_chunk};
pub use classify::{Classes, Elementwise, Part, Reason, ScanClass, classify_scans};
pub use derive::{Derivation, derive};
pub use form::{Decay, Delta, Event, Form, Read, Rotation, Scaled, Seen, Side, Sight};
pub use print::print_classes;
pub(crate) use rotation::is_part_axis;
pub(crate) use split::Origin;
pub use split::split_scans;
pub(crate) use turned::stacked;
