//! Hashes other than SHA-256 that indices and locks still give.

use std::fmt;
use std::io::{self, Read};

use blake2::Blake2b512;
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::digest::DynDigest;
use sha2::{Sha384, Sha512};

/// The algorithms, the strongest first, with the length of a digest in bytes.
const ALGORITHMS: [(&str, usize); 4] = [("sha512", 64), ("blake2b", 64), ("sha384", 48), ("md5", 16)];

/// A file's hash by another algorithm than SHA-256: `sha512:0123…`.
///
/// What has only such a hash is checked by it once, and known by its SHA-256 from then on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileHash {
    rank: usize,
    hex: String,
}

impl FileHash {
    /// Reads an algorithm's name and digits; none for an algorithm that isn't known, or a wrong length.
    pub fn new(algorithm: &str, hex: &str) -> Option<FileHash> {
        let rank = ALGORITHMS
            .iter()
            .position(|(name, _)| name.eq_ignore_ascii_case(algorithm))?;
        let sound = hex.len() == ALGORITHMS[rank].1 * 2 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        sound.then(|| FileHash {
            rank,
            hex: hex.to_ascii_lowercase(),
        })
    }

    /// Reads `sha512:0123…`.
    pub fn parse(text: &str) -> Option<FileHash> {
        let (algorithm, hex) = text.split_once(':')?;
        FileHash::new(algorithm, hex)
    }

    /// The algorithm's name.
    pub fn algorithm(&self) -> &'static str {
        ALGORITHMS[self.rank].0
    }

    /// The hash of a content by the same algorithm.
    pub fn of_same_kind(&self, mut content: impl Read) -> io::Result<FileHash> {
        let mut hasher: Box<dyn DynDigest> = match self.algorithm() {
            "sha512" => Box::new(Sha512::default()),
            "blake2b" => Box::new(Blake2b512::default()),
            "sha384" => Box::new(Sha384::default()),
            _ => Box::new(Md5::default()),
        };
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let count = content.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
        }
        let hex = hasher
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(FileHash { rank: self.rank, hex })
    }
}

impl fmt::Display for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), self.hex)
    }
}

impl From<FileHash> for String {
    fn from(hash: FileHash) -> String {
        hash.to_string()
    }
}

impl TryFrom<String> for FileHash {
    type Error = String;

    fn try_from(text: String) -> Result<FileHash, String> {
        FileHash::parse(&text).ok_or_else(|| format!("`{text}` is no hash"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        // Of "abc", from the algorithms' own specifications.
        for text in [
            "md5:900150983cd24fb0d6963f7d28e17f72",
            "sha384:cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
            "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd\
             454d4423643ce80e2a9ac94fa54ca49f",
            "blake2b:ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38\
             aa8dbf1925ab92386edd4009923",
        ] {
            let hash = FileHash::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                hash.of_same_kind(&b"abc"[..]).expect("readable").to_string(),
                text
            );
            assert_ne!(hash.of_same_kind(&b"abd"[..]).expect("readable"), hash);
        }
        for text in [
            "md5:12",
            "crc32:12345678",
            "sha512",
            "md5:zz0150983cd24fb0d6963f7d28e17f72",
        ] {
            assert!(FileHash::parse(text).is_none(), "{text}");
        }
    }
}
