//! What plans promise beside being right, which the devices' tests hold.

use archc_compiler::graph::Graph;
use archc_compiler::lower::LowerOptions;
use archc_compiler::lowered::Shape;
use archc_compiler::plan::{AttendKernel, Base, Element, Gemm, Kernel, Leaf, LoopKernel, Plan, Start, Work, verify};
use archc_compiler::source::SourceMap;
use archc_compiler::{Options, Purpose, Target, compile, plan_for};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A block of the library in a stack of `layers`.
fn model(block: &str, layers: usize) -> Arc<Graph> {
    let mut sources = SourceMap::new();
    let file = sources.add("block.arch", format!("use std::mixers::{{{block}}}\n"));
    let mut options = Options::default();
    options.sizes.set.insert("D".into(), 32.0);
    options.sizes.layers = Some(layers);
    options.sizes.vocab = 64;
    match compile(&sources, file, &options).into_graph() {
        Ok(graph) => Arc::new(graph),
        Err(found) => panic!("{found:?}"),
    }
}

/// The plan of a training step.
fn training(block: &str, layers: usize) -> Plan {
    let graph = model(block, layers);
    // Of 130 tokens chunks would be halved; the chunk of most sequences is what is looked at here.
    let mut purpose = Purpose::training(&graph, Target::cpu(), 130);
    purpose.options.chunk = Some(Target::cpu().chunk);
    verified(plan_for(&graph, &purpose, Shape { batch: 2, len: 130, carried: 0 }, &mut |_| ()))
}

fn verified(plan: Plan) -> Plan {
    if let Err(why) = verify(&plan) {
        panic!("{why}");
    }
    plan
}

/// Layers between the first and the last have no kernels of their own: they launch those that are there.
#[test]
fn repeated_layers_share_their_kernels() {
    for block in ["Attention", "GatedDeltaNet", "MLSTM", "Hyena", "SLSTM", "ContentSharpRouter"] {
        let (three, five) = (training(block, 3), training(block, 5));
        let kernels = |plan: &Plan| plan.kernel_count().0;
        assert_eq!(kernels(&three), kernels(&five), "{block}");
        assert!(five.root.launches.len() > three.root.launches.len(), "{block}");
        assert_eq!(three.constants_len, five.constants_len, "{block}");
    }
}

/// A launch puts every operand where its layer has it: different layers never write to the same gradient.
#[test]
fn launches_of_one_kernel_write_to_different_gradients() {
    let plan = training("GatedDeltaNet", 3);
    let mut written = BTreeSet::new();
    for launch in &plan.root.launches {
        if let Work::Gemm(g) = plan.root.launched(launch).work
            && g.c.start.base == Base::Grads
            && !g.accumulate
        {
            let at = g.c.start.bytes;
            assert!(written.insert(at), "two products write to the gradient at byte {at}");
        }
    }
    assert!(written.len() >= 3 * 4, "{written:?}");
}

/// A long filter is made of parameters alone: decoding makes it when parameters change, not for every token. Training makes all anew.
#[test]
fn what_parameters_alone_decide_comes_first() {
    let decoding = LowerOptions { carry: true, ..LowerOptions::plain(Target::cpu(), 1) };
    let purpose = Purpose { options: decoding, gradients: None };
    let plan = verified(plan_for(&model("Hyena", 2), &purpose, Shape { batch: 1, len: 1, carried: 256 }, &mut |_| ()));
    let flops = |from: usize, to: usize| -> usize {
        let launched = plan.root.launches[from..to].iter().map(|l| plan.root.launched(l).work);
        launched.map(|work| if let Work::Gemm(g) = work { g.flops() } else { 0 }).sum()
    };
    let (prepared, all) = (flops(0, plan.prepared), flops(0, plan.root.launches.len()));
    assert!(2 * prepared > all, "{prepared} of {all} operations of products are done once");
    assert_eq!(training("Hyena", 2).prepared, 0);
}

/// What breaks an invariant of attends and products is found, with the place.
#[test]
fn broken_plans_are_found() {
    let whole = training("Attention", 1);
    let breaks = |what: &str, found: &str, change: &dyn Fn(&mut AttendKernel) -> usize| {
        let mut plan = whole.clone();
        let mut broken = 0;
        for kernel in &mut plan.root.kernels {
            if let Work::Attend(a) = &mut kernel.work {
                broken += change(a);
            }
        }
        assert!(broken > 0, "{what}: nothing to break");
        match verify(&plan) {
            Ok(()) => panic!("{what}: not found"),
            Err(why) => assert!(why.contains(found), "{what}: {why}"),
        }
    };
    /// Changes all of them; how many they are.
    fn each<T>(all: impl Iterator<Item = T>, change: impl FnMut(T)) -> usize {
        all.map(change).count()
    }
    let products = |a: &mut AttendKernel, change: &dyn Fn(&mut Gemm)| {
        let products = a.body.kernels.iter_mut().filter_map(|k| match &mut k.work {
            Work::Gemm(g) if g.pairs.is_some() => Some(g),
            _ => None,
        });
        each(products, change)
    };
    breaks("rows of a tile twice", "not the rows and columns of a tile", &|a| {
        products(a, &|g| g.pairs = g.pairs.map(|[rows, _]| [rows, rows]))
    });
    breaks("a product past its arena", " reaches ", &|a| {
        let arena = a.body.arena;
        products(a, &|g| g.c.start = Start { base: Base::Scratch, bytes: arena + 4 - 4 * g.m * g.n })
    });
    breaks("two panels at one port", "no free one", &|a| {
        each(a.ports.iter_mut().filter(|p| p.panel.is_some()), |p| p.panel = Some(0))
    });
    breaks("two sums at one port", "no free one", &|a| {
        let sums = a.grad.iter_mut().flat_map(|g| &mut g.sums);
        each(sums.filter(|s| s.port.panel.is_some()), |s| s.port.panel = Some(0))
    });
    breaks("a port without a panel", "moves along no panel", &|a| each([a].into_iter(), |a| a.panels += 1));
    breaks("a panel that is not transposed", "no transpose of its tile", &|a| {
        let ports = a.ports.iter_mut().filter_map(|p| Some((p.transposed.as_mut()?, &p.tile)));
        each(ports, |((_, view), tile)| view.axes.clone_from(&tile.axes))
    });
}

/// What breaks the promise of a port is found: a body stays inside of what each port gives, at every index and iteration.
#[test]
fn bodies_stay_behind_their_ports() {
    let whole = training("GatedDeltaNet", 1);
    let loops = |plan: &mut Plan, change: &dyn Fn(&mut LoopKernel)| {
        for kernel in &mut plan.root.kernels {
            if let Work::Loop(l) = &mut kernel.work {
                change(l);
            }
        }
    };
    let breaks = |what: &str, found: &str, change: &dyn Fn(&mut LoopKernel)| {
        let mut plan = whole.clone();
        loops(&mut plan, change);
        match verify(&plan) {
            Ok(()) => panic!("{what}: not found"),
            Err(why) => assert!(why.contains(found), "{what}: {why}"),
        }
    };
    // what lies behind a value in the arena is another value's: so many that they reach past all of them
    breaks("iterations too many", " reaches ", &|l| l.count += 1 << 20);
    breaks("mapped indices too many", " reaches ", &|l| l.map[0] += 1 << 20);
    breaks("a port that moves too far", " reaches ", &|l| {
        l.ports.iter_mut().flatten().for_each(|port| port.over <<= 20);
    });
    breaks("a body that reads past its port", " reaches ", &|l| {
        for kernel in &mut l.body.kernels {
            if let Work::Gemm(g) = &mut kernel.work {
                g.a.start.bytes += if let Base::Port(_) = g.a.start.base { 4 } else { 0 };
            }
        }
    });
    breaks("a port that nobody gives", "reads port 99", &|l| {
        for kernel in &mut l.body.kernels {
            if let Work::Gemm(g) = &mut kernel.work {
                g.b.start = Start::port(99);
            }
        }
    });
    breaks("a state past the body's arena", "a state that reaches", &|l| {
        let arena = l.body.arena;
        l.states.iter_mut().for_each(|s| s.buffers[1].bytes = arena);
    });
    breaks("two arenas that are one too small", " reaches ", &|l| l.body.arena -= 64);
}

/// A plan is closed: each kernel names all that it reads, with its element, and what no kernel makes is a leaf of the plan.
#[test]
fn leaves_are_operands() {
    let plan = training("Hyena", 1);
    let kinds: Vec<(&Leaf, Element)> = plan.leaves.iter().map(|(leaf, view)| (leaf, view.element)).collect();
    for wanted in [
        (&Leaf::Tokens, Element::U32),
        (&Leaf::Targets, Element::U32),
        (&Leaf::Weights, Element::F64),
        (&Leaf::Positions, Element::U32),
    ] {
        assert!(kinds.contains(&wanted), "{wanted:?} is not among {kinds:?}");
    }
    // a kernel that reads a leaf as something else is found
    let mut wrong = plan.clone();
    fn change(kernels: &mut [Kernel]) -> usize {
        let conv = |k: &mut Kernel| match &mut k.work {
            Work::Conv(c) => {
                c.pos.element = Element::F32;
                1
            }
            _ => 0,
        };
        kernels.iter_mut().map(conv).sum()
    }
    assert!(change(&mut wrong.root.kernels) > 0);
    let why = verify(&wrong).unwrap_err();
    assert!(why.contains("reads f32 as u32"), "{why}");
}
