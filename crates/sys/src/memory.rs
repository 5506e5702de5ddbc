//! Giving memory back that a process at rest does not need.

use std::fs;
use std::io;

use crate::call;

/// Lets go of the pages of this process's program code and constants; each comes back from the file when it is run again.
///
/// For a process that started much and then only waits: what it needs again is a small part.
pub fn release_code() -> io::Result<()> {
    for (start, length) in code(&fs::read_to_string("/proc/self/maps")?) {
        // SAFETY: the range is a mapping of our own that can't be written, so its pages hold nothing but the file's
        // bytes; the kernel reads them again at the next touch, this very function's among them.
        call::done(unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) })?;
    }
    Ok(())
}

/// Start and length of every mapping that holds a file's code or constants: never written, so that nothing can be lost.
fn code(maps: &str) -> Vec<(usize, usize)> {
    let range = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let (rights, offset) = (fields.next()?, fields.next()?);
        // A file's first part is its constants; parts further on may be data that was made read-only after a change.
        let unchanged = rights == "r-xp" || (rights == "r--p" && offset.bytes().all(|digit| digit == b'0'));
        let is_code = unchanged && fields.nth(2)?.starts_with('/');
        let (start, end) = (
            usize::from_str_radix(start, 16).ok()?,
            usize::from_str_radix(end, 16).ok()?,
        );
        (is_code && start < end).then(|| (start, end - start))
    };
    maps.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_let_go() {
        let maps = "\
00400000-00401000 r--p 00000000 fe:00 1 /bin/coil
00401000-00403000 r-xp 00001000 fe:00 1 /bin/coil
00403000-00404000 r--p 00003000 fe:00 1 /bin/coil
00404000-00405000 rw-p 00004000 fe:00 1 /bin/coil
7ffc0000-7ffc2000 r-xp 00000000 00:00 0 [vdso]
7ffd0000-7ffd1000 r-xp 00000000 00:00 0
";
        assert_eq!(code(maps), [(0x0040_0000, 0x1000), (0x0040_1000, 0x2000)]);
    }

    #[test]
    fn a_process_goes_on_after_it() {
        release_code().unwrap();
        assert_eq!(format!("{}", 6 * 7), "42");
    }
}
