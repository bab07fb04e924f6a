//! Tests of attends whose tiles are more than one product of queries and keys.

use crate::agree::lines;
use crate::batches::{cotangents, packed, random_batch};
use crate::case::Subject;
use crate::device;
use crate::programs::compiled;
use archc_runtime::{BatchShape, Device, Dtype, Gradients, Objective, SessionOptions};

/// Keys have an axis that queries lack: products run over it and the columns of a tile together. The operands of the score are operands of
/// its gradient as well, but in another loop: the weights are computed between the two.
const INDEXERS: &str = "block Indexers[D](P = 3, K = 8) {
    input x[D]

    let q = linear[D -> K](x)
    let k = linear[D -> P, K](x)
    let w = linear[D -> P](x)
    attend {
        score sum[P](w * relu(sum[K](q * past(k))))
        emit o = past(x)
    }
    output o
}";

/// A product whose logarithm is the score and by which emits are divided: 0 is invalid for both, so none of its pairs may be skipped.
const LOGARITHMS: &str = "block Logarithms[D](K = 8) {
    input x[D]

    let q = 0.1 + sigmoid(linear[D -> K](x))
    let k = 0.1 + sigmoid(linear[D -> K](x))
    attend {
        let s = sum[K](q * past(k))
        score log(s)
        emit o = past(x) / s
    }
    output o
}";

/// One head whose tiles have products large enough to be shared between threads.
const ONE: &str = "block One[D](K = 64) {
    input x[D]

    let q = linear[D -> K](x)
    let k = linear[D -> K](x)
    attend {
        score sum[K](q * past(k)) / sqrt(K)
        emit o = past(x)
    }
    output o
}";

#[test]
fn products_of_pairs() {
    let tested = device();
    let subject = Subject::new(&tested, Dtype::F32);
    for text in [INDEXERS, LOGARITHMS, ONE] {
        let graph = compiled("attend.arch", text, &[("D", 16)]);
        for len in [40, 64, 130, 200] {
            let batch = random_batch(&graph, 2, len);
            let mut found = subject.compare(&graph, &batch);
            found.extend(subject.compare(&graph, &packed(batch)));
            assert!(found.is_empty(), "length {len} of\n{text}\n{}", lines(&found));
        }
    }
}

#[test]
fn threads_leave_out_the_same_pairs() {
    let graph = compiled("attend.arch", ONE, &[("D", 16)]);
    let batch = random_batch(&graph, 1, 300);
    let run = |threads: usize| -> Gradients {
        let options = SessionOptions { threads, ..SessionOptions::default() };
        let mut session = device().compile(&graph, BatchShape { batch: 1, len: 300 }, &options).unwrap();
        let r = cotangents(&session.forward(&batch, None).unwrap());
        session.gradients(&batch, Objective::Cotangents(&r)).unwrap()
    };
    assert!(run(1) == run(2));
}
