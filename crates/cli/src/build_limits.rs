//! Flags of builds that docker's classic builder has: limits of steps, and words that mean nothing where nothing is left over.

use clap::Args;
use coil_build::executor::{StepGroup, StepLimits};
use coil_engine::quantity::bytes;

use crate::output;
use crate::quantity;
use crate::report::Failure;

/// The flags.
#[derive(Debug, Args)]
pub struct LimitsOfSteps {
    /// The most memory that a step may use, such as 2g
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// The most memory and swap together, -1 for no limit
    #[arg(long, value_name = "SIZE")]
    memory_swap: Option<String>,
    /// The share of the processors where several want them; 1024 is the rule
    #[arg(short, long, value_name = "NUMBER")]
    cpu_shares: Option<u64>,
    /// Microseconds of a scheduling period
    #[arg(long, value_name = "NUMBER")]
    cpu_period: Option<u64>,
    /// Microseconds of processor time in each period
    #[arg(long, value_name = "NUMBER")]
    cpu_quota: Option<i64>,
    /// The processors that steps run on, such as 0-2
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// The memory nodes that steps use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// The control group that steps' own are made in
    #[arg(long, value_name = "GROUP")]
    cgroup_parent: Option<String>,
    // Contexts are not sent anywhere, and no step's container is left: all four are so in any case.
    #[arg(long, hide = true)]
    compress: bool,
    #[arg(long, hide = true)]
    force_rm: bool,
    #[arg(long, hide = true)]
    rm: bool,
    #[arg(long, hide = true)]
    stream: bool,
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    disable_content_trust: Option<String>,
    #[arg(long, value_name = "KIND", hide = true)]
    isolation: Option<String>,
    #[arg(long, value_name = "OPTION", hide = true)]
    security_opt: Vec<String>,
    #[arg(long, hide = true)]
    squash: bool,
    #[arg(long, value_name = "POLICY", hide = true)]
    policy: Vec<String>,
    // There is no more to tell.
    #[arg(short = 'D', hide = true)]
    verbose: bool,
}

impl LimitsOfSteps {
    /// What steps may use, and where their control groups are.
    ///
    /// # Errors
    /// What can't be honoured, by its name.
    pub fn read(&self) -> Result<(StepLimits, StepGroup), Failure> {
        let refused = |what: String, help: &str| Err(Failure::new(what).help(help).code(125));
        if let Some(kind) = self
            .isolation
            .as_deref()
            .filter(|kind| !matches!(*kind, "" | "default"))
        {
            return refused(
                format!("--isolation {kind} cannot be honoured: steps are containers of Linux"),
                "leave it out",
            );
        }
        if let Some(option) = self.security_opt.first() {
            return refused(
                format!("--security-opt {option} cannot be honoured: steps have one profile"),
                "write RUN --security=insecure for the step that needs more, and give --allow security.insecure",
            );
        }
        if self.squash {
            return refused(
                "--squash cannot be honoured: BuildKit has no such thing either".into(),
                "copy what is needed into a last stage of its own: COPY --from=STAGE",
            );
        }
        if let Some(policy) = self.policy.first() {
            return refused(
                format!("--policy {policy} cannot be honoured: coil reads no policies"),
                "pin what the Dockerfile takes: FROM name@sha256:…, ADD --checksum=…",
            );
        }
        if self
            .disable_content_trust
            .as_deref()
            .is_some_and(|text| matches!(text, "false" | "0" | "f"))
        {
            return refused(
                "--disable-content-trust=false cannot be honoured: coil asks no notary".into(),
                "pin images by their digest: FROM name@sha256:…",
            );
        }
        let memory = self.memory.as_deref().map(quantity::memory_flag).transpose()?;
        let memory_swap = match self.memory_swap.as_deref() {
            None => None,
            Some("-1") => Some(-1),
            Some(text) => match bytes(text).and_then(|bytes| i64::try_from(bytes).ok()) {
                Some(bytes) => Some(bytes),
                None => return refused(format!("invalid size: '{text}'"), "give a size such as 1g, or -1"),
            },
        };
        match (memory_swap, memory) {
            (Some(1..), None) => {
                return refused(
                    "You should always set the Memory limit when using Memoryswap limit, see usage".into(),
                    "give --memory too",
                );
            }
            (Some(both @ 1..), Some(memory)) if i64::try_from(memory).is_ok_and(|memory| both < memory) => {
                return refused(
                    "Minimum memoryswap limit should be larger than memory limit, see usage".into(),
                    "--memory-swap is memory and swap together: give at least as much as --memory",
                );
            }
            _ => {}
        }
        if self
            .cpu_period
            .is_some_and(|period| period != 0 && !(1000..=1_000_000).contains(&period))
        {
            return refused(
                "CPU cfs period cannot be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)".into(),
                "give microseconds, such as --cpu-period 100000",
            );
        }
        let period = self.cpu_period.filter(|period| *period > 0).unwrap_or(100_000);
        let quota = self
            .cpu_quota
            .and_then(|quota| u64::try_from(quota).ok())
            .filter(|quota| *quota > 0);
        if quota.is_some_and(|quota| quota < 1000) {
            return refused(
                "CPU cfs quota cannot be less than 1ms (i.e. 1000)".into(),
                "give microseconds, such as --cpu-quota 50000",
            );
        }
        if self
            .cgroup_parent
            .iter()
            .any(|parent| parent.split('/').any(|part| part == ".."))
        {
            return refused(
                "--cgroup-parent may not lead upwards".into(),
                "give a group's own name",
            );
        }
        for (flag, list) in [
            ("--cpuset-cpus", &self.cpuset_cpus),
            ("--cpuset-mems", &self.cpuset_mems),
        ] {
            if let Some(list) = list.as_deref().filter(|list| !is_list(list)) {
                return refused(
                    format!("invalid value {list} for {flag}"),
                    "give numbers and spans of them, such as 0,2-3",
                );
            }
        }
        if self.stream {
            output::error_line("note: --stream changes nothing: the context is read where it is");
        }
        let limits = StepLimits {
            memory,
            memory_swap,
            cpus_milli: quota.map(|quota| (quota * 1000 / period).max(1)),
            cpu_shares: self.cpu_shares.filter(|shares| *shares > 0),
            ..StepLimits::default()
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let group = StepGroup {
            parent: text(&self.cgroup_parent),
            processors: text(&self.cpuset_cpus),
            memory_nodes: text(&self.cpuset_mems),
        };
        Ok((limits, group))
    }
}

/// Numbers and spans of them, between commas.
fn is_list(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.split(',').all(|part| match part.split_once('-') {
        Some((first, last)) => is_number(first) && is_number(last),
        None => is_number(part),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors() {
        assert!(is_list("0") && is_list("0-2,5") && !is_list("x") && !is_list("0,") && !is_list("1-"));
    }
}
