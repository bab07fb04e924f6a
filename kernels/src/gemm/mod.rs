//! Matrix products.
//!
//! A product is split into register tiles ([`mod@tile`]). Operands that are small or have suitable strides are read in place; otherwise blocks
//! of them are packed into panels, sized so that a panel of B stays in the L1 cache while it is multiplied with all of A's block, and A's
//! block in the L2 cache (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008).
//!
//! Every entry of C is one sum over the depth in blocks of [`DEPTH`], in order. Its bits depend on the shape and the layout, never on
//! addresses.

mod ahead;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
mod band;
mod dense;
mod pack;
mod tile;

pub use band::{Band, Banded, gemm_banded};
pub use dense::multiply;
pub use pack::transpose;

use ahead::{Ahead, Later};
use tile::{Mat, MatMut};
pub(crate) use tile::{Task, sums, tile};

use crate::isa::{Isa, versions};
use crate::lines::LINE;
use crate::room::{Room, keep_panels, panels};
use crate::vector::Vector;
use pack::{MARGIN, pack, pack_rows};

/// Depth of a block: a panel of B, two vectors wide, is 24 KiB with eight lanes.
const DEPTH: usize = 384;
/// Rows of a block of A: with [`DEPTH`], at most 252 KiB.
const ROWS: usize = 168;
/// Columns of a block of B.
const COLS: usize = 1024;

/// Calls the tile of r rows: `whole` says whether B can be read in whole vectors; the strides of A select how it is read.
#[inline(always)]
unsafe fn run_tile<I: Isa, const N: usize>(r: usize, whole: bool, task: &Task) {
    // SAFETY: the caller's contract.
    unsafe {
        match (whole, task.a.cs == 1 && task.a.rs != 1) {
            (true, true) => any_tile::<I, N, true, true>(r, task),
            (true, false) => any_tile::<I, N, true, false>(r, task),
            (false, true) => any_tile::<I, N, false, true>(r, task),
            (false, false) => any_tile::<I, N, false, false>(r, task),
        }
    }
}

#[inline(always)]
unsafe fn any_tile<I: Isa, const N: usize, const WHOLE: bool, const BY_ROWS: bool>(r: usize, task: &Task) {
    macro_rules! arms {
        ($($n:literal)*) => {
            match r {
                // SAFETY: the caller's contract.
                $($n if I::ROWS >= $n && (N == I::COLS || $n <= SKINNY) => unsafe { I::tile::<$n, N, WHOLE, BY_ROWS>(task) },)*
                _ => unreachable!("archc bug: no tile has {r} rows"),
            }
        };
    }
    arms!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
}

/// Number of rows from which on the order in which an entry is summed does not depend on that number.
pub const FEW: usize = 8;

/// Maximum number of rows for which products use wider tiles, so that there are enough independent sums.
const SKINNY: usize = 3;

/// Start and length of part i of `count` nearly equal parts of n.
#[inline(always)]
fn part(n: usize, count: usize, i: usize) -> (usize, usize) {
    let (least, more) = (n / count, n % count);
    (i * least + i.min(more), least + usize::from(i < more))
}

/// Maximum number of rows of A that have a pointer register each.
const POINTERS: usize = 8;

/// The operands of a product that are packed.
struct Blocks {
    pack_a: bool,
    pack_b: bool,
}

#[inline(always)]
unsafe fn blocked<I: Isa, const N: usize>(
    m: usize,
    n: usize,
    k: usize,
    alpha: f32,
    a: Mat,
    b: Mat,
    beta: f32,
    c: MatMut,
    how: &Blocks,
    rooms: (&mut Room, &mut Room),
) {
    let width = N * I::V::LANES;
    let most = if N == I::COLS { I::ROWS } else { SKINNY };
    let depths = k.div_ceil(DEPTH);
    let bands = m.div_ceil(ROWS);
    // SAFETY: all parts are inside of the matrices; the rooms are as large as the blocks packed into them.
    unsafe {
        let room_b =
            if how.pack_b { rooms.1.of(DEPTH * COLS.min(n.next_multiple_of(width))) } else { std::ptr::null_mut() };
        let room_a = if how.pack_a { rooms.0.of((DEPTH + MARGIN) * ROWS.min(m)) } else { std::ptr::null_mut() };
        let mut jc = 0;
        while jc < n {
            let nc = COLS.min(n - jc);
            for d in 0..depths {
                let (pc, kc) = part(k, depths, d);
                let beta = if d == 0 { beta } else { 1.0 };
                for band in 0..bands {
                    let (ic, mc) = part(m, bands, band);
                    // the block of A that is packed next, if A's columns are contiguous
                    let (next_band, next_d) = if band + 1 < bands { (band + 1, d) } else { (0, d + 1) };
                    let block_later = (how.pack_a && a.rs == 1 && next_d < depths).then(|| {
                        let ((ic, mc), (pc, kc)) = (part(m, bands, next_band), part(k, depths, next_d));
                        Later { at: a.from(ic, pc).at, lines: mc.div_ceil(LINE), step: a.cs, count: kc }
                    });
                    let count = mc.div_ceil(most);
                    let (least, more) = (mc / count, mc % count);
                    if how.pack_a {
                        pack_rows::<I>(a.from(ic, pc), mc, kc, count, room_a);
                    }
                    let mut j = 0;
                    while j < nc {
                        let cols = width.min(nc - j);
                        let panel = if how.pack_b {
                            let room = room_b.add(j * kc);
                            if band == 0 {
                                pack::<I>(b.from(pc, jc + j), kc, cols, width, room);
                            }
                            Mat { at: room, rs: width as isize, cs: 1 }
                        } else {
                            b.from(pc, jc + j)
                        };
                        let whole = how.pack_b || cols == width;
                        // the panel of B that is packed next
                        let next_panel = if j + width < nc { (j + width, d) } else { (0, d + 1) };
                        let panel_later = (how.pack_b && b.cs == 1 && band == 0 && next_panel.1 < depths).then(|| {
                            let (pc, kc) = part(k, depths, next_panel.1);
                            let at = b.from(pc, jc + next_panel.0).at;
                            Later { at, lines: width.div_ceil(LINE), step: b.rs, count: kc }
                        });
                        let nothing = [Ahead::nothing(c.at); 2];
                        let mut task = Task { cols, k: kc, alpha, a, b: panel, beta, c, ahead: nothing };
                        let mut i0 = 0;
                        for i in 0..count {
                            let r = least + usize::from(i < more);
                            let rows = if how.pack_a {
                                Mat { at: room_a.add(i0 * kc + i * MARGIN), rs: 1, cs: r as isize }
                            } else {
                                a.from(ic + i0, pc)
                            };
                            task.c = c.from(ic + i0, jc + j);
                            task.a = rows;
                            task.ahead = if !how.pack_a && a.cs == 1 && j == 0 {
                                Ahead::rows(a.from(ic + i0 + r, pc), r, kc)
                            } else {
                                nothing
                            };
                            if let Some(block) = block_later {
                                task.ahead[0] = block.share(j / width * count + i, nc.div_ceil(width) * count);
                            }
                            if let Some(panel) = panel_later {
                                task.ahead[1] = panel.share(i, count);
                            }
                            run_tile::<I, N>(r, whole, &task);
                            i0 += r;
                        }
                        j += width;
                    }
                }
            }
            jc += COLS;
        }
    }
}

/// Multiplies few rows by columns that are contiguous along the depth: inner products.
#[inline(always)]
unsafe fn inner<I: Isa>(m: usize, n: usize, k: usize, alpha: f32, a: Mat, b: Mat, beta: f32, c: MatMut) {
    const SIDE: usize = 4;
    let lanes = I::V::LANES;
    // SAFETY: all offsets are those of entries.
    unsafe {
        for i in 0..m {
            let mut j = 0;
            while j < n {
                let cols = SIDE.min(n - j);
                let mut acc = [I::V::splat(0.0); SIDE];
                let x = a.at.offset(i as isize * a.rs);
                // Columns that are not there repeat the last one.
                let y: [*const f32; SIDE] = std::array::from_fn(|s| b.at.offset((j + s.min(cols - 1)) as isize * b.cs));
                let mut p = 0;
                while p + lanes <= k {
                    let xv = I::V::load(x.add(p));
                    for (acc, y) in acc.iter_mut().zip(y) {
                        *acc = xv.fma(I::V::load(y.add(p)), *acc);
                    }
                    p += lanes;
                }
                if p < k {
                    let xv = I::V::load_part(x.add(p), k - p);
                    for (acc, y) in acc.iter_mut().zip(y) {
                        *acc = xv.fma(I::V::load_part(y.add(p), k - p), *acc);
                    }
                }
                for (s, acc) in acc.into_iter().enumerate().take(cols) {
                    let at = c.at.offset(i as isize * c.rs + (j + s) as isize * c.cs);
                    let sum = alpha * acc.sum();
                    *at = if beta == 0.0 { sum } else { I::fma(beta, *at, sum) };
                }
                j += SIDE;
            }
        }
    }
}

/// Multiplies few rows by long contiguous rows of B: these are accumulated one after the other, so that B is read in memory order.
#[inline(always)]
unsafe fn outer<I: Isa>(m: usize, n: usize, k: usize, alpha: f32, a: Mat, b: Mat, beta: f32, c: MatMut) {
    /// Rows of B that are added at once.
    const SIDE: usize = 4;
    let lanes = I::V::LANES;
    // SAFETY: all offsets are those of entries.
    unsafe {
        for i in 0..m as isize {
            let (row, to) = (a.at.offset(i * a.rs), c.at.offset(i * c.rs));
            let mut p = 0;
            while p < k {
                let have = SIDE.min(k - p);
                // rows that are not there repeat the last one, and are not used
                let x: [f32; SIDE] =
                    std::array::from_fn(|s| alpha * *row.offset((p + s.min(have - 1)) as isize * a.cs));
                let y: [*const f32; SIDE] = std::array::from_fn(|s| b.from(p + s.min(have - 1), 0).at);
                let keep = if p == 0 { beta } else { 1.0 };
                let mut j = 0;
                while j + lanes <= n {
                    let mut sum =
                        if keep == 0.0 { I::V::splat(0.0) } else { I::V::load(to.add(j)).mul(I::V::splat(keep)) };
                    for s in 0..have {
                        sum = I::V::splat(x[s]).fma(I::V::load(y[s].add(j)), sum);
                    }
                    sum.store(to.add(j));
                    j += lanes;
                }
                for j in j..n {
                    let mut sum = if keep == 0.0 { 0.0 } else { *to.add(j) * keep };
                    for s in 0..have {
                        sum = I::fma(x[s], *y[s].add(j), sum);
                    }
                    *to.add(j) = sum;
                }
                p += SIDE;
            }
        }
    }
}

/// Number of columns from which on the rows of B are so far apart that a tile touches new pages all the time.
const LONG: usize = 256;

#[inline(always)]
unsafe fn product<I: Isa>(_: I, m: usize, n: usize, k: usize, alpha: f32, a: Mat, b: Mat, beta: f32, c: MatMut) {
    // SAFETY: the caller's contract.
    unsafe {
        if m <= SKINNY && b.rs == 1 && b.cs != 1 && a.cs == 1 {
            inner::<I>(m, n, k, alpha, a, b, beta, c);
            return;
        }
        if m <= SKINNY && n >= LONG && b.cs == 1 && c.cs == 1 {
            outer::<I>(m, n, k, alpha, a, b, beta, c);
            return;
        }
        // Packing moves n k (or m k) elements for 2 m n k operations. It pays off where rows are many, or strides defeat the caches.
        let how = Blocks {
            pack_b: b.cs != 1 || (m > 4 * I::ROWS && n * k > 4096),
            pack_a: a.rs != 1 && a.cs != 1 || n > 4 * I::V::LANES && m > I::ROWS && (a.cs != 1 || I::ROWS > POINTERS),
        };
        let mut lent = panels();
        let both = (&mut lent.0, &mut lent.1);
        if m <= SKINNY {
            blocked::<I, 4>(m, n, k, alpha, a, b, beta, c, &how, both);
        } else {
            blocked::<I, 2>(m, n, k, alpha, a, b, beta, c, &how, both);
        }
        keep_panels(lent);
    }
}

versions! {
    unsafe fn dispatch(m: usize, n: usize, k: usize, alpha: f32, a: Mat, b: Mat, beta: f32, c: MatMut) = product;
}

/// C = alpha A B + beta C with A `[m, k]`, B `[k, n]` and C `[m, n]`, each with a row stride (`rs`) and a column stride (`cs`) in elements.
/// For beta = 0, C is not read.
pub unsafe fn gemm(
    m: usize,
    n: usize,
    k: usize,
    alpha: f32,
    a: *const f32,
    rsa: isize,
    csa: isize,
    b: *const f32,
    rsb: isize,
    csb: isize,
    beta: f32,
    c: *mut f32,
    rsc: isize,
    csc: isize,
) {
    let (a, b, c) =
        (Mat { at: a, rs: rsa, cs: csa }, Mat { at: b, rs: rsb, cs: csb }, MatMut { at: c, rs: rsc, cs: csc });
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: the caller's contract; the transposed product has the same operands and result.
    unsafe {
        if k == 0 || alpha == 0.0 {
            for i in 0..m as isize {
                for j in 0..n as isize {
                    let at = c.at.offset(i * c.rs + j * c.cs);
                    *at = if beta == 0.0 { 0.0 } else { *at * beta };
                }
            }
        } else if (csc != 1 && rsc == 1) || (n < FEW && n < m) {
            dispatch(n, m, k, alpha, b.transposed(), a.transposed(), beta, c.transposed());
        } else {
            dispatch(m, n, k, alpha, a, b, beta, c);
        }
    }
}

/// Computes `batch` products as [`gemm`] does, with the batch strides `sa`, `sb` and `sc` in elements. A batch stride of 0 shares an
/// operand. If that of C is 0, the products are summed (beta acts once).
pub unsafe fn gemm_batch(
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    alpha: f32,
    a: *const f32,
    sa: isize,
    rsa: isize,
    csa: isize,
    b: *const f32,
    sb: isize,
    rsb: isize,
    csb: isize,
    beta: f32,
    c: *mut f32,
    sc: isize,
    rsc: isize,
    csc: isize,
) {
    // SAFETY: the caller's contract.
    unsafe {
        // Rows of one batch that follow those of the one before are one tall product.
        if sb == 0 && sa == rsa * m as isize && sc == rsc * m as isize {
            gemm(batch * m, n, k, alpha, a, rsa, csa, b, rsb, csb, beta, c, rsc, csc);
            return;
        }
        // Depths that follow each other are one deep product.
        if sc == 0 && sa == csa * k as isize && sb == rsb * k as isize {
            gemm(m, n, batch * k, alpha, a, rsa, csa, b, rsb, csb, beta, c, rsc, csc);
            return;
        }
        for i in 0..batch as isize {
            let beta = if sc == 0 && i > 0 { 1.0 } else { beta };
            gemm(
                m,
                n,
                k,
                alpha,
                a.offset(i * sa),
                rsa,
                csa,
                b.offset(i * sb),
                rsb,
                csb,
                beta,
                c.offset(i * sc),
                rsc,
                csc,
            );
        }
    }
}

#[cfg(test)]
mod tests;
