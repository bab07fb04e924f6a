//! Generation of candidates: a pure function of the history up to the last closed generation.
//!
//! For each slot, the researcher supplies a hypothesis, the engineer a program and the screen a verdict, until there
//! are enough sound drafts; a surrogate selects the one that is trained. Refused and outranked drafts are kept with the
//! reason.

use crate::board::Knowledge;
use crate::moves::VARIATIONS;
use crate::random::Stream;
use crate::record::{Candidate, CandidateId, Finding, Hypothesis, Origin, Site, Verdict};
use crate::roles::{Engineer, Researcher};
use crate::screen::{Limits, Refusal, Screen, Screened};
use crate::shrink::{hidden_sizes, shrink};
use crate::store::History;
use crate::surrogate::Surrogate;
use crate::{codes, control};
use archc_compiler::diag::Diagnostic;
use archc_runtime::guard::caught;
use similar::TextDiff;
use std::collections::BTreeSet;

/// Generation 0: the seed programs, and variants of each that are one edit away, by [`VARIATIONS`].
///
/// # Errors
/// E1007 if a seed program does not pass the screen.
pub fn anchors(history: &History, engineer: &dyn Engineer, screen: &dyn Screen) -> Result<Vec<Candidate>, Diagnostic> {
    let limits = Limits::of(history);
    let mut candidates = seeds(history, screen)?;
    let mut known: BTreeSet<String> = candidates.iter().map(|c| c.hash.clone()).collect();
    for seed in candidates.clone() {
        let choices = engineer.choices(&seed);
        let mut left = VARIATIONS.map(|v| v.most);
        for choice in choices.iter() {
            let by = VARIATIONS.iter().position(|v| (v.action, v.site) == (choice.action, choice.site.kind.as_str()));
            let Some(by) = by.filter(|&by| left[by] > 0) else { continue };
            let hypothesis = Hypothesis {
                researcher: "anchors".to_owned(),
                parents: vec![seed.id],
                action: choice.action.to_owned(),
                site: choice.site.clone(),
                why: "what is called better than a seed program should be better than its nearest variants".to_owned(),
                tasks: Vec::new(),
            };
            let place = [u64::from(seed.id.0), choice.site.index as u64];
            let mut stream = Stream::new(0, "variant", &place);
            let made = draft(&[&seed], engineer, screen, &limits, hypothesis, &mut stream);
            if made.verdict.admitted() && known.insert(made.hash.clone()) {
                let id = CandidateId(candidates.len() as u32);
                candidates.push(Candidate { id, origin: Origin::Anchor, slot: seed.slot, ..made });
                left[by] -= 1;
            }
        }
    }
    Ok(candidates)
}

/// The seed programs.
///
/// # Errors
/// E1007 if one does not pass the screen.
pub fn seeds(history: &History, screen: &dyn Screen) -> Result<Vec<Candidate>, Diagnostic> {
    let limits = Limits::of(history);
    let mut candidates: Vec<Candidate> = Vec::new();
    for (slot, (name, source)) in history.plan().anchors.iter().enumerate() {
        let screened =
            caught(|| screen.screen(source)).map_err(|bug| codes::seed(name, format!("archc bug: {bug}")))?;
        if let Some(refusal) = screened.refusal.clone().or_else(|| limits.refuse(&screened)) {
            let code = if refusal.code.is_empty() { String::new() } else { format!(" ({})", refusal.code) };
            return Err(codes::seed(name, format!("{}{code}", refusal.message)));
        }
        candidates.push(Candidate {
            id: CandidateId(0),
            generation: 0,
            slot: slot as u32,
            attempt: 0,
            origin: Origin::Anchor,
            name: if screened.name.is_empty() { name.clone() } else { screened.name },
            source: source.clone(),
            hypothesis: None,
            parents: Vec::new(),
            change: format!("seed program {name}"),
            diff: String::new(),
            hash: screened.hash,
            family: screened.family,
            verdict: Verdict::Admitted,
            findings: screened.findings,
            cost: screened.cost,
        });
    }
    // Two files with the same program are one anchor.
    let mut known = BTreeSet::new();
    candidates.retain(|c| known.insert(c.hash.clone()));
    (0..).zip(&mut candidates).for_each(|(id, c)| c.id = CandidateId(id));
    Ok(candidates)
}

/// Proposes a later generation, of at most `room` drafts.
pub fn generation(
    history: &History,
    researcher: &dyn Researcher,
    engineer: &dyn Engineer,
    screen: &dyn Screen,
    room: usize,
) -> Vec<Candidate> {
    let plan = history.plan();
    let number = history.generations();
    let limits = Limits::of(history);
    let mut made: Vec<Candidate> = Vec::new();
    let known = Knowledge::of(history);
    let surrogate = Surrogate::of(&known);
    let id = |made: &[Candidate]| CandidateId(history.next_id().0 + made.len() as u32);
    for slot in 0..plan.generation {
        let first = made.len();
        let sound = |made: &[Candidate]| made[first..].iter().filter(|c| c.verdict.admitted()).count() as u32;
        for attempt in 0..plan.drafts {
            if made.len() >= room || sound(&made) >= plan.choices {
                break;
            }
            let place = [u64::from(number), u64::from(slot), u64::from(attempt)];
            let mut thought = Stream::new(plan.seed, "propose", &place);
            let hypothesis = match caught(|| researcher.propose(&known, engineer, &mut thought)) {
                Ok(Some(hypothesis)) => hypothesis,
                Ok(None) => break,
                Err(bug) => unthought(history, researcher, &bug),
            };
            let parents: Vec<&Candidate> = hypothesis.parents.iter().filter_map(|&id| history.candidate(id)).collect();
            let mut candidate = Candidate {
                id: id(&made),
                generation: number,
                slot,
                attempt,
                ..draft(&parents, engineer, screen, &limits, hypothesis, &mut Stream::new(plan.seed, "build", &place))
            };
            if candidate.verdict.admitted() {
                let same = |c: &&Candidate| c.verdict.admitted() && c.hash == candidate.hash;
                let known = history.same_program(&candidate.hash).or_else(|| made.iter().find(same).map(|c| c.id));
                if let Some(of) = known {
                    candidate.verdict = Verdict::Duplicate { of };
                }
            }
            made.push(candidate);
        }
        choose(&known, &surrogate, &mut made[first..]);
    }
    for turn in 0..control::count(history) {
        if made.iter().any(|c| c.verdict.admitted()) {
            made.extend(control::control(history, screen, number, turn, id(&made)));
        }
    }
    made
}

/// Selects one of a slot's sound drafts for training: the one with the highest predicted score, the first of equals.
fn choose(known: &Knowledge<'_>, surrogate: &Surrogate, drafts: &mut [Candidate]) {
    let guess = |c: &Candidate| surrogate.guess(known, c).unwrap_or(0.0);
    let sound = drafts.iter().filter(|c| c.verdict.admitted());
    let best = sound.map(|c| (guess(c), c.id)).max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
    let Some((_, by)) = best else { return };
    for c in drafts.iter_mut().filter(|c| c.verdict.admitted() && c.id != by) {
        c.verdict = Verdict::Outranked { by };
    }
}

/// Makes one draft; the caller sets its number and place.
fn draft(
    parents: &[&Candidate],
    engineer: &dyn Engineer,
    screen: &dyn Screen,
    limits: &Limits,
    hypothesis: Hypothesis,
    stream: &mut Stream,
) -> Candidate {
    let parent = parents.first();
    let mut candidate = Candidate {
        id: CandidateId(0),
        generation: 0,
        slot: 0,
        attempt: 0,
        origin: Origin::Proposed,
        name: parent.map_or_else(String::new, |p| p.name.clone()),
        source: parent.map_or_else(String::new, |p| p.source.clone()),
        parents: hypothesis.parents.clone(),
        change: format!("{} at {}", hypothesis.action, hypothesis.site.label),
        diff: String::new(),
        hash: String::new(),
        family: String::new(),
        verdict: Verdict::Admitted,
        findings: Vec::new(),
        cost: None,
        hypothesis: None,
    };
    let rejected =
        |check: &str, message: String| Verdict::Rejected { check: check.to_owned(), code: String::new(), message };
    match caught(|| engineer.build(&hypothesis, parents, stream)) {
        Err(bug) => candidate.verdict = rejected("bug", format!("archc bug: {bug}")),
        Ok(Err(message)) => candidate.verdict = rejected("edit", message),
        Ok(Ok(draft)) => {
            candidate.source = draft.source;
            candidate.change = draft.change;
            match caught(|| screen.screen(&candidate.source)) {
                Err(bug) => candidate.verdict = rejected("bug", format!("archc bug: {bug}")),
                Ok(screened) => judge(&mut candidate, screened, screen, limits),
            }
            candidate.diff = diff(parent.map_or("", |p| &p.source), &candidate.source);
        }
    }
    candidate.hypothesis = Some(hypothesis);
    candidate
}

/// Stores the screen's results in the candidate; a program that is too large is shrunk first.
fn judge(candidate: &mut Candidate, screened: Screened, screen: &dyn Screen, limits: &Limits) {
    let (screened, refusal) = fit(candidate, screened, screen, limits);
    if let Some(refusal) = refusal {
        candidate.verdict =
            Verdict::Rejected { check: refusal.check.to_owned(), code: refusal.code, message: refusal.message };
    }
    if !screened.name.is_empty() {
        candidate.name = screened.name;
    }
    candidate.hash = screened.hash;
    candidate.family = screened.family;
    candidate.findings = screened.findings;
    candidate.cost = screened.cost;
}

/// Factors by which a hidden size is lowered, until the program is no larger than the fixed anchor.
const FACTORS: [f64; 5] = [0.9, 0.8, 0.7, 0.6, 0.5];

/// Fits the program: unchanged, or with one hidden size lowered until it is small enough; with the refusal, if any.
fn fit(
    candidate: &mut Candidate,
    screened: Screened,
    screen: &dyn Screen,
    limits: &Limits,
) -> (Screened, Option<Refusal>) {
    let refused = |s: &Screened| s.refusal.clone().or_else(|| limits.refuse(s));
    let large = |s: &Screened| s.cost.as_ref().and_then(|cost| limits.too_large(cost));
    let refusal = match refused(&screened) {
        Some(refusal) => Some(refusal),
        None => large(&screened),
    };
    if refusal.as_ref().is_none_or(|r| r.check != "cost") {
        return (screened, refusal);
    }
    for factor in FACTORS {
        let smaller = hidden_sizes(&candidate.source).into_iter().filter_map(|size| {
            let source = shrink(&candidate.source, &size, factor)?;
            let screened = screen.screen(&source);
            (refused(&screened).is_none() && large(&screened).is_none()).then_some((size, source, screened))
        });
        // Among the fitting sizes, the one that keeps the most parameters.
        let params = |s: &Screened| s.cost.as_ref().map_or(0, |cost| cost.params);
        let best = smaller.reduce(|best, next| if params(&next.2) > params(&best.2) { next } else { best });
        if let Some((size, source, screened)) = best {
            candidate.source = source;
            candidate.change = format!(
                "{}; {size} lowered to {:.0} % to be no larger than the fixed anchor",
                candidate.change,
                100.0 * factor
            );
            return (screened, None);
        }
    }
    (screened, refusal)
}

/// Placeholder hypothesis for a researcher that failed, so that the failure is recorded.
fn unthought(history: &History, researcher: &dyn Researcher, bug: &str) -> Hypothesis {
    Hypothesis {
        researcher: researcher.name().to_owned(),
        parents: history.anchors().take(1).map(|a| a.id).collect(),
        action: "none".to_owned(),
        site: Site { kind: "none".to_owned(), index: 0, label: "nowhere".to_owned() },
        why: format!("archc bug in the researcher: {bug}"),
        tasks: Vec::new(),
    }
}

/// Unified diff with three lines around each change.
pub fn diff(old: &str, new: &str) -> String {
    TextDiff::from_lines(old, new).unified_diff().context_radius(3).header("parent", "child").to_string()
}

/// Converts the compiler's diagnostics to findings of the log.
pub fn findings(diagnostics: &[Diagnostic]) -> Vec<Finding> {
    diagnostics.iter().map(Finding::from).collect()
}
