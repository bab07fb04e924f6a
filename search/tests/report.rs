//! Report: one self-contained, well-formed page in which every text is escaped, whatever the state of the run.
//!
//! The runs are synthetic: programs have a worth, scores are that worth with noise; the schedule, the analyst and the finals are the
//! real ones. With ARCHC_PAGES=DIR the pages are also written there, for inspection.

use archc_search::board::Board;
use archc_search::front;
use archc_search::moves::VARIATIONS;
use archc_search::plan::{Plan, Settings, Tier};
use archc_search::propose::diff;
use archc_search::random::Stream;
use archc_search::rank::rank;
use archc_search::record::{
    Candidate, CandidateId, Cost, Finding, Hypothesis, Origin, Report, Site, Status, TaskScore, TimeClass, Verdict,
};
use archc_search::roles::{Analyst, PairedAnalyst};
use archc_search::stats::finals::AFTER;
use archc_search::store::{Event, History, Log, RunFolder};
use archc_search::{finals, report, schedule};
use serde_json::json;
use std::collections::BTreeMap;

/// Text with hostile markup.
const EVIL: &str = "</pre><script>alert('1')</script> & \"more\" <b title=\"x\">";

const SEEDS: [(&str, &str, f64); 4] = [
    ("gla", include_str!("../../seeds/gla.arch"), 0.22),
    ("gated_delta_net", include_str!("../../seeds/gated_delta_net.arch"), 0.40),
    ("router", include_str!("../../seeds/router.arch"), 0.43),
    ("ssm", include_str!("../../seeds/ssm.arch"), 0.27),
];

/// Synthetic run under construction.
struct Demo {
    history: History,
    events: Vec<(i64, Event)>,
    at: i64,
    worth: Vec<f64>,
    /// Number of evaluations left in the budget.
    left: usize,
    /// Lead of the best candidate over the anchor.
    find: f64,
    names: Vec<&'static str>,
}

impl Demo {
    fn new(find: f64, evaluations: usize) -> Self {
        let anchors = SEEDS.iter().map(|(name, text, _)| ((*name).to_owned(), (*text).to_owned())).collect();
        let mut plan = Plan::new(7, anchors, "bandit", "train 3 cpu-fma x86_64-linux 8f3c2a10 77aa01bc");
        let tier = |name| archc_train::tier::tier(name).unwrap();
        let mut last = tier("search");
        (last.name, last.part) = ("search".to_owned(), archc_train::task::Part::Test);
        plan.methods = json!({ "machine": "cpu-fma x86_64-linux", "corpus": "5e2f0c1b9a", "screen": tier("screen"), "search": tier("search"), "final": last });
        plan.settings = Settings {
            command: ["archc", "search", "seeds/", "--seed", "7", "--budget", "30m"].map(str::to_owned).to_vec(),
            device: "cpu".to_owned(),
            seconds: Some(1800.0),
            ..Settings::default()
        };
        let names = vec!["mqar", "parity", "selective-copying", "text"];
        let (history, events) = (History::new(), Vec::new());
        let mut demo =
            Self { history, events, at: 1_796_034_122_000, worth: Vec::new(), left: evaluations, find, names };
        demo.event(Event::Opened { plan, version: "0.1.0".to_owned() });
        demo.event(Event::Session { pid: 1 });
        demo
    }

    fn event(&mut self, event: Event) {
        self.history.apply(self.at, &event).unwrap();
        self.events.push((self.at, event));
    }

    fn candidate(&self, generation: u32, slot: u32, origin: Origin, name: &str, source: &str) -> Candidate {
        let mut source = source.to_owned();
        let old = self.history.candidates().iter().find(|c| c.name == name).map(|c| c.source.clone());
        if let Some(old) = old.filter(|_| origin == Origin::Proposed) {
            source = old;
        }
        let size = 1.0 + 0.05 * f64::from(slot) + if name.contains("Router") { 0.9 } else { 0.0 };
        Candidate {
            id: self.history.next_id(),
            generation,
            slot,
            attempt: 0,
            origin,
            name: name.to_owned(),
            source: source.clone(),
            hypothesis: None,
            parents: Vec::new(),
            change: "seed program".to_owned(),
            diff: String::new(),
            hash: format!("{generation}/{slot}/{name}"),
            family: name.to_owned(),
            verdict: Verdict::Admitted,
            findings: Vec::new(),
            cost: Some(Cost {
                params: (21_000.0 * size) as u64,
                flops_per_token: 43_000.0 * size,
                work: 61_000.0 * size,
                state: if name.contains("SSM") { 512 } else { 512 + 128 * u64::from(slot % 5) },
                time: TimeClass::Linear,
                mixer: if name.contains("GLA") { "linear attention" } else { "delta rule" }.to_owned(),
            }),
        }
    }

    /// Proposes generation 0: the seed programs and a variant of each.
    fn anchors(&mut self) {
        let mut all: Vec<Candidate> = Vec::new();
        for (slot, (_, text, worth)) in SEEDS.iter().enumerate() {
            let name = text.split_once("block ").unwrap().1.split('[').next().unwrap();
            let mut c = self.candidate(0, slot as u32, Origin::Anchor, name, text);
            c.id.0 += all.len() as u32;
            all.push(c);
            self.worth.push(*worth);
        }
        for of in 0..2 {
            let mut c = Candidate { id: CandidateId(all.len() as u32), slot: 4 + of, ..all[of as usize].clone() };
            c.name = format!("{} conv", c.name);
            c.parents = vec![CandidateId(of)];
            c.change = "a convolution of width 4 before the keys".to_owned();
            c.hypothesis = Some(Hypothesis {
                researcher: "anchors".to_owned(),
                parents: c.parents.clone(),
                action: VARIATIONS[0].action.to_owned(),
                site: Site { kind: VARIATIONS[0].site.to_owned(), index: 0, label: "map to k".to_owned() },
                why: String::new(),
                tasks: Vec::new(),
            });
            c.hash.push_str("conv");
            self.worth.push(self.worth[of as usize] + 0.02);
            all.push(c);
        }
        self.event(Event::Proposed { generation: 0, candidates: all });
    }

    /// Proposes a later generation: slots of two or three drafts, and a control.
    fn generation(&mut self, generation: u32) {
        let mut noise = Stream::new(3, "generation", &[u64::from(generation)]);
        let board = Board::of(&self.history);
        let mut all: Vec<Candidate> = Vec::new();
        let first = self.history.next_id().0;
        for slot in 0..8 {
            let stand = board.standing[noise.below(board.standing.len().min(4))];
            let parent = self.history.candidate(stand.id).unwrap().clone();
            for attempt in 0..=(slot % 3) {
                let id = CandidateId(first + all.len() as u32);
                let base = parent.name.split("C0").next().unwrap().replace(" conv", "");
                let width = [5u32, 6, 7, 8][noise.below(4)];
                let name = format!("{base}C{:04}", id.0);
                let old =
                    (1..20).map(|w| format!("(width = {w})")).find(|w| parent.source.contains(w)).unwrap_or_default();
                let source = parent.source.replacen(&old, &format!("(width = {})", width + generation), 2).replacen(
                    &parent.name,
                    &name,
                    1,
                );
                let better = if noise.chance(0.35) { self.find } else { -0.08 * noise.unit() };
                let kin = self.worth[parent.id.0 as usize];
                self.worth.push(kin + better);
                let mut c = self.candidate(generation, slot, Origin::Proposed, &name, &source);
                c.id = id;
                c.attempt = attempt;
                c.change = format!("change a convolution at k = conv(.., width = 4): width {}", width + generation);
                c.diff = diff(&parent.source, &source);
                c.source = source;
                c.parents = vec![parent.id];
                c.hypothesis = Some(Hypothesis {
                    researcher: "bandit".to_owned(),
                    parents: c.parents.clone(),
                    action: "change a convolution".to_owned(),
                    site: Site {
                        kind: ["key", "query", "value"][noise.below(3)].to_owned(),
                        index: 0,
                        label: "k = conv(..)".to_owned(),
                    },
                    why: format!(
                        "{} is the best anchor. `change a convolution` on a key has not been tried yet.",
                        parent.name
                    ),
                    tasks: vec!["mqar".to_owned()],
                });
                c.verdict = match attempt {
                    1 if slot == 2 => Verdict::Duplicate { of: CandidateId(0) },
                    1 => Verdict::Outranked { by: CandidateId(id.0 - 1) },
                    2 => Verdict::Rejected {
                        check: "ranges".to_owned(),
                        code: "E0701".to_owned(),
                        message: "`a` may be 1.2, and a decay is at most 1".to_owned(),
                    },
                    _ => Verdict::Admitted,
                };
                all.push(c);
            }
        }
        let anchor = self.history.fixed().unwrap();
        let control = self.history.candidate(anchor).unwrap().clone();
        let (id, name) = (CandidateId(first + all.len() as u32), format!("{} again", control.name));
        let parents = vec![anchor];
        let change = "control: `k` has another name".to_owned();
        all.push(Candidate { id, name, generation, slot: 8, origin: Origin::Control, parents, change, ..control });
        self.worth.push(self.worth[anchor.0 as usize]);
        self.event(Event::Proposed { generation, candidates: all });
    }

    /// Runs due evaluations; returns whether all of them could be run.
    fn run(&mut self, due: impl Fn(&History) -> Vec<schedule::Trial>) -> bool {
        loop {
            let trials = due(&self.history);
            if trials.is_empty() {
                return true;
            }
            for (id, tier, seed) in trials {
                if self.left == 0 {
                    return false;
                }
                self.left -= 1;
                self.at += 2300;
                let report = self.score(id, tier, seed);
                self.event(Event::Evaluated {
                    candidate: id,
                    tier,
                    seed,
                    key: format!("{id}{tier:?}{seed}"),
                    report,
                    worked: 0,
                });
            }
        }
    }

    fn score(&self, id: CandidateId, tier: Tier, seed: u64) -> Report {
        if id.0 % 17 == 9 && tier == Tier::Tune {
            return Report::failed(Status::Diverged, "the loss was not finite at step 31");
        }
        let mut common = Stream::new(seed, "batch", &[tier as u64]);
        let mut own = Stream::new(seed, "own", &[u64::from(id.0), tier as u64]);
        let metric = |task: &str| if task == "text" { ("bits per byte", 8.0) } else { ("accuracy", 0.0625) };
        let tasks: BTreeMap<String, TaskScore> = self
            .names
            .iter()
            .enumerate()
            .map(|(i, task)| {
                let score =
                    (self.worth[id.0 as usize] * (1.1 - 0.13 * i as f64) + 0.04 * common.normal() + 0.1 * own.normal())
                        .max(0.0);
                let (metric, chance) = metric(task);
                let value = if chance > 1.0 { 8.0 - 4.0 * score } else { chance + 0.9 * score.min(1.0) };
                let loss = |x: f64| 2.7 - 2.0 * score * (1.0 - (-4.0 * x).exp());
                let curve = (0..40).map(|i| (i * 2048, loss(i as f64 / 39.0) + 0.02 * own.normal())).collect();
                let (loss, mean_loss) = (Some(loss(1.0)), Some(loss(0.6)));
                (
                    String::from(*task),
                    TaskScore {
                        value,
                        chance,
                        score,
                        weight: 1.0,
                        metric: metric.to_owned(),
                        loss,
                        mean_loss,
                        tokens: 80_000,
                        curve,
                    },
                )
            })
            .collect();
        let mean = tasks.values().map(|t| t.score).sum::<f64>() / tasks.len() as f64;
        let rates =
            if tier == Tier::Tune { vec![(0.5, mean - 0.05), (1.0, mean), (2.0, mean - 0.02)] } else { Vec::new() };
        Report { status: Status::Ok, tasks, rates, tokens: 320_000, seconds: 2.1, params: 24_000, findings: Vec::new() }
    }

    /// Runs the whole search, as far as the budget allows.
    fn search(mut self, generations: u32, evil: bool) -> Self {
        self.anchors();
        for generation in 0..=generations {
            if generation > 0 {
                self.generation(generation);
            }
            if !self.run(|history| schedule::due(history, generation)) {
                return self;
            }
            self.at += 500;
            let (mut analyses, mut beliefs) = PairedAnalyst.study(&self.history, generation);
            if evil {
                analyses.iter_mut().for_each(|a| a.text.push_str(EVIL));
                beliefs.iter_mut().for_each(|b| b.action.push_str(EVIL));
            }
            self.event(Event::Closed { generation, analyses, beliefs });
        }
        self
    }

    fn finals(mut self) -> Self {
        let contenders = finals::claims(&self.history, &Board::of(&self.history));
        self.event(Event::Finals { contenders });
        if self.run(finals::due) { self.end("time") } else { self }
    }

    fn end(mut self, reason: &str) -> Self {
        let ranking = rank(&self.history);
        self.event(Event::Ranked { ranking });
        self.event(Event::Ended { reason: reason.to_owned(), worked: 0 });
        self
    }

    fn headline(&self) -> String {
        report::headline(&self.history, &rank(&self.history))
    }
}

/// Renders the page and checks that it is well-formed.
fn page(name: &str, history: &History) -> String {
    let page = report::render(name, Some(1_796_034_122_000), history);
    if let Ok(folder) = std::env::var("ARCHC_PAGES") {
        std::fs::write(format!("{folder}/{name}.html"), &page).unwrap();
    }
    check_well_formed(&page);
    for outside in ["http:", "https:", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{name}: {outside}");
    }
    assert_eq!(page.matches("NaN").count() + page.matches("inf%").count(), 0, "{name}");
    let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    for target in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(ids.contains(&target), "{name}: nothing has the id {target}");
    }
    page
}

/// Checks that tags nest, attributes are quoted, and ids are unique; content of style and script is not markup.
fn check_well_formed(page: &str) -> usize {
    const VOID: [&str; 4] = ["meta", "input", "br", "!doctype"];
    let mut open: Vec<&str> = Vec::new();
    let mut ids = std::collections::BTreeSet::new();
    let mut rest = page;
    let mut count = 0;
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        assert!(!text.contains('>'), "a bare > in {text:?}");
        let end = at + rest[at..].find('>').expect("a tag that ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        count += 1;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "</{name}> closes something else");
            continue;
        }
        let name = tag.split_whitespace().next().unwrap();
        assert_eq!(tag.matches('"').count() % 2, 0, "unbalanced quotes in <{tag}>");
        if let Some((_, id)) = tag.split_once(" id=\"") {
            assert!(ids.insert(id.split('"').next().unwrap().to_owned()), "the id in <{tag}> is there twice");
        }
        if !VOID.contains(&name) {
            open.push(name);
        }
        if name == "style" || name == "script" {
            rest = &rest[rest.find(&format!("</{name}>")).unwrap()..];
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    count
}

#[test]
fn a_discovery_with_its_ablation() {
    let demo = Demo::new(0.08, usize::MAX).search(6, false).finals();
    insta::assert_snapshot!(demo.headline(), @"3 discoveries: GatedDeltaNetC0089 beats GatedDeltaNet conv (c0005) by +0.252 [+0.213, +0.292] on 16 seeds after it was established");
    let page = page("discovery", &demo.history);
    let history = &demo.history;
    for section in [
        "finals", "anchors", "methods", "front", "progress", "tasks", "lineage", "trust", "archive", "drafts",
        "beliefs", "programs", "all",
    ] {
        assert!(
            page.contains(&format!("<h2 id=\"{section}\">")) && page.contains(&format!("href=\"#{section}\"")),
            "{section}"
        );
    }
    let ranking = rank(history);
    let found = ranking.rows.iter().find(|r| r.discovery == Some(true)).unwrap();
    assert!(page.contains(&found.verdict()) && !found.ablation.is_empty() && page.contains("Over "));
    // Its lead is from seeds that did not establish it; the lead from those that did is shown beside it.
    let (effect, look) = (found.effect.unwrap().over.unwrap(), found.judgement.unwrap().interval.unwrap());
    assert!(found.over() == Some(effect) && effect.count == AFTER && effect.mean < look.mean);
    assert!(page.contains(&format!("On the seeds that established it: {:+.3} [", look.mean)));
    for word in [
        "Clopper-Pearson",
        "false-discovery rate",
        "archc search seeds/ --seed 7",
        "5e2f0c1b9a",
        "2026-11-30 10:22 UTC",
        "bits per byte\u{a0}↓",
    ] {
        assert!(page.contains(word), "{word}");
    }
    // Every experiment is a row, and no program on the front is beaten by another.
    let table = &page[page.find("id=\"experiments\"").unwrap()..];
    assert_eq!(table.matches("<tr").count() - 1, history.candidates().len());
    let board = Board::of(history);
    let (front, points) = (front::front(history, &board), front::points(history, &board));
    assert!(!front.is_empty() && front.len() < points.len());
    assert!(front.windows(2).all(|w| w[0].flops_per_token <= w[1].flops_per_token));
    let best = points.iter().max_by(|a, b| a.corrected.total_cmp(&b.corrected)).unwrap();
    assert!(best.on_front);
    // Rendered again from the same log, the page is the same.
    assert_eq!(report::render("discovery", Some(1_796_034_122_000), history), page);
}

#[test]
fn nothing_is_established_where_nothing_is_better() {
    let demo = Demo::new(0.0, usize::MAX).search(4, false).finals();
    insta::assert_snapshot!(demo.headline(), @"Nothing was established: the best of 3 finalists is 0.003 behind GatedDeltaNet conv (c0005), not established: not ahead of the anchor");
    assert!(page("nothing", &demo.history).contains("not established: "));
}

#[test]
fn a_run_at_every_stage_has_a_page() {
    let nothing = History::new();
    insta::assert_snapshot!(report::headline(&nothing, &rank(&nothing)), @"Nothing has run yet");
    page("empty", &nothing);
    let opened = Demo::new(0.1, 0);
    insta::assert_snapshot!(opened.headline(), @"Nothing has run yet");
    page("opened", &opened.history);
    let anchors = Demo::new(0.1, 27).search(0, false);
    insta::assert_snapshot!(anchors.headline(), @"The search has not begun yet: 9 of 40 evaluations of the anchors on the search tier");
    assert!(page("anchors", &anchors.history).contains("Now: 9 of 40 evaluations of the anchors on the search tier"));
    let stopped = anchors.end("time");
    insta::assert_snapshot!(stopped.headline(), @"The budget did not reach beyond the anchors: 9 of 40 evaluations of the anchors on the search tier");
    page("stopped", &stopped.history);
    let all_anchors = Demo::new(0.1, usize::MAX).search(0, false).end("time");
    insta::assert_snapshot!(all_anchors.headline(), @"The budget did not reach beyond the anchors: GatedDeltaNet conv (c0005) is the best of them, and nothing was compared with it");
    page("all-anchors", &all_anchors.history);
    let searching = Demo::new(0.1, 150).search(3, false);
    insta::assert_snapshot!(searching.headline(), @"Still searching: 9 programs compared with GatedDeltaNet conv (c0005); the largest lead, corrected, is +0.240 of GatedDeltaNetC0023, and the finals are to come");
    page("searching", &searching.history);
    let mut searched = Demo::new(0.1, usize::MAX).search(2, false);
    let without = Demo::new(0.1, usize::MAX).search(2, false).end("interrupted");
    insta::assert_snapshot!(without.headline(), @"Nothing was established: 6 programs compared with GatedDeltaNet conv (c0005), and no finals (the search ended: interrupted)");
    page("interrupted", &without.history);
    searched.left = 14;
    let finals = searched.finals();
    insta::assert_snapshot!(finals.headline(), @"Still in the finals, nothing is established so far: 14 of 32 evaluations of the finals, up to the next look");
    assert!(page("finals", &finals.history).contains("no look yet"));
    let finals = finals.end("time");
    insta::assert_snapshot!(finals.headline(), @"Nothing was established: 3 finalists with 3 fresh seeds beside GatedDeltaNet conv (c0005), and the first look is at 8");
    page("finals-stopped", &finals.history);
}

#[test]
fn a_run_of_another_evaluator_is_shown_and_not_compared() {
    let mut old = Demo::new(0.1, 18);
    old.anchors();
    old.event(Event::Closed { generation: 0, analyses: Vec::new(), beliefs: Vec::new() });
    let mut c = old.candidate(1, 0, Origin::Proposed, "GLA", "");
    c.parents = vec![CandidateId(0)];
    old.event(Event::Proposed { generation: 1, candidates: vec![c] });
    insta::assert_snapshot!(old.headline(), @"Made by another evaluator: its programs are shown, and not compared");
    let page = page("old", &old.history);
    assert!(page.contains("nothing of it is compared or ranked") && page.contains("GLA (c0006)"));
}

/// Checks a run in which every text is hostile.
#[test]
fn everything_is_escaped() {
    let demo = {
        let mut demo = Demo::new(0.2, usize::MAX);
        demo.names = vec!["mqar", EVIL];
        demo.search(2, true).finals()
    };
    let mut history = History::new();
    for (at, event) in &demo.events {
        let mut event = event.clone();
        match &mut event {
            Event::Opened { plan, version } => {
                version.push_str(EVIL);
                for text in [&mut plan.evaluator, &mut plan.researcher, &mut plan.settings.device] {
                    text.push_str(EVIL);
                }
                plan.settings.command.push(EVIL.to_owned());
                plan.settings.corpus = Some(EVIL.to_owned());
                plan.methods = json!({ "machine": EVIL, "corpus": EVIL, "screen": { "a": EVIL } });
            }
            Event::Proposed { candidates, .. } => {
                for c in candidates {
                    for text in [&mut c.name, &mut c.source, &mut c.change, &mut c.diff] {
                        text.push_str(EVIL);
                    }
                    c.cost.iter_mut().for_each(|cost| cost.mixer.push_str(EVIL));
                    if let Some(h) = &mut c.hypothesis {
                        h.why.push_str(EVIL);
                    }
                    if let Verdict::Rejected { check, code, message } = &mut c.verdict {
                        [check, code, message].into_iter().for_each(|text| text.push_str(EVIL));
                    }
                }
            }
            Event::Evaluated { report, .. } => {
                report.tasks.values_mut().for_each(|t| t.metric.push_str(EVIL));
                report.findings.push(Finding {
                    code: EVIL.to_owned(),
                    severity: EVIL.to_owned(),
                    message: EVIL.to_owned(),
                });
            }
            Event::Ended { reason, .. } => reason.push_str(EVIL),
            Event::Session { .. } | Event::Closed { .. } | Event::Finals { .. } | Event::Ranked { .. } => {}
        }
        history.apply(*at, &event).unwrap();
    }
    let page = page("evil <b>", &history);
    assert_eq!(page.matches("<script").count(), 1);
    assert!(!page.contains("<b title"));
    assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;more&quot;"));
}

#[test]
fn it_is_written_beside_the_log() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(report::write(dir.path()).unwrap_err().code, "E1005");
    let demo = Demo::new(0.1, 40).search(0, false);
    let folder = RunFolder::create(Some(dir.path()), 7).unwrap();
    let mut events = demo.events.iter().map(|(_, event)| event.clone());
    let mut log = Log::create(&folder.store(), events.next().unwrap()).unwrap();
    log.commit(&events.collect::<Vec<_>>()).unwrap();
    let path = report::write(dir.path()).unwrap();
    assert_eq!(path, dir.path().join("report.html"));
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(check_well_formed(&page) > 300 && page.contains("<dt>began</dt>"));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("x"), "").unwrap();
    assert_eq!(report::write(dir.path()).unwrap_err().code, "E1010");
    assert!(!dir.path().join("report.html.part").exists());
}
