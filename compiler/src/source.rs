//! Source texts, handed over by whoever read them. The compiler reads no files.

use archc_grammar::Span;
use serde::Serialize;

/// One text of a [`SourceMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct FileId(pub u32);

/// A span in one of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Which text.
    pub file: FileId,
    /// Where in it.
    pub span: Span,
}

/// A named text.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Shown in diagnostics: a path, or `std::mixers`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// The texts of one compilation: the user's file, the files it uses, the standard library.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> FileId {
        self.files.push(SourceFile { name: name.into(), text: text.into() });
        FileId(self.files.len() as u32 - 1)
    }

    /// The text behind an id.
    pub fn file(&self, id: FileId) -> &SourceFile {
        &self.files[id.0 as usize]
    }

    /// The text with this name.
    pub fn find(&self, name: &str) -> Option<FileId> {
        self.files.iter().position(|f| f.name == name).map(|i| FileId(i as u32))
    }

    /// All texts, in the order they were added.
    pub fn files(&self) -> impl Iterator<Item = (FileId, &SourceFile)> {
        self.files.iter().enumerate().map(|(i, f)| (FileId(i as u32), f))
    }

    /// The text at a place; empty where the place is not inside the file.
    pub fn text(&self, place: Place) -> &str {
        let text = &self.file(place.file).text;
        text.get(place.span.start as usize..place.span.end as usize).unwrap_or("")
    }
}
