//! Measures: resolves and assembles one base into a store. `assemble SUITE ARCH STORE THREADS [PACKAGE…]`
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for developers")]
use coil_debian::*;
use std::time::Instant;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let store = coil_store::Store::open(coil_store::StoreOptions { root: (&args[2]).into(), downloads: None, boot_id: "x".into() });
    let fetcher = coil_fetch::Fetcher::new(coil_fetch::FetchSettings::default());
    let mut sources = SourcesConfig::from_host(std::path::Path::new("/etc/apt"));
    sources.main.check_valid_until = args[0] != "sid";
    println!("{sources:?}");
    let archive = Archive::new(fetcher, store.clone(), sources);
    let arch = if args[1] == "arm64" { coil_oci::Arch::Arm64 } else { coil_oci::Arch::Amd64 };
    let time = Instant::now();
    let pinned = match archive.resolve(Suite::named(&args[0]).unwrap(), arch, &args[4..], &coil_fetch::NoProgress) {
        Ok(pinned) => pinned,
        Err(error) => { println!("error: {error}: {:?}\nhelp: {}", std::error::Error::source(&error).map(ToString::to_string), error.help()); return }
    };
    println!("resolve {:?}: {} packages, {} bytes, python {}", time.elapsed(), pinned.packages.len(), pinned.download_size(), pinned.python);
    for p in &pinned.packages { print!("{} ", p.name); }
    println!();
    let options = AssembleOptions { epoch: 0, threads: args[3].parse().unwrap() };
    for _ in 0..2 {
        let time = Instant::now();
        match archive.assemble(&pinned, &options, &coil_fetch::NoProgress) {
            Ok(layer) => println!("assemble {:?}: {} {} unpacked {} {} glibc {:?} {}", time.elapsed(), layer.blob, layer.size, layer.unpacked_size, layer.diff_id, layer.glibc, store.blob_path(&layer.blob).display()),
            Err(error) => println!("error: {error}: {:?} {}", std::error::Error::source(&error).map(ToString::to_string), error.help()),
        }
    }
}
