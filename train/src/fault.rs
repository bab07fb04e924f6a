//! Constructors of this crate's diagnostics, one per code; the long texts are in [`crate::codes`].

use crate::task::{MOST_TOKENS, Part};
use archc_compiler::diag::Diagnostic;
use std::fmt::{self, Display};
use std::io;
use std::path::Path;

fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

pub fn unknown_task(name: &str, known: &[&str]) -> Diagnostic {
    Diagnostic::error("E0901", format!("there is no task `{name}`"))
        .help(format!("the tasks are: {}; rows of your own are `jsonl:PATH`", listed(known.iter().copied())))
}

pub fn unknown_setting(task: &str, setting: &str, known: &[&str]) -> Diagnostic {
    Diagnostic::error("E0902", format!("the task `{task}` has no setting `{setting}`"))
        .help(format!("its settings are: {}", listed(known.iter().copied())))
}

pub fn malformed_setting(text: &str) -> Diagnostic {
    Diagnostic::error("E0902", format!("`{text}` is not a setting of a task"))
        .help("write NAME:SETTING=NUMBER,SETTING=NUMBER, as in `recall:len=64,vocab=32`")
}

pub fn setting_range(task: &str, setting: &str, value: f64, range: impl Display) -> Diagnostic {
    Diagnostic::error("E0903", format!("`{setting} = {value}` is out of range for the task `{task}`"))
        .help(format!("`{setting}` must be {range}"))
}

pub fn corpus_unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error("E0904", format!("cannot read the corpus `{}`: {error}", path.display()))
        .help("give a file, or a folder of files")
}

pub fn corpus_empty(what: &str) -> Diagnostic {
    Diagnostic::error("E0905", format!("the corpus {what} holds no text")).help("give a file or folder with text in it")
}

pub fn corpus_small(part: &str, bytes: usize, needed: usize) -> Diagnostic {
    Diagnostic::error("E0906", format!("the corpus is too small: its {part} part has {bytes} bytes of {needed} needed"))
        .help("give more text, or shorter sequences (`--task text:len=N`)")
}

pub fn no_corpus() -> Diagnostic {
    Diagnostic::error("E0907", "the task `text` has no text to learn").help("give one with `--corpus FILE_OR_DIR`")
}

pub fn training_range(name: &str, value: impl Display, range: &str) -> Diagnostic {
    Diagnostic::error("E0908", format!("`{name} = {value}` is out of range")).help(format!("`{name}` must be {range}"))
}

pub fn no_model(name: &str) -> Diagnostic {
    Diagnostic::error("E0909", format!("`{name}` is not a model, so it cannot be trained"))
        .help("write a `model`, or a block with one input and one output over [D]")
}

pub fn wrong_vocabulary(name: &str, has: usize, task: &str, needs: usize) -> Diagnostic {
    Diagnostic::error("E0909", format!("`{name}` has a vocabulary of {has}, the task `{task}` needs {needs}"))
        .help("leave VOCAB to the task")
}

pub fn far_above(since: u64, loss: f64) -> Diagnostic {
    Diagnostic::error("E0910", format!("training diverged: its loss is far above that of guessing since step {since}"))
        .note(format!("the last loss is {loss:.4}"))
        .help("lower the learning rate")
}

pub fn not_finite(since: u64) -> Diagnostic {
    let message = format!("training diverged at step {since}: the loss or its gradient is not finite");
    let diagnostic = Diagnostic::error("E0910", message);
    if since == 1 {
        return diagnostic.help("this is before any update: the program computes it, not the training");
    }
    diagnostic.help("lower the learning rate, or bound what the program computes")
}

pub fn score_not_finite(part: Part, step: u64, loss: f64) -> Diagnostic {
    let message = format!("training diverged: after {step} steps the loss on the {} part is {loss}", part.name());
    Diagnostic::error("E0910", message).help("lower the learning rate, or bound what the program computes")
}

pub fn unwritable(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error("E0911", format!("cannot write `{}`: {error}", path.display()))
        .help("the last checkpoint is whole: make room, then run the same command again")
}

pub fn unreadable(path: &Path, why: impl Display) -> Diagnostic {
    Diagnostic::error("E0912", format!("cannot read `{}`: {why}", path.display()))
        .help("give another folder, or a checkpoint written by `archc train`")
}

pub fn another_run(path: &Path, differ: &[String]) -> Diagnostic {
    let shown = path.display();
    Diagnostic::error("E0913", format!("`{shown}` belongs to another run: {}", differ.join(", ")))
        .help(format!("give another `--out`, or the settings of that run, which `archc train {shown}` takes by itself"))
}

pub fn report_unwritable(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error("E0911", format!("cannot write `{}`: {error}", path.display()))
        .help("make room, or give another place with `--output`")
}

pub fn no_token(drawn: usize) -> Diagnostic {
    Diagnostic::error(
        "E0921",
        format!("the model gives no token {} of the sample: its logits are not finite", drawn + 1),
    )
    .help("give weights of a training that did not diverge")
}

pub fn held(path: &Path) -> Diagnostic {
    Diagnostic::error("E0914", format!("`{}` is held by another process", path.display()))
        .help("wait for that run to end, or give another `--out`")
}

pub fn unknown_tier(name: &str, known: &[&str]) -> Diagnostic {
    Diagnostic::error("E0915", format!("there is no tier `{name}`"))
        .help(format!("the tiers are: {}", listed(known.iter().copied())))
}

pub fn no_tier(path: &Path, why: impl Display) -> Diagnostic {
    Diagnostic::error("E0940", format!("`{}` is no tier: {why}", path.display()))
        .help("write it as the tiers that archc carries are written; `archc explain E0940` shows one")
}

pub fn several_models(tier: &str, path: &str, tasks: [(String, Vec<usize>); 2]) -> Diagnostic {
    let [(a, of_a), (b, of_b)] = tasks;
    Diagnostic::error("E0925", format!("the tier `{tier}` trains models of several sizes, and weights are of one"))
        .note(format!("`{path}` is {of_a:?} in the task `{a}`, and {of_b:?} in `{b}`"))
        .help("score weights on the tier `screen`, which has one task")
}

pub fn corpus_not_text(path: &Path, at: usize) -> Diagnostic {
    Diagnostic::error("E0926", format!("`{}` in the corpus is not text: byte {at} is 0", path.display())).help(
        "give files of text; `iconv -f UTF-16 -t UTF-8` makes one of UTF-16, `strings` takes the text out of others",
    )
}

pub fn corpus_large(path: &Path, most: u64) -> Diagnostic {
    Diagnostic::error("E0927", format!("the corpus `{}` is larger than {}", path.display(), size(most)))
        .help("give a part of it: this much is more than any training here reads")
}

pub fn rows_large(path: &Path, most: u64) -> Diagnostic {
    Diagnostic::error("E0927", format!("`{}` is larger than {}", path.display(), size(most)))
        .help("give fewer rows, as `head -n 100000` takes them")
}

fn size(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{bytes} bytes"),
        mib => format!("{mib} MiB"),
    }
}

pub fn no_rows_file() -> Diagnostic {
    Diagnostic::error("E0902", "the task `jsonl` needs the path of its rows")
        .help("write `jsonl:PATH`, as in `jsonl:rows.jsonl`")
}

pub fn rows_unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error("E0928", format!("cannot read the rows in `{}`: {error}", path.display()))
        .help("give a file of JSON lines, as in `--task jsonl:rows.jsonl`")
}

/// Line of a file of rows, as messages name it.
pub struct Place<'a> {
    pub path: &'a Path,
    /// Line number, from 1.
    pub line: usize,
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of `{}`", self.line, self.path.display())
    }
}

pub fn no_row(place: &Place<'_>, why: impl Display) -> Diagnostic {
    Diagnostic::error("E0929", format!("{place} is no row: {why}"))
        .help("write {\"tokens\": [3, 1, 2], \"targets\": [0, 0, 3], \"mask\": [0, 0, 1]}, one a line")
}

pub fn unequal(place: &Place<'_>, field: &str, has: usize, tokens: usize) -> Diagnostic {
    Diagnostic::error("E0930", format!("{place} has {tokens} tokens and {has} numbers in `{field}`"))
        .help(format!("give `{field}` one number a token"))
}

pub fn row_length(place: &Place<'_>, tokens: usize, most: usize) -> Diagnostic {
    Diagnostic::error("E0930", format!("{place} has {tokens} tokens"))
        .help(format!("a row has from 1 to {most} tokens; cut longer ones"))
}

pub fn no_such_token(place: &Place<'_>, at: (&str, usize), value: f64, vocab: Option<usize>) -> Diagnostic {
    let (field, index) = at;
    let found = Diagnostic::error("E0931", format!("{place} has {value} at `{field}[{index}]`, which is no token"));
    let found = match vocab {
        Some(vocab) => found.help(format!(
            "tokens and targets are whole numbers from 0 to {}: the first line says that `vocab` is {vocab}",
            vocab - 1
        )),
        None => found.help(format!("tokens and targets are whole numbers from 0 to {}", MOST_TOKENS - 1)),
    };
    match field {
        "targets" if value < 0.0 => {
            found.note("a target that is not to be learned is 0, with 0 at its place in `mask`")
        }
        _ => found,
    }
}

pub fn nothing_scored(place: &Place<'_>, next: bool) -> Diagnostic {
    let found = Diagnostic::error("E0932", format!("{place} asks for nothing: no token of it is scored"));
    match next {
        true => found.help("without `targets` each token is to predict the next: give two at least"),
        false => found.help("put 1 in `mask` where the target is to be learned, or leave the row out"),
    }
}

pub fn few_rows(path: &Path, part: Part, rows: usize) -> Diagnostic {
    let (shown, part) = (path.display(), part.name());
    Diagnostic::error("E0933", format!("`{shown}` has {rows} different rows and none of them for the {part} part"))
        .help(format!("give more rows, or `\"part\": \"{part}\"` in some: of those that state none, a tenth is test, a tenth validation"))
}

pub fn wrong_logits(shape: &[usize], wanted: [usize; 3]) -> Diagnostic {
    Diagnostic::error("E0916", format!("archc bug: the logits have shape {shape:?}, not {wanted:?}"))
        .help("please report this, with the program")
}

pub fn out_of_time(task: &str, step: u64) -> Diagnostic {
    Diagnostic::error("E0917", format!("out of time at step {step} of the task `{task}`"))
        .help("give more time, or a program that costs less a token")
}
