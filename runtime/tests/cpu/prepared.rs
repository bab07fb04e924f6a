//! Values that depend on parameters alone are computed once per version of the parameters, not once per session.

use crate::batches::random_batch;
use crate::device;
use crate::programs::programs;
use crate::whole::all;
use archc_runtime::{BatchShape, Device, SessionOptions};

#[test]
fn other_parameters_give_other_outputs() {
    for (name, graph) in all().iter().flat_map(|f| programs(f)) {
        let (batch, options) = (random_batch(&graph, 2, 9), SessionOptions::default());
        let compile = || device().compile(&graph, BatchShape { batch: 2, len: 9 }, &options).unwrap();
        let (mut session, mut other) = (compile(), compile());
        let first = session.forward(&batch, None).unwrap().outputs;
        assert_eq!(session.forward(&batch, None).unwrap().outputs, first, "{name}: the same again");
        let mut changed = session.snapshot().unwrap();
        changed.params.values_mut().flat_map(|p| &mut p.data).for_each(|x| *x = 0.5 * *x + 0.01);
        session.restore(&changed).unwrap();
        other.restore(&changed).unwrap();
        let second = session.forward(&batch, None).unwrap().outputs;
        assert_eq!(second, other.forward(&batch, None).unwrap().outputs, "{name}: other parameters");
        assert!(graph.params.is_empty() || second != first, "{name}: parameters change nothing");
    }
}
