//! Ids and names that are made up.

use std::fs::File;
use std::io::{self, Read};

const FIRST: [&str; 48] = [
    "agile", "amber", "apt", "bold", "brave", "brisk", "calm", "candid", "clever", "cosy", "crisp", "deft",
    "eager", "early", "even", "fair", "fond", "frank", "fresh", "gentle", "glad", "golden", "handy", "happy",
    "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid", "mellow", "merry", "neat", "nimble",
    "patient", "placid", "plucky", "proud", "quick", "quiet", "serene", "steady", "sunny", "tidy", "vivid",
    "warm", "witty",
];

const SECOND: [&str; 48] = [
    "adder",
    "anaconda",
    "asp",
    "ball",
    "basilisk",
    "boa",
    "boomslang",
    "bronzeback",
    "bullsnake",
    "cobra",
    "copperhead",
    "coral",
    "corn",
    "dione",
    "egg",
    "fer",
    "file",
    "fox",
    "garter",
    "gopher",
    "grass",
    "green",
    "hognose",
    "indigo",
    "keelback",
    "king",
    "krait",
    "kukri",
    "mamba",
    "milk",
    "mussurana",
    "pine",
    "pipe",
    "python",
    "racer",
    "rainbow",
    "rat",
    "ribbon",
    "rinkhals",
    "sand",
    "sidewinder",
    "smooth",
    "sunbeam",
    "taipan",
    "tiger",
    "twig",
    "viper",
    "whip",
];

/// Random bytes of the system.
fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A container's id: 64 hexadecimal digits. The first twelve are never digits alone, so that a short id is
/// never taken for a number.
///
/// # Errors
/// When the system gives no random bytes.
pub(crate) fn new_id() -> io::Result<String> {
    loop {
        let bytes: [u8; 32] = random()?;
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if !id[..12].bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(id);
        }
    }
}

/// A name for a container that was given none.
///
/// # Errors
/// When the system gives no random bytes.
pub(crate) fn new_name(attempt: u32) -> io::Result<String> {
    let [a, b, c]: [u8; 3] = random()?;
    let name = format!(
        "{}_{}",
        FIRST[usize::from(a) % FIRST.len()],
        SECOND[usize::from(b) % SECOND.len()]
    );
    Ok(if attempt == 0 { name } else { format!("{name}{c}") })
}
