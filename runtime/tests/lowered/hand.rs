//! Lowered graphs by hand: leaves by name, any dimensions.

use crate::build::{Build, nowhere};
use crate::check::noise;
use archc_compiler::graph::ParamLayout;
use archc_compiler::lowered::{BATCH, Builder, Dim, DimId, Extent, Lowered, Op, Shape, TIME, ValueId, verify};
use archc_runtime::compiled::Leaves;
use archc_runtime::interpret::interpret;
use archc_runtime::{Tensor, Tensors};

/// A graph under construction, with the elements of its leaves.
pub struct Hand {
    dims: Vec<Dim>,
    pub leaves: Leaves,
    /// The elements of the leaves by name.
    pub given: Tensors,
}

impl Hand {
    /// Two sequences of `len` tokens; the documents of the second one have `document` tokens.
    pub fn new(len: usize, document: usize) -> Self {
        let dims = vec![
            Dim { name: "B".into(), extent: Extent::Batch, rank: 0 },
            Dim { name: "T".into(), extent: Extent::Time, rank: 2 },
        ];
        let pos = (0..len).chain((0..len).map(|t| t % document)).map(|p| p as u32).collect();
        let doc = (0..len).map(|_| 0).chain((0..len).map(|t| t / document)).map(|d| d as u32).collect();
        let leaves = Leaves { batch: 2, len, pos, doc, ..Leaves::default() };
        Self { dims, leaves, given: Tensors::new() }
    }

    pub fn axis(&mut self, name: &str, size: usize) -> DimId {
        self.dim(name, Extent::Fixed(size), 4)
    }

    pub fn dim(&mut self, name: &str, extent: Extent, rank: u8) -> DimId {
        self.dims.push(Dim { name: name.into(), extent, rank });
        DimId(self.dims.len() as u32 - 1)
    }

    /// Evaluates the graph that `make` builds; every `leaf` without elements gets normal ones that depend on its name.
    pub fn run(&mut self, make: impl FnOnce(&mut Builder<'_>) -> Vec<ValueId>) -> Vec<Tensor> {
        let mut dims = self.dims.clone();
        let mut b = Builder::new(&mut dims, nowhere());
        let wanted = make(&mut b);
        let dag = b.dag;
        let forward_nodes = dag.len();
        let graph = Lowered {
            source: Build::new().done(),
            params: ParamLayout::default(),
            dims,
            dag,
            outputs: Vec::new(),
            objective: None,
            carries: Vec::new(),
            param_grads: Vec::new(),
            input_grads: Vec::new(),
            forward_nodes,
            update: false,
            careful: false,
        };
        verify(&graph).unwrap();
        let shape = Shape { batch: 2, len: self.leaves.len, carried: self.leaves.carried_tokens };
        for node in graph.dag.nodes() {
            if let Op::Carried(name, dims) = &node.op {
                let shape: Vec<usize> = dims.iter().map(|d| graph.dim(*d).extent.at(shape)).collect();
                let tensor = self.given.entry(name.clone()).or_insert_with(|| noise(name, &shape));
                self.leaves.carried.insert(name.clone(), tensor.clone().into());
            }
        }
        interpret(&graph, &[], &self.leaves, &wanted).unwrap_or_else(|e| panic!("{}", e.message))
    }

    /// The elements of a leaf.
    pub fn numbers(&self, name: &str) -> &[f64] {
        &self.given[name].data
    }
}

/// A leaf with its own elements.
pub fn leaf(b: &mut Builder<'_>, name: &str, dims: &[DimId]) -> ValueId {
    let mut dims = dims.to_vec();
    dims.sort_by_key(|d| (b.dims[d.0 as usize].rank, *d));
    b.op(Op::Carried(name.into(), dims), &[])
}

/// A leaf over tokens.
pub fn tokens(b: &mut Builder<'_>, name: &str, axes: &[DimId]) -> ValueId {
    leaf(b, name, &[&[BATCH, TIME], axes].concat())
}

/// Asserts that two lists of numbers are equal up to rounding: sums of up to some thousand terms of size 1 in another order.
pub fn same(have: &[f64], want: &[f64]) {
    assert_eq!(have.len(), want.len());
    for (i, (a, b)) in have.iter().zip(want).enumerate() {
        assert!((a - b).abs() <= 1e-12 * (1.0 + b.abs()), "[{i}]: {a}, not {b}");
    }
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
