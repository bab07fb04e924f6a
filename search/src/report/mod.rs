//! Report as one self-contained HTML page. It reads the log (also while a search is writing it), and every text in it is escaped,
//! because programs and messages are arbitrary.
//!
//! From top to bottom: results, finals, anchors, methods, score against cost, progress, tasks, lineage, reliability, archive, drafts,
//! beliefs, programs, and every experiment. The established programs, with their numbers, are taken from [`crate::rank`] and never
//! computed here.

mod charts;
mod code;
mod experiments;
mod methods;
mod programs;
mod results;
mod sections;
mod trust;
mod words;

pub use words::{headline, place};

use crate::board::Board;
use crate::rank::{self, Ranking};
use crate::record::{CandidateId, Origin};
use crate::store::{self, History, STORE};
use crate::{codes, finals};
use archc_compiler::diag::Diagnostic;
use archc_page::Page;
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Writes `report.html` into a run folder; returns its path. The page is written to a temporary name and renamed, so that a full disk
/// never leaves a partial page.
///
/// # Errors
/// E1005 or E1004 if there is no readable run, E1010 if the page cannot be written.
pub fn write(folder: &Path) -> Result<PathBuf, Diagnostic> {
    let history = store::read(folder)?;
    let name = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let page = render(&name.file_name().unwrap_or_default().to_string_lossy(), began(folder), &history);
    let path = folder.join("report.html");
    let draft = folder.join("report.html.part");
    let written = fs::write(&draft, page).and_then(|()| fs::rename(&draft, &path));
    if let Err(e) = written {
        // A partial draft is useless; a failure to remove it is the lesser problem.
        let _ = fs::remove_file(&draft);
        return Err(codes::report(&path, e));
    }
    Ok(path)
}

/// Time of the run's first event, in milliseconds since 1970: the history contains only time spent.
fn began(folder: &Path) -> Option<i64> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(folder.join(STORE), flags).ok()?;
    db.query_row("SELECT min(at) FROM log", [], |row| row.get(0)).ok()?
}

/// Renders the page of a run that began at `began`, in milliseconds since 1970, if known.
pub fn render(run: &str, began: Option<i64>, history: &History) -> String {
    let view = View::of(run, began, history);
    let mut page = Page::open_document(&format!("{run} · archc search"));
    sections::header(&mut page, &view);
    results::finals(&mut page, &view);
    results::anchors(&mut page, &view);
    methods::methods(&mut page, &view);
    sections::front(&mut page, &view);
    sections::progress(&mut page, &view);
    sections::tasks(&mut page, &view);
    sections::lineage(&mut page, &view);
    trust::trust(&mut page, &view);
    sections::archive(&mut page, &view);
    sections::drafts(&mut page, &view);
    trust::beliefs(&mut page, &view);
    programs::programs(&mut page, &view);
    experiments::experiments(&mut page, &view);
    sections::footer(&mut page, &view);
    page.close_document(include_str!("page.js"))
}

/// Data of the page. The ranking is that of the current log, not of the end of a session.
struct View<'a> {
    run: &'a str,
    began: Option<i64>,
    history: &'a History,
    board: Board,
    ranking: Ranking,
    /// The finalists, or before the finals the programs with the largest corrected leads.
    leading: Vec<CandidateId>,
    /// The leading programs and their ancestors.
    kept: BTreeSet<CandidateId>,
    /// Programs with their own box.
    boxes: BTreeSet<CandidateId>,
}

/// Number of programs that represent the search before it has finalists.
const LEADING: usize = 3;

/// Number of programs with boxes in addition to the leading ones, their ancestors and the anchors.
const OTHERS: usize = 20;

impl<'a> View<'a> {
    fn of(run: &'a str, began: Option<i64>, history: &'a History) -> Self {
        let (board, ranking) = (Board::of(history), rank::rank(history));
        let proposed = |id: &CandidateId| history.candidate(*id).is_some_and(|c| c.origin == Origin::Proposed);
        let standing = || board.standing.iter().map(|s| s.id).filter(proposed);
        let leading: Vec<CandidateId> = match history.finals() {
            [] => standing().take(LEADING).collect(),
            _ => ranking.rows.iter().filter(|r| !r.anchor).map(|r| r.candidate).collect(),
        };
        let ancestors = leading.iter().flat_map(|&id| finals::lineage(history, id));
        let kept: BTreeSet<CandidateId> = leading.iter().copied().chain(ancestors).collect();
        let others = standing().filter(|id| !kept.contains(id)).take(OTHERS);
        let anchors = ranking.anchors.iter().map(|a| a.candidate);
        let mut boxes: BTreeSet<CandidateId> = kept.iter().copied().chain(others).chain(anchors).collect();
        // A run whose scores have another meaning still shows its programs.
        if words::foreign(history) {
            boxes.extend(history.candidates().iter().filter(|c| c.verdict.admitted()).map(|c| c.id).take(2 * OTHERS));
        }
        Self { run, began, history, board, ranking, leading, kept, boxes }
    }

    /// Name of the anchor that leads refer to.
    fn anchor(&self) -> String {
        self.ranking.fixed.map_or_else(|| "the anchor".to_owned(), |id| words::title(self.history, id))
    }
}

/// Name of a program that links to its box on the page.
fn link(page: &mut Page, history: &History, id: CandidateId) {
    page.element("a", &[("href", &format!("#{id}"))], words::title(history, id));
}

/// The text, or a dash.
fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}
