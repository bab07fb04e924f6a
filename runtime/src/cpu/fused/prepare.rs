//! Preparation of a fused loop: the dimensions of a block, the place of each value, and the code of a block.
//!
//! An op whose result only one later op reads may be deferred to it ([`waiting`]): both run in one pass.

use super::ops::{arith, binary, unary, waiting};
use super::{Arg, Code, Count, Moving, Operand, Place, Program, Walk};
use crate::cpu::memory::Slot;
use archc_compiler::graph::BinaryOp;
use archc_compiler::lowered::DimId;
use archc_compiler::plan::{Fold, Fused, FusedOp, View};
use archc_kernels::elementwise::{AROUND, Around, Binary, Chain};

/// Elements per block: with four bytes each and about eight live registers, a block fits an L1 cache of 32 KiB.
const TARGET: usize = 1024;

/// Elements per block where most ops have fewer elements than the block: few values have its length, and an op has a start-up cost.
const TARGET_OF_FEW: usize = 4 * TARGET;

/// Length of a run from which on it pays off not to copy an operand.
const SHORT: usize = 4;

/// The iteration space after merging: sizes, and the kernel's dimensions in each merged one.
struct Space {
    groups: Vec<Vec<DimId>>,
    sizes: Vec<usize>,
}

impl Space {
    fn new(kernel: &Fused, sizes: &[usize]) -> Self {
        let size = |d: &DimId| sizes[d.0 as usize];
        let dims: Vec<DimId> = kernel.dims.iter().copied().filter(|d| size(d) > 1).collect();
        let views: Vec<&View> = kernel.inputs.iter().chain(kernel.outputs.iter().map(|o| &o.1)).collect();
        let joined = |a: DimId, b: DimId| {
            kernel.code.iter().all(|i| i.dims.contains(&a) == i.dims.contains(&b))
                && views.iter().all(|v| match (v.axis(a), v.axis(b)) {
                    (Some(x), Some(y)) => x.stride == y.stride * size(&b) as isize,
                    (None, None) => true,
                    _ => false,
                })
        };
        let mut groups: Vec<Vec<DimId>> = Vec::new();
        for d in dims {
            match groups.last_mut() {
                Some(group) if group.last().is_some_and(|l| joined(*l, d)) => group.push(d),
                _ => groups.push(vec![d]),
            }
        }
        let sizes = groups.iter().map(|g| g.iter().map(size).product()).collect();
        Self { groups, sizes }
    }

    /// The merged dimensions that a value has.
    fn of(&self, dims: &[DimId]) -> Vec<usize> {
        (0..self.groups.len()).filter(|g| dims.contains(&self.groups[*g][0])).collect()
    }

    /// The stride along a merged dimension.
    fn stride(&self, view: &View, group: usize) -> isize {
        self.groups[group].last().map_or(0, |d| view.stride(*d))
    }
}

/// Prepares a kernel for these sizes of its dimensions.
pub(in crate::cpu) fn prepare(kernel: &Fused, sizes: &[usize]) -> Program {
    let space = Space::new(kernel, sizes);
    let of: Vec<Vec<usize>> = kernel.code.iter().map(|i| space.of(&i.dims)).collect();
    let count = kernel.code.len();
    let mut read = vec![0usize; count];
    for instr in &kernel.code {
        instr.op.operands().iter().for_each(|o| read[*o] += 1);
    }
    let folded = |i: usize| -> Vec<usize> {
        match kernel.code[i].op {
            FusedOp::Fold(_, x) => of[x].iter().copied().filter(|g| !of[i].contains(g)).collect(),
            _ => Vec::new(),
        }
    };
    // dimensions that must lie within a block: folded ones whose result is read again or cannot be accumulated
    let mut first_inner = space.sizes.len();
    for (i, instr) in kernel.code.iter().enumerate() {
        if let FusedOp::Fold(fold, _) = instr.op
            && (read[i] > 0 || fold != Fold::Sum)
            && let Some(first) = folded(i).first()
        {
            first_inner = first_inner.min(*first);
        }
    }
    let computed = (0..count).filter(|i| !matches!(kernel.code[*i].op, FusedOp::Input(_) | FusedOp::Number(_)));
    let (mut long, mut short) = (0, 0);
    computed.for_each(|i| *if of[i].len() == space.sizes.len() { &mut long } else { &mut short } += 1);
    let target = if short > long { TARGET_OF_FEW } else { TARGET };
    let (split, block) = loop {
        let mut inner: usize = space.sizes[first_inner..].iter().product();
        let mut first = first_inner;
        while first > 0 && inner * space.sizes[first - 1] <= target {
            first -= 1;
            inner *= space.sizes[first];
        }
        // the dimension before the inner ones is split
        let split = first.checked_sub(1);
        let block = split.map_or(1, |s| (target / inner).clamp(1, space.sizes[s]));
        // a sum that reaches beyond the block would count values twice that are computed for several blocks
        let outside = |g: &usize| split.is_some_and(|s| *g <= s);
        let twice = (0..count).any(|i| {
            let gone = folded(i);
            let FusedOp::Fold(_, x) = kernel.code[i].op else { return false };
            gone.iter().any(outside) && (0..space.sizes.len()).any(|g| outside(&g) && !of[x].contains(&g))
        });
        if !twice || first_inner == 0 {
            break (split, block);
        }
        first_inner = 0;
    };
    let (registers, layouts, code) = (Registers::new(count), Vec::with_capacity(count), Vec::new());
    Builder { kernel, space: &space, of: &of, split, block, registers, layouts, code }.build(read, &folded)
}

/// Allocator of scratch memory for values: first fit, freed after the last read.
struct Registers {
    /// Start and length in elements, sorted by start.
    taken: Vec<(usize, usize)>,
    len: usize,
    left: Vec<usize>,
}

impl Registers {
    fn new(values: usize) -> Self {
        Self { taken: Vec::new(), len: 0, left: vec![0; values] }
    }

    fn take(&mut self, len: usize) -> usize {
        let len = len.next_multiple_of(16);
        let mut start = 0;
        let mut at = self.taken.len();
        for (i, (s, l)) in self.taken.iter().enumerate() {
            if start + len <= *s {
                at = i;
                break;
            }
            start = s + l;
        }
        self.taken.insert(at, (start, len));
        self.len = self.len.max(start + len);
        start
    }

    fn free(&mut self, start: usize) {
        self.taken.retain(|t| t.0 != start);
    }
}

/// An op that is deferred to its only reader: its value, and the op with its operands.
struct Part {
    value: usize,
    op: BinaryOp,
    operands: [usize; 2],
}

/// A broadcast value: the value, its dimensions, and the index of the code that broadcasts it.
type Spread = (usize, Vec<usize>, usize);

struct Builder<'a> {
    kernel: &'a Fused,
    space: &'a Space,
    of: &'a [Vec<usize>],
    split: Option<usize>,
    block: usize,
    registers: Registers,
    /// The strides of each value so far along its dimensions in a block: contiguous in a register, arbitrary in a buffer.
    layouts: Vec<Vec<isize>>,
    code: Vec<Code>,
}

impl Builder<'_> {
    /// The merged dimensions of a value that lie in a block.
    fn within(&self, i: usize) -> Vec<usize> {
        self.of[i].iter().copied().filter(|g| self.split.is_none_or(|s| *g >= s)).collect()
    }

    fn size(&self, group: usize) -> usize {
        if Some(group) == self.split { self.block } else { self.space.sizes[group] }
    }

    fn count(&self, groups: &[usize]) -> Count {
        let rest = groups.iter().filter(|g| Some(**g) != self.split).map(|g| self.space.sizes[*g]).product();
        Count { each: rest, split: groups.iter().any(|g| Some(*g) == self.split) }
    }

    fn numbers(&self, groups: &[usize]) -> usize {
        groups.iter().map(|g| self.size(*g)).product()
    }

    /// The strides of a contiguous value with the dimensions `own`, along the dimensions `along`: 0 where it lacks one.
    fn dense(&self, own: &[usize], along: &[usize]) -> Vec<isize> {
        let stride = |g: &usize| match own.iter().position(|o| o == g) {
            Some(p) => own[p + 1..].iter().map(|o| self.size(*o)).product::<usize>() as isize,
            None => 0,
        };
        along.iter().map(stride).collect()
    }

    fn walk(&self, groups: &[usize], to: Vec<isize>, from: Vec<isize>) -> Walk {
        Walk {
            sizes: groups.iter().map(|g| self.size(*g)).collect(),
            to,
            from,
            split: groups.iter().position(|g| Some(*g) == self.split),
        }
    }

    fn operand(&self, view: &View) -> Operand {
        let outer = self.split.unwrap_or(0);
        Operand {
            slot: Slot::of(view),
            outer: (0..outer).map(|g| self.space.stride(view, g)).collect(),
            split: self.split.map_or(0, |s| self.space.stride(view, s)),
        }
    }

    /// Whether a block's part of a value with these strides is contiguous.
    fn is_dense(&self, layout: &[isize], groups: &[usize]) -> bool {
        let pairs = layout.iter().zip(self.dense(groups, groups));
        groups.iter().zip(pairs).all(|(g, (a, b))| *a == b || self.size(*g) == 1)
    }

    /// The strides of a value along a block's dimensions: 0 where it lacks one.
    fn along(&self, value: usize, groups: &[usize]) -> Vec<isize> {
        let own = self.within(value);
        let distance = |g: &usize| own.iter().position(|o| o == g).map_or(0, |p| self.layouts[value][p]);
        groups.iter().map(distance).collect()
    }

    fn strides(&self, view: &View, groups: &[usize]) -> Vec<isize> {
        groups.iter().map(|g| self.space.stride(view, *g)).collect()
    }

    /// The dimensions of a block along which a value is written: its own, and those that only the output has.
    fn written(&self, view: &View, own: &[usize]) -> Vec<usize> {
        let inside = self.split.unwrap_or(0)..self.space.sizes.len();
        inside.filter(|g| own.contains(g) || self.space.stride(view, *g) != 0).collect()
    }

    fn build(mut self, read: Vec<usize>, folded: &dyn Fn(usize) -> Vec<usize>) -> Program {
        let kernel = self.kernel;
        let mut operand_list: Vec<Operand> = kernel.inputs.iter().map(|v| self.operand(v)).collect();
        operand_list.extend(kernel.outputs.iter().map(|(_, v)| self.operand(v)));
        self.registers.left = read;
        let mut places: Vec<Place> = Vec::with_capacity(kernel.code.len());
        // constants are written once, so nothing else may use their registers
        let mut numbers = Vec::new();
        let mut number_at = vec![0; kernel.code.len()];
        for (i, instr) in kernel.code.iter().enumerate() {
            if let FusedOp::Number(x) = instr.op {
                numbers.push((i, x as f32));
                number_at[i] = self.registers.take(1);
            }
        }
        let mut zero = Vec::new();
        let mut spread: Vec<Spread> = Vec::new();
        let waits = waiting(kernel, self.of, &self.registers.left);
        for (i, instr) in kernel.code.iter().enumerate() {
            let groups = self.within(i);
            if waits[i].is_some() {
                places.push(Place::Memory(0));
                self.layouts.push(self.dense(&groups, &groups));
                continue;
            }
            // the op that was deferred to this one, with its operands
            let part = instr.op.operands().into_iter().find(|x| waits[*x] == Some(i));
            let part = part.and_then(|x| match kernel.code[x].op {
                FusedOp::Binary(op, a, b) => Some(Part { value: x, op, operands: [a, b] }),
                _ => None,
            });
            let outputs: Vec<usize> = (0..kernel.outputs.len()).filter(|o| kernel.outputs[*o].0 == i).collect();
            let beyond = folded(i).iter().any(|g| self.split.is_some_and(|s| *g <= s));
            // computed directly in the output, if its layout allows that
            let computed = !beyond && !matches!(instr.op, FusedOp::Input(_) | FusedOp::Number(_));
            let direct = outputs.iter().copied().filter(|_| computed).find_map(|o| {
                if self.written(&kernel.outputs[o].1, &groups) != groups {
                    return None;
                }
                let layout = self.strides(&kernel.outputs[o].1, &groups);
                let fits = match instr.op {
                    FusedOp::Binary(_, a, b) => self.grid(&[a, b], &layout, &groups).is_some(),
                    _ => false,
                };
                (fits || self.is_dense(&layout, &groups)).then_some((o, layout))
            });
            let (place, layout) = match (&instr.op, &direct) {
                (FusedOp::Input(n), _) => (Place::Memory(*n), self.strides(&kernel.inputs[*n], &groups)),
                (FusedOp::Number(_), _) => (Place::Register(number_at[i]), Vec::new()),
                (_, Some((o, layout))) => (Place::Memory(kernel.inputs.len() + o), layout.clone()),
                _ => (Place::Register(self.registers.take(self.numbers(&groups))), self.dense(&groups, &groups)),
            };
            places.push(place);
            self.layouts.push(layout);
            let n = self.count(&groups);
            match &instr.op {
                FusedOp::Input(_) | FusedOp::Number(_) => {}
                FusedOp::Unary(op, x) => {
                    let x = self.arg(&mut spread, *x, &self.within(*x)).value;
                    self.code.push(Code::Unary { op: unary(*op), x, y: place, n });
                }
                FusedOp::Binary(op, a, b) => {
                    let chain = part.as_ref().and_then(|part| self.chain(part, *op, [*a, *b], place, i, &groups));
                    let code = chain.unwrap_or_else(|| {
                        if let Some(part) = &part {
                            self.alone(&mut spread, part, &mut places);
                        }
                        self.binary(&mut spread, binary(*op), [*a, *b], place, i, &groups)
                    });
                    self.code.push(code);
                }
                FusedOp::Select(c, a, b) => {
                    let [c, a, b] = [*c, *a, *b].map(|v| self.arg(&mut spread, v, &groups));
                    self.code.push(Code::Select { c, a, b, y: place, n });
                }
                FusedOp::Fold(_, x) if part.as_ref().is_some_and(|part| self.dot(part, *x, place, &groups)) => {}
                FusedOp::Fold(op, x) => {
                    if let Some(part) = &part {
                        self.alone(&mut spread, part, &mut places);
                    }
                    let from = self.arg(&mut spread, *x, &self.within(*x)).value;
                    self.fold(*op, *x, from, place, &groups);
                }
            }
            let direct = direct.map(|d| d.0);
            for o in outputs.into_iter().filter(|o| direct != Some(*o)) {
                let view = &kernel.outputs[o].1;
                let written = self.written(view, &groups);
                let walk = self.walk(&written, self.strides(view, &written), self.along(i, &written));
                let operand = kernel.inputs.len() + o;
                self.code.push(Code::Store { x: i, operand, walk, add: beyond });
                if beyond {
                    let places = |g: &usize| self.of[i].contains(g) || self.space.stride(view, *g) != 0;
                    let all: Vec<usize> = (0..self.space.sizes.len()).filter(places).collect();
                    let to = all.iter().map(|g| self.space.stride(view, *g)).collect();
                    let sizes = all.iter().map(|g| self.space.sizes[*g]).collect();
                    let from = vec![0; all.len()];
                    zero.push((operand, Walk { sizes, to, from, split: None }));
                }
            }
            // values that are never read again free their registers
            let parts = part.iter().flat_map(|part| part.operands);
            for x in instr.op.operands().into_iter().chain(parts) {
                self.registers.left[x] -= 1;
                if self.registers.left[x] == 0 {
                    if let Place::Register(at) = places[x]
                        && !matches!(kernel.code[x].op, FusedOp::Number(_))
                    {
                        self.registers.free(at);
                    }
                    spread.retain(|(value, _, at)| {
                        if *value == x
                            && let Place::Register(r) = places_at(&self.code, *at)
                        {
                            self.registers.free(r);
                        }
                        *value != x
                    });
                }
            }
            if self.registers.left[i] == 0
                && let Place::Register(at) = place
                && !matches!(instr.op, FusedOp::Number(_))
            {
                self.registers.free(at);
            }
        }
        let outer = self.split.unwrap_or(0);
        // broadcast values are numbered after the kernel's own
        let mut all = places;
        for code in &self.code {
            if let Code::Spread { y, .. } = code {
                all.push(*y);
            }
        }
        Program {
            outer: self.space.sizes[..outer].to_vec(),
            split: self.split.map_or(1, |s| self.space.sizes[s]),
            block: self.block,
            operands: operand_list,
            inputs: kernel.inputs.len(),
            places: all,
            code: self.code,
            zero,
            numbers,
            registers: self.registers.len,
        }
    }

    /// An operand of the result's length: the value itself, a scalar, or a copy broadcast over the missing dimensions.
    fn arg(&mut self, spread: &mut Vec<Spread>, value: usize, groups: &[usize]) -> Arg {
        let own = self.within(value);
        if own.is_empty() {
            return Arg { value, one: true };
        }
        if own == groups && self.is_dense(&self.layouts[value], groups) {
            return Arg { value, one: false };
        }
        if let Some((_, _, at)) = spread.iter().find(|s| s.0 == value && s.1 == groups) {
            return Arg { value: self.spread_number(*at), one: false };
        }
        let y = Place::Register(self.registers.take(self.numbers(groups)));
        let walk = self.walk(groups, self.dense(groups, groups), self.along(value, groups));
        self.code.push(Code::Spread { x: value, y, walk });
        let at = self.code.len() - 1;
        spread.push((value, groups.to_vec(), at));
        Arg { value: self.spread_number(at), one: false }
    }

    /// The value number of the broadcast at this index of the code.
    fn spread_number(&self, at: usize) -> usize {
        let before = self.code[..at].iter().filter(|c| matches!(c, Code::Spread { .. })).count();
        self.kernel.code.len() + before
    }

    /// The parts of a block over which a binary op runs without copies, the last one being the run: adjacent dimensions are merged where
    /// every operand and the result traverse them like one. None where runs are too short or parts too many.
    fn grid<'g>(&self, operands: &[usize], to: &[isize], groups: &'g [usize]) -> Option<Vec<&'g [usize]>> {
        let mut walks: Vec<(Vec<usize>, Vec<isize>)> =
            operands.iter().map(|v| (self.within(*v), self.along(*v, groups))).collect();
        walks.push((groups.to_vec(), to.to_vec()));
        let at = |g: usize| groups.iter().position(|x| *x == g).unwrap_or(0);
        let one = |g: usize, h: usize| {
            walks.iter().all(|(own, along)| match (own.contains(&g), own.contains(&h)) {
                (true, true) => along[at(g)] == along[at(h)] * self.size(h) as isize,
                (a, b) => a == b,
            })
        };
        let parts: Vec<&[usize]> = groups.chunk_by(|g, h| one(*g, *h)).collect();
        let Some(last) = groups.last() else { return Some(parts) };
        // a run is contiguous in every operand and result that moves along it
        let runs =
            walks.iter().all(|(own, along)| !own.contains(last) || along[at(*last)] == 1 || self.size(*last) == 1);
        let long = parts.len() == 1 || parts.last().is_some_and(|run| self.numbers(run) >= SHORT);
        (runs && long && parts.len() <= AROUND + 1).then_some(parts)
    }

    /// The code of a binary op whose result is value `i`; operands of unsuitable layout are copied first.
    fn binary(
        &mut self,
        spread: &mut Vec<Spread>,
        op: Binary,
        operands: [usize; 2],
        y: Place,
        i: usize,
        groups: &[usize],
    ) -> Code {
        let Some(parts) = self.grid(&operands, &self.layouts[i], groups) else {
            let [a, b] = operands.map(|v| self.arg(spread, v, groups));
            let moving = |a: Arg| Moving { value: a.value, around: [0; AROUND], moves: !a.one };
            let around = [Count { each: 1, split: false }; AROUND];
            return Code::Binary { op, a: moving(a), b: moving(b), y, to: [0; AROUND], around, n: self.count(groups) };
        };
        let ([a, b], to, around, n) = self.moving(operands, i, parts);
        Code::Binary { op, a, b, y, to, around, n }
    }

    /// The code of a binary op and the one that was deferred to it, if the layouts of all three operands allow that.
    fn chain(
        &self,
        part: &Part,
        op: BinaryOp,
        operands: [usize; 2],
        y: Place,
        i: usize,
        groups: &[usize],
    ) -> Option<Code> {
        let turned = operands[1] == part.value;
        let three = [part.operands[0], part.operands[1], operands[usize::from(!turned)]];
        let f = Chain { first: arith(part.op)?, second: arith(op)?, turned };
        let parts = self.grid(&three, &self.layouts[i], groups)?;
        let (src, to, around, n) = self.moving(three, i, parts);
        Some(Code::Chain { f, src, y, to, around, n })
    }

    /// Emits a sum over the last dimensions of a product that was deferred to it, if both factors are contiguous; returns whether it did.
    fn dot(&mut self, part: &Part, x: usize, y: Place, kept: &[usize]) -> bool {
        let all = self.within(x);
        let lies = |v: usize| self.within(v) == all && self.is_dense(&self.layouts[v], &all);
        let [a, b] = part.operands;
        let fits = all.len() > kept.len() && all.starts_with(kept) && lies(a) && lies(b);
        if fits {
            let (rows, n) = (self.count(kept), self.count(&all[kept.len()..]));
            self.code.push(Code::Dot { a, b, y, rows, n });
        }
        fits
    }

    /// Emits a deferred op that is not fused after all.
    fn alone(&mut self, spread: &mut Vec<Spread>, part: &Part, places: &mut [Place]) {
        let groups = self.within(part.value);
        let place = Place::Register(self.registers.take(self.numbers(&groups)));
        places[part.value] = place;
        let code = self.binary(spread, binary(part.op), part.operands, place, part.value, &groups);
        self.code.push(code);
    }

    /// The strides of operands and of the result, value `i`, over the parts of a grid.
    fn moving<const N: usize>(
        &self,
        operands: [usize; N],
        i: usize,
        mut parts: Vec<&[usize]>,
    ) -> ([Moving; N], Around, [Count; AROUND], Count) {
        let mut around = [Count { each: 1, split: false }; AROUND];
        let mut to = [0; AROUND];
        let run: &[usize] = parts.pop().unwrap_or(&[]);
        let mut moving = operands.map(|value| Moving { value, around: [0; AROUND], moves: false });
        for m in &mut moving {
            let own = self.within(m.value);
            m.moves = run.first().is_some_and(|g| own.contains(g));
        }
        let first = AROUND - parts.len();
        for (p, part) in parts.iter().enumerate() {
            around[first + p] = self.count(part);
            let last = part.len() - 1;
            for m in &mut moving {
                m.around[first + p] = self.along(m.value, part)[last];
            }
            to[first + p] = self.along(i, part)[last];
        }
        (moving, to, around, self.count(run))
    }

    /// Emits a fold of value x, which is contiguous as value `from`: runs of folded dimensions are folded from the last to the first.
    fn fold(&mut self, op: Fold, x: usize, mut from: usize, y: Place, kept: &[usize]) {
        let mut dims = self.within(x);
        if dims == kept {
            // only dimensions around the block are folded
            let walk = self.walk(kept, self.dense(kept, kept), self.dense(kept, kept));
            self.code.push(Code::Spread { x: from, y, walk });
            return;
        }
        while dims != kept {
            let last = dims.iter().rposition(|g| !kept.contains(g)).unwrap_or(0);
            let mut first = last;
            while first > 0 && !kept.contains(&dims[first - 1]) {
                first -= 1;
            }
            let (outer, middle, inner) =
                (self.count(&dims[..first]), self.count(&dims[first..=last]), self.count(&dims[last + 1..]));
            dims.drain(first..=last);
            let to = if dims == kept { y } else { Place::Register(self.registers.take(self.numbers(&dims))) };
            self.code.push(Code::Fold { op, x: from, y: to, outer, middle, inner });
            if dims != kept {
                // a broadcast onto itself gives the partial result a value number
                let walk = self.walk(&dims, self.dense(&dims, &dims), self.dense(&dims, &dims));
                self.code.push(Code::Spread { x: usize::MAX, y: to, walk });
                from = self.spread_number(self.code.len() - 1);
            }
        }
    }
}

fn places_at(code: &[Code], at: usize) -> Place {
    match &code[at] {
        Code::Spread { y, .. } => *y,
        _ => Place::Memory(0),
    }
}
