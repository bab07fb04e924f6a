//! Devices of this build, and their selection by commands.
//!
//! Each device has one entry in [`DEVICES`]; all other code uses the entry. By default, training, scoring and searching use the fast
//! device and `archc forward` the reference, since its outputs are compared with other programs.

use crate::output::{Output, Stop};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{Dag, Graph, Op, Rate};
use archc_kernels::Level;
use archc_runtime::compiled::Interpreted;
use archc_runtime::{Cpu, Dtype, Reference, SharedDevice};
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command};
use std::ffi::OsStr;
use std::sync::Arc;

/// Static properties of a device.
#[derive(Debug)]
struct Entry {
    name: &'static str,
    about: &'static str,
    device: fn() -> SharedDevice,
    /// Whether it also computes in f64.
    double: bool,
    /// Maximum number of parameters, and of elements of one value for all tokens of a batch.
    params: usize,
    numbers: usize,
}

const DEVICES: &[Entry] = &[
    Entry {
        name: "cpu",
        about: "compiled to a plan of kernels in f32: fast",
        device: || Arc::new(Cpu::default()),
        double: false,
        params: 1 << 28,
        numbers: 1 << 30,
    },
    Entry {
        name: "reference",
        about: "candle on the CPU, op by op: slow and obviously right",
        device: || Arc::new(Reference),
        double: true,
        params: 1 << 28,
        numbers: 1 << 30,
    },
    Entry {
        name: "lowered",
        about: "the lowered graph interpreted op by op in f64: slower still, to check the compiler",
        device: || Arc::new(Interpreted::default()),
        double: true,
        params: 1 << 28,
        numbers: 1 << 30,
    },
];

/// Default: the fastest device.
pub const FAST: &str = "cpu";

/// Reference device for all others; it supports every number type.
pub const EXACT: &str = "reference";

/// Device of this build, by name.
#[derive(Clone, Copy, Debug)]
pub struct DeviceName(&'static Entry);

/// Parser of `--device`.
pub fn parser() -> impl TypedValueParser<Value = DeviceName> {
    Parser
}

#[derive(Clone, Copy, Debug)]
struct Parser;

impl TypedValueParser for Parser {
    type Value = DeviceName;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<DeviceName, clap::Error> {
        StringValueParser::new().try_map(|name| find(&name)).parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(DEVICES.iter().map(|d| PossibleValue::new(d.name).help(d.about))))
    }
}

/// Common names of a GPU.
const GPUS: &[&str] =
    &["gpu", "cuda", "nvidia", "rocm", "hip", "amd", "metal", "mps", "vulkan", "webgpu", "wgpu", "xpu", "tpu"];

fn find(name: &str) -> Result<DeviceName, String> {
    if let Some(found) = DEVICES.iter().find(|d| d.name == name) {
        return Ok(DeviceName(found));
    }
    let mut names: Vec<&str> = DEVICES.iter().map(|d| d.name).collect();
    names.sort_unstable();
    let names = names.join(", ");
    // `cuda:0` too
    let kind = name.split(':').next().unwrap_or_default().to_lowercase();
    Err(if GPUS.contains(&kind.as_str()) {
        format!("archc has no GPU device; devices: {names}")
    } else {
        format!("there is no device `{name}`; devices: {names}")
    })
}

/// Environment variable that limits the kernels to an instruction set.
const ISA: &str = "ARCHC_ISA";

/// Limits the kernels of the cpu device to the instruction set named by the environment, if any, so that a machine computes the same
/// bits as one with a smaller instruction set.
///
/// # Errors
/// E0860 for an instruction set that is unknown, or that this machine does not have.
pub fn keep_to_isa() -> Result<(), Diagnostic> {
    let Some(name) = std::env::var_os(ISA).filter(|name| !name.is_empty()) else { return Ok(()) };
    let known = Level::ALL.iter().filter(|level| **level <= archc_kernels::best());
    let Some(level) = known.clone().find(|level| name == level.name()) else {
        let names: Vec<&str> = known.map(|level| level.name()).collect();
        let message = format!("{ISA}={}: this machine has no such instruction set", name.display());
        return Err(Diagnostic::error("E0860", message).help(format!("it has {}", names.join(", "))));
    };
    archc_kernels::limit(*level);
    Ok(())
}

impl DeviceName {
    /// Device of this name.
    ///
    /// # Panics
    /// If there is none; the parser accepts only known names.
    pub fn named(name: &str) -> Self {
        find(name).unwrap_or_else(|message| panic!("archc bug: {message}"))
    }

    /// Device named in a file.
    ///
    /// # Errors
    /// E0912 for a device that this build does not have.
    pub fn find(name: &str) -> Result<Self, Diagnostic> {
        DEVICES.iter().find(|d| d.name == name).map(Self).ok_or_else(|| {
            Diagnostic::error("E0912", format!("the run was on a device `{name}`, which this archc has not"))
                .help("name another one with --device, and another folder with --out")
        })
    }

    /// Name of the device.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// The device itself.
    pub fn device(self) -> SharedDevice {
        (self.0.device)()
    }

    /// This device, or the reference for arithmetic that this one lacks, with a note.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn computing(self, dtype: Dtype, output: &Output) -> Result<Self, Stop> {
        if dtype == Dtype::F32 || self.0.double {
            return Ok(self);
        }
        output.note(&format!("the device {} has no f64: this runs on {EXACT}", self.0.name))?;
        Ok(Self::named(EXACT))
    }

    /// Refuses a program that does not fit into memory on `tokens` tokens, before the memory is allocated.
    ///
    /// # Errors
    /// E0845.
    pub fn holds(self, graph: &Graph, tokens: usize) -> Result<(), Diagnostic> {
        let Entry { params, numbers, .. } = *self.0;
        let refused = |message: String, most: usize| {
            Err(Diagnostic::error("E0845", message)
                .note(format!("the device {} holds {most}", self.0.name))
                .help("choose smaller sizes, as in --set D=64, or fewer tokens at a time"))
        };
        if graph.param_count() > params {
            return refused(format!("`{}` has {} parameters", graph.name, graph.param_count()), params);
        }
        let largest = largest(graph, &graph.dag, tokens);
        if largest > numbers {
            return refused(format!("a value of `{}` has {largest} numbers in one batch", graph.name), numbers);
        }
        Ok(())
    }
}

/// Number of elements of the largest value, over all tokens.
fn largest(graph: &Graph, dag: &Dag, tokens: usize) -> usize {
    let of = |id| {
        let ty = dag.ty(id);
        let each = ty.axes.iter().fold(1, |n: usize, a| n.saturating_mul(graph.size(*a)));
        let own = if ty.rate == Rate::Fixed { each } else { each.saturating_mul(tokens) };
        own.max(match dag.op(id) {
            Op::Scan(scan) => largest(graph, &scan.body, tokens),
            Op::Attend(attend) => largest(graph, &attend.body, tokens),
            _ => 0,
        })
    };
    dag.ids().map(of).max().unwrap_or(0)
}
