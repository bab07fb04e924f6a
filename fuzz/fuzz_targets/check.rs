//! Compiler front end on arbitrary text: it returns a graph or diagnostics, and never panics.

#![no_main]

use archc_compiler::source::SourceMap;
use archc_compiler::{Options, compile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut sources = SourceMap::new();
    let file = sources.add("fuzz.arch", text);
    let result = compile(&sources, file, &Options::default());
    assert!(result.graph.is_some() || !result.diagnostics.is_empty(), "neither a graph nor a finding");
});
