//! Device parameters used by lowering and planning: the sizes at which its kernels are efficient.
//!
//! The stages before a device depend on these numbers and on nothing else of it. Two devices of one target get the same graphs and plans.
//! Sizes are in elements unless stated otherwise.

/// Sizes at which a device's kernels are efficient; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Maximum length of a scan's chunk, in tokens ([`Target::chunk_of`]).
    pub chunk: usize,
    /// Minimum length of a chunked sequence, in tokens: shorter ones run token by token, because most of a chunk would be padding.
    pub shortest_chunked: usize,
    /// Number of rows and columns of an attend's tile in a graph without chunks; with chunks, a tile is as large as a chunk.
    pub tile: usize,
    /// Size of a loop's states, for one sequence, from which on the loop runs separately for each sequence and each independent index: with
    /// smaller states, one pass over the whole batch makes wider vectors.
    pub wide_state: usize,
    /// Minimum number of elements that stay in the body of a loop that runs separately along its independent axes.
    pub wide_body: usize,
    /// Size of an iteration space that a fused loop always runs as one block, so that any broadcast inside of it is cheap.
    pub block: usize,
    /// Maximum number of members of a fused loop: the blocks of their values stay in the cache next to the core.
    pub members: usize,
    /// Maximum number of elements that a fused loop keeps in one block because they are reduced and the result is read again.
    pub inner: usize,
    /// Maximum number of columns of a linear map that is computed together with others of the same input: a wider one keeps the device busy
    /// alone.
    pub narrow: usize,
    /// Multiply-adds of one matrix product in a batch up to which it is summed element by element instead: with one row or column, and with
    /// several of both.
    pub dot: [usize; 2],
    /// Alignment of the buffers of an arena, in bytes.
    pub align: usize,
    /// Whether loops run for each index of the dimensions that they map, and compute inside of them what only they read. Otherwise one
    /// iteration works on all indices at once, and what depends on no state is computed before the loop for all iterations together.
    pub mapped: bool,
}

impl Target {
    /// The cpu device: vectors of 8 to 16 f32, caches of about 32 KiB and 1 MiB for each core.
    ///
    /// With chunks of 64 tokens, products of tiles and the work of masks and solves balance for 64 to 128 channels.
    pub const fn cpu() -> Self {
        Self {
            chunk: 64,
            shortest_chunked: 16,
            tile: 64,
            wide_state: 1024,
            wide_body: 256,
            block: 8192,
            members: 96,
            inner: 1 << 16,
            narrow: 64,
            dot: [1024, 64],
            // One cache line, so that vectors do not straddle lines.
            align: 64,
            mapped: true,
        }
    }

    /// A tensor library, which runs one op after the other on whole tensors.
    pub const fn library() -> Self {
        Self { mapped: false, ..Self::cpu() }
    }

    /// Length of a chunk for sequences of `len` tokens: `chunk`, halved while the rows are more than 9/8 of those after halving, since
    /// padding costs as much as tokens do. None: token by token.
    pub const fn chunk_of(&self, len: usize) -> Option<usize> {
        if len < self.shortest_chunked {
            return None;
        }
        let mut chunk = self.chunk;
        while chunk > self.shortest_chunked
            && 8 * len.div_ceil(chunk) * chunk > 9 * len.div_ceil(chunk / 2) * (chunk / 2)
        {
            chunk /= 2;
        }
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_waste_little() {
        let target = Target::cpu();
        let chunks = [15, 16, 17, 32, 64, 65, 130, 1024].map(|len| target.chunk_of(len).unwrap_or(0));
        assert_eq!(chunks, [0, 16, 32, 32, 64, 16, 32, 64]);
        for len in 16..=4096 {
            let chunk = target.chunk_of(len).unwrap();
            assert!(target.chunk.is_multiple_of(chunk) && chunk >= target.shortest_chunked, "{len}: {chunk}");
        }
    }
}
