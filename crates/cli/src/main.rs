//! The coil binary.
fn main() {}
