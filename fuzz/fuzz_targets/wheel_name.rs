//! What must hold for any bytes: see `oracles::wheel_name`.
#![no_main]

#[path = "../../crates/wheel/tests/it/oracles.rs"]
mod oracles;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracles::wheel_name(bytes));
