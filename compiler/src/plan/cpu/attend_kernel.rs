//! Attends on the cpu device: tiles of rows and columns with contiguous copies of their operands.
//!
//! `S` is where an operand starts in the outer scope, `T` where one starts in the body's arena: places while the scope is planned,
//! addresses once its memory is laid out.

use super::super::kernel::{Relocate, Scope};
use super::super::{Axis, Definition, Element, Start, View};
use crate::lowered::{DimId, TIME};
use std::sync::Arc;

/// A tile of a value in an attend: the outer value `[B, T, ..]`, and its contiguous copy in the body's arena. Tiles are copied so that
/// ragged ones are padded and products read contiguous elements. Tiles of columns, which every tile of rows visits again, stay in a panel:
/// all tiles of the past in order, along which a port of the body moves.
#[derive(Clone, Debug, PartialEq)]
pub struct TilePort<S = Start, T = Start> {
    /// The outer value at index 0 of every mapped dimension and of time; its axes are those of `tile` other than tokens.
    pub outer: View<S>,
    /// Stride along each mapped dimension, in elements.
    pub map: Vec<isize>,
    /// Stride along tokens, in elements; 0 if the value lacks tokens.
    pub token: isize,
    /// Whether its tokens are the tile's rows (else its columns; meaningless without tokens).
    pub rows: bool,
    /// The tile in the body's arena, contiguous unless it is a tile's own share of a sum; its first axis is the tokens, if it has any.
    pub tile: View<T>,
    /// Whether the tile has tokens.
    pub timed: bool,
    /// The port of the body ([`Base::Port`](super::super::Base::Port)) that moves along the panel, whose first tile is `tile`; none for a
    /// single tile.
    pub panel: Option<usize>,
    /// Port and first tile of another panel, with the tokens last: for products that read one element of many tokens.
    pub transposed: Option<(usize, View<T>)>,
}

/// See [`crate::lowered::Attend`] and [`crate::lowered::AttendGrad`].
#[derive(Clone, Debug, PartialEq)]
pub struct AttendKernel<S = Start, T = Start> {
    /// Number of tokens of the piece.
    pub rows: usize,
    /// Number of tokens that may be visible.
    pub cols: usize,
    /// Number of rows of a tile.
    pub tile_rows: usize,
    /// Number of columns of a tile.
    pub tile_cols: usize,
    /// Lengths of the mapped dimensions.
    pub map: Vec<usize>,
    /// Index of the batch among the mapped dimensions.
    pub batch: Option<usize>,
    /// Reach in tokens, smallest and largest lag: lags outside of it are never visible.
    pub reach: (usize, Option<usize>),
    /// [`Leaf::Positions`](super::super::Leaf::Positions), `[B, T]` of u32.
    pub pos: View<S>,
    /// Number of body ports that move along panels.
    pub panels: usize,
    /// Operands of the body.
    pub ports: Vec<TilePort<S, T>>,
    /// The tile's body; for a gradient, as far as the score.
    pub body: Scope,
    /// Start of the body's arena in that of the outer scope.
    pub arena: S,
    /// Score or weight in the body: `[rows, cols]` or fewer.
    pub weight: View<T>,
    /// Whether `weight` is a score, normalised by softmax.
    pub softmax: bool,
    /// Forward: emits of weight 0 are left out of the sums even if not finite. See [`crate::lower::LowerOptions::careful`].
    pub careful: bool,
    /// Destination of the lags, `[rows, cols]`, if the body reads them.
    pub lag: Option<View<T>>,
    /// The condition in the body, `[rows, cols]` or fewer, if it has one.
    pub visible: Option<View<T>>,
    /// The sink in the body, `[rows]` or fewer.
    pub sink: Option<View<T>>,
    /// Masked weights of a tile, `[rows, cols]`, contiguous.
    pub weights: View<T>,
    /// Backward: destination of the visibility mask, `[rows, cols]`, 1 for each visible pair, if the body reads it.
    pub shown: Option<View<T>>,
    /// Forward: emits in the body, and destinations of their sums.
    pub emits: Vec<TileEmit<S, T>>,
    /// Forward: destinations of the largest score and the logarithm of the sum, where requested. Backward: their sources.
    pub normal: [Option<TilePort<S, T>>; 2],
    /// Backward: the remaining fields.
    pub grad: Option<AttendGradKernel<S, T>>,
    /// The attend or its gradient.
    pub definition: Arc<Definition>,
}

/// An emit of an attend.
#[derive(Clone, Debug, PartialEq)]
pub struct TileEmit<S = Start, T = Start> {
    /// The emit in the body: `[cols, ..]`, `[rows, cols, ..]`, or without either.
    pub value: View<T>,
    /// The sum over the past so far, `[rows, ..]`, and its destination.
    pub sum: TilePort<S, T>,
}

/// The backward part of an attend.
#[derive(Clone, Debug, PartialEq)]
pub struct AttendGradKernel<S = Start, T = Start> {
    /// Kernels that run once the weights are computed.
    pub after: Scope,
    /// Delta `[map, T]`.
    pub delta: Option<TilePort<S, T>>,
    /// Sums over tiles.
    pub sums: Vec<TileSum<S, T>>,
    /// Running values of the body, each `[rows]`: the one read from the tile of columns before, and the one left for the next.
    pub running: Vec<[View<T>; 2]>,
    /// Scalar in the body that is 1 in the last tile of columns of its rows, else 0.
    pub last: Option<View<T>>,
}

/// A sum over tiles of an attend's gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct TileSum<S = Start, T = Start> {
    /// The sum in the body, and its destination.
    pub port: TilePort<S, T>,
    /// Whether the body accumulates into the sum; else it leaves each tile's own share.
    pub adds: bool,
}

impl<S, T> TilePort<S, T> {
    /// The same port with relocated starts in both scopes.
    fn relocate<S2, T2>(self, f: &mut Relocate<'_, S, S2>, g: &mut Relocate<'_, T, T2>) -> TilePort<S2, T2> {
        TilePort {
            outer: self.outer.relocate(f),
            map: self.map,
            token: self.token,
            rows: self.rows,
            tile: self.tile.relocate(g),
            timed: self.timed,
            panel: self.panel,
            transposed: self.transposed.map(|(port, view)| (port, view.relocate(g))),
        }
    }
}

impl TilePort {
    /// The view of the whole outer value: the port's axes, then the mapped dimensions and tokens ([`TIME`] for rows, `past` for columns).
    pub fn whole(&self, map_dims: &[DimId], past: DimId, a: &AttendKernel) -> View {
        let (dim, size) = if self.rows { (TIME, a.rows) } else { (past, a.cols) };
        let tokens = self.timed.then_some(Axis { dim, size, stride: self.token });
        self.outer.along(map_dims, &a.map, &self.map, tokens)
    }
}

impl<S, T> AttendKernel<S, T> {
    /// The same kernel with relocated starts in both scopes.
    pub(in super::super) fn relocate_both<S2, T2>(
        self,
        f: &mut Relocate<'_, S, S2>,
        g: &mut Relocate<'_, T, T2>,
    ) -> AttendKernel<S2, T2> {
        let pos = self.pos.relocate(f);
        let ports = self.ports.into_iter().map(|p| p.relocate(f, g)).collect();
        let emit = |e: TileEmit<S, T>| TileEmit { value: e.value.relocate(g), sum: e.sum.relocate(f, g) };
        let emits = self.emits.into_iter().map(emit).collect();
        let normal = self.normal.map(|p| p.map(|p| p.relocate(f, g)));
        let grad = self.grad.map(|grad| AttendGradKernel {
            after: grad.after,
            delta: grad.delta.map(|p| p.relocate(f, g)),
            sums: grad.sums.into_iter().map(|s| TileSum { port: s.port.relocate(f, g), adds: s.adds }).collect(),
            running: grad.running.into_iter().map(|pair| pair.map(|v| v.relocate(g))).collect(),
            last: grad.last.map(|v| v.relocate(g)),
        });
        let mut inside = |view: Option<View<T>>| view.map(|v| v.relocate(g));
        AttendKernel {
            lag: inside(self.lag),
            visible: inside(self.visible),
            sink: inside(self.sink),
            shown: inside(self.shown),
            weight: self.weight.relocate(g),
            weights: self.weights.relocate(g),
            arena: f(self.arena, Element::F32),
            pos,
            ports,
            emits,
            normal,
            grad,
            rows: self.rows,
            cols: self.cols,
            tile_rows: self.tile_rows,
            tile_cols: self.tile_cols,
            map: self.map,
            batch: self.batch,
            reach: self.reach,
            panels: self.panels,
            body: self.body,
            softmax: self.softmax,
            careful: self.careful,
            definition: self.definition,
        }
    }

    /// Views of the outer scope.
    pub(in super::super) fn outside(&self) -> impl Iterator<Item = &View<S>> {
        let grad = self.grad.iter().flat_map(|g| g.delta.iter().chain(g.sums.iter().map(|s| &s.port)));
        let ports = self.ports.iter().chain(self.emits.iter().map(|e| &e.sum));
        let ports = ports.chain(self.normal.iter().flatten()).chain(grad);
        [&self.pos].into_iter().chain(ports.map(|p| &p.outer))
    }
}

impl<S> AttendKernel<S> {
    /// The same kernel with relocated starts in the outer scope.
    pub(in super::super) fn relocate<S2>(self, f: &mut Relocate<'_, S, S2>) -> AttendKernel<S2> {
        self.relocate_both(f, &mut |start, _| start)
    }
}
