//! Waiting for a thing to happen, instead of for time to pass.

use std::time::{Duration, Instant};

/// How long a thing may take before the test is said to have failed: generous, since it is no speed limit.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Returns as soon as `happened` says so.
///
/// # Panics
/// When it has not happened after [`PATIENCE`], naming `what` it waited for.
pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    wait_for(what, || happened().then_some(()));
}

/// Returns what `look` finds, as soon as it finds something.
///
/// # Panics
/// When nothing is found after [`PATIENCE`], naming `what` it waited for.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {} s in vain: {what}",
            PATIENCE.as_secs()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
