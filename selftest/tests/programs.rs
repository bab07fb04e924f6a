//! Random programs of fixed seeds, on the cpu device: the check of `archc selftest`, which takes any seed.

use archc_runtime::{Cpu, Dtype};
use archc_selftest::run::{Plan, Tested, run};
use std::sync::atomic::AtomicBool;

#[test]
fn random_programs_are_right() {
    let stop = AtomicBool::new(false);
    let (mut wrong, mut void) = (Vec::new(), 0);
    for seed in 1..=3 {
        let plan = Plan {
            device: &Cpu::default(),
            dtype: Dtype::F32,
            seed,
            first: 0,
            programs: 100,
            library: false,
            until: None,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            stop: &stop,
        };
        let done = run(&plan, &mut |tested| match tested {
            Tested::Wrong(number, failure) => {
                let small = &failure.1;
                wrong.push(format!("seed {seed}, program {number}: {}\n{}", small.finding, small.program.text));
            }
            Tested::Void(..) => void += 1,
            Tested::Library(..) | Tested::Right(..) => {}
        });
        assert_eq!(done.unwrap(), 100);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // a program that the checker refuses, or without finite values, gives no verdict
    assert!(void <= 15, "{void} of 300 programs say nothing");
}
