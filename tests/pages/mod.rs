//! Documentation pages that tests write: each is compared with its generated text, or rewritten.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

/// Asserts that the page equals the result of `update`; with ARCHC_UPDATE_DOCS it is rewritten instead.
pub fn held(page: &str, update: impl FnOnce(&str) -> String) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _writing = ONE_AT_A_TIME.lock();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{page}: {e}"));
    let updated = update(&text);
    if std::env::var_os("ARCHC_UPDATE_DOCS").is_some() {
        return fs::write(&path, &updated).unwrap_or_else(|e| panic!("{page}: {e}"));
    }
    let line = updated.lines().zip(text.lines()).position(|(a, b)| a != b).map_or(0, |i| i + 1);
    assert!(updated == text, "{page}:{line} is out of date: run this test once with ARCHC_UPDATE_DOCS=1");
}

/// Replaces the text between the mark `<!-- name -->` and the next end mark.
pub fn filled(text: &str, name: &str, by: &str) -> String {
    let opening = format!("<!-- {name} -->\n");
    let start = text.find(&opening).unwrap_or_else(|| panic!("the page has no {opening}")) + opening.len();
    let end = start + text[start..].find("<!-- end -->").expect("every table has an end");
    format!("{}{by}{}", &text[..start], &text[end..])
}
