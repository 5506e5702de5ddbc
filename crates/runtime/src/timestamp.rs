//! Time as Docker writes it: RFC 3339 in UTC with nanoseconds.

use std::time::{SystemTime, UNIX_EPOCH};

/// The present moment, such as `2026-03-01T12:00:00.000000001Z`.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    coil_oci::timestamp::nanoseconds(since)
}
