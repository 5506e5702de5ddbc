//! What must hold for any `pylock.toml`: see `oracles::file`.
#![no_main]

#[path = "../../crates/python/tests/it/oracles.rs"]
mod oracles;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracles::file("pylock.toml", bytes));
