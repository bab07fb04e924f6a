//! smoke
#[test]
fn smoke() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let t = std::time::Instant::now();
        let parsed = archc_grammar::parse(&text);
        println!("{} {} items {:?} in {:?}", path.display(), parsed.file.items.len(), parsed.errors, t.elapsed());
    }
    println!("{:#?}", archc_grammar::parse("fn f(x) = -x ^ 2 + y[P = a]\nblock X[D]{ input x[D]\n let a = x < y < z\n let b = f (x) scan { s = } output x }"));
}
