//! Drawings of a search.

use super::words::{ahead, signed, titled};
use super::{View, link};
use crate::archive::{Archive, Cell};
use crate::front::FrontPoint;
use crate::plan::Tier;
use crate::record::{Candidate, CandidateId, Origin, Status};
use crate::store::History;
use archc_page::{Page, Plane, Shape, big, range, round};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

/// Widths of a drawing in pixels, on a telephone and on a desktop: names are shown if they fit.
const WIDTHS: [f64; 2] = [310.0, 1080.0];

/// Kinds of mark (class, meaning).
const MARKS: [(&str, &str); 4] = [
    ("node win", "leading programs and what they were made from"),
    ("node", "other programs"),
    ("node anchor", "anchors"),
    ("node control", "controls"),
];

/// Legend of the marks.
pub(super) fn legend(page: &mut Page, used: &[&str]) {
    page.raw("<p class=\"legend\">");
    for (class, what) in MARKS.iter().filter(|(class, _)| used.contains(class)) {
        key(page, class, what);
    }
    page.raw("</p>\n");
}

/// Mark with its meaning.
pub(super) fn key(page: &mut Page, class: &str, what: &str) {
    page.raw("<span class=\"item\">")
        .element("span", &[("class", &format!("key {class}"))], "")
        .text(what)
        .raw("</span> ");
}

fn mark(view: &View<'_>, c: &Candidate) -> (&'static str, Shape) {
    match c.origin {
        Origin::Anchor => ("node anchor", Shape::Square),
        Origin::Control => ("node control", Shape::Dot),
        Origin::Proposed if view.kept.contains(&c.id) => ("node win", Shape::Dot),
        Origin::Proposed => ("node", Shape::Dot),
    }
}

/// Point that links to the program's box on the page.
fn linked(page: &mut Page, view: &View<'_>, plane: &Plane, c: &Candidate, at: (f64, f64), title: &str) {
    let (class, shape) = mark(view, c);
    page.open("a", &[("href", &format!("#{}", c.id))]);
    plane.point(page, &class, shape, at, title);
    page.close("a");
}

/// Names beside points, as far as they fit, the more important ones first.
fn names(page: &mut Page, view: &View<'_>, plane: &Plane, mut points: Vec<(CandidateId, (f64, f64))>) {
    let weight = |id: &CandidateId| match () {
        () if view.leading.contains(id) => 0,
        () if view.ranking.fixed == Some(*id) => 1,
        () if view.kept.contains(id) => 2,
        () => 3,
    };
    points.sort_by_key(|(id, _)| weight(id));
    let texts: Vec<String> = points.iter().map(|(id, _)| short(view.history, *id)).collect();
    let wanted = |order: &[usize]| order.iter().map(|&i| (points[i].1, texts[i].chars().count())).collect::<Vec<_>>();
    let all: Vec<usize> = (0..points.len()).collect();
    let narrow = plane.room(WIDTHS[0], &wanted(&all));
    // Names that fit on the narrow page come first on the wide one too, so that the wide one shows them all.
    let (first, rest): (Vec<usize>, Vec<usize>) = all.into_iter().partition(|&i| narrow[i]);
    let order = [first, rest].concat();
    let wide = plane.room(WIDTHS[1], &wanted(&order));
    for (&i, wide) in order.iter().zip(wide) {
        let class = if narrow[i] { "name" } else { "name roomy" };
        if narrow[i] || wide {
            page.open("a", &[("href", &format!("#{}", points[i].0))]);
            plane.label(page, &class, points[i].1, &texts[i]);
            page.close("a");
        }
    }
}

/// Short name: `c0042 GatedDelta`, the number and the beginning of the name.
fn short(history: &History, id: CandidateId) -> String {
    const LETTERS: usize = 14;
    let name = history.candidate(id).map_or("", |c| c.name.as_str());
    let lower = name.to_lowercase();
    let name = lower.strip_suffix(&id.to_string()).map_or(name, |rest| name.get(..rest.len()).unwrap_or(name));
    let cut: String = name.chars().take(LETTERS).collect();
    let more = if name.chars().count() > LETTERS { "…" } else { "" };
    format!("{id} {cut}{more}")
}

/// Leads of single evaluations over search time.
pub(super) fn progress(page: &mut Page, view: &View<'_>) {
    let history = view.history;
    let fixed = view.ranking.fixed;
    let mut points: Vec<(&Candidate, (f64, f64), u64)> = Vec::new();
    for &(at, (id, tier, seed)) in history.timeline() {
        let score = |id| history.result((id, tier, seed)).and_then(|r| r.score());
        if tier == Tier::Search
            && Some(id) != fixed
            && let (Some(c), Some(own), Some(theirs)) = (history.candidate(id), score(id), fixed.and_then(score))
        {
            points.push((c, (at as f64 / 60_000.0, own - theirs), seed));
        }
    }
    if points.is_empty() {
        page.note("No evaluation of the search tier has an anchor beside it yet.");
        return;
    }
    let end = points.iter().map(|p| p.1.0).fold(0.0, f64::max).max(0.01);
    let plane = Plane { height: 300.0, x: (0.0, end * 1.02), y: range(points.iter().map(|p| p.1.1).chain([0.0])) };
    let used: BTreeSet<&str> = points.iter().map(|p| mark(view, p.0).0).collect();
    legend(page, &used.into_iter().collect::<Vec<_>>());
    let ticks: Vec<(f64, String)> = minutes(end);
    plane.open_with(
        page,
        "Leads over the fixed anchor by time of search",
        ("minutes of search", "lead, one seed"),
        &ticks,
    );
    points.sort_by_key(|(c, _, _)| view.kept.contains(&c.id));
    for (c, at, seed) in points {
        linked(page, view, &plane, c, at, &format!("{}, seed {seed}: {}", titled(c), ahead(at.1)));
    }
    plane.close(page);
}

/// About five round times in minutes.
fn minutes(end: f64) -> Vec<(f64, String)> {
    let step = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 240.0, 720.0]
        .into_iter()
        .find(|s| end / s <= 6.0);
    let step = step.unwrap_or(end / 5.0);
    (0..=(end / step) as u32).map(|i| f64::from(i) * step).map(|x| (x, format!("{}", round(x)))).collect()
}

/// Chart of every program with a lead by generation, with a line from its parent; the ancestry of the leading ones is
/// highlighted.
pub(super) fn lineage(page: &mut Page, view: &View<'_>) {
    let history = view.history;
    if view.board.standing.is_empty() {
        page.note("Nothing has been compared with the anchors yet.");
        return;
    }
    let slots = f64::from(history.plan().generation.max(1));
    // Programs of one generation are placed side by side, by their slot; anchors by their number.
    let anchors = history.anchors().count().max(1) as f64;
    let mut places: BTreeMap<CandidateId, (f64, f64)> = BTreeMap::new();
    for stand in &view.board.standing {
        let Some(c) = history.candidate(stand.id) else { continue };
        let beside = if c.origin == Origin::Anchor { f64::from(c.id.0) / anchors } else { f64::from(c.slot) / slots };
        places.insert(c.id, (f64::from(c.generation) + 0.7 * (beside - 0.5), stand.corrected.mean));
    }
    let last = f64::from(history.generations().saturating_sub(1).max(1));
    let plane = Plane { height: 420.0, x: (-0.5, last + 0.5), y: range(places.values().map(|p| p.1)) };
    legend(page, &["node win", "node", "node anchor"]);
    let step = (last / 12.0).ceil().max(1.0) as usize;
    let ticks: Vec<(f64, String)> = (0..=last as u32).step_by(step).map(|g| (f64::from(g), g.to_string())).collect();
    plane.open_with(
        page,
        "Lineage: generation against corrected lead",
        ("generation (0: the anchors)", "corrected lead"),
        &ticks,
    );
    for pass in [false, true] {
        for (&id, &at) in &places {
            let Some(c) = history.candidate(id) else { continue };
            for (i, parent) in c.parents.iter().enumerate() {
                let Some(&from) = places.get(parent) else { continue };
                let win = i == 0 && view.kept.contains(&id);
                if win == pass {
                    plane.bow(page, &if win { "edge win" } else { "edge" }, from, at);
                }
            }
        }
    }
    for (&id, &at) in &places {
        let Some(c) = history.candidate(id) else { continue };
        linked(page, view, &plane, c, at, &format!("{}: {}\n{}", titled(c), ahead(at.1), c.change));
    }
    names(page, view, &plane, places.into_iter().collect());
    plane.close(page);
}

/// Chart of the corrected lead against a cost, on a logarithmic axis.
pub(super) fn front(page: &mut Page, view: &View<'_>, points: &[FrontPoint], what: &str, cost: fn(&FrontPoint) -> f64) {
    let log = |p: &FrontPoint| cost(p).max(0.5).log2();
    let (low, high) = points.iter().map(log).fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
    let air = 0.08 * (high - low).max(1.0);
    let plane = Plane { height: 320.0, x: (low - air, high + air), y: range(points.iter().map(|p| p.corrected)) };
    page.raw("<div>");
    page.element("h3", &[], format!("Lead and {what}"));
    let ticks = rounded(low.exp2(), high.exp2()).into_iter().map(|x| (x.log2(), big(x))).collect::<Vec<_>>();
    plane.open_with(
        page,
        &format!("Corrected lead against {what}"),
        (&format!("{what}, log scale"), "corrected lead"),
        &ticks,
    );
    for pass in [false, true] {
        for p in points.iter().filter(|p| p.on_front == pass) {
            let shape = if p.anchor { Shape::Square } else { Shape::Dot };
            let class = match (p.on_front, p.anchor) {
                (true, false) => "node win",
                (true, true) => "node anchor",
                (false, _) => "node",
            };
            page.open("a", &[("href", &format!("#{}", p.candidate))]);
            let title = format!("{} {}: {}, {} {what}", p.candidate, p.name, ahead(p.corrected), big(cost(p)));
            plane.point(page, &class, shape, (log(p), p.corrected), &title);
            page.close("a");
        }
    }
    let on: Vec<(CandidateId, (f64, f64))> =
        points.iter().filter(|p| p.on_front).map(|p| (p.candidate, (log(p), p.corrected))).collect();
    names(page, view, &plane, on);
    plane.close(page);
    page.raw("</div>\n");
}

/// At most five round numbers within a logarithmic range; the ends of a narrow range.
fn rounded(low: f64, high: f64) -> Vec<f64> {
    let powers = (low.log10().floor() as i32..=high.log10().ceil() as i32).map(|p| 10f64.powi(p));
    let steps = powers.flat_map(|power| [1.0, 1.5, 2.0, 3.0, 5.0, 7.0].map(|m| m * power));
    let all: Vec<f64> = steps.filter(|x| (low..=high).contains(x)).collect();
    match all.len() {
        0 | 1 if high > low => vec![low, high],
        0 => vec![low],
        n => all.into_iter().step_by(n.div_ceil(5)).collect(),
    }
}

/// Chart of measured against corrected leads.
pub(super) fn shrinkage(page: &mut Page, view: &View<'_>) {
    let stands: Vec<_> = view.board.standing.iter().filter(|s| view.ranking.fixed != Some(s.id)).collect();
    if stands.len() < 2 {
        return;
    }
    let all = || stands.iter().flat_map(|s| [s.lead, s.corrected.mean]);
    let plane = Plane { height: 320.0, x: range(all()), y: range(all()) };
    page.raw("<div>");
    page.element("h3", &[], "Measured leads and corrected ones");
    legend(page, &["node win", "node", "node anchor"]);
    let ticks: Vec<(f64, String)> = (-20..=20).map(|i| f64::from(i) * 0.1).map(|x| (x, format!("{x:.1}"))).collect();
    let inside = |x: f64| x >= plane.x.0 && x <= plane.x.1;
    let ticks: Vec<(f64, String)> = ticks.into_iter().filter(|(x, _)| inside(*x)).collect();
    let step = ticks.len().div_ceil(6).max(1);
    let ticks: Vec<(f64, String)> = ticks.into_iter().step_by(step).collect();
    plane.open_with(page, "Corrected leads against measured ones", ("measured lead", "corrected lead"), &ticks);
    plane.line(page, &"chance", [(plane.x.0, plane.x.0), (plane.x.1, plane.x.1)]);
    for s in &stands {
        let Some(c) = view.history.candidate(s.id) else { continue };
        let title = format!("{}: {} measured, {} corrected", titled(c), signed(s.lead), signed(s.corrected.mean));
        linked(page, view, &plane, c, (s.lead, s.corrected.mean), &title);
    }
    plane.close(page);
    page.raw("</div>\n");
}

/// Chart of the loss by tokens of some programs on a task, as the mean over their seeds of a tier. Returns whether
/// there are data.
pub(super) fn curves(page: &mut Page, history: &History, ids: &[CandidateId], tier: Tier, task: &str) -> bool {
    let lines: Vec<Vec<(f64, f64)>> = ids.iter().map(|&id| curve(history, id, tier, task)).collect();
    if lines.iter().all(|l| l.len() < 2) {
        return false;
    }
    let end = lines.iter().flatten().map(|p| p.0).fold(0.0, f64::max);
    let plane = Plane { height: 200.0, x: (0.0, end), y: range(lines.iter().flatten().map(|p| p.1)) };
    let ticks: Vec<(f64, String)> = (0..=4).map(|i| end * f64::from(i) / 4.0).map(|x| (x, big(x))).collect();
    plane.open_with(page, &format!("Training loss on {task}"), ("tokens", "training loss, nats"), &ticks);
    for (i, line) in lines.into_iter().enumerate().rev() {
        plane.line(page, &format!("line s{}", i % COLOURS), line);
    }
    plane.close(page);
    true
}

/// Number of line colours on the page.
pub(super) const COLOURS: usize = 6;

fn curve(history: &History, id: CandidateId, tier: Tier, task: &str) -> Vec<(f64, f64)> {
    let mut sums: BTreeMap<u64, (f64, usize)> = BTreeMap::new();
    let mut seeds = 0;
    for (_, _, report) in history.results_of(id).filter(|(t, _, r)| *t == tier && r.status == Status::Ok) {
        let Some(score) = report.tasks.get(task) else { continue };
        seeds += 1;
        for &(tokens, loss) in &score.curve {
            let sum = sums.entry(tokens).or_default();
            *sum = (sum.0 + loss, sum.1 + 1);
        }
    }
    // A point that not all seeds have would make a step between two means.
    sums.into_iter().filter(|(_, (_, n))| *n == seeds).map(|(at, (sum, n))| (at as f64, sum / n as f64)).collect()
}

/// Bars with a name and a number each; `class` is that of the bar.
pub(super) fn bars(page: &mut Page, bars: &[(String, f64, String, &str)]) {
    let most = bars.iter().map(|b| b.1).fold(0.0, f64::max).max(1e-9);
    page.raw("<div class=\"bars\">");
    for (name, value, text, class) in bars {
        page.element("span", &[], name);
        let width = format!("{}%", round(100.0 * value.max(0.0) / most));
        let size: [(&str, &dyn Display); 2] = [("width", &width), ("height", &"100%")];
        page.open("svg", &[("class", class), ("aria-hidden", &"true")]).open("rect", &size).close("rect").close("svg");
        page.element("b", &[], text);
    }
    page.raw("</div>\n");
}

/// Table of the archive: a row for each mixer and state size, a column for each amount of compute.
pub(super) fn archive(page: &mut Page, history: &History, archive: &Archive) {
    let rows: BTreeSet<(&str, u32)> = archive.cells.keys().map(|c| (c.mixer.as_str(), c.state)).collect();
    let columns: BTreeSet<u32> = archive.cells.keys().map(|c| c.compute).collect();
    if rows.is_empty() {
        page.note("The archive is empty.");
        return;
    }
    let (low, high) = range(archive.cells.values().map(|(_, lead)| *lead));
    let titles: Vec<String> = columns.iter().map(|c| format!("{} FLOPs", big(f64::from(*c).exp2()))).collect();
    let mut heads = vec![("mixer, state", "")];
    heads.extend(titles.iter().map(|t| (t.as_str(), "")));
    page.open_table(&[], &heads);
    for (mixer, state) in rows {
        let name = if state == 0 {
            format!("{mixer}, no state")
        } else {
            format!("{mixer}, {}", big(f64::from(state).exp2()))
        };
        page.raw("<tr>");
        page.cell(name);
        for compute in &columns {
            let cell = Cell { mixer: mixer.to_owned(), state, compute: *compute };
            let Some((id, lead)) = archive.cells.get(&cell) else {
                page.cell("");
                continue;
            };
            let share = format!("--share: {}", (8.0 + 45.0 * (lead - low) / (high - low)).round());
            page.open("td", &[("class", &"heat"), ("style", &share)]);
            link(page, history, *id);
            let visits = archive.visits.get(&cell).copied().unwrap_or(0);
            page.raw("<br>").element("small", &[], format!("{}, best of {visits}", signed(*lead))).raw("</td>");
        }
        page.raw("</tr>\n");
    }
    page.close_table();
}
