//! Lints for unused names.

use super::*;

impl Resolver<'_> {
    pub(super) fn lint_unused(&mut self, kind: CallableKind) {
        for (local, reads) in self.frame.locals.iter().zip(&self.frame.reads) {
            if *reads > 0 || local.name.starts_with('_') {
                continue;
            }
            // a learned prefix has its effect without being read
            if local.kind == LocalKind::Prefix || local.kind == LocalKind::Index {
                continue;
            }
            if kind == CallableKind::Block && matches!(local.name.as_str(), "layer" | "depth") {
                continue;
            }
            let ident = Ident { name: local.name.clone(), span: local.span };
            self.diagnostics.push(errors::unused(self.file, &ident, local.kind));
        }
        for axis in &self.frame.axes_declared {
            if !self.frame.axes_used.contains(&axis.name) {
                self.diagnostics.push(errors::unused_axis(self.file, axis));
            }
        }
    }
}
