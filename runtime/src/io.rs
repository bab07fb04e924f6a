//! safetensors files: weights, inputs and outputs, checkpoints.
//!
//! Files are read whole and checked before use; they are written beside the old file and renamed over it, so that a
//! full disk or a killed process loses nothing.

use crate::errors;
use crate::session::{Dtype, Tensor, Tensors};
use archc_compiler::diag::Diagnostic;
use safetensors::tensor::{Dtype as Stored, TensorView};
use safetensors::{SafeTensors, serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Reads the tensors of a file, as f64.
///
/// # Errors
/// E0820 if it cannot be read, E0821 if it is no complete safetensors file, E0822 for element types other than floats,
/// integers and booleans.
pub fn read_tensors(path: &Path) -> Result<Tensors, Diagnostic> {
    read_tensors_and_notes(path).map(|(tensors, _)| tensors)
}

/// Reads the tensors of a file and its free-form metadata.
///
/// # Errors
/// The same as [`read_tensors`].
pub fn read_tensors_and_notes(path: &Path) -> Result<(Tensors, BTreeMap<String, String>), Diagnostic> {
    let bytes = std::fs::read(path).map_err(|e| errors::unreadable(path, e))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| errors::not_safetensors(path, e))?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| errors::not_safetensors(path, e))?;
    let notes = metadata.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    let mut tensors = Tensors::new();
    for (name, view) in file.tensors() {
        let Some(data) = decode(view.dtype(), view.data()) else {
            return Err(errors::unreadable_dtype(path, &name, view.dtype()));
        };
        tensors.insert(name, Tensor { shape: view.shape().to_vec(), data });
    }
    Ok((tensors, notes))
}

/// Writes tensors, all of one element type.
///
/// # Errors
/// E0823 if the file cannot be written whole; an existing file is then kept.
pub fn write_tensors(path: &Path, tensors: &Tensors, dtype: Dtype) -> Result<(), Diagnostic> {
    write_tensors_with_notes(path, tensors, dtype, &BTreeMap::new())
}

/// Writes tensors and free-form metadata.
///
/// # Errors
/// The same as [`write_tensors`].
pub fn write_tensors_with_notes(
    path: &Path,
    tensors: &Tensors,
    dtype: Dtype,
    notes: &BTreeMap<String, String>,
) -> Result<(), Diagnostic> {
    let bytes = encode(tensors, dtype, notes).map_err(|e| errors::unwritable(path, e))?;
    replace_file(path, |file| file.write_all(&bytes)).map_err(|e| errors::unwritable(path, e))
}

/// Encodes the bytes of a safetensors file.
fn encode(tensors: &Tensors, dtype: Dtype, notes: &BTreeMap<String, String>) -> Result<Vec<u8>, String> {
    let mut parts = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let (stored, bytes): (Stored, Vec<u8>) = match dtype {
            Dtype::F32 => (Stored::F32, tensor.data.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect()),
            Dtype::F64 => (Stored::F64, tensor.data.iter().flat_map(|&x| x.to_le_bytes()).collect()),
        };
        parts.push((name, stored, tensor.shape.clone(), bytes));
    }
    let views = parts.iter().map(|(name, stored, shape, bytes)| {
        TensorView::new(*stored, shape.clone(), bytes).map(|view| (*name, view)).map_err(|e| e.to_string())
    });
    let views: Vec<(&String, TensorView<'_>)> = views.collect::<Result<_, _>>()?;
    // A single note keeps its order in any map; more are rare and read by key.
    let notes: Option<HashMap<String, String>> =
        (!notes.is_empty()).then(|| notes.iter().map(|(k, v)| (k.clone(), v.clone())).collect());
    serialize(views, notes).map_err(|e| e.to_string())
}

/// Writes a file beside the target and renames it over the target once it is whole and on the disk.
///
/// # Errors
/// Those of the file system and of `write`; the target is then as it was, and nothing is left beside it.
pub fn replace_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no file name"))?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(beside);
    let written = (|| {
        let mut file = File::create(&beside)?;
        write(&mut file)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    })();
    if written.is_err() {
        // Best effort: the error that matters is the first one.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// Decodes elements of a stored type to f64; none if f64 cannot hold the type.
fn decode(dtype: Stored, bytes: &[u8]) -> Option<Vec<f64>> {
    fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|&b| number(b)).collect()
    }
    Some(match dtype {
        Stored::F64 => each(bytes, f64::from_le_bytes),
        Stored::F32 => each(bytes, |b| f32::from_le_bytes(b).into()),
        Stored::F16 => each(bytes, |b| half(u16::from_le_bytes(b))),
        Stored::BF16 => each(bytes, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16).into()),
        Stored::I64 => each(bytes, |b| i64::from_le_bytes(b) as f64),
        Stored::U64 => each(bytes, |b| u64::from_le_bytes(b) as f64),
        Stored::I32 => each(bytes, |b| i32::from_le_bytes(b).into()),
        Stored::U32 => each(bytes, |b| u32::from_le_bytes(b).into()),
        Stored::I16 => each(bytes, |b| i16::from_le_bytes(b).into()),
        Stored::U16 => each(bytes, |b| u16::from_le_bytes(b).into()),
        Stored::I8 => each(bytes, |b| i8::from_le_bytes(b).into()),
        Stored::U8 | Stored::BOOL => each(bytes, |[b]| b.into()),
        _ => return None,
    })
}

/// Decodes an IEEE 754 binary16 number.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        e => (1.0 + fraction / 1024.0) * 2f64.powi(e - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tensors {
        let a = Tensor { shape: vec![2, 2], data: vec![1.0, -0.5, 1e-9, 3.25] };
        let b = Tensor { shape: vec![], data: vec![7.0] };
        [("a.weight".to_string(), a), ("b".to_string(), b)].into()
    }

    #[test]
    fn f64_survives_the_way_to_the_disk_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        write_tensors(&path, &sample(), Dtype::F64).unwrap();
        assert_eq!(read_tensors(&path).unwrap(), sample());
        write_tensors(&path, &sample(), Dtype::F32).unwrap();
        assert_eq!(read_tensors(&path).unwrap()["a.weight"].data[2], f64::from(1e-9f32));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn bad_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        assert_eq!(read_tensors(&path).unwrap_err().code, "E0820");
        for garbage in [&b""[..], b"hello", &[255; 64]] {
            std::fs::write(&path, garbage).unwrap();
            assert_eq!(read_tensors(&path).unwrap_err().code, "E0821");
        }
        write_tensors(&path, &sample(), Dtype::F64).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        assert_eq!(read_tensors(&path).unwrap_err().code, "E0821");
        assert_eq!(write_tensors(&dir.path().join("no/such"), &sample(), Dtype::F64).unwrap_err().code, "E0823");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        write_tensors(&path, &sample(), Dtype::F64).unwrap();
        let full = |file: &mut dyn Write| {
            file.write_all(b"half of it")?;
            Err(io::ErrorKind::StorageFull.into())
        };
        assert_eq!(replace_file(&path, full).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(read_tensors(&path).unwrap(), sample());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "the half-written file is gone");
    }

    #[test]
    fn short_floats_and_integers_are_read() {
        assert_eq!(decode(Stored::F16, &[0x00, 0x3c, 0x01, 0x00, 0x00, 0xfc]).unwrap()[..2], [1.0, 2f64.powi(-24)]);
        assert_eq!(decode(Stored::F16, &[0x00, 0xfc]).unwrap(), [f64::NEG_INFINITY]);
        assert_eq!(decode(Stored::BF16, &[0x80, 0xbf]).unwrap(), [-1.0]);
        assert_eq!(decode(Stored::I64, &(-3i64).to_le_bytes()).unwrap(), [-3.0]);
        assert_eq!(decode(Stored::BOOL, &[0, 1]).unwrap(), [0.0, 1.0]);
    }
}
