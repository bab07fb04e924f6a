//! Random texts through the whole front end: parser, checker, formatter. Bounded in time, so that it belongs to the
//! suite; `fuzz/` holds the targets that run for hours.
//!
//! The texts are shipped programs with tokens dropped, doubled, swapped, or taken from another program: close enough to
//! valid programs to reach the checker, and wrong in unanticipated ways.

mod shipped;

use archc_compiler::diag::{render, to_json};
use archc_compiler::source::SourceMap;
use archc_compiler::{Options, Sizes, compile};
use archc_grammar::{format_source, parse};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;
use std::sync::LazyLock;

static PROGRAMS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let all = ["seeds", "examples", "tests/broken"].into_iter().flat_map(shipped::files);
    all.map(|path| std::fs::read_to_string(path).expect("a readable program")).collect()
});

/// Splits a text into words, numbers and single characters; white space stays with the token before it.
fn tokens(text: &str) -> Vec<&str> {
    let kind = |c: char| (c.is_alphanumeric() || c == '_', c.is_whitespace());
    let mut cuts = vec![0];
    let mut last = (false, true);
    for (at, c) in text.char_indices() {
        let now = kind(c);
        let inside = now.1 || now.0 && last.0;
        if !inside && at > 0 {
            cuts.push(at);
        }
        last = now;
    }
    cuts.push(text.len());
    cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect()
}

#[derive(Clone, Debug)]
enum Edit {
    Drop(Index),
    Double(Index),
    Swap(Index, Index),
    Borrow(Index, Index, Index),
    Cut(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let i = any::<Index>;
    prop_oneof![
        4 => i().prop_map(Edit::Drop),
        2 => i().prop_map(Edit::Double),
        3 => (i(), i()).prop_map(|(a, b)| Edit::Swap(a, b)),
        6 => (i(), i(), i()).prop_map(|(a, b, c)| Edit::Borrow(a, b, c)),
        1 => i().prop_map(Edit::Cut),
    ]
}

fn edited(text: &str, edits: &[Edit]) -> String {
    let mut tokens: Vec<&str> = tokens(text);
    for edit in edits {
        if tokens.is_empty() {
            break;
        }
        let n = tokens.len();
        match edit {
            Edit::Drop(at) => drop(tokens.remove(at.index(n))),
            Edit::Double(at) => tokens.insert(at.index(n), tokens[at.index(n)]),
            Edit::Swap(a, b) => tokens.swap(a.index(n), b.index(n)),
            Edit::Borrow(at, program, from) => {
                let other = self::tokens(&PROGRAMS[program.index(PROGRAMS.len())]);
                if !other.is_empty() {
                    tokens[at.index(n)] = other[from.index(other.len())];
                }
            }
            Edit::Cut(at) => tokens.truncate(at.index(n)),
        }
    }
    tokens.concat()
}

proptest! {
    // About ten seconds in a debug build.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases * 75 / 32,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_text_breaks_the_front(
        program in any::<Index>(),
        edits in proptest::collection::vec(edit(), 1..5),
        width in prop_oneof![Just(64.0), Just(6.0), Just(1.0)],
        layers in prop_oneof![3 => Just(None), 1 => Just(Some(1usize))],
    ) {
        let text = edited(&PROGRAMS[program.index(PROGRAMS.len())], &edits);
        let mut sources = SourceMap::new();
        let file = sources.add("fuzz.arch", text.as_str());
        let parsed = parse(&text);
        let block = archc_compiler::hir::Library::load(&sources, file).0.user_module(file).and_then(|module| {
            let target = archc_compiler::targets(&module).last().copied()?;
            Some(module.callables[target.index as usize].name.name.clone())
        });
        let sizes = Sizes { set: [("D".to_owned(), width)].into(), vocab: 16, layers };
        // A crash anywhere below is a failure.
        let compilation = compile(&sources, file, &Options { block, sizes });
        prop_assert!(compilation.graph.is_some() || compilation.diagnostics.iter().any(|d| d.is_error()),
            "no graph and no error:\n{}", text);
        for diagnostic in &compilation.diagnostics {
            prop_assert!(!render(diagnostic, &sources, false).is_empty());
            to_json(diagnostic, &sources);
        }
        if parsed.errors.is_empty() {
            let printed = format_source(&text).map_err(|e| TestCaseError::fail(format!("{e:?}\n{text}")))?;
            let again = format_source(&printed);
            prop_assert_eq!(again.as_ref(), Ok(&printed), "formatted twice:\n{}", text);
        }
    }
}
