//! What an ELF file tells the dynamic linker: for which machine it is, what it needs, what it offers.
//!
//! Pure, and made for files from strangers: every length is bounded, nothing is trusted, and only the header, the program
//! headers and the tables of the dynamic section are looked at, so a library of a gigabyte costs as little as a small one.
//! Section headers, which a stripped file may lack, are never used: the linker doesn't use them either.

mod read;
mod source;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use read::read;
pub use source::{FileSource, Source};

/// Processors by their number in the header (`e_machine`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Machine(pub u16);

impl Machine {
    /// 64-bit x86.
    pub const X86_64: Machine = Machine(62);
    /// 64-bit ARM.
    pub const AARCH64: Machine = Machine(183);
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            3 => "i386",
            8 => "mips",
            20 => "ppc",
            21 => "ppc64",
            22 => "s390x",
            40 => "arm",
            62 => "x86_64",
            183 => "aarch64",
            243 => "riscv",
            258 => "loongarch",
            other => return write!(f, "machine {other}"),
        };
        f.write_str(name)
    }
}

/// What kind of file it is (`e_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An object file for the static linker.
    Object,
    /// A program with a fixed address.
    Program,
    /// A shared library, or a program that can be anywhere.
    Shared,
    /// Anything else.
    Other,
}

/// The versions of symbols that are needed of one library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionNeed {
    /// The library: `libc.so.6`.
    pub library: String,
    /// The versions, as they stand: `GLIBC_2.17`.
    pub versions: Vec<String>,
}

/// What an ELF file tells the dynamic linker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elf {
    /// 64 or 32.
    pub bits: u8,
    /// Whether its numbers begin with the smallest byte.
    pub little_endian: bool,
    /// The processor.
    pub machine: Machine,
    /// What it is.
    pub kind: Kind,
    /// Whether it has a dynamic section; without one it needs nothing and offers nothing.
    pub dynamic: bool,
    /// The name by which others need it (`DT_SONAME`).
    pub soname: Option<String>,
    /// The libraries that it needs (`DT_NEEDED`), in order.
    pub needed: Vec<String>,
    /// Where they are looked for first, colons divided (`DT_RPATH`); holds for libraries of libraries, too.
    pub rpath: Vec<String>,
    /// Where they are looked for (`DT_RUNPATH`); with it `DT_RPATH` doesn't count.
    pub runpath: Vec<String>,
    /// The versions that it needs, by library (`DT_VERNEED`).
    pub needs: Vec<VersionNeed>,
    /// The versions that it defines (`DT_VERDEF`), less its own name.
    pub defines: Vec<String>,
    /// The program's linker (`PT_INTERP`).
    pub interpreter: Option<String>,
}

impl Elf {
    /// The highest version with a prefix that is needed of any library: `GLIBC_` gives `(2, 34)`.
    pub fn highest(&self, prefix: &str) -> Option<(u32, u32)> {
        self.needs
            .iter()
            .flat_map(|need| &need.versions)
            .filter_map(|version| {
                let mut numbers = version.strip_prefix(prefix)?.split('.').map(str::parse);
                Some((numbers.next()?.ok()?, numbers.next().unwrap_or(Ok(0)).ok()?))
            })
            .max()
    }
}

/// Why a file could not be read as ELF.
#[derive(Debug)]
pub enum ElfError {
    /// It doesn't begin as an ELF file.
    NotElf,
    /// It says things that can't be.
    Damaged(&'static str),
    /// The disk gives an error.
    Disk(std::io::Error),
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ElfError::NotElf => f.write_str("it is not an ELF file"),
            ElfError::Damaged(what) => write!(f, "it is a damaged ELF file: {what}"),
            ElfError::Disk(_) => f.write_str("it cannot be read"),
        }
    }
}

impl std::error::Error for ElfError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ElfError::Disk(error) => Some(error),
            _ => None,
        }
    }
}
