//! Resolution of statements: their allowed positions, and their declarations.

use super::*;

impl Resolver<'_> {
    pub(super) fn body(&mut self, block: &ast::Block) -> Vec<Stmt> {
        block.stmts.iter().filter_map(|s| self.stmt(s)).collect()
    }

    /// Resolves a body with its own scope.
    fn scoped(&mut self, block: &ast::Block, around: Around) -> Vec<Stmt> {
        let axes = self.frame.axes.clone();
        self.frame.scopes.push(BTreeMap::new());
        self.frame.around.push(around);
        let body = self.body(block);
        self.frame.axes = axes;
        self.frame.around.pop();
        self.frame.scopes.pop();
        body
    }

    /// Resolves the body of a scan or attend; its emits are declared in the scope around it.
    fn memory(&mut self, block: &ast::Block, around: Around) -> Vec<Stmt> {
        let mut body = self.scoped(block, around);
        for local in self.emitted(&mut body) {
            let Local { name, span, .. } = self.frame.locals[local.0 as usize].clone();
            let ident = Ident { name, span };
            if let Some(earlier) = self.lookup(&ident.name) {
                let earlier = self.frame.locals[earlier.0 as usize].span;
                if self.frame.scopes.last().is_some_and(|s| s.contains_key(&ident.name)) {
                    self.diagnostics.push(errors::shadowed(self.file, &ident, earlier));
                }
            }
            self.bind(&ident, local);
        }
        body
    }

    /// Emits of a body, in order. All branches of an `if` emit the same names, and each name is one local in all of them.
    fn emitted(&mut self, body: &mut [Stmt]) -> Vec<LocalId> {
        let mut all = Vec::new();
        for stmt in body {
            let choice = Span { end: stmt.span.start + 2, ..stmt.span };
            match &mut stmt.kind {
                StmtKind::Emit { local, .. } => all.push(*local),
                // the loop was refused; its names must not be reported as unknown as well
                StmtKind::For { body, .. } => all.extend(self.emitted(body)),
                StmtKind::If { arms, otherwise } => {
                    let branches = arms.iter_mut().map(|(_, body)| body).chain([otherwise]);
                    all.extend(self.emitted_in_branches(branches, choice));
                }
                _ => {}
            }
        }
        all
    }

    fn emitted_in_branches<'b>(
        &mut self,
        branches: impl Iterator<Item = &'b mut Vec<Stmt>>,
        choice: Span,
    ) -> Vec<LocalId> {
        let mut all: Vec<LocalId> = Vec::new();
        let mut each: Vec<Vec<LocalId>> = Vec::new();
        for branch in branches {
            let mut own = Vec::new();
            for emit in self.emitted(branch) {
                let name = |l: LocalId| &self.frame.locals[l.0 as usize].name;
                match all.iter().find(|l| name(**l) == name(emit) && !own.contains(*l)) {
                    Some(first) => {
                        own.push(*first);
                        rename_emit(branch, emit, *first);
                        self.frame.reads[emit.0 as usize] += 1;
                    }
                    None => {
                        own.push(emit);
                        all.push(emit);
                    }
                }
            }
            each.push(own);
        }
        for emit in &all {
            if each.iter().any(|own| !own.contains(emit)) {
                let Local { name, span, .. } = self.frame.locals[emit.0 as usize].clone();
                self.diagnostics.push(errors::emitted_in_some(self.file, &Ident { name, span }, choice));
            }
        }
        all
    }

    fn stmt(&mut self, stmt: &ast::Stmt) -> Option<Stmt> {
        if let Some(problem) = self.misplaced(stmt) {
            self.diagnostics.push(problem);
        }
        let kind = match &stmt.kind {
            ast::StmtKind::Input { name, axes } => {
                let axes = self.brackets(axes);
                StmtKind::Input { local: self.declare(name, LocalKind::Input), axes }
            }
            ast::StmtKind::Axis { name, size } => {
                let size = self.expr(size);
                self.declare_axis(name);
                StmtKind::Axis { name: name.clone(), size }
            }
            ast::StmtKind::Let { pattern, values } => {
                let values = values.iter().map(|v| self.expr(v)).collect();
                let (names, axes) = match pattern {
                    ast::Pattern::Name { name, axes } => (std::slice::from_ref(name), axes.as_ref()),
                    ast::Pattern::Tuple { names, .. } => (&names[..], None),
                };
                let axes = axes.map(|a| self.brackets(a));
                let targets = names.iter().map(|n| self.declare(n, LocalKind::Let)).collect();
                StmtKind::Let { targets, axes, values }
            }
            ast::StmtKind::Mut { name, axes, value } => {
                let value = self.expr(value);
                let axes = axes.as_ref().map(|a| self.brackets(a));
                StmtKind::Mut { local: self.declare(name, LocalKind::Mut), axes, value }
            }
            ast::StmtKind::Assign { targets, values } => {
                let values = values.iter().map(|v| self.expr(v)).collect();
                let targets = targets.iter().map(|t| self.target(t)).collect::<Option<Vec<_>>>()?;
                StmtKind::Assign { targets, values }
            }
            ast::StmtKind::Param { name, axes, init } => {
                let init = self.expr(init);
                let axes = axes.as_ref().map(|a| self.brackets(a));
                StmtKind::Param { local: self.declare(name, LocalKind::Param), axes, init }
            }
            ast::StmtKind::Scan(block) => {
                let body = self.memory(block, Around::Scan);
                if !emits(&body) {
                    self.diagnostics.push(errors::silent_scan(self.file, stmt.span));
                }
                StmtKind::Scan(body)
            }
            ast::StmtKind::Attend(block) => {
                self.check_attend(block, stmt.span);
                StmtKind::Attend(self.memory(block, Around::Attend))
            }
            ast::StmtKind::State { name, axes, init } => {
                let init = self.expr(init);
                let axes = axes.as_ref().map(|a| self.brackets(a));
                StmtKind::State { local: self.declare(name, LocalKind::State), axes, init }
            }
            ast::StmtKind::Emit { name, value } => {
                let value = self.expr(value);
                StmtKind::Emit { local: self.new_local(name, LocalKind::Emit), value }
            }
            ast::StmtKind::For { index, from, to, body } => {
                let from = self.expr(from);
                let to = self.expr(to);
                self.frame.scopes.push(BTreeMap::new());
                let index = self.declare(index, LocalKind::Index);
                let body = self.scoped(body, Around::For);
                self.frame.scopes.pop();
                StmtKind::For { index, from, to, body }
            }
            ast::StmtKind::If { arms, otherwise } => {
                let arms = arms
                    .iter()
                    .map(|(condition, block)| {
                        let condition = self.expr(condition);
                        (condition, self.scoped(block, Around::If))
                    })
                    .collect();
                let otherwise = otherwise.as_ref().map(|b| self.scoped(b, Around::If)).unwrap_or_default();
                StmtKind::If { arms, otherwise }
            }
            ast::StmtKind::Prefix { name, axes, init } => {
                let init = self.expr(init);
                if let Some(first) = axes.left.first().and_then(|s| s.terms.first())
                    && !self.frame.axes.contains_key(&first.name.name)
                {
                    self.declare_axis(&first.name);
                }
                let axes = self.brackets(axes);
                StmtKind::Prefix { local: self.declare(name, LocalKind::Prefix), axes, init }
            }
            ast::StmtKind::Shared { name, call } => {
                let call = self.expr(call);
                StmtKind::Shared { local: self.declare(name, LocalKind::Shared), call }
            }
            ast::StmtKind::Loss(e) => StmtKind::Loss(self.expr(e)),
            ast::StmtKind::Output { name, value } => StmtKind::Output { name: name.clone(), value: self.expr(value) },
            ast::StmtKind::Return(values) => StmtKind::Return(values.iter().map(|v| self.expr(v)).collect()),
            ast::StmtKind::Where(e) => StmtKind::Where(self.expr(e)),
            ast::StmtKind::Score(e) => StmtKind::Score(self.expr(e)),
            ast::StmtKind::Weight(e) => StmtKind::Weight(self.expr(e)),
            ast::StmtKind::Sink(e) => StmtKind::Sink(self.expr(e)),
            ast::StmtKind::Error => return None,
        };
        Some(Stmt { kind, span: stmt.span })
    }

    /// Local that an assignment changes.
    fn target(&mut self, name: &Ident) -> Option<LocalId> {
        let Some(local) = self.lookup(&name.name) else {
            let mutable = self
                .frame
                .scopes
                .iter()
                .flatten()
                .filter(|(_, l)| matches!(self.frame.locals[l.0 as usize].kind, LocalKind::Mut | LocalKind::State));
            let near = nearest(&name.name, mutable.map(|(n, _)| n.as_str()));
            self.diagnostics.push(errors::unknown_target(self.file, name, near));
            return None;
        };
        let Local { kind, span, .. } = self.frame.locals[local.0 as usize];
        if !matches!(kind, LocalKind::Mut | LocalKind::State) {
            self.diagnostics.push(errors::not_mutable(self.file, name, span, kind));
            return None;
        }
        Some(local)
    }

    /// Diagnostic for a misplaced statement.
    fn misplaced(&self, stmt: &ast::Stmt) -> Option<Diagnostic> {
        use ast::StmtKind as S;
        let around = &self.frame.around;
        let innermost = around.iter().rposition(|a| matches!(a, Around::Scan | Around::Attend));
        let memory = innermost.map(|at| &around[at]);
        let inside = &around[innermost.map_or(0, |at| at + 1)..];
        let fail = |what, where_, help| Some(errors::misplaced(self.file, stmt.span, what, where_, help));
        let kind = self.frame.kind?;
        match (&stmt.kind, memory) {
            (S::Scan(_), Some(_)) => fail("`scan`", "inside a `scan` or `attend`", "compute it before, outside"),
            (S::Attend(_), Some(_)) => fail("`attend`", "inside a `scan` or `attend`", "compute it before, outside"),
            (S::State { .. }, Some(Around::Scan)) if self.frame.around.last() != Some(&Around::Scan) => {
                fail("`state`", "inside `for` or `if`", "declare it at the top of the `scan`")
            }
            (S::State { .. }, Some(Around::Scan)) => None,
            (S::State { .. }, _) => fail("`state`", "outside `scan`", "write `scan { state S[K, V] = 0 ... }`"),
            (S::Emit { .. }, Some(_)) if inside.contains(&Around::For) => {
                fail("`emit`", "inside `for`", "assign to a `mut` in the loop and emit it after")
            }
            (S::Emit { .. }, Some(_)) => None,
            (S::Emit { .. }, None) => fail("`emit`", "outside `scan` and `attend`", "use `let`"),
            (S::Where(_) | S::Score(_) | S::Weight(_) | S::Sink(_), Some(Around::Attend)) => None,
            (S::Where(_), _) => fail("`where`", "outside `attend`", "write `select(cond, a, b)`"),
            (S::Score(_), _) => fail("`score`", "outside `attend`", "write it inside `attend { ... }`"),
            (S::Weight(_), _) => fail("`weight`", "outside `attend`", "write it inside `attend { ... }`"),
            (S::Sink(_), _) => fail("`sink`", "outside `attend`", "write it inside `attend { ... }`"),
            (S::Let { .. } | S::Error, _) => None,
            (_, Some(Around::Attend)) => fail(
                "this statement",
                "inside `attend`",
                "an `attend` holds `let`, one `where`, one `score` or `weight`, one `sink`, and `emit`s",
            ),
            (S::Assign { .. } | S::Mut { .. } | S::For { .. } | S::If { .. }, _) => None,
            (_, Some(_)) => fail("this statement", "inside `scan`", "write it before the `scan`"),
            (S::Input { .. }, None) if kind != CallableKind::Block => {
                fail("`input`", "outside a block", "a fn has arguments, a model has `tokens`")
            }
            (S::Prefix { .. }, None) if kind != CallableKind::Model => {
                fail("`prefix`", "outside a model", "only a model has documents to put tokens before")
            }
            (S::Output { .. }, None) if kind == CallableKind::Fn => fail("`output`", "in a fn", "write `return`"),
            (S::Return(_), None) if kind != CallableKind::Fn => fail("`return`", "outside a fn", "write `output expr`"),
            (S::Output { .. } | S::Return(_) | S::Input { .. } | S::Prefix { .. }, None)
                if !self.frame.around.is_empty() =>
            {
                fail("this statement", "inside `for` or `if`", "write it at the top level of the body")
            }
            _ => None,
        }
    }

    /// Checks an attend: one `where`, exactly one `score` or `weight`, one `sink`, at least one `emit`.
    fn check_attend(&mut self, block: &ast::Block, span: Span) {
        use ast::StmtKind as S;
        let of =
            |f: fn(&S) -> bool| -> Vec<Span> { block.stmts.iter().filter(|s| f(&s.kind)).map(|s| s.span).collect() };
        let wheres = of(|s| matches!(s, S::Where(_)));
        let maps = of(|s| matches!(s, S::Score(_) | S::Weight(_)));
        let sinks = of(|s| matches!(s, S::Sink(_)));
        let one_map = "write exactly one of `score expr` and `weight expr`";
        let one_sink = "a `sink` adds exp(expr) to the softmax's denominator, once";
        for (spans, what, help) in [
            (&wheres, "`where`", "join the conditions with `and`"),
            (&maps, "`score` or `weight`", one_map),
            (&sinks, "`sink`", one_sink),
        ] {
            if let [first, second, ..] = spans[..] {
                self.diagnostics.push(errors::attend_again(self.file, [first, second], what, help));
            }
        }
        let head = Span { end: span.start + "attend".len() as u32, ..span };
        let mut lacks = |span, what, help| self.diagnostics.push(errors::attend_shape(self.file, span, what, help));
        if maps.is_empty() {
            lacks(head, "has no `score` and no `weight`", one_map);
        }
        if let ([sink], true) = (&sinks[..], of(|s| matches!(s, S::Weight(_))).len() == 1) {
            lacks(*sink, "has a `sink` but no `score`", "a `sink` adds exp(expr) to the softmax's denominator");
        }
        if !block.stmts.iter().any(|s| matches!(s.kind, S::Emit { .. })) {
            lacks(head, "emits nothing", "write `emit o = past(v)`");
        }
    }

    /// Checks that inputs and outputs have distinct names: weights, files and callers refer to them by name.
    fn check_names(&mut self, callable: &ast::Callable) {
        let mut inputs: BTreeMap<&str, Span> = BTreeMap::new();
        let mut outputs: BTreeMap<&str, Span> = BTreeMap::new();
        let ast::Body::Block(body) = &callable.body else { return };
        for stmt in &body.stmts {
            let (seen, name, what) = match &stmt.kind {
                ast::StmtKind::Input { name, .. } => (&mut inputs, name, "inputs"),
                ast::StmtKind::Output { name: Some(name), .. } => (&mut outputs, name, "outputs"),
                _ => continue,
            };
            if let Some(first) = seen.insert(&name.name, name.span) {
                self.diagnostics.push(errors::same_name(self.file, what, name, first, "rename one of them"));
            }
        }
    }

    /// Checks required statements: a block needs inputs and outputs, a model an output, a fn a return at its end.
    pub(super) fn check_shape(&mut self, callable: &ast::Callable, kind: CallableKind, body: &[Stmt]) {
        let outputs: Vec<&Stmt> = body.iter().filter(|s| matches!(s.kind, StmtKind::Output { .. })).collect();
        self.check_names(callable);
        let name = &callable.name;
        match kind {
            CallableKind::Fn => {
                let returns = body.iter().filter(|s| matches!(s.kind, StmtKind::Return(_))).count();
                let last = matches!(body.last().map(|s| &s.kind), Some(StmtKind::Return(_)));
                if returns != 1 || !last {
                    self.diagnostics.push(errors::fn_return(self.file, name, returns));
                }
            }
            CallableKind::Block if !body.iter().any(|s| matches!(s.kind, StmtKind::Input { .. })) => {
                self.diagnostics.push(errors::no_input(self.file, name));
            }
            _ => {}
        }
        if kind != CallableKind::Fn {
            if outputs.is_empty() {
                self.diagnostics.push(errors::no_output(self.file, name));
            }
            let unnamed = outputs.iter().filter(|s| matches!(s.kind, StmtKind::Output { name: None, .. })).count();
            if outputs.len() > 1 && (unnamed > 0 || kind == CallableKind::Model) {
                self.diagnostics.push(errors::unnamed_outputs(self.file, outputs[1].span, kind == CallableKind::Model));
            }
        }
    }
}

/// Replaces the local of an emit.
fn rename_emit(body: &mut [Stmt], from: LocalId, to: LocalId) {
    for stmt in body {
        match &mut stmt.kind {
            StmtKind::Emit { local, .. } if *local == from => *local = to,
            StmtKind::For { body, .. } => rename_emit(body, from, to),
            StmtKind::If { arms, otherwise } => {
                arms.iter_mut().for_each(|(_, body)| rename_emit(body, from, to));
                rename_emit(otherwise, from, to);
            }
            _ => {}
        }
    }
}

/// Whether a body has an emit.
pub(crate) fn emits(body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match &stmt.kind {
        StmtKind::Emit { .. } => true,
        StmtKind::For { body, .. } => emits(body),
        StmtKind::If { arms, otherwise } => arms.iter().any(|(_, body)| emits(body)) || emits(otherwise),
        _ => false,
    })
}
