//! Diagnostics for people (rustc's layout, by annotate-snippets) and for programs (JSON).

use super::{Diagnostic, Label, Severity};
use crate::source::{Place, SourceMap};
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

/// Text for a terminal; `color` adds ANSI styles. Ends with a newline.
pub fn render(diagnostic: &Diagnostic, sources: &SourceMap, color: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()).id(diagnostic.code));
    let labels: Vec<(&Label, AnnotationKind)> = diagnostic
        .primary
        .iter()
        .map(|l| (l, AnnotationKind::Primary))
        .chain(diagnostic.labels.iter().map(|l| (l, AnnotationKind::Context)))
        .collect();
    let mut files = Vec::new();
    for (label, _) in &labels {
        if !files.contains(&label.place.file) {
            files.push(label.place.file);
        }
    }
    for file in files {
        let source = sources.file(file);
        let mut snippet = Snippet::source(source.text.as_ref()).path(source.name.as_str());
        for (label, kind) in labels.iter().filter(|(l, _)| l.place.file == file) {
            let annotation = kind.span(clamped(label.place, &source.text));
            snippet = snippet.annotation(if label.text.is_empty() {
                annotation
            } else {
                annotation.label(label.text.as_str())
            });
        }
        group = group.element(snippet);
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(note.as_str()));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = if color { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Ascii);
    let mut text = renderer.render(&[group]);
    text.push('\n');
    text
}

/// Span of a place, moved onto character boundaries of the text.
fn clamped(place: Place, text: &str) -> std::ops::Range<usize> {
    let boundary = |mut i: usize| {
        i = i.min(text.len());
        while !text.is_char_boundary(i) {
            i -= 1;
        }
        i
    };
    let start = boundary(place.span.start as usize);
    start..boundary(place.span.end as usize).max(start)
}

/// One JSON object: code, severity, message, file, byte and line/column places, labels, notes, help.
pub fn to_json(diagnostic: &Diagnostic, sources: &SourceMap) -> Value {
    let label = |l: &Label| {
        let file = sources.file(l.place.file);
        let span = clamped(l.place, &file.text);
        let (line, column) = line_column(&file.text, span.start);
        let (end_line, end_column) = line_column(&file.text, span.end);
        json!({
            "file": file.name, "start": span.start, "end": span.end, "line": line, "column": column,
            "end_line": end_line, "end_column": end_column, "text": l.text,
        })
    };
    json!({
        "code": diagnostic.code,
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "primary": diagnostic.primary.as_ref().map(label),
        "labels": diagnostic.labels.iter().map(label).collect::<Vec<_>>(),
        "notes": diagnostic.notes,
        "help": diagnostic.help,
    })
}

/// Line and column of a byte, both from 1, columns in characters.
pub fn line_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    (line, before[start..].chars().count() + 1)
}
