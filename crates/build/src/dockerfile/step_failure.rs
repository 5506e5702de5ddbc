//! What to do about a step whose program did not end well, where that can be told.

use crate::executor::{Step, StepEnd};

/// The advice for a failed step, by what it printed last and how it ended.
pub(super) fn help_for(step: &Step, command: &str, tail: &[String], end: StepEnd) -> Option<String> {
    let said = |text: &str| tail.iter().any(|line| line.contains(text));
    if end.out_of_memory {
        return Some(match step.limits.memory {
            Some(bytes) => format!(
                "it had {} (--memory {}): give it more, or let it do less at once",
                plain_size(bytes),
                plain_size(bytes)
            ),
            None => "give the step more memory, or let it do less at once".into(),
        });
    }
    if command.starts_with("/bin/sh -c")
        && command.contains("<(")
        && (said("Syntax error") || said("syntax error"))
    {
        return Some(
            "`<(…)` is bash's, and this step's shell is sh: write SHELL [\"/bin/bash\", \"-c\"] before it"
                .into(),
        );
    }
    if said("No space left on device") || said("Disk quota exceeded") {
        let folders: Vec<&str> = step
            .memory_folders
            .iter()
            .map(|(target, _)| target.as_str())
            .collect();
        return Some(match folders.is_empty() {
            true => {
                "the disk is full: free some space, for one with `coil builder prune`, or choose another data root with `--root DIR`".into()
            }
            false => format!(
                "either the disk is full, which `coil builder prune` helps, or {} is, which --mount=type=tmpfs,size=… makes larger",
                folders.join(", ")
            ),
        });
    }
    if said("Temporary failure in name resolution") || said("Could not resolve") {
        return Some("the step reaches no name server; `--network host` uses the host's network".into());
    }
    match end.code {
        127 if said("not found") => {
            Some("the image has no such program: install it in a step before this one".into())
        }
        137 => Some(
            "SIGKILL ended it: something in the step sent that, or the machine's memory was used up, which `dmesg` tells"
                .into(),
        ),
        139 => Some("SIGSEGV ended it: the program crashed, often as it was built for another processor".into()),
        132 => Some("SIGILL ended it: the program was built for a newer processor than this machine's".into()),
        134 => Some("SIGABRT ended it: the program gave up; what it printed last says why".into()),
        143 => Some("SIGTERM ended it: something in the step sent that".into()),
        _ => None,
    }
}

/// Bytes as `--memory` takes them.
fn plain_size(bytes: u64) -> String {
    for (factor, letter) in [(1 << 30, 'g'), (1 << 20, 'm'), (1 << 10, 'k')] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{letter}", bytes / factor);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use coil_oci::Arch;

    #[test]
    fn failures_that_have_a_known_reason() {
        let mut step = Step::new(Arch::Amd64, Vec::new(), "upper".into(), Vec::new());
        let end = |code, out_of_memory| StepEnd { code, out_of_memory };
        let tail = ["/bin/sh: 1: Syntax error: \"(\" unexpected".to_owned()];
        let help = help_for(&step, "/bin/sh -c cat <(echo a)", &tail, end(2, false)).unwrap();
        assert!(help.contains("bash"));
        assert_eq!(help_for(&step, "/bin/sh -c false", &[], end(1, false)), None);
        let killed = help_for(&step, "/bin/sh -c x", &[], end(137, false)).unwrap();
        assert!(killed.starts_with("SIGKILL"), "{killed}");
        step.limits.memory = Some(64 << 20);
        let help = help_for(&step, "x", &[], end(137, true)).unwrap();
        assert!(help.contains("--memory 64m"), "{help}");
        assert_eq!(plain_size(1025), "1025");
    }
}
