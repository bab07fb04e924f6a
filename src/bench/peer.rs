//! Comparison with PyTorch: `bench/torch_peer.py` in a process of its own, on the same weights and the same batch.

use super::machine::Product;
use super::measure::{Clock, RATE};
use super::model::Shape;
use archc_compiler::diag::Diagnostic;
use archc_runtime::{Batch, Dtype, Metrics, Tensor, Tensors, write_tensors};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The script, embedded so that the binary works anywhere.
const SCRIPT: &str = include_str!("../../bench/torch_peer.py");

/// Blocks that the script implements.
pub const BLOCKS: [&str; 8] =
    ["Attention", "GLA", "DeltaNet", "GatedDeltaNet", "KDA", "MLSTM", "RGLRU", "ContentSharpRouter"];

/// Python with PyTorch, and a folder for exchanged files.
pub struct Peer {
    python: PathBuf,
    folder: tempfile::TempDir,
    compiled: bool,
    /// Version of PyTorch.
    pub version: String,
}

/// Result of one PyTorch mode.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// `eager` or `compile`.
    pub mode: String,
    /// Error, if the mode failed.
    pub error: Option<String>,
    #[serde(default)]
    loss: f64,
    #[serde(default)]
    objective: f64,
    #[serde(default)]
    gradient_norm: f64,
    /// Median of the seconds per step.
    #[serde(default)]
    pub step_seconds: f64,
    /// Seconds of the first step, which compiles.
    #[serde(default)]
    pub first_step_seconds: f64,
    #[serde(default)]
    steps: usize,
}

impl Answer {
    /// Answer as JSON.
    pub fn json(&self) -> Value {
        json!({
            "mode": self.mode, "error": self.error, "loss": self.loss, "objective": self.objective,
            "gradient_norm": self.gradient_norm, "step_seconds": self.step_seconds,
            "first_step_seconds": self.first_step_seconds, "steps": self.steps,
        })
    }

    /// First metric of the first step that differs from ours by more than [`SAME`], if any.
    pub fn differs(&self, ours: &Metrics) -> Option<String> {
        let numbers = [
            ("loss", self.loss, ours.loss),
            ("objective", self.objective, ours.objective),
            ("gradient norm", self.gradient_norm, ours.gradient_norm),
        ];
        numbers.into_iter().find_map(|(what, theirs, ours)| {
            let apart = ((theirs - ours) / ours).abs();
            // A number that is not finite never counts as equal.
            (apart.is_nan() || apart > SAME).then(|| format!("{what} {ours:.6} here, {theirs:.6} in {}", self.mode))
        })
    }
}

/// Maximum relative difference between two f32 computations of the same loss with different orders of summation;
/// differences in practice are 1e-6 to 1e-4.
const SAME: f64 = 1e-3;

impl Peer {
    /// Checks that a Python has the packages that the script needs.
    ///
    /// # Errors
    /// E0847 if packages are missing, or if it does not start.
    pub fn new(python: &Path, compiled: bool) -> Result<Self, Diagnostic> {
        let shown = python.display();
        let folder = tempfile::tempdir().map_err(|e| trouble(format!("there is no room for temporary files: {e}")))?;
        let asked = Command::new(python)
            .args(["-c", "import numpy, safetensors.torch, torch; print(torch.__version__)"])
            .stdin(Stdio::null())
            .output()
            .map_err(|e| trouble(format!("`{shown}` does not start: {}", crate::load::reason(&e))))?;
        if !asked.status.success() {
            return Err(trouble(format!("`{shown}` has no PyTorch: {}", last_line(&asked.stderr))));
        }
        std::fs::write(folder.path().join("torch_peer.py"), SCRIPT)
            .map_err(|e| trouble(format!("the program for PyTorch cannot be written: {e}")))?;
        let version = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        Ok(Self { python: python.to_owned(), folder, compiled, version })
    }

    /// Times a model with these parameters on this batch.
    ///
    /// # Errors
    /// E0823 for files that cannot be written, E0847 if PyTorch fails.
    pub fn run(
        &self,
        block: &str,
        shape: Shape,
        vocab: usize,
        params: &Tensors,
        batch: &Batch,
        (seconds, threads, clock): (f64, usize, Clock),
    ) -> Result<Vec<Answer>, Diagnostic> {
        let path = |name: &str| self.folder.path().join(name);
        let (weights, given) = (path("weights.safetensors"), path("batch.safetensors"));
        write_tensors(&weights, params, Dtype::F32)?;
        let ids = |all: &[u32]| Tensor {
            shape: vec![batch.batch, batch.len],
            data: all.iter().map(|id| f64::from(*id)).collect(),
        };
        let tensors = [("tokens".to_owned(), ids(&batch.tokens)), ("targets".to_owned(), ids(&batch.targets))];
        write_tensors(&given, &tensors.into(), Dtype::F32)?;
        let modes = if self.compiled { "eager,compile" } else { "eager" };
        let mut command = self.command(seconds, threads, clock);
        command
            .args(["--block", block, "--width", &shape.width.to_string(), "--layers", &shape.layers.to_string()])
            .args(["--vocab", &vocab.to_string(), "--rate", &RATE.to_string(), "--modes", modes])
            .arg("--weights")
            .arg(&weights)
            .arg("--batch")
            .arg(&given);
        let text = self.answer(&mut command, block)?;
        let answers = text.lines().filter(|line| line.starts_with('{')).map(serde_json::from_str);
        answers.collect::<Result<_, _>>().map_err(no_result)
    }

    /// Seconds of each of these products in f32.
    ///
    /// # Errors
    /// E0847 if PyTorch fails.
    pub fn products(
        &self,
        sizes: &[Product],
        (seconds, threads, clock): (f64, usize, Clock),
    ) -> Result<Vec<f64>, Diagnostic> {
        let word = |&(m, n, k, ta, tb): &Product| format!("{m},{n},{k},{},{}", u8::from(ta), u8::from(tb));
        let words: Vec<String> = sizes.iter().map(word).collect();
        let mut command = self.command(seconds, threads, clock);
        let text = self.answer(command.args(["--products", &words.join(";")]), "products")?;
        let all: Vec<f64> =
            text.lines().map(|line| line.trim().parse()).collect::<Result<_, _>>().map_err(no_result)?;
        if all.len() == sizes.len() { Ok(all) } else { Err(no_result(format!("{} products", all.len()))) }
    }

    /// Command that runs the script, with the arguments common to all uses.
    fn command(&self, seconds: f64, threads: usize, clock: Clock) -> Command {
        let threads = threads.to_string();
        let mut command = Command::new(&self.python);
        command
            .arg(self.folder.path().join("torch_peer.py"))
            .args(["--seconds", &seconds.to_string(), "--clock", clock.word(), "--threads", &threads])
            .envs([("OMP_NUM_THREADS", &threads), ("MKL_NUM_THREADS", &threads)])
            // Some machines select kernels for old releases of OpenBLAS by these variables; they slow numpy down.
            .env_remove("OPENBLAS_CORETYPE")
            .env_remove("OPENBLAS_L2_SIZE")
            .stdin(Stdio::null());
        command
    }

    fn answer(&self, command: &mut Command, what: &str) -> Result<String, Diagnostic> {
        let asked =
            command.output().map_err(|e| trouble(format!("`{}` does not start: {e}", self.python.display())))?;
        if !asked.status.success() {
            return Err(trouble(format!("PyTorch failed on {what}: {}", last_line(&asked.stderr))));
        }
        Ok(String::from_utf8_lossy(&asked.stdout).into_owned())
    }
}

fn no_result(why: impl std::fmt::Display) -> Diagnostic {
    trouble(format!("what PyTorch answered is no result: {why}"))
}

fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing").trim().to_owned()
}

fn trouble(message: String) -> Diagnostic {
    Diagnostic::error("E0847", message)
        .help("--torch wants a Python that has torch, numpy and safetensors; leave it out to measure without PyTorch")
}
