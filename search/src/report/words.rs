//! State of a run in words: the headline, and the current activity of a running search.

use crate::rank::{Ranking, Row};
use crate::record::{Candidate, CandidateId, Origin};
use crate::stats::Interval;
use crate::stats::finals::{Judgement, LOOKS};
use crate::store::History;
use crate::{finals, schedule};

/// Formats a number with sign: `+0.210`; never `-0.000`.
pub(super) fn signed(x: f64) -> String {
    let text = format!("{x:+.3}");
    if text == "-0.000" { "+0.000".to_owned() } else { text }
}

/// Formats a mean with its interval: `+0.210 [+0.120, +0.300]`.
pub(super) fn interval(i: Interval) -> String {
    format!("{} [{}, {}]", signed(i.mean), signed(i.low), signed(i.high))
}

/// Formats a lead: `ahead by 0.210`, `behind by 0.028`.
pub(super) fn ahead(lead: f64) -> String {
    match format!("{:.3}", lead.abs()) {
        zero if zero == "0.000" => "level".to_owned(),
        size if lead > 0.0 => format!("ahead by {size}"),
        size => format!("behind by {size}"),
    }
}

/// Formats a count: `one seed`, `3 seeds`.
pub(super) fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("one {what}") } else { format!("{n} {what}s") }
}

/// Name of a candidate with its number, unless the name ends with it already.
pub(super) fn titled(c: &Candidate) -> String {
    let id = c.id.to_string();
    if c.name.to_lowercase().ends_with(&id) { c.name.clone() } else { format!("{} ({id})", c.name) }
}

pub(super) fn title(history: &History, id: CandidateId) -> String {
    history.candidate(id).map_or_else(|| id.to_string(), titled)
}

/// Headline: the result in a sentence. It calls nothing established that [`Row::verdict`] does not.
pub fn headline(history: &History, ranking: &Ranking) -> String {
    match ranking.fixed {
        None => before(history),
        Some(_) if history.candidates().is_empty() => "Nothing has run yet".to_owned(),
        Some(fixed) if ranking.rows.is_empty() => searching(history, &title(history, fixed)),
        Some(fixed) => judged(history, ranking, &title(history, fixed)),
    }
}

/// Headline before an anchor is fixed.
fn before(history: &History) -> String {
    if history.candidates().is_empty() {
        return "Nothing has run yet".to_owned();
    }
    if foreign(history) {
        return "Made by another evaluator: its programs are shown, and not compared".to_owned();
    }
    let place = place(history).map_or_else(String::new, |place| format!(": {place}"));
    match history.ended() {
        Some("no anchor could be trained") => {
            "No seed program could be trained: there is nothing to compare with".to_owned()
        }
        Some("interrupted") => format!("Interrupted before the search began{place}"),
        Some(_) => format!("The budget did not reach beyond the anchors{place}"),
        None => format!("The search has not begun yet{place}"),
    }
}

/// Whether the run has no fixed anchor although it went beyond the anchors: an old run, whose scores have another meaning.
pub(super) fn foreign(history: &History) -> bool {
    history.fixed().is_none() && history.candidates().iter().any(|c| c.generation > 0)
}

/// Headline before the finals.
fn searching(history: &History, anchor: &str) -> String {
    let board = crate::board::Board::of(history);
    let proposed = |id| history.candidate(id).is_some_and(|c| c.origin == Origin::Proposed);
    let compared: Vec<_> = board.standing.iter().filter(|s| proposed(s.id)).collect();
    let programs = count(compared.len(), "program");
    match (history.ended(), compared.first()) {
        (Some(reason), None) => {
            let why = if reason == "interrupted" {
                "The search was interrupted before it came"
            } else {
                "The budget did not reach"
            };
            format!("{why} beyond the anchors: {anchor} is the best of them, and nothing was compared with it")
        }
        (Some(reason), Some(_)) => {
            format!(
                "Nothing was established: {programs} compared with {anchor}, and no finals (the search ended: {reason})"
            )
        }
        (None, None) => format!("Still searching: nothing has been compared with {anchor} yet"),
        (None, Some(best)) if best.corrected.mean > 0.0 => format!(
            "Still searching: {programs} compared with {anchor}; the largest lead, corrected, is {} of {}, and the finals are to come",
            signed(best.corrected.mean),
            title(history, best.id)
        ),
        (None, Some(_)) => format!("Still searching: {programs} compared with {anchor}, none ahead of it so far"),
    }
}

/// Headline in the finals, or after them.
fn judged(history: &History, ranking: &Ranking, anchor: &str) -> String {
    let finalists: Vec<&Row> = ranking.rows.iter().filter(|r| !r.anchor).collect();
    let named = |row: &Row| title(history, row.candidate);
    let claim = |row: &Row| {
        let who = named(row);
        let seeds = |i: Interval| count(i.count, "seed");
        match (row.effect, row.over()) {
            (None, Some(i)) => {
                format!("{who} beats {anchor} by {} on the {} that established it", interval(i), seeds(i))
            }
            (None, None) => format!("{who} is established over {anchor}"),
            (Some(_), Some(i)) if i.positive() => {
                format!("{who} beats {anchor} by {} on {} after it was established", interval(i), seeds(i))
            }
            (Some(_), Some(i)) => format!(
                "{who} was established over {anchor} and not confirmed: {} on {} after that",
                interval(i),
                seeds(i)
            ),
            (Some(e), None) => format!(
                "{who} was established over {anchor}, and has no score on {} of {} after that",
                e.failed,
                count(e.seeds, "seed")
            ),
        }
    };
    if let Some(first) = finalists.iter().find(|r| r.discovery == Some(true)) {
        let number = if ranking.discoveries == 1 {
            "1 discovery".into()
        } else {
            format!("{} discoveries", ranking.discoveries)
        };
        return format!("{number}: {}", claim(first));
    }
    if let Some(row) = finalists.iter().find(|r| r.judgement.is_some_and(|j| j.established())) {
        let yet = if row.discovery.is_none() { " yet" } else { "" };
        return format!("No discovery{yet}: {}; {}", claim(row), row.verdict());
    }
    if history.ended().is_none() && finalists.iter().any(|r| r.judgement.is_some_and(|j| j.undecided())) {
        let place = place(history).map_or_else(String::new, |place| format!(": {place}"));
        return format!("Still in the finals, nothing is established so far{place}");
    }
    let seeds = finalists.iter().map(|r| r.seeds).min().unwrap_or(0);
    if finalists.iter().all(|r| r.judgement.is_none_or(|j| j.look.is_none())) {
        let (who, seeds) = (count(finalists.len(), "finalist"), count(seeds, "fresh seed"));
        return format!(
            "Nothing was established: {who} with {seeds} beside {anchor}, and the first look is at {}",
            LOOKS[0]
        );
    }
    let lead = |row: &Row| row.lead().unwrap_or(f64::NEG_INFINITY);
    let Some(best) = finalists.iter().max_by(|a, b| lead(a).total_cmp(&lead(b))) else {
        return "Nothing was established".to_owned();
    };
    let who =
        if finalists.len() == 1 { "the only finalist" } else { &format!("the best of {} finalists", finalists.len()) };
    let does = match best.over() {
        Some(i) if i.mean > 0.0 => format!("leads {anchor} by {}", signed(i.mean)),
        Some(i) => format!("is {:.3} behind {anchor}", -i.mean),
        None => format!("cannot be compared with {anchor}"),
    };
    format!("Nothing was established: {who} {does}, {}", best.verdict())
}

/// Current activity of an unfinished search: `7 of 12 evaluations of the anchors on the search tier`. None if nothing is
/// due.
pub fn place(history: &History) -> Option<String> {
    // The finals may begin while a generation is open, if there was no time left for it.
    let (what, due, seeds) = match history.open_generation().filter(|_| !history.in_finals()) {
        Some(generation) => {
            let due = schedule::due(history, generation);
            let tier = due.first()?.1;
            let of = if generation == 0 { "the anchors".to_owned() } else { format!("generation {generation}") };
            (format!("{of} on the {} tier", tier.word()), due, history.plan().seeds(generation, tier))
        }
        None if history.finals().is_empty() => return None,
        None if finals::judgements(history).iter().any(Judgement::undecided) => {
            ("the finals, up to the next look".to_owned(), finals::due(history), 0..u64::MAX)
        }
        None => {
            let what = "what was established, on further seeds".to_owned();
            (what, finals::due(history), finals::after(history.plan()))
        }
    };
    let tier = due.first()?.1;
    let done = history.results().filter(|((_, t, seed), _)| *t == tier && seeds.contains(seed)).count();
    Some(format!("{done} of {} evaluations of {what}", done + due.len()))
}
