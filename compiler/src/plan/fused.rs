//! Code of a fused loop: members become ops; composite ones (softmax, variance) are expanded into several.

use super::fuse::{Role, Unit};
use super::memory::{Kernel, View};
use super::planner::Planner;
use super::scope::ScopePlan;
use super::{Fold, Fused, FusedOp, Instr, Work};
use crate::graph::{BinaryOp, ReduceOp, UnaryOp};
use crate::lowered::{DimId, Lowered, Op, ValueId};
use std::collections::BTreeMap;

struct Code<'a> {
    graph: &'a Lowered,
    sizes: &'a [usize],
    inputs: Vec<View>,
    code: Vec<Instr>,
}

impl Code<'_> {
    fn add(&mut self, op: FusedOp, mut dims: Vec<DimId>) -> usize {
        self.graph.order(&mut dims);
        // equal ops are shared
        self.code.iter().position(|i| i.op == op && i.dims == dims).unwrap_or_else(|| {
            self.code.push(Instr { op, dims });
            self.code.len() - 1
        })
    }

    fn number(&mut self, x: f64) -> usize {
        self.add(FusedOp::Number(x), Vec::new())
    }

    fn dims(&self, i: usize) -> Vec<DimId> {
        self.code[i].dims.clone()
    }

    /// Emits a unary op; squares and 1 - x become binary ops.
    fn unary(&mut self, op: UnaryOp, x: usize) -> usize {
        match op {
            UnaryOp::Powi(2) => return self.binary(BinaryOp::Mul, x, x),
            UnaryOp::Not => {
                let one = self.number(1.0);
                return self.binary(BinaryOp::Sub, one, x);
            }
            _ => {}
        }
        let dims = self.dims(x);
        self.add(FusedOp::Unary(op, x), dims)
    }

    /// x, if the op is -x.
    fn negated(&self, i: usize) -> Option<usize> {
        match self.code[i].op {
            FusedOp::Unary(UnaryOp::Neg, x) => Some(x),
            _ => None,
        }
    }

    /// Emits a binary op. Signs move outwards, into a sum or difference where possible: results stay equal.
    fn binary(&mut self, op: BinaryOp, a: usize, b: usize) -> usize {
        match (op, self.negated(a), self.negated(b)) {
            (BinaryOp::Add, _, Some(b)) => return self.binary(BinaryOp::Sub, a, b),
            (BinaryOp::Sub, _, Some(b)) => return self.binary(BinaryOp::Add, a, b),
            (BinaryOp::Add, Some(a), _) => return self.binary(BinaryOp::Sub, b, a),
            (BinaryOp::Mul, Some(a), Some(b)) => return self.binary(op, a, b),
            (BinaryOp::Mul, Some(x), None) | (BinaryOp::Mul, None, Some(x)) => {
                let product = self.binary(op, x, if self.negated(a).is_some() { b } else { a });
                return self.unary(UnaryOp::Neg, product);
            }
            _ => {}
        }
        let dims = [self.dims(a), self.dims(b)].concat();
        self.add(FusedOp::Binary(op, a, b), dims)
    }

    fn select(&mut self, c: usize, a: usize, b: usize) -> usize {
        let dims = [self.dims(c), self.dims(a), self.dims(b)].concat();
        self.add(FusedOp::Select(c, a, b), dims)
    }

    /// Emits a reduction over those of the dimensions that x has; a sum over the others is a product with their length.
    fn fold(&mut self, fold: Fold, x: usize, over: &[DimId]) -> usize {
        let dims = self.dims(x);
        let kept: Vec<DimId> = dims.iter().copied().filter(|d| !over.contains(d)).collect();
        let mut y = if kept.len() == dims.len() { x } else { self.add(FusedOp::Fold(fold, x), kept) };
        let missing: usize = over.iter().filter(|d| !dims.contains(d)).map(|d| self.sizes[d.0 as usize]).product();
        if fold == Fold::Sum && missing > 1 {
            let times = self.number(missing as f64);
            y = self.binary(BinaryOp::Mul, y, times);
        }
        y
    }

    fn mean(&mut self, x: usize, over: &[DimId]) -> usize {
        let total = self.fold(Fold::Sum, x, over);
        let share = self.number(1.0 / self.count(over));
        self.binary(BinaryOp::Mul, total, share)
    }

    fn count(&self, over: &[DimId]) -> f64 {
        over.iter().map(|d| self.sizes[d.0 as usize]).product::<usize>() as f64
    }

    /// Removes ops that nothing reads.
    fn drop_unread(&mut self, outputs: &mut [(usize, View)]) {
        let mut read = vec![false; self.code.len()];
        outputs.iter().for_each(|o| read[o.0] = true);
        for (i, instr) in self.code.iter_mut().enumerate().rev() {
            if read[i] {
                instr.op.each_operand(&mut |o| read[*o] = true);
            }
        }
        let mut to = Vec::with_capacity(read.len());
        let mut kept = 0;
        for read in &read {
            to.push(kept);
            kept += usize::from(*read);
        }
        let mut of = read.iter();
        self.code.retain(|_| of.next() == Some(&true));
        self.code.iter_mut().for_each(|i| i.op.each_operand(&mut |o| *o = to[*o]));
        outputs.iter_mut().for_each(|o| o.0 = to[o.0]);
        // unread inputs likewise
        let mut inputs = Vec::new();
        for instr in &mut self.code {
            if let FusedOp::Input(n) = &mut instr.op {
                inputs.push(self.inputs[*n].clone());
                *n = inputs.len() - 1;
            }
        }
        self.inputs = inputs;
    }

    fn variance(&mut self, x: usize, over: &[DimId], sample: bool) -> usize {
        let mean = self.mean(x, over);
        let apart = self.binary(BinaryOp::Sub, x, mean);
        let square = self.unary(UnaryOp::Powi(2), apart);
        let total = self.fold(Fold::Sum, square, over);
        let count = self.count(over);
        let share = self.number(1.0 / if sample { count - 1.0 } else { count });
        self.binary(BinaryOp::Mul, total, share)
    }

    fn reduce(&mut self, op: ReduceOp, x: usize, over: &[DimId]) -> usize {
        match op {
            ReduceOp::Sum => self.fold(Fold::Sum, x, over),
            ReduceOp::Mean => self.mean(x, over),
            ReduceOp::Max => self.fold(Fold::Max, x, over),
            ReduceOp::Min => self.fold(Fold::Min, x, over),
            ReduceOp::Var { sample } => self.variance(x, over, sample),
            ReduceOp::Std { sample } => {
                let variance = self.variance(x, over, sample);
                self.unary(UnaryOp::Sqrt, variance)
            }
            ReduceOp::Norm => {
                let square = self.unary(UnaryOp::Powi(2), x);
                let total = self.fold(Fold::Sum, square, over);
                self.unary(UnaryOp::Sqrt, total)
            }
            ReduceOp::Median => panic!("archc bug: a median that is not sorted"),
            ReduceOp::LogSumExp => {
                let top = self.fold(Fold::Max, x, over);
                let below = self.binary(BinaryOp::Sub, x, top);
                let exp = self.unary(UnaryOp::Exp, below);
                let total = self.fold(Fold::Sum, exp, over);
                let log = self.unary(UnaryOp::Log, total);
                self.binary(BinaryOp::Add, log, top)
            }
        }
    }
}

impl ScopePlan<'_> {
    /// Emits the kernel of a fused unit.
    pub fn emit_fused(&mut self, planner: &mut Planner<'_>, unit: &Unit, roles: &[Role]) {
        let graph = planner.graph;
        let sizes = planner.sizes.clone();
        let mut code = Code { graph, sizes: &sizes, inputs: Vec::new(), code: Vec::new() };
        let mut made: BTreeMap<ValueId, usize> = BTreeMap::new();
        // values of which the sigmoid is made here: x sigmoid(x) is then one product more
        let unary = |id: &ValueId, op: UnaryOp| matches!(self.values.dag.node(*id).op, Op::Unary(own) if own == op);
        let operand = |id: &ValueId| self.values.looked_through(self.values.dag.operands(*id)[0]);
        let sigmoids: Vec<ValueId> = unit.members.iter().filter(|m| unary(m, UnaryOp::Sigmoid)).map(operand).collect();
        for &id in &unit.members {
            let node = self.values.dag.node(id);
            let operands: Vec<usize> =
                self.values.dag.operands(id).iter().map(|o| self.operand(planner, &mut code, &made, *o)).collect();
            let value = match &node.op {
                Op::Const(x) => code.number(*x),
                Op::Unary(UnaryOp::Silu) if sigmoids.contains(&operand(&id)) => {
                    let sigmoid = code.unary(UnaryOp::Sigmoid, operands[0]);
                    code.binary(BinaryOp::Mul, operands[0], sigmoid)
                }
                Op::Unary(op) => code.unary(*op, operands[0]),
                Op::Binary(op) => code.binary(*op, operands[0], operands[1]),
                Op::Select => code.select(operands[0], operands[1], operands[2]),
                Op::Reduce(op, over) => code.reduce(*op, operands[0], over),
                Op::Softmax(over) => {
                    let top = code.fold(Fold::Max, operands[0], over);
                    let below = code.binary(BinaryOp::Sub, operands[0], top);
                    let exp = code.unary(UnaryOp::Exp, below);
                    let total = code.fold(Fold::Sum, exp, over);
                    code.binary(BinaryOp::Div, exp, total)
                }
                Op::Contract(over) => {
                    let product = code.binary(BinaryOp::Mul, operands[0], operands[1]);
                    code.fold(Fold::Sum, product, over)
                }
                op => panic!("archc bug: {op:?} is not element-wise"),
            };
            made.insert(id, value);
        }
        let mut outputs: Vec<(usize, View)> = Vec::new();
        let outside = self.read_outside(unit, roles);
        for id in outside {
            let view = self.read(planner, id);
            outputs.push((made[&id], view));
        }
        code.drop_unread(&mut outputs);
        let names: Vec<&str> = unit.members.iter().map(|m| self.values.dag.node(*m).name.as_str()).collect();
        let name = names.iter().rev().find(|n| !n.is_empty()).copied().unwrap_or_default().to_string();
        let mut dims = unit.dims.clone();
        // composite members may have spaces that no single op has, and a result may be broadcast along dimensions of its place
        code.code.iter().for_each(|i| dims.extend(&i.dims));
        outputs.iter().for_each(|(_, view)| dims.extend(view.axes.iter().map(|a| a.dim)));
        planner.graph.order(&mut dims);
        self.kernels
            .push(Kernel { work: Work::Fused(Fused { dims, inputs: code.inputs, code: code.code, outputs }), name });
    }

    fn operand(
        &self,
        planner: &mut Planner<'_>,
        code: &mut Code<'_>,
        made: &BTreeMap<ValueId, usize>,
        id: ValueId,
    ) -> usize {
        let through = self.values.looked_through(id);
        if let Some(&value) = made.get(&through) {
            return value;
        }
        let node = self.values.dag.node(through);
        if let Op::Const(x) = node.op {
            return code.number(x);
        }
        let view = if self.values.is_constant(through) {
            self.values.constant_at(planner, through)
        } else {
            match &self.homes.place[through.0 as usize] {
                Some(view) => view.clone(),
                None => panic!("archc bug: value %{} has no place", through.0),
            }
        };
        let at = match code.inputs.iter().position(|v| *v == view) {
            Some(at) => at,
            None => {
                code.inputs.push(view);
                code.inputs.len() - 1
            }
        };
        code.add(FusedOp::Input(at), node.dims.clone())
    }

    /// Members that are read outside of the unit or through an alias.
    fn read_outside(&self, unit: &Unit, roles: &[Role]) -> Vec<ValueId> {
        let leaves = |member: ValueId| {
            self.values.users[member.0 as usize].iter().any(|user| {
                // names that change nothing are looked through by fused users, wherever these are
                let name = matches!(self.values.dag.node(*user).op, Op::StopGrad | Op::Expand(_))
                    && roles[user.0 as usize] == Role::None;
                !self.values.is_constant(*user)
                    && unit.members.binary_search(user).is_err()
                    && !(name && self.name_stays_inside(unit, *user))
            })
        };
        unit.members.iter().copied().filter(|m| self.values.roots.contains(m) || leaves(*m)).collect()
    }

    /// Whether all readers of an alias with equal elements are members of the unit.
    fn name_stays_inside(&self, unit: &Unit, name: ValueId) -> bool {
        !self.values.roots.contains(&name)
            && self.values.users[name.0 as usize].iter().all(|u| {
                unit.members.binary_search(u).is_ok()
                    || matches!(self.values.dag.node(*u).op, Op::StopGrad | Op::Expand(_))
                        && self.name_stays_inside(unit, *u)
            })
    }
}
