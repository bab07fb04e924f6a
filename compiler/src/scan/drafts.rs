//! Updates of a token as drafts of events: with as few distinct keys as their factors allow, and joined where one key is written at one
//! time.

use super::algebra::{Factor, Product, Ref};
use super::normal::Normalizer;
use crate::graph::{BinaryOp, Op, UnaryOp};

/// A product, split by whether its factors have key axes.
#[derive(Clone, Debug)]
pub(super) struct Vector {
    /// Factors without a key axis, and the coefficient.
    pub scale: Product,
    /// Factors with a key axis.
    pub core: Vec<Factor>,
}

/// An event whose vectors are still products.
pub(super) struct Draft {
    pub step: usize,
    pub key: Vector,
    pub delta: Option<Vector>,
    /// Written values, each with the step that writes it.
    pub values: Vec<(usize, Product)>,
}

impl Normalizer<'_> {
    fn vector(&self, product: &Product) -> Vector {
        let factors = product.factors.iter().map(|f| self.operands.canonical_factor(f));
        let (core, scale) = factors.partition(|f| self.has_key(f));
        Vector { scale: Product { c: product.c, factors: scale }, core }
    }

    /// The vector with more and more factors without a key axis moved out of its core: `beta * k`, then `k`.
    fn cores(&self, vector: &Vector) -> Vec<Vector> {
        let mut cores = vec![vector.clone()];
        while let Some(Vector { scale, core }) = cores.last()
            && let [Factor::Plain(r)] = core.as_slice()
        {
            let operands = self.algebra.operands(*r);
            let mut scale = scale.clone();
            let inner = match &self.algebra.node(*r).op {
                Op::Unary(UnaryOp::Neg) => {
                    scale.c = -scale.c;
                    operands[0]
                }
                Op::Expand(_) => operands[0],
                Op::Binary(BinaryOp::Mul) => {
                    let plain = |r: Ref| Factor::Plain(self.operands.canonical(r));
                    let (a, b) = (self.has_key(&plain(operands[0])), self.has_key(&plain(operands[1])));
                    let (key, other) = match (a, b) {
                        (true, false) => (operands[0], operands[1]),
                        (false, true) => (operands[1], operands[0]),
                        _ => break,
                    };
                    match self.algebra.number(other) {
                        Some(c) => scale.c *= c,
                        None => scale.factors.push(plain(other)),
                    }
                    key
                }
                _ => break,
            };
            if !self.has_key(&Factor::Plain(inner)) {
                break;
            }
            let core = vec![Factor::Plain(self.operands.canonical(inner))];
            cores.push(Vector { scale, core });
        }
        cores
    }

    /// Moves vectors to the largest core that all of them have; leaves them unchanged if there is none.
    fn share(&self, vectors: &mut [&mut Vector]) -> bool {
        let chains: Vec<Vec<Vector>> = vectors.iter().map(|v| self.cores(v)).collect();
        let Some(first) = chains.first() else { return false };
        for candidate in first {
            let found: Option<Vec<&Vector>> =
                chains.iter().map(|chain| chain.iter().find(|v| v.core == candidate.core)).collect();
            if let Some(found) = found {
                let found: Vec<Vector> = found.into_iter().cloned().collect();
                vectors.iter_mut().zip(found).for_each(|(v, f)| **v = f);
                return true;
            }
        }
        false
    }

    /// Unifies the key that each delta reads and writes, and the equal keys of plain writes.
    fn share_in_turn(&self, drafts: &mut [Draft]) {
        for d in 0..drafts.len() {
            let Draft { key, delta: Some(read), .. } = &mut drafts[d] else { continue };
            self.share(&mut [read, key]);
            let core = key.core.clone();
            for write in drafts.iter_mut().filter(|w| w.delta.is_none()) {
                if let Some(shorter) = self.cores(&write.key).into_iter().find(|v| v.core == core) {
                    write.key = shorter;
                }
            }
        }
    }

    /// The updates in order, joined if they have one key and one time.
    pub(super) fn drafts(&self, decays: &[usize]) -> Vec<Draft> {
        let mut drafts: Vec<Draft> = Vec::new();
        for (s, step) in self.steps.iter().enumerate() {
            for (by, _, key) in &step.deltas {
                let (read, write) = (self.vector(key), self.vector(by));
                drafts.push(Draft { step: s, key: write, delta: Some(read), values: Vec::new() });
            }
            for write in &step.writes {
                let Vector { scale, core } = self.vector(write);
                let key = Vector { scale: Product::one(), core };
                drafts.push(Draft { step: s, key, delta: None, values: vec![(s, scale)] });
            }
        }
        // one key for everything read and written; else one for each delta and the values written with it
        let mut all: Vec<&mut Vector> = Vec::new();
        for draft in &mut drafts {
            all.extend(draft.delta.as_mut());
            all.push(&mut draft.key);
        }
        if !self.share(&mut all) {
            self.share_in_turn(&mut drafts);
        }
        for draft in &mut drafts {
            // factors of the key move to its cofactors
            let scale = std::mem::replace(&mut draft.key.scale, Product::one());
            if let Some(read) = &mut draft.delta {
                read.scale = read.scale.and(&scale);
            }
            draft.values.iter_mut().for_each(|v| v.1 = v.1.and(&scale));
        }
        let mut joined: Vec<Draft> = Vec::new();
        for draft in drafts {
            let target = joined.iter_mut().rev().find(|d| {
                d.delta.is_some()
                    && draft.delta.is_none()
                    && d.key.core == draft.key.core
                    && self.together(d.step, draft.step, decays)
            });
            match target {
                Some(target) => target.values.extend(draft.values),
                None => joined.push(draft),
            }
        }
        joined
    }

    /// Whether nothing reads the state between the two steps or rescales its keys there.
    fn together(&self, first: usize, second: usize, decays: &[usize]) -> bool {
        let read = |version: usize| version > first && version <= second;
        let by_delta = (first + 1..=second).any(|s| !self.steps[s].deltas.is_empty());
        let by_emit = self.readings.iter().any(|r| read(r.version));
        let between: Vec<usize> = decays.iter().copied().filter(|s| *s > first && *s <= second).collect();
        let rescaled = between.iter().any(|s| self.keyed(*s)) || !between.is_empty() && self.seen_midway(first, decays);
        !by_delta && !by_emit && !rescaled
    }
}
