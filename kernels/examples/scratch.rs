use archc_kernels::gemm::gemm;
use std::time::Instant;
unsafe extern "C" {
    fn madvise(p: *mut u8, n: usize, a: i32) -> i32;
    fn aligned_alloc(a: usize, n: usize) -> *mut u8;
}
fn buf(n: usize) -> *mut f32 {
    unsafe {
        let b = (n * 4).next_multiple_of(1 << 21);
        let p = aligned_alloc(1 << 21, b);
        madvise(p, b, 14);
        let p = p as *mut f32;
        for i in 0..n {
            *p.add(i) = (i % 97) as f32 / 97.0 - 0.5;
        }
        p
    }
}
fn main() {
    let shapes = [
        (1024, 256, 64, 0, 0),
        (1024, 256, 64, 0, 1),
        (1024, 64, 256, 0, 0),
        (1024, 64, 256, 0, 1),
        (256, 64, 1024, 1, 0),
        (64, 256, 1024, 1, 0),
        (64, 64, 1024, 1, 0),
        (1024, 64, 64, 0, 0),
        (1024, 64, 64, 0, 1),
        (4096, 512, 128, 0, 0),
        (4096, 512, 128, 0, 1),
        (4096, 128, 512, 0, 0),
        (4096, 128, 512, 0, 1),
        (512, 128, 4096, 1, 0),
        (128, 512, 4096, 1, 0),
        (4096, 128, 128, 0, 1),
        (128, 128, 4096, 1, 0),
        (2048, 1024, 256, 0, 1),
        (2048, 256, 1024, 0, 1),
        (1024, 256, 2048, 1, 0),
        (256, 1024, 2048, 1, 0),
        (256, 128, 32, 0, 1),
        (128, 32, 256, 1, 0),
        (64, 64, 16, 0, 1),
        (64, 64, 32, 0, 1),
        (64, 16, 64, 1, 0),
        (64, 16, 64, 0, 0),
        (64, 64, 8, 0, 1),
        (64, 32, 64, 1, 0),
    ];
    let only: Option<usize> = std::env::args().nth(1).map(|x| x.parse().unwrap());
    for (i, (m, n, k, ta, tb)) in shapes.into_iter().enumerate() {
        if only.is_some_and(|o| o != i) {
            continue;
        }
        let set = (m * k + n * k + m * n) * 4;
        let count = ((96 << 20) / set).clamp(2, 64);
        let cold: Vec<_> = (0..count).map(|_| (buf(m * k), buf(n * k), buf(m * n))).collect();
        let run = |(a, b, c): (*mut f32, *mut f32, *mut f32)| unsafe {
            let sa = if ta == 1 { (1, m as isize) } else { (k as isize, 1) };
            let sb = if tb == 1 { (1, k as isize) } else { (n as isize, 1) };
            gemm(m, n, k, 1.0, a, sa.0, sa.1, b, sb.0, sb.1, 0.0, c, n as isize, 1)
        };
        let flops = 2.0 * (m * n * k) as f64;
        let reps = (5e7 / flops).ceil() as usize;
        let mut off = 0;
        let mut best = [f64::MAX; 2];
        for _ in 0..60 {
            let t = Instant::now();
            for _ in 0..reps {
                run(cold[0]);
            }
            best[0] = best[0].min(t.elapsed().as_secs_f64() / reps as f64);
            let reps = reps.min(count);
            off += reps;
            let t = Instant::now();
            for i in 0..reps {
                run(cold[(off + i) % count]);
            }
            best[1] = best[1].min(t.elapsed().as_secs_f64() / reps as f64);
        }
        println!(
            "{m:5} {n:5} {k:5} {}{}  hot {:6.1}  cold {:6.1}",
            if ta == 1 { 'T' } else { 'N' },
            if tb == 1 { 'T' } else { 'N' },
            flops / best[0] / 1e9,
            flops / best[1] / 1e9
        );
        for (a, b, c) in cold {
            unsafe {
                for p in [a, b, c] {
                    unsafe extern "C" {
                        fn free(p: *mut u8);
                    }
                    free(p as *mut u8);
                }
            }
        }
    }
}
