//! Views: values as strided windows into buffers.

use crate::lowered::DimId;

/// Element type of a buffer.
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
    /// Eight f64: the inputs of a parameter update beside the gradients.
    Rule,
}

impl Element {
    /// Size of one element in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F64 => 8,
            Self::Key => 32,
            Self::Rule => 64,
        }
    }

    /// Name of the type: `f32`, `f64`, `u32`, `key`, `rule`.
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

/// A buffer, by role. A device knows the start of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Base {
    /// The scope's own arena.
    Scratch,
    /// Constants, which are the same at every call.
    Constants,
    /// Parameters.
    Params,
    /// Gradients of the parameters.
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
    /// The buffer.
    pub base: Base,
    /// Offset from the buffer's start, in bytes.
    pub bytes: usize,
}

impl Start {
    /// The first element behind a port.
    pub const fn port(port: usize) -> Self {
        Self { base: Base::Port(port), bytes: 0 }
    }
}

/// An axis of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Its dimension.
    pub dim: DimId,
    /// Its length.
    pub size: usize,
    /// Stride in elements; 0 where the value is constant along it.
    pub stride: isize,
}

/// A strided view of a value in a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<S = Start> {
    /// Start of the element with index 0 along every axis.
    pub start: S,
    /// Element type.
    pub element: Element,
    /// Axes in canonical order.
    pub axes: Vec<Axis>,
}

impl<S> View<S> {
    /// A contiguous row-major view of f32.
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

    /// The same view with another start.
    pub fn at<T>(self, start: T) -> View<T> {
        View { start, element: self.element, axes: self.axes }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.axes.iter().map(|a| a.size).product()
    }

    /// Whether it has no elements.
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

    /// Whether elements are contiguous in canonical order, without gaps or repeats.
    pub fn is_dense(&self) -> bool {
        let mut stride = 1isize;
        self.axes.iter().rev().all(|a| {
            let fits = a.size == 1 || a.stride == stride;
            stride *= a.size as isize;
            fits
        })
    }

    /// Offset of the last element from the first, in elements (views never run backwards).
    pub fn reach(&self) -> usize {
        self.axes.iter().map(|a| (a.size - 1) * a.stride.unsigned_abs()).sum()
    }

    /// Length and stride of the dimensions (outermost first) as one run of elements, if they form one. Dimensions of length 1 do not count;
    /// without any other, length 1 and any stride.
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
    /// The same view without some dimensions (at index 0), and their strides in the order given.
    pub fn without(&self, dims: &[DimId]) -> (Self, Vec<isize>) {
        let strides = dims.iter().map(|d| self.stride(*d)).collect();
        let mut rest = self.clone();
        rest.axes.retain(|a| !dims.contains(&a.dim));
        (rest, strides)
    }

    /// The inverse of [`View::without`]: the same view with further dimensions of these sizes and strides, and one more axis if there is one.
    pub fn along(&self, dims: &[DimId], sizes: &[usize], strides: &[isize], last: Option<Axis>) -> Self {
        let further = dims.iter().zip(sizes).zip(strides);
        let mut whole = self.clone();
        whole.axes.extend(further.map(|((dim, size), stride)| Axis { dim: *dim, size: *size, stride: *stride }));
        whole.axes.extend(last);
        whole
    }
}
