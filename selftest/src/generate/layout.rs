//! Ops that rearrange elements: stacks, picks, splits, joins, renames.

use super::{Kind, Writer, sorted, within, without};

impl Writer {
    /// Writes one of these ops.
    pub(super) fn layout(&mut self) -> Option<usize> {
        match self.dice.below(7) {
            0 => self.rename(),
            1 => self.stack(),
            2 => self.picked(),
            3 => self.flatten(),
            4 => self.split(),
            5 => self.cat(),
            _ => self.cut(),
        }
    }

    /// Renames an axis, often for the other side of a matrix.
    fn rename(&mut self) -> Option<usize> {
        let v = self.operand(|_, v| !v.axes.is_empty())?;
        let own = self.values[v].axes.clone();
        let from = *self.dice.pick(&own);
        let size = self.axes[from].size;
        let to = self.axis("J", size, false);
        let mut draft =
            self.like(v, format!("rename[{} -> {}]({})", self.axes[from].name, self.axes[to].name, self.text(v)));
        draft.axes = sorted(&[without(&own, &[from]), vec![to]].concat());
        let at = self.add(draft);
        if self.count(&own) * size > self.room || self.dice.chance(0.3) {
            return Some(at);
        }
        self.mark(&[at]);
        let pairs = self.joined(&[v, at], format!("{} * {}", self.text(v), self.text(at)));
        Some(self.add(pairs))
    }

    fn stack(&mut self) -> Option<usize> {
        let first = self.any()?;
        let own = self.values[first].axes.clone();
        let count = 1 + self.dice.below(3);
        if self.count(&own) * (count + 1) > self.room {
            return None;
        }
        let mut of = vec![first];
        for _ in 0..count {
            let o = own.clone();
            of.push(self.operand(|_, v| within(&v.axes, &o))?);
        }
        let p = self.axis("P", of.len(), false);
        let mut labels = Vec::new();
        let mut parts = Vec::new();
        for v in &of {
            let x = self.text(*v);
            let label = self.fresh("l");
            parts.push(format!("{label} = {x}"));
            labels.push(label);
        }
        self.axes[p].labels = labels;
        let mut draft = self.joined(&of, format!("stack[{}]({})", self.axes[p].name, parts.join(", ")));
        draft.axes.push(p);
        draft.degree = of.iter().map(|v| self.values[*v].degree).max().unwrap_or(0);
        draft.exact = of.iter().all(|v| self.values[*v].exact);
        Some(self.add(draft))
    }

    fn picked(&mut self) -> Option<usize> {
        let v = self.operand(|_, v| !v.axes.is_empty())?;
        let own = self.values[v].axes.clone();
        let a = *self.dice.pick(&own);
        let axis = self.axes[a].clone();
        let at = if axis.labels.is_empty() {
            self.dice.below(axis.size).to_string()
        } else {
            self.dice.pick(&axis.labels).clone()
        };
        let mut draft = self.like(v, format!("{}[{} = {at}]", self.text(v), axis.name));
        draft.axes = without(&own, &[a]);
        Some(self.add(draft))
    }

    fn flatten(&mut self) -> Option<usize> {
        let v = self.operand(|_, v| v.axes.len() > 1)?;
        let own = self.values[v].axes.clone();
        let mut from = self.subset(&own, 2);
        self.dice.shuffle(&mut from);
        let size = self.count(&from);
        let to = self.axis("F", size, false);
        let mut draft =
            self.like(v, format!("flatten[{} -> {}]({})", self.names(&from), self.axes[to].name, self.text(v)));
        draft.axes = sorted(&[without(&own, &from), vec![to]].concat());
        Some(self.add(draft))
    }

    fn split(&mut self) -> Option<usize> {
        let v = self.operand(|_, v| !v.axes.is_empty())?;
        let own = self.values[v].axes.clone();
        let a = *self.dice.pick(&own);
        let size = self.axes[a].size;
        let divisors: Vec<usize> = (1..=size).filter(|d| size.is_multiple_of(*d)).collect();
        let first = *self.dice.pick(&divisors);
        let p = self.axis("S", first, true);
        let q = self.axis("S", size / first, true);
        let mut draft = self.like(
            v,
            format!("split[{} -> {}, {}]({})", self.axes[a].name, self.axes[p].name, self.axes[q].name, self.text(v)),
        );
        draft.axes = sorted(&[without(&own, &[a]), vec![p, q]].concat());
        Some(self.add(draft))
    }

    fn cat(&mut self) -> Option<usize> {
        let v = self.operand(|_, v| !v.axes.is_empty())?;
        let own = self.values[v].axes.clone();
        let a = *self.dice.pick(&own);
        if self.count(&own) * 2 > self.room {
            return None;
        }
        let o = own.clone();
        let u = self.operand(|_, v| v.axes == o)?;
        let e = self.axis("E", 2 * self.axes[a].size, false);
        let name = &self.axes[a].name;
        let text = format!("cat[{name} + {name} -> {}]({}, {})", self.axes[e].name, self.text(v), self.text(u));
        let mut draft = self.joined(&[v, u], text);
        draft.axes = sorted(&[without(&own, &[a]), vec![e]].concat());
        draft.degree = self.values[v].degree.max(self.values[u].degree);
        draft.exact = self.values[v].exact && self.values[u].exact;
        Some(self.add(draft))
    }

    fn cut(&mut self) -> Option<usize> {
        let v = self.operand(|w, v| v.axes.iter().any(|a| w.axes[*a].size > 1))?;
        let own = self.values[v].axes.clone();
        let long: Vec<usize> = own.iter().copied().filter(|a| self.axes[*a].size > 1).collect();
        let a = *self.dice.pick(&long);
        let size = self.axes[a].size;
        let first = 1 + self.dice.below(size - 1);
        let p = self.axis("C", first, true);
        let q = self.axis("C", size - first, true);
        let names = [self.fresh("v"), self.fresh("v")];
        self.line(&format!(
            "let ({}, {}) = cut[{} -> {} + {}]({})",
            names[0],
            names[1],
            self.axes[a].name,
            self.axes[p].name,
            self.axes[q].name,
            self.text(v)
        ));
        let mut last = None;
        for (name, axis) in names.into_iter().zip([p, q]) {
            let mut draft = self.like(v, String::new());
            draft.axes = sorted(&[without(&own, &[a]), vec![axis]].concat());
            if draft.kind == Kind::Positive {
                draft.kind = Kind::Any;
            }
            last = Some(self.known(name, draft));
        }
        last
    }
}
