//! Record of running evaluations, so that one that kills the process is not repeated forever.

use super::Log;
use crate::codes;
use crate::plan::Tier;
use crate::record::CandidateId;
use crate::schedule::Trial;
use archc_compiler::diag::Diagnostic;
use rusqlite::params;

impl Log {
    /// Records the start of an evaluation.
    ///
    /// # Errors
    /// E1003 if it cannot be written.
    pub fn begin(&mut self, (id, tier, seed): Trial) -> Result<(), Diagnostic> {
        let sql = "INSERT INTO running VALUES (?1, ?2, ?3, 1, 0) ON CONFLICT DO UPDATE SET active = 1";
        self.note(sql, params![id.0, tier.word(), seed as i64])
    }

    /// Records that an evaluation was stopped in good order.
    ///
    /// # Errors
    /// E1003 if it cannot be written.
    pub fn forget(&mut self, (id, tier, seed): Trial) -> Result<(), Diagnostic> {
        let sql = "DELETE FROM running WHERE candidate = ?1 AND tier = ?2 AND seed = ?3";
        self.note(sql, params![id.0, tier.word(), seed as i64])
    }

    /// Evaluations during which the process died `deaths` times or more. To be called once, before any evaluation
    /// starts.
    ///
    /// # Errors
    /// E1003 if the counts cannot be written.
    pub fn deadly(&mut self, deaths: u32) -> Result<Vec<Trial>, Diagnostic> {
        self.note("UPDATE running SET deaths = deaths + 1, active = 0 WHERE active = 1", params![])?;
        let mut query = self
            .db
            .prepare("SELECT candidate, tier, seed FROM running WHERE deaths >= ?1 ORDER BY candidate, tier, seed")
            .map_err(codes::write)?;
        let rows = query.query_map(params![deaths], |row| {
            Ok((row.get::<_, u32>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
        });
        let rows: Vec<_> = rows.and_then(Iterator::collect).map_err(codes::write)?;
        let trial = |(id, word, seed): (u32, String, i64)| {
            let tier = Tier::ALL.into_iter().find(|tier| tier.word() == word)?;
            Some((CandidateId(id), tier, seed as u64))
        };
        Ok(rows.into_iter().filter_map(trial).collect())
    }

    /// Records that nothing runs: the session ends, in good order as far as possible.
    pub fn forget_all(&mut self) {
        // After an error this may fail; the running evaluations then count as killed with the process.
        let _ = self.note("DELETE FROM running WHERE deaths = 0", params![]);
        let _ = self.note("UPDATE running SET active = 0", params![]);
    }

    fn note(&self, sql: &str, values: &[&dyn rusqlite::ToSql]) -> Result<(), Diagnostic> {
        self.db.prepare_cached(sql).and_then(|mut q| q.execute(values)).map(drop).map_err(codes::write)
    }
}
