//! Weisfeiler-Lehman refinement of terms and axes, along definitions and uses.

use super::mix::Mix;
use super::terms::{Number, Role, Terms};
use crate::graph::Graph;
use std::collections::BTreeSet;

/// Colours of the terms that the outputs and losses need, and of the axes on them.
pub(super) struct Colors {
    terms: Vec<Option<u128>>,
    axes: Vec<Option<u128>>,
    roots: Vec<u128>,
}

impl Colors {
    /// Colour of a term; none if nothing needs it.
    pub(super) fn term(&self, term: usize) -> Option<u128> {
        self.terms[term]
    }

    /// All colours, including those of the roots (which depend on the output's number).
    pub(super) fn all(&self) -> Vec<u128> {
        let colors = self.terms.iter().chain(&self.axes).flatten().copied();
        colors.chain(self.roots.iter().copied()).collect()
    }
}

/// Refines until no colour class splits. `sizes`: whether sizes and numbers are significant.
pub(super) fn refine(graph: &Graph, terms: &Terms, sizes: bool) -> Colors {
    let count = terms.list.len();
    let live = live_terms(terms);
    let ids: Vec<usize> = (0..count).filter(|t| live[*t]).collect();

    // users of each term, and terms on each axis; both with the role that the term or axis has there
    let mut users: Vec<Vec<(u64, usize)>> = vec![Vec::new(); count];
    let mut bearers: Vec<Vec<(u64, usize)>> = vec![Vec::new(); graph.axes.len()];
    let mut late: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (state, next) in terms.next.iter().filter(|(state, _)| live[*state]) {
        late[*state].push(*next);
        users[*next].push((NEXT, *state));
    }
    for &t in &ids {
        for (role, arg) in &terms.list[t].args {
            users[*arg].push((role_word(*role, sizes), t));
        }
        for (role, axis) in &terms.list[t].axes {
            bearers[axis.0 as usize].push((u64::from(*role), t));
        }
    }
    let mut root_words: Vec<Vec<u64>> = vec![Vec::new(); count];
    for (role, t) in &terms.roots {
        root_words[*t].push(*role);
    }

    let own: Vec<u128> = (0..count).map(|t| own_color(terms, t, sizes)).collect();
    let mut axes: Vec<u128> = graph
        .axes
        .iter()
        .map(|a| {
            let mut mix = Mix::new("axis");
            mix.word(if sizes { a.size as u64 } else { 0 });
            mix.word(u64::from(a.labels.is_some()));
            mix.finish()
        })
        .collect();

    // One walk down the definitions and one up the uses carry most of the information, so that few rounds follow, however deep the graph.
    let mut colors = own;
    for &t in &ids {
        colors[t] = defined(terms, t, colors[t], &colors, &axes, sizes);
    }
    axes = on_axes(&axes, &bearers, &colors);
    for &t in ids.iter().rev() {
        colors[t] = used(colors[t], &root_words[t], &users[t], &colors);
    }

    let classes = |colors: &[u128], axes: &[u128]| {
        ids.iter().map(|t| colors[*t]).chain(axes.iter().copied()).collect::<BTreeSet<u128>>().len()
    };
    let mut before = 0;
    loop {
        let now = classes(&colors, &axes);
        if now == before {
            break;
        }
        before = now;
        let mut next = colors.clone();
        for &t in &ids {
            let color = defined(terms, t, colors[t], &colors, &axes, sizes);
            let color = used(color, &root_words[t], &users[t], &colors);
            let mut mix = Mix::new("round");
            mix.color(color);
            mix.multiset(late[t].iter().map(|n| (NEXT, colors[*n])).collect());
            next[t] = mix.finish();
        }
        axes = on_axes(&axes, &bearers, &next);
        colors = next;
    }

    let roots = terms.roots.iter().map(|(role, t)| {
        let mut mix = Mix::new("root");
        mix.word(*role);
        mix.color(colors[*t]);
        mix.finish()
    });
    Colors {
        roots: roots.collect(),
        terms: (0..count).map(|t| live[t].then(|| colors[t])).collect(),
        axes: axes.iter().zip(&bearers).map(|(c, b)| (!b.is_empty()).then_some(*c)).collect(),
    }
}

/// The role of a state's next value.
const NEXT: u64 = u64::MAX;

fn live_terms(terms: &Terms) -> Vec<bool> {
    let mut live = vec![false; terms.list.len()];
    let mut next = vec![None; terms.list.len()];
    terms.next.iter().for_each(|(state, value)| next[*state] = Some(*value));
    let mut stack: Vec<usize> = terms.roots.iter().map(|r| r.1).collect();
    while let Some(t) = stack.pop() {
        if !std::mem::replace(&mut live[t], true) {
            stack.extend(terms.list[t].args.iter().map(|a| a.1));
            stack.extend(next[t]);
        }
    }
    live
}

/// Colour of a term by itself. Its site is not part of it.
fn own_color(terms: &Terms, t: usize, sizes: bool) -> u128 {
    let term = &terms.list[t];
    let mut mix = Mix::new(term.tag);
    for number in &term.numbers {
        mix.word(match number {
            Number::Kept(x) => *x,
            Number::Sized(bits) => number_word(*bits, sizes),
        });
    }
    mix.finish()
}

/// Significant bits of a number; without sizes only 0, 1, -1, infinities and the sign are distinguished.
fn number_word(bits: u64, sizes: bool) -> u64 {
    let x = f64::from_bits(bits);
    if sizes || x == 0.0 || x.abs() == 1.0 || x.is_infinite() {
        bits
    } else if x > 0.0 {
        1
    } else {
        2
    }
}

fn role_word(role: Role, sizes: bool) -> u64 {
    match role {
        Role::At(i) => u64::from(i),
        Role::Times(bits) => number_word(bits, sizes) ^ 0x5555_0000_0000_0000,
        Role::Power(n) => u64::from(n as u32) | 0x3333_0000_0000_0000,
    }
}

fn defined(terms: &Terms, t: usize, color: u128, colors: &[u128], axes: &[u128], sizes: bool) -> u128 {
    let term = &terms.list[t];
    let mut mix = Mix::new("defined");
    mix.color(color);
    mix.multiset(term.args.iter().map(|(role, a)| (role_word(*role, sizes), colors[*a])).collect());
    mix.multiset(term.axes.iter().map(|(role, a)| (u64::from(*role), axes[a.0 as usize])).collect());
    mix.finish()
}

fn used(color: u128, roots: &[u64], users: &[(u64, usize)], colors: &[u128]) -> u128 {
    let mut mix = Mix::new("used");
    mix.color(color);
    mix.multiset(roots.iter().map(|r| (*r, 0)).collect());
    mix.multiset(users.iter().map(|(role, u)| (*role, colors[*u])).collect());
    mix.finish()
}

fn on_axes(axes: &[u128], bearers: &[Vec<(u64, usize)>], colors: &[u128]) -> Vec<u128> {
    let refined = axes.iter().zip(bearers).map(|(color, bearers)| {
        let mut mix = Mix::new("bearers");
        mix.color(*color);
        mix.multiset(bearers.iter().map(|(role, t)| (*role, colors[*t])).collect());
        mix.finish()
    });
    refined.collect()
}
