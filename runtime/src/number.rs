//! Element types of tensors: f32 and f64, and their storage.

use std::borrow::Cow;
use std::fmt::Debug;

/// An element type of tensors: f32 or f64.
pub trait Number: Copy + Debug + Default + PartialEq + Send + Sync + sealed::Sealed + 'static {
    /// The nearest number of this type.
    fn nearest(x: f64) -> Self;

    /// The same number as f64.
    fn exact(self) -> f64;

    /// The part of `x` that is lost when it is rounded to this type, itself rounded; 0 where the rounded number is not finite.
    fn lost(x: f64) -> Self;

    /// Whether it is neither infinite nor NaN.
    fn finite(self) -> bool;

    /// Converts to f32, rounding to nearest. Numbers that are f32 already stay as they are, owned or borrowed.
    fn singles(numbers: Cow<'_, [Self]>) -> Cow<'_, [f32]>;

    /// Converts to f64. Numbers that are f64 already stay as they are, owned or borrowed.
    fn doubles(numbers: Cow<'_, [Self]>) -> Cow<'_, [f64]>;

    /// Converts from another type, rounding to nearest. Numbers that have this type already stay as they are, owned or borrowed.
    fn converted<N: Number>(numbers: Cow<'_, [N]>) -> Cow<'_, [Self]>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

impl Number for f32 {
    fn nearest(x: f64) -> Self {
        count();
        x as Self
    }

    fn exact(self) -> f64 {
        count();
        self.into()
    }

    fn lost(x: f64) -> Self {
        count();
        let high = f64::from(x as Self);
        if high.is_finite() { (x - high) as Self } else { 0.0 }
    }

    fn finite(self) -> bool {
        self.is_finite()
    }

    fn singles(numbers: Cow<'_, [Self]>) -> Cow<'_, [f32]> {
        numbers
    }

    fn doubles(numbers: Cow<'_, [Self]>) -> Cow<'_, [f64]> {
        numbers.iter().map(|x| x.exact()).collect()
    }

    fn converted<N: Number>(numbers: Cow<'_, [N]>) -> Cow<'_, [Self]> {
        N::singles(numbers)
    }
}

impl Number for f64 {
    fn nearest(x: f64) -> Self {
        x
    }

    fn exact(self) -> f64 {
        self
    }

    fn lost(_: f64) -> Self {
        0.0
    }

    fn finite(self) -> bool {
        self.is_finite()
    }

    fn singles(numbers: Cow<'_, [Self]>) -> Cow<'_, [f32]> {
        numbers.iter().map(|x| f32::nearest(*x)).collect()
    }

    fn doubles(numbers: Cow<'_, [Self]>) -> Cow<'_, [f64]> {
        numbers
    }

    fn converted<N: Number>(numbers: Cow<'_, [N]>) -> Cow<'_, [Self]> {
        N::doubles(numbers)
    }
}

/// Elements of a tensor, owned or borrowed: `Vec<f64>`, `Vec<f32>`, `&[f64]` or `&[f32]`.
pub trait Numbers {
    /// The type of an element.
    type Number: Number;

    /// The elements, row-major.
    fn numbers(&self) -> &[Self::Number];
}

impl<N: Number> Numbers for Vec<N> {
    type Number = N;

    fn numbers(&self) -> &[N] {
        self
    }
}

impl<N: Number> Numbers for &[N] {
    type Number = N;

    fn numbers(&self) -> &[N] {
        self
    }
}

/// Copies numbers to another type, or to the same one.
pub(crate) fn copied<A: Number, B: Number>(numbers: &[A]) -> Vec<B> {
    B::converted(Cow::Borrowed(numbers)).into_owned()
}

/// Converts numbers to another type; moves them if they have this one.
pub(crate) fn moved<A: Number, B: Number>(numbers: Vec<A>) -> Vec<B> {
    B::converted(Cow::Owned(numbers)).into_owned()
}

/// Counts a conversion between f32 and f64, in tests of this crate only.
#[inline]
fn count() {
    #[cfg(test)]
    counting::COUNT.with(|count| count.set(count.get() + 1));
}

#[cfg(test)]
pub(crate) mod counting {
    use std::cell::Cell;

    thread_local! {
        /// Number of conversions between f32 and f64 on this thread.
        pub static COUNT: Cell<usize> = const { Cell::new(0) };
    }

    /// The number of conversions between f32 and f64 that a function makes on this thread, and its result.
    pub fn conversions<T>(f: impl FnOnce() -> T) -> (usize, T) {
        let before = COUNT.get();
        let done = f();
        (COUNT.get() - before, done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_what_it_loses_are_the_whole() {
        for x in [0.0, 1.0 / 3.0, -1e30, 1.0 + 2f64.powi(-40), 1e-44, 16_777_217.0] {
            let joined = f32::nearest(x).exact() + f32::lost(x).exact();
            assert!((joined - x).abs() <= x.abs() * 2f64.powi(-48) + f64::from(f32::from_bits(1)), "{x}: {joined}");
        }
        assert_eq!((f32::nearest(1e300), f32::lost(1e300)), (f32::INFINITY, 0.0));
        assert_eq!((f64::nearest(0.1), f64::lost(0.1)), (0.1, 0.0));
    }

    #[test]
    fn conversions_to_the_same_type_move() {
        let numbers = vec![1.5f32, 2.0];
        let place = numbers.as_ptr();
        let (made, same) = counting::conversions(|| moved::<f32, f32>(numbers));
        assert_eq!((made, same.as_ptr()), (0, place));
        assert_eq!(counting::conversions(|| copied::<f32, f32>(&same)), (0, vec![1.5, 2.0]));
        assert_eq!(counting::conversions(|| moved::<f32, f64>(same)), (2, vec![1.5, 2.0]));
        assert_eq!(copied::<f64, f32>(&[0.1]), [0.1f32]);
    }
}
