//! Tests of the reference device: one binary, a module an area.

mod build;
mod check;
mod decode;
mod fixtures;
mod init;
mod ops;
mod optimizer;
mod refuse;
mod source;
mod time;
mod training;
