//! What must hold for any `pyproject.toml`: see `oracles::file`.
#![no_main]

#[path = "../../crates/python/tests/it/oracles.rs"]
mod oracles;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracles::file("pyproject.toml", bytes));
