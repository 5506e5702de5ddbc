//! Wheels as users meet them: real ones installed beside pip, layers read by Python, hostile ones refused.

mod archives;
mod bytecode;
mod indices;
mod layers;
mod real_wheels;
mod resolving;
mod support;
mod zips;
