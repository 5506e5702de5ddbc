//! "Are you sure you want to continue?", as Docker asks it.

use std::io::{self, BufRead};

use crate::output;

/// Asks; anything but yes is no.
pub fn agreed(warning: &str) -> bool {
    output::print(&format!("{warning}\nAre you sure you want to continue? [y/N] "));
    output::flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}
