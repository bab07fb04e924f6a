//! The commands as a user runs them: through the binary.

use std::process::Command;

#[test]
fn help_has_examples() {
    let out = Command::new(env!("CARGO_BIN_EXE_archc")).arg("--help").output().unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).contains("Examples:"));
}
