//! Drawings as inline SVG, in colours of the page's style sheet.

use crate::archive::{Archive, Cell};
use crate::plan::Tier;
use crate::rank::Ranking;
use crate::record::{CandidateId, Origin};
use crate::store::History;
use archc_page::{Page, Plane, WIDTH, range, round};
use std::collections::{BTreeMap, BTreeSet};

/// Scores of the search tier over search time, with the best so far.
pub(super) fn progress(page: &mut Page, history: &History) {
    let fresh = history.plan().fresh_from;
    let mut points: Vec<(f64, f64, bool)> = Vec::new();
    for &(at, (id, tier, seed)) in history.timeline() {
        let quality = history.result((id, tier, seed)).and_then(|r| r.quality());
        let origin = history.candidate(id).map(|c| c.origin);
        if let (Some(q), Tier::Search, true) = (quality, tier, seed < fresh)
            && origin != Some(Origin::Control)
        {
            points.push((at as f64 / 60_000.0, q, origin == Some(Origin::Anchor)));
        }
    }
    if points.is_empty() {
        page.raw("<p class=\"note\">No evaluation of the search tier has ended yet.</p>\n");
        return;
    }
    let end = points.iter().map(|p| p.0).fold(0.0, f64::max).max(0.01);
    let plane = Plane { height: 280.0, x: (0.0, end), y: range(points.iter().map(|p| p.1)) };
    plane.open(page, "Quality of each search-tier evaluation over time", "minutes of search");
    let mut best = f64::NEG_INFINITY;
    let mut path = String::new();
    for &(x, y, _) in &points {
        if y > best {
            let (px, old, new) = (plane.px(x), plane.py(best.max(plane.y.0)), plane.py(y));
            path += &if path.is_empty() { format!("M{px} {new}") } else { format!("L{px} {old}L{px} {new}") };
            best = y;
        }
    }
    path += &format!("L{} {}", plane.px(end), plane.py(best));
    page.open("path", &[("class", &"best"), ("d", &path)]).close("path");
    for &(x, y, anchor) in &points {
        let class = if anchor { "dot anchor" } else { "dot" };
        page.open("circle", &[("class", &class), ("cx", &plane.px(x)), ("cy", &plane.py(y)), ("r", &"3.5")])
            .close("circle");
    }
    page.close("svg").raw("\n");
}

/// Every trained program by generation and lead, with a line from its parent; the winners' ancestry stands out.
pub(super) fn lineage(page: &mut Page, history: &History, ranking: &Ranking) {
    let leads: BTreeMap<CandidateId, f64> = history.standing().into_iter().collect();
    if leads.is_empty() {
        page.raw("<p class=\"note\">Nothing has been compared with the anchors yet.</p>\n");
        return;
    }
    let mut kept: BTreeSet<CandidateId> = BTreeSet::new();
    for row in ranking.rows.iter().filter(|r| !r.anchor) {
        let mut at = Some(row.candidate);
        while let Some(id) = at {
            kept.insert(id);
            at = history.candidate(id).and_then(|c| c.parents.first().copied());
        }
    }
    let last = f64::from(history.generations().saturating_sub(1).max(1));
    let plane = Plane { height: 340.0, x: (-0.3, last + 0.3), y: range(leads.values().copied()) };
    plane.open(page, "Lineage: generation against lead over the anchors", "generation");
    let place = |id: CandidateId| -> Option<(f64, f64)> {
        let c = history.candidate(id)?;
        // Programs of one generation stand side by side, by their slot.
        let slots = f64::from(history.plan().generation.max(1));
        let x = f64::from(c.generation) + (f64::from(c.slot) / slots - 0.5) * 0.5;
        Some((plane.px(x.clamp(plane.x.0, plane.x.1)), plane.py(*leads.get(&id)?)))
    };
    for pass in [false, true] {
        for &id in leads.keys().filter(|id| kept.contains(id) == pass) {
            let Some(c) = history.candidate(id) else { continue };
            let Some((x, y)) = place(id) else { continue };
            for (i, &parent) in c.parents.iter().enumerate() {
                let Some((px, py)) = place(parent) else { continue };
                let class = if pass && i == 0 { "edge win" } else { "edge" };
                let middle = round((px + x) / 2.0);
                let d = format!("M{px} {py}C{middle} {py} {middle} {y} {x} {y}");
                page.open("path", &[("class", &class), ("d", &d)]).close("path");
            }
        }
    }
    for &id in leads.keys() {
        let (Some(c), Some((x, y))) = (history.candidate(id), place(id)) else { continue };
        let class = match (c.origin, kept.contains(&id)) {
            (Origin::Anchor, _) => "node anchor",
            (_, true) => "node win",
            _ => "node",
        };
        page.open("circle", &[("class", &class), ("cx", &x), ("cy", &y), ("r", &"4")]);
        page.element("title", &[], format!("{id} {}: {:+.3}\n{}", c.name, leads[&id], c.change)).close("circle");
    }
    page.close("svg").raw("\n");
}

/// The archive: a row for each mixer and state size, a column for each size of compute.
pub(super) fn archive(page: &mut Page, archive: &Archive) {
    let rows: BTreeSet<(&str, u32)> = archive.cells.keys().map(|c| (c.mixer.as_str(), c.state)).collect();
    let columns: BTreeSet<u32> = archive.cells.keys().map(|c| c.compute).collect();
    if rows.is_empty() {
        page.raw("<p class=\"note\">The archive is empty.</p>\n");
        return;
    }
    let (left, step, high) = (250.0, ((WIDTH - 264.0) / columns.len() as f64).min(120.0), 34.0);
    let height = 26.0 + high * rows.len() as f64 + 24.0;
    let (low, top) = range(archive.cells.values().map(|(_, lead)| *lead));
    let view = format!("0 0 {WIDTH} {height}");
    page.open("svg", &[("viewBox", &view), ("role", &"img"), ("aria-label", &"Archive of kinds of program")]);
    for (j, compute) in columns.iter().enumerate() {
        let x = round(left + (j as f64 + 0.5) * step);
        let label = format!("2^{compute}");
        page.element("text", &[("x", &x), ("y", &14), ("text-anchor", &"middle")], label);
    }
    page.element("text", &[("x", &left), ("y", &(height - 6.0))], "FLOPs a token, forward");
    for (i, (mixer, state)) in rows.iter().enumerate() {
        let y = 22.0 + high * i as f64;
        let label = if *state == 0 { format!("{mixer}, no state") } else { format!("{mixer}, state 2^{state}") };
        let class: (&str, &dyn std::fmt::Display) = ("class", &"name");
        page.element("text", &[("x", &(left - 10.0)), ("y", &(y + 21.0)), ("text-anchor", &"end"), class], label);
        for (j, compute) in columns.iter().enumerate() {
            let cell = Cell { mixer: (*mixer).to_owned(), state: *state, compute: *compute };
            let Some((id, lead)) = archive.cells.get(&cell) else { continue };
            let x = round(left + j as f64 * step);
            let strength = round((0.12 + 0.6 * (lead - low) / (top - low)) * 10.0) / 10.0;
            let size: [(&str, &dyn std::fmt::Display); 4] = [("x", &x), ("y", &y), ("width", &step), ("height", &high)];
            page.open("rect", &[size[0], size[1], size[2], size[3], ("class", &"cell"), ("fill-opacity", &strength)]);
            let visits = archive.visits.get(&cell).copied().unwrap_or(0);
            page.element("title", &[], format!("{id}: {lead:+.3}, {visits} programs of this kind")).close("rect");
            let middle: [(&str, &dyn std::fmt::Display); 4] =
                [("x", &round(x + step / 2.0)), ("y", &(y + 21.0)), ("text-anchor", &"middle"), class];
            page.element("text", &middle, format!("{lead:+.2}"));
        }
    }
    page.close("svg").raw("\n");
}

/// Bars with a name and a number each.
pub(super) fn bars(page: &mut Page, title: &str, bars: &[(String, u32, bool)]) {
    let most = f64::from(bars.iter().map(|b| b.1).max().unwrap_or(1).max(1));
    let height = 26.0 * bars.len() as f64 + 4.0;
    let view = format!("0 0 {WIDTH} {height}");
    page.open("svg", &[("viewBox", &view), ("role", &"img"), ("aria-label", &title)]);
    for (i, (name, count, bad)) in bars.iter().enumerate() {
        let y = 26.0 * i as f64 + 2.0;
        let width = round((WIDTH - 330.0) * f64::from(*count) / most);
        let class: (&str, &dyn std::fmt::Display) = ("class", &"name");
        page.element("text", &[("x", &240), ("y", &(y + 15.0)), ("text-anchor", &"end"), class], name);
        let fill = if *bad { "bar bad" } else { "bar" };
        let size: [(&str, &dyn std::fmt::Display); 5] =
            [("x", &250), ("y", &(y + 2.0)), ("width", &width), ("height", &18), ("class", &fill)];
        page.open("rect", &size).close("rect");
        page.element("text", &[("x", &(258.0 + width)), ("y", &(y + 15.0))], count);
    }
    page.close("svg").raw("\n");
}
