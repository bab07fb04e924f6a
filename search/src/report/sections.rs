//! The sections of the page.

use super::charts;
use crate::archive::Archive;
use crate::rank::{Ranking, Row};
use crate::record::{Candidate, CandidateId, Origin, Verdict};
use crate::stats::Interval;
use crate::store::History;
use archc_page::{Page, big};
use std::collections::BTreeSet;

/// Title, numbers, contents.
pub(super) fn header(page: &mut Page, run: &str, history: &History, ranking: &Ranking) {
    let plan = history.plan();
    let counts = history.counts();
    page.raw("<header>\n").element("h1", &[], headline(ranking));
    let state = match history.ended() {
        Some("interrupted") => "interrupted; it can be resumed".to_owned(),
        Some(reason) => format!("ended: {reason}"),
        None => "still running, or killed".to_owned(),
    };
    let about = format!("Run {run} · seed {} · researcher {} · {state}", plan.seed, plan.researcher);
    page.element("p", &[], about).raw("\n<nav>");
    let contents = [
        ("ranking", "Ranking"),
        ("progress", "Progress"),
        ("lineage", "Lineage"),
        ("archive", "Archive"),
        ("drafts", "Drafts"),
        ("trust", "Trust"),
        ("beliefs", "Beliefs"),
        ("winners", "Programs"),
        ("all", "Experiments"),
    ];
    for (id, title) in contents {
        page.element("a", &[("href", &format!("#{id}"))], title);
    }
    page.raw("</nav>\n</header>\n");
    let spent = history.spent().as_secs();
    let numbers: [(String, &str); 8] = [
        (counts.proposed.to_string(), "proposed"),
        (counts.refused().to_string(), "refused by a check"),
        (counts.duplicates.to_string(), "duplicates"),
        (counts.trained.to_string(), "trained"),
        (counts.evaluations.to_string(), "evaluations"),
        (big(counts.tokens as f64), "tokens"),
        (format!("{}:{:02}", spent / 60, spent % 60), "search time, min:s"),
        (format!("{:.0} s", counts.seconds), "of training, all workers"),
    ];
    page.numbers(&numbers);
}

/// What came out, in a sentence.
fn headline(ranking: &Ranking) -> String {
    let Some(best) = ranking.rows.first() else { return "Nothing has been ranked yet".to_owned() };
    if best.seeds == 0 {
        return format!("{} ({}) leads so far, on search seeds only", best.name, best.candidate);
    }
    match best.over_anchor {
        _ if best.anchor => format!("The seed {} holds its place", best.name),
        Some(i) if i.positive() => format!("{} ({}) beats every seed by {:+.3}", best.name, best.candidate, i.mean),
        Some(i) => format!("{} ({}) leads by {:+.3}, within the noise", best.name, best.candidate, i.mean),
        None => format!("{} ({}) leads on one fresh seed", best.name, best.candidate),
    }
}

fn bounds(interval: Option<Interval>) -> String {
    interval.map_or_else(|| "–".to_owned(), |i| format!("[{:.3}, {:.3}]", i.low, i.high))
}

/// The ranked table.
pub(super) fn ranking(page: &mut Page, history: &History, ranking: &Ranking) {
    page.section(
        "ranking",
        "Ranking on fresh seeds",
        "Quality is 0 at chance and 1 when perfect, the mean over tasks. Fresh seeds were never seen by the search; \
         intervals are 95 % bootstraps over them. The search score is what the program was chosen for, so it flatters; \
         what is lost on fresh seeds is the shrinkage.",
    );
    let tasks: BTreeSet<&str> = ranking.rows.iter().flat_map(|r| r.tasks.keys().map(String::as_str)).collect();
    page.raw("<div class=\"wide\"><table><thead><tr><th></th><th>program</th>");
    for title in ["quality", "95 %", "seeds", "search", "shrinkage", "over best seed program", "p"] {
        page.head(title, "n");
    }
    for task in &tasks {
        page.head(task, "n");
    }
    for title in ["params", "FLOPs/token", "state", "time"] {
        page.head(title, "n");
    }
    page.raw("</tr></thead>\n<tbody>\n");
    for (i, row) in ranking.rows.iter().enumerate() {
        let class = if row.anchor { "anchor" } else { "" };
        page.open("tr", &[("class", &class)]);
        page.cell(i + 1);
        page.raw("<td>");
        let target = format!("#{}", row.candidate);
        if row.anchor {
            page.text(&row.name);
        } else {
            page.element("a", &[("href", &target)], format!("{} {}", row.name, row.candidate));
        }
        page.raw("</td>");
        page.number(format!("{:.3}", row.quality));
        page.number(bounds(row.interval));
        page.number(row.seeds);
        page.number(row.search.map_or_else(|| "–".to_owned(), |s| format!("{s:.3}")));
        let shrinkage = row.search.filter(|_| row.seeds > 0).map(|s| s - row.quality);
        page.number(shrinkage.map_or_else(|| "–".to_owned(), |s| format!("{s:+.3}")));
        over(page, row);
        page.number(row.p.map_or_else(|| "–".to_owned(), |p| format!("{p:.3}")));
        for task in &tasks {
            page.number(row.tasks.get(*task).map_or_else(|| "–".to_owned(), |s| format!("{s:.3}")));
        }
        let cost = history.candidate(row.candidate).and_then(|c| c.cost.clone()).unwrap_or_default();
        page.number(big(cost.params as f64));
        page.number(big(cost.flops_per_token));
        page.number(big(cost.state as f64));
        page.number(cost.time.word());
        page.raw("</tr>\n");
    }
    page.raw("</tbody></table></div>\n");
}

fn over(page: &mut Page, row: &Row) {
    match row.over_anchor {
        Some(i) => {
            let class = if i.positive() {
                "n up"
            } else if i.negative() {
                "n down"
            } else {
                "n"
            };
            page.element("td", &[("class", &class)], format!("{:+.3} {}", i.mean, bounds(Some(i))));
        }
        None => page.number("–"),
    }
}

/// Scores over time.
pub(super) fn progress(page: &mut Page, history: &History) {
    page.section(
        "progress",
        "Progress",
        "Each dot is one evaluation on the tasks of the search, one program on one seed; the seed programs are in the \
         second colour. The line is the best single score so far: one lucky seed is enough to raise it.",
    );
    charts::progress(page, history);
}

/// Who came from whom.
pub(super) fn lineage(page: &mut Page, history: &History, ranking: &Ranking) {
    page.section(
        "lineage",
        "Lineage",
        "Height is the lead over the mean of the seed programs on the same seeds, shrunk towards zero by the number of \
         seeds behind it. The ancestry of the ranked programs stands out. Hover for the change.",
    );
    charts::lineage(page, history, ranking);
}

/// The best of each kind.
pub(super) fn archive(page: &mut Page, history: &History) {
    page.section(
        "archive",
        "Archive",
        "The best program of each kind (what mixes time, size of the state, compute), by its lead over the seed programs.",
    );
    charts::archive(page, &Archive::of(history));
}

/// What became of what was proposed.
pub(super) fn drafts(page: &mut Page, history: &History) {
    let counts = history.counts();
    page.section(
        "drafts",
        "What became of the drafts",
        "Drafts are refused before training by the first check they fail. A duplicate is a program that was there \
         already, whatever its names and order; it is never a new discovery.",
    );
    let mut bars = vec![
        ("trained or waiting".to_owned(), counts.admitted, false),
        ("passed over for another draft".to_owned(), counts.outranked, true),
        ("duplicate".to_owned(), counts.duplicates, true),
    ];
    bars.extend(counts.rejected.iter().map(|(check, n)| (format!("refused by {check}"), *n, true)));
    bars.extend(counts.statuses.iter().map(|(status, n)| (format!("evaluations: {status}"), *n, *status != "ok")));
    charts::bars(page, "Numbers of drafts and evaluations by outcome", &bars);
}

/// How far the numbers can be trusted.
pub(super) fn trust(page: &mut Page, _: &History, ranking: &Ranking) {
    let c = ranking.controls;
    let share = |part: u32, of: u32| {
        if of == 0 { "–".to_owned() } else { format!("{:.0} %", 100.0 * f64::from(part) / f64::from(of)) }
    };
    page.section(
        "trust",
        "False discoveries",
        "Controls are seed programs under another name, trained on other seeds and judged by the rule for candidates \
         (the interval of the lead over the parent lies above zero). Whatever wins among them wins by luck.",
    );
    page.raw("<div class=\"wide\"><table><thead><tr><th></th><th class=\"n\">compared</th><th class=\"n\">won</th><th class=\"n\">share</th></tr></thead>\n<tbody>\n");
    for (name, tried, won) in [("controls", c.tried, c.won), ("candidates", c.candidates, c.discoveries)] {
        page.raw("<tr>");
        page.cell(name);
        page.number(tried);
        page.number(won);
        page.number(share(won, tried));
        page.raw("</tr>\n");
    }
    page.raw("</tbody></table></div>\n");
}

/// What the search believes about kinds of change.
pub(super) fn beliefs(page: &mut Page, history: &History) {
    page.section(
        "beliefs",
        "What the search believes",
        "For each kind of change, the expected share of children that beat their parent; old evidence fades, and drafts \
         that were refused count a quarter.",
    );
    let mut beliefs: Vec<_> = history.beliefs().iter().collect();
    beliefs.sort_by(|a, b| b.mean().total_cmp(&a.mean()).then_with(|| (&a.action, &a.site).cmp(&(&b.action, &b.site))));
    page.raw("<div class=\"wide\"><table><thead><tr><th>change</th><th>at a</th><th class=\"n\">tried</th><th class=\"n\">helps</th></tr></thead>\n<tbody>\n");
    for b in beliefs {
        page.raw("<tr>");
        page.cell(&b.action);
        page.cell(&b.site);
        page.number(b.tries);
        page.number(format!("{:.0} %", 100.0 * b.mean()));
        page.raw("</tr>\n");
    }
    page.raw("</tbody></table></div>\n");
}

/// Programs of the ranking, with where they come from.
pub(super) fn winners(page: &mut Page, history: &History, ranking: &Ranking) {
    page.section(
        "winners",
        "Programs",
        "Each ranked program with its lineage, newest change first, its text, and its diff from its parent.",
    );
    for (i, row) in ranking.rows.iter().enumerate().filter(|(_, r)| !r.anchor) {
        let Some(c) = history.candidate(row.candidate) else { continue };
        if i == 0 {
            page.open("details", &[("id", &c.id), ("open", &"open")]);
        } else {
            page.open("details", &[("id", &c.id)]);
        }
        page.raw("<summary>").text(format!("{}. {} {}", i + 1, c.name, c.id));
        page.element("small", &[], format!("{:.3} · {}", row.quality, c.change)).raw("</summary>\n<div>");
        lineage_list(page, history, c);
        page.raw("<div class=\"two\"><div><h3>Program</h3>").element("pre", &[], &c.source);
        page.raw("</div><div><h3>Diff from its parent</h3>");
        diff(page, &c.diff);
        page.raw("</div></div></div></details>\n");
    }
}

/// From a program back to its seed.
fn lineage_list(page: &mut Page, history: &History, candidate: &Candidate) {
    page.raw("<ol class=\"lineage\">");
    let mut at = Some(candidate);
    while let Some(c) = at {
        page.raw("<li>").text(format!("{} ", c.id)).element("b", &[], &c.change);
        if let Some(h) = &c.hypothesis {
            page.element("small", &[], format!("Why: {}", h.why));
        }
        if let Some(analysis) = history.analysis(c.id) {
            page.element("small", &[], &analysis.text);
        }
        page.raw("</li>");
        at = c.parents.first().and_then(|&p| history.candidate(p));
    }
    page.raw("</ol>");
}

/// A unified diff, its lines coloured.
fn diff(page: &mut Page, text: &str) {
    page.raw("<pre>");
    for line in text.lines().filter(|l| !l.starts_with("---") && !l.starts_with("+++")) {
        let class = match line.as_bytes().first() {
            Some(b'+') => "add",
            Some(b'-') => "del",
            Some(b'@') => "hunk",
            _ => "same",
        };
        page.element("span", &[("class", &class)], line).raw("\n");
    }
    page.raw("</pre>");
}

/// Everything that was proposed.
pub(super) fn experiments(page: &mut Page, history: &History) {
    page.section("all", "Every experiment", "Hypothesis, change, outcome, and what was learned.");
    page.raw("<input type=\"search\" id=\"filter\" placeholder=\"Filter\" aria-label=\"Filter the experiments\">\n");
    page.raw("<div class=\"wide\"><table id=\"experiments\"><thead><tr><th>id</th><th class=\"n\">gen.</th><th>from</th><th>change</th><th>outcome</th><th class=\"n\">lead</th><th>learned</th></tr></thead>\n<tbody>\n");
    for c in history.candidates() {
        page.open("tr", &[("class", &if c.origin == Origin::Anchor { "anchor" } else { "" })]);
        page.cell(c.id);
        page.number(c.generation);
        page.cell(names(history, &c.parents));
        page.raw("<td>").text(&c.change);
        if let Some(h) = &c.hypothesis {
            page.raw("<br>").element("small", &[], &h.why);
        }
        page.raw("</td>");
        page.cell(outcome(history, c));
        page.number(history.lead(c.id).map_or_else(|| "–".to_owned(), |l| format!("{l:+.3}")));
        page.cell(history.analysis(c.id).map_or("", |a| a.text.as_str()));
        page.raw("</tr>\n");
    }
    page.raw("</tbody></table></div>\n");
}

fn names(history: &History, ids: &[CandidateId]) -> String {
    let name = |id: &CandidateId| format!("{} {id}", history.candidate(*id).map_or("", |c| c.name.as_str()));
    ids.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn outcome(history: &History, c: &Candidate) -> String {
    match &c.verdict {
        Verdict::Duplicate { of } => format!("the same as {of}"),
        Verdict::Outranked { by } => format!("passed over for {by}"),
        Verdict::Rejected { check, code, message } if code.is_empty() => format!("refused by {check}: {message}"),
        Verdict::Rejected { check, code, message } => format!("refused by {check} ({code}): {message}"),
        Verdict::Admitted => {
            let mut results: Vec<String> = Vec::new();
            for (tier, _, report) in history.results_of(c.id) {
                results.push(match report.quality() {
                    Some(q) => format!("{} {q:.3}", tier.word()),
                    None => {
                        let why = report.findings.first().map_or("", |f| f.message.as_str());
                        format!("{} {}: {why}", tier.word(), report.status.word())
                    }
                });
            }
            if results.is_empty() { "waiting".to_owned() } else { results.join(", ") }
        }
    }
}

/// Where it came from.
pub(super) fn footer(page: &mut Page, history: &History) {
    let plan = history.plan();
    page.raw("<footer>");
    page.text(format!(
        "archc {} · evaluator {} · generations of {}, rungs {} · the log and every number are in run.sqlite",
        history.version(),
        plan.evaluator,
        plan.generation,
        plan.rungs
            .iter()
            .map(|r| format!("{} (seed {}, {:.0} %)", r.tier.word(), r.seed, 100.0 * r.keep))
            .collect::<Vec<_>>()
            .join(", "),
    ));
    page.raw("</footer>\n");
}
