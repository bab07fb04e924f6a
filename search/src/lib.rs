//! The search engine: three roles run one loop over a log of experiments.
//!
//! ```text
//!             +--------------- store (SQLite, a log that only grows) ---------------+
//!             v                                                                     |
//!   Researcher -> hypothesis -> Engineer -> program -> Screen -> rungs of Evaluator -> Analyst
//!             ^                                                                     |
//!             +--------------- beliefs, archive, lineage ---------------------------+
//! ```
//! The anchors come first: seed programs and their nearest variants, tuned and evaluated on many seeds; the best is fixed. A generation of
//! eight and three controls is proposed from the log of closed generations, screened without being run, trained rung by rung on seeds that
//! no generation before has used (the better part goes on, beside the anchor and the parents), and analysed; then the next is proposed. At
//! the end the best run in the finals, on separate seeds and data; the results established there are the results of the search.
//!
//! Invariants:
//! - a proposal is a pure function of the log of closed generations: neither crashes, nor the number of
//!   workers, nor timing changes it (`propose`, `schedule`, `random`);
//! - events take effect only after they are committed (`store`);
//! - the finals are never evidence for a proposal: they are a tier that nothing else reads (`plan::Tier::Final`);
//! - "established" is decided by one function (`stats::finals::judge`);
//! - candidates are programs of a language without I/O; the search itself writes only inside its run folder and its cache.
//!
//! Code map: `record` and `plan` are the recorded data; `store` is the log and the state derived from it; `roles` are the researcher,
//! engineer and analyst; `moves` edit programs, `shrink` lowers a size, `control` makes controls; `screen` and `evaluate` check and score;
//! `board` holds the leads, `propose`, `schedule`, `finals`, `rank` decide; `engine` is the loop; `best` and `report` write the results;
//! `pool`, `verify`, `gates` and `repro` evaluate outside of a search.

pub mod archive;
pub mod best;
pub mod board;
pub mod cache;
pub mod codes;
pub mod compile;
pub mod control;
pub mod engine;
pub mod evaluate;
pub mod finals;
pub mod front;
pub mod gates;
pub mod moves;
pub mod plan;
pub mod pool;
pub mod progress;
pub mod propose;
pub mod random;
pub mod rank;
pub mod record;
pub mod report;
pub mod repro;
pub mod roles;
mod run;
pub mod schedule;
pub mod screen;
pub mod shrink;
pub mod stats;
pub mod store;
pub mod surrogate;
pub mod trained;
pub mod verify;

// Tests inside and outside of the crate share their evaluators, which name the crate by its external name.
#[cfg(test)]
extern crate self as archc_search;
#[cfg(test)]
mod tests;

pub use codes::CODES;
pub use engine::{Budget, Roles, drive};
pub use plan::Settings;
pub use progress::{Notice, Progress, Silent, Standing};
pub use run::{SearchOptions, Summary, run, settings};
