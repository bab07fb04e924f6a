//! Carried values in the arithmetic of an executor and the layout of a graph, with room for the tokens that come next.

use super::leaves::permuted;
use crate::number::moved;
use crate::session::{Number, Tensor};
use archc_compiler::lowered::DimId;

/// A carried value: numbers `[B, axes]`, or `[B, tokens, axes]` with room for more tokens in each row. Sums have a low part too: the
/// rounding errors of their numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Carried<N = f64> {
    /// Dimensions in the order of the shape; empty where they are not known.
    pub(super) dims: Vec<DimId>,
    shape: Vec<usize>,
    /// The axis of tokens. Its entries are entries `start..start + tokens` of the `room` ones in each row of the storage.
    axis: usize,
    start: usize,
    room: usize,
    high: Vec<N>,
    /// As long as `high`, or empty for zeros.
    low: Vec<N>,
}

/// Which of its two parts a carried value is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The numbers.
    High,
    /// Their rounding errors.
    Low,
}

/// Numbers `[B, tokens, axes]`, or of one axis.
impl<N: Number> From<Tensor<Vec<N>>> for Carried<N> {
    fn from(tensor: Tensor<Vec<N>>) -> Self {
        let axis = usize::from(tensor.shape.len() > 1);
        Self::new(Vec::new(), tensor, Vec::new(), axis)
    }
}

impl<N: Number> Carried<N> {
    /// A value with an axis of tokens. `low` is empty or has as many numbers; it is dropped if they are all 0.
    pub(super) fn new(dims: Vec<DimId>, high: Tensor<Vec<N>>, mut low: Vec<N>, axis: usize) -> Self {
        if low.iter().all(|x| *x == N::default()) {
            low = Vec::new();
        }
        let room = high.shape.get(axis).copied().unwrap_or(1);
        Self { dims, shape: high.shape, axis, start: 0, room, high: high.data, low }
    }

    /// Numbers of a value in f64 and, where `N` does not hold them, their rounding errors.
    pub(super) fn split(dims: Vec<DimId>, tensor: &Tensor, axis: usize) -> Self {
        let high = tensor.data.iter().map(|x| N::nearest(*x)).collect();
        let low = tensor.data.iter().map(|x| N::lost(*x)).collect();
        Self::new(dims, Tensor { shape: tensor.shape.clone(), data: high }, low, axis)
    }

    /// The lengths of its axes.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of its tokens in each row.
    pub(super) fn tokens(&self) -> usize {
        self.shape.get(self.axis).copied().unwrap_or(1)
    }

    /// Numbers per token of a row.
    fn width(&self) -> usize {
        self.shape.iter().skip(self.axis + 1).product()
    }

    /// The numbers of the tokens in each row of a part.
    fn rows<'a>(&self, numbers: &'a [N]) -> impl Iterator<Item = &'a [N]> {
        let width = self.width();
        let (from, to) = (self.start * width, (self.start + self.tokens()) * width);
        numbers.chunks_exact((self.room * width).max(1)).map(move |row| &row[from..to])
    }

    /// The numbers of a part without unused room; empty for a low part of zeros.
    fn dense(&self, part: Part) -> Vec<N> {
        let numbers = self.part(part);
        let mut dense = Vec::with_capacity(numbers.len().min(self.shape.iter().product()));
        self.rows(numbers).for_each(|row| dense.extend_from_slice(row));
        dense
    }

    fn part(&self, part: Part) -> &[N] {
        match part {
            Part::High => &self.high,
            Part::Low => &self.low,
        }
    }

    /// The value in f64: the sums of both parts.
    pub(super) fn joined(&self) -> Tensor {
        let mut data = moved(self.dense(Part::High));
        data.iter_mut().zip(self.dense(Part::Low)).for_each(|(x, low): (&mut f64, N)| *x += low.exact());
        Tensor { shape: self.shape.clone(), data }
    }

    /// The value with its axes permuted: axis i of the result is axis `from[i]`. The axis of tokens stays where it is.
    pub(super) fn permuted(self, dims: Vec<DimId>, from: &[usize]) -> Self {
        if from.iter().enumerate().all(|(i, f)| i == *f) {
            return Self { dims, ..self };
        }
        let part = |part| permuted(Tensor { shape: self.shape.clone(), data: self.dense(part) }, from);
        let low = if self.low.is_empty() { Vec::new() } else { part(Part::Low).data };
        Self::new(dims, part(Part::High), low, self.axis)
    }

    /// Passes the numbers of a part to `put`, in order, piece by piece, for a leaf of `count` numbers; nothing for zeros.
    ///
    /// Where the leaf has room for more tokens, each sequence begins with copies of its first one. They are never visible; but unlike zeros
    /// they are values that the program can safely compute with.
    pub(super) fn read(&self, part: Part, count: usize, mut put: impl FnMut(&[N])) {
        let numbers = self.part(part);
        let all: usize = self.shape.iter().product();
        if numbers.is_empty() || all == 0 {
            return;
        }
        let width = self.width();
        let added = match self.axis {
            _ if all == count => 0,
            // rows are sequences
            1 => (count / (self.shape[0] * width)).saturating_sub(self.tokens()),
            _ => return,
        };
        for row in self.rows(numbers) {
            (0..added).for_each(|_| put(&row[..width]));
            put(row);
        }
    }

    /// Appends the tokens of `new` and keeps the last `count` of all; zeros stand before them where there are fewer. The storage is reused:
    /// one more token costs no copy of those before it, except when the room is used up.
    pub(super) fn extended(mut self, new: &Self, count: usize) -> Self {
        let (old, fresh) = (self.tokens(), new.tokens());
        let taken = fresh.min(count);
        let kept = (count - taken).min(old);
        let empty = count - taken - kept;
        let first = self.start + old - kept;
        let (room, start) = match first.checked_sub(empty) {
            Some(start) if start + count <= self.room => (self.room, start),
            _ => (self.room.max(with_room(count)), 0),
        };
        let rows = new.shape[..self.axis].iter().product();
        let to = Place { rows, width: new.width(), old: self.room, first, kept, room, start, empty, taken };
        let high = to.extended(std::mem::take(&mut self.high), new.rows(&new.high));
        let low = match (self.low.is_empty(), new.low.is_empty()) {
            (true, true) => Vec::new(),
            (true, false) => to.extended(vec![N::default(); rows * to.old * to.width], new.rows(&new.low)),
            (false, true) => to.extended(self.low, new.rows(&vec![N::default(); new.high.len()])),
            (false, false) => to.extended(self.low, new.rows(&new.low)),
        };
        self.shape[self.axis] = count;
        Self { start, room, high, low, ..self }
    }

    /// The same value without tokens.
    pub(super) fn none(&self) -> Self {
        let mut shape = self.shape.clone();
        shape[self.axis] = 0;
        let (dims, axis) = (self.dims.clone(), self.axis);
        Self { dims, shape, axis, start: 0, room: 0, high: Vec::new(), low: Vec::new() }
    }
}

/// The number of tokens to allocate for `tokens` of which more are to come: copies on allocating again are at most some per token.
fn with_room(tokens: usize) -> usize {
    tokens + (tokens / 4).max(tokens.min(64))
}

/// Where tokens come to lie in each row.
struct Place {
    rows: usize,
    /// Numbers per token.
    width: usize,
    /// Room of the row before, and the first token in it that is kept.
    old: usize,
    first: usize,
    kept: usize,
    /// Room of the row, the first token in it, and the number of zero tokens with which it begins.
    room: usize,
    start: usize,
    empty: usize,
    /// Number of new tokens: the last ones of those given.
    taken: usize,
}

impl Place {
    fn extended<'a, N: Number>(&self, mut numbers: Vec<N>, new: impl Iterator<Item = &'a [N]>) -> Vec<N> {
        let [first, kept, start, empty, taken] =
            [self.first, self.kept, self.start, self.empty, self.taken].map(|tokens| tokens * self.width);
        let (from, to) = (self.old * self.width, self.room * self.width);
        let at = start + empty;
        if from != to {
            let mut moved = vec![N::default(); self.rows * to];
            for (old, row) in numbers.chunks_exact(from.max(1)).zip(moved.chunks_exact_mut(to)) {
                row[at..at + kept].copy_from_slice(&old[first..first + kept]);
            }
            numbers = moved;
        } else if at != first {
            numbers.chunks_exact_mut(to).for_each(|row| row.copy_within(first..first + kept, at));
        }
        for (row, new) in numbers.chunks_exact_mut(to.max(1)).zip(new) {
            row[start..at].fill(N::default());
            row[at + kept..at + kept + taken].copy_from_slice(&new[new.len() - taken..]);
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries `first..` of an axis in the middle: two rows, two elements per entry.
    fn tensor(first: usize, count: usize) -> Tensor {
        let each = |row: usize| (0..count * 2).map(move |i| (100 * row + 2 * first + i) as f64);
        Tensor { shape: vec![2, count, 2], data: (0..2).flat_map(each).collect() }
    }

    fn tokens(first: usize, count: usize) -> Carried {
        tensor(first, count).into()
    }

    #[test]
    fn tokens_are_put_behind_those_before_them() {
        for (old, new, count) in
            [(3, 1, 4), (3, 1, 3), (3, 1, 2), (1, 3, 4), (5, 4, 2), (5, 1, 1), (4, 2, 0), (0, 2, 1)]
        {
            let have = tokens(0, old).extended(&tokens(old, new), count);
            let expected = tensor(old + new - count, count);
            assert_eq!(have.joined(), expected, "{old} and {new} tokens, the last {count}");
        }
        let padded = tokens(0, 1).extended(&tokens(1, 1), 3);
        assert_eq!(padded.joined().data, [0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 0.0, 0.0, 100.0, 101.0, 102.0, 103.0]);
        let begun = tokens(0, 1).none().extended(&tokens(0, 1), 2);
        assert_eq!(begun.joined().data, [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 100.0, 101.0]);
    }

    #[test]
    fn tokens_one_by_one_are_seldom_moved() {
        for most in [3, 40, usize::MAX] {
            let mut all = tokens(0, 1);
            let (mut moves, mut storage) = (0, all.high.as_ptr());
            for t in 1..2000 {
                let (start, count) = (all.start, (t + 1).min(most));
                all = all.extended(&tokens(t, 1), count);
                moves += usize::from(storage != all.high.as_ptr() || all.start < start);
                storage = all.high.as_ptr();
                assert_eq!(all.joined(), tensor(t + 1 - count, count), "{t}");
            }
            let size = all.tokens();
            assert!(moves <= 2000 / size.min(64) + 25, "{moves} moves of the last {size} tokens");
            assert!(all.room <= size + (size / 4).max(64), "room for {} tokens", all.room);
        }
    }

    #[test]
    fn both_parts_are_kept() {
        let sum = 1.0 + 2f64.powi(-30);
        let both = |data: Vec<f64>| Tensor { shape: vec![1, data.len(), 1], data };
        let split = |data: Vec<f64>| Carried::<f32>::split(Vec::new(), &both(data), 1);
        assert_eq!(split(vec![sum]).low, [2f32.powi(-30)]);
        assert!(split(vec![1.0]).low.is_empty(), "zeros take no memory");
        for (old, new) in [(sum, sum), (1.0, sum), (sum, 1.0), (1.0, 1.0)] {
            let all = split(vec![old]).extended(&split(vec![new]), 2);
            assert_eq!(all.joined().data, [old, new]);
            assert_eq!(all.extended(&split(vec![2.0]), 4).joined().data, [0.0, old, new, 2.0]);
        }
    }

    #[test]
    fn what_there_is_room_for_begins_with_copies() {
        let tensor = Tensor { shape: vec![2, 2, 1], data: vec![1.0, 2.0, 3.0, 4.0] };
        let value = Carried::from(tensor);
        let read = |part: Part, count: usize| {
            let mut all: Vec<f64> = Vec::new();
            value.read(part, count, |numbers| all.extend(numbers));
            all
        };
        assert_eq!(read(Part::High, 4), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(read(Part::High, 8), [1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 4.0]);
        assert!(read(Part::Low, 8).is_empty());
    }

    #[test]
    fn axes_are_permuted_with_their_parts() {
        let sum = |x: f64| x + 2f64.powi(-30);
        let tensor = Tensor { shape: vec![1, 2, 2, 3], data: (1..13).map(f64::from).map(sum).collect() };
        let value = Carried::<f32>::split(Vec::new(), &tensor, 1).permuted(Vec::new(), &[0, 1, 3, 2]);
        let order = [1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12].map(f64::from).map(sum);
        assert_eq!(value.joined(), Tensor { shape: vec![1, 2, 3, 2], data: order.to_vec() });
    }
}
