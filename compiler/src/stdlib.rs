//! The standard library's texts, embedded so that the installed binary works anywhere.

/// One file of the library.
#[derive(Clone, Copy, Debug)]
pub struct LibraryFile {
    /// Module name in a `use`: `std::mixers`, which consists of several files; the files of the prelude are `std::prelude::...` and need no
    /// `use`.
    pub module: &'static str,
    /// Path from the repository's root: `stdlib/mixers/delta.arch`.
    pub path: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! library {
    ($($module:literal = $path:literal),* $(,)?) => {
        /// All files; the standard stack (`std::stack`) is the model in which single blocks train.
        pub const FILES: &[LibraryFile] =
            &[$(LibraryFile {
                module: $module,
                path: concat!("stdlib/", $path),
                text: include_str!(concat!("../../stdlib/", $path)),
            }),*];
    };
}

library! {
    "std::prelude::attention" = "prelude/attention.arch",
    "std::prelude::decays" = "prelude/decays.arch",
    "std::prelude::maps" = "prelude/maps.arch",
    "std::prelude::norms" = "prelude/norms.arch",
    "std::prelude::routers" = "prelude/routers.arch",
    "std::prelude::time" = "prelude/time.arch",
    "std::mixers" = "mixers/attention.arch",
    "std::mixers" = "mixers/linear.arch",
    "std::mixers" = "mixers/gated.arch",
    "std::mixers" = "mixers/delta.arch",
    "std::mixers" = "mixers/levels.arch",
    "std::mixers" = "mixers/learners.arch",
    "std::mixers" = "mixers/recurrent.arch",
    "std::mixers" = "mixers/convolution.arch",
    "std::mixers" = "mixers/found.arch",
    "std::models" = "models.arch",
    "std::stack" = "stack.arch",
}

/// The files of a module, with their indices; none if there is no such module.
pub fn files(module: &str) -> impl Iterator<Item = (usize, &'static LibraryFile)> {
    FILES.iter().enumerate().filter(move |(_, file)| file.module == module)
}

/// Whether a file's fns are usable without `use`.
pub fn is_prelude(index: usize) -> bool {
    FILES[index].module.starts_with("std::prelude::")
}
