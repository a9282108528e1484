//! The programs beside the product: the demo, which walks the article, and the benchmarks.
//!
//! Both run the real `stowline` program and a real S3-compatible server on the loopback address; both get theirs from
//! `testkit`. `cargo demo` is `src/bin/demo.rs` over [`walk`] and [`story`]; `cargo bench-all` is `src/bin/bench.rs` over
//! [`mod@bench`]. [`binary`] sees to it that the program under observation is the one of this source tree.

pub mod bench;
pub mod binary;
pub mod ports;
pub mod story;
pub mod walk;
