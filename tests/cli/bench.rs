//! `archc bench`: the measurements are present and consistent; no test checks the speed.

use crate::{Folder, TINY, archc};
use serde_json::Value;

/// The only JSON object that the command printed.
fn json(args: &[&str]) -> Value {
    let run = archc(args).done();
    serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}: {}", run.out))
}

#[test]
fn a_training_is_measured_beside_the_machine_and_the_reference() {
    let args =
        ["bench", "train", "--block", "RGLRU", "--shape", "16,1,8,2", "--vocab", "11", "--seconds", "0", "--json"];
    let all = json(&args);
    assert!(all["machine"]["sgemm_flops"].as_f64() > Some(1e6) && all["machine"]["copy_bytes"].as_f64() > Some(1e6));
    let row = &all["rows"][0];
    assert_eq!((&row["block"], &row["len"], &row["batch"]), (&"RGLRU".into(), &8.into(), &2.into()));
    // At initialization all eleven tokens are about equally likely: the loss is about ln 11.
    let loss = row["archc"]["loss"].as_f64().expect("a loss");
    assert!((loss - 11f64.ln()).abs() < 1.0, "{loss}");
    assert!(row["archc"]["step"]["count"].as_u64() >= Some(5));
    let seconds = row["archc"]["step"]["median_seconds"].as_f64().expect("a time");
    let rate = row["archc"]["tokens_per_second"].as_f64().expect("a rate");
    assert!((rate * seconds / 16.0 - 1.0).abs() < 1e-9);
    assert!(row["bound_seconds"].as_f64().expect("a bound") < seconds, "nothing is faster than the bound");
    assert!(row["reference"]["median_seconds"].as_f64() > Some(0.0));
    let table = archc(&args[..args.len() - 1]).done().out;
    assert!(table.contains("SGEMM") && table.lines().any(|line| line.starts_with("RGLRU")), "{table}");
}

#[test]
fn a_program_of_the_user_is_measured() {
    let folder = Folder::new(&[("two.arch", &format!("{TINY}\n{}", TINY.replace("Tiny[D]", "Other[D](W = 2)")))]);
    let file = folder.text("two.arch");
    let quick = ["--shape", "16,1,8,2", "--vocab", "11", "--seconds", "0", "--reference-limit", "0", "--json"];
    let row = |args: &[&str]| json(&[&["bench", "train"], args, &quick[..]].concat())["rows"][0].clone();
    let one = row(&[&file, "--block", "Other", "--set", "W=3"]);
    assert_eq!((&one["block"], &one["width"]), (&"Other".into(), &16.into()));
    assert!(one["archc"]["tokens_per_second"].as_f64() > Some(0.0));
    // The same program, named both ways.
    let (library, imported) = (row(&["--block", "RGLRU"]), row(&["std::mixers::RGLRU"]));
    assert_eq!((&library["params"], &library["block"]), (&imported["params"], &imported["block"]));
    assert_eq!(library["archc"]["loss"], imported["archc"]["loss"]);
    archc(&["bench", "train", &file]).refused(2, "E0314");
    archc(&["bench", "train", &file, "--block", "Other", "--set", "D=16"]).refused(2, "E0861");
    archc(&["bench", "train", &file, "--block", "Other", "--set", "Q=16"]).refused(2, "E0207");
    let named = archc(&["bench", "train", "--block", &file]);
    named.refused(2, "E0848");
    assert!(named.err.contains(&format!("archc bench train {file}")), "{}", named.err);
    assert_eq!(archc(&["bench", "train", &file, "--torch", "python3"]).code, 2, "PyTorch has no such block");
    assert_eq!(archc(&["bench", "train", "--set", "H=2"]).code, 2, "blocks of the library have their own sizes");
}

#[test]
fn lengths_run_in_processes_of_their_own() {
    let all = json(&[
        "bench",
        "scaling",
        "--block",
        "MinGRU",
        "--len",
        "4",
        "--len",
        "8",
        "--width",
        "16",
        "--layers",
        "1",
        "--vocab",
        "11",
        "--seconds",
        "0",
        "--json",
    ]);
    let rows = all["rows"].as_array().expect("rows");
    assert_eq!(rows.iter().map(|r| r["len"].as_u64()).collect::<Vec<_>>(), [Some(4), Some(8)]);
    assert!(rows.iter().all(|r| r["class"] == "O(T)" && r["token_seconds"].as_f64() > Some(0.0)));
}

#[test]
fn decoding_is_timed_by_known_tokens() {
    let args =
        ["bench", "decode", "--block", "Attention", "--known", "3", "--known", "70", "--width", "16", "--layers", "1"];
    let args = [&args[..], &["--vocab", "11", "--json"]].concat();
    let row = &json(&args)["rows"][0];
    let known = row["known"].as_array().expect("places");
    assert_eq!(known.iter().map(|k| k["known"].as_u64()).collect::<Vec<_>>(), [Some(3), Some(70)]);
    assert!(known.iter().all(|k| k["token"]["median_seconds"].as_f64() > Some(0.0) && k["token"]["count"] == 16));
    // Keys and values of 86 tokens, 16 numbers each, and the position.
    assert_eq!((row["tokens"].as_u64(), row["carried_numbers"].as_u64()), (Some(86), Some(86 * 32 + 1)));
    let table = archc(&args[..args.len() - 1]).done().out;
    assert!(table.contains("known:") && table.lines().any(|line| line.starts_with("Attention")), "{table}");
}

#[test]
fn compilation_is_timed_by_stage() {
    let all = json(&["bench", "compile", "--block", "GLA", "--shape", "16,1,8,1", "--rounds", "1", "--json"]);
    let row = &all["rows"][0];
    let stages = row["stages"].as_object().expect("stages");
    let sum: f64 = stages.values().filter_map(|s| s["median_ms"].as_f64()).sum();
    assert!(stages.contains_key("parse") && stages.contains_key("plan"));
    let total = row["total"]["median_ms"].as_f64().expect("a total");
    assert!((sum / total - 1.0).abs() < 1e-9, "{sum} {total}");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    archc(&["bench", "train", "--block", "Nothing"]).refused(2, "E0848");
    archc(&["bench", "compile", "--block", "Nothing"]).refused(2, "E0848");
    archc(&["bench", "scaling", "--block", "Nothing"]).refused(2, "E0848");
    archc(&["bench", "decode", "--block", "Nothing"]).refused(2, "E0848");
    let missing = archc(&["bench", "train", "--torch", "/no/such/python"]);
    missing.refused(1, "E0847");
    assert!(missing.err.contains("`/no/such/python` does not start"), "{}", missing.err);
    // A program that runs but is not a Python with PyTorch.
    archc(&["bench", "train", "--torch", "false"]).refused(1, "E0847");
    for shape in ["64,2,512", "64,2,512,0", "a,b,c,d"] {
        let wrong = archc(&["bench", "train", "--shape", shape]);
        assert!(wrong.code == 2 && wrong.err.contains("is not D,L,T,B"), "{}", wrong.err);
    }
    archc(&["bench", "train", "--clock", "cpu", "--threads", "2"]).refused(1, "E0849");
    assert_eq!(archc(&["bench", "train", "--device", "abacus"]).code, 2);
    assert_eq!(archc(&["bench", "train", "--torch-compile"]).code, 2, "there is nothing to compile with");
}
