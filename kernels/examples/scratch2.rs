use archc_kernels::elementwise::{Unary, unary};
fn main() {
    let x: Vec<f32> = (0..1024).map(|i| -(i as f32) / 100.0).collect();
    let mut y = vec![0f32; 1024];
    for op in [Unary::Exp, Unary::Sigmoid, Unary::Silu, Unary::Log, Unary::Softplus] {
        let t = std::time::Instant::now();
        for _ in 0..300000 {
            unsafe { unary(op, x.as_ptr(), y.as_mut_ptr(), 1024) }
        }
        println!("{op:?} {:.3}", t.elapsed().as_secs_f64() / 300000.0 / 1024.0 * 1e9);
    }
}
