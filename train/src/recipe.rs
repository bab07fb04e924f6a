//! Recipe of a run's model: the inputs of its command.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Program, sizes and command of a run, so that weights always come with their program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recipe {
    /// Version of archc.
    pub archc: String,
    /// The command, word by word; empty in a weights file, which is the same however it was trained.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Name of the program's block or model.
    pub name: String,
    /// Number of parameters.
    pub parameters: u64,
    /// File of `sources` that contains the program; it imports the others.
    pub file: String,
    /// Texts by file name. In a run's folder they are files in `program/`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, String>,
    /// Value of `--block`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<String>,
    /// Values of `--set`.
    pub set: BTreeMap<String, f64>,
    /// Layers of the standard stack; none for a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    /// Vocabulary size in tokens.
    pub vocab: usize,
    /// Length of every axis; of several axes with one name, the first.
    pub axes: BTreeMap<String, usize>,
    /// Value of `--corpus`, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corpus: Option<String>,
}

impl Recipe {
    /// The value of a size or hyperparameter, if it is known.
    pub fn size(&self, name: &str) -> Option<f64> {
        self.set.get(name).copied().or_else(|| self.axes.get(name).map(|n| *n as f64))
    }

    /// Differences from another recipe of the model, in words: `D is 32 there and 64 here`.
    pub fn differences(&self, here: &Self) -> Vec<String> {
        let mut all = Vec::new();
        let names: BTreeSet<&String> = self.set.keys().chain(here.set.keys()).collect();
        for name in names {
            let (a, b) = (self.size(name), here.size(name));
            if a != b {
                all.push(there_and_here(name, &shown(a), &shown(b)));
            }
        }
        if self.layers != here.layers {
            let layers = |r: &Self| r.layers.map_or_else(|| "those of a model".to_owned(), |n| n.to_string());
            all.push(there_and_here("--layers", &layers(self), &layers(here)));
        }
        if self.vocab != here.vocab {
            all.push(there_and_here("the vocabulary", &self.vocab.to_string(), &here.vocab.to_string()));
        }
        if self.name != here.name {
            all.push(there_and_here("the block", &self.name, &here.name));
        } else if self.sources != here.sources {
            let changed = here.sources.iter().filter(|(file, text)| self.sources.get(*file) != Some(text));
            let file = changed.map(|(file, _)| file).next().unwrap_or(&self.file);
            all.push(format!("the text of {file} is another one"));
        }
        if all.is_empty() && self.archc != here.archc {
            all.push(format!("archc {} made another model of the same text than {} does", self.archc, here.archc));
        }
        all
    }
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "not set".to_owned(), |x| x.to_string())
}

/// Formats a difference: `D is 32 there and 64 here`.
pub fn there_and_here(what: &str, there: &str, here: &str) -> String {
    format!("{what} is {there} there and {here} here")
}
