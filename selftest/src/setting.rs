//! The batch on which a program runs: lengths, documents, pieces, the magnitude of its elements.

use crate::generate::Dice;
use archc_compiler::graph::Graph;
use archc_runtime::{Batch, Tensor};
use std::fmt;
use std::str::FromStr;

/// The distribution of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Normal, of deviation 1.
    Ordinary,
    /// Normal, of deviation 1/1000.
    Small,
    /// Normal, of deviation 30.
    Large,
    /// Few different values: -1, -.5, 0, .5, 1, 2.
    Equal,
    /// Each element in its own style.
    Mixed,
}

/// The styles that a batch may have; half of them are ordinary.
const STYLES: [Style; 8] = [
    Style::Ordinary,
    Style::Ordinary,
    Style::Ordinary,
    Style::Ordinary,
    Style::Small,
    Style::Large,
    Style::Equal,
    Style::Mixed,
];

impl Style {
    fn word(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Small => "small",
            Self::Large => "large",
            Self::Equal => "equal",
            Self::Mixed => "mixed",
        }
    }

    fn draw(self, dice: &mut Dice) -> f64 {
        match self {
            Self::Ordinary => dice.normal(),
            Self::Small => 1e-3 * dice.normal(),
            Self::Large => 30.0 * dice.normal(),
            Self::Equal => *dice.pick(&[-1.0, -0.5, 0.0, 0.5, 1.0, 2.0]),
            Self::Mixed => {
                let style = *dice.pick(&[Self::Ordinary, Self::Small, Self::Large, Self::Equal]);
                style.draw(dice)
            }
        }
    }
}

/// One run of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Number of sequences.
    pub batch: usize,
    /// Tokens per sequence.
    pub len: usize,
    /// The tokens at which documents start, as sequence and token; the first of each sequence always does.
    pub starts: Vec<(usize, usize)>,
    /// Ends of the pieces in which it runs once more; the last is `len`.
    pub ends: Vec<usize>,
    /// The distribution of elements.
    pub style: Style,
    /// The seed of the elements.
    pub salt: u64,
}

/// `2x130/large/1234/0:5,1:7/10,130`: sequences x tokens / style / number / documents / pieces. [`FromStr`] reads it back.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { batch, len, style, salt, starts, ends } = self;
        let starts: Vec<String> = starts.iter().map(|(b, t)| format!("{b}:{t}")).collect();
        let ends: Vec<String> = ends.iter().map(usize::to_string).collect();
        write!(f, "{batch}x{len}/{}/{salt}/{}/{}", style.word(), starts.join(","), ends.join(","))
    }
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no batch; write one as a finding does, like 2x130/large/1234/0:5,1:7/10,130");
        let number = |t: &str| t.parse::<usize>().map_err(|_| wrong());
        let [shape, style, salt, starts, ends] = text.split('/').collect::<Vec<_>>()[..] else { return Err(wrong()) };
        let (batch, len) = shape.split_once('x').ok_or_else(wrong)?;
        let (batch, len) = (number(batch)?, number(len)?);
        let style = STYLES.into_iter().find(|s| s.word() == style).ok_or_else(wrong)?;
        let list = |t: &str| -> Vec<String> { t.split(',').filter(|t| !t.is_empty()).map(str::to_owned).collect() };
        let start = |t: String| -> Result<(usize, usize), String> {
            let (b, t) = t.split_once(':').ok_or_else(wrong)?;
            Ok((number(b)?, number(t)?))
        };
        let starts = list(starts).into_iter().map(start).collect::<Result<Vec<_>, _>>()?;
        let ends = list(ends).iter().map(|t| number(t)).collect::<Result<Vec<_>, _>>()?;
        let increasing = ends.windows(2).all(|w| w[0] < w[1]) && ends.first().is_some_and(|e| *e > 0);
        let inside = starts.iter().all(|(b, t)| *b < batch && *t > 0 && *t < len);
        if batch == 0 || len == 0 || ends.last() != Some(&len) || !increasing || !inside {
            return Err(wrong());
        }
        Ok(Self { batch, len, starts, ends, style, salt: salt.parse().map_err(|_| wrong())? })
    }
}

/// Maximum number of tokens of a sequence.
pub const LONGEST: usize = 130;
/// Minimum number of tokens of one run of each program: more than a chunk.
pub const LONG: usize = 65;

impl Setting {
    /// Draws the three runs of a program. One is longer than a chunk; at least one is drawn with packed documents, and at least one
    /// without.
    pub fn three(dice: &mut Dice) -> Vec<Self> {
        let long = LONG + dice.below(LONGEST - LONG + 1);
        let any = 1 + dice.below(LONGEST);
        let short = *dice.pick(&[1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64]);
        let packed = dice.below(2);
        [long, any, short]
            .iter()
            .enumerate()
            .map(|(i, len)| Self::drawn(dice, *len, (i + packed).is_multiple_of(2)))
            .collect()
    }

    fn drawn(dice: &mut Dice, len: usize, packed: bool) -> Self {
        let batch = 1 + dice.below(3);
        let mut starts = Vec::new();
        if packed && len > 1 {
            for b in 0..batch {
                for _ in 0..dice.below(4) {
                    starts.push((b, 1 + dice.below(len - 1)));
                }
            }
            if starts.is_empty() {
                starts.push((dice.below(batch), 1 + dice.below(len - 1)));
            }
            starts.sort_unstable();
            starts.dedup();
        }
        let mut ends: Vec<usize> = (0..dice.below(4)).map(|_| 1 + dice.below(len)).collect();
        if len > 3 && dice.chance(0.5) {
            // some tokens one by one
            let from = 1 + dice.below(len - 3);
            ends.extend(from..from + 3);
        }
        ends.push(len);
        ends.sort_unstable();
        ends.dedup();
        let style = *dice.pick(&STYLES);
        Self { batch, len, starts, ends, style, salt: (dice.uniform() * 1e6) as u64 }
    }

    /// The setting with at most `len` tokens.
    pub fn shortened(&self, len: usize) -> Self {
        let starts = self.starts.iter().copied().filter(|s| s.1 < len).collect();
        let mut ends: Vec<usize> = self.ends.iter().copied().filter(|e| *e < len).collect();
        ends.push(len);
        Self { len, starts, ends, ..self.clone() }
    }

    /// The batch for a program.
    pub fn batch(&self, graph: &Graph) -> Batch {
        let mut all = Batch { batch: self.batch, len: self.len, ..Batch::default() };
        for input in &graph.inputs {
            let axes = input.axes.iter().map(|&a| graph.size(a));
            let shape: Vec<usize> = [self.batch, self.len].into_iter().chain(axes).collect();
            let numbers: usize = shape[2..].iter().product();
            let mut data = Vec::with_capacity(self.batch * self.len * numbers);
            for b in 0..self.batch {
                for t in 0..self.len {
                    let mut dice = self.dice(&input.name, b, t);
                    data.extend((0..numbers).map(|_| self.style.draw(&mut dice)));
                }
            }
            all.inputs.insert(input.name.clone(), Tensor { shape, data });
        }
        if let Some(vocab) = graph.vocab {
            let vocab = graph.size(vocab);
            let ids = |what: &str| -> Vec<u32> {
                let each = (0..self.batch).flat_map(|b| (0..self.len).map(move |t| (b, t)));
                each.map(|(b, t)| self.dice(what, b, t).below(vocab) as u32).collect()
            };
            (all.tokens, all.targets) = (ids("tokens"), ids("targets"));
        }
        if !self.starts.is_empty() {
            all.reset = vec![false; self.batch * self.len];
            (0..self.batch).for_each(|b| all.reset[b * self.len] = true);
            self.starts.iter().for_each(|(b, t)| all.reset[b * self.len + t] = true);
        }
        all
    }

    /// The source of a token's elements, which do not depend on the number of other tokens.
    fn dice(&self, what: &str, b: usize, t: usize) -> Dice {
        Dice::new(&[
            b"numbers",
            what.as_bytes(),
            &self.salt.to_le_bytes(),
            &(b as u64).to_le_bytes(),
            &(t as u64).to_le_bytes(),
        ])
    }
}
