//! Tests of the reference device: one binary, a module an area.

mod build;
mod check;
mod decode;
mod init;
mod ops;
mod optimizer;
mod refuse;
mod time;
mod training;
