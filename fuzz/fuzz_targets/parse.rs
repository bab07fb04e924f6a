//! Parser on arbitrary text: it never panics, its spans lie on character boundaries, and a file parsed without errors
//! prints to a text that parses to the same tree.

#![no_main]

use archc_grammar::edit::erase_spans;
use archc_grammar::{format, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let parsed = parse(text);
    for error in &parsed.errors {
        assert!(text.get(error.span.start as usize..error.span.end as usize).is_some(), "{error:?}");
    }
    if !parsed.errors.is_empty() {
        return;
    }
    let printed = format(&parsed.file);
    let again = parse(&printed);
    assert_eq!(again.errors, []);
    let (mut one, mut two) = (parsed.file, again.file);
    erase_spans(&mut one);
    erase_spans(&mut two);
    assert_eq!(one, two);
});
