//! Screen and evaluator without compiler and training: a program's worth is computed from its numbers. Shared by the
//! tests of the loop; not a test itself.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use archc_search::evaluate::{Evaluator, Job};
use archc_search::plan::Tier;
use archc_search::random::Stream;
use archc_search::record::{Cost, Report, Status, TaskScore, TimeClass};
use archc_search::screen::{Refusal, Screen, Screened};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Two seed programs with numbers to change; the maximum worth of 1 is at a = 4 and b = 0.25.
pub fn seeds() -> Vec<(String, String)> {
    let program = |name: &str, a: u32, b: &str| {
        let text = format!(
            "/// A seed.\nblock {name}[D](a = {a}, b = {b}) {{\n    input x[D]\n    let y = conv(x, width = {a})\n    output y * b\n}}\n"
        );
        (format!("{}.arch", name.to_lowercase()), text)
    };
    vec![program("First", 16, "1.0"), program("Second", 3, "0.01")]
}

/// Numbers after `name = ` in the text.
fn number(source: &str, name: &str) -> f64 {
    let at = source.find(&format!("{name} = ")).map_or(0, |i| i + name.len() + 3);
    let digits: String = source[at..].chars().take_while(|c| !matches!(c, ',' | ')')).collect();
    digits.parse().unwrap_or(0.0)
}

/// Screen that hashes the text without its name; it refuses `a` over 64 as too costly and `b` over 8 as out of range.
pub struct FakeScreen;

impl Screen for FakeScreen {
    fn screen(&self, source: &str) -> Screened {
        let (a, b) = (number(source, "a"), number(source, "b"));
        let width = number(source, "width");
        let refusal = (b > 8.0).then(|| Refusal {
            check: "ranges",
            code: "E0701".to_owned(),
            message: "b <b> is out of its range".to_owned(),
        });
        let name = source.split_once("block ").map_or("", |(_, rest)| rest.split('[').next().unwrap_or(""));
        Screened {
            name: name.to_owned(),
            hash: format!("{a}/{b}/{width}"),
            family: format!("{}", a > 8.0),
            cost: Some(Cost {
                params: (100.0 * a) as u64,
                flops_per_token: 200.0 * a,
                work: 600.0 * a,
                state: width as u64,
                time: TimeClass::Linear,
                mixer: if b < 0.1 { "small" } else { "large" }.to_owned(),
            }),
            refusal,
            ..Screened::default()
        }
    }
}

/// Evaluator that takes microseconds and gives the same scores for the same job on any thread; it may sleep, panic and
/// diverge.
#[derive(Default)]
pub struct FakeEvaluator {
    /// Maximum sleep in milliseconds, random for each evaluation.
    pub sleep: u64,
    /// Number of evaluations so far.
    pub calls: AtomicU64,
    /// Call at which it sleeps once until cancelled.
    pub hang_at: Option<u64>,
    /// Name of the version.
    pub version: &'static str,
}

impl Evaluator for FakeEvaluator {
    fn version(&self) -> String {
        format!("fake {}", self.version)
    }

    fn evaluate(&self, job: &Job, cancel: &AtomicBool) -> Report {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let nap = if self.sleep == 0 {
            0
        } else {
            (Instant::now().elapsed().as_nanos() as u64 ^ (call * 7919)) % (self.sleep + 1)
        };
        while began.elapsed() < Duration::from_millis(nap) || self.hang_at == Some(call) {
            if cancel.load(Ordering::Relaxed) {
                return Report::failed(Status::Cancelled, "stopped");
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let (a, b) = (number(&job.source, "a"), number(&job.source, "b"));
        // Some programs have defects that only training shows.
        assert!(b <= 3.0, "over three is a bug");
        if b < 1e-4 {
            return Report::failed(Status::Diverged, "loss is not finite");
        }
        let distance = (a / 4.0).log2().abs() + (b / 0.25).log2().abs();
        // Names of parameters seed their initial values: two texts of one program differ by chance.
        let mut noise = Stream::new(job.seed, &job.source, &[job.tier as u64]);
        let mut score = |weight: f64| (1.0 / (1.0 + weight * distance) + 0.02 * noise.normal()).clamp(-0.1, 1.0);
        let task = |score: f64| TaskScore {
            value: score,
            chance: 0.0,
            score,
            weight: 1.0,
            metric: "accuracy".to_owned(),
            loss: Some(1.0 - score),
            mean_loss: Some(1.0 - score),
            tokens: 1000,
            curve: vec![(0, 1.0)],
        };
        let mut tasks = BTreeMap::from([("recall".to_owned(), task(score(0.3)))]);
        if matches!(job.tier, Tier::Search | Tier::Final) {
            tasks.insert("text <b>".to_owned(), task(score(0.2)));
        }
        let tokens = 1000 * tasks.len() as u64;
        let best = tasks["recall"].score;
        // Learning rates of half or twice the best one score slightly lower.
        let rates =
            if job.tier == Tier::Tune { vec![(0.5, best - 0.01), (1.0, best), (2.0, best - 0.01)] } else { Vec::new() };
        Report { status: Status::Ok, tasks, rates, tokens, seconds: 0.0, params: 100, findings: Vec::new() }
    }
}
