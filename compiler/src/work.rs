//! Bound on the work of a compilation, counted in steps, not seconds: the same program passes or fails on every machine.
//!
//! Stages call [`spend`] where their work is: at each visit of a node's operands, each op that is built, each comparison of two buffers.
//! Beyond the bound the stage is aborted, and [`bounded`] returns an error with the construct on which most steps were spent.

use crate::diag::Diagnostic;
use crate::source::Place;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Maximum number of steps of one stage: some seconds.
pub const STEPS: u64 = 50_000_000;

thread_local! {
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
    static SPENT: RefCell<Account> = const { RefCell::new(Account { at: None, left: 0, by_place: BTreeMap::new() }) };
}

/// Steps by the construct that they were spent on.
struct Account {
    /// Construct being compiled now, and the number of steps that were left when that began.
    at: Option<Place>,
    left: u64,
    by_place: BTreeMap<Place, u64>,
}

impl Account {
    /// Books the steps spent since the last booking. `left`: steps that are left now.
    fn book(&mut self, left: u64) {
        if let Some(place) = self.at {
            *self.by_place.entry(place).or_default() += self.left.saturating_sub(left);
        }
        self.left = left;
    }
}

/// Unwind payload that aborts a stage.
struct TooMuch;

/// Sets the construct that is being compiled.
pub(crate) fn at(place: Place) {
    let Some(left) = LEFT.with(Cell::get) else { return };
    SPENT.with_borrow_mut(|spent| {
        spent.book(left);
        spent.at = Some(place);
    });
}

/// Counts steps.
pub(crate) fn spend(steps: usize) {
    LEFT.with(|left| {
        let Some(have) = left.get() else { return };
        match have.checked_sub(steps as u64) {
            Some(less) => left.set(Some(less)),
            None => {
                left.set(None);
                // no panic message: the abort is a regular result
                resume_unwind(Box::new(TooMuch));
            }
        }
    });
}

/// Runs a stage within the bound. A stage inside of another shares its bound.
///
/// # Errors
/// E0316 if it takes more.
pub fn bounded<T>(stage: impl FnOnce() -> T) -> Result<T, Diagnostic> {
    within(STEPS, stage)
}

fn within<T>(steps: u64, stage: impl FnOnce() -> T) -> Result<T, Diagnostic> {
    if LEFT.with(Cell::get).is_some() {
        return Ok(stage());
    }
    LEFT.with(|left| left.set(Some(steps)));
    SPENT.set(Account { at: None, left: steps, by_place: BTreeMap::new() });
    // the stage's unfinished data is its own and dropped with it
    let done = catch_unwind(AssertUnwindSafe(stage));
    LEFT.with(|left| left.set(None));
    done.map_err(|payload| {
        if !payload.is::<TooMuch>() {
            resume_unwind(payload);
        }
        let mut error = Diagnostic::error("E0316", "compiling this takes too much work");
        let most = SPENT.with_borrow_mut(|spent| {
            spent.book(0);
            spent.by_place.iter().max_by_key(|(_, steps)| **steps).map(|(place, _)| *place)
        });
        if let Some(place) = most {
            error = error.at(place, "most of it is for this");
        }
        error.help("loops are unrolled: use fewer rounds, or fewer scans and attends that depend on each other")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_left_at_the_bound() {
        assert_eq!(within(10, || (0..10).for_each(|_| spend(1))).ok(), Some(()));
        let error = within(10, || (0..11).for_each(|_| spend(1))).unwrap_err();
        assert_eq!(error.code, "E0316");
        // and the next one has the full bound
        assert!(within(10, || spend(10)).is_ok());
    }

    #[test]
    fn the_construct_that_took_most_is_named() {
        let place = |start| Place { file: crate::source::FileId(0), span: archc_grammar::Span::new(start, start + 1) };
        let error = within(10, || {
            for (start, steps) in [(0, 2), (5, 6), (9, 3)] {
                at(place(start));
                spend(steps);
            }
        });
        let label = error.unwrap_err().primary.unwrap();
        assert_eq!((label.place, label.text.as_str()), (place(5), "most of it is for this"));
    }

    #[test]
    fn a_stage_inside_of_another_shares_its_bound() {
        assert!(within(10, || within(100, || spend(20)).is_ok()).is_err());
    }
}
