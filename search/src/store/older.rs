//! Runs of the previous evaluator (schema 1): they are read, for their programs and their page, but not resumed.
//!
//! Their scores were means of final accuracies without a fixed anchor, so they are not compared with anything: the history of such a
//! run has no fixed anchor, no finals and no ranking.

use super::Event;
use crate::plan::Plan;
use serde_json::{Map, Value, json};

/// Schema that is read here.
pub(super) const SCHEMA: i32 = 1;

/// Converts an event of the log to the current format; none for one that no longer has a meaning.
///
/// # Errors
/// Reason why the text is not such an event.
pub(super) fn event(body: &str, fresh_from: &mut u64) -> Result<Option<Event>, String> {
    let mut value: Value = serde_json::from_str(body).map_err(|e| e.to_string())?;
    let Some(event) = value.as_object_mut() else { return Err("it is no object".to_owned()) };
    match event.get("event").and_then(Value::as_str) {
        Some("finals" | "ranked") => return Ok(None),
        Some("opened") => {
            let plan = event.get_mut("plan").and_then(Value::as_object_mut).ok_or("a run without a plan")?;
            *fresh_from = plan.get("fresh_from").and_then(Value::as_u64).unwrap_or(u64::MAX);
            fill(plan, &serde_json::to_value(Plan::nothing()).map_err(|e| e.to_string())?);
        }
        Some("evaluated") => {
            // Fresh seeds are now a separate tier.
            if event.get("seed").and_then(Value::as_u64).is_some_and(|seed| seed >= *fresh_from) {
                event.insert("tier".to_owned(), json!("final"));
            }
            let report =
                event.get_mut("report").and_then(Value::as_object_mut).ok_or("an evaluation without a report")?;
            let mut tokens = 0;
            if let Some(tasks) = report.get_mut("tasks").and_then(Value::as_object_mut) {
                for task in tasks.values_mut().filter_map(Value::as_object_mut) {
                    tokens += task.get("tokens").and_then(Value::as_u64).unwrap_or(0);
                    let (value, score) = (task.remove("score"), task.remove("quality"));
                    task.insert("value".to_owned(), value.unwrap_or_default());
                    task.insert("score".to_owned(), score.unwrap_or_default());
                    fill(task, &json!({ "chance": 0.0, "weight": 1.0, "mean_loss": null }));
                }
            }
            report.insert("tokens".to_owned(), json!(tokens));
        }
        _ => {}
    }
    serde_json::from_value(value).map(Some).map_err(|e| e.to_string())
}

/// Adds missing fields.
fn fill(object: &mut Map<String, Value>, missing: &Value) {
    for (name, value) in missing.as_object().into_iter().flatten() {
        object.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Tier;
    use crate::store::History;

    #[test]
    fn an_older_run_is_read_and_not_compared() {
        let opened = r#"{"event": "opened", "version": "0.1.0", "plan": {"seed": 3, "generation": 8, "drafts": 6, "choices": 2,
            "rungs": [{"tier": "screen", "seed": 0, "keep": 1.0}], "control_every": 3, "finalists": 3, "fresh_from": 1000000,
            "fresh_seeds": 8, "researcher": "bandit", "evaluator": "train 1", "anchors": [["a.arch", "block A[D] {}"]]}}"#;
        let candidate = r#"{"event": "proposed", "generation": 0, "candidates": [{"id": 0, "generation": 0, "slot": 0, "attempt": 0,
            "origin": "anchor", "name": "A", "source": "", "hypothesis": null, "parents": [], "change": "", "diff": "", "hash": "h",
            "family": "f", "verdict": {"is": "admitted"}, "findings": [], "cost": {"params": 1, "flops_per_token": 2.0, "state": 3,
            "time": "O(T)", "mixer": "none"}}]}"#;
        let evaluated = |seed: u64| {
            format!(
                r#"{{"event": "evaluated", "candidate": 0, "tier": "search", "seed": {seed}, "key": "k", "report": {{"status": "ok", "tasks":
                {{"recall": {{"score": 0.6, "quality": 0.5, "metric": "accuracy", "loss": 1.0, "tokens": 7, "curve": [[7, 1.0]]}}}},
                "seconds": 1.0, "params": 1, "findings": []}}}}"#
            )
        };
        let closed = r#"{"event": "closed", "generation": 0, "analyses": [], "beliefs": []}"#;
        let ranked = r#"{"event": "ranked", "ranking": {"rows": [], "best_anchor": 0}}"#;
        let (mut history, mut fresh) = (History::new(), 0);
        let fresh_one = evaluated(1_000_000);
        for body in [opened, candidate, &evaluated(1), &fresh_one, closed, ranked] {
            if let Some(event) = event(body, &mut fresh).unwrap() {
                history.apply(1, &event).unwrap();
            }
        }
        assert_eq!((history.fixed(), history.plan().seed, history.counts().tokens), (None, 3, 14));
        let trials: Vec<_> = history.results().map(|((_, tier, seed), r)| (tier, seed, r.score())).collect();
        assert_eq!(trials, [(Tier::Search, 1, Some(0.5)), (Tier::Final, 1_000_000, Some(0.5))]);
        assert!(crate::rank::rank(&history).rows.is_empty());
        assert!(event("[]", &mut fresh).is_err() && event(r#"{"event": "opened"}"#, &mut fresh).is_err());
    }
}
