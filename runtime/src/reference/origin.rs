//! The origin of a value that is not finite: the op that computes one from finite operands, and whose result reaches an output.
//!
//! Values that are not finite and reach no output are no fault (a branch of `select` that is not taken, a pair that is not visible), so the
//! search goes backwards from the outputs to their operands, and not along the ops in their order.

use super::kernels::host;
use super::value::Value;
use super::wiring::Wiring;
use archc_compiler::graph::{Dag, NodeId, Op, Scan};
use archc_compiler::source::Place;
use candle_core::Result;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The class of a value: finite, or with an infinity or a NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    #[default]
    Finite,
    Infinite,
    Nan,
}

impl Kind {
    fn of(value: &Value) -> Result<Self> {
        let kind = |x: f64| match (x.is_nan(), x.is_infinite()) {
            (true, _) => Self::Nan,
            (_, true) => Self::Infinite,
            _ => Self::Finite,
        };
        Ok(host(&value.tensor)?.into_iter().map(kind).max().unwrap_or_default())
    }
}

/// The first value that is not finite, in order of dependency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Origin {
    /// Place of the op in the source.
    pub place: Place,
    /// Whether its result is NaN; otherwise it is an infinity.
    pub nan: bool,
    /// The first token at which this happens, from 0, in a scan.
    pub token: Option<usize>,
}

/// The classes of values that an evaluation records.
#[derive(Default)]
pub(crate) struct Notes {
    /// Class by node of the graph.
    kinds: RefCell<BTreeMap<usize, Kind>>,
    /// Origin inside of a scan, by its node.
    inside: RefCell<BTreeMap<usize, Origin>>,
}

impl Notes {
    pub fn see<'v>(&self, node: usize, values: impl IntoIterator<Item = &'v Value>) -> Result<()> {
        let kinds = values.into_iter().map(Kind::of).collect::<Result<Vec<_>>>()?;
        self.kinds.borrow_mut().insert(node, kinds.into_iter().max().unwrap_or_default());
        Ok(())
    }

    /// Records the values of one token of a scan.
    pub fn see_token(
        &self,
        node: NodeId,
        scan: &Scan,
        wiring: &Wiring,
        values: &[Option<Value>],
        token: usize,
    ) -> Result<()> {
        if self.inside.borrow().contains_key(&(node.0 as usize)) {
            return Ok(());
        }
        let kinds: Vec<Kind> =
            values.iter().map(|v| v.as_ref().map_or(Ok(Kind::Finite), Kind::of)).collect::<Result<_>>()?;
        let roots = scan.emits.iter().map(|e| e.1).chain(scan.next.iter().copied());
        let found = origin(&scan.body, wiring, |i| kinds[i], roots);
        // Captures and states that are not finite have their origin outside of this token.
        let found = found.filter(|id| !matches!(scan.body.op(*id), Op::Capture(_) | Op::State(_)));
        if let Some(id) = found {
            let nan = kinds[id.0 as usize] == Kind::Nan;
            let origin = Origin { place: scan.body.node(id).place, nan, token: Some(token) };
            self.inside.borrow_mut().insert(node.0 as usize, origin);
        }
        Ok(())
    }

    /// The origin of the first value that is not finite in one of the roots.
    pub fn origin(&self, dag: &Dag, wiring: &Wiring, roots: impl IntoIterator<Item = NodeId>) -> Option<Origin> {
        let kinds = self.kinds.borrow();
        let kind = |i| kinds.get(&i).copied().unwrap_or_default();
        let id = origin(dag, wiring, kind, roots)?;
        let own = Origin { place: dag.node(id).place, nan: kind(id.0 as usize) == Kind::Nan, token: None };
        Some(self.inside.borrow().get(&(id.0 as usize)).copied().unwrap_or(own))
    }
}

/// Goes back from a root that is not finite to an op with finite operands only. A NaN is followed before an infinity; the search ends at an
/// infinity that the program writes, but does not report it.
fn origin(
    dag: &Dag,
    wiring: &Wiring,
    kind: impl Fn(usize) -> Kind,
    roots: impl IntoIterator<Item = NodeId>,
) -> Option<NodeId> {
    let written = |i: usize| matches!(dag.op(NodeId(i as u32)), Op::Const(x) if x.is_infinite());
    let broken = |i: &usize| match kind(*i) {
        Kind::Finite => false,
        Kind::Infinite => !written(*i) && !wiring.operands[*i].iter().any(|o| written(*o)),
        Kind::Nan => true,
    };
    let mut at = roots.into_iter().map(|r| r.0 as usize).filter(broken).max_by_key(|i| kind(*i))?;
    while let Some(&from) = wiring.operands[at].iter().filter(|i| broken(i)).max_by_key(|i| kind(**i)) {
        at = from;
    }
    Some(NodeId(at as u32))
}
