//! Facts of the user: rights, user namespaces, subordinate ids, and the mounts that go with them.

use super::system::read;
use super::{Fact, ProbeSettings};
use crate::subordinate_ids;
use coil_sys::namespace_trial::{Trial, try_namespaces};
use coil_sys::{privilege, process};
use std::fs;
use std::io;

pub(super) fn facts(settings: &ProbeSettings, root: bool) -> Vec<Fact> {
    let mut facts = vec![rights(root)];
    let user = attempt(settings, true);
    facts.push(user_namespaces(&user));
    if root {
        facts.push(overlay("overlay mounts", &attempt(settings, false), false));
    }
    facts.push(overlay("overlay mounts of users", &user, true));
    facts.push(subordinate_ids(settings, root));
    facts
}

/// Tries in a scratch directory that is there only meanwhile.
fn attempt(settings: &ProbeSettings, user: bool) -> io::Result<Trial> {
    let scratch = settings
        .scratch
        .join(format!("coil-doctor-{}-{user}", std::process::id()));
    fs::create_dir(&scratch)?;
    let outcome = try_namespaces(user, &scratch);
    // Empty out here: the child's mounts were its own.
    let _ = fs::remove_dir(&scratch);
    outcome
}

fn rights(root: bool) -> Fact {
    let name = "rights";
    let sets = privilege::capabilities()
        .map(|sets| sets.effective)
        .unwrap_or_default();
    let has = |number: u32| sets & 1 << number != 0;
    // linux/capability.h
    let wanted = [
        (21, "CAP_SYS_ADMIN"),
        (12, "CAP_NET_ADMIN"),
        (7, "CAP_SETUID"),
        (6, "CAP_SETGID"),
        (0, "CAP_CHOWN"),
        (27, "CAP_MKNOD"),
    ];
    let missing: Vec<&str> = wanted
        .into_iter()
        .filter(|(number, _)| !has(*number))
        .map(|(_, name)| name)
        .collect();
    match (root, missing.is_empty()) {
        (true, true) if has(24) => Fact::yes(name, "root, with all capabilities that containers need"),
        (true, true) => Fact::partly(
            name,
            "root, without CAP_SYS_RESOURCE",
            "limits of open files and the like can't be raised above this process's own",
            "start coil with higher limits (`ulimit -n`)",
        ),
        (true, false) => Fact::partly(
            name,
            format!("root, without {}", missing.join(", ")),
            "containers run as an ordinary user's would, or not at all",
            "give the surrounding container or service these capabilities",
        ),
        (false, _) => Fact::partly(
            name,
            format!("user {}", process::effective_uid()),
            "containers have the user's ids and networks, and limits only where the control groups are delegated",
            "run as root for limits on every machine, and for what needs the machine's devices and namespaces",
        ),
    }
}

fn user_namespaces(trial: &io::Result<Trial>) -> Fact {
    let name = "user namespaces";
    let consequence = "containers can't run without root";
    let (stage, error) = match trial {
        Err(error) => ("try", error),
        Ok(Trial {
            namespaces: Some(Err(error)),
            ..
        }) => ("make one", error),
        Ok(Trial {
            maps: Some(Err(error)),
            ..
        }) => ("map its ids", error),
        Ok(Trial {
            tmpfs: Some(Err(error)),
            ..
        }) => ("mount in one", error),
        Ok(Trial {
            others: Some(Err(error)),
            ..
        }) => ("make others inside", error),
        Ok(_) => return Fact::yes(name, "tried: namespaces and mounts work in one"),
    };
    let is = |path: &str, value: &str| read(path).is_some_and(|text| text == value);
    let remedy = if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "run `sysctl -w kernel.unprivileged_userns_clone=1`"
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "run `sysctl -w user.max_user_namespaces=15000`"
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "give coil an AppArmor profile with `userns,`, or run \
         `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
    } else {
        "a sandbox around coil may forbid them (a container's seccomp profile does)"
    };
    Fact::no(name, format!("can't {stage}: {error}"), consequence, remedy)
}

fn overlay(name: &'static str, trial: &io::Result<Trial>, user: bool) -> Fact {
    let consequence = if user {
        "containers of ordinary users can't share image layers"
    } else {
        "image layers can't be mounted"
    };
    let remedy = if user {
        "use Linux 5.11 or later"
    } else {
        "load the module `overlay`; a sandbox around coil may forbid mounts"
    };
    match trial {
        Ok(Trial {
            overlay: Some(Ok(())),
            ..
        }) => Fact::yes(name, "tried: overlayfs on tmpfs"),
        Ok(Trial {
            overlay: Some(Err(error)),
            ..
        }) => Fact::no(name, error.to_string(), consequence, remedy),
        Ok(_) => Fact::no(name, "not tried: the step before failed", consequence, remedy),
        Err(error) => Fact::no(name, error.to_string(), consequence, remedy),
    }
}

fn subordinate_ids(settings: &ProbeSettings, root: bool) -> Fact {
    let name = "subordinate ids";
    if root {
        return Fact::yes(name, "not needed by root");
    }
    let (uid, gid) = (process::effective_uid(), process::effective_gid());
    let map = subordinate_ids::full_map(uid, gid, settings.user_name.as_deref());
    let tried = map.and_then(|map| subordinate_ids::attempt(&map).map(|()| map));
    match tried {
        Ok(map) => Fact::yes(
            name,
            format!("tried: containers have the ids {map}, by newuidmap and newgidmap"),
        ),
        Err(lack) => Fact::partly(
            name,
            lack.to_string(),
            "a container has one id: what changes owners or users there fails (apt-get, useradd, most databases)",
            &lack.help(),
        ),
    }
}
