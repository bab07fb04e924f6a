//! `--names map.json`: weights saved by another program, under this program's paths and in its shapes.
//!
//! The map is a JSON object. `"path": "name"` takes the tensor of that name; `"path": ["name", step, ...]` transforms it first, step by
//! step: `{"permute": [1, 0]}` permutes its axes, `{"reshape": [2, 32, 64]}` gives the same numbers, in their order, another shape,
//! `{"rows": [0, 64]}` takes a range of its first axis, and `{"flip": [2]}` reverses axes. `"name": null` leaves a tensor of the file out.
//! A tensor may feed several paths.
//!
//! Without steps, the order of the numbers stays. A tensor of the parameter's own shape is taken as it is. A tensor whose axes are those of
//! the parameter up to joining, splitting and axes of length 1 is accepted too, unless another order of its axes would also fit, as with a
//! square matrix: then the map must state the order. The same holds for a convolution in another shape, since PyTorch has the present
//! token's tap last and archc has it first.

use crate::load;
use crate::output::{Output, Stop};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{Graph, ParamId};
use archc_runtime::{Tensor, Tensors};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// Result of applying a map.
pub struct Renamed {
    /// Tensors by path; those that the map does not name keep their names.
    pub tensors: Tensors,
    /// Description of each changed tensor.
    pub told: Vec<Value>,
    /// Errors of the map. A parameter with an erroneous entry is filled with zeros of its shape, so that it does not count as missing.
    pub findings: Vec<Diagnostic>,
}

impl Renamed {
    /// Reports which tensors were changed, and how.
    ///
    /// # Errors
    /// If the report cannot be written.
    pub fn tell(&self, output: &Output) -> Result<(), Stop> {
        for change in &self.told {
            output.object("renamed", change.clone())?;
            let Value::Object(fields) = change else { continue };
            let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
            output.note(&format!("{} {} is `{}` {}", text("path"), fields["shape"], text("name"), fields["from"]))?;
        }
        Ok(())
    }
}

/// Renames and reshapes the tensors of a weights file by a map.
///
/// # Errors
/// E0820, E0002, E0003 for a map that cannot be read, E0841 for one that is not a JSON object.
pub fn rename(graph: &Graph, mut tensors: Tensors, weights: &Path, map: &Path) -> Result<Renamed, Diagnostic> {
    let shown = map.display();
    let help = "write { \"path\": \"name in the file\" }";
    let entries = match serde_json::from_str::<Value>(&load::read(map)?) {
        Ok(Value::Object(entries)) => entries,
        Ok(_) => return Err(wrong(format!("`{shown}` is not a JSON object"), help)),
        Err(e) => return Err(wrong(format!("`{shown}` is not JSON: {e}"), help)),
    };
    let (mut found, mut used) = (Tensors::new(), BTreeSet::new());
    let (mut told, mut findings) = (Vec::new(), Vec::new());
    for (key, value) in &entries {
        match entry(graph, &tensors, weights, key, value) {
            Ok(Entry::Out(name)) => {
                used.insert(name);
            }
            Ok(Entry::Param { name, tensor }) => {
                let from = &tensors[&name].shape;
                if *from != tensor.shape || value.is_array() {
                    told.push(json!({ "path": key, "shape": tensor.shape, "name": name, "from": from }));
                }
                used.insert(name);
                found.insert(key.clone(), tensor);
            }
            Err(finding) => {
                findings.push(finding);
                used.extend(named(value).map(str::to_owned));
                if let Some(shape) = shape_of(graph, key) {
                    let data = vec![0.0; shape.iter().product()];
                    found.insert(key.clone(), Tensor { shape, data });
                }
            }
        }
    }
    tensors.retain(|name, _| !used.contains(name));
    tensors.extend(found);
    Ok(Renamed { tensors, told, findings })
}

/// Resolved entry of the map.
enum Entry {
    /// Tensor of the file that is left out.
    Out(String),
    /// Parameter, from a tensor of the file.
    Param { name: String, tensor: Tensor },
}

fn wrong(message: String, help: impl Into<String>) -> Diagnostic {
    Diagnostic::error("E0841", message).help(help)
}

/// Name of the tensor in an entry.
fn named(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.as_array()?.first()?.as_str())
}

fn shape_of(graph: &Graph, path: &str) -> Option<Vec<usize>> {
    let at = graph.params.iter().position(|p| p.path == path)?;
    Some(graph.param_shape(ParamId(at as u32)))
}

fn entry(graph: &Graph, tensors: &Tensors, weights: &Path, key: &str, value: &Value) -> Result<Entry, Diagnostic> {
    let missing = |name: &str| {
        let message = format!("`{}` has no tensor `{name}`, which the map names", weights.display());
        let names = tensors.keys().take(20).map(String::as_str).collect::<Vec<_>>().join(", ");
        wrong(message, format!("check the spelling; it holds {names}{}", if tensors.len() > 20 { ", ..." } else { "" }))
    };
    if value.is_null() {
        return if tensors.contains_key(key) { Ok(Entry::Out(key.to_owned())) } else { Err(missing(key)) };
    }
    let Some(want) = shape_of(graph, key) else {
        return Err(wrong(
            format!("the map names `{key}`, which is no parameter of the program"),
            "`archc params` lists the paths; they stand before the colon",
        ));
    };
    let Some(name) = named(value) else {
        let help = "write \"path\": \"name\", or \"path\": [\"name\", { \"reshape\": [2, 32, 64] }]";
        return Err(wrong(format!("the map has no name for `{key}`"), help));
    };
    let mut tensor = tensors.get(name).cloned().ok_or_else(|| missing(name))?;
    for step in value.as_array().iter().flat_map(|list| list.iter().skip(1)) {
        tensor = change(tensor, step)
            .map_err(|(why, help)| wrong(format!("`{key}` from `{name}`, step {step}: {why}"), help))?;
    }
    Ok(Entry::Param { name: name.to_owned(), tensor: fit(tensor, &want, key, name, value)? })
}

/// Applies one step to a tensor; an error has a message and help.
fn change(tensor: Tensor, step: &Value) -> Result<Tensor, (String, &'static str)> {
    const HELP: &str =
        "a step is { \"permute\": [1, 0] }, { \"reshape\": [2, 32, 64] }, { \"rows\": [0, 64] } or { \"flip\": [2] }";
    let parts = step.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.iter().next());
    let (what, numbers) = parts.ok_or_else(|| ("this is no step".to_owned(), HELP))?;
    let numbers: Option<Vec<usize>> =
        numbers.as_array().and_then(|list| list.iter().map(|n| n.as_u64().map(|n| n as usize)).collect());
    let numbers = numbers.ok_or_else(|| ("this is no list of whole numbers".to_owned(), HELP))?;
    let Tensor { shape, data } = tensor;
    match (what.as_str(), numbers.as_slice()) {
        ("permute", order) => {
            let mut sorted = order.to_vec();
            sorted.sort_unstable();
            if sorted.iter().ne(&(0..shape.len()).collect::<Vec<_>>()) {
                let why = format!("the tensor has shape {shape:?} here");
                return Err((why, "name each of its axes once, from 0, in the order that they shall have"));
            }
            Ok(permuted(&Tensor { shape, data }, order))
        }
        ("reshape", new) => {
            let count = new.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
            if count != Some(data.len()) {
                let why = format!("the tensor has shape {shape:?} here, {} numbers", data.len());
                return Err((why, "a reshape keeps all numbers, in their order"));
            }
            Ok(Tensor { shape: new.to_vec(), data })
        }
        ("rows", &[from, to]) if from < to && shape.first().is_some_and(|&rows| to <= rows) => {
            let each = data.len() / shape[0];
            let rest = &shape[1..];
            Ok(Tensor { shape: [&[to - from], rest].concat(), data: data[from * each..to * each].to_vec() })
        }
        ("rows", _) => {
            let why = format!("the tensor has shape {shape:?} here");
            Err((why, "give the first row, counted from 0, and the one after the last, as in { \"rows\": [0, 64] }"))
        }
        ("flip", axes) if axes.iter().all(|&axis| axis < shape.len()) => Ok(flipped(Tensor { shape, data }, axes)),
        ("flip", _) => Err((format!("the tensor has shape {shape:?} here"), "name axes of it, from 0")),
        _ => Err((format!("there is no step `{what}`"), HELP)),
    }
}

/// Permutes the axes of a tensor: axis i of the result is axis `order[i]`.
fn permuted(tensor: &Tensor, order: &[usize]) -> Tensor {
    let mut strides = vec![1; tensor.shape.len()];
    for axis in (1..strides.len()).rev() {
        strides[axis - 1] = strides[axis] * tensor.shape[axis];
    }
    let shape: Vec<usize> = order.iter().map(|&axis| tensor.shape[axis]).collect();
    let mut index = vec![0; shape.len()];
    let mut data = Vec::with_capacity(tensor.data.len());
    for _ in 0..tensor.data.len() {
        data.push(tensor.data[index.iter().zip(order).map(|(i, &axis)| i * strides[axis]).sum::<usize>()]);
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Tensor { shape, data }
}

/// Reverses a tensor along each of these axes.
fn flipped(mut tensor: Tensor, axes: &[usize]) -> Tensor {
    for &axis in axes {
        let (size, each) = (tensor.shape[axis], tensor.shape[axis + 1..].iter().product::<usize>());
        for block in tensor.data.chunks_mut((size * each).max(1)) {
            let turned: Vec<f64> = block.chunks(each.max(1)).rev().flatten().copied().collect();
            block.copy_from_slice(&turned);
        }
    }
    tensor
}

/// Fits a tensor to a parameter's shape, by the rule of this file.
fn fit(tensor: Tensor, want: &[usize], key: &str, name: &str, value: &Value) -> Result<Tensor, Diagnostic> {
    if tensor.shape == want {
        return Ok(tensor);
    }
    let with = |step: Value| {
        let steps = value.as_array().map_or(&[][..], |list| &list[1..]);
        let list: Vec<Value> = [&[json!(name)], steps, &[step]].concat();
        format!("{}: {}", json!(key), Value::Array(list))
    };
    let message = format!("`{key}` has shape {want:?}, and `{name}` gives {:?}", tensor.shape);
    if tensor.data.len() != want.iter().product::<usize>() {
        return Err(wrong(message, "were the weights made with other sizes? `--set AXIS=SIZE` changes the program's"));
    }
    if key.ends_with("conv.linear.weight") && !value.is_array() {
        let (turned, kept) =
            (with(json!({ "flip": [tensor.shape.len().saturating_sub(1)] })), with(json!({ "reshape": want })));
        return Err(wrong(
            format!("{message}: a convolution of another program, whose taps may be in the other order"),
            format!(
                "write {turned} for PyTorch's, which has the present token last; or {kept} if it is first, as in archc"
            ),
        ));
    }
    let other = orders(tensor.shape.len()).find(|order| {
        let moved: Vec<usize> = order.iter().map(|&axis| tensor.shape[axis]).collect();
        !in_order(&tensor.shape, order) && regroups(&moved, want)
    });
    match (regroups(&tensor.shape, want), other) {
        (true, None) => Ok(Tensor { shape: want.to_vec(), data: tensor.data }),
        (true, Some(order)) => Err(wrong(format!("{message}, which fits in two ways"), {
            let (kept, moved) = (with(json!({ "reshape": want })), with(json!({ "permute": order })));
            format!("write {kept} if its numbers are in order, as PyTorch has them, or {moved} and then a reshape")
        })),
        (false, Some(order)) => Err(wrong(
            format!("{message}, which fits with its axes in another order only"),
            format!("write {} if that is what is meant", with(json!({ "permute": order }))),
        )),
        (false, None) => Err(wrong(
            format!("{message}, which are as many numbers in another grouping"),
            format!("write {} if the numbers are in order", with(json!({ "reshape": want }))),
        )),
    }
}

/// Maximum number of axes of which all orders are tried.
const AXES: usize = 6;

/// All orders of `axes` axes.
fn orders(axes: usize) -> impl Iterator<Item = Vec<usize>> {
    let count = if axes <= AXES { (1..=axes).product() } else { 0 };
    (0..count).map(move |mut number: usize| {
        let mut left: Vec<usize> = (0..axes).collect();
        let mut order = Vec::with_capacity(axes);
        for n in (1..=axes).rev() {
            order.push(left.remove(number % n));
            number /= n;
        }
        order
    })
}

/// Whether an order of axes preserves the order of the numbers: only axes of length 1 move.
fn in_order(shape: &[usize], order: &[usize]) -> bool {
    order.iter().filter(|&&axis| shape[axis] != 1).is_sorted()
}

/// Whether one shape becomes the other by joining or splitting neighbouring axes and adding or removing axes of length 1.
fn regroups(have: &[usize], want: &[usize]) -> bool {
    let long = |shape: &[usize]| shape.iter().copied().filter(|&size| size != 1).collect::<Vec<_>>();
    let (have, want) = (long(have), long(want));
    let (mut i, mut j) = (0, 0);
    while i < have.len() && j < want.len() {
        let (mut a, mut b) = (have[i], want[j]);
        // One axis on one side, several neighbours on the other.
        let joins = a < b;
        while a != b {
            let (small, sizes, at) = if joins { (&mut a, &have, &mut i) } else { (&mut b, &want, &mut j) };
            *at += 1;
            match sizes.get(*at) {
                Some(size) => *small *= size,
                None => return false,
            }
            if (a > b) == joins && a != b {
                return false;
            }
        }
        i += 1;
        j += 1;
    }
    i == have.len() && j == want.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_regroup() {
        let yes: [(&[usize], &[usize]); 8] = [
            (&[64, 48], &[2, 32, 48]),
            (&[6, 1, 3], &[6, 3]),
            (&[6, 1, 3], &[2, 3, 3]),
            (&[1], &[]),
            (&[], &[1, 1]),
            (&[12], &[2, 3, 2]),
            (&[2, 3, 2], &[6, 2]),
            (&[4, 6], &[2, 2, 3, 2]),
        ];
        for (have, want) in yes {
            assert!(regroups(have, want), "{have:?} {want:?}");
        }
        let no: [(&[usize], &[usize]); 5] =
            [(&[4, 6], &[6, 4]), (&[48, 64], &[2, 32, 48]), (&[6, 4], &[4, 6]), (&[2, 9], &[6, 3]), (&[6], &[2, 2])];
        for (have, want) in no {
            assert!(!regroups(have, want), "{have:?} {want:?}");
        }
    }

    #[test]
    fn orders_are_all_and_once() {
        for (axes, count) in [(0, 1), (1, 1), (2, 2), (3, 6), (4, 24)] {
            let all: BTreeSet<Vec<usize>> = orders(axes).collect();
            assert_eq!((all.len(), orders(axes).count()), (count, count));
        }
        assert!(in_order(&[4, 1, 3], &[1, 0, 2]) && !in_order(&[4, 1, 3], &[2, 1, 0]));
    }

    #[test]
    fn axes_move() {
        let tensor = Tensor { shape: vec![2, 3], data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        let turned = permuted(&tensor, &[1, 0]);
        assert_eq!(turned, Tensor { shape: vec![3, 2], data: vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0] });
        assert_eq!(flipped(tensor.clone(), &[1]).data, [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
        assert_eq!(flipped(tensor.clone(), &[0]).data, [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]);
        assert_eq!(flipped(tensor, &[0, 1]).data, [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
        let cube = Tensor { shape: vec![2, 2, 2], data: (0..8).map(f64::from).collect() };
        assert_eq!(permuted(&cube, &[2, 0, 1]).data, [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]);
    }
}
