//! The outer graph: inputs, embeddings, windows, losses, and the walk over its nodes.

use super::LowerOptions;
use super::attends::lower_attend;
use super::carried::window_name;
use super::ordinary::{dims, ordinary};
use super::scans::lower_scan;
use crate::graph::{AxisId, BinaryOp, Graph, NodeId, Op as Source, Rate, ReduceOp};
use crate::lowered::{BATCH, Builder, Carry, Dag, Dim, DimId, Extent, Keep, Op, TIME, ValueId, order};
use crate::scan::{Classes, Origin};
use std::collections::BTreeMap;

/// State of the outer graph's lowering.
pub(super) struct Lowering<'a> {
    pub graph: &'a Graph,
    pub options: &'a LowerOptions,
    pub classes: &'a Classes,
    /// Origins of scans, windows and attends.
    origins: &'a BTreeMap<NodeId, Origin>,
    pub b: Builder<'a>,
    /// Value of each node that has one.
    values: Vec<Option<ValueId>>,
    /// Marks the nodes that an output or loss needs.
    live: Vec<bool>,
    /// Emits of scans and attends.
    emits: BTreeMap<NodeId, Vec<ValueId>>,
    pub carries: Vec<Carry>,
    /// Low parts (rounding errors) of running sums.
    pub low_parts: BTreeMap<ValueId, ValueId>,
    pos: Option<ValueId>,
    weights: Option<ValueId>,
    chunks: Option<(DimId, DimId)>,
    tile: Option<(DimId, DimId)>,
    /// With a carry: the dimensions of carried and of all visible tokens, by the maximum number of carried ones.
    known: BTreeMap<usize, (DimId, DimId)>,
    lags: BTreeMap<usize, DimId>,
}

/// A lowered outer graph.
pub(super) struct Done {
    pub dag: Dag,
    /// Values of the graph's outputs, in order.
    pub outputs: Vec<ValueId>,
    pub objective: Option<(ValueId, ValueId)>,
    pub carries: Vec<Carry>,
}

impl<'a> Lowering<'a> {
    pub fn new(
        graph: &'a Graph,
        options: &'a LowerOptions,
        classes: &'a Classes,
        origins: &'a BTreeMap<NodeId, Origin>,
        table: &'a mut Vec<Dim>,
    ) -> Self {
        let place = graph.dag.ids().next().map_or_else(nowhere, |id| graph.dag.node(id).place);
        Self {
            graph,
            options,
            classes,
            origins,
            b: Builder::new(table, place),
            values: vec![None; graph.dag.len()],
            live: Vec::new(),
            emits: BTreeMap::new(),
            carries: Vec::new(),
            low_parts: BTreeMap::new(),
            pos: None,
            weights: None,
            chunks: None,
            tile: None,
            known: BTreeMap::new(),
            lags: BTreeMap::new(),
        }
    }

    pub fn run(mut self) -> Done {
        let graph = self.graph;
        let dag = &graph.dag;
        let mut roots: Vec<NodeId> = self.graph.outputs.iter().map(|o| o.value).collect();
        if self.options.losses {
            roots.extend(&self.graph.losses);
        }
        self.live = dag.reachable(&roots);
        for id in dag.ids() {
            if self.is_live(id) {
                self.lower(id);
            }
        }
        let outputs = self.graph.outputs.iter().map(|o| self.value(o.value)).collect();
        let objective = if self.options.losses { self.objective() } else { None };
        Done { dag: self.b.dag, outputs, objective, carries: self.carries }
    }

    /// Whether an output or loss needs a node.
    pub fn is_live(&self, id: NodeId) -> bool {
        self.live[id.0 as usize]
    }

    /// Lowers a node whose operands are lowered, unless it is lowered already.
    fn lower(&mut self, id: NodeId) {
        if self.values[id.0 as usize].is_none() && !self.emits.contains_key(&id) {
            self.at(id);
            self.node(id);
        }
    }

    /// Lowers nodes and their operands. The scans of one loop are lowered at the first of them, before nodes that only the later ones need
    /// were visited.
    pub fn lower_early(&mut self, roots: &[NodeId]) {
        if roots.iter().all(|id| self.values[id.0 as usize].is_some()) {
            return;
        }
        let needed = self.graph.dag.reachable(roots);
        for id in self.graph.dag.ids().filter(|id| needed[id.0 as usize]) {
            self.lower(id);
        }
    }

    /// Origin of a scan, window or attend.
    pub fn origin(&self, id: NodeId) -> &'a Origin {
        self.origins.get(&id).unwrap_or_else(|| panic!("archc bug: %{} comes from nowhere", id.0))
    }

    /// Attributes new values to this node.
    pub fn at(&mut self, id: NodeId) {
        let node = self.graph.dag.node(id);
        self.b.name.clone_from(&node.name);
        self.b.place = node.place;
        crate::work::at(node.place);
    }

    /// Value of a node that is lowered.
    pub fn value(&self, id: NodeId) -> ValueId {
        self.values[id.0 as usize].unwrap_or_else(|| panic!("archc bug: %{} has no lowered value", id.0))
    }

    /// Value of a node, if it is lowered.
    pub fn lowered(&self, id: NodeId) -> Option<ValueId> {
        self.values[id.0 as usize]
    }

    fn node(&mut self, id: NodeId) {
        let graph = self.graph;
        let dag = &graph.dag;
        let operands = dag.operands(id);
        let value = match dag.op(id) {
            Source::Scan(scan) => {
                let emits = lower_scan(self, id, scan);
                self.emits.extend(emits);
                return;
            }
            Source::Attend(attend) => {
                let emits = lower_attend(self, id, attend);
                self.emits.insert(id, emits);
                return;
            }
            Source::Emit(i) => self.emits[&operands[0]][*i],
            Source::Input(i) => {
                let mut all = dims(&self.graph.inputs[*i].axes);
                all.extend([BATCH, TIME]);
                self.b.leaf(Op::Input(*i), all)
            }
            Source::Pos => self.pos(),
            Source::Embed { vocab } => self.embed(*vocab, operands),
            Source::Window { axis, step } => self.window(id, operands[0], *axis, *step),
            Source::TokenMean => self.token_mean(operands[0]),
            op => {
                let x: Vec<ValueId> = operands.iter().map(|o| self.value(*o)).collect();
                ordinary(self.graph, &mut self.b, op, &x, self.options.training)
            }
        };
        self.values[id.0 as usize] = Some(value);
    }

    /// Positions of the tokens.
    pub fn pos(&mut self) -> ValueId {
        *self.pos.get_or_insert_with(|| self.b.op(Op::Pos, &[]))
    }

    fn weights(&mut self) -> ValueId {
        *self.weights.get_or_insert_with(|| self.b.op(Op::TokenWeight, &[]))
    }

    fn embed(&mut self, vocab: AxisId, operands: &[NodeId]) -> ValueId {
        let x: Vec<ValueId> = operands.iter().map(|o| self.value(*o)).collect();
        let vocab = dims(&[vocab])[0];
        let prefix = x.get(1).map(|prefix| {
            let own = self.b.dims_of(*prefix).iter().find(|d| !self.b.has(x[0], **d));
            *own.expect("archc bug: a prefix has no axis of its own")
        });
        self.b.op(Op::Embed { vocab, prefix }, &x)
    }

    fn window(&mut self, id: NodeId, x: NodeId, axis: AxisId, step: usize) -> ValueId {
        let (dim, width) = (dims(&[axis])[0], self.graph.size(axis));
        let value = self.value(x);
        let value = self.b.expand(value, &[BATCH, TIME]);
        if width == 1 {
            return self.b.expand(value, &[dim]);
        }
        let tail = (width - 1).saturating_mul(step);
        let mut operands = vec![value];
        if self.options.carry {
            let name = window_name(self.origin(id).node);
            let before = self.b.dim("tail", Extent::Fixed(tail), 2);
            let mut own = dims(&self.graph.dag.ty(x).axes);
            own.extend([BATCH, before]);
            operands.push(self.carried(&name, own));
            self.carries.push(Carry { name, value, low: None, keep: Keep::Last(tail) });
        }
        self.b.op(Op::Window { dim, step }, &operands)
    }

    /// The carried value with a name.
    pub fn carried(&mut self, name: &str, mut own: Vec<DimId>) -> ValueId {
        order(self.b.dims, &mut own);
        self.b.op(Op::Carried(name.into(), own), &[])
    }

    /// The rounding error of a carried value.
    pub fn carried_low(&mut self, name: &str, mut own: Vec<DimId>) -> ValueId {
        order(self.b.dims, &mut own);
        self.b.op(Op::CarriedLow(name.into(), own), &[])
    }

    /// Mean over the counted tokens of a value that differs between tokens.
    fn token_mean(&mut self, x: NodeId) -> ValueId {
        let value = self.value(x);
        if self.graph.dag.rate(x) == Rate::Fixed {
            return value;
        }
        let weights = self.weights();
        self.b.contract(value, weights, &[BATCH, TIME])
    }

    /// The cross-entropy of a model plus each loss term's mean over its axes and the tokens.
    fn objective(&mut self) -> Option<(ValueId, ValueId)> {
        let entropy = match (self.graph.vocab, self.graph.outputs.first()) {
            (Some(vocab), Some(output)) => {
                self.at(output.value);
                let vocab = dims(&[vocab])[0];
                let logits = self.value(output.value);
                let logits = self.b.expand(logits, &[BATCH, TIME, vocab]);
                Some(self.b.op(Op::CrossEntropy { vocab }, &[logits]))
            }
            _ => None,
        };
        let mut total = entropy;
        for loss in self.graph.losses.clone() {
            self.at(loss);
            let mean = self.token_mean(loss);
            let axes = self.b.dims_of(mean).to_vec();
            let term = match axes.is_empty() {
                true => mean,
                false => self.b.op(Op::Reduce(ReduceOp::Mean, axes), &[mean]),
            };
            total = Some(total.map_or(term, |total| self.b.add(total, term)));
        }
        let total = total?;
        let entropy = entropy.unwrap_or_else(|| self.b.number(0.0));
        Some((total, entropy))
    }

    /// The dimensions of chunks of `tokens` tokens, and of a chunk's rows; all loops share them.
    pub fn chunks(&mut self, tokens: usize) -> (DimId, DimId) {
        if let Some(dims) = self.chunks {
            return dims;
        }
        let chunks = self.b.dim("chunks", Extent::Chunks(tokens), 1);
        let rows = self.b.dim("rows", Extent::Fixed(tokens), 2);
        self.chunks = Some((chunks, rows));
        (chunks, rows)
    }

    /// The dimensions of a tile's rows and columns; all attends share them.
    pub fn tile(&mut self) -> (DimId, DimId) {
        // as large as a chunk, so that a short sequence fills its tiles
        let tokens = self.options.chunk.unwrap_or(self.options.target.tile);
        *self.tile.get_or_insert_with(|| {
            // a short piece has no other rows than its tokens
            let rows = if self.options.chunk.is_none() { Extent::Rows(tokens) } else { Extent::Fixed(tokens) };
            let rows = self.b.dim("present", rows, 2);
            (rows, self.b.dim("past", Extent::Fixed(tokens), 3))
        })
    }

    /// The dimensions of carried tokens that attends may see, at most `most`, and of those followed by the sequence.
    pub fn known(&mut self, most: usize) -> (DimId, DimId) {
        *self.known.entry(most).or_insert_with(|| {
            let carried = self.b.dim("carried", Extent::Carried(most), 2);
            (carried, self.b.dim("known", Extent::Known(most), 2))
        })
    }

    /// The dimension of all tokens that may be visible, with at most `most` carried ones.
    pub fn past(&mut self, most: usize) -> DimId {
        if self.options.carry { self.known(most).1 } else { TIME }
    }

    /// A dimension with an index for each lag, with at most `most` carried tokens.
    pub fn lag(&mut self, most: usize) -> DimId {
        let (most, extent) = if self.options.carry { (most, Extent::Known(most)) } else { (0, Extent::Time) };
        *self.lags.entry(most).or_insert_with(|| self.b.dim("lag", extent, 2))
    }

    /// 1 where a document starts: `[B, T]`.
    pub fn starts(&mut self) -> ValueId {
        let (pos, zero) = (self.pos(), self.b.number(0.0));
        self.b.binary(BinaryOp::Eq, pos, zero)
    }
}

/// Placeholder place for a graph without nodes.
fn nowhere() -> crate::source::Place {
    crate::source::Place { file: crate::source::FileId(0), span: archc_grammar::Span { start: 0, end: 0 } }
}
