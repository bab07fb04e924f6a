//! Blocks and models around the statements: inputs, outputs, calls of other blocks, shared weights, losses.

use super::{Dice, Draft, Kind, Program, SIZES, Scope, Writer, sorted, union, without};

/// A block that other blocks of its file can call.
struct Callee {
    name: String,
    /// Its text.
    lines: Vec<String>,
    /// The axes in its brackets, as axes of the caller's pool.
    axes: Vec<usize>,
    /// The axes of each input.
    inputs: Vec<Vec<usize>>,
    /// The name and axes of each output.
    outputs: Vec<(String, Vec<usize>)>,
}

/// Generates a whole file.
pub(super) fn program(mut dice: Dice) -> Program {
    let count = 1 + dice.below(4);
    let sizes: Vec<usize> = (0..count).map(|_| *dice.pick(&SIZES)).collect();
    let model = dice.chance(0.08);
    let mut lines = Vec::new();
    let mut callee = None;
    if dice.chance(0.2) {
        let seed = (dice.uniform() * 1e15) as u64;
        let inner = Dice::new(&[b"callee", &seed.to_le_bytes()]);
        if let Some(made) = block(inner, "Inner", "y", &sizes, None, 4) {
            lines.extend(made.lines.iter().cloned());
            lines.push(String::new());
            callee = Some(made);
        }
    }
    for attempt in 0u8.. {
        let seed = (dice.uniform() * 1e15) as u64;
        let own = Dice::new(&[b"block", &[attempt], &seed.to_le_bytes()]);
        let length = 3 + dice.below(8);
        let made = if model {
            whole_model(own, &sizes, callee.as_ref(), length)
        } else {
            block(own, "Drawn", "", &sizes, callee.as_ref(), length)
        };
        if let Some(made) = made {
            lines.extend(made.lines);
            let set = made.axes.iter().map(|a| (axis_name("", *a), sizes[*a])).collect();
            return Program { text: lines.join("\n") + "\n", block: made.name, set, vocab: 7 };
        }
    }
    unreachable!("an attempt succeeds long before")
}

/// The name of an axis that the block receives from outside.
fn axis_name(prefix: &str, at: usize) -> String {
    format!("{}{}", prefix.to_uppercase(), ["A", "B", "C", "D"][at])
}

/// Fills the pool of axes of a block of the file, in the order of their declaration.
fn pool(w: &mut Writer, sizes: &[usize]) {
    for (at, size) in sizes.iter().enumerate() {
        let name = axis_name(&w.prefix, at);
        w.axes.push(super::Axis { name, size: *size, labels: Vec::new() });
    }
}

fn statements(w: &mut Writer, callee: Option<&Callee>, length: usize) {
    for _ in 0..length {
        // an op that finds no operands is replaced by another
        for _ in 0..4 {
            let made = match w.dice.below(26) {
                0..=8 => w.plain(),
                9 | 10 => w.layout(),
                11..=13 => w.linear(),
                14 | 15 => w.window(),
                16..=20 => w.scan(),
                21 | 22 => w.attend(),
                23 | 24 => w.library(),
                _ => callee.and_then(|c| call(w, c)),
            };
            if made.is_some() {
                break;
            }
        }
    }
}

/// Writes a call of the other block of the file, once or as one instance twice.
fn call(w: &mut Writer, callee: &Callee) -> Option<usize> {
    let times = 1 + usize::from(w.dice.chance(0.3));
    let axes = callee.axes.iter().map(|a| w.axes[*a].name.clone()).collect::<Vec<_>>().join(", ");
    let mut applied = format!("{}[{axes}]", callee.name);
    if times == 2 {
        let name = w.fresh("Twin");
        w.line(&format!("shared {name} = {applied}"));
        applied = name;
    }
    let mut last = None;
    for _ in 0..times {
        let mut inputs = Vec::new();
        for axes in &callee.inputs {
            inputs.push(w.over(axes)?);
        }
        let list = inputs.iter().map(|v| w.text(*v)).collect::<Vec<_>>().join(", ");
        let name = w.fresh("t");
        w.line(&format!("let {name} = {applied}({list})"));
        for (output, axes) in &callee.outputs {
            let mut draft = w.joined(&inputs, String::new());
            (draft.axes, draft.degree, draft.token) = (axes.clone(), 1, true);
            let text = if callee.outputs.len() == 1 { name.clone() } else { format!("{name}.{output}") };
            last = Some(if callee.outputs.len() == 1 {
                w.known(text, draft)
            } else {
                draft.text = text;
                w.add(draft)
            });
        }
    }
    last
}

/// Sums the values that nothing reads yet to one value over some of these axes.
fn gathered(w: &mut Writer, outer: usize, part: usize, parts: usize) -> Option<usize> {
    let open: Vec<usize> = (0..w.values.len()).filter(|i| !w.values[*i].used && w.values[*i].alive).collect();
    let mine: Vec<usize> =
        open.iter().copied().enumerate().filter(|(n, _)| n % parts == part).map(|(_, v)| v).collect();
    let mut total: Option<usize> = None;
    for v in mine {
        let inner: Vec<usize> = w.values[v].axes.iter().copied().filter(|a| *a >= outer).collect();
        let v = if inner.is_empty() { v } else { w.summed(v, &inner) };
        w.mark(&[v]);
        total = Some(match total {
            None => v,
            Some(t) => {
                let (a, b) = (w.values[t].axes.clone(), w.values[v].axes.clone());
                let common: Vec<usize> = a.iter().copied().filter(|x| b.contains(x)).collect();
                // one has the axes of the other, once the other's own are summed away
                let over = without(&b, &common);
                let v = if over.is_empty() { v } else { w.summed(v, &over) };
                w.mark(&[t, v]);
                let mut draft = w.joined(&[t, v], format!("{} + {}", w.text(t), w.text(v)));
                draft.degree = w.values[t].degree.max(w.values[v].degree);
                draft.axes = union([w.values[t].axes.as_slice(), w.values[v].axes.as_slice()].into_iter());
                let at = w.add(draft);
                w.mark(&[at]);
                at
            }
        });
    }
    total
}

/// Writes a term of the objective.
fn loss(w: &mut Writer) {
    let Some(v) = w.any() else { return };
    let x = w.signed(v);
    let text = match w.dice.below(3) {
        0 => format!("loss 0.1 * ({x}) ^ 2"),
        1 => format!("loss 0.1 * {x}"),
        _ => format!("loss 0.1 * token_mean({x}) ^ 2"),
    };
    w.line(&text);
}

fn block(
    dice: Dice,
    name: &str,
    prefix: &str,
    sizes: &[usize],
    callee: Option<&Callee>,
    length: usize,
) -> Option<Callee> {
    let mut w = Writer::new(dice, prefix);
    pool(&mut w, sizes);
    let all: Vec<usize> = (0..sizes.len()).collect();
    let mut inputs = Vec::new();
    for i in 0..1 + w.dice.weighted(&[5.0, 3.0, 1.0])? {
        let mut axes = w.subset(&all, usize::from(i == 0));
        while w.count(&axes) > 96 {
            axes.pop();
        }
        let text = format!("{prefix}x{i}");
        let brackets = if axes.is_empty() { "[]".into() } else { w.brackets(&axes) };
        w.line(&format!("input {text}{brackets}"));
        let draft = Draft {
            text: String::new(),
            axes: axes.clone(),
            token: true,
            kind: Kind::Any,
            degree: 1,
            exact: true,
            alive: true,
        };
        w.known(text, draft);
        inputs.push(axes);
    }
    if w.dice.chance(0.3) {
        let axes = w.subset(&all, 0);
        if w.count(&axes) <= 96 {
            w.param(&axes);
        }
    }
    statements(&mut w, callee, length);
    if callee.is_none() && prefix.is_empty() && w.dice.chance(0.15) {
        loss(&mut w);
    }
    let several = w.dice.chance(0.25);
    let mut outputs = Vec::new();
    let parts = 1 + usize::from(several);
    let mut lines = Vec::new();
    for part in 0..parts {
        let Some(v) = gathered(&mut w, sizes.len(), part, parts - part) else { continue };
        let axes = w.values[v].axes.clone();
        outputs.push((format!("o{part}"), axes));
        lines.push(w.text(v));
    }
    if outputs.is_empty() {
        return None;
    }
    for (i, value) in lines.iter().enumerate() {
        if outputs.len() > 1 {
            w.line(&format!("output {} = {value}", outputs[i].0));
        } else {
            w.line(&format!("output {value}"));
        }
    }
    let used = union(inputs.iter().chain(outputs.iter().map(|o| &o.1)).map(Vec::as_slice));
    let mut shown = used.clone();
    w.dice.shuffle(&mut shown);
    let hidden = without(&all, &used);
    let mut header = format!("block {name}[{}]", w.names(&shown));
    if used.is_empty() {
        return None;
    }
    if !hidden.is_empty() {
        let defaults: Vec<String> =
            hidden.iter().map(|a| format!("{} = {}", w.axes[*a].name, w.axes[*a].size)).collect();
        header.push_str(&format!("({})", defaults.join(", ")));
    }
    let mut text = vec![format!("{header} {{")];
    text.append(&mut w.lines);
    text.push("}".into());
    Some(Callee { name: name.into(), lines: text, axes: shown, inputs, outputs })
}

fn whole_model(dice: Dice, sizes: &[usize], callee: Option<&Callee>, length: usize) -> Option<Callee> {
    let mut w = Writer::new(dice, "");
    pool(&mut w, sizes);
    w.scope = Scope::Block;
    let d = w.dice.below(sizes.len());
    let width = w.axes[d].name.clone();
    if w.dice.chance(0.4) {
        let size = 1 + w.dice.below(2);
        let m = w.axis("M", size, true);
        w.line(&format!("prefix meta[{}, {width}] = normal(0.5)", w.axes[m].name));
    }
    w.line(&format!("let embedding = embed[{width}](tokens)"));
    let embedded =
        Draft { text: String::new(), axes: vec![d], token: true, kind: Kind::Any, degree: 1, exact: true, alive: true };
    w.known("embedding".into(), embedded);
    // the table starts small
    let mut scaled = w.like(0, "8 * embedding".into());
    scaled.exact = true;
    let first = w.add(scaled);
    w.values[0].used = true;
    w.values[first].used = false;
    statements(&mut w, callee, length);
    if w.dice.chance(0.2) {
        loss(&mut w);
    }
    let v = gathered(&mut w, sizes.len(), 0, 1)?;
    let own = w.values[v].axes.clone();
    let over = without(&own, &[d]);
    let mut v = if over.is_empty() { v } else { w.summed(v, &over) };
    if !own.contains(&d) {
        let mut draft = w.joined(&[v, first], format!("{} + {}", w.text(v), w.text(first)));
        draft.axes = sorted(&[d]);
        v = w.add(draft);
    }
    let tie = if w.dice.chance(0.5) { ", tie = embedding" } else { "" };
    let x = w.text(v);
    w.line(&format!("output head({x}{tie})"));
    let hidden: Vec<usize> = (0..sizes.len()).filter(|a| *a != d).collect();
    let mut header = format!("model Drawn[{width}]");
    if !hidden.is_empty() {
        let defaults: Vec<String> =
            hidden.iter().map(|a| format!("{} = {}", w.axes[*a].name, w.axes[*a].size)).collect();
        header.push_str(&format!("({})", defaults.join(", ")));
    }
    let mut text = vec![format!("{header} {{")];
    text.append(&mut w.lines);
    text.push("}".into());
    Some(Callee { name: "Drawn".into(), lines: text, axes: vec![d], inputs: Vec::new(), outputs: Vec::new() })
}
