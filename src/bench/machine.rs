//! What the machine can do, measured in the same run as what is held against it.

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
    /// Floating-point operations a second in a large product of f32 matrices, at its fastest.
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
            sgemm: [384, 512, 768, 1024].into_iter().map(|n| sgemm(n, n, n, TIME)).fold(0.0, f64::max),
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

/// For each size of product, and for the copy.
const TIME: Duration = Duration::from_millis(400);

/// FLOP/s of [m, k] x [k, n] in f32: the fastest of many, since a bound is what nothing disturbs.
pub fn sgemm(m: usize, k: usize, n: usize, time: Duration) -> f64 {
    let matrix = |rows, columns| Tensor::zeros((rows, columns), DType::F32, &Device::Cpu);
    let (Ok(a), Ok(b)) = (matrix(m, k), matrix(k, n)) else { return 0.0 };
    let seconds = fastest(time, || a.matmul(&b).is_ok());
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

/// Seconds of the fastest call, after a first one that counts for nothing.
fn fastest(time: Duration, mut call: impl FnMut() -> bool) -> f64 {
    black_box(call());
    let (mut best, began) = (f64::INFINITY, Instant::now());
    while began.elapsed() < time {
        let at = Instant::now();
        black_box(call());
        best = best.min(at.elapsed().as_secs_f64());
    }
    best
}
