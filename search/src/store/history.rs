//! State of a run, computed from the events of its log alone.

use super::event::Event;
use super::lineage::lineage_is_sound;
use crate::plan::{Plan, Tier};
use crate::rank::Ranking;
use crate::record::{Analysis, Belief, Candidate, CandidateId, Origin, Report, Verdict};
use crate::schedule::Trial;
use crate::stats;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// State of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    plan: Option<Plan>,
    version: String,
    candidates: Vec<Candidate>,
    by_hash: BTreeMap<String, CandidateId>,
    results: BTreeMap<Trial, Report>,
    proposed: u32,
    closed: u32,
    analyses: BTreeMap<CandidateId, Analysis>,
    beliefs: Vec<Belief>,
    fixed: Option<CandidateId>,
    finals: Vec<CandidateId>,
    /// Number of generations that were closed when the finalists were chosen.
    finals_after: u32,
    /// Whether the last evaluation was one of the finals, or they have just begun.
    in_finals: bool,
    tokens: BTreeMap<Tier, u64>,
    ranking: Option<Ranking>,
    timeline: Vec<(u64, Trial)>,
    session_began: i64,
    worked: u64,
    earlier: i64,
    last: i64,
    ended: Option<String>,
}

impl History {
    /// State before the first event.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies one more event.
    ///
    /// # Errors
    /// Reason why the event cannot follow the earlier ones.
    pub fn apply(&mut self, at: i64, event: &Event) -> Result<(), String> {
        if self.plan.is_none() && !matches!(event, Event::Opened { .. }) {
            return Err(format!("`{}` before `opened`", event.kind()));
        }
        // Clocks may be set back between two events; time spent never decreases.
        let at = at.max(self.last);
        match event {
            Event::Opened { plan, version } => {
                if self.plan.is_some() {
                    return Err("a second `opened`".to_owned());
                }
                self.plan = Some(plan.clone());
                self.version.clone_from(version);
                self.session_began = at;
            }
            Event::Session { .. } => {
                self.earlier += self.last - self.session_began;
                self.session_began = at;
                self.ended = None;
                self.in_finals = false;
            }
            Event::Proposed { generation, candidates } => {
                if *generation != self.proposed || self.closed != self.proposed {
                    return Err(format!("generation {generation} proposed out of order"));
                }
                for candidate in candidates {
                    if candidate.id != self.next_id() {
                        return Err(format!("candidate {} out of order", candidate.id));
                    }
                    lineage_is_sound(candidate)?;
                    if candidate.verdict.admitted() && candidate.origin != Origin::Control {
                        self.by_hash.entry(candidate.hash.clone()).or_insert(candidate.id);
                    }
                    self.candidates.push(candidate.clone());
                }
                self.proposed += 1;
                self.in_finals = false;
            }
            Event::Evaluated { candidate, tier, seed, report, worked, .. } => {
                if candidate.0 as usize >= self.candidates.len() {
                    return Err(format!("an evaluation of {candidate}, which nobody proposed"));
                }
                let trial = (*candidate, *tier, *seed);
                if self.results.insert(trial, report.clone()).is_some() {
                    return Err(format!("a second evaluation of {candidate} on seed {seed}"));
                }
                let most = self.tokens.entry(*tier).or_default();
                *most = (*most).max(report.tokens);
                self.in_finals = *tier == Tier::Final;
                self.see(at, *worked);
                self.timeline.push((self.worked, trial));
            }
            Event::Closed { generation, analyses, beliefs } => {
                if *generation != self.closed || self.closed == self.proposed {
                    return Err(format!("generation {generation} closed out of order"));
                }
                self.closed += 1;
                if *generation == 0 {
                    self.fixed = self.standing_anchors().first().map(|(id, _)| *id);
                }
                self.analyses.extend(analyses.iter().map(|a| (a.candidate, a.clone())));
                self.beliefs.clone_from(beliefs);
            }
            Event::Finals { contenders } => {
                self.finals.clone_from(contenders);
                self.finals_after = self.closed;
                self.in_finals = true;
            }
            Event::Ranked { ranking } => self.ranking = Some(ranking.clone()),
            Event::Ended { reason, worked } => {
                self.see(at, *worked);
                self.ended = Some(reason.clone());
            }
        }
        self.last = at;
        Ok(())
    }

    /// Updates the working time: from the log, or where the log has none (an older one), from the clock of this session's events.
    fn see(&mut self, at: i64, worked: u64) {
        let by_clock = u64::try_from(self.earlier + at - self.session_began).unwrap_or(0);
        self.worked = self.worked.max(if worked > 0 { worked } else { by_clock });
    }

    /// Plan of the run. A history with its first event has one.
    pub fn plan(&self) -> &Plan {
        static NOTHING: Plan = Plan::nothing();
        self.plan.as_ref().unwrap_or(&NOTHING)
    }

    /// Version of archc that started the run.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Number of the next candidate.
    pub fn next_id(&self) -> CandidateId {
        CandidateId(self.candidates.len() as u32)
    }

    /// All candidates, by number.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Candidate with this number, if it exists.
    pub fn candidate(&self, id: CandidateId) -> Option<&Candidate> {
        self.candidates.get(id.0 as usize)
    }

    /// Anchors of the run.
    pub fn anchors(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().take_while(|c| c.generation == 0).filter(|c| c.origin == Origin::Anchor)
    }

    /// Candidates, anchors and controls that were evaluated on the search tier.
    pub fn evaluated(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(|c| c.verdict.admitted() && self.scores(c.id, Tier::Search).next().is_some())
    }

    /// Candidates of one generation that may be trained.
    pub fn admitted(&self, generation: u32) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(move |c| c.generation == generation && c.verdict.admitted())
    }

    /// Candidate with this program.
    pub fn same_program(&self, hash: &str) -> Option<CandidateId> {
        self.by_hash.get(hash).copied()
    }

    /// Generation that is proposed and not closed.
    pub fn open_generation(&self) -> Option<u32> {
        (self.closed < self.proposed).then_some(self.closed)
    }

    /// Number of generations proposed.
    pub fn generations(&self) -> u32 {
        self.proposed
    }

    /// Result of an evaluation.
    pub fn result(&self, trial: Trial) -> Option<&Report> {
        self.results.get(&trial)
    }

    /// All results, by candidate, tier and seed.
    pub fn results(&self) -> impl Iterator<Item = (Trial, &Report)> {
        self.results.iter().map(|(t, r)| (*t, r))
    }

    /// Results of one candidate.
    pub fn results_of(&self, id: CandidateId) -> impl Iterator<Item = (Tier, u64, &Report)> {
        let from = (id, Tier::Tune, 0);
        let to = (id, Tier::Final, u64::MAX);
        self.results.range(from..=to).map(|(&(_, tier, seed), report)| (tier, seed, report))
    }

    /// Scores of one candidate on a tier, by seed.
    pub fn scores(&self, id: CandidateId, tier: Tier) -> impl Iterator<Item = (u64, f64)> {
        let results = self.results.range((id, tier, 0)..=(id, tier, u64::MAX));
        results.filter_map(|(&(_, _, seed), report)| Some((seed, report.score()?)))
    }

    /// Multiple of the tasks' learning rates at which a candidate trains: the one with the best mean score over its tunings, the
    /// lower one of equals. None before it is tuned, or if it learned at no rate.
    pub fn rate(&self, id: CandidateId) -> Option<f64> {
        self.tuning(id).map(|(rate, _)| rate)
    }

    /// Mean score over its tunings at that rate.
    pub fn tuned(&self, id: CandidateId) -> Option<f64> {
        self.tuning(id).map(|(_, score)| score)
    }

    fn tuning(&self, id: CandidateId) -> Option<(f64, f64)> {
        // A control is tuned like any other candidate; its result does not depend on its origin.
        let mut scores: Vec<(f64, Vec<f64>)> = Vec::new();
        let mut tunings = 0;
        for (_, report) in self.results.range((id, Tier::Tune, 0)..=(id, Tier::Tune, u64::MAX)) {
            tunings += 1;
            for &(rate, score) in &report.rates {
                match scores.iter_mut().find(|(r, _)| *r == rate) {
                    Some((_, all)) => all.push(score),
                    None => scores.push((rate, vec![score])),
                }
            }
        }
        scores.sort_by(|a, b| a.0.total_cmp(&b.0));
        // A rate at which one of the tunings diverged is not used.
        let whole = scores.into_iter().filter(|(_, all)| all.len() == tunings);
        let means = whole.filter_map(|(rate, all)| Some((rate, stats::mean(&all)?)));
        means.reduce(|best, next| if next.1 > best.1 { next } else { best })
    }

    /// Paired differences a - b of the scores, on the seeds of a tier that both were evaluated on.
    pub fn paired(&self, a: CandidateId, b: CandidateId, tier: Tier) -> Vec<f64> {
        // Iterates over the seeds of a, because the fixed anchor, which is often b, has those of all generations.
        self.scores(a, tier).filter_map(|(seed, score)| Some(score - self.result((b, tier, seed))?.score()?)).collect()
    }

    /// Anchor that all leads refer to: of those evaluated on all seeds of generation 0, the one with the best mean score. It is
    /// fixed when generation 0 is closed.
    pub fn fixed(&self) -> Option<CandidateId> {
        self.fixed
    }

    /// Anchors by their mean score on the seeds of generation 0, the best first; without those that failed on one of them.
    pub fn standing_anchors(&self) -> Vec<(CandidateId, f64)> {
        let seeds = self.plan().seeds(0, Tier::Search);
        let mut standing: Vec<(CandidateId, f64)> = self
            .anchors()
            .filter_map(|a| {
                let scores: Option<Vec<f64>> =
                    seeds.clone().map(|seed| self.result((a.id, Tier::Search, seed))?.score()).collect();
                Some((a.id, stats::mean(&scores?)?))
            })
            .collect();
        standing.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        standing
    }

    /// Paired differences to the fixed anchor on the common seeds of the search tier; none for that anchor itself.
    pub fn leads(&self, id: CandidateId) -> Vec<f64> {
        match self.fixed {
            Some(fixed) if fixed != id => self.paired(id, fixed, Tier::Search),
            _ => Vec::new(),
        }
    }

    /// Analysis of a candidate.
    pub fn analysis(&self, id: CandidateId) -> Option<&Analysis> {
        self.analyses.get(&id)
    }

    /// All analyses, by candidate.
    pub fn analyses(&self) -> impl Iterator<Item = &Analysis> {
        self.analyses.values()
    }

    /// Beliefs after the last closed generation.
    pub fn beliefs(&self) -> &[Belief] {
        &self.beliefs
    }

    /// Finalists, once chosen.
    pub fn finals(&self) -> &[CandidateId] {
        &self.finals
    }

    /// Whether the finalists were chosen from all closed generations.
    pub fn finals_are_current(&self) -> bool {
        !self.finals.is_empty() && self.finals_after == self.closed
    }

    /// Whether the last activity was the finals, not a generation.
    pub fn in_finals(&self) -> bool {
        self.in_finals
    }

    /// Maximum number of tokens of an evaluation of this tier.
    pub fn tokens(&self, tier: Tier) -> u64 {
        self.tokens.get(&tier).copied().unwrap_or(0)
    }

    /// Final ranking, once computed.
    pub fn ranking(&self) -> Option<&Ranking> {
        self.ranking.as_ref()
    }

    /// Time spent in all sessions, up to the last event.
    pub fn spent(&self) -> Duration {
        Duration::from_millis(self.worked)
    }

    /// End times of the evaluations (in milliseconds of search time), in the order of the log. For reports only: nothing is decided
    /// from it.
    pub fn timeline(&self) -> &[(u64, Trial)] {
        &self.timeline
    }

    /// Reason why the last session ended; none while one is active, or if it was killed.
    pub fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// Counts of the run.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { generations: self.proposed, ..Counts::default() };
        for c in self.candidates.iter().filter(|c| c.origin == Origin::Proposed) {
            counts.proposed += 1;
            match &c.verdict {
                Verdict::Admitted => counts.admitted += 1,
                Verdict::Duplicate { .. } => counts.duplicates += 1,
                Verdict::Outranked { .. } => counts.outranked += 1,
                Verdict::Rejected { check, .. } => *counts.rejected.entry(check.clone()).or_default() += 1,
            }
        }
        let mut trained = BTreeSet::new();
        for ((id, _, _), report) in &self.results {
            counts.evaluations += 1;
            counts.tokens += report.tokens;
            counts.seconds += report.seconds;
            *counts.statuses.entry(report.status.word()).or_default() += 1;
            if self.candidates[id.0 as usize].origin == Origin::Proposed {
                trained.insert(*id);
            }
        }
        counts.trained = trained.len() as u32;
        counts
    }
}

/// Counts of a run, for display.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Generations proposed, including the anchors'.
    pub generations: u32,
    /// Candidates that a researcher proposed.
    pub proposed: u32,
    /// Of these, allowed to train.
    pub admitted: u32,
    /// Of these, duplicates of existing programs.
    pub duplicates: u32,
    /// Of these, sound, but outranked by another draft of the same slot.
    pub outranked: u32,
    /// Of these, refused, by check.
    pub rejected: BTreeMap<String, u32>,
    /// Of these, trained at least once.
    pub trained: u32,
    /// Evaluations, anchors and controls included.
    pub evaluations: u32,
    /// Evaluations by status.
    pub statuses: BTreeMap<&'static str, u32>,
    /// Number of tokens trained on.
    pub tokens: u64,
    /// Seconds of evaluation, summed over all workers.
    pub seconds: f64,
}

impl Counts {
    /// Number of proposed candidates that any check refused.
    pub fn refused(&self) -> u32 {
        self.rejected.values().sum()
    }
}
