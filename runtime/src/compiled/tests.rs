//! Tests of carries that stay in a session's representation: what is converted, and what an executor that fails leaves.

use super::{CompiledSession, Executor, Held, Leaves, Step};
use crate::cpu::CpuExecutor;
use crate::errors;
use crate::number::counting::conversions;
use crate::session::{Batch, Carry, Memory, Metrics, Session, SessionOptions, Tensor};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{Graph, ParamId};
use archc_compiler::lowered::{Lowered, Shape, ValueId};
use archc_compiler::source::SourceMap;
use archc_compiler::{Options, Target, compile};
use std::sync::Arc;

/// An attend, a window and a scan.
const PROGRAM: &str = "
block Mixed[D](K = 4) {
    input x[D]
    let k[K] = x |> linear[K]
    let near = k + shift(k, 3)
    attend {
        score sum[K](near * past(k))
        emit o = past(x)
    }
    scan {
        state s[D] = 0
        s = 0.5 * s + o
        emit y = s
    }
    output y
}
";

fn graph() -> Arc<Graph> {
    let mut sources = SourceMap::new();
    let file = sources.add("mixed", PROGRAM);
    let mut options = Options::default();
    options.sizes.set.insert("D".to_owned(), 6.0);
    match compile(&sources, file, &options).into_graph() {
        Ok(graph) => Arc::new(graph),
        Err(found) => panic!("{found:?}"),
    }
}

/// The executor of the cpu device, which refuses runs while `fails` is set.
struct Faulty {
    inner: CpuExecutor,
    fails: bool,
}

impl Executor for Faulty {
    type Compiled = <CpuExecutor as Executor>::Compiled;
    type Number = f32;

    fn target(&self) -> Target {
        self.inner.target()
    }

    fn read(&self, what: Held) -> Vec<Vec<f32>> {
        self.inner.read(what)
    }

    fn write(&mut self, what: Held, param: ParamId, values: Vec<f32>) {
        self.inner.write(what, param, values);
    }

    fn compile(&self, graph: &Arc<Lowered>, shape: Shape) -> Result<Self::Compiled, Diagnostic> {
        self.inner.compile(graph, shape)
    }

    fn run(
        &mut self,
        program: &mut Self::Compiled,
        leaves: &Leaves<f32>,
        wanted: &[ValueId],
    ) -> Result<Vec<Tensor<Vec<f32>>>, Diagnostic> {
        if self.fails { Err(errors::bug("a run", "it was to fail")) } else { self.inner.run(program, leaves, wanted) }
    }

    fn step(&mut self, program: &mut Self::Compiled, leaves: &Leaves<f32>, step: &Step) -> Result<Metrics, Diagnostic> {
        self.inner.step(program, leaves, step)
    }

    fn memory(&self, program: &Self::Compiled) -> Option<Memory> {
        self.inner.memory(program)
    }
}

fn session() -> CompiledSession<Faulty> {
    let (graph, options) = (graph(), SessionOptions::default());
    let inner = CpuExecutor::new(&graph, &options, Target::cpu()).unwrap();
    CompiledSession::new(&graph, &options, Faulty { inner, fails: false }).unwrap()
}

/// Numbers of one token of two sequences.
fn token(at: usize) -> Vec<f32> {
    (0..12).map(|i| ((at * 7 + i * 5) % 11) as f32 * 0.125 - 0.5).collect()
}

fn batch(numbers: &[f32]) -> Batch<&[f32]> {
    let x = Tensor { shape: vec![2, 1, 6], data: numbers };
    Batch { batch: 2, len: 1, inputs: [("x".to_owned(), x)].into(), ..Batch::default() }
}

#[test]
fn no_number_of_a_carry_is_converted_from_token_to_token() {
    let mut session = session();
    let mut carry = None;
    for t in 0..300 {
        let numbers = token(t);
        let (made, outputs) = conversions(|| session.advance_f32(&batch(&numbers), &mut carry).unwrap());
        assert_eq!(made, 0, "token {t}");
        assert!(outputs.values().all(|y| y.shape == [2, 1, 6]));
    }
    // the conversion is counted where one is made
    let (made, tensors) = conversions(|| carry.unwrap().tensors().into_owned());
    let past: usize = tensors.iter().filter(|(name, _)| *name != "pos").map(|(_, t)| t.data.len()).sum();
    assert!(past > 2 * 300 * (4 + 6) && made == past, "{made} conversions of {past} numbers");
    let (made, _) = conversions(|| session.advance_f32(&batch(&token(300)), &mut Some(tensors.into())).unwrap());
    assert!(made >= past, "named tensors are converted");
}

#[test]
fn a_run_that_fails_leaves_the_carry() {
    let mut session = session();
    for named in [false, true] {
        let mut carry = None;
        for t in 0..5 {
            session.advance_f32(&batch(&token(t)), &mut carry).unwrap();
        }
        if named {
            carry = carry.map(|c: Carry| c.tensors().into_owned().into());
        }
        let before = carry.clone();
        let numbers = token(5);
        let mut undisturbed = carry.clone();
        let wanted = session.advance_f32(&batch(&numbers), &mut undisturbed).unwrap();
        session.executor_mut().fails = true;
        for _ in 0..2 {
            assert_eq!(session.advance_f32(&batch(&numbers), &mut carry).unwrap_err().code, "E0899");
            assert_eq!(carry, before);
        }
        session.executor_mut().fails = false;
        assert_eq!(session.advance_f32(&batch(&numbers), &mut carry).unwrap(), wanted);
        assert_eq!(carry, undisturbed);
        session.executor_mut().fails = true;
        let mut none = None;
        assert!(session.advance_f32(&batch(&numbers), &mut none).is_err() && none.is_none());
        session.executor_mut().fails = false;
    }
}
