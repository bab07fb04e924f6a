//! Checkpoints: the complete state needed to resume a training, as one safetensors file.
//!
//! Tensors are `params.PATH`, `first.PATH`, `second.PATH` (AdamW's moments). The header's one entry,
//! `archc`, is JSON: the loop's progress, the number of updates, and the identity of the run. (One entry,
//! because the safetensors crate keeps entries in a hash map and would write several in random order.) A tensor is
//! stored as F32 where that holds every number exactly, else as F64, so nothing is ever rounded.
//!
//! A weights file has the parameters under their plain paths, as `archc forward --weights` and any other safetensors
//! reader expect.

use crate::fault;
use crate::trainer::Watch;
use archc_compiler::diag::Diagnostic;
use archc_runtime::{Snapshot, Tensor, Tensors};
use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

const ENTRY: &str = "archc";
const FORMAT: u32 = 1;

/// Progress of the training loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// State of the divergence check.
    pub watch: Watch,
}

/// State of a training between two steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// Progress of the loop.
    pub progress: Progress,
    /// Parameters and moments of the session.
    pub snapshot: Snapshot,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    updates: u64,
    #[serde(default)]
    progress: Option<Progress>,
    #[serde(default)]
    identity: Value,
}

/// Tensor as it is stored in a file.
struct Stored {
    shape: Vec<usize>,
    dtype: Dtype,
    bytes: Vec<u8>,
}

impl Stored {
    fn new(tensor: &Tensor) -> Self {
        // NaNs compare unequal to themselves and are therefore stored as F64, payload included.
        let single = tensor.data.iter().all(|&x| f64::from(x as f32) == x);
        let bytes = if single {
            tensor.data.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect()
        } else {
            tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect()
        };
        Self { shape: tensor.shape.clone(), dtype: if single { Dtype::F32 } else { Dtype::F64 }, bytes }
    }
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn encode(tensors: Vec<(String, Stored)>, header: &Header) -> Vec<u8> {
    let json = serde_json::to_string(header).expect("a header has only text keys and plain numbers");
    safetensors::serialize(tensors, Some(HashMap::from([(ENTRY.to_owned(), json)])))
        .expect("the shape of a tensor fits its data")
}

fn stored<'a>(prefix: &'a str, tensors: &'a Tensors) -> impl Iterator<Item = (String, Stored)> + 'a {
    tensors.iter().map(move |(path, tensor)| (format!("{prefix}{path}"), Stored::new(tensor)))
}

impl Checkpoint {
    /// Encodes the checkpoint as the bytes of a file. `identity` identifies the run; [`Checkpoint::decode`] returns it.
    pub fn encode(&self, identity: &Value) -> Vec<u8> {
        let Snapshot { params, first, second, step } = &self.snapshot;
        let tensors = stored("params.", params).chain(stored("first.", first)).chain(stored("second.", second));
        let header =
            Header { format: FORMAT, updates: *step, progress: Some(self.progress), identity: identity.clone() };
        encode(tensors.collect(), &header)
    }

    /// Decodes the bytes of a file; `path` is for errors.
    ///
    /// # Errors
    /// E0912 when they are not a checkpoint.
    pub fn decode(bytes: &[u8], path: &Path) -> Result<(Self, Value), Diagnostic> {
        let (header, tensors) = decode(bytes, path)?;
        let progress = header.progress.ok_or_else(|| fault::unreadable(path, "it has weights, but no progress"))?;
        let mut snapshot = Snapshot { step: header.updates, ..Snapshot::default() };
        for (name, tensor) in tensors {
            let (map, path) = match name.split_once('.') {
                Some(("params", path)) => (&mut snapshot.params, path),
                Some(("first", path)) => (&mut snapshot.first, path),
                Some(("second", path)) => (&mut snapshot.second, path),
                _ => return Err(fault::unreadable(path, format_args!("unknown tensor `{name}`"))),
            };
            map.insert(path.to_owned(), tensor);
        }
        Ok((Self { progress, snapshot }, header.identity))
    }
}

/// Encodes a weights file. `made` identifies the run and the program that the weights come from.
pub fn encode_weights(snapshot: &Snapshot, made: &Value) -> Vec<u8> {
    let header = Header { format: FORMAT, updates: snapshot.step, progress: None, identity: made.clone() };
    encode(stored("", &snapshot.params).collect(), &header)
}

/// Reads weights from a weights file, a file of another program (without the archc header), or a checkpoint. Moments
/// are left out. The number of updates is 0 where the file does not state it.
///
/// # Errors
/// E0912 when it is not a safetensors file of F32 or F64 tensors.
pub fn decode_weights(bytes: &[u8], path: &Path) -> Result<Snapshot, Diagnostic> {
    let (header, tensors) = decode(bytes, path)?;
    let params = if header.progress.is_some() {
        tensors.into_iter().filter_map(|(name, t)| Some((name.strip_prefix("params.")?.to_owned(), t))).collect()
    } else {
        tensors
    };
    Ok(Snapshot { params, step: header.updates, ..Snapshot::default() })
}

/// Hash that identifies the bytes of a file.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decode(bytes: &[u8], path: &Path) -> Result<(Header, Tensors), Diagnostic> {
    let wrong = |why: String| fault::unreadable(path, why);
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| wrong(e.to_string()))?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| wrong(e.to_string()))?;
    let header = match metadata.metadata().as_ref().and_then(|entries| entries.get(ENTRY)) {
        Some(json) => serde_json::from_str(json).map_err(|e| wrong(e.to_string()))?,
        None => Header { format: FORMAT, updates: 0, progress: None, identity: Value::Null },
    };
    if header.format != FORMAT {
        return Err(wrong(format!("its format is {}, this archc reads {FORMAT}", header.format)));
    }
    let mut tensors = Tensors::new();
    for (name, view) in file.tensors() {
        let data = match view.dtype() {
            Dtype::F32 => view.data().as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            Dtype::F64 => view.data().as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            other => return Err(wrong(format!("tensor `{name}` is {other:?}, not F32 or F64"))),
        };
        tensors.insert(name, Tensor { shape: view.shape().to_vec(), data });
    }
    Ok((header, tensors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tensors(values: &[f64]) -> Tensors {
        Tensors::from([(
            "layers.0.q.linear.weight".to_owned(),
            Tensor { shape: vec![values.len()], data: values.to_vec() },
        )])
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            progress: Progress { step: 7, watch: Watch { broken: 1, high: 2 } },
            snapshot: Snapshot {
                params: tensors(&[1.0, -0.5]),
                first: tensors(&[0.1, 1e-300]),
                second: tensors(&[0.0, -0.0]),
                step: 6,
            },
        }
    }

    #[test]
    fn every_bit_comes_back() {
        let before = checkpoint();
        let identity = json!({"program": "abc"});
        let bytes = before.encode(&identity);
        let (after, found) = Checkpoint::decode(&bytes, Path::new("x")).unwrap();
        assert_eq!((&after, found), (&before, identity.clone()));
        assert!(after.snapshot.second["layers.0.q.linear.weight"].data[1].is_sign_negative());
        assert_eq!(bytes, after.encode(&identity), "the same state is the same file");
    }

    #[test]
    fn weights_have_plain_paths() {
        let before = checkpoint();
        let bytes = encode_weights(&before.snapshot, &Value::Null);
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.names(), ["layers.0.q.linear.weight"]);
        for bytes in [bytes, before.encode(&Value::Null)] {
            let read = decode_weights(&bytes, Path::new("x")).unwrap();
            assert_eq!((read.params, read.step), (before.snapshot.params.clone(), 6));
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let bytes = checkpoint().encode(&Value::Null);
        let code = |bytes: &[u8]| Checkpoint::decode(bytes, Path::new("x")).unwrap_err().code;
        for cut in [0, 7, 8, 40, bytes.len() - 1] {
            assert_eq!(code(&bytes[..cut]), "E0912");
        }
        assert_eq!(code(b"not a safetensors file at all"), "E0912");
        assert_eq!(code(&encode_weights(&checkpoint().snapshot, &Value::Null)), "E0912");
    }
}
