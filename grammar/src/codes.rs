//! The long explanations of the syntax errors.

/// (code, title, explanation), sorted by code.
pub const CODES: &[(&str, &str, &str)] = &[];
