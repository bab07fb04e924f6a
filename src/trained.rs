//! Run folders as FILE arguments: program, sizes and weights of a training, without repeating its options.

use crate::load::{self, Program, is_stdin};
use crate::output::Stop;
use crate::sizes::{ModelArgs, SizeArgs};
use archc_compiler::Options;
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::Graph;
use archc_train::folder::{Found, program_file, read_run, weights_file};
use archc_train::recipe::{Recipe, there_and_here};
use archc_train::task::Part;
use archc_train::tier::{Measure, TaskRun, Tier};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Training on disk, with its program.
pub struct Run {
    /// Path of the folder.
    pub path: PathBuf,
    /// Contents of its `run.json`.
    pub found: Found,
    /// Recipe of its model.
    pub recipe: Recipe,
}

/// Opens the run at a path where a program is expected, if the path is the folder of a run.
///
/// # Errors
/// E0912 for a folder that cannot be read, E0918 for a run that does not hold its program.
pub fn open(path: &Path) -> Result<Option<Run>, Diagnostic> {
    if is_stdin(path) || !path.is_dir() {
        return Ok(None);
    }
    let Some(mut found) = read_run(path)? else { return Ok(None) };
    let Some(recipe) = found.recipe.take() else {
        let shown = path.display();
        return Err(Diagnostic::error("E0918", format!("`{shown}` holds no program, only its hash"))
            .help(format!("give the program and its options, with `--out {shown}` or `--weights {shown}`")));
    };
    Ok(Some(Run { path: path.to_owned(), found, recipe }))
}

impl Run {
    /// Loads the program in the folder.
    ///
    /// # Errors
    /// E0820 and others, if it cannot be read.
    pub fn program(&self) -> Result<Program, Stop> {
        load::load(&program_file(&self.path, &self.recipe))
    }

    /// Path of its weights.
    pub fn weights(&self) -> PathBuf {
        weights_file(&self.path)
    }

    /// Block and sizes of the run, combined with the given ones; with `free`, given sizes may differ, else they are
    /// refused.
    ///
    /// # Errors
    /// E0913.
    pub fn sizes(&self, given: &SizeArgs, free: bool) -> Result<SizeArgs, Diagnostic> {
        let mut set = self.recipe.set.clone();
        let mut differ = Vec::new();
        for (name, value) in &given.set {
            let there = self.recipe.size(name);
            if there != Some(*value) {
                let there = there.map_or_else(|| "not set".to_owned(), |x| x.to_string());
                differ.push(there_and_here(name, &there, &value.to_string()));
            }
            set.insert(name.clone(), *value);
        }
        if given.block.as_ref().is_some_and(|name| *name != self.recipe.name) {
            differ.push(there_and_here("--block", &self.recipe.name, given.block.as_deref().unwrap_or_default()));
        }
        if !free && !differ.is_empty() {
            return Err(self.differs(&differ));
        }
        let block = given.block.clone().or_else(|| self.recipe.block.clone());
        Ok(SizeArgs { block, set: set.into_iter().collect() })
    }

    /// Block and sizes of the run including its width, for commands whose default width is another.
    ///
    /// # Errors
    /// E0913.
    pub fn scored(&self, given: &SizeArgs) -> Result<SizeArgs, Diagnostic> {
        let mut sizes = self.sizes(given, false)?;
        let width = self.recipe.axes.get("D").filter(|_| !sizes.set.iter().any(|(name, _)| name == "D"));
        sizes.set.extend(width.map(|d| ("D".to_owned(), *d as f64)));
        Ok(sizes)
    }

    /// Test part of the run's own task, as a tier.
    pub fn own_tier(&self) -> Tier {
        let (task, config) = (&self.found.identity.task, &self.found.identity.config);
        let run = TaskRun {
            name: task.name.clone(),
            task: task.clone(),
            width: self.recipe.axes.get("D").copied().unwrap_or(1),
            layers: self.recipe.layers.unwrap_or(1),
            steps: config.steps,
            batch: config.batch,
            learning_rate: config.learning_rate,
            score_batches: config.validate_batches,
            measure: Measure::Final,
            unit: None,
            weight: 1.0,
        };
        Tier { name: "own".to_owned(), seeds: "own".to_owned(), part: Part::Test, rates: vec![1.0], tasks: vec![run] }
    }

    /// Error for a request that differs from the run.
    pub fn differs(&self, differ: &[String]) -> Diagnostic {
        let shown = self.path.display();
        Diagnostic::error("E0913", format!("`{shown}` is another run: {}", differ.join(", ")))
            .help("leave these options out: the run has its own")
    }

    /// Compiler options of the run's model.
    ///
    /// # Errors
    /// E0913 if an option differs from the run.
    pub fn options(&self, sizes: &SizeArgs, model: &ModelArgs) -> Result<Options, Diagnostic> {
        let mut differ = Vec::new();
        if let Some(layers) = model.layers.map(usize::from).filter(|n| Some(*n) != self.recipe.layers) {
            let there = self.recipe.layers.map_or_else(|| "those of a model".to_owned(), |n| n.to_string());
            differ.push(there_and_here("--layers", &there, &layers.to_string()));
        }
        if let Some(vocab) = model.vocab.filter(|n| *n as usize != self.recipe.vocab) {
            differ.push(there_and_here("--vocab", &self.recipe.vocab.to_string(), &vocab.to_string()));
        }
        if !differ.is_empty() {
            return Err(self.differs(&differ));
        }
        Ok(self.sizes(sizes, false)?.options(self.recipe.layers, self.recipe.vocab))
    }
}

/// Program and options for a command that takes FILE or RUN, with the run's weights.
///
/// # Errors
/// Errors of [`open`], [`Run::options`] and [`load::load`].
pub fn resolve(file: &Path, sizes: &SizeArgs, model: &ModelArgs) -> Result<(Program, Options, Option<PathBuf>), Stop> {
    Ok(match open(file)? {
        Some(run) => (run.program()?, run.options(sizes, model)?, Some(run.weights())),
        None => (load::load(file)?, sizes.with(model), None),
    })
}

/// Recipe of a graph's model.
pub fn recipe(program: &Program, graph: &Graph, options: &Options, corpus: Option<&Path>) -> Recipe {
    let name = |file: &str| {
        let name = Path::new(file).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        // standard input, or a block of the library
        if name.ends_with(".arch") { name } else { "program.arch".to_owned() }
    };
    let mut axes = BTreeMap::new();
    for axis in &graph.axes {
        axes.entry(axis.name.clone()).or_insert(axis.size);
    }
    Recipe {
        archc: env!("CARGO_PKG_VERSION").to_owned(),
        command: std::env::args_os().map(OsString::into_string).map(|w| w.unwrap_or_else(lossy)).collect(),
        name: graph.name.clone(),
        parameters: graph.param_count() as u64,
        file: name(&program.sources.file(program.file).name),
        sources: program.sources.user_files().map(|(_, f)| (name(&f.name), f.text.to_string())).collect(),
        block: options.block.clone(),
        set: options.sizes.set.iter().map(|(name, value)| (name.clone(), *value)).collect(),
        layers: options.sizes.layers,
        vocab: options.sizes.vocab,
        axes,
        corpus: corpus.map(|path| path.display().to_string()),
    }
}

fn lossy(word: OsString) -> String {
    word.to_string_lossy().into_owned()
}

/// Error for an option without effect.
pub fn idle(option: &str, why: &str, help: &str) -> Diagnostic {
    Diagnostic::error("E0919", format!("`{option}` would do nothing: {why}")).help(help)
}
