//! The sums of a register tile for AVX2, instruction by instruction.
//!
//! Registers hold up to twelve sums, two vectors of B and a broadcast element of A: a step of the depth for six rows is 12 multiply-adds, 8
//! loads, and the updates of pointers and counters. The multiply-adds alone take 6 cycles. Where another thread shares the core, each
//! thread issues 3 instructions per cycle: then 27 instructions per step, as these loops had when compiled from intrinsics, leave .67 of
//! the rate, and the 22 they have here .82. Four steps share the counter; their addresses are multiples of the strides.

use super::tile::{Mat, Task};
use core::arch::asm;
use core::arch::x86_64::{__m256, _mm256_setzero_ps};

/// One step of the depth: two vectors of B, and their products with one element of each row of A.
macro_rules! step {
    ($b:literal, $(($a:expr, $low:literal, $high:literal))*) => {
        concat!(
            "vmovups ymm0, ymmword ptr [", $b, "]\n",
            "vmovups ymm1, ymmword ptr [", $b, " + 32]\n",
            $(
                "vbroadcastss ymm2, dword ptr [", $a, "]\n",
                "vfmadd231ps ymm", $low, ", ymm0, ymm2\n",
                "vfmadd231ps ymm", $high, ", ymm1, ymm2\n",
            )*
        )
    };
}

/// All steps of the depth: the instructions of `four` steps and of `one`, with the updates of A's pointers, and further operands.
macro_rules! steps {
    ($task:ident, $acc:ident, [$($four:expr),*], [$($one:expr),*], [$($name:ident = $value:expr),*],
     $($row:literal: $low:tt $high:tt)*) => {
        asm!(
            "test {fours}, {fours}",
            "jz 3f",
            ".p2align 5",
            "2:",
            "prefetcht0 [{soon}]",
            "add {soon}, {soon_step}",
            "prefetcht0 [{later}]",
            "add {later}, {later_step}",
            $($four,)*
            "lea {b}, [{b} + 4*{bs}]",
            "dec {fours}",
            "jnz 2b",
            "3:",
            "test {ones}, {ones}",
            "jz 5f",
            "4:",
            $($one,)*
            "add {b}, {bs}",
            "dec {ones}",
            "jnz 4b",
            "5:",
            // not every number of rows uses each of these operands
            "# {a} {a3} {s}",
            $($name = inout(reg) $value => _,)*
            b = inout(reg) $task.b.at => _,
            bs = in(reg) 4 * $task.b.rs,
            bs3 = in(reg) 12 * $task.b.rs,
            fours = inout(reg) $task.k / 4 => _,
            ones = inout(reg) $task.k % 4 => _,
            soon = inout(reg) $task.ahead[0].at => _,
            soon_step = in(reg) 4 * $task.ahead[0].step,
            later = inout(reg) $task.ahead[1].at => _,
            later_step = in(reg) 4 * $task.ahead[1].step,
            $(inout($low) $acc[$row][0], inout($high) $acc[$row][1],)*
            out("ymm0") _, out("ymm1") _, out("ymm2") _,
            options(nostack, readonly),
        )
    };
}

/// Emits the tile of these rows, if there are `R` of them.
macro_rules! tile {
    ($task:ident, $acc:ident, $(($row:literal $by_row:literal $in_column:literal $low:literal $high:literal $low_reg:tt $high_reg:tt))*) => {
        if R == [$($row),*].len() {
            let Mat { at, rs, cs } = $task.a;
            if BY_ROWS {
                steps!(
                    $task, $acc,
                    [
                        step!("{b}", $(($by_row, $low, $high))*),
                        step!("{b} + {bs}", $((concat!($by_row, " + 4"), $low, $high))*),
                        step!("{b} + 2*{bs}", $((concat!($by_row, " + 8"), $low, $high))*),
                        step!("{b} + {bs3}", $((concat!($by_row, " + 12"), $low, $high))*),
                        "add {a}, 16",
                        "add {a3}, 16"
                    ],
                    [step!("{b}", $(($by_row, $low, $high))*), "add {a}, 4", "add {a3}, 4"],
                    [a = at, a3 = at.wrapping_offset(3 * rs), s = 4 * rs],
                    $($row: $low_reg $high_reg)*
                )
            } else {
                steps!(
                    $task, $acc,
                    [
                        step!("{b}", $((concat!("{a}", $in_column), $low, $high))*),
                        step!("{b} + {bs}", $((concat!("{a} + {s}", $in_column), $low, $high))*),
                        step!("{b} + 2*{bs}", $((concat!("{a} + 2*{s}", $in_column), $low, $high))*),
                        step!("{b} + {bs3}", $((concat!("{a} + {a3}", $in_column), $low, $high))*),
                        "lea {a}, [{a} + 4*{s}]"
                    ],
                    [step!("{b}", $((concat!("{a}", $in_column), $low, $high))*), "add {a}, {s}"],
                    [a = at, a3 = 12 * cs, s = 4 * cs],
                    $($row: $low_reg $high_reg)*
                )
            }
        }
    };
}

/// Emits the tiles of the first row, of the first two, and so on.
macro_rules! tiles {
    ($task:ident, $acc:ident, [$($rows:tt)*]) => {};
    ($task:ident, $acc:ident, [$($rows:tt)*] $next:tt $($rest:tt)*) => {
        tile!($task, $acc, $($rows)* $next);
        tiles!($task, $acc, [$($rows)* $next] $($rest)*);
    };
}

/// [`super::sums`] of `R` rows, at most 6, and two whole vectors.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn sums<const R: usize, const BY_ROWS: bool>(task: &Task) -> [[__m256; 2]; R] {
    // SAFETY: the caller's contract: the level has AVX2 and FMA; only entries of A and B are read, and no memory is written.
    unsafe {
        let mut acc = [[_mm256_setzero_ps(); 2]; R];
        // row; its address relative to the first or the fourth row; its offset within a column; the registers of its sums
        tiles!(
            task, acc, []
            (0 "{a}" "" 4 5 "ymm4" "ymm5")
            (1 "{a} + {s}" " + 4" 6 7 "ymm6" "ymm7")
            (2 "{a} + 2*{s}" " + 8" 8 9 "ymm8" "ymm9")
            (3 "{a3}" " + 12" 10 11 "ymm10" "ymm11")
            (4 "{a3} + {s}" " + 16" 12 13 "ymm12" "ymm13")
            (5 "{a3} + 2*{s}" " + 20" 14 15 "ymm14" "ymm15")
        );
        acc
    }
}
