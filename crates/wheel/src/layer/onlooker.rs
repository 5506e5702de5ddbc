//! Who looks at files while they go into a layer, so that nothing is inflated twice.

use super::WheelFile;

/// Is shown the files of wheels whose layer is made.
pub trait Onlooker: Sync {
    /// What takes in a file's bytes; none where it is of no interest.
    ///
    /// `entry` is its name in the wheel, `size` its length in bytes, `start` what it begins with: at least its first 64 bytes,
    /// unless it is shorter.
    fn look(&self, wheel: &WheelFile, entry: &str, size: u64, start: &[u8]) -> Option<Box<dyn Look + '_>>;
}

/// Takes in one file.
pub trait Look {
    /// The next bytes, from the first on.
    fn bytes(&mut self, bytes: &[u8]);

    /// The file is whole, and has the hash that RECORD tells.
    fn end(self: Box<Self>);
}

/// Looks at nothing.
impl Onlooker for () {
    fn look(&self, _: &WheelFile, _: &str, _: u64, _: &[u8]) -> Option<Box<dyn Look + '_>> {
        None
    }
}
