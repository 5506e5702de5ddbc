//! When a program that ended is started again: the policy, and how long is waited before.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);
/// A program that ran this long begins anew with the first wait.
const HEALTHY: Duration = Duration::from_secs(10);

/// When a program is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When it ended with a code other than 0, so often at most; 0 for no bound.
    OnFailure(u32),
    /// Always, unless it was stopped; after a boot even then.
    Always,
    /// Always, unless it was stopped.
    UnlessStopped,
}

impl RestartPolicy {
    /// Reads `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:N`.
    ///
    /// # Errors
    /// With what is wrong with it, in Docker's words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, count) = match text.split_once(':') {
            Some((name, count)) => (name, Some(count)),
            None => (text, None),
        };
        let most = match count {
            None => 0,
            Some(count) if count.parse::<i64>().is_ok_and(|count| count < 0) => {
                return Err("invalid restart policy: maximum retry count cannot be negative".to_owned());
            }
            Some(count) => count.parse::<u32>().map_err(|_| {
                "invalid restart policy format: maximum retry count must be an integer".to_owned()
            })?,
        };
        let policy = match name {
            "" | "no" => RestartPolicy::No,
            "always" => RestartPolicy::Always,
            "unless-stopped" => RestartPolicy::UnlessStopped,
            "on-failure" => return Ok(RestartPolicy::OnFailure(most)),
            _ => {
                return Err(format!(
                    "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
                ));
            }
        };
        if count.is_some() {
            return Err(
                "invalid restart policy: maximum retry count can only be used with 'on-failure'".to_owned(),
            );
        }
        Ok(policy)
    }

    /// Docker's name of it.
    pub fn name(self) -> &'static str {
        match self {
            RestartPolicy::No => "no",
            RestartPolicy::OnFailure(_) => "on-failure",
            RestartPolicy::Always => "always",
            RestartPolicy::UnlessStopped => "unless-stopped",
        }
    }

    /// How often it is started again at most; 0 for no bound.
    pub fn most(self) -> u32 {
        match self {
            RestartPolicy::OnFailure(most) => most,
            _ => 0,
        }
    }

    /// Whether it is started again after this end.
    pub fn again(self, code: i32, restarts: u32, stopped: bool) -> bool {
        match self {
            RestartPolicy::No => false,
            RestartPolicy::Always => true,
            RestartPolicy::UnlessStopped => !stopped,
            RestartPolicy::OnFailure(most) => code != 0 && (most == 0 || restarts < most),
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestartPolicy::OnFailure(most @ 1..) => write!(f, "on-failure:{most}"),
            other => f.write_str(other.name()),
        }
    }
}

/// The wait before a program is started again, after one that ran for a time.
pub(crate) fn pause(last: Option<Duration>, ran: Duration) -> Duration {
    match last {
        Some(last) if ran < HEALTHY => (last * 2).min(LONGEST),
        _ => FIRST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_as_docker_reads_them() {
        assert_eq!(
            RestartPolicy::parse("on-failure:3"),
            Ok(RestartPolicy::OnFailure(3))
        );
        assert_eq!(RestartPolicy::parse("always"), Ok(RestartPolicy::Always));
        for wrong in ["sometimes", "always:3", "on-failure:x", "no:1"] {
            assert!(RestartPolicy::parse(wrong).is_err(), "{wrong}");
        }
        assert!(RestartPolicy::OnFailure(2).again(1, 1, false));
        assert!(!RestartPolicy::OnFailure(2).again(1, 2, false));
        assert!(!RestartPolicy::OnFailure(0).again(0, 0, false));
        assert!(!RestartPolicy::UnlessStopped.again(1, 0, true));
    }

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew() {
        let mut waits = vec![pause(None, Duration::ZERO)];
        for _ in 0..11 {
            waits.push(pause(waits.last().copied(), Duration::ZERO));
        }
        assert_eq!(waits[1], Duration::from_millis(200));
        assert_eq!(waits[11], LONGEST);
        assert_eq!(pause(Some(LONGEST), Duration::from_secs(11)), FIRST);
    }
}
