//! Page about trainings: scores beside chance, curves, options, programs. One run, or several side by side.

use crate::fault;
use crate::folder::{Found, read_curve, read_run};
use crate::recipe::Recipe;
use crate::trainer::Record;
use archc_compiler::diag::Diagnostic;
use archc_page::{Page, Plane, big, range};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Run on a page.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Name of the run.
    pub name: String,
    /// Contents of its folder.
    pub found: Found,
    /// Training curve.
    pub curve: Vec<Record>,
}

/// Number of line colours on the page; further runs reuse them.
const COLOURS: usize = 6;

/// Maximum number of points of a line.
const POINTS: usize = 250;

/// Name of a run's folder on a page.
pub fn name(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    whole.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Writes the page of runs: of one into its folder, of several into the first one's folder as `comparison.html`; or to the path `to`.
/// Returns the path.
///
/// # Errors
/// E0912 for a folder that does not belong to a run, E0911 when the page cannot be written.
pub fn write(folders: &[PathBuf], to: Option<&Path>) -> Result<PathBuf, Diagnostic> {
    let mut runs = Vec::with_capacity(folders.len());
    for folder in folders {
        let found = read_run(folder)?.ok_or_else(|| fault::unreadable(folder, "it is no folder of a training"))?;
        // a training that has just begun has no curve yet
        let curve = if found.begun || found.step > 0 { read_curve(folder)? } else { Vec::new() };
        runs.push(Shown { name: name(folder), found, curve });
    }
    let own = if folders.len() == 1 { "report.html" } else { "comparison.html" };
    let first = folders.first().map_or(Path::new("."), PathBuf::as_path);
    let path = to.map_or_else(|| first.join(own), Path::to_owned);
    let draft = path.with_file_name(format!(".{}.new", path.file_name().unwrap_or_default().to_string_lossy()));
    fs::write(&draft, render(&runs))
        .and_then(|()| fs::rename(&draft, &path))
        .map_err(|error| fault::report_unwritable(&path, &error))?;
    Ok(path)
}

/// Renders the page of one or more runs.
pub fn render(runs: &[Shown]) -> String {
    let names: Vec<&str> = runs.iter().map(|r| r.name.as_str()).collect();
    let mut page = Page::open_document(&format!("{} · archc train", names.join(", ")));
    header(&mut page, runs);
    scores(&mut page, runs);
    curves(&mut page, runs);
    options(&mut page, runs);
    programs(&mut page, runs);
    page.raw("<footer>");
    let versions: BTreeSet<&str> =
        runs.iter().filter_map(|r| r.found.recipe.as_ref()).map(|recipe| recipe.archc.as_str()).collect();
    let versions: Vec<&str> = versions.into_iter().collect();
    page.text(format!("archc {} · every step is in curve.jsonl", versions.join(", "))).raw("</footer>\n");
    page.close_document("")
}

fn program(run: &Shown) -> &str {
    run.found.recipe.as_ref().map_or("–", |recipe| recipe.name.as_str())
}

fn state(run: &Shown) -> String {
    match run.found.status.as_str() {
        "running" => "running, or killed".to_owned(),
        other => other.to_owned(),
    }
}

fn steps(run: &Shown) -> u64 {
    run.curve.last().map_or(run.found.step, |last| last.step)
}

fn header(page: &mut Page, runs: &[Shown]) {
    page.raw("<header>\n");
    let tasks: BTreeSet<String> = runs.iter().map(|r| r.found.identity.task.to_string()).collect();
    let title = match runs {
        [run] if run.found.recipe.is_none() => format!("Training on {}", run.found.identity.task.name),
        [run] => format!("{} on {}", program(run), run.found.identity.task.name),
        _ => format!("{} trainings side by side", runs.len()),
    };
    let tasks = tasks.into_iter().collect::<Vec<_>>().join(" · ");
    let about = match runs {
        [run] => format!("Run {} · {tasks} · {}", run.name, state(run)),
        _ => tasks,
    };
    page.element("h1", &[], title).element("p", &[], about).raw("\n</header>\n");
    let [run] = runs else { return };
    let last = run.curve.last();
    let value = run.found.test.map(|t| t.value).or_else(|| best(run));
    let what = run.found.metric.as_ref().map_or("score", |(name, _)| name.as_str());
    let part = if run.found.test.is_some() { "test" } else { "best validation" };
    page.numbers(&[
        (value.map_or_else(|| "–".to_owned(), |v| format!("{v:.4}")), &format!("{part} {what}")),
        (chance(run), "at chance"),
        (last.map_or_else(|| "–".to_owned(), |r| format!("{:.4}", r.loss)), "last training loss"),
        (format!("{} of {}", steps(run), run.found.identity.config.steps), "steps"),
        (last.map_or_else(|| "0".to_owned(), |r| big(r.tokens as f64)), "tokens"),
        (run.found.recipe.as_ref().map_or_else(|| "–".to_owned(), |r| big(r.parameters as f64)), "parameters"),
        (run.found.identity.config.learning_rate.to_string(), "peak learning rate"),
        (run.found.identity.device.clone(), "device"),
    ]);
}

fn chance(run: &Shown) -> String {
    run.found.metric.as_ref().map_or_else(|| "–".to_owned(), |(_, chance)| format!("{chance:.4}"))
}

/// Best value on the validation part.
fn best(run: &Shown) -> Option<f64> {
    let scores = run.curve.iter().filter_map(|r| r.validation);
    scores.max_by(|a, b| a.score.total_cmp(&b.score)).map(|s| s.value)
}

/// Writes the scores of several runs.
fn scores(page: &mut Page, runs: &[Shown]) {
    if runs.len() < 2 {
        return;
    }
    page.section("scores", "Scores", "The test part is scored once, at the end; chance is an uninformed guess.");
    page.raw("<div class=\"wide\"><table><thead><tr>");
    page.head("run", "");
    page.head("program", "");
    page.head("state", "");
    for title in ["steps", "parameters", "last loss", "best validation", "test", "chance", "metric"] {
        page.head(title, "n");
    }
    page.raw("</tr></thead>\n<tbody>\n");
    for (i, run) in runs.iter().enumerate() {
        page.raw("<tr><td>");
        key(page, i, &run.name);
        page.raw("</td>");
        page.cell(program(run));
        page.cell(state(run));
        page.number(steps(run));
        let number = |x: Option<f64>| x.map_or_else(|| "–".to_owned(), |x| format!("{x:.4}"));
        page.number(run.found.recipe.as_ref().map_or_else(|| "–".to_owned(), |r| r.parameters.to_string()));
        page.number(number(run.curve.last().map(|r| r.loss)));
        page.number(number(best(run)));
        page.number(number(run.found.test.map(|t| t.value)));
        page.number(chance(run));
        page.number(run.found.metric.as_ref().map_or("–", |(name, _)| name));
        page.raw("</tr>\n");
    }
    page.raw("</tbody></table></div>\n");
}

/// Writes a run's name with its colour.
fn key(page: &mut Page, number: usize, name: &str) {
    page.element("span", &[("class", &format!("key s{}", number % COLOURS))], "").text(name);
}

fn curves(page: &mut Page, runs: &[Shown]) {
    let note = "Cross-entropy in nats by step. Lines are the training part, averaged over neighbouring steps; dots are the \
                validation part.";
    page.section("loss", "Loss", note);
    if runs.iter().all(|r| r.curve.is_empty()) {
        page.raw("<p class=\"note\">No step has been done yet.</p>\n");
        return;
    }
    legend(page, runs);
    let lines: Vec<Vec<(f64, f64)>> = runs.iter().map(|r| thin(&r.curve)).collect();
    let dots = |run: &Shown| validations(run, |s| s.loss);
    let all = lines.iter().flatten().copied().chain(runs.iter().flat_map(dots)).map(|p| p.1);
    let end = runs.iter().map(steps).max().unwrap_or(1).max(1) as f64;
    let plane = Plane { height: 300.0, x: (0.0, end), y: range(all.filter(|y| y.is_finite())) };
    plane.open(page, "Loss by step", "steps");
    for (i, line) in lines.iter().enumerate() {
        plane.line(page, &format!("line s{}", i % COLOURS), line.iter().copied());
        plane.dots(page, &format!("point s{}", i % COLOURS), dots(&runs[i]));
    }
    plane.close(page);

    let Some((metric, chance)) = &runs[0].found.metric else { return };
    let same = runs.iter().all(|r| r.found.metric.as_ref().is_some_and(|(name, _)| name == metric));
    let value = |run: &Shown| validations(run, |s| s.value);
    if !same || runs.iter().all(|r| value(r).is_empty()) {
        return;
    }
    let note = format!("The {metric} on the validation part by step; the dashed line is chance.");
    page.section("validation", "Validation", &note);
    legend(page, runs);
    let chances: Vec<f64> = runs.iter().filter_map(|r| r.found.metric.as_ref()).map(|m| m.1).collect();
    let all = runs.iter().flat_map(value).map(|p| p.1).chain(chances.iter().copied());
    let plane = Plane { height: 240.0, x: (0.0, end), y: range(all.filter(|y| y.is_finite())) };
    plane.open(page, &format!("{metric} on the validation part by step"), "steps");
    if chances.iter().all(|c| c == chance) {
        plane.line(page, &"chance", [(0.0, *chance), (end, *chance)]);
    }
    for (i, run) in runs.iter().enumerate() {
        plane.line(page, &format!("line s{}", i % COLOURS), value(run));
        plane.dots(page, &format!("point s{}", i % COLOURS), value(run));
    }
    plane.close(page);
}

fn legend(page: &mut Page, runs: &[Shown]) {
    if runs.len() < 2 {
        return;
    }
    page.raw("<p class=\"legend\">");
    runs.iter().enumerate().for_each(|(i, run)| key(page, i, &run.name));
    page.raw("</p>\n");
}

fn validations(run: &Shown, of: impl Fn(&crate::score::Score) -> f64) -> Vec<(f64, f64)> {
    run.curve.iter().filter_map(|r| Some((r.step as f64, of(r.validation.as_ref()?)))).collect()
}

/// Reduces the training loss to at most [`POINTS`] points, each the mean of the points it replaces.
fn thin(curve: &[Record]) -> Vec<(f64, f64)> {
    let size = curve.len().div_ceil(POINTS).max(1);
    let mean = |chunk: &[Record]| chunk.iter().map(|r| r.loss).sum::<f64>() / chunk.len() as f64;
    curve.chunks(size).map(|chunk| (chunk[chunk.len() / 2].step as f64, mean(chunk))).collect()
}

/// Options by name.
fn listed(run: &Shown) -> Vec<(String, String)> {
    let found = &run.found;
    let config = &found.identity.config;
    let mut all = vec![
        ("--task".to_owned(), found.identity.task.to_string()),
        ("--steps".to_owned(), config.steps.to_string()),
        ("--batch".to_owned(), config.batch.to_string()),
        ("--lr".to_owned(), config.learning_rate.to_string()),
        ("--weight-decay".to_owned(), config.weight_decay.to_string()),
        ("--seed".to_owned(), config.seed.to_string()),
        ("--device".to_owned(), found.identity.device.clone()),
    ];
    for stretch in &found.identity.stretched {
        all.push((format!("until step {}", stretch.from), format!("a schedule of {} steps", stretch.steps)));
    }
    all.extend(found.identity.weights.iter().map(|digest| ("--weights".to_owned(), short(digest))));
    all.extend(found.identity.corpus.iter().map(|digest| ("corpus".to_owned(), short(digest))));
    if let Some(recipe) = &found.recipe {
        all.extend(recipe.layers.map(|n| ("--layers".to_owned(), n.to_string())));
        all.extend(recipe.block.iter().map(|name| ("--block".to_owned(), name.clone())));
        all.extend(sizes(recipe).map(|(name, value)| (format!("--set {name}"), value)));
        all.extend(recipe.corpus.iter().map(|path| ("--corpus".to_owned(), path.clone())));
    }
    all
}

/// First digits of a digest, enough to tell two apart.
fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

fn sizes(recipe: &Recipe) -> impl Iterator<Item = (String, String)> {
    let width = recipe.axes.get("D").filter(|_| !recipe.set.contains_key("D"));
    let width = width.map(|d| ("D".to_owned(), d.to_string()));
    recipe.set.iter().map(|(name, value)| (name.clone(), value.to_string())).chain(width)
}

fn options(page: &mut Page, runs: &[Shown]) {
    let options: Vec<Vec<(String, String)>> = runs.iter().map(listed).collect();
    let of = |run: usize, name: &str| {
        options[run].iter().find(|(n, _)| n == name).map_or_else(|| "–".to_owned(), |(_, value)| value.clone())
    };
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in options.iter().flatten() {
        let differs = (1..runs.len()).any(|i| of(i, name) != of(0, name));
        if !names.contains(&name.as_str()) && (runs.len() == 1 || differs) {
            names.push(name);
        }
    }
    match runs.len() {
        1 => page.section(
            "options",
            "Options",
            "What the run was given. Its folder, in the place of a program, stands for all of them.",
        ),
        _ => page.section("options", "What differs", "Options of which the runs do not all have the same value."),
    }
    if names.is_empty() {
        page.raw("<p class=\"note\">No option differs.</p>\n");
        return;
    }
    page.raw("<div class=\"wide\"><table><thead><tr>");
    page.head("option", "");
    runs.iter().for_each(|run| page.head(&run.name, ""));
    page.raw("</tr></thead>\n<tbody>\n");
    for name in names {
        page.raw("<tr>");
        page.cell(name);
        (0..runs.len()).for_each(|i| page.cell(of(i, name)));
        page.raw("</tr>\n");
    }
    page.raw("</tbody></table></div>\n");
}

fn programs(page: &mut Page, runs: &[Shown]) {
    page.section("programs", "Program", "As it lies in the run's folder.");
    for (i, run) in runs.iter().enumerate() {
        let Some(recipe) = &run.found.recipe else {
            let text = format!("The folder of {} holds no program: an older archc wrote only its hash.", run.name);
            page.element("p", &[("class", &"note")], text).raw("\n");
            continue;
        };
        let text = |run: &Shown| run.found.recipe.as_ref().map(|r| r.sources.clone());
        if let Some(same) = runs[..i].iter().find(|other| text(other) == text(run)) {
            page.element("p", &[("class", &"note")], format!("{} has the program of {}.", run.name, same.name))
                .raw("\n");
            continue;
        }
        for (file, text) in &recipe.sources {
            let title = if runs.len() > 1 { format!("{}: {file}", run.name) } else { file.clone() };
            page.element("h3", &[], title).element("pre", &[], text).raw("\n");
        }
        if !recipe.command.is_empty() {
            page.element("p", &[("class", &"note")], format!("Command: {}", recipe.command.join(" "))).raw("\n");
        }
    }
}
