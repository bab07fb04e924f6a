//! What the machine can do, measured in the same run as what is held against it.

use archc_kernels::gemm::multiply;
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// A machine's description and its own rates, one thread.
pub struct Machine {
    /// Model of the processor, as the system names it.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Work of others: the load average of the last minute before the run, where the system tells.
    pub load: Option<f64>,
    /// Floating-point operations a second in a large product of f32 matrices, at its fastest, by the faster of the cpu
    /// device's kernels and a library.
    pub sgemm: f64,
    /// Bytes read and written a second by a copy that fits no cache.
    pub copy: f64,
}

impl Machine {
    /// Measures; takes about two seconds.
    pub fn measure() -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
            let line = text.lines().find(|l| l.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        let load = std::fs::read_to_string("/proc/loadavg").ok();
        Self {
            cpu: cpu.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load: load.and_then(|text| text.split_whitespace().next()?.parse().ok()),
            sgemm: [384, 512, 768, 1024].into_iter().map(square).fold(0.0, f64::max),
            copy: copy(),
        }
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        json!({ "cpu": self.cpu, "cores": self.cores, "load": self.load, "sgemm_flops": self.sgemm, "copy_bytes": self.copy })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} cores", self.cpu, self.cores)?;
        if let Some(load) = self.load {
            write!(f, ", load {load:.1} before the run")?;
        }
        write!(
            f,
            "; one thread: SGEMM {:.1} GFLOP/s, copy {:.1} GB/s (read and written)",
            self.sgemm / 1e9,
            self.copy / 1e9
        )
    }
}

/// The faster of the two ways to multiply squares of this size.
fn square(n: usize) -> f64 {
    library((n, n, n), false, false, TIME).max(kernels((n, n, n), false, false, TIME))
}

/// For each size of product, and for the copy.
const TIME: Duration = Duration::from_millis(250);

/// FLOP/s of [m, k] x [k, n] in f32 by a library: the fastest of many, since a bound is what nothing disturbs.
/// A transposed operand is stored the other way round.
pub fn library((m, n, k): (usize, usize, usize), a_transposed: bool, b_transposed: bool, time: Duration) -> f64 {
    let matrix = |rows, columns, transposed| {
        let shape = if transposed { (columns, rows) } else { (rows, columns) };
        let matrix = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
        if transposed { matrix.t() } else { Ok(matrix) }
    };
    let (Ok(a), Ok(b)) = (matrix(m, k, a_transposed), matrix(k, n, b_transposed)) else { return 0.0 };
    2.0 * (m * k * n) as f64 / fastest(time, || a.matmul(&b).is_ok())
}

/// The same by the kernels of the cpu device.
pub fn kernels((m, n, k): (usize, usize, usize), a_transposed: bool, b_transposed: bool, time: Duration) -> f64 {
    let (a, b, mut c) = (vec![0f32; m * k], vec![0f32; k * n], vec![0f32; m * n]);
    let seconds = fastest(time, || {
        multiply((m, n, k), (black_box(&a), a_transposed), (black_box(&b), b_transposed), black_box(&mut c));
        true
    });
    2.0 * (m * k * n) as f64 / seconds
}

fn copy() -> f64 {
    let from = vec![1f32; 16 << 20];
    let mut to = vec![0f32; 16 << 20];
    let seconds = fastest(TIME, || {
        black_box(&mut to).copy_from_slice(black_box(&from));
        true
    });
    (2 * size_of_val(from.as_slice())) as f64 / seconds
}

/// Seconds of the fastest call, after a first one that counts for nothing. Short calls are timed many together.
fn fastest(time: Duration, mut call: impl FnMut() -> bool) -> f64 {
    black_box(call());
    let at = Instant::now();
    black_box(call());
    let together = (TICK / at.elapsed().as_secs_f64().max(1e-9)).ceil().max(1.0) as usize;
    let (mut best, began) = (f64::INFINITY, Instant::now());
    while began.elapsed() < time {
        let at = Instant::now();
        for _ in 0..together {
            black_box(call());
        }
        best = best.min(at.elapsed().as_secs_f64() / together as f64);
    }
    best
}

/// Seconds that the clock resolves well.
const TICK: f64 = 2e-4;
