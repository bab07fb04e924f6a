//! Tests of the properties common to all tasks, and of each task's answers, checked independently of the generators.

use super::*;
use crate::score::Tally;
use archc_runtime::Tensor;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use std::collections::BTreeMap;

fn corpus() -> Arc<Corpus> {
    let text = (0..900).fold(String::new(), |text, i| format!("{text}Line {i}: {} hops.\n\n", i * 37 % 101));
    Arc::new(Corpus::carried(&text).unwrap().unwrap())
}

fn make(text: &str) -> Arc<dyn Task> {
    build(&text.parse().unwrap(), Some(&corpus())).unwrap()
}

/// Task of a file whose rows are the base-7 digits of their number, lowest digit first.
fn own() -> Arc<dyn Task> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let line = |i: u32| {
        let digits: [u32; 4] = std::array::from_fn(|place| i / 7u32.pow(place as u32) % 7);
        format!("{{\"tokens\": {digits:?}, \"targets\": {digits:?}}}\n")
    };
    std::fs::write(&path, (0..7u32.pow(4)).map(line).collect::<String>()).unwrap();
    build(&TaskSpec::of_file(path.to_str().unwrap()), None).unwrap()
}

/// Tasks that need no file.
fn named() -> impl Iterator<Item = Arc<dyn Task>> {
    TASKS.iter().filter(|entry| entry.name != "jsonl").map(|entry| make(entry.name))
}

fn all() -> Vec<Arc<dyn Task>> {
    named().chain([own()]).collect()
}

/// Rows of a batch as (tokens, targets, mask, reset).
fn rows(batch: &Batch) -> impl Iterator<Item = (&[u32], &[u32], &[f32], &[bool])> {
    let n = batch.len;
    (0..batch.batch).map(move |i| {
        let at = i * n..(i + 1) * n;
        (&batch.tokens[at.clone()], &batch.targets[at.clone()], &batch.mask[at.clone()], &batch.reset[at])
    })
}

#[test]
fn batches_are_well_formed() {
    for task in all() {
        for part in Part::ALL {
            let batch = task.batch(part, 3, 5, 4);
            let name = task.spec().to_string();
            assert_eq!((batch.batch, batch.len), (4, task.len(part)), "{name}");
            for len in [batch.tokens.len(), batch.targets.len(), batch.mask.len(), batch.reset.len()] {
                assert_eq!(len, 4 * task.len(part), "{name}");
            }
            let vocab = task.vocab() as u32;
            assert!(batch.tokens.iter().chain(&batch.targets).all(|&t| t < vocab), "{name}");
            assert!(batch.mask.iter().all(|&m| m == 0.0 || m == 1.0), "{name}");
            for (_, _, mask, reset) in rows(&batch) {
                assert!(reset[0] && mask.contains(&1.0), "{name}");
            }
        }
    }
}

#[test]
fn batches_are_functions_of_their_address() {
    for task in named() {
        let name = task.spec().to_string();
        let again = build(task.spec(), Some(&corpus())).unwrap();
        assert_eq!(task.batch(Part::Train, 1, 9, 4), again.batch(Part::Train, 1, 9, 4), "{name}");
        assert_ne!(task.batch(Part::Train, 1, 9, 4), task.batch(Part::Train, 1, 10, 4), "{name}");
        assert_ne!(task.batch(Part::Train, 1, 9, 4), task.batch(Part::Train, 2, 9, 4), "{name}");
    }
}

#[test]
fn parts_share_no_rows() {
    for task in all() {
        let rows_of = |part| -> Vec<Vec<u32>> {
            // Truncated to one length, so that rows of different lengths can compare equal.
            let len = Part::ALL.map(|p| task.len(p)).into_iter().min().unwrap();
            (0..20)
                .flat_map(|i| rows(&task.batch(part, 0, i, 8)).map(|r| r.0[..len].to_vec()).collect::<Vec<_>>())
                .collect()
        };
        let train: std::collections::BTreeSet<_> = rows_of(Part::Train).into_iter().collect();
        for part in [Part::Validation, Part::Test] {
            assert!(rows_of(part).iter().all(|row| !train.contains(row)), "{} {part:?}", task.spec());
        }
    }
}

#[test]
fn guessing_scores_nothing() {
    for task in all().into_iter().filter(|task| task.spec().name != "text") {
        let vocab = task.vocab();
        let mut tally = Tally::default();
        let mut guess = Stream::new(&["guess"], &[]);
        // The best guess that ignores the row: one of the tokens that ever occur as an answer.
        let first = task.batch(Part::Train, 0, 0, 64);
        let mut answers: Vec<u32> =
            first.targets.iter().zip(&first.mask).filter(|(_, m)| **m == 1.0).map(|(t, _)| *t).collect();
        answers.sort_unstable();
        answers.dedup();
        let (mut scored, mut right) = (0.0f64, 0.0f64);
        for index in 0..40 {
            let batch = task.batch(Part::Test, 0, index, 8);
            for (target, _) in batch.targets.iter().zip(&batch.mask).filter(|(_, m)| **m == 1.0) {
                scored += 1.0;
                right += f64::from(u8::from(answers[guess.below(answers.len())] == *target));
            }
            if vocab <= 16 {
                let logits = vec![0.0; batch.batch * batch.len * vocab];
                tally.add(&batch, &Tensor { shape: vec![batch.batch, batch.len, vocab], data: logits }, vocab).unwrap();
            }
        }
        let chance = task.metric().chance();
        // Five standard deviations of a mean of `scored` draws (answers within a row are nearly independent).
        let slack = 5.0 * (chance * (1.0 - chance) / scored).sqrt() + 1e-9;
        assert!((right / scored - chance).abs() < slack, "{}: {} not {chance}", task.spec(), right / scored);
        if vocab <= 16 {
            assert!((tally.score(task.metric()).loss - (vocab as f64).ln()).abs() < 1e-9);
        }
    }
}

#[test]
fn text_frequencies_score_nothing() {
    let task = make("text:len=32");
    // Logits are the log frequencies of the training part.
    let corpus = corpus();
    let mut counts = [1e-3f64; 256];
    corpus.part(Part::Train).bytes.iter().for_each(|&b| counts[usize::from(b)] += 1.0);
    let mut tally = Tally::default();
    for index in 0..task.batches(Part::Train, 8).unwrap_or(50) {
        let batch = task.batch(Part::Train, 0, index, 8);
        let row: Vec<f64> = counts.iter().map(|c| c.ln()).collect();
        let data = row.repeat(batch.batch * batch.len);
        tally.add(&batch, &Tensor { shape: vec![batch.batch, batch.len, 256], data }, 256).unwrap();
    }
    // 12,800 bytes whose cost varies by about 2 bits: standard deviation under 0.02 bits.
    let score = tally.score(task.metric());
    assert!((score.value - task.metric().chance()).abs() < 0.1 && score.score < 0.03, "{score:?}");
}

/// Checks that the target is the next token in continuation tasks.
fn check_continuation(tokens: &[u32], targets: &[u32]) {
    assert_eq!(&tokens[1..], &targets[..targets.len() - 1]);
}

fn check_recall(task: &dyn Task, index: u64, keys: u32) {
    for (tokens, targets, mask, _) in rows(&task.batch(Part::Train, 0, index, 4)) {
        check_continuation(tokens, targets);
        let mut map = BTreeMap::new();
        for (t, &token) in tokens.iter().enumerate() {
            let expected = if token < keys { map.get(&token).copied() } else { None };
            assert_eq!(mask[t] == 1.0, expected.is_some(), "scored exactly at keys seen before");
            if token < keys {
                assert!((keys..2 * keys).contains(&targets[t]));
                assert!(expected.is_none_or(|value| value == targets[t]), "a key keeps its value");
                map.insert(token, targets[t]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases * 3 / 16,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn recall_asks_what_was_seen(index in 0u64..1000, half in 2usize..20, extra in 1usize..60) {
        let task = make(&format!("recall:vocab={},len={}", 2 * half, 2 * half + extra));
        check_recall(task.as_ref(), index, half as u32);
    }

    #[test]
    fn noisy_recall_is_recall_with_noise(index in 0u64..1000, quarter in 2usize..9, noise in 0.0f64..0.5) {
        let task = make(&format!("noisy-recall:vocab={},len=64,noise={noise}", 4 * quarter));
        check_recall(task.as_ref(), index, quarter as u32);
    }

    #[test]
    fn fuzzy_recall_asks_what_was_seen(index in 0u64..1000) {
        let task = make("fuzzy-recall:len=96");
        for (tokens, targets, mask, _) in rows(&task.batch(Part::Train, 0, index, 4)) {
            check_continuation(tokens, targets);
            // Read the row as runs of keys (below 8) and values; a run of keys is one key, because a value follows.
            let mut map: BTreeMap<Vec<u32>, Vec<u32>> = BTreeMap::new();
            let mut t = 0;
            while t < tokens.len() {
                let key: Vec<u32> = tokens[t..].iter().copied().take_while(|x| *x < 8).collect();
                let at = t + key.len();
                let value: Vec<u32> = tokens[at..].iter().copied().take_while(|x| *x >= 8).collect();
                t = at + value.len();
                let whole = t < tokens.len();
                let scored = (at..t).all(|i| mask[i - 1] == 1.0);
                let unscored = (at..t).all(|i| mask[i - 1] == 0.0);
                match map.get(&key) {
                    Some(known) => prop_assert!(scored && (*known == value || (!whole && known.starts_with(&value)))),
                    None => prop_assert!(value.is_empty() || unscored),
                }
                if whole {
                    prop_assert!((1..=3).contains(&key.len()) && (1..=3).contains(&value.len()));
                    map.insert(key, value);
                }
            }
            let keys: Vec<_> = map.keys().collect();
            prop_assert!(keys.iter().all(|a| keys.iter().all(|b| a == b || !b.starts_with(a.as_slice()))));
        }
    }

    #[test]
    fn copying_asks_the_data_in_order(index in 0u64..1000, copies in 1usize..20, extra in 0usize..40) {
        let task = make(&format!("selective-copying:copies={copies},len={}", 2 * copies + extra));
        for (tokens, targets, mask, _) in rows(&task.batch(Part::Train, 0, index, 4)) {
            let data: Vec<u32> = tokens.iter().copied().filter(|t| *t < 14).collect();
            let field = tokens.len() - copies;
            prop_assert_eq!(data.len(), copies);
            prop_assert!(tokens[..field].iter().all(|t| *t <= 14) && tokens[field..].iter().all(|t| *t == 15));
            prop_assert_eq!(&targets[field..], &data[..]);
            prop_assert!(mask[..field].iter().all(|m| *m == 0.0) && mask[field..].iter().all(|m| *m == 1.0));
        }
    }

    #[test]
    fn memorization_has_one_map(seeds in prop::array::uniform2(0u64..1000), part in 0usize..3) {
        let task = make("memorization:vocab=32");
        let mut map = BTreeMap::new();
        for (part, seed) in [(Part::Train, seeds[0]), (Part::ALL[part], seeds[1])] {
            for (tokens, targets, mask, _) in rows(&task.batch(part, seed, 0, 8)) {
                for t in 1..tokens.len() {
                    prop_assert_eq!(mask[t] == 1.0, tokens[t] == 31);
                    if tokens[t] == 31 {
                        prop_assert!(tokens[t - 1] < 15 && (15..31).contains(&targets[t]));
                        prop_assert_eq!(*map.entry(tokens[t - 1]).or_insert(targets[t]), targets[t]);
                    }
                }
            }
        }
    }

    #[test]
    fn mqar_asks_every_pair_once(index in 0u64..1000, pairs in 1usize..12, extra in 0usize..30) {
        let task = make(&format!("mqar:vocab=64,pairs={pairs},len={}", 4 * pairs + extra));
        for (tokens, targets, mask, _) in rows(&task.batch(Part::Train, 0, index, 4)) {
            let map: BTreeMap<u32, u32> = tokens[..2 * pairs].chunks(2).map(|p| (p[0], p[1])).collect();
            prop_assert_eq!(map.len(), pairs);
            let asked: BTreeMap<u32, u32> =
                (0..tokens.len()).filter(|&t| mask[t] == 1.0).map(|t| (tokens[t], targets[t])).collect();
            prop_assert_eq!(mask.iter().sum::<f32>() as usize, pairs);
            let mut fillers = (2 * pairs..tokens.len()).filter(|&t| mask[t] == 0.0).map(|t| tokens[t]);
            prop_assert!(fillers.all(|token| !map.contains_key(&token) && map.values().all(|value| *value != token)));
            prop_assert_eq!(asked, map);
        }
    }

    #[test]
    fn parity_is_the_running_exclusive_or(index in 0u64..1000) {
        let task = make("parity");
        for part in Part::ALL {
            for (tokens, targets, mask, reset) in rows(&task.batch(part, 0, index, 4)) {
                let mut parity = 0;
                let (mut lengths, mut length) = (Vec::new(), 0);
                for t in 0..tokens.len() {
                    if reset[t] {
                        lengths.push(std::mem::take(&mut length));
                        parity = 0;
                    }
                    parity ^= tokens[t];
                    if mask[t] == 1.0 {
                        prop_assert_eq!(targets[t], parity);
                        length += 1;
                    } else {
                        prop_assert!(part != Part::Train && mask[t..].iter().all(|m| *m == 0.0));
                    }
                }
                if part == Part::Train {
                    prop_assert!(lengths[1..].iter().all(|l| (3..=40).contains(l)) && length <= 40);
                } else {
                    prop_assert!(lengths.len() == 1 && (40..=256).contains(&length));
                }
            }
        }
    }

    #[test]
    fn s3_products_follow_the_order_of_the_tokens(index in 0u64..1000) {
        // Permutations of three in lexicographic order, applied to (0, 1, 2) from the right.
        let elements = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let task = make("s3");
        for (tokens, targets, _, reset) in rows(&task.batch(Part::Train, 0, index, 4)) {
            let mut product = elements[0];
            for t in 0..tokens.len() {
                if reset[t] {
                    product = elements[0];
                }
                product = elements[tokens[t] as usize].map(|i| product[i]);
                prop_assert_eq!(elements[targets[t] as usize], product);
            }
        }
    }

    #[test]
    fn induction_asks_the_follower(index in 0u64..1000, len in 3usize..70) {
        let task = make(&format!("induction:len={len}"));
        for (tokens, targets, mask, _) in rows(&task.batch(Part::Test, 0, index, 4)) {
            let special: Vec<usize> = (0..len).filter(|&t| tokens[t] == 16).collect();
            prop_assert_eq!(special.len(), 2);
            prop_assert_eq!(special[1], len - 1);
            prop_assert_eq!(targets[len - 1], tokens[special[0] + 1]);
            prop_assert_eq!(mask.iter().sum::<f32>(), 1.0);
        }
    }

    #[test]
    fn text_rows_are_the_corpus(index in 0u64..1000) {
        let task = make("text:len=100");
        let corpus = corpus();
        for part in Part::ALL {
            let text = &corpus.part(part);
            for (tokens, targets, mask, reset) in rows(&task.batch(part, 0, index, 4)) {
                check_continuation(tokens, targets);
                let bytes: Vec<u8> = tokens.iter().map(|t| *t as u8).collect();
                let at = text.bytes.windows(100).position(|w| w == bytes);
                prop_assert!(at.is_some(), "a row is a window of its part");
                if !mask.contains(&1.0) {
                    continue; // a repeat after the end of a pass
                }
                for t in 1..100 {
                    prop_assert_eq!(mask[t - 1] == 0.0, reset[t], "a document's first byte is not predicted");
                }
            }
        }
    }
}

#[test]
fn held_out_text_is_scored_once() {
    let task = make("text:len=50");
    let corpus = corpus();
    let text = &corpus.part(Part::Test).bytes;
    let batches = task.batches(Part::Test, 4).unwrap();
    let pass = |seed: u64| -> Vec<Vec<u8>> {
        let batches: Vec<Batch> = (0..batches).map(|index| task.batch(Part::Test, seed, index, 4)).collect();
        let scored = batches.iter().flat_map(rows).filter(|(_, _, mask, _)| mask.contains(&1.0));
        scored.map(|(tokens, ..)| tokens.iter().map(|t| *t as u8).collect()).collect()
    };
    let mut windows: Vec<&[u8]> = text[..text.len() - 1].chunks_exact(50).collect();
    windows.sort_unstable();
    for seed in [0, 1] {
        let mut seen = pass(seed);
        seen.sort_unstable();
        assert_eq!(seen, windows);
    }
    assert_ne!(pass(0), pass(1), "another seed has another order");
    assert_eq!(task.batch(Part::Test, 0, batches, 4), task.batch(Part::Test, 0, 0, 4), "a pass starts again");
}

#[test]
fn mqar_fills_where_no_token_is_left() {
    // Four pairs of eight tokens: where all values differ, every token is a key or a value.
    let task = make("mqar:vocab=8,pairs=4,len=32");
    let mut met = 0;
    for index in 0..40 {
        for (tokens, _, mask, _) in rows(&task.batch(Part::Train, 0, index, 8)) {
            let map: BTreeMap<u32, u32> = tokens[..8].chunks(2).map(|p| (p[0], p[1])).collect();
            let values: std::collections::BTreeSet<u32> = map.values().copied().collect();
            for t in (8..32).filter(|&t| mask[t] == 0.0) {
                assert!(!map.contains_key(&tokens[t]), "no filler is a key");
                assert_eq!(values.contains(&tokens[t]), values.len() == 4);
                if values.len() == 4 && mask[t - 1] == 1.0 {
                    assert_eq!(tokens[t], map[&tokens[t - 1]], "no pair is contradicted");
                }
            }
            met += usize::from(values.len() == 4);
        }
    }
    assert!(met > 10, "{met}");
}

#[test]
fn growing_rows_reach_their_length() {
    let task = make("parity:grow=100");
    let longest = |index| {
        let batch = task.batch(Part::Train, 0, index, 16);
        let starts: Vec<usize> = (0..batch.reset.len()).filter(|&t| batch.reset[t]).collect();
        starts.windows(2).map(|w| w[1] - w[0]).max().unwrap()
    };
    assert_eq!(longest(0), 3);
    assert!(longest(50) <= 21 && longest(100) > 30);
}

#[test]
fn names_and_settings_are_checked() {
    let code = |text: &str, corpus: Option<&Arc<Corpus>>| {
        text.parse().and_then(|spec| build(&spec, corpus)).err().map(|e| e.code)
    };
    assert_eq!(code("recal", None), Some("E0901"));
    assert_eq!(code("recall:length=3", None), Some("E0902"));
    for text in ["recall:", "recall:len", "recall:len=", "recall:len=x", "recall:len=nan", "recall:len=64,len=65"] {
        assert_eq!(code(text, None), Some("E0902"), "{text}");
    }
    for text in [
        "recall:len=0",
        "recall:len=-3",
        "recall:len=33.5",
        "recall:len=16,vocab=16",
        "recall:len=1e30",
        "noisy-recall:noise=0.9",
        "selective-copying:copies=40,len=64",
        "mqar:pairs=100,vocab=8",
        "parity:low=0",
        "parity:low=10,high=4",
        "induction:len=2",
        "memorization:vocab=2",
    ] {
        assert_eq!(code(text, None), Some("E0903"), "{text}");
    }
    assert_eq!(code("text", None), Some("E0907"));
    assert_eq!(code("text:len=4000", Some(&corpus())), Some("E0906"));
    assert_eq!(code("Selective_Copying", None), None);
}

#[test]
fn specs_print_as_they_are_read() {
    for task in all() {
        let text = task.spec().to_string();
        assert_eq!(text.parse::<TaskSpec>().unwrap(), *task.spec());
        assert_eq!(
            serde_json::from_str::<TaskSpec>(&serde_json::to_string(task.spec()).unwrap()).unwrap(),
            *task.spec()
        );
    }
    assert_eq!(make("recall:len=64").spec().to_string(), "recall:len=64,vocab=16");
}
