//! Numbers on the command line; the error for a number out of range states the range.
//!
//! Every option accepts a value that begins with a minus sign ([`negative`]), so that `--lr -1` is a number out of range and not an
//! unknown option `-1`.

/// Lets every option of a command and its subcommands accept a negative number as a value.
pub fn negative(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let option = !arg.is_positional() && arg.get_action().takes_values();
        if option { arg.allow_negative_numbers(true) } else { arg }
    });
    command.mut_subcommands(negative)
}

/// Parses a whole number from 0.
///
/// # Errors
/// Message for the command line.
pub fn count<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    whole(text, 0)
}

/// Parses a whole number from 1.
///
/// # Errors
/// Message for the command line.
pub fn positive<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    whole(text, 1)
}

/// Parses a real number above 0.
///
/// # Errors
/// Message for the command line.
pub fn above_zero(text: &str) -> Result<f64, String> {
    let number = text.trim().parse().ok().filter(|x: &f64| x.is_finite() && *x > 0.0);
    number.ok_or_else(|| format!("`{text}` is not a number above 0"))
}

fn whole<T: TryFrom<u64>>(text: &str, from: u64) -> Result<T, String> {
    let number = text.trim().parse::<u64>().ok().filter(|n| *n >= from).and_then(|n| T::try_from(n).ok());
    number.ok_or_else(|| format!("`{text}` is not a whole number from {from}"))
}
