//! Training as a whole, on a mock device whose model fits on a page.

mod contract;
mod kill;
mod mock;
mod training;
