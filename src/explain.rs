//! `archc explain`: long description of a code.

use crate::output::{Done, Output};
use crate::{codes, doc};
use archc_compiler::diag::Diagnostic;
use serde_json::json;
use std::fmt::Write;

/// Say what a code means, with a wrong and a right example
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  archc explain            list all codes
  archc explain E0201      one of them at length
  archc explain 201        the same")]
pub struct Args {
    /// A code such as E0201; without one all codes are listed
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let codes = codes::all();
    let Some(asked) = &args.code else {
        let mut text = String::new();
        for code in &codes {
            let _ = writeln!(text, "{}  {}", code.code, code.title);
            output.object("code", json!({ "code": code.code, "title": code.title }))?;
        }
        output.text(&text)?;
        return Ok(0);
    };
    one(asked, output)
}

/// Explains one code, or reports that it is unknown.
pub fn one(asked: &str, output: &Output) -> Done {
    let codes = codes::all();
    let wanted = spelled(asked);
    let Some(code) = codes.iter().find(|c| c.code == wanted) else {
        let near = codes.iter().min_by_key(|c| (differences(c.code, &wanted), c.code));
        let help = match near.filter(|c| differences(c.code, &wanted) <= 1) {
            Some(near) => format!("did you mean {} ({})?", near.code, near.title),
            None if doc::knows(asked) => format!("it is no code but a name: `archc doc {asked}`"),
            None if !is_code(asked) => "`archc explain` lists all codes, `archc doc` everything else".to_owned(),
            None => "`archc explain` lists all codes".to_owned(),
        };
        return Err(Diagnostic::error("E0842", format!("there is no code `{asked}`")).help(help).into());
    };
    output.object("code", json!({ "code": code.code, "title": code.title, "text": code.text }))?;
    output.text(&format!("{}: {}\n\n{}\n", code.code, code.title, code.text.trim_end()))?;
    Ok(0)
}

/// Normalizes a code: `e201`, `201` and `error[E0201]` become E0201.
fn spelled(text: &str) -> String {
    let text = text.trim().trim_start_matches("error").trim_start_matches("warning").trim_matches(['[', ']', ':']);
    let upper = text.to_uppercase();
    let (letter, digits) = match upper.strip_prefix(['E', 'W']) {
        Some(digits) => (&upper[..1], digits),
        None => ("E", upper.as_str()),
    };
    match digits.parse::<u16>() {
        Ok(number) if digits.len() <= 4 => format!("{letter}{number:04}"),
        _ => upper,
    }
}

/// Whether a text has the form of a code, known or not.
pub fn is_code(text: &str) -> bool {
    spelled(text)
        .strip_prefix(['E', 'W'])
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Number of differing characters, position by position.
fn differences(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).filter(|(x, y)| x != y).count() + a.len().abs_diff(b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_may_be_spelled_loosely() {
        for text in ["E0201", "e0201", "201", "0201", "e201", "error[E0201]"] {
            assert_eq!(spelled(text), "E0201", "{text}");
        }
        assert_eq!(spelled("w101"), "W0101");
        assert_eq!(spelled("E99999"), "E99999");
        assert_eq!(spelled("nonsense"), "NONSENSE");
        assert_eq!(spelled(""), "");
        assert!(is_code("e201") && is_code("E99999") && is_code("[W0604]"));
        assert!(!is_code("rope") && !is_code("E") && !is_code("eye") && !is_code(""));
    }
}
