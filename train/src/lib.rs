//! Training: tasks, batches, the optimizer loop, checkpoints, and the contract of an evaluation.
//!
//! The crate depends on no particular device and no source text: it runs any [`archc_runtime::Session`] on batches that
//! a [`task::Task`] makes. From bottom to top:
//!
//! | file | content |
//! |---|---|
//! | `random` | random-number streams, each addressed by (task, part, seed, batch) |
//! | `task/` | the tasks of a search, one file each, and the registry by name |
//! | `corpus` | texts, split by document into parts |
//! | `score` | from logits to accuracy or bits per byte, and to a score in [0, 1] |
//! | `schedule` | learning rate by step |
//! | `trainer` | the loop: steps, records, validation, divergence check, a hook to stop |
//! | `checkpoint` | parameters, moments and the loop's state as safetensors |
//! | `folder` | a run's folder on disk, written so that a kill at any moment loses nothing |
//! | `recipe` | how to rebuild a run's model |
//! | `report` | one run, or several side by side, as a page |
//! | `sample` | sampling of tokens from a trained model |
//! | `tier` | the tasks and settings of an evaluation, as data |
//! | `evaluate` | the evaluation contract: request in, report and exit code out |
//!
//! Two properties hold throughout. *Random access*: batch i of a run is a function of (task settings,
//! part, seed, i), so a resumed run needs no replay and two programs with the same seed see the same
//! batches. *Exactness*: a run that is killed and resumed gives the same bits as one that is not.

pub mod checkpoint;
pub mod codes;
pub mod corpus;
pub mod evaluate;
mod fault;
pub mod folder;
pub mod random;
pub mod recipe;
pub mod report;
pub mod sample;
pub mod schedule;
pub mod score;
pub mod task;
pub mod tier;
pub mod trainer;

pub use codes::CODES;
