//! `archc forward` against the numbers of other implementations, and its refusals.

use crate::{Folder, Run, archc, root};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use std::collections::BTreeMap;
use std::path::Path;

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

fn read(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let numbers = |view: &TensorView<'_>| -> Vec<f64> {
        match view.dtype() {
            Dtype::F64 => view.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
            Dtype::F32 => {
                view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect()
            }
            other => panic!("{other:?}"),
        }
    };
    file.tensors().into_iter().map(|(name, view)| (name, (view.shape().to_vec(), numbers(&view)))).collect()
}

fn write(path: &Path, tensors: &Tensors) {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, data))| (name.clone(), shape.clone(), data.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect();
    let views = bytes.iter().map(|(n, s, b)| (n, TensorView::new(Dtype::F64, s.clone(), b).expect("a tensor")));
    std::fs::write(path, serialize(views, None).expect("safetensors")).expect("a file");
}

/// Relative L2 difference |a - b| / |b|.
fn difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |x: f64| x * x;
    let apart: f64 = a.iter().zip(b).map(|(x, y)| square(x - y)).sum();
    (apart / b.iter().map(|y| square(*y)).sum::<f64>().max(1e-300)).sqrt()
}

fn fixture(name: &str, part: &str) -> std::path::PathBuf {
    root().join("tests/fixtures").join(format!("{name}.{part}"))
}

struct Files {
    folder: Folder,
    program: std::path::PathBuf,
    weights: std::path::PathBuf,
    input: std::path::PathBuf,
}

impl Files {
    fn of(name: &str) -> Self {
        Self {
            folder: Folder::new(&[]),
            program: fixture(name, "arch"),
            weights: fixture(name, "weights.safetensors"),
            input: fixture(name, "io.safetensors"),
        }
    }

    fn run(&self, more: &[&str]) -> Run {
        let y = self.folder.path("y.safetensors");
        let mut args = vec!["forward".as_ref(), self.program.as_os_str(), "--weights".as_ref()];
        args.extend([self.weights.as_os_str(), "--input".as_ref(), self.input.as_os_str(), "--output".as_ref()]);
        args.push(y.as_os_str());
        args.extend(more.iter().map(|a| std::ffi::OsStr::new(*a)));
        archc(&args)
    }

    /// Replaces the weights.
    fn with_weights(mut self, change: impl FnOnce(&mut Tensors)) -> Self {
        let mut tensors = read(&self.weights);
        change(&mut tensors);
        self.weights = self.folder.path("changed.safetensors");
        write(&self.weights, &tensors);
        self
    }

    fn with_input(mut self, change: impl FnOnce(&mut Tensors)) -> Self {
        let mut tensors = read(&self.input);
        change(&mut tensors);
        self.input = self.folder.path("input.safetensors");
        write(&self.input, &tensors);
        self
    }
}

const SIZES: [&str; 2] = ["--set=D=32", "--set=H=2"];
const DESIGNS: [&str; 2] = ["adaptive_mix_gate", "content_aware_fusion"];

#[test]
fn published_designs_give_the_numbers_of_their_originals() {
    for name in DESIGNS {
        let files = Files::of(name);
        let gradients = files.folder.text("g.safetensors");
        files.run(&[&SIZES[..], &["--dtype=f64", "--grads", &gradients]].concat()).done();
        let (wanted, outputs, gradients) =
            (read(&files.input), read(&files.folder.path("y.safetensors")), read(gradients.as_ref()));
        // The originals and an independent interpreter agree to 1e-14 in f64; 1e-10 allows for another order of summation.
        assert!(difference(&outputs["output"].1, &wanted["output"].1) < 1e-10, "{name}");
        let mut compared = 0;
        for (path, (shape, data)) in wanted.iter().filter_map(|(n, t)| Some((n.strip_prefix("grad/")?, t))) {
            assert_eq!(&gradients[path].0, shape, "{name} {path}");
            assert!(difference(&gradients[path].1, data) < 1e-10, "{name} {path}");
            compared += 1;
        }
        assert_eq!(compared, gradients.len(), "{name}: a gradient for every parameter and the input");
        // Tolerances of f32 on every device: 1e-5 forward and 1e-4 backward.
        let gradients = files.folder.text("g.safetensors");
        files.run(&[&SIZES[..], &["--grads", &gradients]].concat()).done();
        let (outputs, gradients) = (read(&files.folder.path("y.safetensors")), read(gradients.as_ref()));
        assert!(difference(&outputs["output"].1, &wanted["output"].1) < 1e-5, "{name}");
        assert!(difference(&gradients["input"].1, &wanted["grad/input"].1) < 1e-4, "{name}");
    }
}

#[test]
fn weights_may_have_other_names() {
    let files = Files::of(DESIGNS[0]);
    files.run(&[&SIZES[..], &["--dtype=f64"]].concat()).done();
    let wanted = read(&files.folder.path("y.safetensors"));
    let path = read(&files.weights).into_keys().next().expect("a parameter");
    let files = files.with_weights(|w| {
        let tensor = w.remove(&path).expect("it is there");
        w.insert("model.0.attn.other_name".into(), tensor);
    });
    files.run(&SIZES).refused(2, "E0807");
    let map = files.folder.text("map.json");
    let mapped = |text: &str| {
        std::fs::write(&map, text).unwrap();
        files.run(&[&SIZES[..], &["--dtype=f64", "--names", &map]].concat())
    };
    mapped(&format!("{{\"{path}\": \"model.0.attn.other_name\"}}")).done();
    assert_eq!(read(&files.folder.path("y.safetensors")), wanted);
    mapped(&format!("{{\"{path}\": \"nothing\"}}")).refused(2, "E0841");
    mapped("{\"nothing\": \"model.0.attn.other_name\"}").refused(2, "E0841");
    mapped("[1, 2]").refused(2, "E0841");
    mapped("{\"a\": ").refused(2, "E0841");
    mapped(&format!("{{\"{path}\": 3}}")).refused(2, "E0841");
}

#[test]
fn weights_that_do_not_fit() {
    let path = read(&fixture(DESIGNS[0], "weights.safetensors")).into_keys().next().expect("a parameter");
    let changed = |change: &dyn Fn(&mut Tensors)| Files::of(DESIGNS[0]).with_weights(change).run(&SIZES);
    changed(&|w| drop(w.remove(&path))).refused(2, "E0806");
    changed(&|w| drop(w.insert("extra".into(), (vec![1], vec![0.0])))).refused(2, "E0807");
    changed(&|w| {
        let (shape, _) = w.get_mut(&path).expect("it is there");
        shape.push(1);
    })
    .refused(2, "E0808");
    for bad in [f64::NAN, f64::INFINITY] {
        changed(&|w| w.get_mut(&path).expect("it is there").1[0] = bad).refused(2, "E0809");
    }
    // Too large for f32, though not for f64.
    changed(&|w| w.get_mut(&path).expect("it is there").1[0] = 1e300).refused(2, "E0809");
    // Weights of other sizes.
    Files::of(DESIGNS[0]).run(&["--set=D=64", "--set=H=2"]).refused(2, "E0808");
    // An incomplete file, or no weights at all.
    let mut files = Files::of(DESIGNS[0]);
    let bytes = std::fs::read(&files.weights).unwrap();
    files.weights = files.folder.path("cut.safetensors");
    for cut in [0, 7, 100, bytes.len() - 1] {
        std::fs::write(&files.weights, &bytes[..cut]).unwrap();
        files.run(&SIZES).refused(2, "E0821");
    }
    files.weights = files.folder.path("missing");
    files.run(&SIZES).refused(1, "E0820");
}

#[test]
fn inputs_that_do_not_fit() {
    let changed = |change: &dyn Fn(&mut Tensors)| {
        let files = Files::of(DESIGNS[0]).with_input(change);
        let gradients = files.folder.text("g.safetensors");
        files.run(&[&SIZES[..], &["--grads", &gradients]].concat())
    };
    changed(&|x| drop(x.remove("input"))).refused(2, "E0802");
    changed(&|x| drop(x.remove("R"))).refused(2, "E0844");
    changed(&|x| drop(x.insert("R".into(), (vec![1], vec![0.0])))).refused(2, "E0812");
    changed(&|x| drop(x.insert("input".into(), (vec![1, 2, 31], vec![0.0; 62])))).refused(2, "E0803");
    changed(&|x| drop(x.insert("input".into(), (vec![32], vec![0.0; 32])))).refused(2, "E0803");
    changed(&|x| drop(x.insert("input".into(), (vec![0, 4, 32], vec![])))).refused(2, "E0801");
    changed(&|x| x.get_mut("input").expect("it is there").1[7] = f64::NAN).refused(2, "E0805");
    changed(&|x| drop(x.insert("reset".into(), (vec![2], vec![1.0, 0.0])))).refused(2, "E0803");
}

#[test]
fn documents_are_apart() {
    // Two documents packed into one row give the outputs of each alone.
    let files = Files::of(DESIGNS[1]);
    let (_, x) = &read(&files.input)["input"];
    let (cut, len, width) = (23, 70, 32);
    let forward = |input: Tensors| {
        let files = Files::of(DESIGNS[1]).with_input(|x| *x = input);
        files.run(&[&SIZES[..], &["--dtype=f64"]].concat()).done();
        read(&files.folder.path("y.safetensors"))["output"].1.clone()
    };
    let row = |from: usize, to: usize| {
        Tensors::from([("input".into(), (vec![1, to - from, width], x[from * width..to * width].to_vec()))])
    };
    let mut packed = row(0, len);
    packed.insert("reset".into(), (vec![1, len], (0..len).map(|t| f64::from(t == cut)).collect()));
    let apart = [forward(row(0, cut)), forward(row(cut, len))].concat();
    // Equal up to the order of summation.
    assert!(difference(&forward(packed), &apart) < 1e-12);
    assert!(difference(&forward(row(0, len)), &apart) > 1e-3, "without a reset the second half sees the first");
}

#[test]
fn models_read_tokens() {
    let folder = Folder::new(&[(
        "m.arch",
        "use std::mixers::{DeltaNet}\nmodel M[D] {\n    let e = embed[D](tokens)\n    \
        output head(e + DeltaNet[D](rmsnorm[D](e)), tie = e)\n}\n",
    )]);
    let input = folder.path("x.safetensors");
    let run = |tokens: Vec<f64>| {
        write(&input, &Tensors::from([("tokens".into(), (vec![1, tokens.len()], tokens))]));
        let args = ["forward", &folder.text("m.arch"), "--vocab", "5", "--set", "D=16", "--seed", "3"];
        let files = ["--input", &folder.text("x.safetensors"), "--output", &folder.text("y.safetensors")];
        archc(&[&args[..], &files].concat())
    };
    run(vec![0.0, 4.0, 2.0]).done();
    let first = read(&folder.path("y.safetensors"));
    assert_eq!(first["output"].0, [1, 3, 5]);
    run(vec![0.0, 4.0, 2.0]).done();
    assert_eq!(first, read(&folder.path("y.safetensors")), "the same seed gives the same bits");
    run(vec![0.0, 5.0]).refused(2, "E0804");
    run(vec![0.5]).refused(2, "E0804");
    run(vec![-1.0]).refused(2, "E0804");
    run(vec![f64::NAN]).refused(2, "E0804");
    run(vec![]).refused(2, "E0801");
}

/// Tokens `from..to` of several rows.
fn piece(tensors: &Tensors, rows: usize, from: usize, to: usize) -> Tensors {
    let cut = |(name, (shape, data)): (&String, &(Vec<usize>, Vec<f64>))| {
        let (len, each) = (shape[1], shape[2..].iter().product::<usize>());
        let row = |b: usize| data[(b * len + from) * each..(b * len + to) * each].to_vec();
        let shape = [&[rows, to - from], &shape[2..]].concat();
        (name.clone(), (shape, (0..rows).flat_map(row).collect()))
    };
    tensors.iter().map(cut).collect()
}

/// Programs with different kinds of carried state: memory and windows, keys and values, positions, a prefix, a span that
/// ends.
const DECODED: [(&str, &str); 5] = [
    (
        "memory",
        "use std::mixers::{GatedDeltaNet}\nmodel M[D] { let e = embed[D](tokens)\n output head(e + GatedDeltaNet[D](rmsnorm[D](e)), tie = e) }\n",
    ),
    (
        "attention",
        "use std::mixers::{Attention}\nmodel M[D] { let e = embed[D](tokens)\n output head(e + Attention[D](rmsnorm[D](e)), tie = e) }\n",
    ),
    (
        "sliding",
        "use std::mixers::{SlidingAttention}\nmodel M[D] { let e = embed[D](tokens)\n output head(e + SlidingAttention[D](rmsnorm[D](e), span = 3), tie = e) }\n",
    ),
    (
        "stabilised",
        "use std::mixers::{MLSTM}\nmodel M[D] { let e = embed[D](tokens)\n output head(e + MLSTM[D](rmsnorm[D](e)), tie = e) }\n",
    ),
    (
        "prefix",
        "use std::mixers::{Attention}\nmodel M[D](P = 2) { prefix m[P, D] = normal(0.02)\n let e = embed[D](tokens)\n output head(e + Attention[D](rmsnorm[D](e)), tie = e) }\n",
    ),
];

#[test]
fn decoding_gives_what_the_whole_sequence_gives() {
    let (batch, len) = (2, 13);
    let tokens = (0..batch * len).map(|i| (i * i % 7) as f64).collect();
    // Packed documents that start at different tokens in each row; one of them is a single token.
    let reset = (0..batch * len).map(|i| f64::from([0, 5, 6, 13 + 9].contains(&i))).collect();
    let whole: Tensors =
        [("tokens".to_owned(), (vec![batch, len], tokens)), ("reset".to_owned(), (vec![batch, len], reset))].into();
    for (name, text) in DECODED {
        let folder = Folder::new(&[("m.arch", text)]);
        let (input, y, carry) =
            (folder.text("x.safetensors"), folder.path("y.safetensors"), folder.text("c.safetensors"));
        let run = |tensors: &Tensors, more: &[&str]| {
            write(input.as_ref(), tensors);
            let args =
                ["forward", &folder.text("m.arch"), "--vocab", "7", "--set", "D=16", "--seed", "3", "--dtype=f64"];
            archc(&[&args[..], &["--input", &input, "--output", &folder.text("y.safetensors")], more].concat()).done();
            read(&y).remove("output").expect("an output")
        };
        let (shape, wanted) = run(&whole, &[]);
        assert_eq!(shape, [batch, len, 7], "{name}");
        // f64: only the order of summation may differ.
        let same = |(other, data): (Vec<usize>, Vec<f64>), wanted: &[f64], what: &str| {
            assert_eq!(other[0], batch, "{name} {what}");
            assert!(difference(&data, wanted) < 1e-11, "{name} {what}: {}", difference(&data, wanted));
        };
        same(run(&whole, &["--step"]), &wanted, "step by step");
        let outputs: Tensors = [("output".to_owned(), (shape, wanted))].into();
        for cut in [1, 6] {
            let part =
                |from, to| (piece(&whole, batch, from, to), piece(&outputs, batch, from, to)["output"].1.clone());
            let ((head, first), (tail, second)) = (part(0, cut), part(cut, len));
            let ways = [
                (None, Some("--step")),
                (Some("--step"), None),
                (None, Some("--device=lowered")),
                (Some("--device=lowered"), None),
            ];
            for (before, after) in ways {
                let with = |way: Option<&'static str>, option| {
                    way.into_iter().chain([option, carry.as_str()]).collect::<Vec<&str>>()
                };
                same(run(&head, &with(before, "--carry-out")), &first, "head");
                same(run(&tail, &with(after, "--carry-in")), &second, "tail");
            }
        }
    }
}

#[test]
fn carries_belong_to_a_program_and_a_batch() {
    let (_, text) = DECODED[0];
    let folder = Folder::new(&[("m.arch", text)]);
    let input = folder.text("x.safetensors");
    let run = |rows: usize, more: &[&str]| {
        write(input.as_ref(), &[("tokens".to_owned(), (vec![rows, 2], vec![1.0; 2 * rows]))].into());
        let args = ["forward", &folder.text("m.arch"), "--vocab=7", "--input", &input, "--output"];
        archc(&[&args[..], &[&folder.text("y.safetensors")], more].concat())
    };
    let carry = folder.text("c.safetensors");
    run(2, &["--set=D=16", "--carry-out", &carry]).done();
    run(2, &["--set=D=16", "--carry-in", &carry]).done();
    run(3, &["--set=D=16", "--carry-in", &carry]).refused(2, "E0811");
    run(2, &["--set=D=32", "--carry-in", &carry]).refused(2, "E0846");
    run(2, &["--set=D=16", "--carry-in", &input]).refused(2, "E0846");
    run(2, &["--set=D=16", "--carry-in", &folder.text("none")]).refused(1, "E0820");
    let both = run(2, &["--set=D=16", "--step", "--grads", &folder.text("g.safetensors")]);
    assert_eq!(both.code, 2, "{}", both.err);
}

/// Two linears, a depthwise convolution and a scalar, which PyTorch stores in other shapes.
const LAYOUTS: &str = "block P[D, H, K] {
    input x[D]
    param g = 1
    let q[H, K] = linear[H, K](x)
    let k[H, K] = linear[H, K](x)
    let c[H, K] = conv(q, width = 2)
    output g * c * k
}
";

/// Map from PyTorch's file to [`LAYOUTS`].
const MAP: &str = r#"{
    "g": "gain",
    "q.linear.weight": ["qk", {"rows": [0, 4]}],
    "k.linear.weight": ["qk", {"rows": [4, 8]}, {"reshape": [2, 2, 3]}],
    "c.conv.linear.weight": ["conv1d.weight", {"flip": [2]}, {"reshape": [2, 2, 2]}],
    "inv_freq": null
}"#;

/// Weights in PyTorch's layout. Rows 0 to 3 of `qk` are q's, 4 to 7 k's; the convolution's taps are 10 (the previous
/// token) and 1.
fn torch() -> Tensors {
    let q = (1..=12).map(f64::from);
    let k = (1..=4).flat_map(|row| [f64::from(row), 0.5, 0.0]);
    [
        ("gain", (vec![1], vec![2.0])),
        ("qk", (vec![8, 3], q.chain(k).collect())),
        ("conv1d.weight", (vec![4, 1, 2], [10.0, 1.0].repeat(4))),
        ("inv_freq", (vec![2], vec![1.0, 0.5])),
    ]
    .map(|(name, tensor)| (name.to_owned(), tensor))
    .into()
}

/// Two input tokens for [`LAYOUTS`].
const LAYOUT_TOKENS: [f64; 6] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];

/// Runs p.arch at a width on tokens, [1, T, D], with weights read through a map.
fn mapped(folder: &Folder, width: usize, tokens: &[f64], weights: &Tensors, map: &str) -> Run {
    write(&folder.path("w.safetensors"), weights);
    std::fs::write(folder.path("map.json"), map).unwrap();
    let input = (vec![1, tokens.len() / width, width], tokens.to_vec());
    write(&folder.path("x.safetensors"), &[("input".to_owned(), input)].into());
    let text = |name: &str| folder.text(name);
    let files = ["--weights", &text("w.safetensors"), "--names", &text("map.json"), "--input", &text("x.safetensors")];
    let (program, output, width) = (text("p.arch"), text("y.safetensors"), format!("--set=D={width}"));
    let args = ["forward", &program, &width, "--set=H=2", "--set=K=2", "--dtype=f64", "--output", &output];
    archc(&[&args[..], &files].concat())
}

#[test]
fn weights_in_layouts_of_pytorch() {
    let folder = Folder::new(&[("p.arch", LAYOUTS)]);
    let mapped = |weights: &Tensors, map: &str| mapped(&folder, 3, &LAYOUT_TOKENS, weights, map);
    let run = mapped(&torch(), MAP).done();
    // q is 1 4 7 10, then 2 5 8 11; so c is 1 4 7 10, then 12 45 78 111. k is 1 2 3 4, then 0.5 each. g is 2.
    let (shape, data) = read(&folder.path("y.safetensors")).remove("output").expect("an output");
    assert_eq!((shape, data), (vec![1, 2, 2, 2], vec![2.0, 16.0, 42.0, 80.0, 12.0, 45.0, 78.0, 111.0]));
    // Changes of layout are reported, with the original shape.
    for words in ["q.linear.weight [2,2,3] is `qk` [8,3]", "c.conv.linear.weight [2,2,2] is `conv1d.weight` [4,1,2]"] {
        assert!(run.err.contains(words), "no {words}: {}", run.err);
    }
    // The same numbers from the transposed matrix, [in, out].
    let mut turned = torch();
    let (_, qk) = turned["qk"].clone();
    turned.insert("qk".into(), (vec![3, 8], (0..24).map(|i| qk[i % 8 * 3 + i / 8]).collect()));
    let map = MAP.replace("[\"qk\", ", "[\"qk\", {\"permute\": [1, 0]}, ");
    mapped(&turned, &map).done();
    let (_, data) = read(&folder.path("y.safetensors")).remove("output").expect("an output");
    assert_eq!(data, [2.0, 16.0, 42.0, 80.0, 12.0, 45.0, 78.0, 111.0]);
    // The order of taps is never guessed.
    let plain = mapped(
        &torch(),
        &MAP.replace("[\"conv1d.weight\", {\"flip\": [2]}, {\"reshape\": [2, 2, 2]}]", "\"conv1d.weight\""),
    );
    plain.refused(2, "E0841");
    assert!(plain.err.contains(r#"["conv1d.weight",{"flip":[2]}]"#), "{}", plain.err);
    // One tensor may feed two paths: here k has q's weights.
    let map = MAP.replace("[\"qk\", {\"rows\": [4, 8]}, {\"reshape\": [2, 2, 3]}]", "[\"qk\", {\"rows\": [0, 4]}]");
    mapped(&torch(), &map).done();
    let (_, data) = read(&folder.path("y.safetensors")).remove("output").expect("an output");
    assert_eq!(data[..4], [2.0, 32.0, 98.0, 200.0]);
}

#[test]
fn layouts_that_do_not_say_which_are_refused() {
    let square = "block S[D, H, K] {\n    input x[D]\n    output linear[H, K](x)\n}\n";
    let folder = Folder::new(&[("p.arch", square)]);
    let path = "output.linear.weight";
    let four = |shape: Vec<usize>| Tensors::from([("w".to_owned(), (shape, (0..16).map(f64::from).collect()))]);
    let run = |weights: &Tensors, map: &str| mapped(&folder, 4, &[1.0, 0.0, 0.0, 0.0], weights, map);
    // [4, 4] for [2, 2, 4] may be [out, in] or [in, out].
    let plain = run(&four(vec![4, 4]), &format!("{{\"{path}\": \"w\"}}"));
    plain.refused(2, "E0841");
    for words in ["fits in two ways", r#"["w",{"reshape":[2,2,4]}]"#, r#"["w",{"permute":[1,0]}]"#] {
        assert!(plain.err.contains(words), "no {words}: {}", plain.err);
    }
    let output = || read(&folder.path("y.safetensors")).remove("output").expect("an output").1;
    run(&four(vec![4, 4]), &format!("{{\"{path}\": [\"w\", {{\"reshape\": [2, 2, 4]}}]}}")).done();
    assert_eq!(output(), [0.0, 4.0, 8.0, 12.0], "the first column");
    let turned = format!("{{\"{path}\": [\"w\", {{\"permute\": [1, 0]}}, {{\"reshape\": [2, 2, 4]}}]}}");
    run(&four(vec![4, 4]), &turned).done();
    assert_eq!(output(), [0.0, 1.0, 2.0, 3.0], "the first row");
    // A one-dimensional tensor has a unique order.
    run(&four(vec![16]), &format!("{{\"{path}\": \"w\"}}")).done();
    assert_eq!(output(), [0.0, 4.0, 8.0, 12.0]);
}

#[test]
fn all_that_does_not_fit_is_told_at_once() {
    let folder = Folder::new(&[("p.arch", LAYOUTS)]);
    let mut weights = torch();
    weights.insert("gain".into(), (vec![2], vec![1.0, 2.0]));
    weights.insert("bias".into(), (vec![1], vec![0.0]));
    let map = MAP
        .replace("{\"rows\": [0, 4]}", "{\"rows\": [6, 10]}")
        .replace("{\"reshape\": [2, 2, 3]}", "{\"reshape\": [2, 2, 4]}")
        .replace("conv1d.weight", "conv2d.weight")
        .replace("inv_freq", "nothing.of.it");
    let run = mapped(&folder, 3, &LAYOUT_TOKENS, &weights, &map);
    run.refused(2, "E0841");
    assert_eq!(run.err.matches("error[E0841]").count(), 5, "{}", run.err);
    for words in ["rows", "reshape", "conv2d.weight", "nothing.of.it", "`gain` gives [2]"] {
        assert!(run.err.contains(words), "no {words}: {}", run.err);
    }
    // and the tensors that the map does not name: two, the one of the misspelt name and the bias
    assert_eq!(run.err.matches("error[E0807]").count(), 3, "{}", run.err);
    assert!(!run.err.contains("error[E0806]") && !run.err.contains("error[E0808]"), "{}", run.err);
}

#[test]
fn random_inputs_are_the_same_for_a_seed() {
    let folder = Folder::new(&[("p.arch", LAYOUTS)]);
    let text = |name: &str| folder.text(name);
    let run = |more: &[&str]| {
        let args = ["forward", &text("p.arch"), "--grads", &text("g.safetensors"), "--output"];
        let run = archc(&[&args[..], &[&text("y.safetensors")], more].concat());
        (run, read(&folder.path("y.safetensors")), read(&folder.path("g.safetensors")))
    };
    let x = text("x.safetensors");
    let sizes = ["--set=D=8", "--set=H=2", "--set=K=2"];
    let random = [&sizes[..], &["--random", "--length", "5", "--batch", "3", "--seed", "4"]].concat();
    let (told, y, g) = run(&[&random[..], &["--save-input", &x]].concat());
    let told = told.done();
    assert!(
        told.err.contains("random inputs of seed 4, standard normal: R [3, 5, 2, 2], input [3, 5, 8]"),
        "{}",
        told.err
    );
    assert_eq!(y["output"].0, [3, 5, 2, 2]);
    assert!(y["output"].1.iter().any(|x| *x != 0.0) && g.contains_key("input"));
    let inputs = read(x.as_ref());
    let (_, data) = &inputs["input"];
    let mean = data.iter().sum::<f64>() / data.len() as f64;
    let square = data.iter().map(|x| x * x).sum::<f64>() / data.len() as f64;
    assert!(mean.abs() < 0.3 && (square - 1.0).abs() < 0.4, "{mean} {square}");
    let again = [&sizes[..], &["--input", &x, "--seed", "4"]].concat();
    // The same command and the saved inputs give the same bits; another seed does not.
    assert_eq!((run(&random).1, run(&random).2), (y.clone(), g.clone()));
    assert_eq!((run(&again).1, run(&again).2), (y.clone(), g));
    assert_ne!(run(&[&random[..random.len() - 1], &["5"]].concat()).1, y);
    for wrong in
        [&["--random", "--input", &x][..], &["--input", &x, "--length", "4"], &[], &["--random", "--length", "0"]]
    {
        assert_eq!(run(&[&sizes[..], wrong].concat()).0.code, 2, "{wrong:?}");
    }
    let model = "model M[D] {\n    let e = embed[D](tokens)\n    output head(e + shift(e, 1), tie = e)\n}\n";
    std::fs::write(folder.path("p.arch"), model).unwrap();
    let (_, y, _) = run(&["--random", "--vocab", "7", "--save-input", &x]);
    assert_eq!(y["output"].0, [2, 16, 7]);
    let tokens = &read(x.as_ref())["tokens"].1;
    assert!(tokens.iter().all(|t| t.fract() == 0.0 && (0.0..7.0).contains(t)) && tokens.iter().any(|t| *t > 3.0));
}
