//! Platforms (OCI image specification, "Image Index", property `platform`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A processor architecture that images are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

impl Arch {
    /// The architecture that this program was compiled for.
    pub fn host() -> Arch {
        if cfg!(target_arch = "aarch64") {
            Arch::Arm64
        } else {
            Arch::Amd64
        }
    }

    /// The name that OCI and Debian use: `amd64`, `arm64`.
    pub fn name(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }

    /// The name that Debian uses; the same as OCI's for both.
    pub fn debian(self) -> &'static str {
        self.name()
    }

    /// The name that `uname -m` and wheel tags use: `x86_64`, `aarch64`.
    pub fn machine(self) -> &'static str {
        match self {
            Arch::Amd64 => "x86_64",
            Arch::Arm64 => "aarch64",
        }
    }

    /// The GNU triplet without the vendor, as in Debian's multiarch folders.
    pub fn triplet(self) -> &'static str {
        match self {
            Arch::Amd64 => "x86_64-linux-gnu",
            Arch::Arm64 => "aarch64-linux-gnu",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An operating system and architecture.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// The processor, `amd64`.
    pub architecture: String,
    /// The system, `linux`.
    pub os: String,
    /// The processor's variant, `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A platform that cannot be read or built for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformError {
    text: String,
}

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a platform that coil can build for: linux/amd64 and linux/arm64 are",
            self.text.escape_debug()
        )
    }
}

impl std::error::Error for PlatformError {}

impl Platform {
    /// Linux on an architecture.
    pub fn linux(arch: Arch) -> Platform {
        Platform {
            architecture: arch.name().into(),
            os: "linux".into(),
            variant: None,
        }
    }

    /// The architecture, where it is one that images are made for.
    pub fn arch(&self) -> Option<Arch> {
        match (self.os.as_str(), self.architecture.as_str()) {
            ("linux", "amd64") => Some(Arch::Amd64),
            ("linux", "arm64") => Some(Arch::Arm64),
            _ => None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Reads `linux/amd64`, `linux/arm64`, `linux/arm64/v8`, and the usual other names of the two.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || PlatformError { text: text.into() };
        let name = text.strip_prefix("linux/").unwrap_or(text);
        match name {
            "amd64" | "x86_64" | "x86-64" => Ok(Platform::linux(Arch::Amd64)),
            "arm64" | "aarch64" | "arm64/v8" => Ok(Platform::linux(Arch::Arm64)),
            _ => Err(bad()),
        }
    }
}
