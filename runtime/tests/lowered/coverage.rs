//! Test of the ops that occur in the programs on which agreement is tested.

use crate::programs::{files, programs};
use archc_compiler::Target;
use archc_compiler::gradient::{Seed, Wanted, differentiate};
use archc_compiler::lower::{LowerOptions, lower};
use archc_compiler::lowered::{Dag, Op, verify};
use std::collections::BTreeSet;

/// Collects the names of a graph's ops, bodies included.
fn ops(dag: &Dag, names: &mut BTreeSet<String>) {
    for node in dag.nodes() {
        match &node.op {
            Op::Loop(l) => ops(&l.body, names),
            Op::Attend(a) => ops(&a.body, names),
            Op::AttendGrad(g) => ops(&g.body, names),
            _ => {}
        }
        let text = format!("{:?}", node.op);
        names.insert(text.chars().take_while(|c| c.is_alphanumeric()).collect());
    }
}

/// The programs have every op that only lowering or differentiation makes, so that the tests of agreement cover all of them.
#[test]
fn programs_have_all_ops() {
    let mut names = BTreeSet::new();
    for (_, graph) in
        ["stdlib", "seeds", "examples", "tests/scans"].into_iter().flat_map(files).flat_map(|f| programs(&f))
    {
        for (resets, carry) in [(false, false), (true, false), (true, true)] {
            let options = LowerOptions {
                target: Target::cpu(),
                chunk: Some(64),
                resets,
                carry,
                losses: !carry,
                training: !carry,
                careful: false,
            };
            let mut made = lower(&graph, &options);
            verify(&made).unwrap();
            ops(&made.dag, &mut names);
            if !carry {
                made = differentiate(
                    &made,
                    &Wanted { seed: Seed::Cotangents, inputs: true, params: true, update: false, exact: false },
                );
                verify(&made).unwrap();
                ops(&made.dag, &mut names);
            }
        }
    }
    let wanted = [
        "Attend",
        "AttendGrad",
        "Carried",
        "Chunk",
        "Cumprod",
        "CumprodGrad",
        "Cumsum",
        "DecayDot",
        "DecayDotGrad",
        "Delta",
        "Dropout",
        "Emit",
        "Final",
        "Lag",
        "LongConv",
        "LongConvBack",
        "LongConvFilter",
        "Loop",
        "PairDecay",
        "PairDecayGrad",
        "PairProduct",
        "PairProductGrad",
        "Past",
        "Put",
        "Scatter",
        "SolveUnitLower",
        "State",
        "TopKMask",
        "Unchunk",
        "Unwindow",
        "Weight",
        "Window",
    ];
    let missing: Vec<&str> = wanted.into_iter().filter(|w| !names.contains(*w)).collect();
    assert!(missing.is_empty(), "no program has {missing:?}; they have {names:?}");
}
