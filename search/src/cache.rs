//! Results of anchors that later runs use again: one file a result, named by its key.
//!
//! Equal keys are equal results (see [`archc_train::evaluate`]), so a file is never wrong, only missing. Whatever goes wrong with the
//! cache costs a training and nothing else.

use archc_train::evaluate::{EvalReport, Status};
use std::fs;
use std::path::{Path, PathBuf};

/// Where results are kept; or nowhere.
#[derive(Clone, Debug, Default)]
pub struct Cache(Option<PathBuf>);

impl Cache {
    /// In a folder, which is made when something is to be kept.
    pub fn at(folder: PathBuf) -> Self {
        Self(Some(folder))
    }

    /// The user's: `$ARCHC_CACHE`, else `archc` in `$XDG_CACHE_HOME`, else in `~/.cache`; none where there is none of these.
    pub fn of_user() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = set("ARCHC_CACHE")
            .or_else(|| Some(set("XDG_CACHE_HOME")?.join("archc")))
            .or_else(|| Some(set("HOME")?.join(".cache/archc")));
        Self(folder.map(|folder| folder.join("evaluations")))
    }

    /// Its folder.
    pub fn folder(&self) -> Option<&Path> {
        self.0.as_deref()
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        // By the first two digits: no folder of a hundred thousand files.
        Some(self.0.as_ref()?.join(key.get(..2)?).join(format!("{key}.json")))
    }

    /// The result of this key.
    pub fn get(&self, key: &str) -> Option<EvalReport> {
        let text = fs::read_to_string(self.path(key)?).ok()?;
        let report: EvalReport = serde_json::from_str(&text).ok()?;
        (report.key.as_deref() == Some(key) && report.status == Status::Ok).then_some(report)
    }

    /// Keeps a result, if it has a key.
    pub fn put(&self, report: &EvalReport) {
        let keep = || -> Option<()> {
            let path = self.path(report.key.as_deref()?)?;
            fs::create_dir_all(path.parent()?).ok()?;
            // Beside its name and then renamed: another process sees all of it or nothing.
            let draft = path.with_extension(format!("{}.part", std::process::id()));
            fs::write(&draft, serde_json::to_string(report).ok()?).ok()?;
            fs::rename(&draft, path).ok()
        };
        // A disk that is full or read-only keeps nothing, and the next run trains once more.
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
        // A file under another name, or half a file, is no result.
        fs::copy(folder.path().join("cache/ab/ab12.json"), folder.path().join("cache/ab/ab14.json")).unwrap();
        assert_eq!(cache.get("ab14"), None);
        fs::write(folder.path().join("cache/ab/ab12.json"), "{\"schema\"").unwrap();
        assert_eq!(cache.get(key), None);
        Cache::default().put(&report);
        assert_eq!(Cache::default().get(key), None);
    }
}
