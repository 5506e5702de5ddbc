//! What this host's control groups are, from `/proc`.

use super::CgroupPlan;
use crate::spec::IdMap;
use coil_sys::{file, process};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// The controllers that a container has a group of under v1.
const VERSION1: [&str; 8] = [
    "memory", "cpu", "cpuacct", "pids", "devices", "freezer", "cpuset", "blkio",
];

/// The controllers that limits need under v2.
const VERSION2: [&str; 5] = ["cpu", "cpuset", "memory", "pids", "io"];

/// Mounted hierarchies, and where this process is in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Mount point of each v1 controller.
    pub version1: BTreeMap<String, PathBuf>,
    /// Mount point of the v2 hierarchy, and its controllers.
    pub version2: Option<(PathBuf, BTreeSet<String>)>,
    /// This process's group in the v2 hierarchy.
    pub own: PathBuf,
    /// Whether this process is root on the host.
    pub root: bool,
}

impl Facts {
    /// Reads them from this host.
    pub fn read() -> io::Result<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut facts = Self::parse(&mounts, &own);
        // Root of a household is an ordinary user to the machine.
        let map = IdMap::of_process(Path::new("/proc/self"))?;
        facts.root = process::effective_uid() == 0 && map.root_is().is_none();
        if let Some((mount, controllers)) = &mut facts.version2 {
            let text = std::fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
            controllers.extend(text.split_ascii_whitespace().map(str::to_owned));
        }
        Ok(facts)
    }

    /// Reads the text of `mountinfo` and `cgroup` (proc(5), cgroups(7)).
    pub fn parse(mounts: &str, own: &str) -> Self {
        let mut facts = Self::default();
        for line in mounts.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let Some(point) = left.split(' ').nth(4).map(PathBuf::from) else {
                continue;
            };
            let right: Vec<&str> = right.split(' ').collect();
            match right.as_slice() {
                ["cgroup2", ..] if facts.version2.is_none() => {
                    facts.version2 = Some((point, BTreeSet::new()));
                }
                ["cgroup", _, options, ..] => {
                    for controller in options.split(',').filter(|o| VERSION1.contains(o)) {
                        facts
                            .version1
                            .entry(controller.to_owned())
                            .or_insert_with(|| point.clone());
                    }
                }
                _ => {}
            }
        }
        let path = own
            .lines()
            .find_map(|line| line.strip_prefix("0::"))
            .unwrap_or("/");
        facts.own = PathBuf::from(path);
        facts
    }

    pub(super) fn plan(&self, id: &str) -> CgroupPlan {
        match &self.version2 {
            Some((mount, controllers)) if self.version1.is_empty() || controllers.contains("memory") => {
                self.plan_version2(mount, controllers, id)
            }
            _ if self.version1.is_empty() => CgroupPlan::None {
                reason: "no control groups are mounted".to_owned(),
            },
            _ if !self.root => CgroupPlan::None {
                reason:
                    "control groups are version 1 here, where an ordinary user has none; run as root for it"
                        .to_owned(),
            },
            _ => CgroupPlan::V1 {
                controllers: self
                    .version1
                    .iter()
                    .map(|(controller, mount)| (controller.clone(), mount.join("coil").join(id)))
                    .collect(),
            },
        }
    }

    fn plan_version2(&self, mount: &Path, controllers: &BTreeSet<String>, id: &str) -> CgroupPlan {
        let wanted = |available: &BTreeSet<String>| {
            VERSION2
                .iter()
                .filter(|c| available.contains(**c))
                .map(|c| (*c).to_owned())
                .collect()
        };
        if self.root {
            let group = mount.join("coil").join(id);
            return CgroupPlan::V2 {
                group,
                controllers: wanted(controllers),
                depth: 2,
            };
        }
        // The highest group above ours that was handed to this user: systemd's user@UID.service.
        let own = mount.join(self.own.strip_prefix("/").unwrap_or(&self.own));
        let delegated = own
            .ancestors()
            .take_while(|directory| directory.starts_with(mount) && *directory != mount)
            .filter(|directory| {
                file::may_write(directory).is_ok() && file::may_write(&directory.join("cgroup.procs")).is_ok()
            })
            .last();
        match delegated {
            None => CgroupPlan::None {
                reason: "no control group was handed to this user (systemd does with Delegate=yes)"
                    .to_owned(),
            },
            Some(directory) => {
                let text = std::fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
                let available = text.split_ascii_whitespace().map(str::to_owned).collect();
                let group = directory.join("coil").join(id);
                CgroupPlan::V2 {
                    group,
                    controllers: wanted(&available),
                    depth: 2,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn a_hybrid_host_is_version_1() {
        let mut facts = Facts::parse(HYBRID, "5:memory:/a\n0::/\n");
        facts.root = true;
        // A controller that is in no hierarchy of version 1 shows up here; it doesn't make the host version 2.
        facts
            .version2
            .as_mut()
            .expect("mounted")
            .1
            .insert("hugetlb".to_owned());
        let CgroupPlan::V1 { controllers } = facts.plan("ID") else {
            panic!("not version 1")
        };
        let found: Vec<(&str, &str)> = controllers
            .iter()
            .map(|(c, p)| (c.as_str(), p.to_str().expect("text")))
            .collect();
        assert_eq!(
            found,
            [
                ("cpu", "/sys/fs/cgroup/cpu,cpuacct/coil/ID"),
                ("cpuacct", "/sys/fs/cgroup/cpu,cpuacct/coil/ID"),
                ("memory", "/sys/fs/cgroup/memory/coil/ID"),
            ]
        );
        let plan = facts.plan("ID");
        assert_eq!(plan.directories().len(), 2);
        assert_eq!(plan.lacks("memory"), None);
        assert!(plan.lacks("pids").is_some());
        facts.root = false;
        assert!(
            facts
                .plan("ID")
                .lacks("memory")
                .expect("a reason")
                .contains("version 1")
        );
    }

    #[test]
    fn a_pure_host_is_version_2() {
        let mut facts = Facts::parse(
            "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "0::/user.slice\n",
        );
        facts.root = true;
        if let Some((_, controllers)) = &mut facts.version2 {
            controllers.extend(["memory".to_owned(), "pids".to_owned(), "rdma".to_owned()]);
        }
        let plan = facts.plan("ID");
        assert_eq!(plan.directories(), [Path::new("/sys/fs/cgroup/coil/ID")]);
        assert_eq!(plan.lacks("memory"), None);
        assert!(plan.lacks("cpu").is_some());
        assert_eq!(facts.own, Path::new("/user.slice"));
    }
}
