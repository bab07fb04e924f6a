//! Source texts, provided by the caller. The compiler reads no files.
//!
//! Every map starts with the texts of the standard library, which is embedded, at the same ids.

use crate::stdlib;
use archc_grammar::Span;
use serde::Serialize;
use std::borrow::Cow;

/// One text of a [`SourceMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct FileId(pub u32);

/// A span in one of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The text.
    pub file: FileId,
    /// Span inside of it.
    pub span: Span,
}

/// A named text.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Shown in diagnostics: a path.
    pub name: String,
    /// The whole text.
    pub text: Cow<'static, str>,
}

/// The texts of one compilation: the standard library, the user's file, the files it uses.
///
/// `use self::other::{A}` in the file `dir/a.arch` means the text named `dir/other.arch`.
#[derive(Clone, Debug)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl Default for SourceMap {
    fn default() -> Self {
        Self::new()
    }
}

impl SourceMap {
    /// A map with the standard library only.
    pub fn new() -> Self {
        let std = stdlib::FILES.iter().map(|f| SourceFile { name: f.path.into(), text: Cow::Borrowed(f.text) });
        Self { files: std.collect() }
    }

    /// Adds a text.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> FileId {
        self.files.push(SourceFile { name: name.into(), text: Cow::Owned(text.into()) });
        FileId(self.files.len() as u32 - 1)
    }

    /// The text behind an id.
    pub fn file(&self, id: FileId) -> &SourceFile {
        &self.files[id.0 as usize]
    }

    /// The user's text with this name.
    pub fn find(&self, name: &str) -> Option<FileId> {
        self.user_files().find(|(_, file)| file.name == name).map(|(id, _)| id)
    }

    /// All texts but the standard library's, in order of addition.
    pub fn user_files(&self) -> impl Iterator<Item = (FileId, &SourceFile)> {
        self.files.iter().enumerate().skip(stdlib::FILES.len()).map(|(i, f)| (FileId(i as u32), f))
    }

    /// The text at a place; empty if the place is outside the file.
    pub fn text(&self, place: Place) -> &str {
        let text = &self.file(place.file).text;
        text.get(place.span.start as usize..place.span.end as usize).unwrap_or("")
    }
}

/// Name of the text to which `use self::<module>` refers in the file named `from`.
pub fn sibling(from: &str, module: &str) -> String {
    match from.rfind(['/', '\\']) {
        Some(i) => format!("{}{module}.arch", &from[..=i]),
        None => format!("{module}.arch"),
    }
}
