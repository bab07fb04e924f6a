//! Gradients of layout ops: each op's transpose. The cotangent of a broadcast operand is summed.

use super::site::{Cotangents, Site, total};
use crate::lowered::{DimId, Extent, Op, TIME};

pub(super) fn stack(s: &mut Site) -> Cotangents {
    let Op::Stack(dim) = *s.op else { panic!("archc bug: {:?} is no stack", s.op) };
    s.each(|s, i| {
        let entry = if s.b.has(s.dy, dim) { s.b.op(Op::Pick(dim, i), &[s.dy]) } else { s.dy };
        let over: Vec<DimId> = s.broadcast(i).into_iter().filter(|d| *d != dim).collect();
        Some(total(s.b, entry, &over))
    })
}

pub(super) fn pick(s: &mut Site) -> Cotangents {
    let Op::Pick(dim, i) = *s.op else { panic!("archc bug: {:?} is no pick", s.op) };
    Site::sole(s.b.op(Op::Put(dim, i), &[s.dy]))
}

pub(super) fn put(s: &mut Site) -> Cotangents {
    let Op::Put(dim, i) = *s.op else { panic!("archc bug: {:?} is no put", s.op) };
    let dy = s.dy_along(&[dim]);
    Site::sole(s.b.op(Op::Pick(dim, i), &[dy]))
}

pub(super) fn split(s: &mut Site) -> Cotangents {
    let Op::Split(from, into) = s.op else { panic!("archc bug: {:?} is no split", s.op) };
    if into.iter().all(|d| !s.b.has(s.dy, *d)) {
        return Site::sole(s.dy);
    }
    let dy = s.dy_along(into);
    Site::sole(s.b.op(Op::Flatten(into.clone(), *from), &[dy]))
}

pub(super) fn flatten(s: &mut Site) -> Cotangents {
    let Op::Flatten(from, into) = s.op else { panic!("archc bug: {:?} is no flatten", s.op) };
    if !s.b.has(s.dy, *into) {
        return Site::sole(s.dy);
    }
    Site::sole(s.b.op(Op::Split(*into, from.clone()), &[s.dy]))
}

pub(super) fn cat(s: &mut Site) -> Cotangents {
    let Op::Cat(parts, into) = s.op else { panic!("archc bug: {:?} is no concatenation", s.op) };
    let mut offset = 0;
    let mut offsets = Vec::new();
    for part in parts {
        offsets.push(offset);
        offset += match s.b.dims[part.0 as usize].extent {
            Extent::Fixed(n) => n,
            extent => panic!("archc bug: a part of {extent:?} is joined"),
        };
    }
    s.each(|s, i| {
        let cut = Op::Cut { from: *into, offset: offsets[i], into: parts[i] };
        let part = if s.b.has(s.dy, *into) { s.b.op(cut, &[s.dy]) } else { s.dy };
        let over: Vec<DimId> = s.broadcast(i).into_iter().filter(|d| d != into).collect();
        Some(total(s.b, part, &over))
    })
}

pub(super) fn cut(s: &mut Site) -> Cotangents {
    let Op::Cut { from, offset, into } = *s.op else { panic!("archc bug: {:?} is no cut", s.op) };
    let dy = s.dy_along(&[into]);
    Site::sole(s.b.op(Op::Paste { from: into, offset, into: from }, &[dy]))
}

pub(super) fn expand(s: &mut Site) -> Cotangents {
    Site::sole(s.through(0, s.dy))
}

pub(super) fn rename(s: &mut Site) -> Cotangents {
    let Op::Rename(from, to) = *s.op else { panic!("archc bug: {:?} is no renaming", s.op) };
    Site::sole(s.b.rename(s.dy, to, from))
}

pub(super) fn chunk(s: &mut Site) -> Cotangents {
    let Op::Chunk { chunks, rows, .. } = *s.op else { panic!("archc bug: {:?} makes no chunks", s.op) };
    if !s.b.has(s.dy, chunks) && !s.b.has(s.dy, rows) {
        return Site::sole(s.dy);
    }
    let dy = s.dy_along(&[chunks, rows]);
    Site::sole(s.b.op(Op::Unchunk { chunks, rows }, &[dy]))
}

pub(super) fn unchunk(s: &mut Site) -> Cotangents {
    let Op::Unchunk { chunks, rows } = *s.op else { panic!("archc bug: {:?} joins no chunks", s.op) };
    let dy = s.dy_along(&[TIME]);
    Site::sole(s.b.op(Op::Chunk { chunks, rows, fill: 0.0 }, &[dy]))
}
