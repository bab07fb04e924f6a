fn main() {
    let text = std::fs::read_to_string(std::env::args().nth(1).unwrap()).unwrap();
    match archc_grammar::format_source(&text) {
        Ok(t) => print!("{t}"),
        Err(errors) => {
            for e in errors {
                println!(
                    "{} {}\n   at `{}` label: {}\n   help: {:?}",
                    e.code,
                    e.message,
                    &text[e.span.start as usize..e.span.end as usize],
                    e.label,
                    e.help
                )
            }
        }
    }
}
