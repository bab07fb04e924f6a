//! Kernels of single values: products, copies, and ops with dedicated kernels.

use super::contraction::Roles;
use super::memory::{Kernel, Place, View};
use super::places::parts;
use super::planner::{Planner, copy};
use super::scope::ScopePlan;
use super::{Axis, Copy, Leaf, Single, Work};
use crate::lowered::{DimId, Op, TIME, ValueId};

impl ScopePlan<'_> {
    fn push(&mut self, id: ValueId, work: Work<Place>) {
        self.kernels.push(Kernel { work, name: self.values.dag.node(id).name.clone() });
    }

    /// Emits the kernel of a value that is not fused.
    pub fn emit_kernel(&mut self, planner: &mut Planner<'_>, id: ValueId) {
        if let Some((_, added)) = self.joins.adds.get(&id).copied() {
            return self.emit_product(planner, added, id, true);
        }
        if self.emit_convolution(planner, id) {
            return;
        }
        let (node, operands) = (self.values.dag.node(id), self.values.dag.operands(id));
        match &node.op {
            Op::Contract(_) => self.emit_product(planner, id, id, false),
            Op::Loop(_) => self.emit_loop(planner, id),
            Op::Attend(_) | Op::AttendGrad(_) => self.emit_attend(planner, id),
            Op::Stack(_) | Op::Cat(..) => {
                let whole = self.read(planner, id);
                let places = parts(planner, &node.op, operands.len(), &whole);
                for (operand, to) in operands.iter().zip(places) {
                    let from = self.read(planner, *operand);
                    if from != to {
                        self.kernels.push(copy(from, to, &self.values.dag.node(id).name));
                    }
                }
            }
            Op::Put(dim, index) => {
                let whole = self.read(planner, id);
                let (mut to, strides) = whole.without(&[*dim]);
                to.start.offset += index * strides[0].unsigned_abs();
                self.emit_filled(planner, id, to, whole, 0.0);
            }
            Op::Paste { from, offset, into } => {
                let whole = self.read(planner, id);
                let mut to = whole.clone();
                for axis in to.axes.iter_mut().filter(|a| a.dim == *into) {
                    to.start.offset += offset * axis.stride.unsigned_abs();
                    *axis = Axis { dim: *from, size: planner.size(*from), stride: axis.stride };
                }
                self.emit_filled(planner, id, to, whole, 0.0);
            }
            Op::Chunk { chunks, rows, fill } => {
                // ragged: whole chunks first, then the remaining tokens
                let whole = self.read(planner, id);
                let from = self.read(planner, operands[0]);
                let (c, stride) = (planner.size(*rows), from.stride(TIME));
                let (rest, strides) = whole.without(&[*chunks, *rows]);
                let full = planner.shape.len / c;
                let piece = |first: usize, n: usize, r: usize| {
                    let mut to = rest.clone();
                    to.start.offset += first * strides[0].unsigned_abs();
                    to.axes.push(Axis { dim: *chunks, size: n, stride: strides[0] });
                    to.axes.push(Axis { dim: *rows, size: r, stride: strides[1] });
                    let mut source = from.clone();
                    source.axes.retain(|a| a.dim != TIME);
                    source.start.offset += first * c * stride.unsigned_abs();
                    source.axes.push(Axis { dim: *chunks, size: n, stride: stride * c as isize });
                    source.axes.push(Axis { dim: *rows, size: r, stride });
                    copy(source, to, "")
                };
                let tail = planner.shape.len % c;
                let mut kernels = Vec::new();
                if full > 0 {
                    kernels.push(piece(0, full, c));
                }
                kernels.push(piece(full, 1, tail));
                let name = node.name.clone();
                for (i, mut kernel) in kernels.into_iter().enumerate() {
                    if let (0, Work::Copy(c)) = (i, &mut kernel.work) {
                        c.fill = Some((whole.clone(), *fill));
                    }
                    kernel.name = name.clone();
                    self.kernels.push(kernel);
                }
            }
            Op::Flatten(from, into) => {
                let to = self.read(planner, id);
                let source = self.read(planner, operands[0]);
                let mut split = to.clone();
                for axis in to.axes.iter().filter(|a| a.dim == *into) {
                    split.axes.retain(|a| a.dim != *into);
                    let mut stride = axis.stride;
                    for &dim in from.iter().rev() {
                        split.axes.push(Axis { dim, size: planner.size(dim), stride });
                        stride *= planner.size(dim) as isize;
                    }
                }
                let name = node.name.clone();
                self.kernels.push(copy(source, split, &name));
            }
            Op::Unchunk { chunks, rows } => {
                // chunks that are not contiguous: all whole chunks in one copy, then the remaining tokens
                let to = self.read(planner, id);
                let source = self.read(planner, operands[0]);
                let c = planner.size(*rows);
                let (rest, strides) = to.without(&[TIME]);
                let (from, steps) = source.without(&[*chunks, *rows]);
                let name = node.name.clone();
                let mut piece = |first: usize, n: usize, r: usize| {
                    let axes = |view: &View, base: usize, s: [isize; 2]| {
                        let mut view = view.clone();
                        view.start.offset += base;
                        view.axes.push(Axis { dim: *chunks, size: n, stride: s[0] });
                        view.axes.push(Axis { dim: *rows, size: r, stride: s[1] });
                        view
                    };
                    let to = axes(&rest, first * c * strides[0].unsigned_abs(), [strides[0] * c as isize, strides[0]]);
                    let from = axes(&from, first * steps[0].unsigned_abs(), [steps[0], steps[1]]);
                    self.kernels.push(copy(from, to, &name));
                };
                let (full, tail) = (planner.shape.len / c, planner.shape.len % c);
                if full > 0 {
                    piece(0, full, c);
                }
                if tail > 0 {
                    piece(full, 1, tail);
                }
            }
            op => {
                let mut inputs: Vec<View> = operands.iter().map(|o| self.read(planner, *o)).collect();
                for (leaf, element) in Leaf::beside(op) {
                    let dims = leaf.dims();
                    inputs.push(self.homes.leaf(planner, leaf, element, dims));
                }
                let output = self.read(planner, id);
                self.push(id, Work::Single(Single { op: op.clone(), inputs, output }));
            }
        }
    }

    fn emit_filled(&mut self, planner: &mut Planner<'_>, id: ValueId, to: View, whole: View, fill: f64) {
        let from = self.read(planner, self.values.dag.operands(id)[0]);
        let mut kernel = copy(from, to, &self.values.dag.node(id).name);
        if let Work::Copy(Copy { fill: f, .. }) = &mut kernel.work {
            *f = Some((whole, fill));
        }
        self.kernels.push(kernel);
    }

    fn emit_product(&mut self, planner: &mut Planner<'_>, product: ValueId, into: ValueId, accumulate: bool) {
        let operands = self.values.dag.operands(product);
        let Op::Contract(over) = &self.values.dag.node(product).op else {
            panic!("archc bug: %{} is no contraction", product.0);
        };
        let (a, b) = (operands[0], operands[1]);
        let dims = |v: ValueId| -> Vec<DimId> { self.values.dag.node(v).dims.clone() };
        let roles = Roles::new(&dims(a), &dims(b), over);
        let (a, b) = (self.read(planner, a), self.read(planner, b));
        let c = self.read(planner, into);
        self.push(product, Work::Gemm(roles.gemm(&a, &b, &c, accumulate, self.joins.tile)));
    }
}
