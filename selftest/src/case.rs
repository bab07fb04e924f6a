//! Cases: a program with all inputs that determine its results, the jobs of a device, and the results of the reference and of a device
//! under test. [`agree`](crate::agree) has the rule of tolerance.

use crate::agree::{
    Bounds, Class, Fault, Finding, Group, NEAR, Noise, OUTPUTS, Quantity, Results, Verdict, judge, named, not_finite,
};
use crate::batches::cotangents;
use crate::pieces::in_pieces;
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{Dag, Graph, Op};
use archc_runtime::{
    Batch, BatchShape, Device, Dtype, Moved, Objective, Reference, Session, SessionOptions, Snapshot, Tensor, Tensors,
};
use std::sync::Arc;

/// Number of samples of the effect of rounding: few pairs of tokens, or a sum that cancels, may dominate it, and then one sample says
/// little.
const SAMPLES: u64 = 20;

/// A job for a device.
#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    /// Outputs and every gradient.
    Whole,
    /// Outputs of a sequence in pieces that end at these tokens.
    Pieces(Vec<usize>),
    /// Two training steps with dropout.
    Steps,
}

/// A program with all inputs that determine its results.
#[derive(Clone)]
pub struct Case {
    /// The program.
    pub graph: Arc<Graph>,
    /// Its inputs.
    pub batch: Batch,
    /// Its parameters.
    pub params: Snapshot,
    /// Cotangents R of the outputs, for the gradients of sum(output * R).
    pub r: Tensors,
    /// Whether the gradients of parameters and inputs are one vector: a gradient that is 0 by cancellation is compared with the largest of
    /// all. In a random program, the parameters may be a single number that cancels.
    one: bool,
}

/// Compiles a session of a graph.
///
/// # Errors
/// Those of the device.
pub fn try_session(device: &dyn Device, graph: &Arc<Graph>, dtype: Dtype) -> Result<Box<dyn Session>, Diagnostic> {
    let options = SessionOptions { dtype, seed: 7, verify: true, ..Default::default() };
    device.compile(graph, BatchShape { batch: 1, len: 1 }, &options)
}

/// Compiles a session of a graph that the device accepts.
///
/// # Panics
/// If the device refuses the graph.
pub fn session(device: &dyn Device, graph: &Arc<Graph>, dtype: Dtype) -> Box<dyn Session> {
    try_session(device, graph, dtype).unwrap_or_else(|e| panic!("{}", e.message))
}

/// Rounds the inputs of a batch to f32.
pub fn round(batch: &mut Batch) {
    batch.inputs.values_mut().flat_map(|t| &mut t.data).for_each(|x| *x = f64::from(*x as f32));
}

/// A number perturbed by at most one rounding of f32; equal numbers stay equal, and 0 stays 0.
fn moved(x: f64, salt: u64) -> f64 {
    // splitmix64 (Steele, Lea, Flood 2014) of the number's bits
    let mut z = x.to_bits().wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let unit = ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
    x * (1.0 + (2.0 * unit - 1.0) * f64::from(f32::EPSILON) / 2.0)
}

fn jittered(tensors: &Tensors, salt: u64) -> Tensors {
    let each = |t: &Tensor| Tensor { shape: t.shape.clone(), data: t.data.iter().map(|x| moved(*x, salt)).collect() };
    tensors.iter().map(|(name, t)| (name.clone(), each(t))).collect()
}

/// Perturbs constants that are not whole numbers, in bodies as well.
fn jittered_constants(dag: &mut Dag, salt: u64) {
    for id in dag.ids() {
        match &mut dag.node_mut(id).op {
            Op::Const(x) if x.fract() != 0.0 => *x = moved(*x, salt),
            Op::Scan(scan) => jittered_constants(&mut scan.body, salt),
            Op::Attend(attend) => jittered_constants(&mut attend.body, salt),
            _ => {}
        }
    }
}

impl Case {
    /// Creates a case of a batch and the initial parameters, with values rounded to an arithmetic.
    ///
    /// # Errors
    /// Those of the reference.
    pub fn new(graph: &Arc<Graph>, batch: &Batch, dtype: Dtype) -> Result<Self, Diagnostic> {
        let mut batch = batch.clone();
        if dtype == Dtype::F32 {
            round(&mut batch);
        }
        let params = try_session(&Reference, graph, dtype)?.snapshot()?;
        let mut reference = try_session(&Reference, graph, Dtype::F64)?;
        reference.restore(&params)?;
        let mut r = cotangents(&reference.forward(&batch, None)?);
        r.values_mut().flat_map(|t| &mut t.data).for_each(|x| *x = f64::from(*x as f32));
        Ok(Self { graph: graph.clone(), batch, params, r, one: false })
    }

    /// Compares all gradients of an objective as one vector.
    #[must_use]
    pub fn as_one(self) -> Self {
        Self { one: true, ..self }
    }

    /// The objectives that are differentiated.
    fn objectives(&self) -> Vec<&'static str> {
        let trains = self.graph.vocab.is_some() || !self.graph.losses.is_empty();
        let loss = trains.then_some("loss");
        std::iter::once("R").chain(loss).collect()
    }

    /// Runs a job on a session that has the case's parameters already.
    ///
    /// # Errors
    /// Those of the session.
    pub fn run_on(&self, session: &mut Box<dyn Session>, job: &Job) -> Result<Results, Diagnostic> {
        match job {
            Job::Pieces(ends) => {
                let outputs = in_pieces(session, &self.batch, ends)?;
                Ok(vec![Group::new(Class::Forward, outputs, Quantity::Output).scaled(OUTPUTS)])
            }
            Job::Whole => {
                let outputs = session.forward(&self.batch, None)?.outputs;
                // An error of the outputs by a fraction of their norm changes the sum of output * R by that fraction of `reach`, at most.
                let norm = |all: &Tensors| all.values().flat_map(|t| &t.data).map(|x| x * x).sum::<f64>().sqrt();
                let reach = norm(&outputs) * norm(&self.r);
                let mut all = vec![Group::new(Class::Forward, outputs, Quantity::Output).scaled(OUTPUTS)];
                for what in self.objectives() {
                    let (objective, floor) =
                        if what == "R" { (Objective::Cotangents(&self.r), reach) } else { (Objective::Loss, 0.0) };
                    let got = session.gradients(&self.batch, objective)?;
                    let of = Quantity::Objective(what);
                    // where outputs are rounding errors of 0, so is this sum
                    let scale = if what == "R" { OUTPUTS * norm(&self.r) } else { 0.0 };
                    all.push(Group::number(of, Class::Forward, got.objective, floor).scaled(scale));
                    let of = |name| Quantity::Gradient(what, name);
                    let scale = if what == "R" { norm(&self.r) } else { 1.0 };
                    let group = |tensors| Group::new(Class::Gradient, tensors, of).scaled(scale);
                    let (params, inputs) = (group(got.params), group(got.inputs));
                    if self.one {
                        all.push(params.joined(inputs));
                    } else {
                        all.extend([params, inputs]);
                    }
                }
                Ok(all)
            }
            Job::Steps => {
                let mut all = Vec::new();
                for number in 0..2 {
                    let got = session.step(&self.batch, 1e-2)?;
                    for (what, x) in
                        [("loss", got.loss), ("objective", got.objective), ("gradient norm", got.gradient_norm)]
                    {
                        let of = Quantity::Other(format!("{what} of step {number}"));
                        all.push(Group::number(of, Class::Gradient, x, 1e-3));
                    }
                }
                let after = session.snapshot()?;
                // The first moment holds the gradients; parameters are updated nearly by its sign, which rounding may flip.
                all.push(Group::new(Class::Gradient, after.first, |path| Quantity::Other(format!("moment of {path}"))));
                let step = Quantity::Other("steps done".into());
                all.push(Group::number(step, Class::Gradient, after.step as f64, 1.0));
                Ok(all)
            }
        }
    }

    /// Runs a job on a new session.
    ///
    /// # Errors
    /// Those of the device.
    pub fn run(&self, device: &dyn Device, dtype: Dtype, job: &Job) -> Result<Results, Diagnostic> {
        let mut session = try_session(device, &self.graph, dtype)?;
        session.restore(&self.params)?;
        self.run_on(&mut session, job)
    }

    /// The effect of rounding on a correct device.
    pub(crate) fn noise(&self, device: &dyn Device, job: &Job) -> Noise {
        let mut samples: Vec<Results> = self.run(device, Dtype::F32, job).into_iter().collect();
        for salt in 1..SAMPLES {
            let mut moved = self.clone();
            moved.params.params = jittered(&self.params.params, salt);
            moved.batch.inputs = jittered(&self.batch.inputs, salt);
            jittered_constants(&mut Arc::make_mut(&mut moved.graph).dag, salt);
            samples.extend(moved.run(&Moved(salt), Dtype::F32, job));
        }
        let mut large = self.clone();
        large.r.values_mut().flat_map(|t| &mut t.data).for_each(|x| *x *= NEAR);
        let near = large.run(device, Dtype::F32, job).map(|all| not_finite(&all)).unwrap_or_default();
        Noise { samples, near }
    }
}

/// The results of a correct device on a case in f64, with which other devices are compared.
pub struct Wanted<'a> {
    device: &'a dyn Device,
    /// The case.
    pub case: Case,
    /// Its results.
    pub results: Results,
    job: Job,
}

impl<'a> Wanted<'a> {
    /// Runs the job of a case in f64.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(device: &'a dyn Device, case: Case, job: Job) -> Result<Self, Diagnostic> {
        let results = case.run(device, Dtype::F64, &job)?;
        Ok(Self { device, case, results, job })
    }

    /// Computes outputs and gradients of a batch whose values are rounded to an arithmetic.
    ///
    /// # Panics
    /// If the device refuses it.
    pub fn of(device: &'a dyn Device, dtype: Dtype, graph: &Arc<Graph>, batch: &Batch) -> Self {
        let case = Case::new(graph, batch, dtype);
        case.and_then(|case| Self::new(device, case, Job::Whole)).unwrap_or_else(|e| panic!("{}", e.message))
    }

    /// The outputs alone.
    fn outputs(&self) -> Results {
        self.results[..1].to_vec()
    }
}

/// A device under test with its bounds.
pub struct Subject<'a> {
    /// The device.
    pub device: &'a dyn Device,
    /// Its bounds.
    pub bounds: Bounds,
}

impl<'a> Subject<'a> {
    /// A subject: a device in an arithmetic, with the bounds of that.
    pub fn new(device: &'a dyn Device, dtype: Dtype) -> Self {
        Self { device, bounds: Bounds::of(dtype) }
    }

    /// Runs a job and compares the results with those of the reference.
    pub fn verdict(&self, wanted: &Wanted<'_>, job: &Job) -> Verdict {
        let refused = |e: Diagnostic| {
            let finding = Finding { run: String::new(), of: Quantity::Run, fault: Fault::Refused(e.message) };
            Verdict { findings: vec![finding], ..Verdict::default() }
        };
        match wanted.case.run(self.device, self.bounds.dtype, job) {
            Ok(have) => self.judge(&have, wanted, job),
            Err(e) => refused(e),
        }
    }

    /// Compares existing results with those of the reference.
    pub fn judge(&self, have: &Results, wanted: &Wanted<'_>, job: &Job) -> Verdict {
        let want = if *job == wanted.job { wanted.results.clone() } else { wanted.outputs() };
        judge(have, &want, &self.bounds, || wanted.case.noise(wanted.device, job))
    }

    fn strict(&self, graph: &Arc<Graph>, batch: &Batch, want: Job, job: &Job) -> Vec<Finding> {
        let case = Case::new(graph, batch, self.bounds.dtype);
        let wanted = case.and_then(|case| Wanted::new(&Reference, case, want));
        self.verdict(&wanted.unwrap_or_else(|e| panic!("{}", e.message)), job).strict()
    }

    /// Compares outputs and every gradient for one batch with the reference.
    ///
    /// # Panics
    /// If the reference refuses it, here and below.
    pub fn compare(&self, graph: &Arc<Graph>, batch: &Batch) -> Vec<Finding> {
        self.compare_with(&Wanted::of(&Reference, self.bounds.dtype, graph, batch))
    }

    /// Compares outputs and every gradient with results computed before.
    pub fn compare_with(&self, wanted: &Wanted<'_>) -> Vec<Finding> {
        self.verdict(wanted, &Job::Whole).strict()
    }

    /// Compares the sequence run in pieces that end at `ends` with the whole sequence of the reference.
    pub fn compare_pieces(&self, graph: &Arc<Graph>, batch: &Batch, ends: &[usize]) -> Vec<Finding> {
        let whole = Job::Pieces(vec![batch.len]);
        let pieces = Job::Pieces(ends.to_vec());
        named(self.strict(graph, batch, whole, &pieces), &format!("pieces {ends:?}"))
    }

    /// Compares two training steps with dropout: metrics, first moments, and the number of updates.
    pub fn compare_steps(&self, graph: &Arc<Graph>, batch: &Batch) -> Vec<Finding> {
        self.strict(graph, batch, Job::Steps, &Job::Steps)
    }
}
