//! The standard library's texts, embedded so that the installed binary works anywhere.

/// One file of the library.
#[derive(Clone, Copy, Debug)]
pub struct LibraryFile {
    /// `std::mixers`; the files of the prelude are `std::prelude::...` and need no `use`.
    pub module: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! library {
    ($($module:literal = $path:literal),* $(,)?) => {
        /// All files; the standard stack (`std::stack`) is the model in which single blocks train.
        pub const FILES: &[LibraryFile] =
            &[$(LibraryFile { module: $module, text: include_str!(concat!("../../stdlib/", $path)) }),*];
    };
}

library! {
    "std::prelude::attention" = "prelude/attention.arch",
    "std::prelude::decays" = "prelude/decays.arch",
    "std::prelude::maps" = "prelude/maps.arch",
    "std::prelude::norms" = "prelude/norms.arch",
    "std::prelude::routers" = "prelude/routers.arch",
    "std::prelude::time" = "prelude/time.arch",
    "std::mixers" = "mixers.arch",
    "std::models" = "models.arch",
    "std::stack" = "stack.arch",
}

/// Index of a module's file.
pub fn find(module: &str) -> Option<usize> {
    FILES.iter().position(|f| f.module == module)
}

/// Whether a file's fns need no `use`.
pub fn is_prelude(index: usize) -> bool {
    FILES[index].module.starts_with("std::prelude::")
}
