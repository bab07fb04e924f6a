//! Tests of the rows read from a file, and of the errors for invalid files.

use super::read::read;
use crate::task::{Part, Task, TaskSpec, build};
use archc_compiler::diag::Diagnostic;
use archc_runtime::Batch;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Makes the task on a file with this text.
fn of(name: &str, text: &str) -> Result<Arc<dyn Task>, Diagnostic> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    build(&TaskSpec::of_file(path.to_str().unwrap()), None)
}

fn task(text: &str) -> Arc<dyn Task> {
    of("rows.jsonl", text).unwrap()
}

/// Rows whose tokens are the decimal digits of their number; the output at the last token must be the first digit.
fn digits(rows: std::ops::Range<usize>) -> Vec<String> {
    let line = |i: usize| {
        let (a, b, c) = (i / 100, i / 10 % 10, i % 10);
        format!("{{\"tokens\": [{a}, {b}, {c}], \"targets\": [0, 0, {a}], \"mask\": [0, 0, 1]}}\n")
    };
    rows.map(line).collect()
}

/// Scored rows of a pass, with the number of times each is scored.
fn pass(task: &dyn Task, part: Part, seed: u64, rows: usize) -> BTreeMap<Vec<u32>, usize> {
    let mut seen = BTreeMap::new();
    for index in 0..task.batches(part, rows).unwrap() {
        let batch: Batch = task.batch(part, seed, index, rows);
        for (tokens, mask) in batch.tokens.chunks(batch.len).zip(batch.mask.chunks(batch.len)) {
            if mask.contains(&1.0) {
                *seen.entry(tokens.to_vec()).or_default() += 1;
            }
        }
    }
    seen
}

#[test]
fn rows_are_split_once_each_by_their_contents() {
    let lines = digits(0..500);
    let task = task(&lines.concat());
    assert_eq!((task.vocab(), task.len(Part::Train)), (10, 3));
    let (validation, test) = (pass(task.as_ref(), Part::Validation, 0, 7), pass(task.as_ref(), Part::Test, 0, 16));
    assert_eq!((validation.len(), test.len()), (50, 50));
    assert!(validation.values().chain(test.values()).all(|&n| n == 1), "each once");
    let mut train = BTreeSet::new();
    for index in 0..100 {
        train.extend(task.batch(Part::Train, 0, index, 64).tokens.chunks(3).map(<[u32]>::to_vec));
    }
    assert_eq!(train.len(), 400, "16 draws a row leave none out");
    assert!(validation.keys().all(|row| !test.contains_key(row) && !train.contains(row)));
    assert!(test.keys().all(|row| !train.contains(row)));

    // Order, copies and blank lines change nothing; another row does.
    let mut other = lines.clone();
    other.reverse();
    other.extend(["\n".to_owned(), lines[3].clone(), lines[4].clone()]);
    let same = of("other.jsonl", &format!("\u{feff}{}", other.concat())).unwrap();
    assert_eq!(same.digest(), task.digest());
    assert_eq!(pass(same.as_ref(), Part::Test, 0, 16), test);
    assert_ne!(of("rows.jsonl", &lines[1..].concat()).unwrap().digest(), task.digest());
    let wider = format!("{{\"vocab\": 12}}\n{}", lines.concat());
    let wider = of("rows.jsonl", &wider).unwrap();
    assert_eq!(wider.vocab(), 12);
    assert_ne!(wider.digest(), task.digest());
}

#[test]
fn other_seeds_score_other_rows() {
    let task = task(&digits(0..500).concat());
    let first = |seed| task.batch(Part::Validation, seed, 0, 8).tokens;
    assert_ne!(first(0), first(1));
    assert_eq!(first(1), first(1));
    assert_eq!(pass(task.as_ref(), Part::Validation, 0, 8), pass(task.as_ref(), Part::Validation, 1, 8));
}

#[test]
fn rows_are_padded_and_continued() {
    let text = "{\"tokens\": [4, 5, 6], \"part\": \"train\"}\n\
                {\"tokens\": [1, 2], \"targets\": [2, 1], \"part\": \"test\"}\n\
                {\"tokens\": [7, 1, 2, 3], \"mask\": [0, 1, 1, 1], \"part\": \"test\"}\n\
                {\"tokens\": [3, 9], \"targets\": null, \"mask\": [1, 0], \"part\": \"validation\"}";
    let task = task(text);
    assert_eq!(Part::ALL.map(|part| task.len(part)), [3, 2, 4]);
    assert_eq!(task.vocab(), 10);
    let batch = task.batch(Part::Train, 0, 0, 1);
    assert_eq!((&*batch.tokens, &*batch.mask), (&[4, 5, 6][..], &[1.0, 1.0, 0.0][..]));
    assert_eq!(batch.targets[..2], [5, 6]);
    let batch = task.batch(Part::Test, 0, 0, 2);
    let short =
        batch.tokens.iter().position(|t| *t == 1 || *t == 7).unwrap() + if batch.tokens[0] == 1 { 0 } else { 4 };
    assert_eq!(batch.tokens[short..short + 4], [1, 2, 0, 0]);
    assert_eq!(batch.targets[short..short + 2], [2, 1]);
    assert_eq!(batch.mask[short..short + 4], [1.0, 1.0, 0.0, 0.0]);
    assert_eq!(batch.reset[short..short + 4], [true, false, false, false]);
    let long = 4 - short;
    assert_eq!(batch.mask[long..long + 4], [0.0, 1.0, 1.0, 0.0], "nothing follows the last token");
    // One of two targets of each row is scored.
    assert_eq!(task.metric().chance(), 0.5);
}

#[test]
fn chance_is_the_most_frequent_target_of_training() {
    let mut text = String::new();
    for (target, count) in [(1, 6), (2, 3), (3, 1)] {
        for i in 0..count {
            let _ = writeln!(
                text,
                "{{\"tokens\": [{target}, {i}], \"targets\": [0, {target}], \"mask\": [0, 1], \"part\": \"train\"}}"
            );
        }
    }
    text += "{\"tokens\": [5, 5], \"part\": \"test\"}\n{\"tokens\": [6, 6], \"part\": \"validation\"}\n";
    assert_eq!(task(&text).metric().chance(), 0.6);
}

#[test]
fn held_out_rows_stay_held_out() {
    let row = "{\"tokens\": [1, 2, 3]}\n";
    let part = |part: &str, row: &str| row.replace('}', &format!(", \"part\": \"{part}\"}}"));
    // The same row three times: it belongs to test. Rows of equal tokens join it, whatever their targets.
    let with_targets = "{\"tokens\": [1, 2, 3], \"targets\": [1, 1, 1]}\n";
    let text = [part("train", row), part("test", row), row.to_owned(), with_targets.to_owned()].concat();
    let more = part("train", "{\"tokens\": [4, 4]}\n") + &part("validation", "{\"tokens\": [5, 5]}\n");
    let task = task(&(text + &more));
    assert_eq!(task.batches(Part::Test, 1), Some(2));
    assert_eq!(task.batches(Part::Validation, 1), Some(1));
    assert_eq!(task.batch(Part::Train, 0, 0, 2).tokens, [4, 4, 4, 4]);
}

#[test]
fn paths_may_hold_what_separates_settings() {
    let odd = "a:b,c=d e.jsonl";
    let task = of(odd, &digits(0..20).concat()).unwrap();
    let text = task.spec().to_string();
    assert!(text.starts_with("jsonl:/") && text.ends_with(odd), "{text}");
    assert_eq!(text.parse::<TaskSpec>().unwrap(), *task.spec());
    let json = serde_json::to_string(task.spec()).unwrap();
    assert_eq!(serde_json::from_str::<TaskSpec>(&json).unwrap(), *task.spec());
    assert_eq!("JSONL:My Rows.jsonl".parse::<TaskSpec>().unwrap(), TaskSpec::of_file("My Rows.jsonl"));
    for text in ["jsonl", "jsonl:"] {
        assert_eq!(text.parse::<TaskSpec>().unwrap_err().code, "E0902");
    }
    assert_eq!(build(&TaskSpec::new("jsonl"), None).err().unwrap().code, "E0902");
    let odd = TaskSpec { name: "recall".to_owned(), ..TaskSpec::of_file("x") };
    assert_eq!(build(&odd, None).err().unwrap().code, "E0902");
}

#[test]
fn bad_rows_are_refused_with_their_line() {
    let fine = digits(0..30).concat();
    for (line, code, says) in [
        ("tokens", "E0929", "no JSON object"),
        ("[1, 2, 3]", "E0929", "no JSON object"),
        ("{\"tokens\": [1, 2", "E0929", "at character"),
        ("{\"tokens\": [1, \"2\"]}", "E0929", "invalid type: string"),
        ("{\"tokens\": [1, 2], \"target\": [1, 2]}", "E0929", "unknown field `target`"),
        ("{\"tokens\": [1, 2], \"part\": \"dev\"}", "E0929", "unknown variant `dev`"),
        ("{\"tokens\": [1, 2], \"mask\": [1, 0.5]}", "E0929", "`mask[1]` is 0.5"),
        ("{\"targets\": [1, 2]}", "E0929", "no `tokens`"),
        ("{\"vocab\": 9}", "E0929", "the first line alone"),
        ("{\"tokens\": [1, 2], \"targets\": [1]}", "E0930", "1 numbers in `targets`"),
        ("{\"tokens\": [1, 2], \"mask\": [1, 1, 1]}", "E0930", "3 numbers in `mask`"),
        ("{\"tokens\": []}", "E0930", "0 tokens"),
        ("{\"tokens\": [1, -2]}", "E0931", "-2 at `tokens[1]`"),
        ("{\"tokens\": [1, 2], \"targets\": [-100, 2]}", "E0931", "-100 at `targets[0]`"),
        ("{\"tokens\": [1, 2.5]}", "E0931", "2.5 at `tokens[1]`"),
        ("{\"tokens\": [1, 1048576]}", "E0931", "1048576 at"),
        ("{\"tokens\": [1, 1e300]}", "E0931", "at `tokens[1]`"),
        ("{\"tokens\": [1, 2], \"mask\": [0, 0]}", "E0932", "asks for nothing"),
        ("{\"tokens\": [1]}", "E0932", "asks for nothing"),
        ("{\"tokens\": [1, 2], \"mask\": [0, 1]}", "E0932", "asks for nothing"),
    ] {
        let error = of("rows.jsonl", &format!("{fine}{line}\n{fine}")).err().unwrap();
        assert_eq!(error.code, code, "{line}: {error:?}");
        assert!(error.message.contains("line 31 of") && error.message.contains(says), "{line}: {error:?}");
        assert!(error.help.is_some(), "{line}: a way out");
    }
    let first = |line: &str| of("rows.jsonl", &format!("{line}\n{fine}")).err().map(|e| e.code);
    assert_eq!(first("{\"vocab\": 10}"), None);
    assert_eq!(first("{\"vocab\": 9}"), Some("E0931"));
    for line in ["{\"vocab\": 0}", "{\"vocab\": 1.5}", "{\"vocab\": 1e9}", "{\"vocab\": 10, \"tokens\": [1, 2]}"] {
        assert_eq!(first(line), Some("E0929"), "{line}");
    }
}

#[test]
fn files_that_give_no_task_are_refused() {
    let code = |text: &str| of("rows.jsonl", text).err().map(|e| e.code);
    assert_eq!(code(""), Some("E0933"));
    assert_eq!(code(&digits(0..2).concat()), Some("E0933"));
    assert_eq!(code(&digits(7..8).concat().repeat(100)), Some("E0933"));
    assert_eq!(code(&digits(0..3).concat()), None);
    let trained: String = digits(0..30).iter().map(|line| line.replace('}', ", \"part\": \"train\"}")).collect();
    assert_eq!(code(&trained), Some("E0933"));
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &Path| build(&TaskSpec::of_file(path.to_str().unwrap()), None).err().map(|e| e.code);
    assert_eq!(at(&folder.path().join("missing.jsonl")), Some("E0928"));
    assert_eq!(at(folder.path()), Some("E0928"));
    #[cfg(target_os = "linux")]
    assert_eq!(at(Path::new("/dev/zero")), Some("E0927"));
    let path = folder.path().join("rows.jsonl");
    let text = digits(0..30).concat();
    std::fs::write(&path, &text).unwrap();
    assert!(read(&path, text.len() as u64).is_ok());
    assert_eq!(read(&path, text.len() as u64 - 1).err().map(|e| e.code), Some("E0927"));
}
