//! Checks that all sessions share: objectives, cotangents of outputs, parameters from outside.

use crate::errors;
use crate::number::moved;
use crate::session::{Batch, Dtype, Number, Numbers, Tensor, Tensors};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{Graph, ParamId};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Checks that a batch has the inputs of a loss.
pub(crate) fn has_objective<D>(graph: &Graph, batch: &Batch<D>) -> Result<(), Diagnostic> {
    if !graph.has_objective() {
        return Err(errors::objective(
            format!("`{}` is a block without a `loss`: there is nothing to train", graph.name),
            "train a model, or a file with one block of one input and one output over [D]",
        ));
    }
    if graph.vocab.is_some() && batch.targets.is_empty() {
        return Err(errors::objective(
            "the batch has no targets".into(),
            "give what each token should predict, one id a token",
        ));
    }
    Ok(())
}

/// Checks that cotangents match the outputs.
pub(crate) fn cotangents<D: Numbers>(
    graph: &Graph,
    batch: &Batch<D>,
    cotangents: &Tensors<D>,
) -> Result<(), Diagnostic> {
    let outputs = &graph.outputs;
    for (name, r) in cotangents {
        let Some(output) = outputs.iter().find(|o| o.name == *name) else {
            let names: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
            return Err(errors::objective(
                format!("the program has no output `{name}` to be weighed"),
                &format!("its outputs are: {}", names.join(", ")),
            ));
        };
        let axes = output.axes.iter().map(|&a| graph.size(a));
        let shape: Vec<usize> = [batch.batch, batch.len].into_iter().chain(axes).collect();
        if !r.has(&shape) {
            return Err(errors::objective(
                format!("the weights of the output `{name}` have shape {:?}, not {shape:?}", r.shape),
                "give one number for each number of the output",
            ));
        }
    }
    Ok(())
}

/// Maps parameter values in the order of the graph to tensors by path.
pub(crate) fn by_path<N: Number, T: Number>(
    graph: &Graph,
    values: impl IntoIterator<Item = Vec<N>>,
) -> Tensors<Vec<T>> {
    let ids = (0..graph.params.len()).map(|i| ParamId(i as u32));
    let tensor = |(id, data): (ParamId, Vec<N>)| {
        let tensor = Tensor { shape: graph.param_shape(id), data: moved(data) };
        (graph.param(id).path.clone(), tensor)
    };
    ids.zip(values).map(tensor).collect()
}

/// All differences between tensors and the parameters of a graph: unknown ones, missing ones, wrong shapes, elements that are not finite in
/// this arithmetic.
pub fn misfits<D: Numbers>(graph: &Graph, tensors: &Tensors<D>, dtype: Dtype) -> Vec<Diagnostic> {
    let paths: BTreeSet<&String> = graph.params.iter().map(|p| &p.path).collect();
    let lacking = || paths.iter().copied().filter(|p| !tensors.contains_key(*p));
    let unknown: Vec<&String> = tensors.keys().filter(|k| !paths.contains(k)).collect();
    let mut found: Vec<Diagnostic> = unknown.iter().map(|name| errors::unknown_param(name, lacking())).collect();
    let fits = |x: f64| match dtype {
        Dtype::F32 => (x as f32).is_finite(),
        Dtype::F64 => x.is_finite(),
    };
    for (i, param) in graph.params.iter().enumerate() {
        let Some(tensor) = tensors.get(&param.path) else {
            found.push(errors::missing_param(&param.path, unknown.iter().copied()));
            continue;
        };
        let want = graph.param_shape(ParamId(i as u32));
        let numbers = tensor.data.numbers();
        if !tensor.has(&want) {
            found.push(errors::param_shape(&param.path, &tensor.shape, numbers.len(), &want));
        } else if let Some(at) = numbers.iter().position(|x| !fits(x.exact())) {
            found.push(errors::param_not_finite(&param.path, numbers[at].exact(), at));
        }
    }
    found
}

/// Checks tensors by path against the graph and returns their values in its order, rounded to the arithmetic.
pub(crate) fn params<D: Numbers, N: Number>(
    graph: &Graph,
    tensors: &Tensors<D>,
    dtype: Dtype,
) -> Result<Vec<Vec<N>>, Diagnostic> {
    if let Some(first) = misfits(graph, tensors, dtype).into_iter().next() {
        return Err(first);
    }
    let rounded = |path: &String| {
        let numbers = Cow::Borrowed(tensors[path].data.numbers());
        match dtype {
            Dtype::F32 => N::converted(f32::converted(numbers)).into_owned(),
            Dtype::F64 => N::converted(f64::converted(numbers)).into_owned(),
        }
    };
    Ok(graph.params.iter().map(|param| rounded(&param.path)).collect())
}

/// The function that rounds a number to a session's arithmetic.
pub(crate) fn rounding(dtype: Dtype) -> fn(f64) -> f64 {
    match dtype {
        Dtype::F32 => |x| f64::from(x as f32),
        Dtype::F64 => |x| x,
    }
}
