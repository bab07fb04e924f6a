//! Codes of this crate, E10xx and W10xx, with the long text that `archc explain` prints, and the constructors of the
//! diagnostics. A search never panics on the contents of a disk: it reports one of these.

use archc_compiler::diag::{Code, Diagnostic, Severity};
use std::fmt::Display;
use std::path::Path;

/// Every code of the search engine.
pub const CODES: &[Code] = &[
    Code {
        code: "E1001",
        title: "the run folder is held by another process",
        text: "A run folder has one writer. While a search runs it holds a lock on the file `lock` in its run folder, \
and writes its process id there. Two searches in one folder would propose from each other's half-finished generations.\n\n\
Wait for the other search to end, stop it (Ctrl-C: it finishes cleanly), or start a run of your own in another folder \
with `--out DIR`. The lock goes away with the process that holds it, however that process ends, so a killed search never \
leaves one behind. `archc report` reads a run without the lock, also while it is being written.",
    },
    Code {
        code: "E1002",
        title: "the run folder cannot be made or read",
        text: "The folder of a run could not be created, opened or listed: the path does not exist, is a file, or this \
user has no right to it.\n\nName a folder that can be written with `--out DIR`. Without `--out` a new folder is made \
under `runs/` in the current directory.",
    },
    Code {
        code: "E1003",
        title: "the store cannot be written",
        text: "Writing to the run's store failed: the disk is full, a quota is reached, or the device reported an \
error. Every experiment is committed before the search goes on, so what was finished is in the store, and the step \
that failed was rolled back whole.\n\nMake room and continue the run with `archc search --resume --out RUN`: it goes on \
where it stopped, with the same proposals as if nothing had happened.",
    },
    Code {
        code: "E1004",
        title: "the store is not one that this archc reads",
        text: "The file `run.sqlite` of a run folder is not a store of archc, was written by a version with another \
schema, or is damaged. The message says which.\n\nA run of an older evaluator is read and reported, and not gone on with: its \
scores are no scores of this one. A damaged file is left as it is.",
    },
    Code {
        code: "E1005",
        title: "there is no run here",
        text: "`--resume` and `archc report` need a run: a folder with a `run.sqlite` in it. Without an argument they take \
the newest folder under `runs/` of the current directory.\n\nStart a run with `archc search seeds/`, or name the folder.",
    },
    Code {
        code: "E1006",
        title: "the folder already holds a run",
        text: "`--out DIR` named a folder that already holds a run. A new search never writes over an old one.\n\n\
Continue it with `--resume`, or name another folder.",
    },
    Code {
        code: "E1007",
        title: "a seed program cannot be used",
        text: "A search starts from seed programs, which are also the anchors that candidates are compared with. Each must \
parse, check, and hold one block of one input and one output over `[D]`, because that is what the standard stack trains; \
and there must be at least one.\n\nRun `archc check` on the named file, or leave it out.",
    },
    Code {
        code: "E1008",
        title: "the run was started with other settings",
        text: "A resumed run goes on with the seed programs, the seed and the tasks that it was started with: its proposals \
are a function of those and of its log. The settings given now differ from the ones in the store.\n\nLeave them out when \
resuming (a budget may be given anew), or start a new run.",
    },
    Code {
        code: "E1009",
        title: "the search cannot go on from its log",
        text: "The log of the run could be read, but replaying it did not lead to a state that a search can be in, or the \
machine refused threads. This is a bug of archc, or the store was edited by hand.\n\nPlease report it with the run folder; \
`archc report RUN` still shows what is in it.",
    },
    Code {
        code: "E1010",
        title: "the report cannot be written",
        text: "The page `report.html` or a program under `best/` could not be written into the run folder: the disk is full \
or the folder is read-only. The store is not touched by a report.\n\nMake room, then run `archc report RUN` again.",
    },
    Code {
        code: "E1011",
        title: "the folder holds other files",
        text: "`--out DIR` named a folder that holds files of something else. A run writes a store, a page and programs into its \
folder; among other files nobody could tell later which are whose.\n\nName a folder that does not exist yet or is empty. \
Without `--out` a new one is made under `runs/` in the current directory.",
    },
    Code {
        code: "E1012",
        title: "the store is locked by another program",
        text: "Another program keeps the run's `run.sqlite` locked, and did so for half a minute: a database browser with an open \
transaction, a backup, an indexer. Nothing is wrong with the store, and the step that could not be written was rolled back \
whole.\n\nClose that program and continue the run with `archc search --resume --out RUN`. `archc report` and programs that \
only read do not lock it.",
    },
    Code {
        code: "W1013",
        title: "a seed file holds several programs",
        text: "A search starts from one program a file: its last block or model. Blocks that it is made of belong to it; the others \
of the file are not searched.\n\nPut each into a file of its own to start from all of them. What they share can stay in \
another file beside them, which they `use self::...`.",
    },
];

/// Constructs E1001: the run folder is locked.
pub fn locked(folder: &Path, holder: &str) -> Diagnostic {
    Diagnostic::error("E1001", format!("the run folder {} is held by process {holder}", folder.display()))
        .help("wait for that search, stop it with Ctrl-C, or name another folder with --out DIR")
}

/// Constructs E1002: the run folder cannot be used.
pub fn folder(path: &Path, what: &str, cause: impl Display) -> Diagnostic {
    Diagnostic::error("E1002", format!("cannot {what} {}: {cause}", path.display()))
        .help("name a folder that can be written with --out DIR")
}

/// Constructs E1003: the log cannot be written.
pub fn write(cause: impl Display) -> Diagnostic {
    Diagnostic::error("E1003", format!("the store of the run cannot be written: {cause}"))
        .note("everything that was committed before is kept")
        .help("make room, then continue with --resume")
}

/// Constructs E1004: the store is not readable by this version.
pub fn foreign(path: &Path, cause: impl Display) -> Diagnostic {
    Diagnostic::error("E1004", format!("{} cannot be read as a run: {cause}", path.display()))
        .help("use the version of archc that wrote it, or start a new run")
}

/// Constructs E1004 for a run that can be read but not resumed.
pub fn older(path: &Path) -> Diagnostic {
    let why = "an archc with another evaluator wrote it, and its scores are no scores of this one";
    Diagnostic::error("E1004", format!("{} cannot be gone on with: {why}", path.display()))
        .help("`archc report` still shows it; start a new run with its programs, those under its best/ too")
}

/// Constructs E1005: there is no run.
pub fn no_run(path: &Path) -> Diagnostic {
    Diagnostic::error("E1005", format!("there is no run in {}", path.display()))
        .help("start one with `archc search seeds/`, or name the folder of a run")
}

/// Constructs E1006: the folder already holds a run.
pub fn occupied(path: &Path) -> Diagnostic {
    Diagnostic::error("E1006", format!("{} already holds a run", path.display()))
        .help("continue it with --resume, or name another folder with --out")
}

/// Constructs E1007: a seed program cannot be used.
pub fn seed(name: &str, cause: impl Display) -> Diagnostic {
    Diagnostic::error("E1007", format!("the seed program {name} cannot be used: {cause}"))
        .help("see `archc check` on it, or leave it out")
}

/// Constructs E1007 for a search without seed programs.
pub fn no_seeds() -> Diagnostic {
    Diagnostic::error("E1007", "there is no seed program to start from")
        .help("name a folder or files: `archc search seeds/`")
}

/// Constructs E1008: the settings differ from those of the run.
pub fn settings(what: &str) -> Diagnostic {
    Diagnostic::error("E1008", format!("the run was started with other settings: {what}"))
        .help("leave the setting out when resuming, or start a new run")
}

/// Constructs E1009: the log cannot be replayed, or a worker cannot start.
pub fn log(cause: impl Display) -> Diagnostic {
    Diagnostic::error("E1009", format!("the search cannot go on from its log (archc bug): {cause}"))
        .help("please report this with the run folder")
}

/// Constructs E1010: a report or program file cannot be written.
pub fn report(path: &Path, cause: impl Display) -> Diagnostic {
    Diagnostic::error("E1010", format!("cannot write {}: {cause}", path.display()))
        .help("make room or change the folder's rights, then run `archc report` again")
}

/// Constructs E1011: the folder contains foreign files.
pub fn strange(folder: &Path, file: &str) -> Diagnostic {
    Diagnostic::error("E1011", format!("{} holds other files: {}", folder.display(), file.escape_debug()))
        .help("name a folder that is empty or does not exist yet")
}

/// Constructs E1012: another program keeps the store locked.
pub fn busy(cause: impl Display) -> Diagnostic {
    Diagnostic::error("E1012", format!("the store of the run is locked by another program: {cause}"))
        .note("everything that was committed before is kept")
        .help("close the program that has `run.sqlite` open, then continue with --resume")
}

/// Constructs W1013: a seed file has several blocks, of which the last is searched.
pub fn several(file: &str, last: &str, others: &[String]) -> Diagnostic {
    let others: Vec<String> = others.iter().map(|name| format!("`{name}`")).collect();
    let message = format!("of {file} the last one, `{last}`, is searched; {} is not", others.join(", "));
    let note = Diagnostic::warning("W1013", message).help("put each program into a file of its own to search them all");
    Diagnostic { severity: Severity::Note, ..note }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_listed_once_and_explained() {
        let path = Path::new("runs/x");
        let made = [
            locked(path, "1"),
            folder(path, "open", "x"),
            write("x"),
            foreign(path, "x"),
            no_run(path),
            occupied(path),
            seed("a", "x"),
            settings("x"),
            log("x"),
            report(path, "x"),
            strange(path, "x"),
            busy("x"),
            several("x", "A", &["B".to_owned()]),
        ];
        let listed: Vec<_> = CODES.iter().map(|c| c.code).collect();
        assert_eq!(made.iter().map(|d| d.code).collect::<Vec<_>>(), listed);
        assert!(made.iter().all(|d| d.help.is_some() && d.is_error() == d.code.starts_with('E')));
        assert!(CODES.iter().all(|c| c.text.len() > 100 && !c.title.ends_with('.')));
    }
}
