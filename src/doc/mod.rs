//! `archc doc`: documentation of the language, the library and the codes, from the binary.

mod examples;
pub mod library;
mod reference;
mod words;

use crate::output::{Done, Output, Stop};
use crate::{Cli, codes, explain};
use archc_compiler::diag::Diagnostic;
use archc_compiler::hir::nearest;
use archc_compiler::stdlib;
use clap::CommandFactory;
use library::Item;
use reference::Section;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use words::Word;

/// Show what the language and its library have under a name
#[derive(clap::Args)]
#[command(after_help = "\
A name is a builtin or a keyword, a chapter of the reference of the language, a function, block, model or
module of the standard library, or a code. Case matters only where two names differ in nothing else.

Examples:
  archc doc                       what there is, in a line each
  archc doc scan                  a keyword: the section of the reference about it
  archc doc softmax               a builtin: its signature and its section
  archc doc axes-and-sizes        a chapter of the reference
  archc doc GLA                   a block of the library: comment, paper, how it runs, its text
  archc doc std::prelude::norms   a module of the library
  archc doc E0201                 a code, as `archc explain` does")]
pub struct Args {
    /// What to look up; without it everything is listed
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Named entity.
enum Entry {
    Word(Word),
    Section(Section),
    Module(&'static str),
    Item(&'static Item),
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let Some(name) = args.name.as_deref().map(str::trim) else {
        overview(output)?;
        return Ok(0);
    };
    match find(name) {
        Some(Entry::Word(word)) => show_word(&word, output)?,
        Some(Entry::Section(section)) => show_section(&section, output)?,
        Some(Entry::Module(module)) => show_module(module, output)?,
        Some(Entry::Item(item)) => show_item(item, output)?,
        None if explain::is_code(name) => return explain::one(name, output),
        None => return Err(unknown(name).into()),
    }
    Ok(0)
}

/// Whether the name is known and is not a code.
pub fn knows(name: &str) -> bool {
    find(name).is_some()
}

/// Entity of a name: an exact match, a match in another case, or the beginning of a chapter's title.
fn find(name: &str) -> Option<Entry> {
    let mut entries = entries();
    let slug = name.replace(' ', "-");
    let at = entries
        .iter()
        .position(|(known, _)| known == name)
        .or_else(|| entries.iter().position(|(known, _)| known.eq_ignore_ascii_case(name)))
        .or_else(|| entries.iter().position(|(known, _)| known.eq_ignore_ascii_case(&slug)))
        .or_else(|| begins(&entries, &slug.to_lowercase()))?;
    Some(entries.swap_remove(at).1)
}

/// The only chapter whose name begins with `start`; `train` is a command.
fn begins(entries: &[(String, Entry)], start: &str) -> Option<usize> {
    if Cli::command().find_subcommand(start).is_some() {
        return None;
    }
    let is_chapter = |(name, entry): &(String, Entry)| {
        matches!(entry, Entry::Section(_)) && start.len() > 2 && name.starts_with(start)
    };
    let mut found = entries.iter().enumerate().filter(|(_, entry)| is_chapter(entry));
    let first = found.next()?.0;
    found.next().is_none().then_some(first)
}

/// All entities by name; of two with the same name the first takes precedence.
fn entries() -> Vec<(String, Entry)> {
    let words = words::all().map(|word| (word.name().to_owned(), Entry::Word(word)));
    let sections = reference::sections().into_iter().map(|section| (section.slug(), Entry::Section(section)));
    let items = library::items().iter().map(|item| (item.name.clone(), Entry::Item(item)));
    let paths = library::items().iter().map(|item| (item.path(), Entry::Item(item)));
    let modules = modules().into_iter().flat_map(|module| {
        let short = module.rsplit("::").next().unwrap_or(module);
        [(module.to_owned(), Entry::Module(module)), (short.to_owned(), Entry::Module(module))]
    });
    words.chain(sections).chain(items).chain(paths).chain(modules).collect()
}

/// Folders and files of the library.
fn modules() -> Vec<&'static str> {
    let mut modules: Vec<&str> =
        ["std::prelude"].into_iter().chain(stdlib::FILES.iter().map(|file| file.module)).collect();
    modules.dedup();
    modules
}

/// Whether a module is `outer` or inside it.
fn is_in(module: &str, outer: &str) -> bool {
    module.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn unknown(name: &str) -> Diagnostic {
    let error = Diagnostic::error("E0870", format!("nothing is called `{name}`"));
    if let Some(command) = Cli::command().find_subcommand(name) {
        return error.help(format!("it is a command: `archc {} --help`", command.get_name()));
    }
    let near = near(name);
    if near.is_empty() {
        return error.help("`archc doc` lists everything");
    }
    let shown: Vec<String> = near.iter().map(|name| format!("`archc doc {name}`")).collect();
    error.help(format!("did you mean {}?", shown.join(", ")))
}

/// Suggestions for an unknown name: names with a similar spelling, names that contain the word, and items whose first
/// sentence contains it.
fn near(name: &str) -> Vec<String> {
    let names: Vec<String> = entries().into_iter().map(|(name, _)| name).collect();
    let word = name.rsplit("::").next().unwrap_or(name).to_lowercase();
    let spelled = [nearest(name, names.iter().map(String::as_str)), nearest(&word, names.iter().map(String::as_str))];
    let mut found: Vec<String> = spelled.into_iter().flatten().map(str::to_owned).collect();
    if word.len() > 2 {
        let holds = |text: &str| text.to_lowercase().contains(&word);
        found.extend(names.into_iter().filter(|known| !known.contains("::") && holds(known)));
        found
            .extend(library::items().iter().filter(|item| holds(&item.first_sentence())).map(|item| item.name.clone()));
    }
    let mut seen = BTreeSet::new();
    found.retain(|name| seen.insert(name.clone()));
    found.truncate(4);
    found
}

// ---- one entity

fn show_word(word: &Word, output: &Output) -> Result<(), Stop> {
    let kind = if word.builtin { "builtin" } else { "keyword" };
    let section = reference::section(word.section).map(|s| s.printed()).unwrap_or_default();
    output.object(
        "doc",
        json!({
            "type": kind, "name": word.name(), "signature": word.signature, "title": word.text,
            "section": word.section, "text": section,
        }),
    )?;
    output.text(&format!("{}\n    {kind}: {}\n\n{section}", word.signature, word.text))
}

fn show_section(section: &Section, output: &Output) -> Result<(), Stop> {
    let text = section.printed();
    output.object("doc", json!({ "type": "chapter", "name": section.slug(), "title": section.title, "text": text }))?;
    output.text(&text)
}

fn show_module(module: &str, output: &Output) -> Result<(), Stop> {
    let items = library::items();
    let inside: Vec<&Item> = items.iter().filter(|item| is_in(item.module, module)).collect();
    if output.is_json() {
        return inside.iter().try_for_each(|item| listed(item, output));
    }
    let mut text = String::new();
    for (index, file) in stdlib::FILES.iter().enumerate().filter(|(_, file)| is_in(file.module, module)) {
        let _ = write!(text, "{}  ({})\n{}\n\n", file.module, file.path, library::about(file));
        text.push_str(&rows(&inside, index));
        text.push('\n');
    }
    text.push_str("`archc doc NAME` shows one of them.\n");
    output.text(&text)
}

/// Prints an item of a list as JSON.
fn listed(item: &Item, output: &Output) -> Result<(), Stop> {
    output.object(
        "doc",
        json!({ "type": "item", "name": item.path(), "signature": item.signature, "title": item.first_sentence() }),
    )
}

/// Items of a file, one line each.
fn rows(items: &[&Item], file: usize) -> String {
    let rows = items.iter().filter(|item| item.file == file);
    rows.map(|item| row(&item.name, &item.first_sentence())).collect()
}

/// Name with a one-line description, truncated at the width of a terminal.
fn row(name: &str, about: &str) -> String {
    const WIDTH: usize = 110;
    let head = format!("  {name:<22} ");
    let room = WIDTH.saturating_sub(head.chars().count());
    if about.chars().count() <= room {
        return format!("{head}{about}").trim_end().to_owned() + "\n";
    }
    let cut: String = about.chars().take(room - 2).collect();
    let whole = cut.rfind(' ').map_or(cut.as_str(), |end| &cut[..end]);
    format!("{head}{} ..\n", whole.trim_end_matches([',', ':', ';', ' ']))
}

fn show_item(item: &Item, output: &Output) -> Result<(), Stop> {
    let (file, first, last) = item.place();
    let runs = library::runs(item);
    output.object(
        "doc",
        json!({
            "type": "item", "name": item.path(), "signature": item.signature, "comment": item.docs.join("\n"),
            "cites": item.cites, "runs": runs, "file": file, "lines": [first, last], "text": item.text,
        }),
    )?;
    let mut text = format!("{}\n\n", item.signature);
    for line in &item.docs {
        let _ = writeln!(text, "    {line}");
    }
    text.push('\n');
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<7} {value}");
    };
    for cite in &item.cites {
        field("paper", cite);
    }
    for (i, line) in runs.iter().enumerate() {
        field(if i == 0 { "runs" } else { "" }, line);
    }
    let lines = if first == last { format!("line {first}") } else { format!("lines {first} to {last}") };
    field("from", &format!("{file}, {lines}"));
    if item.module.starts_with("std::prelude") {
        field("use", "in sight everywhere");
    } else if !item.is_fn() && item.module != "std::stack" {
        let train = if item.trains() { format!(", or `archc train {}`", item.path()) } else { String::new() };
        field("use", &format!("use {}::{{{}}}{train}", item.module, item.name));
    }
    let _ = write!(text, "\n{}\n", item.text);
    output.text(&text)
}

// ---- everything

/// Meaning of the two digits after the letter of a code.
const GROUPS: &[(&str, &str)] = &[
    ("00", "spelling"),
    ("01", "names"),
    ("02", "axes and sizes"),
    ("03", "statements"),
    ("04", "time"),
    ("05", "parameters"),
    ("06", "the flow of data"),
    ("07", "ranges"),
    ("08", "running, files, commands"),
    ("09", "training and data"),
    ("10", "search"),
];

fn overview(output: &Output) -> Result<(), Stop> {
    let (sections, words, items) = (reference::sections(), words::all().collect::<Vec<_>>(), library::items());
    if output.is_json() {
        for section in &sections {
            output.object("doc", json!({ "type": "chapter", "name": section.slug(), "title": section.title }))?;
        }
        for word in &words {
            let kind = if word.builtin { "builtin" } else { "keyword" };
            let named = json!({ "type": kind, "name": word.name(), "signature": word.signature, "title": word.text });
            output.object("doc", named)?;
        }
        items.iter().try_for_each(|item| listed(item, output))?;
        return codes::all().iter().try_for_each(|code| {
            output.object("doc", json!({ "type": "code", "name": code.code, "title": code.title }))
        });
    }
    let mut text = String::from("`archc doc NAME` shows any of these.\n\nThe language\n");
    for section in &sections {
        let about = section.first_sentence();
        let name = format!("{}{}", "  ".repeat(section.level - 2), section.slug());
        text.push_str(&row(&name, if about.is_empty() { section.title } else { &about }));
    }
    for (title, builtin) in [("Builtins", true), ("Keywords", false)] {
        let _ = write!(text, "\n{title}\n{}", by_section(&words, builtin));
    }
    let all: Vec<&Item> = items.iter().collect();
    for (index, file) in stdlib::FILES.iter().enumerate() {
        let _ = write!(text, "\n{}  ({})\n{}", file.module, file.path, rows(&all, index));
    }
    let _ = write!(text, "\nCodes (`archc explain` lists them)\n{}", groups());
    output.text(&text)
}

/// Words of each section, one line each.
fn by_section(words: &[Word], builtin: bool) -> String {
    let mut lines: Vec<(&str, Vec<&str>)> = Vec::new();
    for word in words.iter().filter(|word| word.builtin == builtin) {
        match lines.iter_mut().find(|(section, _)| *section == word.section) {
            Some((_, names)) => names.push(word.name()),
            None => lines.push((word.section, vec![word.name()])),
        }
    }
    lines.iter().fold(String::new(), |text, (section, names)| text + &wrapped(section, names))
}

/// Name with words beside it, wrapped over several lines.
fn wrapped(name: &str, words: &[&str]) -> String {
    const WIDTH: usize = 110;
    let mut text = format!("  {name:<22}");
    let mut length = text.len();
    for word in words {
        if length + 1 + word.len() > WIDTH {
            let _ = write!(text, "\n  {:<22}", "");
            length = 24;
        }
        let _ = write!(text, " {word}");
        length += 1 + word.len();
    }
    text + "\n"
}

/// Codes of each group, one line each.
fn groups() -> String {
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for code in codes::all() {
        found.entry(code.code[1..3].to_owned()).or_default().push(code.code);
    }
    let line = |(digits, codes): (&String, &Vec<&str>)| {
        let about = GROUPS.iter().find(|(group, _)| group == digits).map_or("", |(_, about)| about);
        let warnings = codes.iter().filter(|code| code.starts_with('W')).count();
        let errors = codes.len() - warnings;
        row(&format!("E{digits}.., W{digits}.."), &format!("{about}: {errors} errors, {warnings} warnings"))
    };
    found.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_of_codes_has_a_name() {
        for code in codes::all() {
            assert!(GROUPS.iter().any(|(group, _)| *group == &code.code[1..3]), "{} has no group", code.code);
        }
    }

    #[test]
    fn names_mean_what_is_nearest_to_them() {
        assert!(matches!(find("scan"), Some(Entry::Word(w)) if w.section == "scan"));
        assert!(matches!(find("attention"), Some(Entry::Item(i)) if i.is_fn()));
        assert!(matches!(find("Attention"), Some(Entry::Item(i)) if !i.is_fn()));
        assert!(matches!(find("gla"), Some(Entry::Item(i)) if i.name == "GLA"));
        assert!(matches!(find("std::mixers::GLA"), Some(Entry::Item(i)) if i.name == "GLA"));
        assert!(matches!(find("Axes and sizes"), Some(Entry::Section(s)) if s.title == "Axes and sizes"));
        assert!(matches!(find("axes"), Some(Entry::Section(s)) if s.title == "Axes and sizes"));
        assert!(matches!(find("mixers"), Some(Entry::Module("std::mixers"))));
        assert!(matches!(find("std"), Some(Entry::Word(_))), "the deviation");
        assert!(find("E0201").is_none() && find("").is_none() && find("the").is_none());
    }
}
