//! Every program in `tests/accepted` is valid and has no diagnostics.

mod checked;

use checked::{check_text, root};
use std::fmt::Write as _;
use std::fs;

#[test]
fn right_programs_get_no_findings() {
    let mut said = String::new();
    let mut count = 0;
    for entry in fs::read_dir(root().join("tests/accepted")).expect("the folder is in the repository") {
        let path = entry.expect("a readable folder").path();
        let text = fs::read_to_string(&path).expect("a readable program");
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        count += 1;
        for finding in check_text(&text, &name) {
            let _ = writeln!(said, "{name}, line {}: {} {}", finding.line, finding.code, finding.message);
        }
    }
    assert!(count >= 8, "only {count} programs found");
    assert!(said.is_empty(), "\n{said}");
}
