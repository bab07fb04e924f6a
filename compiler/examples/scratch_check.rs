use archc_compiler::source::SourceMap;
use archc_compiler::*;
fn main() {
    let mut set = std::collections::BTreeMap::new();
    let mut layers = None;
    let mut quiet = false;
    let mut files = vec![];
    for a in std::env::args().skip(1) {
        if let Some((k, v)) = a.split_once('=') { if k=="layers" { layers = Some(v.parse().unwrap()) } else { set.insert(k.to_string(), v.parse::<f64>().unwrap()); } }
        else if a == "-q" { quiet = true } else { files.push(a) }
    }
    for f in files {
        let text = std::fs::read_to_string(&f).unwrap();
        let mut sources = SourceMap::new();
        let id = sources.add(f.clone(), text.clone());
        let first = compile(&sources, id, &Options::default());
        let module = first.module.clone();
        let mut all = vec![];
        let names: Vec<String> = module.map(|m| targets(&m).iter().map(|t| m.callables[t.index as usize].name.name.clone()).collect()).unwrap_or_default();
        if names.is_empty() { all.extend(first.diagnostics.clone()); }
        for n in names {
            let sizes = Sizes { set: set.clone(), vocab: 16, layers };
            let c = compile(&sources, id, &Options { block: Some(n.clone()), sizes });
            if !quiet { println!("== {f} {n}: {}", if c.failed() {"FAILED"} else {"ok"}); }
            for d in c.diagnostics { if !all.contains(&d) { all.push(d) } }
        }
        for d in &all {
            if quiet {
                let line = d.primary.as_ref().map(|l| sources.file(l.place.file).text[..l.place.span.start as usize].matches('\n').count()+1);
                println!("{f}:{} {} {} [{}] labels {:?} help: {}", line.unwrap_or(0), d.code, d.message, d.primary.as_ref().map(|l| l.text.clone()).unwrap_or_default(), d.labels.iter().map(|l| l.text.clone()).collect::<Vec<_>>(), d.help.clone().unwrap_or_default());
            } else { println!("{}", archc_compiler::diag::render(d, &sources, false)); }
        }
    }
}
