//! Projection of the log into tables, one event at a time.

use super::event::Event;
use crate::record::{Candidate, Verdict};
use rusqlite::{Connection, params};
use serde::Serialize;

/// SQL of tables, indices and triggers.
pub(super) const SQL: &str = include_str!("schema.sql");

/// Writes the rows of an event into the tables.
pub(super) fn project(db: &Connection, at: i64, event: &Event) -> rusqlite::Result<()> {
    match event {
        Event::Opened { .. } | Event::Session { .. } | Event::Finals { .. } | Event::Ended { .. } => Ok(()),
        Event::Proposed { generation, candidates } => {
            db.prepare_cached("INSERT INTO generations (number, proposed) VALUES (?1, ?2)")?
                .execute(params![generation, at])?;
            candidates.iter().try_for_each(|c| candidate(db, c))
        }
        Event::Evaluated { candidate, tier, seed, key, report, .. } => {
            db.prepare_cached("DELETE FROM running WHERE candidate = ?1 AND tier = ?2 AND seed = ?3")?
                .execute(params![candidate.0, tier.word(), *seed as i64])?;
            db.prepare_cached("INSERT INTO evaluations VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?.execute(
                params![
                    key,
                    candidate.0,
                    tier.word(),
                    *seed as i64,
                    report.status.word(),
                    report.score(),
                    report.tokens as i64,
                    report.seconds,
                    json(report),
                ],
            )?;
            Ok(())
        }
        Event::Closed { generation, analyses, beliefs } => {
            db.prepare_cached("UPDATE generations SET closed = ?2 WHERE number = ?1")?
                .execute(params![generation, at])?;
            for a in analyses {
                db.prepare_cached("INSERT INTO analyses VALUES (?1, ?2, ?3)")?.execute(params![
                    a.candidate.0,
                    a.better,
                    json(a)
                ])?;
            }
            for b in beliefs {
                db.prepare_cached("INSERT INTO beliefs VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                    .execute(params![generation, b.action, b.site, b.alpha, b.beta, b.tries])?;
            }
            Ok(())
        }
        Event::Ranked { ranking } => {
            db.execute("DELETE FROM ranking", [])?;
            for (i, row) in ranking.rows.iter().enumerate() {
                db.prepare_cached("INSERT INTO ranking VALUES (?1, ?2, ?3)")?.execute(params![
                    i as i64 + 1,
                    row.candidate.0,
                    json(row)
                ])?;
            }
            Ok(())
        }
    }
}

fn candidate(db: &Connection, c: &Candidate) -> rusqlite::Result<()> {
    let hypothesis = c.hypothesis.as_ref();
    let (verdict, duplicate_of, rejected_by, code, message) = match &c.verdict {
        Verdict::Admitted => ("admitted", None, None, None, None),
        Verdict::Duplicate { of } => ("duplicate", Some(of.0), None, None, None),
        Verdict::Outranked { .. } => ("outranked", None, None, None, None),
        Verdict::Rejected { check, code, message } => ("rejected", None, Some(check), Some(code), Some(message)),
    };
    let cost = c.cost.as_ref();
    db.prepare_cached(
        "INSERT INTO candidates VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, \
         ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28)",
    )?
    .execute(params![
        c.id.0,
        c.generation,
        c.slot,
        c.attempt,
        word(&c.origin),
        c.name,
        json(&c.parents),
        hypothesis.map(|h| &h.researcher),
        hypothesis.map(|h| &h.action),
        hypothesis.map(|h| format!("{} {}: {}", h.site.kind, h.site.index, h.site.label)),
        hypothesis.map(|h| &h.why),
        hypothesis.map(|h| json(&h.tasks)),
        c.change,
        c.source,
        c.diff,
        c.hash,
        c.family,
        verdict,
        duplicate_of,
        rejected_by,
        code,
        message,
        json(&c.findings),
        cost.map(|k| k.params as i64),
        cost.map(|k| k.flops_per_token),
        cost.map(|k| k.state as i64),
        cost.map(|k| k.time.word()),
        cost.map(|k| &k.mixer),
    ])?;
    Ok(())
}

/// JSON of the crate's own types, which have string keys and finite depth; a float that is not finite becomes null.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|e| format!("\"archc bug: {e}\""))
}

/// Name that serde assigns to a unit variant.
fn word(value: &impl Serialize) -> String {
    json(value).trim_matches('"').to_owned()
}
