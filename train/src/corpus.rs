//! Text corpora for the task `text`, split by document into training, validation and test part.
//!
//! A document is a file; a file that holds more than a twentieth of all bytes is cut at blank lines into pieces, each of which
//! is a document. Files and documents with identical bytes count once. Documents are sorted by hash; the test part takes the
//! first 10 % of the bytes, validation the next 10 %, training the rest. The split therefore depends on the contents alone, not
//! on names or order; no document is on both sides of it; and however unequal the file sizes, no document is so large that a
//! part stays empty.

use crate::fault;
use crate::task::Part;
use archc_compiler::diag::Diagnostic;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// A file with more than 1/`WHOLE` of all bytes is cut into pieces.
const WHOLE: usize = 20;
/// Target number of pieces of the whole text, within the limits on the length of a piece.
const PIECES: usize = 64;
const SHORTEST_PIECE: usize = 256;
const LONGEST_PIECE: usize = 8192;

/// Maximum size of a corpus in bytes; in memory it takes three times as much.
const LARGEST: u64 = 1 << 30;

/// One part of a corpus: its documents concatenated.
#[derive(Clone, Debug, Default)]
pub struct Bytes {
    /// The text.
    pub bytes: Vec<u8>,
    /// For each byte, whether a document starts there.
    pub starts: Vec<bool>,
}

/// Corpus split into three parts.
#[derive(Clone, Debug)]
pub struct Corpus {
    parts: [Bytes; 3],
    digest: String,
    documents: usize,
}

impl Corpus {
    /// Reads a file, or all files of a folder and its folders. Hidden files, links to folders and dangling links are skipped.
    ///
    /// # Errors
    /// E0904 when something cannot be read, E0926 for a file that is not text, E0905 when there is no text, E0927 when there is
    /// more than 1 GiB.
    pub fn read(path: &Path) -> Result<Self, Diagnostic> {
        Self::read_within(path, LARGEST)
    }

    fn read_within(path: &Path, largest: u64) -> Result<Self, Diagnostic> {
        let mut files = Vec::new();
        let mut folders = Vec::new();
        if fs::metadata(path).map_err(unreadable(path))?.is_dir() {
            folders.push(path.to_owned());
        } else {
            files.push(path.to_owned());
        }
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(unreadable(&folder))? {
                let entry = entry.map_err(unreadable(&folder))?;
                let path: PathBuf = entry.path();
                if entry.file_name().to_string_lossy().starts_with('.') {
                    continue;
                }
                // A link to a folder counts neither as a folder here nor as a file below.
                let kind = entry.file_type().map_err(unreadable(&path))?;
                if kind.is_dir() {
                    folders.push(path);
                    continue;
                }
                match fs::metadata(&path) {
                    Ok(found) if found.is_file() => files.push(path),
                    Ok(_) => {}
                    // A dangling or circular link. A link to a file without read permission is a file that cannot be read.
                    Err(error) if kind.is_symlink() && error.kind() != io::ErrorKind::PermissionDenied => {}
                    Err(error) => return Err(unreadable(&path)(error)),
                }
            }
        }
        // Sorted by name, so that a message names the same file every time.
        files.sort();
        let mut left = largest;
        let mut texts = Vec::with_capacity(files.len());
        for file in &files {
            let text = text_of(file, left)?.ok_or_else(|| fault::corpus_large(path, largest))?;
            left -= text.len() as u64;
            texts.push(text);
        }
        Self::from_texts(texts, &format!("`{}`", path.display()))
    }

    /// Corpus from text in memory, such as the text embedded in the program. None for an empty text.
    ///
    /// # Errors
    /// E0905 when it is only white space.
    pub fn carried(text: &str) -> Result<Option<Self>, Diagnostic> {
        if text.is_empty() {
            return Ok(None);
        }
        Self::from_texts(vec![text.as_bytes().to_vec()], "that archc carries").map(Some)
    }

    /// Splits texts into a corpus. `what` names them in errors.
    ///
    /// # Errors
    /// E0905 when there is no text.
    pub fn from_texts(texts: Vec<Vec<u8>>, what: &str) -> Result<Self, Diagnostic> {
        // Sorted by hash; identical contents become neighbours, so that copies do not affect which files count as large.
        let texts = by_hash(texts.iter().map(Vec::as_slice).filter(|text| !text.iter().all(u8::is_ascii_whitespace)));
        let total: usize = texts.values().map(|text| text.len()).sum();
        let size = (total / PIECES).clamp(SHORTEST_PIECE, LONGEST_PIECE);
        let documents = by_hash(texts.values().flat_map(|text| match text.len() > total / WHOLE {
            true => pieces(text, size),
            false => vec![*text],
        }));
        if documents.is_empty() {
            return Err(fault::corpus_empty(what));
        }
        let mut digest = Sha256::new();
        documents.keys().for_each(|key| digest.update(key));
        let total: usize = documents.values().map(|d| d.len()).sum();
        let mut parts = [Bytes::default(), Bytes::default(), Bytes::default()];
        for document in documents.values() {
            let part = [Part::Test, Part::Validation]
                .into_iter()
                .find(|&part| {
                    let has = parts[slot(part)].bytes.len();
                    // A short text may be one document: as a held-out part it would starve training.
                    has < total / 10 && has + document.len() <= total / 5
                })
                .unwrap_or(Part::Train);
            let part = &mut parts[slot(part)];
            part.starts.extend((0..document.len()).map(|i| i == 0));
            part.bytes.extend_from_slice(document);
        }
        let digest = digest.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        Ok(Self { parts, digest, documents: documents.len() })
    }

    /// One of the parts.
    pub fn part(&self, part: Part) -> &Bytes {
        &self.parts[slot(part)]
    }

    /// Hash of the contents: equal for corpora that are split the same way into the same bytes.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Number of distinct documents.
    pub fn documents(&self) -> usize {
        self.documents
    }
}

/// Error for a path that cannot be read.
fn unreadable(path: &Path) -> impl Fn(io::Error) -> Diagnostic {
    move |error| fault::corpus_unreadable(path, &error)
}

/// Maps texts by their hashes.
fn by_hash<'a>(texts: impl Iterator<Item = &'a [u8]>) -> BTreeMap<[u8; 32], &'a [u8]> {
    texts.map(|text| (Sha256::digest(text).into(), text)).collect()
}

/// Bytes of a file, unless they are not text: a text has a byte 0 in no encoding but UTF-16 and UTF-32. None for more than
/// `most` bytes.
fn text_of(file: &Path, most: u64) -> Result<Option<Vec<u8>>, Diagnostic> {
    let mut bytes = Vec::new();
    let mut reader = BufReader::new(fs::File::open(file).map_err(unreadable(file))?);
    // Reads piecewise: a large file that is not text is recognised at its start.
    loop {
        let piece = reader.fill_buf().map_err(unreadable(file))?;
        if piece.is_empty() {
            return Ok(Some(bytes));
        }
        if let Some(at) = piece.iter().position(|&b| b == 0) {
            return Err(fault::corpus_not_text(file, bytes.len() + at));
        }
        if (bytes.len() + piece.len()) as u64 > most {
            return Ok(None);
        }
        bytes.extend_from_slice(piece);
        let read = piece.len();
        reader.consume(read);
    }
}

fn slot(part: Part) -> usize {
    match part {
        Part::Train => 0,
        Part::Validation => 1,
        Part::Test => 2,
    }
}

/// Splits a text into pieces of about `size` bytes: cut after a blank line, else after a line, else (four times as long)
/// anywhere.
fn pieces(text: &[u8], size: usize) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > 2 * size {
        let window = &rest[..rest.len().min(4 * size)];
        let after = |needle: &[u8]| {
            window[size..].windows(needle.len()).position(|w| w == needle).map(|at| size + at + needle.len())
        };
        let cut = after(b"\n\n").or_else(|| after(b"\n")).unwrap_or(window.len());
        let (piece, tail) = rest.split_at(cut);
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    pieces.retain(|piece| !piece.iter().all(u8::is_ascii_whitespace));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(paragraphs: usize) -> String {
        (0..paragraphs).fold(String::new(), |mut text, i| {
            let _ = write!(text, "Paragraph {i} says {} and then {}.\n\n", i * i, i % 7);
            text
        })
    }

    #[test]
    fn parts_are_disjoint_and_whole() {
        let text = story(600);
        let corpus = Corpus::carried(&text).unwrap().unwrap();
        let lengths = Part::ALL.map(|part| corpus.part(part).bytes.len());
        assert_eq!(lengths.iter().sum::<usize>(), text.len());
        for held_out in [lengths[1], lengths[2]] {
            let share = held_out as f64 / text.len() as f64;
            assert!((0.1..=0.2).contains(&share), "{share}");
        }
        // Numbered paragraphs: every one is in exactly one part.
        let texts = Part::ALL.map(|part| String::from_utf8(corpus.part(part).bytes.clone()).unwrap());
        for i in 0..600 {
            let needle = format!("Paragraph {i} says");
            assert_eq!(texts.iter().map(|t| t.matches(&needle).count()).sum::<usize>(), 1, "{needle}");
        }
    }

    #[test]
    fn names_order_and_copies_do_not_matter() {
        let files: Vec<Vec<u8>> = (0..30).map(|i| format!("file {i} with its text").into_bytes()).collect();
        let mut other = files.clone();
        other.reverse();
        other.push(files[3].clone());
        let (a, b) = (Corpus::from_texts(files, "a").unwrap(), Corpus::from_texts(other, "b").unwrap());
        assert_eq!(a.digest(), b.digest());
        assert_eq!((a.documents(), b.documents()), (30, 30));
        for part in Part::ALL {
            assert_eq!(a.part(part).bytes, b.part(part).bytes);
            assert_eq!(a.part(part).starts.iter().filter(|s| **s).count() > 0, !a.part(part).bytes.is_empty());
        }
    }

    #[test]
    fn folders_are_read_in_depth() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/a.txt"), story(50)).unwrap();
        fs::write(folder.path().join("b.txt"), "short").unwrap();
        fs::write(folder.path().join(".hidden"), "no").unwrap();
        let corpus = Corpus::read(folder.path()).unwrap();
        let all: usize = Part::ALL.iter().map(|&p| corpus.part(p).bytes.len()).sum();
        assert_eq!(all, story(50).len() + "short".len());
    }

    #[test]
    fn one_large_file_among_small_ones_is_cut() {
        let small =
            |i: usize| format!("note {i} with a hundred bytes more or less, as notes are {i} {i} {i}\n").into_bytes();
        for notes in [18, 19, 20, 60] {
            let mut texts: Vec<Vec<u8>> = (0..notes).map(small).collect();
            texts.push(story(6000).into_bytes());
            let total: usize = texts.iter().map(Vec::len).sum();
            let corpus = Corpus::from_texts(texts.clone(), "a").unwrap();
            let lengths = Part::ALL.map(|part| corpus.part(part).bytes.len());
            assert_eq!(lengths.iter().sum::<usize>(), total);
            for held_out in [lengths[1], lengths[2]] {
                assert!((total / 10..=total / 5).contains(&held_out), "{held_out} of {total}");
            }
            // Notes stay whole, and copies of them have no effect.
            let holds = |part, text: &[u8]| corpus.part(part).bytes.windows(text.len()).any(|w| w == text);
            assert!((0..notes).all(|i| Part::ALL.into_iter().filter(|&part| holds(part, &small(i))).count() == 1));
            texts.extend((0..200).map(|_| small(0)));
            assert_eq!(Corpus::from_texts(texts, "b").unwrap().digest(), corpus.digest());
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_to_nothing_are_left_out() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.txt"), story(50)).unwrap();
        symlink("gone.txt", folder.path().join("b.txt")).unwrap();
        symlink("c.txt", folder.path().join("c.txt")).unwrap();
        let corpus = Corpus::read(folder.path()).unwrap();
        assert_eq!(Part::ALL.map(|part| corpus.part(part).bytes.len()).iter().sum::<usize>(), story(50).len());
        assert_eq!(Corpus::read(&folder.path().join("b.txt")).unwrap_err().code, "E0904");
    }

    #[test]
    fn too_much_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in [("a.txt", story(50)), ("b.txt", story(60))] {
            fs::write(folder.path().join(file), text).unwrap();
        }
        let total = (story(50).len() + story(60).len()) as u64;
        assert!(Corpus::read_within(folder.path(), total).is_ok());
        assert_eq!(Corpus::read_within(folder.path(), total - 1).unwrap_err().code, "E0927");
        #[cfg(target_os = "linux")]
        assert_eq!(Corpus::read(Path::new("/dev/zero")).unwrap_err().code, "E0926");
    }

    #[test]
    fn bad_corpora_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let code = |path: &Path| Corpus::read(path).unwrap_err().code;
        assert_eq!(code(&folder.path().join("missing")), "E0904");
        assert_eq!(code(folder.path()), "E0905");
        fs::write(folder.path().join("blank"), " \n\t").unwrap();
        assert_eq!(code(&folder.path().join("blank")), "E0905");
        assert!(Corpus::carried("").unwrap().is_none());
    }

    #[test]
    fn what_is_not_text_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("book.txt");
        // Latin-1 is text too.
        let latin = [&b"caf\xe9\n\n"[..], story(100).as_bytes()].concat();
        fs::write(&path, &latin).unwrap();
        assert_eq!(Corpus::read(folder.path()).unwrap().part(Part::Train).bytes.iter().filter(|b| **b == 0).count(), 0);
        let utf16: Vec<u8> = story(10).encode_utf16().flat_map(u16::to_le_bytes).collect();
        let late = [&vec![b'x'; 100_000][..], &[0]].concat();
        for (bytes, at) in [(utf16, 1), (late, 100_000)] {
            fs::write(&path, bytes).unwrap();
            for given in [&path, folder.path()] {
                let error = Corpus::read(given).unwrap_err();
                assert_eq!(error.code, "E0926");
                assert!(
                    error.message.contains("book.txt") && error.message.contains(&format!("byte {at} ")),
                    "{error:?}"
                );
            }
        }
    }
}
