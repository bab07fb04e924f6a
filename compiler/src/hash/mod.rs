//! Identity of programs: a canonical form and structural hashes.
//!
//! Two programs have the same [`canonical_hash`] if they differ only in names, places, inlining, the order
//! of statements, the order of commutative operands, duplicated pure subexpressions, or rewritings of
//! `terms`: `a - b` as `a + -b`, `x * x` as `x ^ 2`, a double negation, a factor 1 or a term 0, a mean as
//! a scaled sum, factors inside or outside of a sum, `1 - sigmoid(x)` as `sigmoid(-x)`, constants folded,
//! the same expression inside or outside of a scan's body. The [`family_hash`] also leaves out sizes and
//! numbers other than 0, 1 and -1.
//!
//! Method: `terms` rewrites the graph to hash-consed terms (sums and products flattened, as multisets), in
//! which pure terms are shared and *sites* (parameters, draws, dropout, states) never are; then `refine`
//! colours terms and axes by Weisfeiler-Lehman refinement along definitions and uses, until the colours
//! split no further. So a site is identified by the origin and the uses of its value, never by its
//! name: swap `q` and `k` in a whole program and nothing changes; swap them in the score's scale only and
//! it does. The hash is that of the sorted colours. (Refinement does not distinguish all graphs, only all
//! that are not regular in a way that no program here is.)
//!
//! The smallest example: `output x + x` and `let y = 2 * x; output y` are the same term, `sum(2 x)`.

mod algebra;
mod mix;
mod refine;
mod terms;

use crate::graph::{Graph, ParamId};
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::fmt;

/// 128 bits, shown as hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 16]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Hash {
    fn of(parts: impl IntoIterator<Item = u128>) -> Self {
        let mut sha = Sha256::new();
        parts.into_iter().for_each(|p| sha.update(p.to_le_bytes()));
        let digest = sha.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(bytes)
    }
}

/// Hash that is equal for programs that compute the same in the same way.
pub fn canonical_hash(graph: &Graph) -> Hash {
    hash(graph, true)
}

/// Hash that is equal for programs that differ in sizes and numbers only.
pub fn family_hash(graph: &Graph) -> Hash {
    hash(graph, false)
}

fn hash(graph: &Graph, sizes: bool) -> Hash {
    let terms = terms::build(graph);
    let mut colors = refine::refine(graph, &terms, sizes).all();
    colors.sort_unstable();
    Hash::of(colors)
}

/// Each parameter with the hash of its role: the same in every way to write a program, independent of its
/// name. Parameters that the refinement cannot distinguish (they are interchangeable) are numbered in
/// order of declaration. Parameters that no output needs have no role.
pub fn canonical_roles(graph: &Graph) -> Vec<(ParamId, Hash)> {
    let terms = terms::build(graph);
    let colors = refine::refine(graph, &terms, true);
    let mut roles = Vec::new();
    let mut seen: Vec<u128> = Vec::new();
    for i in 0..graph.params.len() {
        let id = ParamId(i as u32);
        let Some(color) = terms.param(id).and_then(|t| colors.term(t)) else { continue };
        let earlier = seen.iter().filter(|c| **c == color).count();
        seen.push(color);
        roles.push((id, Hash::of([color, earlier as u128])));
    }
    roles
}

#[cfg(test)]
mod tests;
