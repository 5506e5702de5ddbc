//! Makes bases from the machine's own mirror, to look at their digests and at the time and memory that each step takes.
//!
//! `base resolve STORE SUITE ARCH LIST` writes the list of packages, `base assemble STORE LIST THREADS` makes the layer of it;
//! with `both STORE SUITE ARCH LIST THREADS` one process does both.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use coil_debian::{Archive, AssembleOptions, PinnedBase, SourcesConfig, Suite};
use coil_fetch::{FetchSettings, Fetcher, NoProgress};
use coil_oci::Arch;
use coil_store::{Store, StoreOptions};

const USAGE: &str = "base resolve STORE SUITE ARCH LIST | base assemble STORE LIST THREADS | \
                     base both STORE SUITE ARCH LIST THREADS";

fn archive(root: &str) -> Archive {
    let store = Store::open(StoreOptions {
        root: root.into(),
        downloads: None,
        boot_id: "example".into(),
    });
    let fetcher = Fetcher::new(FetchSettings {
        retries: 4,
        timeout: Duration::from_secs(60),
        ..FetchSettings::default()
    });
    // What a mirror holds is looked at here however old it is.
    Archive::new(fetcher, store, SourcesConfig::from_host(Path::new("/etc/apt"))).allow_expired(true)
}

fn resolve(root: &str, suite: &str, arch: &str, list: &str) -> Result<String, Box<dyn Error>> {
    let suite = Suite::named(suite).ok_or("there is no such suite")?;
    let mut known = [Arch::Amd64, Arch::Arm64].into_iter();
    let arch = known
        .find(|known| known.debian() == arch)
        .ok_or("there is no such architecture")?;
    let pinned = archive(root).resolve(suite, arch, &[], &NoProgress)?;
    std::fs::write(list, serde_json::to_vec_pretty(&pinned)?)?;
    Ok(format!("{} packages", pinned.packages.len()))
}

fn assemble(root: &str, list: &str, threads: &str) -> Result<String, Box<dyn Error>> {
    let pinned: PinnedBase = serde_json::from_slice(&std::fs::read(list)?)?;
    let options = AssembleOptions {
        epoch: 1_700_000_000,
        threads: threads.parse()?,
    };
    let layer = archive(root).assemble(&pinned, &options, &NoProgress)?;
    let (size, unpacked) = (layer.size, layer.unpacked_size);
    Ok(format!(
        "blob {} ({size} bytes), diff id {} ({unpacked} bytes)",
        layer.blob, layer.diff_id
    ))
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let start = Instant::now();
    let result = match words.as_slice() {
        ["resolve", root, suite, arch, list] => resolve(root, suite, arch, list)?,
        ["assemble", root, list, threads] => assemble(root, list, threads)?,
        ["both", root, suite, arch, list, threads] => {
            resolve(root, suite, arch, list)?;
            assemble(root, list, threads)?
        }
        _ => return Err(USAGE.into()),
    };
    let took = start.elapsed();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let memory = status
        .lines()
        .filter(|line| line.starts_with("VmHWM:") || line.starts_with("VmRSS:"));
    let memory: Vec<&str> = memory.collect();
    writeln!(std::io::stdout(), "{result}\n{took:?}, {}", memory.join(", "))?;
    Ok(())
}
