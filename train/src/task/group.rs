//! State tracking: the running product in a permutation group (arXiv 2404.08819), parity being S2.
//!
//! The token at t is a group element x_t, and the output there must be x_0 x_1 ... x_t. Elements are
//! numbered in the lexicographic order of their permutations, 0 being the identity; so parity is the
//! exclusive or of bits. Training rows are packed with documents of `low` to `high` tokens (the last one
//! cut where the row ends); a validation or test row is one document of `test_low` to `test_high` tokens, unscored
//! behind its end, so that the score measures lengths never trained on.
//!
//! With `grow` = n the longest document of a training batch grows from `low` to `high` over the first n
//! batches: short products are learned first, and long ones are then a small step.

use super::{Draw, Part, Row, Rule, Settings, Synthetic, Task};
use crate::random::Stream;
use archc_compiler::diag::Diagnostic;
use std::sync::Arc;

struct Product {
    /// `table[a][b]` is the product a b.
    table: Vec<Vec<usize>>,
    low: usize,
    high: usize,
    test_low: usize,
    test_high: usize,
    grow: usize,
}

/// `parity` (degree 2), `s3`, `s5`: low 3, high 40, test_low 40, test_high 256, grow 0.
pub fn product(mut settings: Settings<'_>, degree: usize) -> Result<Arc<dyn Task>, Diagnostic> {
    let low = settings.whole("low", 3, 1, 1 << 16)?;
    let high = settings.whole("high", 40.max(low), low, 1 << 16)?;
    let test_low = settings.whole("test_low", high, 1, 1 << 16)?;
    let test_high = settings.whole("test_high", 256.max(test_low), test_low, 1 << 20)?;
    let grow = settings.whole("grow", 0, 0, 1 << 30)?;
    let rule = Product { table: multiplication(degree), low, high, test_low, test_high, grow };
    Ok(Arc::new(Synthetic::new(settings.finish()?, rule)))
}

/// All permutations of 0..degree in lexicographic order.
fn permutations(degree: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for _ in 0..degree {
        all = all
            .into_iter()
            .flat_map(|start: Vec<usize>| {
                (0..degree).filter(|i| !start.contains(i)).collect::<Vec<_>>().into_iter().map(move |i| {
                    let mut longer = start.clone();
                    longer.push(i);
                    longer
                })
            })
            .collect();
    }
    all
}

/// The table of (a b)(i) = a(b(i)).
fn multiplication(degree: usize) -> Vec<Vec<usize>> {
    let elements = permutations(degree);
    let product = |a: &[usize], b: &[usize]| -> Vec<usize> { b.iter().map(|&i| a[i]).collect() };
    let number = |p: Vec<usize>| elements.binary_search(&p).expect("a product of permutations is one of them");
    elements.iter().map(|a| elements.iter().map(|b| number(product(a, b))).collect()).collect()
}

impl Product {
    fn longest(&self, index: u64) -> usize {
        if index >= self.grow as u64 {
            return self.high;
        }
        self.low + ((self.high - self.low) as u64 * index / self.grow as u64) as usize
    }

    fn document(&self, length: usize, room: usize, row: &mut Row, stream: &mut Stream) {
        let mut product = 0;
        for place in 0..length.min(room) {
            let element = stream.below(self.table.len());
            product = self.table[product][element];
            row.ask(element, product);
            if place == 0 {
                row.start_document();
            }
        }
    }
}

impl Rule for Product {
    fn vocab(&self) -> usize {
        self.table.len()
    }

    fn chance(&self) -> f64 {
        1.0 / self.table.len() as f64
    }

    fn len(&self, part: Part) -> usize {
        if part == Part::Train { self.high } else { self.test_high }
    }

    fn row(&self, draw: Draw, stream: &mut Stream) -> Row {
        let mut row = Row::default();
        let len = self.len(draw.part);
        if draw.part == Part::Train {
            while row.tokens.len() < len {
                let length = stream.between(self.low, self.longest(draw.index));
                let room = len - row.tokens.len();
                self.document(length, room, &mut row, stream);
            }
        } else {
            let length = stream.between(self.test_low, self.test_high);
            self.document(length, len, &mut row, stream);
            while row.tokens.len() < len {
                row.tell(0);
            }
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_groups() {
        for (degree, order) in [(2, 2), (3, 6), (5, 120)] {
            let table = multiplication(degree);
            assert_eq!(table.len(), order);
            for (a, row) in table.iter().enumerate() {
                assert_eq!((table[0][a], row[0]), (a, a));
                let mut row = row.clone();
                row.sort_unstable();
                assert_eq!(row, (0..order).collect::<Vec<_>>(), "a row is a permutation");
            }
            let stride = (order / 7).max(1);
            for a in (0..order).step_by(stride) {
                for b in 0..order {
                    for c in 0..order {
                        assert_eq!(table[table[a][b]][c], table[a][table[b][c]]);
                    }
                }
            }
        }
        assert_eq!(multiplication(2), [[0, 1], [1, 0]]);
        let s3 = multiplication(3);
        assert!((0..6).any(|a| (0..6).any(|b| s3[a][b] != s3[b][a])), "S3 is not commutative");
    }
}
