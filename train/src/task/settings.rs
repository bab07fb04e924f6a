//! Name and settings of a task as text: `recall:len=64,vocab=32`; or its name and file: `jsonl:rows.jsonl`.

use crate::fault;
use archc_compiler::diag::Diagnostic;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Specification of a task: its name, with settings or a file. Printed and stored as `name:setting=number,...`, settings in
/// order of name, or as `jsonl:path`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TaskSpec {
    /// Name in the registry.
    pub name: String,
    /// Settings that differ from the defaults; after [`super::build`], all of them.
    pub settings: BTreeMap<String, f64>,
    /// Path of the task's file, as written: the whole text after `jsonl:`.
    pub path: Option<String>,
}

/// Task whose name is followed by a path instead of settings.
pub(super) const OF_A_FILE: &str = "jsonl";

impl TaskSpec {
    /// Specifies a task with default settings.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), settings: BTreeMap::new(), path: None }
    }

    /// Specifies the task whose rows are in a file.
    pub fn of_file(path: &str) -> Self {
        Self { path: Some(path.to_owned()), ..Self::new(OF_A_FILE) }
    }

    /// Changes a setting.
    pub fn with(mut self, setting: &str, value: f64) -> Self {
        self.settings.insert(setting.to_owned(), value);
        self
    }
}

impl fmt::Display for TaskSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(path) = &self.path {
            return write!(f, ":{path}");
        }
        for (i, (setting, value)) in self.settings.iter().enumerate() {
            write!(f, "{}{setting}={value}", if i == 0 { ':' } else { ',' })?;
        }
        Ok(())
    }
}

impl FromStr for TaskSpec {
    type Err = Diagnostic;

    /// Names may be written with `_` or blanks for `-`. A path is taken verbatim, with any `:`, `,` and `=` in it.
    fn from_str(text: &str) -> Result<Self, Diagnostic> {
        let (name, rest) = match text.split_once(':') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        let mut spec = Self::new(&name.trim().to_lowercase().replace(['_', ' '], "-"));
        if spec.name == OF_A_FILE {
            return rest.filter(|path| !path.is_empty()).map(Self::of_file).ok_or_else(fault::no_rows_file);
        }
        for setting in rest.iter().flat_map(|settings| settings.split(',')) {
            let malformed = || fault::malformed_setting(setting);
            let (key, value) = setting.split_once('=').ok_or_else(malformed)?;
            let value: f64 = value.trim().parse().map_err(|_| malformed())?;
            if !value.is_finite() || spec.settings.insert(key.trim().to_owned(), value).is_some() {
                return Err(malformed());
            }
        }
        Ok(spec)
    }
}

impl From<TaskSpec> for String {
    fn from(spec: TaskSpec) -> Self {
        spec.to_string()
    }
}

impl TryFrom<String> for TaskSpec {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|e: Diagnostic| e.message)
    }
}

/// Reader of settings: each setting is read once, with its default and range; [`Settings::finish`] refuses settings that were
/// not read.
pub struct Settings<'a> {
    given: &'a TaskSpec,
    read: TaskSpec,
    known: Vec<&'static str>,
}

impl<'a> Settings<'a> {
    /// Starts reading.
    pub fn new(given: &'a TaskSpec) -> Self {
        Self { given, read: TaskSpec::new(&given.name), known: Vec::new() }
    }

    /// Reads a whole number in low..=high.
    ///
    /// # Errors
    /// E0903.
    pub fn whole(
        &mut self,
        setting: &'static str,
        default: usize,
        low: usize,
        high: usize,
    ) -> Result<usize, Diagnostic> {
        let value = self.read(setting, default as f64);
        if value.fract() != 0.0 || value < low as f64 || value > high as f64 {
            let range = format!("a whole number from {low} to {high}");
            return Err(fault::setting_range(&self.given.name, setting, value, range));
        }
        Ok(value as usize)
    }

    /// Reads a real number in low..=high.
    ///
    /// # Errors
    /// E0903.
    pub fn real(&mut self, setting: &'static str, default: f64, low: f64, high: f64) -> Result<f64, Diagnostic> {
        let value = self.read(setting, default);
        if !(low..=high).contains(&value) {
            return Err(fault::setting_range(
                &self.given.name,
                setting,
                value,
                format!("a number from {low} to {high}"),
            ));
        }
        Ok(value)
    }

    fn read(&mut self, setting: &'static str, default: f64) -> f64 {
        let value = self.given.settings.get(setting).copied().unwrap_or(default);
        self.known.push(setting);
        self.read.settings.insert(setting.to_owned(), value);
        value
    }

    /// Reads the path after the task's name.
    ///
    /// # Errors
    /// E0902 if there is none.
    pub fn path(&mut self) -> Result<&'a str, Diagnostic> {
        self.read.path.clone_from(&self.given.path);
        self.given.path.as_deref().ok_or_else(fault::no_rows_file)
    }

    /// Finishes reading: returns all settings, defaults filled in.
    ///
    /// # Errors
    /// E0902 for a setting that the task does not have, or a path that it does not read.
    pub fn finish(self) -> Result<TaskSpec, Diagnostic> {
        if let Some(path) = self.given.path.as_deref().filter(|_| self.read.path.is_none()) {
            return Err(fault::malformed_setting(path));
        }
        match self.given.settings.keys().find(|key| !self.known.contains(&key.as_str())) {
            Some(key) => Err(fault::unknown_setting(&self.given.name, key, &self.known)),
            None => Ok(self.read),
        }
    }
}
