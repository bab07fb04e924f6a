//! Fused loops: a kernel's ops run one after the other over blocks that stay in the first-level cache.
//!
//! When a session is made, dimensions that every operand walks through in the same way are joined, the space is cut into blocks of
//! about [`TARGET`] numbers, and each value gets a register: a piece of scratch memory as large as its part of a block, shared
//! by values that do not live at the same time. Operands are read where they are, and results computed where they go, if they lie
//! densely; for ops of two operands it is enough that they lie in runs. A sum over dimensions that reach beyond a block is added up
//! in its destination, block by block, in order.

use super::memory::{Bases, Slot};
use super::program::{Context, WORTH};
use archc_compiler::graph::{BinaryOp, UnaryOp};
use archc_compiler::lowered::DimId;
use archc_compiler::plan::{Fold, Fused, FusedOp, View};
use archc_kernels::copy::{add_nd, copy_nd};
use archc_kernels::elementwise::{self, AROUND, Around, Binary, Grid, GridSrc, Src, Unary};
use archc_kernels::rows;
use std::ops::Range;

/// Numbers of a block: with four bytes each and some eight registers alive it fits a first-level cache of 32 KiB.
const TARGET: usize = 1024;

/// Numbers of a run that is worth not copying an operand.
const SHORT: usize = 4;

/// Where the numbers of a value are during a block.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In scratch memory.
    Register(usize),
    /// In a buffer: operand number.
    Memory(usize),
}

/// A count that may depend on how many indices of the split dimension a block has.
#[derive(Clone, Copy, Debug)]
struct Count {
    each: usize,
    split: bool,
}

impl Count {
    fn at(self, block: usize) -> usize {
        if self.split { self.each * block } else { self.each }
    }
}

/// A walk over the dimensions of a block: sizes and distances. `split` is the position of the split dimension.
#[derive(Clone, Debug)]
struct Walk {
    sizes: Vec<usize>,
    to: Vec<isize>,
    from: Vec<isize>,
    split: Option<usize>,
}

/// A buffer that is read or written.
#[derive(Clone, Debug)]
struct Operand {
    slot: Slot,
    /// Distance for each outer dimension, then for an index of the split one.
    outer: Vec<isize>,
    split: isize,
}

#[derive(Clone, Debug)]
enum Code {
    Store {
        x: usize,
        operand: usize,
        walk: Walk,
        add: bool,
    },
    Unary {
        op: Unary,
        x: usize,
        y: Place,
        n: Count,
    },
    /// Operands that lack dimensions stand still along them.
    Binary {
        op: Binary,
        a: Moving,
        b: Moving,
        y: Place,
        to: Around,
        around: [Count; AROUND],
        n: Count,
    },
    Select {
        c: Arg,
        a: Arg,
        b: Arg,
        y: Place,
        n: Count,
    },
    Spread {
        x: usize,
        y: Place,
        walk: Walk,
    },
    Fold {
        op: Fold,
        x: usize,
        y: Place,
        outer: Count,
        middle: Count,
        inner: Count,
    },
}

/// An operand of an element-wise op: a value as long as the result, or one number.
#[derive(Clone, Copy, Debug)]
struct Arg {
    value: usize,
    one: bool,
}

/// An operand of a binary op: its distances along the dimensions around the runs, and whether it moves along a run.
#[derive(Clone, Copy, Debug)]
struct Moving {
    value: usize,
    around: Around,
    moves: bool,
}

/// A prepared kernel.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// Sizes of the dimensions around the blocks.
    outer: Vec<usize>,
    /// Size of the split dimension, and how many indices of it a block has.
    split: usize,
    block: usize,
    operands: Vec<Operand>,
    /// How many of them are read; the others are written.
    inputs: usize,
    /// For each value its place during a block; numbers are values with a place in `numbers`.
    places: Vec<Place>,
    code: Vec<Code>,
    /// Buffers to be zeroed first.
    zero: Vec<(usize, Walk)>,
    /// Numbers: value and what it is, put into registers once.
    numbers: Vec<(usize, f32)>,
    /// Numbers of all registers.
    pub registers: usize,
}

/// The space after joining: sizes, and which of the kernel's dimensions each joined one is made of.
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

    /// Which joined dimensions a value has.
    fn of(&self, dims: &[DimId]) -> Vec<usize> {
        (0..self.groups.len()).filter(|g| dims.contains(&self.groups[*g][0])).collect()
    }

    /// The distance of neighbours along a joined dimension.
    fn stride(&self, view: &View, group: usize) -> isize {
        self.groups[group].last().map_or(0, |d| view.stride(*d))
    }
}

/// Prepares a kernel for sizes.
pub(super) fn prepare(kernel: &Fused, sizes: &[usize]) -> Program {
    let space = Space::new(kernel, sizes);
    let of: Vec<Vec<usize>> = kernel.code.iter().map(|i| space.of(&i.dims)).collect();
    let count = kernel.code.len();
    let mut read = vec![0usize; count];
    for instr in &kernel.code {
        operands(&instr.op).iter().for_each(|o| read[*o] += 1);
    }
    let folded = |i: usize| -> Vec<usize> {
        match kernel.code[i].op {
            FusedOp::Fold(_, x) => of[x].iter().copied().filter(|g| !of[i].contains(g)).collect(),
            _ => Vec::new(),
        }
    };
    // dimensions that must lie within a block: folded ones whose result is read again or cannot be added up
    let mut first_inner = space.sizes.len();
    for (i, instr) in kernel.code.iter().enumerate() {
        if let FusedOp::Fold(fold, _) = instr.op
            && (read[i] > 0 || fold != Fold::Sum)
            && let Some(first) = folded(i).first()
        {
            first_inner = first_inner.min(*first);
        }
    }
    let (split, block) = loop {
        let mut inner: usize = space.sizes[first_inner..].iter().product();
        let mut first = first_inner;
        while first > 0 && inner * space.sizes[first - 1] <= TARGET {
            first -= 1;
            inner *= space.sizes[first];
        }
        // the dimension before the inner ones is split
        let split = first.checked_sub(1);
        let block = split.map_or(1, |s| (TARGET / inner).clamp(1, space.sizes[s]));
        // a sum that reaches beyond the block counts twice what is computed for several blocks
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

fn operands(op: &FusedOp) -> Vec<usize> {
    match *op {
        FusedOp::Input(_) | FusedOp::Number(_) => vec![],
        FusedOp::Unary(_, x) | FusedOp::Fold(_, x) => vec![x],
        FusedOp::Binary(_, a, b) => vec![a, b],
        FusedOp::Select(c, a, b) => vec![c, a, b],
    }
}

/// Scratch memory for values: first fit, freed after the last read.
struct Registers {
    /// Start, length; sorted by start.
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

/// A value that was spread: over which dimensions, by which op.
type Spread = (usize, Vec<usize>, usize);

struct Builder<'a> {
    kernel: &'a Fused,
    space: &'a Space,
    of: &'a [Vec<usize>],
    split: Option<usize>,
    block: usize,
    registers: Registers,
    /// Of each value so far: distances along its dimensions in a block. Dense in a register, anything in a buffer.
    layouts: Vec<Vec<isize>>,
    code: Vec<Code>,
}

impl Builder<'_> {
    /// The joined dimensions of a value that lie in a block.
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

    /// Distances of a dense value of these dimensions, along others: 0 where it lacks one.
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

    /// Whether these distances make a block's part of a value a run of neighbouring numbers.
    fn is_dense(&self, layout: &[isize], groups: &[usize]) -> bool {
        let pairs = layout.iter().zip(self.dense(groups, groups));
        groups.iter().zip(pairs).all(|(g, (a, b))| *a == b || self.size(*g) == 1)
    }

    /// The distances of a value along a block's dimensions: 0 where it lacks one.
    fn along(&self, value: usize, groups: &[usize]) -> Vec<isize> {
        let own = self.within(value);
        let distance = |g: &usize| own.iter().position(|o| o == g).map_or(0, |p| self.layouts[value][p]);
        groups.iter().map(distance).collect()
    }

    fn strides(&self, view: &View, groups: &[usize]) -> Vec<isize> {
        groups.iter().map(|g| self.space.stride(view, *g)).collect()
    }

    fn build(mut self, read: Vec<usize>, folded: &dyn Fn(usize) -> Vec<usize>) -> Program {
        let kernel = self.kernel;
        let mut operand_list: Vec<Operand> = kernel.inputs.iter().map(|v| self.operand(v)).collect();
        operand_list.extend(kernel.outputs.iter().map(|(_, v)| self.operand(v)));
        self.registers.left = read;
        let mut places: Vec<Place> = Vec::with_capacity(kernel.code.len());
        // numbers are written once, so nothing else may use their registers
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
        for (i, instr) in kernel.code.iter().enumerate() {
            let groups = self.within(i);
            let outputs: Vec<usize> = (0..kernel.outputs.len()).filter(|o| kernel.outputs[*o].0 == i).collect();
            let beyond = folded(i).iter().any(|g| self.split.is_some_and(|s| *g <= s));
            // computed where it goes, if that lies well
            let computed = !beyond && !matches!(instr.op, FusedOp::Input(_) | FusedOp::Number(_));
            let direct = outputs.iter().copied().filter(|_| computed).find_map(|o| {
                let layout = self.strides(&kernel.outputs[o].1, &groups);
                let fits = match instr.op {
                    FusedOp::Binary(_, a, b) => self.grid([a, b], &layout, &groups).is_some(),
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
                    let code = self.binary(&mut spread, binary(*op), [*a, *b], place, i, &groups);
                    self.code.push(code);
                }
                FusedOp::Select(c, a, b) => {
                    let [c, a, b] = [*c, *a, *b].map(|v| self.arg(&mut spread, v, &groups));
                    self.code.push(Code::Select { c, a, b, y: place, n });
                }
                FusedOp::Fold(op, x) => {
                    let from = self.arg(&mut spread, *x, &self.within(*x)).value;
                    self.fold(*op, *x, from, place, &groups);
                }
            }
            let direct = direct.map(|d| d.0);
            for o in outputs.into_iter().filter(|o| direct != Some(*o)) {
                let view = &kernel.outputs[o].1;
                let to = self.strides(view, &groups);
                let from = self.layouts[i].clone();
                let operand = kernel.inputs.len() + o;
                let walk = self.walk(&groups, to, from);
                self.code.push(Code::Store { x: i, operand, walk, add: beyond });
                if beyond {
                    let all = self.of[i].clone();
                    let to = all.iter().map(|g| self.space.stride(view, *g)).collect();
                    let sizes = all.iter().map(|g| self.space.sizes[*g]).collect();
                    let from = vec![0; all.len()];
                    zero.push((operand, Walk { sizes, to, from, split: None }));
                }
            }
            // what is never read again makes room
            for x in operands(&instr.op) {
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
        // spread values are numbered after the kernel's own
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

    /// An operand as long as the result: itself, one number, or a copy spread over the missing dimensions.
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

    /// The value number of the spread at this place of the code.
    fn spread_number(&self, at: usize) -> usize {
        let before = self.code[..at].iter().filter(|c| matches!(c, Code::Spread { .. })).count();
        self.kernel.code.len() + before
    }

    /// The parts of a block over which a binary op runs without copies, the last one being the run: neighbouring dimensions are one
    /// where every operand and the result go through them as through one. None where runs are short or parts are too many.
    fn grid<'g>(&self, operands: [usize; 2], to: &[isize], groups: &'g [usize]) -> Option<Vec<&'g [usize]>> {
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
        // a run is one of neighbours, whoever moves along it
        let runs =
            walks.iter().all(|(own, along)| !own.contains(last) || along[at(*last)] == 1 || self.size(*last) == 1);
        let long = parts.len() == 1 || parts.last().is_some_and(|run| self.numbers(run) >= SHORT);
        (runs && long && parts.len() <= AROUND + 1).then_some(parts)
    }

    /// A binary op whose result is value `i`; what does not lie well is copied first.
    fn binary(
        &mut self,
        spread: &mut Vec<Spread>,
        op: Binary,
        operands: [usize; 2],
        y: Place,
        i: usize,
        groups: &[usize],
    ) -> Code {
        let mut around = [Count { each: 1, split: false }; AROUND];
        let mut to = [0; AROUND];
        let Some(mut parts) = self.grid(operands, &self.layouts[i], groups) else {
            let [a, b] = operands.map(|v| self.arg(spread, v, groups));
            let moving = |a: Arg| Moving { value: a.value, around: [0; AROUND], moves: !a.one };
            return Code::Binary { op, a: moving(a), b: moving(b), y, to, around, n: self.count(groups) };
        };
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
        Code::Binary { op, a: moving[0], b: moving[1], y, to, around, n: self.count(run) }
    }

    /// A fold of value x, which lies densely as value `from`: runs of folded dimensions are folded from the last to the first.
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
                // give the partial result a number by a spread onto itself
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

impl Program {
    /// Its space and its size, for a profile.
    pub fn detail(&self) -> String {
        let moves = self.code.iter().filter(|c| matches!(c, Code::Store { .. } | Code::Spread { .. }));
        format!(
            " {:?} x {} by {}, {} ops, {} of them copies, {} operands",
            self.outer,
            self.split,
            self.block,
            self.code.len(),
            moves.count(),
            self.operands.len()
        )
    }

    /// Runs the kernel, on several threads where that pays.
    ///
    /// # Safety
    /// The bases are those for which the plan was made, and no other thread writes what the kernel touches.
    pub unsafe fn share(&self, bases: &Bases, context: &Context<'_>) {
        let (count, unit) = match self.outer.first() {
            Some(first) => (*first, 1),
            None => (self.split, self.block),
        };
        let all: usize = self.outer.iter().product::<usize>() * self.split;
        // what is added up in place is added up in one order
        let apart = self.zero.is_empty() && all / self.block * self.code.len() >= WORTH;
        // SAFETY: shares are different indices of the outermost dimension, along which all results differ
        unsafe {
            if context.workers.is_some() && apart && self.results_differ() {
                context.share(count, unit, bases, std::ptr::null_mut(), |range, _, bases, context| {
                    self.run(range, bases, context.registers);
                });
            } else {
                self.run(0..count, bases, context.registers);
            }
        }
    }

    /// Whether every result moves along the outermost dimension.
    fn results_differ(&self) -> bool {
        let moves = |o: &Operand| o.outer.first().copied().unwrap_or(o.split) != 0;
        self.operands[self.inputs..].iter().all(moves)
    }

    /// Runs some indices of the outermost dimension around the blocks, or of the split one if there is none.
    unsafe fn run(&self, range: Range<usize>, bases: &Bases, registers: *mut f32) {
        // SAFETY: the plan keeps every view inside of its buffer, and registers are as many as were counted
        unsafe {
            for (operand, walk) in &self.zero {
                let at = bases.at(self.operands[*operand].slot);
                let zero = 0.0f32;
                copy_nd(at, &walk.to, &zero, &walk.from, &walk.sizes);
            }
            for (value, x) in &self.numbers {
                if let Place::Register(at) = self.places[*value] {
                    *registers.add(at) = *x;
                }
            }
            let mut pointers = [std::ptr::null_mut::<f32>(); MOST_OPERANDS];
            let mut heap;
            let pointers: &mut [*mut f32] = if self.operands.len() <= MOST_OPERANDS {
                &mut pointers[..self.operands.len()]
            } else {
                heap = vec![std::ptr::null_mut(); self.operands.len()];
                &mut heap
            };
            for (p, o) in pointers.iter_mut().zip(&self.operands) {
                let step = o.outer.first().copied().unwrap_or(o.split);
                *p = bases.at(o.slot).offset(range.start as isize * step);
            }
            if self.outer.is_empty() {
                self.blocks(range.len(), pointers, registers);
            } else {
                self.nest(0, range.len(), pointers, registers);
            }
        }
    }

    unsafe fn nest(&self, level: usize, count: usize, pointers: &mut [*mut f32], registers: *mut f32) {
        // SAFETY: as for `run`
        unsafe {
            for _ in 0..count {
                match self.outer.get(level + 1) {
                    Some(inner) => self.nest(level + 1, *inner, pointers, registers),
                    None => self.blocks(self.split, pointers, registers),
                }
                for (p, o) in pointers.iter_mut().zip(&self.operands) {
                    *p = p.offset(o.outer[level]);
                }
            }
            let n = count as isize;
            for (p, o) in pointers.iter_mut().zip(&self.operands) {
                *p = p.offset(-n * o.outer[level]);
            }
        }
    }

    unsafe fn blocks(&self, count: usize, pointers: &mut [*mut f32], registers: *mut f32) {
        let mut done = 0;
        // SAFETY: as for `run`
        unsafe {
            while done < count {
                let block = self.block.min(count - done);
                self.block(block, pointers, registers);
                done += block;
                for (p, o) in pointers.iter_mut().zip(&self.operands) {
                    *p = p.offset(block as isize * o.split);
                }
            }
            for (p, o) in pointers.iter_mut().zip(&self.operands) {
                *p = p.offset(-(done as isize) * o.split);
            }
        }
    }

    unsafe fn block(&self, block: usize, pointers: &[*mut f32], registers: *mut f32) {
        // SAFETY: as for `run`
        unsafe {
            let at = |place: Place| match place {
                Place::Register(r) => registers.add(r),
                Place::Memory(m) => pointers[m],
            };
            let value = |v: usize| at(self.places[v]);
            let src = |arg: Arg| match arg.one {
                true => Src::Scalar(*value(arg.value)),
                false => Src::Slice(value(arg.value)),
            };
            for code in &self.code {
                match code {
                    Code::Store { x, operand, walk, add } => {
                        walk.copy(block, pointers[*operand], value(*x), *add);
                    }
                    Code::Unary { op, x, y, n } => elementwise::unary(*op, value(*x), at(*y), n.at(block)),
                    Code::Binary { op, a, b, y, to, around, n } => {
                        let [a, b] = [a, b].map(|x| GridSrc { at: value(x.value), around: x.around, moves: x.moves });
                        let grid = Grid { sizes: around.map(|c| c.at(block)), n: n.at(block) };
                        elementwise::grid(*op, grid, a, b, at(*y), *to);
                    }
                    Code::Select { c, a, b, y, n } => {
                        elementwise::select(src(*c), src(*a), src(*b), at(*y), n.at(block));
                    }
                    Code::Spread { x, y, walk } => {
                        if *x != usize::MAX {
                            walk.copy(block, at(*y), value(*x), false);
                        }
                    }
                    Code::Fold { op, x, y, outer, middle, inner } => {
                        fold(*op, value(*x), at(*y), outer.at(block), middle.at(block), inner.at(block));
                    }
                }
            }
        }
    }
}

/// Operands whose pointers need no allocation.
const MOST_OPERANDS: usize = 64;

impl Walk {
    unsafe fn copy(&self, block: usize, to: *mut f32, from: *const f32, add: bool) {
        let mut sizes = [0usize; archc_kernels::copy::DIMS];
        let n = self.sizes.len();
        sizes[..n].copy_from_slice(&self.sizes);
        if let Some(s) = self.split {
            sizes[s] = block;
        }
        // SAFETY: the walk was made for these buffers
        unsafe {
            if add {
                add_nd(to, &self.to, from, &self.from, &sizes[..n]);
            } else {
                copy_nd(to, &self.to, from, &self.from, &sizes[..n]);
            }
        }
    }
}

unsafe fn fold(op: Fold, x: *const f32, y: *mut f32, outer: usize, middle: usize, inner: usize) {
    // SAFETY: x has outer * middle * inner numbers, y outer * inner
    unsafe {
        if inner == 1 {
            return match op {
                Fold::Sum => rows::sum(x, outer, middle, middle, y),
                Fold::Max => rows::max(x, outer, middle, middle, y),
                Fold::Min => rows::min(x, outer, middle, middle, y),
            };
        }
        for o in 0..outer {
            let (x, y) = (x.add(o * middle * inner), y.add(o * inner));
            std::ptr::copy_nonoverlapping(x, y, inner);
            match op {
                Fold::Sum => rows::add_columns(x.add(inner), middle - 1, inner, inner, y),
                Fold::Max | Fold::Min => {
                    let op = if op == Fold::Max { Binary::Max } else { Binary::Min };
                    for m in 1..middle {
                        elementwise::binary(op, Src::Slice(y), Src::Slice(x.add(m * inner)), y, inner);
                    }
                }
            }
        }
    }
}

fn unary(op: UnaryOp) -> Unary {
    match op {
        UnaryOp::Neg => Unary::Neg,
        UnaryOp::Abs => Unary::Abs,
        UnaryOp::Sign => Unary::Sign,
        UnaryOp::Floor => Unary::Floor,
        UnaryOp::Exp => Unary::Exp,
        UnaryOp::Expm1 => Unary::Expm1,
        UnaryOp::Log => Unary::Log,
        UnaryOp::Log1p => Unary::Log1p,
        UnaryOp::Sqrt => Unary::Sqrt,
        UnaryOp::Rsqrt => Unary::Rsqrt,
        UnaryOp::Sigmoid => Unary::Sigmoid,
        UnaryOp::Tanh => Unary::Tanh,
        UnaryOp::Silu => Unary::Silu,
        UnaryOp::Gelu => Unary::Gelu,
        UnaryOp::Relu => Unary::Relu,
        UnaryOp::Elu => Unary::Elu,
        UnaryOp::Softplus => Unary::Softplus,
        UnaryOp::Sin => Unary::Sin,
        UnaryOp::Cos => Unary::Cos,
        UnaryOp::Atan => Unary::Atan,
        UnaryOp::Erf => Unary::Erf,
        UnaryOp::Not => Unary::Not,
        UnaryOp::Powi(2) => Unary::Square,
        UnaryOp::Powi(-1) => Unary::Recip,
        UnaryOp::Powi(n) => Unary::Powi(n),
    }
}

fn binary(op: BinaryOp) -> Binary {
    match op {
        BinaryOp::Add => Binary::Add,
        BinaryOp::Sub => Binary::Sub,
        BinaryOp::Mul => Binary::Mul,
        BinaryOp::Div => Binary::Div,
        BinaryOp::Rem => Binary::Rem,
        BinaryOp::Pow => Binary::Pow,
        BinaryOp::Min => Binary::Min,
        BinaryOp::Max => Binary::Max,
        BinaryOp::Eq => Binary::Eq,
        BinaryOp::Ne => Binary::Ne,
        BinaryOp::Lt => Binary::Lt,
        BinaryOp::Le => Binary::Le,
        BinaryOp::Gt => Binary::Gt,
        BinaryOp::Ge => Binary::Ge,
    }
}
