//! Checks that all sessions share: objectives, weights of outputs, parameters given from outside.

use crate::errors;
use crate::session::{Batch, Dtype, Tensor, Tensors};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{Graph, ParamId};

/// Checks that a batch has what a loss needs.
pub(crate) fn has_objective(graph: &Graph, batch: &Batch) -> Result<(), Diagnostic> {
    match graph.vocab {
        Some(_) if batch.targets.is_empty() => Err(errors::objective(
            "the batch has no targets".into(),
            "give what each token should predict, one id a token",
        )),
        None if graph.losses.is_empty() => Err(errors::objective(
            format!("`{}` is a block without a `loss`: there is nothing to train", graph.name),
            "train a model, or a file with one block of one input and one output over [D]",
        )),
        _ => Ok(()),
    }
}

/// Checks that weights of outputs fit them.
pub(crate) fn cotangents(graph: &Graph, batch: &Batch, cotangents: &Tensors) -> Result<(), Diagnostic> {
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
        if r.shape != shape || r.data.len() != shape.iter().product::<usize>() {
            return Err(errors::objective(
                format!("the weights of the output `{name}` have shape {:?}, not {shape:?}", r.shape),
                "give one number for each number of the output",
            ));
        }
    }
    Ok(())
}

/// Values in the order of the graph, by path.
pub(crate) fn by_path(graph: &Graph, values: &[Vec<f64>]) -> Tensors {
    let ids = (0..graph.params.len()).map(|i| ParamId(i as u32));
    let tensor = |(id, data): (ParamId, &Vec<f64>)| {
        let tensor = Tensor { shape: graph.param_shape(id), data: data.clone() };
        (graph.param(id).path.clone(), tensor)
    };
    ids.zip(values).map(tensor).collect()
}

/// Tensors by path, checked against the graph, in its order.
pub(crate) fn params(graph: &Graph, tensors: &Tensors, dtype: Dtype) -> Result<Vec<Vec<f64>>, Diagnostic> {
    let paths: Vec<String> = graph.params.iter().map(|p| p.path.clone()).collect();
    if let Some(unknown) = tensors.keys().find(|k| !paths.contains(k)) {
        return Err(errors::unknown_param(unknown, paths.iter().filter(|p| !tensors.contains_key(*p))));
    }
    let mut values = Vec::with_capacity(paths.len());
    for (i, path) in paths.iter().enumerate() {
        let Some(tensor) = tensors.get(path) else {
            return Err(errors::missing_param(path, tensors.keys().filter(|k| !paths.contains(k))));
        };
        let want = graph.param_shape(ParamId(i as u32));
        if tensor.shape != want || tensor.data.len() != want.iter().product::<usize>() {
            return Err(errors::param_shape(path, &tensor.shape, tensor.data.len(), &want));
        }
        let round = rounding(dtype);
        let data: Vec<f64> = tensor.data.iter().map(|&x| round(x)).collect();
        if let Some(at) = data.iter().position(|x| !x.is_finite()) {
            return Err(errors::param_not_finite(path, tensor.data[at], at));
        }
        values.push(data);
    }
    Ok(values)
}

/// What brings a number to a session's arithmetic.
pub(crate) fn rounding(dtype: Dtype) -> fn(f64) -> f64 {
    match dtype {
        Dtype::F32 => |x| f64::from(x as f32),
        Dtype::F64 => |x| x,
    }
}
