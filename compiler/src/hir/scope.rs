//! Names in scope, and the nearest one to an unknown name.

use strsim::levenshtein;

/// The candidate that was probably meant: at most a third of its letters differ, so that for names of one or two letters only another case
/// is proposed.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = name.chars().count() / 3;
    candidates
        .into_iter()
        .map(|c| (levenshtein(&name.to_lowercase(), &c.to_lowercase()), c))
        .filter(|(d, c)| *d <= limit && *c != name)
        .min()
        .map(|(_, c)| c)
}
