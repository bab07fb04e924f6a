//! Tests of the joint graph: every rule against differences, and the backward formulas of chunk forms.

mod attends;
mod formulas;
mod loops;
mod made;
mod ops;
