//! `archc selftest`: comparison of a device with the reference in f64, on the library, on random programs, or on a given
//! one.

use crate::device::{self, DeviceName};
use crate::output::{Done, INTERRUPTED, Output, Stop};
use crate::sizes::SizeArgs;
use crate::{interrupt, load, number, threads};
use archc_compiler::compile;
use archc_compiler::diag::Diagnostic;
use archc_runtime::Dtype;
use archc_selftest::agree::Finding;
use archc_selftest::battery::hold;
use archc_selftest::case::Subject;
use archc_selftest::generate::Dice;
use archc_selftest::reduce::Failure;
use archc_selftest::run::{Counts, Plan, Tested, run as test};
use archc_selftest::setting::Setting;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Hold a device against the reference on the library and on random programs
#[derive(clap::Args)]
#[command(after_help = "\
Every block and model of the library, then random programs over every op of the language, run on the
device and on the reference in f64: outputs, every gradient, the same bits twice, packed documents, the
sequence in pieces, and that no token sees a later one, another document or another sequence. A program
that fails is printed in its smallest form, with the command that repeats it.

With FILE, that program is tested, on as many random batches as --programs says.

Exit codes: 0 nothing was found, 101 a device is wrong, 75 interrupted.

Examples:
  archc selftest                           the library and 1000 programs on the device that trains
  archc selftest --programs 20000 --seed 7
  archc selftest --device lowered --minutes 5
  archc selftest block.arch --set D=16     a program of your own")]
pub struct Args {
    /// A program to be tested instead of random ones; `-` for standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// What is tested
    #[arg(long, value_name = "NAME", default_value = device::FAST, value_parser = device::parser())]
    device: DeviceName,
    /// How many random programs (with FILE: batches)
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = number::count::<u64>)]
    programs: u64,
    /// Seed of the random programs
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = number::count::<u64>)]
    seed: u64,
    /// Begin no program after this number of minutes
    #[arg(long, value_name = "M")]
    minutes: Option<f64>,
    /// Number of the first program, to repeat one
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = number::count::<u64>)]
    first: u64,
    /// Leave the library out
    #[arg(long)]
    only_random: bool,
    /// With FILE: this batch alone, as a finding names it
    #[arg(long, value_name = "BATCH", requires = "file")]
    batch: Option<Setting>,
    /// Programs side by side, one thread each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    #[command(flatten)]
    sizes: SizeArgs,
}

/// Exit code for a device with wrong results.
const WRONG: u8 = crate::output::BUG;

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    match &args.file {
        Some(file) => one(args, file, output),
        None => many(args, output),
    }
}

/// Arithmetic in which a device is tested: its own.
fn dtype(device: DeviceName) -> Dtype {
    if device.name() == "lowered" { Dtype::F64 } else { Dtype::F32 }
}

fn many(args: &Args, output: &Output) -> Done {
    let stop = interrupt::flag();
    let began = Instant::now();
    let device = args.device.device();
    let jobs = args.jobs.map_or(Ok(threads::cores()), |n| threads::capped("--jobs", usize::from(n), output))?;
    let plan = Plan {
        device: device.as_ref(),
        dtype: dtype(args.device),
        seed: args.seed,
        first: args.first,
        programs: args.programs,
        library: !args.only_random,
        until: args.minutes.map(|m| began + Duration::from_secs_f64(m * 60.0)),
        jobs,
        stop: &stop,
    };
    let mut tally = Tally::default();
    let mut told: Result<(), Stop> = Ok(());
    let done = test(&plan, &mut |tested| {
        if told.is_ok() {
            told = tally.take(args, tested, output);
        }
    });
    told?;
    let programs = done.map_err(|e| {
        Diagnostic::error("E0849", format!("the machine refuses a thread: {e}")).help("try again with --jobs 1")
    })?;
    tally.finish(args, programs, began, output)?;
    Ok(match (tally.wrong, stop.load(Ordering::Relaxed)) {
        (0, false) => 0,
        (0, true) => INTERRUPTED,
        _ => WRONG,
    })
}

/// Counts of the results so far.
#[derive(Default)]
struct Tally {
    library: usize,
    wrong: usize,
    void: usize,
    counts: Counts,
}

impl Tally {
    fn count(&mut self, counts: Counts) {
        self.counts.judged += counts.judged;
        self.counts.unjudged += counts.unjudged;
    }

    fn take(&mut self, args: &Args, tested: Tested, output: &Output) -> Result<(), Stop> {
        match tested {
            Tested::Library(name, findings, counts) => {
                self.library += 1;
                self.count(counts);
                self.wrong += usize::from(!findings.is_empty());
                for finding in findings {
                    output.text(&format!("{name}, {finding}\n"))?;
                    output.object("wrong", json!({ "library": name, "finding": finding.to_string() }))?;
                }
            }
            Tested::Right(_, counts) => self.count(counts),
            Tested::Void(number, why, program) => {
                self.void += 1;
                output.object("void", json!({ "program": number, "why": why, "text": program.text }))?;
            }
            Tested::Wrong(number, failure) => {
                self.wrong += 1;
                let (drawn, small) = *failure;
                tell(args, number, &drawn, &small, output)?;
            }
        }
        Ok(())
    }

    fn finish(&self, args: &Args, programs: u64, began: Instant, output: &Output) -> Result<(), Stop> {
        let Self { library, wrong, void, counts } = self;
        let seconds = began.elapsed().as_secs_f64();
        output.object(
            "selftest",
            json!({
                "device": args.device.name(), "seed": args.seed, "first": args.first, "programs": programs,
                "library": library, "wrong": wrong, "void": void, "judged": counts.judged,
                "not_judged": counts.unjudged, "seconds": seconds,
            }),
        )?;
        output.text(&format!(
            "{}: {programs} random programs of seed {}, {library} of the library: {wrong} wrong\n\
             {} quantities compared; {} amplify rounding too much to be judged; {void} programs say nothing \
             (refused, or not finite)\n\
             {seconds:.0} s\n",
            args.device.name(),
            args.seed,
            counts.judged,
            counts.unjudged,
        ))
    }
}

/// Prints a failing program.
fn tell(args: &Args, number: u64, drawn: &Failure, small: &Failure, output: &Output) -> Result<(), Stop> {
    let set = |f: &Failure| f.program.set.iter().map(|(n, s)| format!(" --set {n}={s}")).collect::<String>();
    let device =
        if args.device.name() == device::FAST { String::new() } else { format!(" --device {}", args.device.name()) };
    let repeat = format!("archc selftest{device} --seed {} --first {number} --programs 1 --only-random", args.seed);
    let own = format!(
        "archc selftest wrong.arch{device}{} --block {} --batch {}",
        set(small),
        small.program.block,
        small.setting
    );
    output.object(
        "wrong",
        json!({
            "program": number, "finding": small.finding.to_string(), "text": small.program.text,
            "set": small.program.set, "batch": small.setting.to_string(),
            "drawn": { "finding": drawn.finding.to_string(), "text": drawn.program.text, "set": drawn.program.set,
                "batch": drawn.setting.to_string() },
            "repeat": repeat,
        }),
    )?;
    output.text(&format!(
        "program {number}: {}\n\n{}\nrepeat: {repeat}\n    or: {own}\n\n",
        small.finding, small.program.text
    ))
}

fn one(args: &Args, file: &Path, output: &Output) -> Done {
    let program = load::load(file)?;
    let compilation = compile(&program.sources, program.file, &args.sizes.options(None, VOCAB));
    let code = output.findings(&compilation.diagnostics, &program.sources)?;
    let graph = match compilation.into_graph() {
        Ok(graph) => Arc::new(graph),
        Err(_) => return Ok(code),
    };
    let settings = match &args.batch {
        Some(setting) => vec![setting.clone()],
        None => {
            let mut dice = Dice::new(&[b"file", &args.seed.to_le_bytes()]);
            let rounds = args.programs.div_ceil(3);
            (0..rounds).flat_map(|_| Setting::three(&mut dice)).take(args.programs as usize).collect()
        }
    };
    args.device.holds(&graph, settings.iter().map(|s| s.batch * s.len).max().unwrap_or(1))?;
    let device = args.device.device();
    let subject = Subject::new(device.as_ref(), dtype(args.device));
    let stop = interrupt::flag();
    let (mut wrong, mut done) = (0, 0);
    for setting in settings {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let outcome = hold(&subject, &graph, &setting, true);
        done += 1;
        wrong += usize::from(!outcome.findings.is_empty());
        report(&outcome.findings, &setting, output)?;
    }
    output.text(&format!("{}: {done} batches, {wrong} wrong\n", args.device.name()))?;
    output.object("selftest", json!({ "device": args.device.name(), "batches": done, "wrong": wrong }))?;
    Ok(match (wrong, stop.load(Ordering::Relaxed)) {
        (0, false) => 0,
        (0, true) => INTERRUPTED,
        _ => WRONG,
    })
}

/// Vocabulary size, as in random models.
const VOCAB: usize = 7;

fn report(findings: &[Finding], setting: &Setting, output: &Output) -> Result<(), Stop> {
    for finding in findings {
        output.text(&format!("{finding}\n    --batch {setting}\n"))?;
        output.object("wrong", json!({ "finding": finding.to_string(), "batch": setting.to_string() }))?;
    }
    Ok(())
}
