//! Checks README.md against the binary: the output of its commands, the existence of everything it names, and that its
//! programs are formatted files of the repository.
//!
//! A block whose first line begins with `$` shows a command and what it prints; a line `...` stands for any lines. A
//! block marked `sh` shows commands alone. A comment on the line before relaxes the check: `<!-- numbers vary: WHY -->`
//! compares words, not numbers; `<!-- not run: WHY -->` only checks that command and options exist.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("README.md")
}

/// Strictness of the check of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Everything,
    Words,
    Names,
}

/// Fenced block.
struct Block {
    line: usize,
    language: String,
    asked: Asked,
    text: String,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut before = "";
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let asked = match before {
                _ if before.starts_with("<!-- numbers vary: ") => Asked::Words,
                _ if before.starts_with("<!-- not run: ") => Asked::Names,
                _ => Asked::Everything,
            };
            let body = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
            let text = body.fold(String::new(), |text, line| text + line + "\n");
            blocks.push(Block { line: number + 1, language: language.to_owned(), asked, text });
        }
        before = line;
    }
    blocks
}

/// Command as written, and its expected output.
struct Shown {
    line: usize,
    asked: Asked,
    words: Vec<String>,
    output: Option<String>,
}

/// Commands of archc in a block; `cargo run --release -- search` is one too.
fn commands(block: &Block) -> Vec<Shown> {
    let joined = block.text.replace("\\\n", " ");
    let shown = |line: &str, output| {
        let line = line.split('#').next().unwrap_or_default().replace("cargo run --release --", "archc");
        let mut words = line.split_whitespace().map(str::to_owned);
        (words.next()? == "archc").then(|| Shown {
            line: block.line,
            asked: block.asked,
            words: words.collect(),
            output,
        })
    };
    if block.language == "sh" {
        return joined.lines().filter_map(|line| shown(line, None)).collect();
    }
    let sessions = format!("\n{joined}");
    let sessions = sessions.split("\n$ ").skip(1).filter_map(|session| session.split_once('\n'));
    sessions.filter_map(|(line, output)| shown(line, Some(output.to_owned()))).collect()
}

fn all_commands() -> Vec<Shown> {
    blocks(&readme()).iter().flat_map(commands).collect()
}

/// Writable folder with links to the repository's folders.
fn surroundings() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder for the test");
    for name in ["docs", "examples", "seeds", "stdlib", "tests"] {
        #[cfg(unix)]
        std::os::unix::fs::symlink(root().join(name), folder.path().join(name)).expect("a link");
    }
    folder
}

fn archc(words: &[String], folder: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_archc"));
    // as a terminal shows them: both streams, in the order of writing
    let (mut both, to) = std::io::pipe().expect("a pipe");
    command.stdout(to.try_clone().expect("a pipe")).stderr(to);
    let mut run = command.args(words).current_dir(folder).stdin(Stdio::null()).spawn().expect("archc starts");
    drop(command);
    let mut text = String::new();
    both.read_to_string(&mut text).expect("UTF-8");
    (run.wait().expect("archc ends").code(), text)
}

/// Replaces the numbers and hashes of a text, and reduces runs of spaces to one.
fn without_numbers(text: &str) -> String {
    let word = |word: &str| {
        if word.len() >= 16 && word.bytes().all(|b| b.is_ascii_hexdigit()) {
            return "#".to_owned();
        }
        let mut out = String::new();
        for c in word.chars() {
            match (c, out.chars().last()) {
                ('0'..='9', Some('#')) | ('.' | ',', Some('#')) => {}
                ('0'..='9', _) => out.push('#'),
                _ => out.push(c),
            }
        }
        out
    };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn lines(text: &str) -> Vec<&str> {
    text.trim_end().lines().map(str::trim_end).collect()
}

/// Whether the lines match the expected ones, in which `...` stands for any lines.
fn matches(expected: &[&str], found: &[&str]) -> bool {
    match expected.split_first() {
        None => found.is_empty(),
        Some((first, rest)) if first.trim() == "..." => (0..=found.len()).any(|i| matches(rest, &found[i..])),
        Some((first, rest)) => found.first() == Some(first) && matches(rest, &found[1..]),
    }
}

#[test]
#[cfg_attr(not(unix), ignore = "needs links to folders")]
fn commands_print_what_readme_shows() {
    let mut shown = 0;
    for command in all_commands().iter().filter(|command| command.asked != Asked::Names) {
        let folder = surroundings();
        let (code, found) = archc(&command.words, folder.path());
        let place = format!("README.md:{}: archc {}", command.line, command.words.join(" "));
        let Some(expected) = &command.output else {
            assert_eq!(code, Some(0), "{place}\n{found}");
            continue;
        };
        let form = |text: &str| if command.asked == Asked::Words { without_numbers(text) } else { text.to_owned() };
        let (expected, found) = (form(expected), form(&found));
        let same = matches(&lines(&expected), &lines(&found));
        assert!(same, "{place}\nREADME has:\n{expected}\nit printed:\n{found}");
        shown += 1;
    }
    assert!(shown >= 6, "only {shown} outputs in README.md: have its blocks changed?");
}

/// Help text of a command, run once.
fn help(words: &[&str]) -> Option<String> {
    thread_local!(static KNOWN: RefCell<BTreeMap<String, Option<String>>> = const { RefCell::new(BTreeMap::new()) });
    let asked = words.join(" ");
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&asked).cloned()) {
        return known;
    }
    let mut args: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    args.push("--help".into());
    let (code, text) = archc(&args, root());
    let text = (code == Some(0)).then_some(text);
    KNOWN.with_borrow_mut(|known| known.insert(asked, text.clone()));
    text
}

/// Whether a word is a placeholder: `FILE`, `[NAME]`.
fn is_placeholder(word: &str) -> bool {
    !word.chars().any(|c| c.is_ascii_lowercase()) || word.starts_with('[')
}

/// Error in a command: an unknown name or an unknown option.
fn wrong_in(words: &[String]) -> Option<String> {
    let mut path: Vec<&str> = Vec::new();
    let mut text = help(&path)?;
    for word in
        words.iter().map(String::as_str).take_while(|word| !word.starts_with('-') && !is_placeholder(word)).take(2)
    {
        path.push(word);
        match help(&path).filter(|_| path.len() == 1 || text.contains(&format!("\n  {word} "))) {
            Some(deeper) => text = deeper,
            None if path.len() == 1 => return Some(format!("there is no command `{word}`")),
            None => break,
        }
    }
    let known = |option: &str| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|w| w == option);
    let options = words.iter().filter(|word| word.starts_with("--") && word.len() > 2);
    let options = options.map(|word| word.split('=').next().unwrap_or(word));
    options.filter(|option| !known(option)).map(|option| format!("`archc {}` has no {option}", path.join(" "))).next()
}

/// Text outside of blocks, and the code between backticks.
fn prose(text: &str) -> (String, Vec<String>) {
    let mut prose = String::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            prose += &format!("{line}\n");
        }
    }
    let plain = prose.split('`').step_by(2).collect();
    let code = prose.split('`').skip(1).step_by(2);
    (plain, code.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
}

#[test]
fn every_command_that_readme_names_exists() {
    let mut commands: Vec<Vec<String>> = all_commands().into_iter().map(|command| command.words).collect();
    for span in prose(&readme()).1 {
        if let Some(words) = span.strip_prefix("archc ") {
            // `bench train\|scaling`: a choice in a table
            let choices = words.replace("\\|", "|");
            commands.push(
                choices.split_whitespace().map(|word| word.split('|').next().unwrap_or(word).to_owned()).collect(),
            );
        }
    }
    assert!(commands.len() > 20, "only {} commands found", commands.len());
    let wrong: Vec<String> = commands.iter().filter_map(|words| wrong_in(words)).collect();
    assert!(wrong.is_empty(), "README.md: {wrong:#?}");
    assert!(wrong_in(&["serach".into()]).is_some() && wrong_in(&["check".into(), "--verbos".into()]).is_some());
}

#[test]
fn every_file_that_readme_names_exists() {
    let (plain, code) = prose(&readme());
    let links = plain.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned());
    let links = links.filter(|target| !target.starts_with("http") && !target.starts_with('#'));
    let is_path = |span: &String| {
        let of_path = span.chars().all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c));
        of_path && (span.contains('/') && !span.starts_with("runs/") || span.ends_with(".arch"))
    };
    let spans = code.into_iter().filter(is_path);
    let words = all_commands().into_iter().flat_map(|command| command.words);
    let programs = words.filter(|word| word.ends_with(".arch") || word.starts_with("seeds/"));
    let named: Vec<String> = links.chain(spans).chain(programs).collect();
    assert!(named.len() > 15, "{named:?}");
    let missing: Vec<&String> = named.iter().filter(|path| !root().join(path.as_str()).exists()).collect();
    assert!(missing.is_empty(), "README.md names {missing:?}");
}

#[test]
fn pictures_are_small() {
    let pictures = std::fs::read_dir(root().join("docs/pictures")).expect("docs/pictures");
    for picture in pictures.map(|entry| entry.expect("a readable folder")) {
        assert!(picture.metadata().expect("a file").len() < 200_000, "{}", picture.path().display());
    }
}

#[test]
fn programs_are_files_of_the_repository_and_formatted() {
    let text = readme();
    let mut seen = 0;
    for block in blocks(&text).iter().filter(|block| block.language == "arch") {
        let formatted = archc_grammar::format_source(&block.text).expect("a program");
        assert_eq!(formatted, block.text, "README.md:{}: run `archc fmt`", block.line);
        let before = text.lines().take(block.line - 1).collect::<Vec<_>>().join("\n");
        let link = before.rsplit("](").next().and_then(|rest| rest.split_once(')')).expect("a link to the file").0;
        let file = std::fs::read_to_string(root().join(link)).expect("the file of a program");
        assert!(file.ends_with(&block.text), "README.md:{}: {link} has another program", block.line);
        seen += 1;
    }
    assert!(seen > 0, "README.md shows no program");
    assert!(!text.contains("```\nblock ") && !text.contains("```\n///"), "a program is marked `arch`");
}
