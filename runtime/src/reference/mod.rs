//! The reference device: the graph as it is, evaluated on the CPU, differentiated by candle's autograd.
//!
//! Nothing is lowered: a scan runs token by token, an attend builds all T x T pairs. Every faster device is tested
//! against it, and it is tested against finite differences in turn. It also trains the search's first candidates, so it
//! is slow only where speed would cost evident correctness:
//!
//! - values are candle tensors whose dimensions have names (`value`), in any order in memory; batch, time and
//!   past are dimensions like the axes of the program, so each op is written once;
//! - ops whose gradients candle lacks, defines differently from the language (ties, non-smooth points) or computes
//!   slowly (broadcasts, contractions) are candle custom ops over the loops of `kernels`;
//! - matrix products run on one thread, so that results never depend on the machine's cores;
//! - the tape of a long scan is deep, and candle walks and frees it recursively: gradients are computed on a thread
//!   with a stack of sufficient size.

mod attend;
pub(crate) mod binary;
mod carry;
pub(crate) mod contract;
pub(crate) mod eval;
pub(crate) mod kernels;
pub(crate) mod layout;
mod linear;
pub(crate) mod loss;
mod moved;
mod origin;
pub(crate) mod rows;
mod run;
mod scan;
mod session;
mod threads;
mod training;
pub(crate) mod unary;
pub(crate) mod value;
mod window;
mod wiring;

pub use origin::Origin;
pub use threads::keep_to_one_thread;

pub(crate) use kernels::host;

use crate::session::{Batch, BatchShape, Device, Session, SessionOptions, Snapshot};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::Graph;
use std::sync::Arc;

/// The reference device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl Device for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn arithmetic(&self) -> String {
        // candle's products use the best instruction set of the machine
        format!("reference {}", archc_kernels::best().name())
    }

    fn compile(
        &self,
        graph: &Arc<Graph>,
        shape: BatchShape,
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, Diagnostic> {
        shape.check()?;
        Ok(Box::new(session::ReferenceSession::new(graph, options, None)?))
    }
}

impl Reference {
    /// Finds the origin of the first value that is not finite in a forward pass; none where all outputs and `loss` terms are finite.
    ///
    /// # Errors
    /// As [`Session::restore`] and [`Session::forward`].
    pub fn origin(
        &self,
        graph: &Arc<Graph>,
        options: &SessionOptions,
        parameters: &Snapshot,
        batch: &Batch,
    ) -> Result<Option<Origin>, Diagnostic> {
        let mut session = session::ReferenceSession::new(graph, options, None)?;
        session.restore(parameters)?;
        session.origin(batch)
    }
}

/// The reference device with random perturbations of the size that rounding to f32 may cause in a correct device with another order of
/// sums; the number is the seed. Parker, Monte Carlo Arithmetic, 1997.
#[derive(Clone, Copy, Debug)]
pub struct Moved(pub u64);

impl Device for Moved {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn compile(
        &self,
        graph: &Arc<Graph>,
        shape: BatchShape,
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, Diagnostic> {
        shape.check()?;
        Ok(Box::new(session::ReferenceSession::new(graph, options, Some(self.0))?))
    }
}
