//! Random search, the baseline for researchers.

use super::{Engineer, Researcher};
use crate::board::Knowledge;
use crate::random::Stream;
use crate::record::Hypothesis;
use crate::schedule;

/// Researcher that draws any evaluated program, any place and any move uniformly, without using evidence.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomSearch;

impl Researcher for RandomSearch {
    fn name(&self) -> &str {
        "random"
    }

    fn propose(&self, known: &Knowledge<'_>, engineer: &dyn Engineer, stream: &mut Stream) -> Option<Hypothesis> {
        let programs: Vec<_> = known.history.evaluated().filter(|c| schedule::counts(c)).collect();
        let parent = stream.pick(&programs)?;
        let choices = engineer.choices(parent);
        let choice = stream.pick(&choices)?;
        let mut parents = vec![parent.id];
        if choice.needs_other {
            parents.push(stream.pick(&programs)?.id);
        }
        Some(Hypothesis {
            researcher: self.name().to_owned(),
            parents,
            action: choice.action.to_owned(),
            site: choice.site.clone(),
            why: "drawn at random".to_owned(),
            tasks: Vec::new(),
        })
    }
}
