//! Wheels as users meet them: real ones installed beside pip, layers read by Python, hostile ones refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops there")]

mod archives;
mod bytecode;
mod facts;
mod indices;
mod large_wheels;
mod layers;
mod mutations;
mod oracles;
mod placing;
mod real_wheels;
mod resolving;
mod support;
mod zips;
