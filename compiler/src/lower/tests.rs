use super::{LowerOptions, lower};
use crate::lowered::{Lowered, Op, print};
use crate::source::SourceMap;
use crate::{Options, Target, compile};
use insta::assert_snapshot;
use std::sync::Arc;

const PLAIN: LowerOptions = LowerOptions {
    target: Target::cpu(),
    chunk: None,
    resets: false,
    carry: false,
    losses: false,
    training: false,
    careful: false,
};

fn lowered(text: &str, options: LowerOptions) -> Lowered {
    let mut sources = SourceMap::new();
    let file = sources.add("test", text.to_string());
    let mut sizes = Options::default();
    sizes.sizes.set.insert("D".into(), 4.0);
    match compile(&sources, file, &sizes).into_graph() {
        Ok(graph) => lower(&Arc::new(graph), &options),
        Err(found) => panic!("{found:?}"),
    }
}

#[test]
fn a_linear_is_a_contraction_and_a_rename() {
    let text = "block Map[D] { input x[D] output linear[D -> D](x, bias = zeros) }";
    assert_snapshot!(print(&lowered(text, PLAIN)));
}

#[test]
fn a_loss_is_a_contraction_with_the_tokens_weights() {
    let text = "block Loss[D] { input x[D] let y = linear[D -> D](x) loss anneal(2, 1, steps = 10) * y ^ 2 output y }";
    assert_snapshot!(print(&lowered(text, LowerOptions { losses: true, ..PLAIN })));
}

/// A recurrent network: truly sequential.
const NETWORK: &str = "block Network[D] {
    input x[D]
    scan {
        state h[D] = 0
        h = tanh(linear[D -> D](h) + linear[D -> D](x))
        emit y = h
    }
    output y
}";

#[test]
fn a_network_is_a_loop_over_time() {
    assert_snapshot!(print(&lowered(NETWORK, LowerOptions { resets: true, carry: true, ..PLAIN })));
}

#[test]
fn a_network_is_a_loop_over_chunks_of_loops_over_rows() {
    assert_snapshot!(print(&lowered(NETWORK, LowerOptions { chunk: Some(16), ..PLAIN })));
}

#[test]
fn wide_operands_of_a_loop_are_made_in_it() {
    let text = "block Selective[D](N = 512) {
        input x[D]
        param A[D, N] = normal(1)
        let dt = softplus(linear[D -> D](x))
        let b[N] = x |> linear[N]
        let c[N] = x |> linear[N]
        scan {
            state h[D, N] = 0
            h = exp(-exp(A) * dt) * h + dt * x * b
            emit y = sum[N](c * h)
        }
        output y
    }";
    let lowered = lowered(text, LowerOptions { chunk: Some(16), ..PLAIN });
    let wide = lowered.dag.nodes().iter().filter(|n| n.dims.len() == 4 && !matches!(n.op, Op::Param(_)));
    let names: Vec<String> = wide.map(|n| format!("{:?}", n.dims)).collect();
    assert!(names.iter().all(|d| !d.contains("DimId(2), DimId(3)")), "{}", print(&lowered));
    assert_snapshot!(print(&lowered));
}

#[test]
fn an_attend_is_a_tile_with_scaled_queries() {
    let text = "block Near[D](H = 2, K = 2) {
        input x[D]
        let q[H, K] = x |> linear[H, K]
        let k[H, K] = x |> linear[H, K]
        param nothing[H] = zeros
        attend {
            where lag < 8
            score sum[K](q * past(k)) * K ^ -0.5 - alibi[H] * lag
            sink nothing
            emit o = past(k) * q
        }
        output linear[H, K -> D](o)
    }";
    assert_snapshot!(print(&lowered(text, PLAIN)));
    assert_snapshot!(print(&lowered(text, LowerOptions { carry: true, ..PLAIN })));
}

#[test]
fn scores_that_mix_their_heads_keep_them_inside() {
    let text = "block Talking[D](H = 2, K = 2) {
        input x[D]
        let q[H, K] = x |> linear[H, K]
        let k[H, K] = x |> linear[H, K]
        attend {
            score linear[H -> H](sum[K](q * past(k)))
            emit o = past(k)
        }
        output linear[H, K -> D](o)
    }";
    assert_snapshot!(print(&lowered(text, PLAIN)));
}

#[test]
fn a_weight_of_the_lag_alone_is_a_filter() {
    let text = "block Filter[D] {
        input x[D]
        param speed[D] = normal(1)
        attend {
            weight exp(-exp(speed) * lag)
            emit y = past(x)
        }
        output y
    }";
    assert_snapshot!(print(&lowered(text, PLAIN)));
}

#[test]
fn windows_and_dropout_stay_ops() {
    let text = "block Conv[D] { input x[D] output conv(x, width = 4) |> dropout(p = 0.1) }";
    assert_snapshot!(print(&lowered(text, LowerOptions { carry: true, training: true, ..PLAIN })));
}

#[test]
fn equal_ops_are_one_and_sites_stay_apart() {
    let text = "block A[D]() {
        input x[D]
        let a = exp(x + 1)
        let b = exp(x + 1)
        let c = linear[D -> D](x) * linear[D -> D](x)
        output dropout(a, 0.5) * dropout(b, 0.5) + c
    }";
    let graph = lowered(text, LowerOptions { training: true, ..PLAIN });
    let count = |op: &str| print(&graph).lines().filter(|l| l.contains(op)).count();
    assert_eq!(count("= exp "), 1, "{}", print(&graph));
    assert_eq!(count("= contract"), 2, "{}", print(&graph));
    assert_eq!(count("= dropout"), 2, "{}", print(&graph));
}
