//! Section on the methods: what a reader needs to judge the numbers, or to run it again.

use super::View;
use super::words::count;
use crate::control;
use crate::plan::{Plan, Tier};
use crate::screen::EQUAL;
use crate::stats::finals::{AFTER, LAST, LOOKS, SHARES};
use archc_page::Page;
use archc_train::task::Part;
use archc_train::tier::{self, Measure, TaskRun};
use serde_json::Value;

/// The section.
pub(super) fn methods(page: &mut Page, view: &View<'_>) {
    let plan = view.history.plan();
    page.section(
        "methods",
        "Methods",
        "What a program is trained on, on which seeds, and by which rule something is called established.",
    );
    let tasks = |name: &str| plan.methods.get(name)?.get("tasks");
    for name in ["screen", "search", "final"] {
        match plan.methods.get(name) {
            Some(_) if name == "final" && tasks(name).is_some() && tasks(name) == tasks("search") => {
                page.element(
                    "h3",
                    &[],
                    "Tier final: the tasks of the tier search, on seeds of its own, scored on the test part",
                );
            }
            Some(value) => tier(page, name, value),
            None => {}
        }
    }
    if plan.methods.is_null() {
        page.note("The evaluator of this run did not say what it trains on.");
    }
    page.element("h3", &[], "Words and rules").raw("<dl>");
    for (word, text) in rules(plan) {
        page.element("dt", &[], word).element("dd", &[], text);
    }
    page.raw("</dl>\n");
    page.element("h3", &[], "This run").raw("<dl>");
    for (word, text) in facts(view) {
        page.element("dt", &[], word).element("dd", &[], text);
    }
    page.raw("</dl>\n");
}

/// Tasks of a tier.
fn tier(page: &mut Page, name: &str, value: &Value) {
    let Ok(tier) = serde_json::from_value::<tier::Tier>(value.clone()) else {
        page.element("h3", &[], format!("Tier {name}"))
            .element("pre", &[("class", &"code")], format!("{value:#}"))
            .raw("\n");
        return;
    };
    let rates: Vec<String> = tier.rates.iter().map(|r| format!("× {r}")).collect();
    let rates =
        if name == "screen" { format!("; tuned at {} the learning rate", rates.join(", ")) } else { String::new() };
    let part = match tier.part {
        Part::Test => "test",
        _ => "validation",
    };
    let called = if tier.name == name { String::new() } else { format!(" ({})", tier.name) };
    page.element("h3", &[], format!("Tier {name}{called}: scored on the {part} part{rates}"));
    let columns = [
        ("task", ""),
        ("settings", ""),
        ("width D", "n"),
        ("layers", "n"),
        ("steps", "n"),
        ("batch", "n"),
        ("learning rate", "n"),
        ("measure", ""),
        ("score 1 at", "n"),
        ("weight", "n"),
    ];
    page.open_table(&[("class", &"cards")], &columns);
    for run in &tier.tasks {
        page.raw("<tr>").field("task", "", &run.name);
        page.field("settings", "block", run.task.to_string().replace(',', ", "));
        let numbers = [run.width.to_string(), run.layers.to_string(), run.steps.to_string(), run.batch.to_string()];
        for ((column, _), number) in columns[2..].iter().zip(numbers) {
            page.field(column, "n", number);
        }
        page.field("learning rate", "n", run.learning_rate);
        page.field("measure", "", measure(run));
        let unit = run.unit.map_or_else(|| "a loss of 0".to_owned(), |unit| format!("{unit} nats below the guess"));
        page.field("score 1 at", "n", unit);
        page.field("weight", "n", run.weight);
        page.raw("</tr>\n");
    }
    page.close_table();
}

fn measure(run: &TaskRun) -> &'static str {
    match run.measure {
        Measure::Curve => "mean loss of training",
        Measure::Final => "loss at the end",
        Measure::Both => "mean of both losses",
    }
}

fn rules(plan: &Plan) -> Vec<(&'static str, String)> {
    let share = |x: f64| format!("{:.0} %", 100.0 * x);
    let shares: Vec<String> = SHARES.iter().map(|s| format!("{:.2} %", 100.0 * s)).collect();
    let looks = LOOKS.map(|n| n.to_string()).join(", ");
    vec![
        (
            "score",
            "0 where nothing was learned (the loss of an uninformed guess), 1 where the loss has fallen by the tier's unit; mean over \
             the tasks by their weights. Larger is better, and it may pass 1."
                .to_owned(),
        ),
        (
            "lead",
            "The mean of the differences in score to the fixed anchor on common seeds. At one seed all programs see the same batches."
                .to_owned(),
        ),
        (
            "tune",
            format!(
                "The screen's tasks at each learning rate, anchors on {}, candidates on one; the best rate is kept from then on; \
                 a later training that diverges at it runs again at half of it, then at a quarter. The better {} of a generation go on.",
                count(plan.anchor_tunings as usize, "seed"),
                share(plan.keep_tuned)
            ),
        ),
        (
            "screen",
            format!(
                "The short tier on {} more; the best {} of a generation go on.",
                count(plan.screens as usize, "seed"),
                share(plan.keep_screened)
            ),
        ),
        (
            "search",
            format!(
                "The tier that candidates are ranked by, on {} that no generation before has seen; the fixed anchor and the parents run \
                 along, so that luck is not inherited. Anchors have {}.",
                count(plan.searches as usize, "seed"),
                count(plan.anchor_seeds as usize, "seed")
            ),
        ),
        (
            "final",
            "The tasks of the search on seeds and held-out data of their own, which nothing is proposed, tuned or chosen by.".to_owned(),
        ),
        (
            "established",
            format!(
                "Looks after {looks} paired seeds. At a look each open finalist gets the exact one-sided sign-flip p of its differences to \
                 the anchor; Holm's procedure over the finalists is held at {} at the three looks, 5 % in all. So the probability that \
                 any finalist that is no better is called established is at most 5 %. A finalist that is not ahead, or has less than one \
                 chance in ten left, is dropped.",
                shares.join(", ")
            ),
        ),
        (
            "discovery",
            "An established finalist that is also better than its seed program, at 5 % on the seeds after the looks: its changes are what \
             helps. It is also held against its nearest ancestors; finalists whose last changes add nothing to the same ancestor count once."
                .to_owned(),
        ),
        (
            "effect",
            format!(
                "What is established leads by, on {AFTER} seeds behind those of the looks: it was established because its lead on those was \
                 large, so they overrate it; these established nothing."
            ),
        ),
        (
            "corrected",
            "The largest of many leads is large partly by luck. Leads are drawn towards their common mean by empirical Bayes (Paule and \
             Mandel, Morris): the more, the noisier they are beside how much programs differ. Parents and finalists are chosen by it."
                .to_owned(),
        ),
        (
            "held equal",
            format!(
                "A candidate has no more parameters and work a token than the fixed anchor ({:.0} % are let pass), no more state, and \
                 no slower time class than the seed programs; what is larger is made smaller or refused.",
                100.0 * (EQUAL - 1.0)
            ),
        ),
    ]
}

fn facts(view: &View<'_>) -> Vec<(&'static str, String)> {
    let plan = view.history.plan();
    let mut facts = Vec::new();
    if let Some(at) = view.began {
        facts.push(("began", date(at)));
    }
    if !plan.settings.command.is_empty() {
        facts.push(("command", plan.settings.command.join(" ")));
    }
    let text = |key: &str| plan.methods.get(key).and_then(Value::as_str).filter(|s| !s.is_empty());
    if let Some(machine) = text("machine") {
        facts.push(("machine", machine.to_owned()));
    }
    if !plan.settings.device.is_empty() {
        facts.push(("device", plan.settings.device.clone()));
    }
    let corpus = match (&plan.settings.corpus, text("corpus")) {
        (Some(path), Some(digest)) => Some(format!("{path}, digest {digest}")),
        (None, Some(digest)) => Some(format!("that of archc, digest {digest}")),
        (path, None) => path.clone(),
    };
    facts.extend(corpus.map(|corpus| ("corpus", corpus)));
    facts.push(("archc", view.history.version().to_owned()));
    facts.push(("evaluator", plan.evaluator.clone()));
    facts.push(("researcher", plan.researcher.clone()));
    facts.push(("seed", plan.seed.to_string()));
    let limits = [
        plan.settings.seconds.map(|s| format!("{:.0} s", s)),
        plan.settings.candidates.map(|n| count(n as usize, "candidate")),
        plan.settings.tokens.map(|n| format!("{n} tokens")),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    if !limits.is_empty() {
        facts.push(("budget", limits.join(", ")));
    }
    let fresh = plan.fresh(LAST + AFTER);
    let anchors = plan.seeds(0, Tier::Search);
    facts.push((
        "seeds",
        format!(
            "anchors {} to {}, finals {} to {} (a space of their own)",
            anchors.start,
            last(&anchors),
            fresh.start,
            last(&fresh)
        ),
    ));
    facts.push((
        "a generation",
        format!(
            "{} of up to {}, and {}, in the first ones {} more",
            count(plan.generation as usize, "slot"),
            count(plan.drafts as usize, "draft"),
            count(plan.controls as usize, "control"),
            control::MORE
        ),
    ));
    facts
}

fn last(seeds: &std::ops::Range<u64>) -> u64 {
    seeds.end.saturating_sub(1)
}

/// Formats `2026-11-30 10:17 UTC` from milliseconds since 1970 (days to dates: Hinnant, "chrono-compatible low-level date
/// algorithms").
fn date(ms: i64) -> String {
    let (days, minutes) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000) / 60_000);
    let z = days + 719_468;
    let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let m = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * m + 2) / 5 + 1, if m < 10 { m + 3 } else { m - 9 });
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(1_709_208_000_000), "2024-02-29 12:00 UTC");
        assert_eq!(date(1_796_034_122_000), "2026-11-30 10:22 UTC");
    }
}
