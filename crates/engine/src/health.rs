//! Health checks: what the image and the user say of them.

use std::time::Duration;

use coil_oci::ContainerConfig;
use coil_runtime::spec::HealthCheck;
use serde::{Deserialize, Serialize};

use crate::run_error::RunError;

/// A health check in the words of an image's configuration; times in nanoseconds, 0 for Docker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", "…"]`.
    pub test: Vec<String>,
    /// The time between two probes.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// The time that a probe may take.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: u64,
    /// The time in which failures don't count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// The time between two probes while that lasts.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: u64,
    /// So many failures in a row mean that it isn't well.
    #[serde(skip_serializing_if = "is_none")]
    pub retries: u32,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_none(value: &u32) -> bool {
    *value == 0
}

/// What the user asked for; what is not given is the image's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthRequest {
    /// The command, for a shell.
    pub command: Option<String>,
    /// The time between two probes.
    pub interval: Option<Duration>,
    /// The time that a probe may take.
    pub timeout: Option<Duration>,
    /// The time in which failures don't count.
    pub start_period: Option<Duration>,
    /// The time between two probes while that lasts.
    pub start_interval: Option<Duration>,
    /// So many failures in a row mean that it isn't well.
    pub retries: Option<u32>,
    /// None at all.
    pub none: bool,
}

/// The image's health check with the user's changes.
pub(crate) fn merged(
    config: &ContainerConfig,
    request: &HealthRequest,
) -> Result<Option<Healthcheck>, RunError> {
    if request.none {
        if *request
            != (HealthRequest {
                none: true,
                ..HealthRequest::default()
            })
        {
            return Err(RunError::Flag {
                message: "--no-healthcheck conflicts with --health-* options".into(),
                help: "leave one of them out".into(),
            });
        }
        return Ok(Some(Healthcheck {
            test: vec!["NONE".into()],
            ..Healthcheck::default()
        }));
    }
    let mut check: Healthcheck = config
        .other
        .get("Healthcheck")
        .and_then(|value| serde_json::from_value(value.clone()).ok())
        .unwrap_or_default();
    if let Some(command) = request.command.as_ref().filter(|command| !command.is_empty()) {
        check.test = vec!["CMD-SHELL".into(), command.clone()];
    }
    for (name, value, field) in [
        ("Interval", request.interval, &mut check.interval),
        ("Timeout", request.timeout, &mut check.timeout),
        ("StartPeriod", request.start_period, &mut check.start_period),
        ("StartInterval", request.start_interval, &mut check.start_interval),
    ] {
        let Some(value) = value else { continue };
        if !value.is_zero() && value < Duration::from_millis(1) {
            return Err(RunError::Refused {
                message: format!("{name} in Healthcheck cannot be less than 1ms"),
                help: Some("give a time such as 30s".into()),
                code: 125,
            });
        }
        *field = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
    }
    check.retries = request.retries.unwrap_or(check.retries);
    Ok((check != Healthcheck::default()).then_some(check))
}

/// What the monitor does, with Docker's defaults; nothing where there is no test.
pub(crate) fn resolved(check: Option<&Healthcheck>, shell: &[String]) -> Option<HealthCheck> {
    let check = check?;
    let args = match check.test.split_first() {
        Some((kind, rest)) if kind == "CMD" && !rest.is_empty() => rest.to_vec(),
        Some((kind, rest)) if kind == "CMD-SHELL" && !rest.is_empty() => {
            let own = ["/bin/sh".to_owned(), "-c".to_owned()];
            let shell = if shell.is_empty() { &own[..] } else { shell };
            shell.iter().chain(rest).cloned().collect()
        }
        _ => return None,
    };
    let or = |value: u64, seconds: u64| match value {
        0 => Duration::from_secs(seconds),
        value => Duration::from_nanos(value),
    };
    Some(HealthCheck {
        args,
        interval: or(check.interval, 30),
        timeout: or(check.timeout, 30),
        start_period: or(check.start_period, 0),
        start_interval: or(check.start_interval, 5),
        retries: if check.retries == 0 { 3 } else { check.retries },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_change_what_the_image_says() {
        let mut config = ContainerConfig::default();
        config.other.insert(
            "Healthcheck".into(),
            serde_json::json!({ "Test": ["CMD", "true"], "Interval": 5_000_000_000_u64 }),
        );
        let request = HealthRequest {
            retries: Some(7),
            ..HealthRequest::default()
        };
        let check = merged(&config, &request).unwrap();
        let done = resolved(check.as_ref(), &[]).unwrap();
        assert_eq!((done.args, done.retries), (vec!["true".to_owned()], 7));
        assert_eq!((done.interval.as_secs(), done.timeout.as_secs()), (5, 30));
        let none = HealthRequest {
            none: true,
            ..HealthRequest::default()
        };
        let check = merged(&config, &none).unwrap();
        assert_eq!(resolved(check.as_ref(), &[]), None);
        assert_eq!(
            merged(&ContainerConfig::default(), &HealthRequest::default()).unwrap(),
            None
        );
        let short = HealthRequest {
            interval: Some(Duration::from_micros(1)),
            ..HealthRequest::default()
        };
        assert!(merged(&config, &short).is_err());
    }
}
