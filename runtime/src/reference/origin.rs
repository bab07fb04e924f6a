//! Where a number that is not finite comes from: the op that makes one of finite operands, and whose result reaches an output.
//!
//! Values that are not finite and reach nothing are no fault (a branch of `select` that is not taken, a pair that is not visible), so
//! the walk goes from the outputs back to what they were made of, and not along the ops in their order.

use super::kernels::host;
use super::value::Value;
use super::wiring::Wiring;
use archc_compiler::graph::{Dag, NodeId, Op, Scan};
use archc_compiler::source::Place;
use candle_core::Result;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Whether numbers are finite.
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

/// The first value that is not finite, in the order of what is computed from what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Origin {
    /// Where the op was written.
    pub place: Place,
    /// Whether it gives NaN; else it gives an infinity.
    pub nan: bool,
    /// In a scan: the token at which it does so first, from 0.
    pub token: Option<usize>,
}

/// What an evaluation notes of its values.
#[derive(Default)]
pub(crate) struct Notes {
    /// By node of the graph.
    kinds: RefCell<BTreeMap<usize, Kind>>,
    /// By node: what happened inside of a scan.
    inside: RefCell<BTreeMap<usize, Origin>>,
}

impl Notes {
    pub fn see<'v>(&self, node: usize, values: impl IntoIterator<Item = &'v Value>) -> Result<()> {
        let kinds = values.into_iter().map(Kind::of).collect::<Result<Vec<_>>>()?;
        self.kinds.borrow_mut().insert(node, kinds.into_iter().max().unwrap_or_default());
        Ok(())
    }

    /// The same for one token of a scan.
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
        // What comes in from outside of the scan was made there.
        let found = found.filter(|id| !matches!(scan.body.op(*id), Op::Capture(_) | Op::State(_)));
        if let Some(id) = found {
            let nan = kinds[id.0 as usize] == Kind::Nan;
            let origin = Origin { place: scan.body.node(id).place, nan, token: Some(token) };
            self.inside.borrow_mut().insert(node.0 as usize, origin);
        }
        Ok(())
    }

    /// Where what is not finite in one of the roots comes from.
    pub fn origin(&self, dag: &Dag, wiring: &Wiring, roots: impl IntoIterator<Item = NodeId>) -> Option<Origin> {
        let kinds = self.kinds.borrow();
        let kind = |i| kinds.get(&i).copied().unwrap_or_default();
        let id = origin(dag, wiring, kind, roots)?;
        let own = Origin { place: dag.node(id).place, nan: kind(id.0 as usize) == Kind::Nan, token: None };
        Some(self.inside.borrow().get(&(id.0 as usize)).copied().unwrap_or(own))
    }
}

/// Goes back from the first root that is not finite to the op that has finite operands only. A NaN is followed before an infinity, and an
/// infinity that the program writes is where the search ends, not what it finds.
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
