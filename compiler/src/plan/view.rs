//! Views: values as strided windows into buffers.

use crate::lowered::DimId;

/// What the elements of a buffer are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Element {
    /// IEEE 754 single precision: activations, parameters, gradients.
    #[default]
    F32,
    /// IEEE 754 double precision: weights of tokens, the norm of all gradients.
    F64,
    /// Unsigned integers: tokens, positions.
    U32,
    /// 256 bits: the key of a stream of random numbers.
    Key,
    /// Eight f64: what an update of the parameters needs to know beside the gradients.
    Rule,
}

impl Element {
    /// Bytes of one.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F64 => 8,
            Self::Key => 32,
            Self::Rule => 64,
        }
    }

    /// `f32`, `f64`, `u32`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::U32 => "u32",
            Self::Key => "key",
            Self::Rule => "rule",
        }
    }
}

/// A buffer, by role. A device knows where each starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Base {
    /// The scope's own arena.
    Scratch,
    /// Values that are the same at every call.
    Constants,
    /// Parameters.
    Params,
    /// Their gradients.
    Grads,
    /// The running means of the gradients.
    First,
    /// The running means of their squares.
    Second,
    /// Port of the loop or attend around the scope.
    Port(usize),
}

/// An address: an element of a buffer. Before memory is laid out, operands have a `Place` instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Which buffer.
    pub base: Base,
    /// Its distance from the buffer's start.
    pub bytes: usize,
}

impl Start {
    /// The first element that a port gives.
    pub const fn port(port: usize) -> Self {
        Self { base: Base::Port(port), bytes: 0 }
    }
}

/// A dimension of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Which.
    pub dim: DimId,
    /// Its length.
    pub size: usize,
    /// Distance of neighbours in elements; 0 where the value is constant along it.
    pub stride: isize,
}

/// A value as it lies in a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<S = Start> {
    /// Where the element with index 0 everywhere is.
    pub start: S,
    /// What its elements are.
    pub element: Element,
    /// Dimensions in canonical order.
    pub axes: Vec<Axis>,
}

impl<S> View<S> {
    /// A dense row-major view of f32.
    pub fn dense(start: S, dims: &[DimId], sizes: &[usize]) -> Self {
        let mut stride = 1isize;
        let mut axes: Vec<Axis> = dims
            .iter()
            .rev()
            .map(|&dim| {
                let size = sizes[dim.0 as usize];
                let axis = Axis { dim, size, stride };
                stride *= size as isize;
                axis
            })
            .collect();
        axes.reverse();
        Self { start, element: Element::F32, axes }
    }

    /// The same with another start.
    pub fn at<T>(self, start: T) -> View<T> {
        View { start, element: self.element, axes: self.axes }
    }

    /// Elements of the value.
    pub fn len(&self) -> usize {
        self.axes.iter().map(|a| a.size).product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The axis of a dimension.
    pub fn axis(&self, dim: DimId) -> Option<&Axis> {
        self.axes.iter().find(|a| a.dim == dim)
    }

    /// The length along a dimension; 1 where the value lacks it.
    pub fn size(&self, dim: DimId) -> usize {
        self.axis(dim).map_or(1, |a| a.size)
    }

    /// The stride along a dimension; 0 where the value lacks it.
    pub fn stride(&self, dim: DimId) -> isize {
        self.axis(dim).map_or(0, |a| a.stride)
    }

    /// Whether elements lie one after the other in canonical order, without gaps or repeats.
    pub fn is_dense(&self) -> bool {
        let mut stride = 1isize;
        self.axes.iter().rev().all(|a| {
            let fits = a.size == 1 || a.stride == stride;
            stride *= a.size as isize;
            fits
        })
    }

    /// The distance past the first element at which the last one lies (views never run backwards).
    pub fn reach(&self) -> usize {
        self.axes.iter().map(|a| (a.size - 1) * a.stride.unsigned_abs()).sum()
    }

    /// If the dimensions (outermost first) are one run of elements at a common distance: their length and that distance.
    /// Dimensions of length 1 do not count; none: length 1, any distance.
    pub fn run(&self, dims: &[DimId]) -> Option<(usize, isize)> {
        let axes: Vec<&Axis> = dims.iter().filter_map(|d| self.axis(*d)).filter(|a| a.size > 1).collect();
        if axes.len() != dims.iter().filter(|d| self.axis(**d).is_none_or(|a| a.size > 1)).count() {
            return None; // it lacks one
        }
        let Some(last) = axes.last() else { return Some((1, 1)) };
        let mut span = last.stride * last.size as isize;
        for a in axes.iter().rev().skip(1) {
            if a.stride != span {
                return None;
            }
            span *= a.size as isize;
        }
        Some((axes.iter().map(|a| a.size).product(), last.stride))
    }
}

impl<S: Clone> View<S> {
    /// The same with some dimensions taken away (at index 0), and their strides in the order given.
    pub fn without(&self, dims: &[DimId]) -> (Self, Vec<isize>) {
        let strides = dims.iter().map(|d| self.stride(*d)).collect();
        let mut rest = self.clone();
        rest.axes.retain(|a| !dims.contains(&a.dim));
        (rest, strides)
    }
}
