//! Cached results of anchors for later runs: one file per result, named by its key.
//!
//! Equal keys mean equal results (see [`archc_train::evaluate`]), so a file is never wrong, only missing. A failure of the cache
//! costs a training and nothing else.

use archc_train::evaluate::{EvalReport, Status};
use std::fs;
use std::path::{Path, PathBuf};

/// Location of cached results, if any.
#[derive(Clone, Debug, Default)]
pub struct Cache(Option<PathBuf>);

impl Cache {
    /// Cache in a folder, which is created when the first result is stored.
    pub fn at(folder: PathBuf) -> Self {
        Self(Some(folder))
    }

    /// Cache of the user: `$ARCHC_CACHE`, else `archc` in `$XDG_CACHE_HOME`, else in `~/.cache`; none if none of these is set.
    pub fn of_user() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = set("ARCHC_CACHE")
            .or_else(|| Some(set("XDG_CACHE_HOME")?.join("archc")))
            .or_else(|| Some(set("HOME")?.join(".cache/archc")));
        Self(folder.map(|folder| folder.join("evaluations")))
    }

    /// Folder of the cache.
    pub fn folder(&self) -> Option<&Path> {
        self.0.as_deref()
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        // Subfolders by the first two digits avoid folders with very many files.
        Some(self.0.as_ref()?.join(key.get(..2)?).join(format!("{key}.json")))
    }

    /// Cached result with this key.
    pub fn get(&self, key: &str) -> Option<EvalReport> {
        let text = fs::read_to_string(self.path(key)?).ok()?;
        let report: EvalReport = serde_json::from_str(&text).ok()?;
        (report.key.as_deref() == Some(key) && report.status == Status::Ok).then_some(report)
    }

    /// Stores a result, if it has a key.
    pub fn put(&self, report: &EvalReport) {
        let keep = || -> Option<()> {
            let path = self.path(report.key.as_deref()?)?;
            fs::create_dir_all(path.parent()?).ok()?;
            // Written to a temporary name and renamed: another process sees all of it or nothing.
            let draft = path.with_extension(format!("{}.part", std::process::id()));
            fs::write(&draft, serde_json::to_string(report).ok()?).ok()?;
            fs::rename(&draft, path).ok()
        };
        // On a full or read-only disk nothing is stored, and the next run trains again.
        let _ = keep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache"));
        let key = "ab12";
        let report: EvalReport = serde_json::from_str(
            r#"{"schema": "s", "key": "ab12", "machine": "m", "status": "ok", "tier": "t", "seed": 1, "tasks": {}, "params": 1,
                "flops_per_token": 2.0, "state": 3.0, "seconds": 4.0, "diagnostics": []}"#,
        )
        .unwrap();
        assert_eq!(cache.get(key), None);
        cache.put(&report);
        assert_eq!(cache.get(key), Some(report.clone()));
        assert_eq!((cache.get("ab13"), cache.get(""), cache.get("../x")), (None, None, None));
        // A file with another key, or half a file, is no result.
        fs::copy(folder.path().join("cache/ab/ab12.json"), folder.path().join("cache/ab/ab14.json")).unwrap();
        assert_eq!(cache.get("ab14"), None);
        fs::write(folder.path().join("cache/ab/ab12.json"), "{\"schema\"").unwrap();
        assert_eq!(cache.get(key), None);
        Cache::default().put(&report);
        assert_eq!(Cache::default().get(key), None);
    }
}
