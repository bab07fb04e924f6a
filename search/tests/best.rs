//! The winners' files at the end of whole searches.

mod fake;

use archc_compiler::source::SourceMap;
use archc_compiler::{Options, compile};
use archc_search::{Budget, SearchOptions, Silent, Summary, run};
use fake::{FakeEvaluator, FakeScreen, seeds};
use std::fs;
use std::path::Path;

fn search(out: &Path, candidates: u32, resume: bool) -> Summary {
    // File names are arbitrary.
    let odd = |(name, text): (String, String)| (format!("a\r\n{name}\u{202e}"), text);
    let options = SearchOptions {
        seeds: if resume { Vec::new() } else { seeds().into_iter().map(odd).collect() },
        out: Some(out.to_owned()),
        resume,
        budget: Budget { candidates: Some(candidates), ..Budget::default() },
        seed: 3,
        jobs: 2,
        ..SearchOptions::default()
    };
    run(&options, &FakeScreen, &FakeEvaluator::default(), &mut Silent).unwrap()
}

#[test]
fn winners_are_programs_of_their_own_and_what_people_wrote_stays() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let first = search(&out, 24, false);
    assert!(!first.best.is_empty());
    for path in &first.best {
        let text = fs::read_to_string(path).unwrap();
        let mut sources = SourceMap::new();
        let file = sources.add("best.arch", text.as_str());
        let compiled = compile(&sources, file, &Options::default());
        assert!(!compiled.failed(), "{:?}\n{text}", compiled.diagnostics);
        assert_eq!(archc_grammar::format_source(&text).as_ref(), Ok(&text));
        let id = path.file_stem().unwrap().to_string_lossy().rsplit('-').next().unwrap().to_uppercase();
        let from = |seed: &str, file: &str| {
            text.starts_with(&format!("/// Derived from {seed} (a  {file}.arch\\u{{202e}}).\n///\n"))
                && text.contains(&format!("\nblock {seed}{id}[D]("))
        };
        assert!(from("First", "first") || from("Second", "second"), "{text}");
        assert!(text.contains("\n///\n/// The seed's description: A seed.\nblock "), "{text}");
    }
    let (noted, own) = (&first.best[0], out.join("best/by_hand.arch"));
    let notes = fs::read_to_string(noted).unwrap() + "// my notes\n";
    fs::write(noted, &notes).unwrap();
    fs::write(&own, "// mine\n").unwrap();
    let second = search(&out, 60, true);
    assert_eq!(fs::read_to_string(noted).unwrap(), notes);
    assert_eq!(fs::read_to_string(&own).unwrap(), "// mine\n");
    assert!(!second.best.contains(noted) && second.best.iter().all(|path| path.is_file()));
    // Besides those two and the list, the folder contains only the winners of the second end.
    assert_eq!(fs::read_dir(out.join("best")).unwrap().count(), second.best.len() + 3);
}
