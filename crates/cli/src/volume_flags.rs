//! Flags about what is mounted, which `run` and `create` share.

use std::path::PathBuf;

use clap::Args;

use crate::host_path::absolute_source;

/// What is mounted in a container.
#[derive(Debug, Clone, Default, Args)]
pub struct VolumeFlags {
    /// Mount a file or folder of the host, or a volume: [HOST_PATH:|NAME:]PATH[:ro]
    #[arg(short, long, value_name = "PATHS")]
    volume: Vec<String>,
    /// Mount what the fields say: type=bind|volume|tmpfs,src=SOURCE,dst=PATH[,ro]
    #[arg(long, value_name = "FIELDS")]
    mount: Vec<String>,
    /// Mount a folder that is kept in memory: PATH[:size=64m,mode=1777]
    #[arg(long, value_name = "PATH")]
    pub tmpfs: Vec<String>,
    /// Mount what another container has mounted: CONTAINER[:ro]
    #[arg(long, value_name = "CONTAINER")]
    pub volumes_from: Vec<String>,
    /// The driver of volumes that are named by -v; there is `local`
    #[arg(long, value_name = "DRIVER")]
    pub volume_driver: Option<String>,
}

impl VolumeFlags {
    /// `-v`, with whole paths.
    pub fn volumes(&self) -> Vec<String> {
        self.volume.iter().map(|text| absolute_source(text)).collect()
    }

    /// `--mount`, with whole paths.
    pub fn mounts(&self) -> Vec<String> {
        self.mount.iter().map(|text| absolute_field(text)).collect()
    }
}

/// A source that begins with a dot, made whole.
fn absolute_field(flag: &str) -> String {
    let whole = |field: &str| {
        for key in ["src=", "source="] {
            if let Some(path) = field.strip_prefix(key)
                && (path == "." || path == ".." || path.starts_with("./") || path.starts_with("../"))
            {
                let path = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
                return format!("{key}{}", path.display());
            }
        }
        field.to_owned()
    };
    flag.split(',').map(whole).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_beside_us_become_absolute() {
        let here = std::env::current_dir().expect("a folder");
        assert_eq!(
            absolute_field("type=bind,src=./a,dst=/b"),
            format!("type=bind,src={}/a,dst=/b", here.display())
        );
        assert_eq!(absolute_field("src=name,dst=./b"), "src=name,dst=./b");
    }
}
