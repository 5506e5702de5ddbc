//! Capabilities: names, sets, Podman's defaults, and the order in which a process gives them up.

use coil_sys::privilege::{self, CapabilitySets, Instruction};
use coil_sys::process;
use serde::{Deserialize, Serialize};
use std::io;

macro_rules! capabilities {
    ($($variant:ident $name:literal),* $(,)?) => {
        /// A capability; its place in this list is the kernel's number (capabilities(7)).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "capabilities(7) documents each by this name")]
        pub enum Capability { $(#[serde(rename = $name)] $variant),* }

        /// Every capability with its name, in the kernel's order.
        pub const ALL: &[(Capability, &str)] = &[$((Capability::$variant, $name)),*];
    };
}

capabilities! {
    Chown "CAP_CHOWN",
    DacOverride "CAP_DAC_OVERRIDE",
    DacReadSearch "CAP_DAC_READ_SEARCH",
    Fowner "CAP_FOWNER",
    Fsetid "CAP_FSETID",
    Kill "CAP_KILL",
    Setgid "CAP_SETGID",
    Setuid "CAP_SETUID",
    Setpcap "CAP_SETPCAP",
    LinuxImmutable "CAP_LINUX_IMMUTABLE",
    NetBindService "CAP_NET_BIND_SERVICE",
    NetBroadcast "CAP_NET_BROADCAST",
    NetAdmin "CAP_NET_ADMIN",
    NetRaw "CAP_NET_RAW",
    IpcLock "CAP_IPC_LOCK",
    IpcOwner "CAP_IPC_OWNER",
    SysModule "CAP_SYS_MODULE",
    SysRawio "CAP_SYS_RAWIO",
    SysChroot "CAP_SYS_CHROOT",
    SysPtrace "CAP_SYS_PTRACE",
    SysPacct "CAP_SYS_PACCT",
    SysAdmin "CAP_SYS_ADMIN",
    SysBoot "CAP_SYS_BOOT",
    SysNice "CAP_SYS_NICE",
    SysResource "CAP_SYS_RESOURCE",
    SysTime "CAP_SYS_TIME",
    SysTtyConfig "CAP_SYS_TTY_CONFIG",
    Mknod "CAP_MKNOD",
    Lease "CAP_LEASE",
    AuditWrite "CAP_AUDIT_WRITE",
    AuditControl "CAP_AUDIT_CONTROL",
    Setfcap "CAP_SETFCAP",
    MacOverride "CAP_MAC_OVERRIDE",
    MacAdmin "CAP_MAC_ADMIN",
    Syslog "CAP_SYSLOG",
    WakeAlarm "CAP_WAKE_ALARM",
    BlockSuspend "CAP_BLOCK_SUSPEND",
    AuditRead "CAP_AUDIT_READ",
    Perfmon "CAP_PERFMON",
    Bpf "CAP_BPF",
    CheckpointRestore "CAP_CHECKPOINT_RESTORE",
}

impl Capability {
    /// Reads a name as `--cap-add` takes it: with or without `CAP_`, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        ALL.iter()
            .find(|(_, known)| &known[4..] == bare)
            .map(|(capability, _)| *capability)
    }

    /// The kernel's name, `CAP_…`.
    pub fn name(self) -> &'static str {
        ALL[self as usize].1
    }
}

/// What a container gets by default: Podman's eleven.
///
/// Docker's three others are left out: `MKNOD` and `AUDIT_WRITE` are of no use inside, and `NET_RAW` lets a
/// container forge its neighbours' packets (`ping` works without, through `ping_group_range`).
pub const DEFAULT: [Capability; 11] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Setfcap,
];

/// What a container gets: the default, more (`--cap-add`) and less (`--cap-drop`), where `ALL` is every one.
///
/// # Errors
/// The word that names no capability, in Docker's words.
pub fn adjusted(add: &[String], drop: &[String]) -> Result<Vec<Capability>, String> {
    let is_all = |word: &String| word.eq_ignore_ascii_case("all");
    let parse = |words: &[String], flag: &str| -> Result<Vec<Capability>, String> {
        let parse = |word: &String| {
            Capability::parse(word).ok_or_else(|| {
                let upper = word.to_ascii_uppercase();
                let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
                format!("invalid {flag}: unknown capability: \"CAP_{bare}\"")
            })
        };
        words.iter().filter(|word| !is_all(word)).map(parse).collect()
    };
    let (more, less) = (parse(add, "CapAdd")?, parse(drop, "CapDrop")?);
    let base: Vec<Capability> = if add.iter().any(is_all) {
        ALL.iter().map(|(capability, _)| *capability).collect()
    } else if drop.iter().any(is_all) {
        return Ok(more);
    } else {
        DEFAULT.to_vec()
    };
    let mut kept: Vec<Capability> = base
        .into_iter()
        .filter(|c| !less.contains(c))
        .chain(more)
        .collect();
    kept.sort();
    kept.dedup();
    Ok(kept)
}

/// A set of capabilities, as the kernel's bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// The set of these.
    pub fn of(capabilities: &[Capability]) -> Self {
        Self(capabilities.iter().fold(0, |bits, c| bits | 1 << *c as u32))
    }

    /// All that there are, and those that a newer kernel may have.
    pub fn everything() -> Self {
        Self(u64::MAX)
    }

    /// Whether one is in it.
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & 1 << capability as u32 != 0
    }

    /// The kernel's bits.
    pub fn bits(self) -> u64 {
        self.0
    }
}

/// Installs the filter and gives up every capability that is not in `keep`, in the only order that works.
///
/// The filter comes first, as installing it without no-new-privileges needs CAP_SYS_ADMIN; then the bounding
/// set, which needs CAP_SETPCAP; then the rest. The inheritable and ambient sets end empty (CVE-2022-24769).
/// The caller has changed its user already, with capabilities kept. Any user but root ends with none in force, as
/// otherwise it could run a program that is root's alone.
pub fn confine(keep: CapabilitySet, filter: Option<&[Instruction]>) -> io::Result<()> {
    let now = privilege::capabilities()?;
    privilege::clear_ambient()?;
    privilege::set_capabilities(CapabilitySets {
        effective: now.permitted,
        inheritable: 0,
        ..now
    })?;
    if let Some(filter) = filter {
        privilege::install_filter(filter)?;
    }
    for number in 0..64 {
        match privilege::bounded(number) {
            None => break,
            Some(true) if keep.0 & 1 << number == 0 => privilege::drop_bounded(number)?,
            Some(_) => {}
        }
    }
    let left = if process::effective_uid() == 0 {
        keep.0 & now.permitted
    } else {
        0
    };
    privilege::set_capabilities(CapabilitySets {
        effective: left,
        permitted: left,
        inheritable: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_docker_reads_them() {
        for name in ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_net_admin"] {
            assert_eq!(Capability::parse(name), Some(Capability::NetAdmin), "{name}");
        }
        assert_eq!(Capability::parse("CAP_NONSENSE"), None);
        assert_eq!(
            Capability::parse("checkpoint_restore").map(|c| c as u32),
            Some(40)
        );
        assert_eq!(Capability::SysAdmin as u32, 21);
    }

    #[test]
    fn sets_are_adjusted_as_docker_does() {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let set = |add: &[&str], drop: &[&str]| adjusted(&words(add), &words(drop)).map(|set| set.len());
        assert_eq!(set(&[], &[]), Ok(11));
        assert_eq!(set(&["NET_ADMIN", "cap_chown"], &["KILL"]), Ok(11));
        assert_eq!(set(&[], &["ALL"]), Ok(0));
        assert_eq!(set(&["SYS_ADMIN"], &["all"]), Ok(1));
        assert_eq!(set(&["ALL"], &["SYS_ADMIN"]), Ok(40));
        assert_eq!(
            set(&["FOO"], &[]),
            Err("invalid CapAdd: unknown capability: \"CAP_FOO\"".into())
        );
    }

    #[test]
    fn the_default_set_is_podmans() {
        assert_eq!(CapabilitySet::of(&DEFAULT).bits(), 0x8004_05fb);
    }
}
