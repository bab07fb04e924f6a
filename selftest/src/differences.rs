//! The reference's gradients compared with differences of its values, so that the reference is checked as well.

use crate::agree::{Fault, Finding, Quantity};
use crate::case::Case;
use crate::generate::Dice;
use archc_compiler::graph::{Dag, Op};
use archc_runtime::{Dtype, Forward, Objective, Reference, Tensor, Tensors};

/// Two steps of a central difference: where they disagree, the function has a corner between, and nothing is reported.
const STEPS: [f64; 2] = [1e-5, 3e-6];

/// Relative tolerance: a central difference of f64 values with a step of 1e-5 has an error of 1e-10 times a third derivative, and of 1e-11
/// times the value.
const TOLERANCE: f64 = 1e-5;

/// Whether an op of a kind is in a graph or its bodies.
fn any_op(dag: &Dag, kind: &dyn Fn(&Op) -> bool) -> bool {
    dag.ids().any(|id| match dag.op(id) {
        Op::Scan(scan) => any_op(&scan.body, kind),
        Op::Attend(attend) => any_op(&attend.body, kind),
        op => kind(op),
    })
}

fn weighed(forward: &Forward, r: &Tensors) -> f64 {
    forward.outputs.iter().map(|(n, t)| t.data.iter().zip(&r[n].data).map(|(a, b)| a * b).sum::<f64>()).sum()
}

/// Compares the derivative of sum(output * R) along a random direction of each parameter and of each input.
///
/// It is taken slightly beside the case, where no two numbers are equal: at a tie a function has a corner, or a comparison a jump, which
/// differences straddle. Programs with `stop_grad` or `topk` are skipped, since their gradients are not those of their values.
pub fn differences(case: &Case, salt: u64) -> Vec<Finding> {
    let mut found = Vec::new();
    let held = |op: &Op| matches!(op, Op::StopGrad | Op::TopK(..));
    if any_op(&case.graph.dag, &held) {
        return found;
    }
    let mut beside = case.clone();
    let mut dice = Dice::new(&[b"beside", &salt.to_le_bytes()]);
    let tensors = beside.params.params.values_mut().chain(beside.batch.inputs.values_mut());
    tensors.flat_map(|t| &mut t.data).for_each(|x| *x += 1e-3 * (1.0 + x.abs()) * dice.normal());
    let case = &beside;
    let Ok(mut session) = crate::case::try_session(&Reference, &case.graph, Dtype::F64) else { return found };
    if session.restore(&case.params).is_err() {
        return found;
    }
    let Ok(gradients) = session.gradients(&case.batch, Objective::Cotangents(&case.r)) else { return found };
    let along = |name: &str, t: &Tensor| -> Tensor {
        let mut dice = Dice::new(&[b"direction", name.as_bytes(), &salt.to_le_bytes()]);
        let mut data: Vec<f64> = t.data.iter().map(|_| dice.normal()).collect();
        let length = data.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-300);
        data.iter_mut().for_each(|x| *x /= length);
        Tensor { shape: t.shape.clone(), data }
    };
    let moved = |t: &Tensor, u: &Tensor, by: f64| Tensor {
        shape: t.shape.clone(),
        data: t.data.iter().zip(&u.data).map(|(x, u)| x + by * u).collect(),
    };
    let each = gradients.params.iter().map(|g| (true, g)).chain(gradients.inputs.iter().map(|g| (false, g)));
    for (is_param, (name, gradient)) in each {
        let at = if is_param { &case.params.params[name] } else { &case.batch.inputs[name] };
        let u = along(name, at);
        let slope: f64 = gradient.data.iter().zip(&u.data).map(|(g, u)| g * u).sum();
        let length = gradient.data.iter().map(|g| g * g).sum::<f64>().sqrt();
        let mut value = |by: f64| -> Option<(f64, f64)> {
            let (mut params, mut batch) = (case.params.clone(), case.batch.clone());
            let place = if is_param { params.params.get_mut(name) } else { batch.inputs.get_mut(name) }?;
            *place = moved(at, &u, by);
            session.restore(&params).ok()?;
            let forward = session.forward(&batch, None).ok()?;
            let size = forward.outputs.values().flat_map(|t| &t.data).fold(0.0f64, |m, x| m.max(x.abs()));
            Some((weighed(&forward, &case.r), size))
        };
        let mut slopes = Vec::new();
        let mut size = 0.0f64;
        for step in STEPS {
            let (Some(up), Some(down)) = (value(step), value(-step)) else { return found };
            slopes.push((up.0 - down.0) / (2.0 * step));
            size = size.max(up.1);
        }
        // the rounding error of a difference of sums of this size
        let rounding = 1e-16 * size * (case.r.values().map(|t| t.data.len()).sum::<usize>() as f64) / STEPS[1];
        let scale = length.max(slope.abs()).max(1.0);
        let near = |a: f64, b: f64, share: f64| (a - b).abs() <= share * scale + 10.0 * rounding;
        if !near(slopes[0], slopes[1], 0.1 * TOLERANCE) || near(slope, slopes[0], TOLERANCE) {
            continue;
        }
        let fault = Fault::Differs { gradient: slope, difference: slopes[0] };
        found.push(Finding { run: "reference".into(), of: Quantity::Gradient("R", name.clone()), fault });
    }
    found
}
