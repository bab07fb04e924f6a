//! Tests of every op that has a gradient, with operands that are broadcast.

use crate::made::{Made, check};
use archc_compiler::graph::{BinaryOp, ReduceOp, UnaryOp};
use archc_compiler::lowered::{BATCH, Builder, DimId, Extent, Op, Pairs, TIME, ValueId};

/// Checks f of a parameter `[A0]`, of an input `[A0]`, and of a value that is constant over A1 afterwards.
fn unary(range: (f64, f64), f: UnaryOp) {
    let mut m = Made::new(&[3, 2]);
    let (h, k) = (m.axis(0), m.axis(1));
    let (p, x, w) = (m.param(&[h], range), m.input(&[h], range), m.param(&[h, k], (-1.0, 1.0)));
    let lowered = m.lowered(|b, leaf| {
        let (p, x, w) = (leaf(b, p), leaf(b, x), leaf(b, w));
        let (y, z) = (b.unary(f, p), b.unary(f, x));
        let y = b.mul(y, z);
        vec![b.mul(y, w)]
    });
    check(&m, &lowered);
}

#[test]
fn of_one_value() {
    let all = (-2.0, 2.0);
    let others = [UnaryOp::Neg, UnaryOp::Not, UnaryOp::Powi(0), UnaryOp::Powi(1), UnaryOp::Powi(2), UnaryOp::Powi(3)];
    let with_poles = [UnaryOp::Powi(-2)];
    for f in UnaryOp::CALLED.iter().copied().chain(others).chain(with_poles) {
        unary(if f.domain().has_pole() { (0.3, 2.0) } else { all }, f);
    }
}

#[test]
fn of_two_values() {
    let all = [
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::Rem,
        BinaryOp::Pow,
        BinaryOp::Min,
        BinaryOp::Max,
        BinaryOp::Lt,
    ];
    for f in all {
        let mut m = Made::new(&[3, 2]);
        let (h, k) = (m.axis(0), m.axis(1));
        let range = (0.3, 2.0);
        let given = [m.param(&[h], range), m.param(&[k], range), m.input(&[h], range), m.input(&[h, k], range)];
        let lowered = m.lowered(|b, leaf| {
            let [p, q, x, y] = given.map(|g| leaf(b, g));
            let pairs = [(p, q), (p, x), (y, q), (x, y), (y, y), (p, p)];
            pairs.map(|(x, y)| b.binary(f, x, y)).to_vec()
        });
        check(&m, &lowered);
    }
}

/// Sums over a dimension that an operand lacks count it as often as it is long: over batch and time too.
#[test]
fn of_what_is_constant() {
    let mut m = Made::new(&[3, 2]);
    let (h, k) = (m.axis(0), m.axis(1));
    let (p, q) = (m.param(&[h], (-1.0, 1.0)), m.param(&[k], (-1.0, 1.0)));
    let lowered = m.lowered(|b, leaf| {
        let (p, q) = (leaf(b, p), leaf(b, q));
        let wide = b.op(Op::Expand(vec![BATCH, TIME]), &[p]);
        let wide = b.add(wide, q);
        let mean = b.op(Op::Reduce(ReduceOp::Mean, vec![BATCH, h]), &[wide]);
        let sum = b.sum(wide, &[TIME, k]);
        let squares = b.contract(wide, wide, &[k, TIME]);
        vec![mean, sum, squares]
    });
    check(&m, &lowered);
}

#[test]
fn choices() {
    let mut m = Made::new(&[3, 2]);
    let (h, k) = (m.axis(0), m.axis(1));
    let range = (-1.0, 1.0);
    let given = [m.param(&[h], range), m.param(&[k], range), m.input(&[h], range)];
    let lowered = m.lowered(|b, leaf| {
        let [p, q, x] = given.map(|g| leaf(b, g));
        let zero = b.number(0.0);
        let c = b.binary(BinaryOp::Gt, x, zero);
        let y = b.op(Op::Select, &[c, p, q]);
        let stopped = b.op(Op::StopGrad, &[p]);
        let stopped = b.mul(stopped, x);
        let dropped = b.op(Op::Expand(vec![k]), &[x]);
        let half = b.number(0.5);
        let dropped = b.op(Op::Dropout { path: "d".into() }, &[dropped, half]);
        let sum = b.sum(dropped, &[k]);
        vec![y, sum, stopped]
    });
    // the stopped output has a slope that its gradient leaves out, so the differences are those of the others alone
    let mut without = lowered.clone();
    without.outputs.pop();
    check(&m, &without);
    let (joint, _) = crate::made::joint(&lowered);
    let (params, leaves) = m.numbers(&lowered);
    let by = |graph: &archc_compiler::lowered::Lowered| {
        let id = graph.param_grads[0].1;
        crate::made::run(graph, &params, &leaves, &[id])[0].data.clone()
    };
    let (without, _) = crate::made::joint(&without);
    assert_eq!(by(&joint), by(&without));
}

#[test]
fn reductions() {
    let all = [
        ReduceOp::Sum,
        ReduceOp::Mean,
        ReduceOp::Max,
        ReduceOp::Min,
        ReduceOp::Var { sample: false },
        ReduceOp::Var { sample: true },
        ReduceOp::Std { sample: false },
        ReduceOp::Std { sample: true },
        ReduceOp::Norm,
        ReduceOp::LogSumExp,
    ];
    for f in all {
        let mut m = Made::new(&[3, 2, 2]);
        let (h, k, v) = (m.axis(0), m.axis(1), m.axis(2));
        let (p, x) = (m.param(&[h, k, v], (-1.0, 1.0)), m.input(&[h, k], (-1.0, 1.0)));
        let lowered = m.lowered(|b, leaf| {
            let (p, x) = (leaf(b, p), leaf(b, x));
            let y = b.op(Op::Reduce(f, vec![k, h]), &[p]);
            let z = b.op(Op::Reduce(f, vec![h]), &[x]);
            let w = b.mul(p, x);
            let w = b.op(Op::Reduce(f, vec![v, h]), &[w]);
            vec![y, z, w]
        });
        check(&m, &lowered);
    }
}

/// A running sum that restarts where x is positive.
fn anew(b: &mut Builder, x: ValueId, dim: DimId, exclusive: bool) -> ValueId {
    let zero = b.number(0.0);
    let starts = b.binary(BinaryOp::Gt, x, zero);
    b.op(Op::Cumsum { dim, reverse: exclusive, exclusive }, &[x, starts])
}

#[test]
fn over_a_dimension() {
    type Make = fn(&mut Builder, ValueId, DimId, DimId) -> ValueId;
    let all: [Make; 9] = [
        |b, x, h, k| b.op(Op::Softmax(vec![h, k]), &[x]),
        |b, x, h, _| b.op(Op::Sparsemax(h), &[x]),
        |b, x, h, _| b.op(Op::Cumsum { dim: h, reverse: false, exclusive: false }, &[x]),
        |b, x, h, _| b.op(Op::Cumsum { dim: h, reverse: true, exclusive: true }, &[x]),
        |b, x, h, _| anew(b, x, h, false),
        |b, x, h, _| anew(b, x, h, true),
        |b, x, h, _| b.op(Op::Sort(h), &[x]),
        |b, x, h, _| b.op(Op::TopK(h, 2), &[x]),
        |b, x, h, k| b.contract(x, x, &[h, k]),
    ];
    for make in all {
        let mut m = Made::new(&[4, 3, 2]);
        let (h, k, v) = (m.axis(0), m.axis(1), m.axis(2));
        let (p, x) = (m.param(&[h, k], (-1.0, 1.0)), m.input(&[h], (-1.0, 1.0)));
        let w = m.param(&[v], (-1.0, 1.0));
        let lowered = m.lowered(|b, leaf| {
            let (p, x, w) = (leaf(b, p), leaf(b, x), leaf(b, w));
            let x = b.mul(p, x);
            let (y, z) = (make(b, x, h, k), make(b, p, h, k));
            // one result whose cotangent is constant along the dimension, and one whose cotangent is not
            let over: Vec<DimId> = [h].into_iter().filter(|d| b.has(y, *d)).collect();
            let y = b.sum(y, &over);
            vec![b.mul(y, w), z]
        });
        check(&m, &lowered);
    }
}

#[test]
fn layouts() {
    let mut m = Made::new(&[2, 3, 6, 5, 3]);
    let [h, k, hk, cat, k2] = [0, 1, 2, 3, 4].map(|i| m.axis(i));
    let range = (-1.0, 1.0);
    let given = [m.param(&[h, k], range), m.input(&[h, k], range), m.input(&[hk], range), m.param(&[cat], range)];
    let lowered = m.lowered(|b, leaf| {
        let [p, x, flat, joined] = given.map(|g| leaf(b, g));
        let y = b.mul(p, x);
        let flattened = b.op(Op::Flatten(vec![k, h], hk), &[y]);
        let split = b.op(Op::Split(hk, vec![h, k]), &[flat]);
        let picks: Vec<ValueId> = (0..3).map(|i| b.op(Op::Pick(k, i), &[split])).collect();
        let some = b.mul(picks[0], picks[2]);
        let sums = b.sum(p, &[k]);
        let stacked = b.op(Op::Stack(k2), &[picks[1], some, sums]);
        let first = b.op(Op::Cut { from: cat, offset: 0, into: h }, &[joined]);
        let second = b.op(Op::Cut { from: cat, offset: 2, into: k }, &[joined]);
        let both = b.mul(first, second);
        let part = b.op(Op::Cut { from: cat, offset: 1, into: k }, &[joined]);
        let cat_again = b.op(Op::Cat(vec![h, k], cat), &[first, part]);
        let renamed = b.rename(y, k, k2);
        let product = b.mul(renamed, y);
        let spread = b.op(Op::Expand(vec![h, BATCH]), &[part]);
        let squares = b.mul(spread, spread);
        vec![flattened, split, stacked, both, cat_again, product, squares]
    });
    check(&m, &lowered);
}

#[test]
fn chunks_of_time() {
    let mut m = Made::new(&[3]);
    let h = m.axis(0);
    let chunks = m.dim("N", Extent::Chunks(2), 1);
    let rows = m.dim("C", Extent::Fixed(2), 2);
    let x = m.input(&[h], (-1.0, 1.0));
    let lowered = m.lowered(|b, leaf| {
        let x = leaf(b, x);
        let y = b.op(Op::Chunk { chunks, rows, fill: 0.5 }, &[x]);
        let sums = b.sum(y, &[rows]);
        let z = b.mul(y, sums);
        let z = b.op(Op::Unchunk { chunks, rows }, &[z]);
        let back = b.op(Op::Unchunk { chunks, rows }, &[y]);
        let total = b.sum(back, &[TIME]);
        vec![z, total]
    });
    check(&m, &lowered);
}

#[test]
fn tokens() {
    let mut m = Made::new(&[5, 4, 3]);
    let (vocab, logits, h) = (m.axis(0), m.axis(1), m.axis(2));
    let range = (-1.0, 1.0);
    let given = [m.param(&[vocab, h], range), m.param(&[logits, h], range), m.input(&[logits], range)];
    let lowered = m.lowered(|b, leaf| {
        let [table, head, x] = given.map(|g| leaf(b, g));
        let y = b.op(Op::Embed { vocab, prefix: None }, &[table]);
        let z = b.contract(y, head, &[h]);
        let z = b.mul(z, x);
        let loss = b.op(Op::CrossEntropy { vocab: logits }, &[z]);
        vec![y, loss]
    });
    check(&m, &lowered);
}

#[test]
fn time() {
    let mut m = Made::new(&[3, 2]);
    let (w, h) = (m.axis(0), m.axis(1));
    let lag = m.dim("L", Extent::Time, 4);
    let range = (-1.0, 1.0);
    let given = [m.param(&[w, h], range), m.input(&[h], range), m.param(&[h], range), m.input(&[], range)];
    let lowered = m.lowered(|b, leaf| {
        let [filter, x, rate, one] = given.map(|g| leaf(b, g));
        let y = b.op(Op::Window { dim: w, step: 2 }, &[x]);
        let conv = b.contract(y, filter, &[w]);
        let along = b.op(Op::Index(vec![lag]), &[]);
        let decay = b.mul(along, rate);
        let long = b.op(Op::LongConv { lag }, &[decay, x]);
        let shared = b.op(Op::LongConv { lag }, &[decay, one]);
        let plain = b.sum(decay, &[h]);
        let plain = b.op(Op::LongConv { lag }, &[plain, x]);
        vec![conv, long, shared, plain]
    });
    check(&m, &lowered);
}

#[test]
fn solves() {
    for transpose in [false, true] {
        let mut m = Made::new(&[4, 4, 2, 3]);
        let [rows, cols, h, v] = [0, 1, 2, 3].map(|i| m.axis(i));
        let range = (-1.0, 1.0);
        let given = [
            m.input(&[rows, cols, h], range),
            m.param(&[rows, v], range),
            m.param(&[rows, cols], range),
            m.input(&[rows, h, v], range),
        ];
        let lowered = m.lowered(|b, leaf| {
            let [a, x, fixed, y] = given.map(|g| leaf(b, g));
            let solve = Op::SolveUnitLower { rows, cols, transpose };
            let p = b.op(solve.clone(), &[a, x]);
            let q = b.op(solve.clone(), &[fixed, y]);
            let r = b.op(solve, &[fixed, x]);
            let r = b.sum(r, &[rows]);
            vec![p, q, r]
        });
        check(&m, &lowered);
    }
}

#[test]
fn decays() {
    for (strict, before) in [(false, false), (true, false), (true, true)] {
        let mut m = Made::new(&[4, 4, 2, 3]);
        let [rows, cols, h, k] = [0, 1, 2, 3].map(|i| m.axis(i));
        let pairs = Pairs { rows, cols, strict, before };
        let range = (-1.0, 1.0);
        let decay = (-1.5, 0.0);
        let given = [
            m.input(&[rows, h, k], range),
            m.input(&[cols, k], range),
            m.input(&[rows, h, k], decay),
            m.param(&[rows, k], decay),
            m.param(&[rows], decay),
        ];
        let lowered = m.lowered(|b, leaf| {
            let [q, key, g, fixed, scalar] = given.map(|g| leaf(b, g));
            let d = b.op(Op::PairDecay(pairs), &[scalar]);
            let e = b.op(Op::PairDecay(pairs), &[g]);
            let dot = b.op(Op::DecayDot { over: k, pairs }, &[q, key, g]);
            let shared = b.op(Op::DecayDot { over: k, pairs }, &[q, key, fixed]);
            let square = b.mul(dot, d);
            vec![d, e, dot, shared, square]
        });
        check(&m, &lowered);
    }
}

#[test]
fn decays_by_products() {
    for (strict, before) in [(false, false), (true, false), (true, true)] {
        let mut m = Made::new(&[4, 4, 2]);
        let [rows, cols, h] = [0, 1, 2].map(|i| m.axis(i));
        let pairs = Pairs { rows, cols, strict, before };
        // of both signs; a row's factor of about 0 is among them
        let range = (-1.0, 1.0);
        let given = [m.input(&[rows, h], range), m.param(&[rows], range), m.param(&[rows, h], (-1e-3, 1e-3))];
        let lowered = m.lowered(|b, leaf| {
            let [a, fixed, small] = given.map(|g| leaf(b, g));
            let mut all: Vec<ValueId> = [a, fixed, small].map(|a| b.op(Op::PairProduct(pairs), &[a])).into();
            for (reverse, exclusive) in [(false, false), (false, true), (true, false), (true, true)] {
                let way = Op::Cumprod { dim: rows, reverse, exclusive };
                all.extend([a, fixed, small].map(|a| b.op(way.clone(), &[a])));
            }
            let square = b.mul(all[0], all[1]);
            all.push(square);
            all
        });
        check(&m, &lowered);
    }
}
