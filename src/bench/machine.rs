//! Peak rates of the machine, measured in the same run as the results that are compared with them.

use super::measure::Clock;
use archc_kernels::gemm::multiply;
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use std::fmt;
use std::hint::black_box;

/// Description of the machine, with its own rates on one thread.
pub struct Machine {
    /// Processor model, as the system names it.
    pub cpu: String,
    /// Number of cores that this process may use.
    pub cores: usize,
    /// Load by other processes: the load average of the last minute before the run, if the system provides it.
    pub load: Option<f64>,
    /// Peak rate of a large f32 matrix product, in floating-point operations per second, by the faster of the cpu
    /// device's kernels and a library.
    pub sgemm: f64,
    /// Bytes read and written per second by a copy that exceeds all caches.
    pub copy: f64,
}

impl Machine {
    /// Measures the machine; takes about two seconds.
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

    /// Description as JSON.
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

/// Rate of a square product by the kernels, which always use one thread; a library may use more.
fn square(n: usize, clock: Clock) -> f64 {
    kernels((n, n, n), false, false, TIME, clock)
}

/// Probe of the machine's current speed, which other processes can change by half from one second to the next.
pub struct Pace {
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
    clock: Clock,
}

impl Pace {
    /// Size of the product: it stays in the second-level cache and reaches the rate of large products.
    const SHAPE: (usize, usize, usize) = (192, 64, 256);
    /// Number of products per probe: a quarter of a millisecond.
    const COUNT: usize = 4;

    /// Creates a probe.
    pub fn new(clock: Clock) -> Self {
        let (m, n, k) = Self::SHAPE;
        Self { a: vec![0.0; m * k], b: vec![0.0; k * n], c: vec![0.0; m * n], clock }
    }

    /// Measures the current rate of one thread, in floating-point operations per second.
    pub fn look(&mut self) -> f64 {
        let (m, n, k) = Self::SHAPE;
        let mut product =
            || multiply((m, n, k), (black_box(&self.a), false), (black_box(&self.b), false), black_box(&mut self.c));
        // the first product brings the matrices into the cache
        product();
        let ((), seconds) = self.clock.time(|| (0..Self::COUNT).for_each(|_| product()));
        (Self::COUNT * 2 * m * n * k) as f64 / seconds
    }
}

/// Seconds of measurement for each product size, and for the copy.
const TIME: f64 = 0.25;

/// Product size m, n, k, and whether A and B are stored transposed.
pub type Product = (usize, usize, usize, bool, bool);

/// Rate of the f32 product [m, k] x [k, n] by a library, in FLOP/s: the fastest of many calls, since a bound should be
/// free of disturbances. A transposed operand is stored as its transpose.
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

/// Rate of the same product by the kernels of the cpu device.
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
    // The parts are copied in turn: each short enough to be rarely interrupted, and evicted from every cache before it is
    // copied again.
    let mut next = 0;
    let seconds = fastest(2.0 * TIME, clock, || {
        let range = next..next + part;
        black_box(&mut to)[range.clone()].copy_from_slice(&black_box(&from)[range]);
        next = (next + part) % from.len();
        true
    });
    (2 * part * size_of::<f32>()) as f64 / seconds
}

/// Seconds of the fastest call, after an untimed first call. Short calls are timed in groups.
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

/// Shortest time in seconds that the clock resolves well.
const TICK: f64 = 2e-4;
