//! "Are you sure you want to continue?", as Docker asks it.

use std::io::{self, BufRead};

use crate::output;

/// Asks; anything but yes is no.
pub fn agreed(warning: &str) -> bool {
    asked(&format!("{warning}\n"))
}

/// The same in one line, as Docker asks about builds.
pub fn agreed_on_one_line(warning: &str) -> bool {
    asked(&format!("{warning} "))
}

fn asked(text: &str) -> bool {
    output::print(&format!("{text}Are you sure you want to continue? [y/N] "));
    output::flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}
