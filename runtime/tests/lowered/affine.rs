//! Tests of random affine recurrences: chunked against token by token, forward and gradients.
//!
//! A program is drawn: a decay (none, one per head, by key, by value), some updates in turn or at once (writes, delta steps, steps that
//! erase with another key), and reads at two points. The reference runs it token by token; the device in chunks.

use crate::agree::lines;
use crate::batches::{packed, random_batch};
use crate::case::Subject;
use crate::check::exact;
use crate::chunked;
use crate::programs::compiled;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// The text of a recurrence.
fn program(decay: usize, updates: &[usize], early: bool, wide: bool) -> String {
    let mut maps = String::new();
    let mut body = String::new();
    match decay {
        1 => body.push_str("        S = exp(-softplus(linear_a)) * S\n"),
        2 => body.push_str("        S = exp(-softplus(linear_w)) * S\n"),
        3 => body.push_str("        S = exp(-softplus(linear_u)) * S\n"),
        _ => {}
    }
    maps.push_str("    let linear_a[H] = x |> linear[H]\n");
    maps.push_str("    let linear_w[H, K] = x |> linear[H, K]\n");
    maps.push_str("    let linear_u[H, V] = x |> linear[H, V]\n");
    if early {
        body.push_str("        emit before = sum[K](q * S)\n");
    }
    for (i, update) in updates.iter().enumerate() {
        let shape = if wide { "V" } else { "H, V" };
        maps.push_str(&format!("    let k{i}[H, K] = x |> linear[H, K] |> l2norm[K]\n"));
        maps.push_str(&format!("    let p{i}[H, K] = x |> linear[H, K] |> l2norm[K]\n"));
        maps.push_str(&format!("    let v{i}[{shape}] = x |> linear[{shape}]\n"));
        maps.push_str(&format!("    let beta{i}[H] = x |> linear[H] |> sigmoid\n"));
        body.push_str(&match update {
            0 => format!("        S = S + k{i} * v{i}\n"),
            1 => format!("        S = S + beta{i} * k{i} * (v{i} - sum[K](k{i} * S))\n"),
            2 => format!("        S = S - 0.5 * beta{i} * k{i} * sum[K](p{i} * S) + p{i} * v{i}\n"),
            _ => format!("        S = S + k{i} * v{i} - beta{i} * p{i} * v{i}\n"),
        });
    }
    body.push_str("        emit after = sum[K](q * S)\n");
    let output = if early { "after + 0.5 * before" } else { "after" };
    format!(
        "block Drawn[D](H = 2, K = 4, V = 3) {{\n    input x[D]\n\n    let q[H, K] = x |> linear[H, K]\n{maps}    scan {{\n        \
         state S[H, K, V] = 0\n{body}    }}\n    let gates = sum[K](linear_w) + linear_a\n    output ({output}) * sigmoid(linear_u + gates) |> linear[H, V -> D]\n}}\n"
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases * 3 / 32,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn chunks_are_the_recurrence(
        decay in 0usize..4,
        updates in prop::collection::vec(0usize..4, 1..4),
        early in any::<bool>(),
        wide in any::<bool>(),
        len in 1usize..70,
        documents in any::<bool>(),
    ) {
        let text = program(decay, &updates, early, wide);
        let graph = compiled("drawn.arch", &text, &[("D", 6)]);
        let device = chunked(16);
        let subject = Subject::new(device.as_ref(), exact());
        let batch = random_batch(&graph, 2, len);
        let batch = if documents && len > 4 { packed(batch) } else { batch };
        let found = subject.compare(&graph, &batch);
        prop_assert!(found.is_empty(), "{text}\n{}", lines(&found));
    }
}
