//! The checks of a program in one run.

use crate::agree::{Fault, Finding, Group, Noise, Quantity, Results, all_finite, judge, named, not_finite};
use crate::case::{Case, Job, Subject, Wanted};
use crate::differences::differences;
use crate::generate::Dice;
use crate::setting::Setting;
use archc_compiler::graph::Graph;
use archc_runtime::{Batch, Dtype, Reference};
use std::ops::Range;
use std::sync::Arc;

/// The outcome of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The findings.
    pub findings: Vec<Finding>,
    /// Number of quantities that amplify rounding too much to be judged.
    pub unjudged: usize,
    /// Number of quantities that were compared.
    pub judged: usize,
    /// Whether the reference's own values are not finite, so that there is nothing to compare with.
    pub without_values: bool,
}

/// Compares a device with the reference on one batch: outputs, every gradient, the same bits twice, the sequence in pieces, and
/// independence of later tokens, other documents and other sequences. With `check_reference`, the reference's own gradients are compared
/// with differences of its values.
///
/// # Panics
/// With the device.
pub fn hold(subject: &Subject<'_>, graph: &Arc<Graph>, setting: &Setting, check_reference: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let refused = |what: &str, message: String| Finding {
        run: what.to_owned(),
        of: Quantity::Run,
        fault: Fault::Refused(message),
    };
    let batch = setting.batch(graph);
    let wanted = Case::new(graph, &batch, subject.bounds.dtype)
        .map(Case::as_one)
        .and_then(|case| Wanted::new(&Reference, case, Job::Whole));
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(e) => {
            outcome.findings.push(refused("reference", e.message));
            return outcome;
        }
    };
    if !all_finite(&wanted.results[..1].to_vec()) {
        outcome.without_values = true;
        return outcome;
    }
    let bad = not_finite(&wanted.results);
    if !bad.is_empty() && not_finite(&small_gradients(&wanted)).is_empty() {
        outcome.without_values = true;
        return outcome;
    }
    for of in bad {
        outcome.findings.push(Finding { run: "reference".into(), of, fault: Fault::ReferenceNotFinite });
    }
    if !outcome.findings.is_empty() {
        return outcome;
    }
    if check_reference {
        outcome.findings.extend(differences(&wanted.case, setting.salt));
    }
    outcome.judged = wanted.results.iter().map(Group::len).sum();
    let mut take = |verdict: crate::agree::Verdict, run: &str| {
        outcome.unjudged += verdict.unjudged.len();
        outcome.findings.extend(named(verdict.findings, run));
    };
    let device = subject.device;
    match wanted.case.run(device, subject.bounds.dtype, &Job::Whole) {
        Ok(have) => {
            take(subject.judge(&have, &wanted, &Job::Whole), "");
            if let Ok(again) = wanted.case.run(device, subject.bounds.dtype, &Job::Whole)
                && let Some(of) = other_bits(&have, &again)
            {
                outcome.findings.push(Finding { run: "twice".into(), of, fault: Fault::Bits });
            }
        }
        Err(e) => {
            outcome.findings.push(refused("", e.message));
            return outcome;
        }
    }
    let mut take = |verdict: crate::agree::Verdict, run: &str| {
        outcome.unjudged += verdict.unjudged.len();
        outcome.findings.extend(named(verdict.findings, run));
    };
    if setting.ends.len() > 1 {
        let pieces = Job::Pieces(setting.ends.clone());
        take(subject.verdict(&wanted, &pieces), &format!("pieces {:?}", setting.ends));
    }
    let mut dice = Dice::new(&[b"leaks", &setting.salt.to_le_bytes()]);
    let (row, tokens) = view(setting, &mut dice);
    outcome.findings.extend(unseen(subject, &wanted, row, tokens, *dice.pick(&POISONS)));
    outcome
}

/// The reference's results with cotangents so small that no gradient overflows f64 on the way.
fn small_gradients(wanted: &Wanted<'_>) -> Results {
    let mut case = wanted.case.clone();
    case.r.values_mut().flat_map(|t| &mut t.data).for_each(|x| *x *= 1e-150);
    case.run(&Reference, Dtype::F64, &Job::Whole).unwrap_or_default()
}

/// The first quantity whose bits differ.
fn other_bits(a: &Results, b: &Results) -> Option<Quantity> {
    let bits = |r: &Results| -> Vec<(Quantity, Vec<u64>)> {
        let each = |g: &Group| -> Vec<(Quantity, Vec<u64>)> {
            let of =
                |(q, t): (&Quantity, &archc_runtime::Tensor)| (q.clone(), t.data.iter().map(|x| x.to_bits()).collect());
            g.numbers().iter().map(of).collect()
        };
        r.iter().flat_map(each).collect()
    };
    bits(a).into_iter().zip(bits(b)).find(|(a, b)| a != b).map(|(a, _)| a.0)
}

/// Draws the first tokens of one document, which do not depend on the rest of the batch.
fn view(setting: &Setting, dice: &mut Dice) -> (usize, Range<usize>) {
    let b = dice.below(setting.batch);
    let mut starts: Vec<usize> = vec![0];
    starts.extend(setting.starts.iter().filter(|s| s.0 == b).map(|s| s.1));
    let at = dice.below(starts.len());
    let start = starts[at];
    let end = starts.get(at + 1).copied().unwrap_or(setting.len);
    (b, start..start + 1 + dice.below(end - start))
}

/// Magnitudes of the values that must have no effect.
const POISONS: [f64; 4] = [1.0, 1e4, 1e18, 1e30];

/// Checks that the outputs at these tokens, the first ones of a document, stay the same when the rest of the batch is replaced by other
/// values, `size` times as large, which may overflow.
pub fn unseen(subject: &Subject<'_>, wanted: &Wanted<'_>, row: usize, tokens: Range<usize>, size: f64) -> Vec<Finding> {
    let mut poisoned = wanted.case.clone();
    let Batch { batch, len, inputs, tokens: ids, .. } = &mut poisoned.batch;
    let (batch, len) = (*batch, *len);
    let hidden = |b: usize, t: usize| b != row || !tokens.contains(&t);
    for tensor in inputs.values_mut() {
        let width = tensor.data.len() / (batch * len);
        for (i, x) in tensor.data.iter_mut().enumerate() {
            let token = i / width.max(1);
            if hidden(token / len, token % len) {
                *x = f64::from(((0.5 - *x) * size) as f32);
            }
        }
    }
    let vocab = wanted.case.graph.vocab.map_or(1, |v| wanted.case.graph.size(v)) as u32;
    for (i, id) in ids.iter_mut().enumerate() {
        if hidden(i / len, i % len) {
            *id = (*id + 1) % vocab;
        }
    }
    if (0..batch * len).all(|i| !hidden(i / len, i % len)) {
        return Vec::new();
    }
    let run = format!("other tokens times {size:.0e} around {row}:{}..{}", tokens.start, tokens.end);
    let whole = Job::Pieces(vec![len]);
    let seen = |results: &Results| -> Results { results[..1].iter().map(|g| g.part(row, tokens.clone())).collect() };
    let have = match poisoned.run(subject.device, subject.bounds.dtype, &whole) {
        Ok(have) => have,
        Err(e) => return vec![Finding { run, of: Quantity::Run, fault: Fault::Refused(e.message) }],
    };
    let noise = || {
        let all = wanted.case.noise(&Reference, &whole);
        Noise { samples: all.samples.iter().map(seen).collect(), ..all }
    };
    let verdict = judge(&seen(&have), &seen(&wanted.results), &subject.bounds, noise);
    let leak = |f: Finding| {
        let top = if let Fault::Off { top, .. } = f.fault { top } else { f64::INFINITY };
        Finding { fault: Fault::Leaks { top }, ..f }
    };
    named(verdict.findings.into_iter().map(leak).collect(), &run)
}
