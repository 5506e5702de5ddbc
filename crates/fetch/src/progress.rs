//! How a long fetch tells what it does.

/// Receives progress; implementations must not block.
///
/// Calls come from several threads at once. An `id` names one running item; `begin` and `end` come once for each.
pub trait Progress: Send + Sync {
    /// An item begins; `total` is its size in bytes where that is known.
    fn begin(&self, id: &str, total: Option<u64>);
    /// So many more bytes of the item are done.
    fn advance(&self, id: &str, bytes: u64);
    /// The item is over, well or not.
    fn end(&self, id: &str);
    /// One line for the user that belongs to no item.
    fn note(&self, line: &str);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn begin(&self, _id: &str, _total: Option<u64>) {}
    fn advance(&self, _id: &str, _bytes: u64) {}
    fn end(&self, _id: &str) {}
    fn note(&self, _line: &str) {}
}
