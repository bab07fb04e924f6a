//! The report: one page that stands alone, is well-formed, and lets nothing through unescaped.

mod fake;

use archc_search::{Budget, SearchOptions, Silent, report, run};
use fake::{FakeEvaluator, FakeScreen, seeds};
use std::path::Path;

fn search(folder: &Path, candidates: u32) {
    let mut seeds = seeds();
    seeds[0].1 = seeds[0].1.replace("A seed.", "</pre><script>alert('1')</script> & \"more\"");
    let options = SearchOptions {
        seeds,
        out: Some(folder.to_owned()),
        budget: Budget { candidates: Some(candidates), ..Budget::default() },
        seed: 3,
        jobs: 2,
        ..SearchOptions::default()
    };
    run(&options, &FakeScreen, &FakeEvaluator::default(), &mut Silent).unwrap();
}

/// Tags must nest, attributes be quoted, ids be unique; content of style and script is not markup.
fn check_well_formed(page: &str) -> usize {
    const VOID: [&str; 4] = ["meta", "input", "br", "!doctype"];
    let mut open: Vec<&str> = Vec::new();
    let mut ids = std::collections::BTreeSet::new();
    let mut rest = page;
    let mut count = 0;
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        assert!(!text.contains('>'), "a bare > in {text:?}");
        let end = at + rest[at..].find('>').expect("a tag that ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        count += 1;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "</{name}> closes something else");
            continue;
        }
        let name = tag.split_whitespace().next().unwrap();
        assert_eq!(tag.matches('"').count() % 2, 0, "unbalanced quotes in <{tag}>");
        if let Some((_, id)) = tag.split_once(" id=\"") {
            assert!(ids.insert(id.split('"').next().unwrap().to_owned()), "the id in <{tag}> is there twice");
        }
        if !VOID.contains(&name) {
            open.push(name);
        }
        if name == "style" || name == "script" {
            rest = &rest[rest.find(&format!("</{name}>")).unwrap()..];
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    count
}

#[test]
fn it_is_one_sound_page() {
    let dir = tempfile::tempdir().unwrap();
    search(dir.path(), 60);
    let path = report::write(dir.path()).unwrap();
    assert_eq!(path, dir.path().join("report.html"));
    let page = std::fs::read_to_string(path).unwrap();
    assert!(check_well_formed(&page) > 500);
    // Text from programs and tasks is text: the seed's doc comment carries a script, one task is called `text <b>`.
    assert_eq!(page.matches("<script").count(), 1);
    assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;more&quot;"));
    assert!(page.contains("text &lt;b&gt;") && !page.contains("<b>\n"));
    // It needs nothing but itself.
    for outside in ["http:", "https:", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    for section in ["ranking", "progress", "lineage", "archive", "drafts", "trust", "beliefs", "winners", "all"] {
        assert!(page.contains(&format!("<h2 id=\"{section}\">")) && page.contains(&format!("href=\"#{section}\"")));
    }
    assert_eq!(page.matches("<svg").count(), 4);
    assert_eq!(page.matches("NaN").count() + page.matches("inf\"").count(), 0);
    // Every experiment is a row.
    let history = archc_search::store::read(dir.path()).unwrap();
    let table = &page[page.find("id=\"experiments\"").unwrap()..];
    assert_eq!(table.matches("<tr").count() - 1, history.candidates().len());
    // Made again from the same log it is the same page.
    assert_eq!(report::render(&dir.path().file_name().unwrap().to_string_lossy(), &history), page);
}

#[test]
fn a_run_that_has_hardly_begun_has_a_report_too() {
    let dir = tempfile::tempdir().unwrap();
    search(dir.path(), 0);
    check_well_formed(&std::fs::read_to_string(report::write(dir.path()).unwrap()).unwrap());
}

#[test]
fn what_cannot_be_reported_is_coded() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(report::write(dir.path()).unwrap_err().code, "E1005");
    search(dir.path(), 0);
    std::fs::create_dir(dir.path().join("report.html")).unwrap();
    std::fs::write(dir.path().join("report.html").join("x"), "").unwrap();
    assert_eq!(report::write(dir.path()).unwrap_err().code, "E1010");
    assert!(!dir.path().join("report.html.part").exists());
}
