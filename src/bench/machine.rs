//! What the machine can do, measured in the same run as what is held against it.

use super::measure::Clock;
use archc_kernels::gemm::multiply;
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use std::fmt;
use std::hint::black_box;

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
    pub fn measure(clock: Clock) -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
            let line = text.lines().find(|l| l.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        let load = std::fs::read_to_string("/proc/loadavg").ok();
        Self {
            cpu: cpu.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load: load.and_then(|text| text.split_whitespace().next()?.parse().ok()),
            sgemm: [384, 512, 768, 1024].into_iter().map(|n| square(n, clock)).fold(0.0, f64::max),
            copy: copy(clock),
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

/// By the kernels, which are of one thread whatever the surroundings; a library may take more.
fn square(n: usize, clock: Clock) -> f64 {
    kernels((n, n, n), false, false, TIME, clock)
}

/// The machine's speed at one moment: others share it, and it changes by half from one second to the next.
pub struct Pace {
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
    clock: Clock,
}

impl Pace {
    /// A product that stays in the second-level cache and reaches the rate of large ones.
    const SHAPE: (usize, usize, usize) = (192, 64, 256);
    /// Products a look: a quarter of a millisecond.
    const COUNT: usize = 4;

    /// Ready to look.
    pub fn new(clock: Clock) -> Self {
        let (m, n, k) = Self::SHAPE;
        Self { a: vec![0.0; m * k], b: vec![0.0; k * n], c: vec![0.0; m * n], clock }
    }

    /// Floating-point operations a second, now, one thread.
    pub fn look(&mut self) -> f64 {
        let (m, n, k) = Self::SHAPE;
        let mut product =
            || multiply((m, n, k), (black_box(&self.a), false), (black_box(&self.b), false), black_box(&mut self.c));
        // the first brings the matrices into the cache
        product();
        let ((), seconds) = self.clock.time(|| (0..Self::COUNT).for_each(|_| product()));
        (Self::COUNT * 2 * m * n * k) as f64 / seconds
    }
}

/// For each size of product, and for the copy.
const TIME: f64 = 0.25;

/// m, n, k, and whether A and B are stored transposed.
pub type Product = (usize, usize, usize, bool, bool);

/// FLOP/s of [m, k] x [k, n] in f32 by a library: the fastest of many, since a bound is what nothing disturbs.
/// A transposed operand is stored the other way round.
pub fn library(
    (m, n, k): (usize, usize, usize),
    a_transposed: bool,
    b_transposed: bool,
    time: f64,
    clock: Clock,
) -> f64 {
    let matrix = |rows, columns, transposed| {
        let shape = if transposed { (columns, rows) } else { (rows, columns) };
        let matrix = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
        if transposed { matrix.t() } else { Ok(matrix) }
    };
    let (Ok(a), Ok(b)) = (matrix(m, k, a_transposed), matrix(k, n, b_transposed)) else { return 0.0 };
    2.0 * (m * k * n) as f64 / fastest(time, clock, || a.matmul(&b).is_ok())
}

/// The same by the kernels of the cpu device.
pub fn kernels(
    (m, n, k): (usize, usize, usize),
    a_transposed: bool,
    b_transposed: bool,
    time: f64,
    clock: Clock,
) -> f64 {
    let (a, b, mut c) = (vec![0f32; m * k], vec![0f32; k * n], vec![0f32; m * n]);
    let seconds = fastest(time, clock, || {
        multiply((m, n, k), (black_box(&a), a_transposed), (black_box(&b), b_transposed), black_box(&mut c));
        true
    });
    2.0 * (m * k * n) as f64 / seconds
}

fn copy(clock: Clock) -> f64 {
    let from = vec![1f32; 16 << 20];
    let mut to = vec![0f32; 16 << 20];
    let part = 1 << 18;
    // Parts in turn: short enough that others rarely interrupt one, and each long out of every cache when it comes again.
    let mut next = 0;
    let seconds = fastest(2.0 * TIME, clock, || {
        let range = next..next + part;
        black_box(&mut to)[range.clone()].copy_from_slice(&black_box(&from)[range]);
        next = (next + part) % from.len();
        true
    });
    (2 * part * size_of::<f32>()) as f64 / seconds
}

/// Seconds of the fastest call, after a first one that counts for nothing. Short calls are timed many together.
fn fastest(time: f64, clock: Clock, mut call: impl FnMut() -> bool) -> f64 {
    black_box(call());
    let (_, once) = clock.time(|| black_box(call()));
    let together = (TICK / once.max(1e-9)).ceil().clamp(1.0, 1e6) as usize;
    let (mut best, began) = (f64::INFINITY, clock.now());
    while clock.now() - began < time {
        let ((), seconds) = clock.time(|| {
            for _ in 0..together {
                black_box(call());
            }
        });
        best = best.min(seconds / together as f64);
    }
    best
}

/// Seconds that the clock resolves well.
const TICK: f64 = 2e-4;
