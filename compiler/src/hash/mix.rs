//! A small 128-bit hash for colours: two lanes of multiply and fold. It is stable across versions and machines, which the standard
//! library's hasher does not promise.

/// Collects words into a colour.
#[derive(Clone, Copy)]
pub(super) struct Mix(u64, u64);

impl Mix {
    /// Starts with a tag, so that different kinds never collide by shape.
    pub(super) fn new(tag: &str) -> Self {
        let mut mix = Self(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344);
        tag.bytes().for_each(|b| mix.word(u64::from(b)));
        mix.word(tag.len() as u64);
        mix
    }

    /// Adds a word.
    pub(super) fn word(&mut self, x: u64) {
        self.0 = fold(self.0 ^ x, 0x9e37_79b9_7f4a_7c15);
        self.1 = fold(self.1.rotate_left(29) ^ x, 0xd6e8_feb8_6659_fd93) ^ self.0.rotate_left(17);
    }

    /// Adds a colour.
    pub(super) fn color(&mut self, x: u128) {
        self.word(x as u64);
        self.word((x >> 64) as u64);
    }

    /// Adds a multiset: sorted, so that its order does not matter.
    pub(super) fn multiset(&mut self, mut items: Vec<(u64, u128)>) {
        items.sort_unstable();
        self.word(items.len() as u64);
        for (role, color) in items {
            self.word(role);
            self.color(color);
        }
    }

    /// Returns the colour.
    pub(super) fn finish(self) -> u128 {
        u128::from(fold(self.0, 0xa076_1d64_78bd_642f)) << 64 | u128::from(fold(self.1, 0xe703_7ed1_a0b4_28db))
    }
}

/// Both halves of the product, xored.
fn fold(x: u64, by: u64) -> u64 {
    let product = u128::from(x ^ 0x2d35_8dcc_aa6c_78a5) * u128::from(by);
    (product as u64) ^ ((product >> 64) as u64) ^ x.rotate_left(32)
}
