//! `--gpus`, as names of devices.

use serde::{Deserialize, Serialize};

use super::{Library, refused};
use crate::run_error::RunError;

/// The kinds whose devices count as graphics processors, the usual one first.
const KINDS: [(&str, &str); 2] = [("nvidia", "nvidia.com/gpu"), ("amd", "amd.com/gpu")];

/// What `--gpus` asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuRequest {
    /// Whose; any when empty.
    pub driver: String,
    /// How many, -1 for all, where none is named.
    pub count: i64,
    /// Which.
    pub devices: Vec<String>,
    /// What they are wanted for, besides `gpu`.
    pub capabilities: Vec<String>,
}

/// Reads `all`, `2` or `device=0,driver=nvidia,capabilities=compute`; a value with commas stands in quotes.
///
/// # Errors
/// What is wrong, in Docker's words.
pub fn parse_gpus(text: &str) -> Result<GpuRequest, String> {
    let mut request = GpuRequest::default();
    let count = |text: &str| match text {
        "all" => Ok(-1),
        text => text
            .parse::<i64>()
            .ok()
            .filter(|count| *count >= 0)
            .ok_or_else(|| format!("invalid count ({text}): value must be either \"all\" or an integer")),
    };
    let mut counted = false;
    for field in fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some(pair) => pair,
            None => ("count", field.as_str()),
        };
        let list = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
        match key {
            "count" => {
                request.count = count(value)?;
                counted = true;
            }
            "driver" => value.clone_into(&mut request.driver),
            "device" => request.devices = list(),
            "capabilities" => {
                request.capabilities = list().into_iter().filter(|word| word != "gpu").collect()
            }
            // They are for a vendor's runtime; the files say what there is.
            "options" => {}
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if counted && !request.devices.is_empty() {
        return Err("cannot set both Count and DeviceIDs on device request".to_owned());
    }
    if !counted && request.devices.is_empty() {
        request.count = 1;
    }
    Ok(request)
}

/// Fields between commas; quotes hold a field together.
fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut found = vec![String::new()];
    let mut quoted = false;
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => found.push(String::new()),
            letter => {
                if let Some(last) = found.last_mut() {
                    last.push(letter);
                }
            }
        }
    }
    match quoted {
        true => Err("a quote is not closed".to_owned()),
        false => Ok(found),
    }
}

impl GpuRequest {
    /// The names of the devices.
    pub(crate) fn names(&self, library: &Library) -> Result<Vec<String>, RunError> {
        if self.driver == "cdi" {
            return Ok(self.devices.clone());
        }
        let mut kinds = KINDS
            .iter()
            .filter(|(driver, _)| self.driver.is_empty() || *driver == self.driver);
        let Some((_, kind)) = kinds.find(|(_, kind)| library.has(kind)) else {
            let mut capabilities = vec!["gpu"];
            capabilities.extend(self.capabilities.iter().map(String::as_str));
            return Err(refused(
                format!(
                    "--gpus: could not select device driver {:?} with capabilities: [[{}]]",
                    self.driver,
                    capabilities.join(" ")
                ),
                "no file in /etc/cdi or /var/run/cdi describes nvidia.com/gpu or amd.com/gpu; for NVIDIA \
                 `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml` writes one",
            ));
        };
        let named = |device: &String| match super::is_name(device) {
            true => device.clone(),
            false => format!("{kind}={device}"),
        };
        Ok(match self.count {
            _ if !self.devices.is_empty() => self.devices.iter().map(named).collect(),
            -1 => vec![format!("{kind}=all")],
            count => (0..count).map(|number| format!("{kind}={number}")).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_asked_for_in_many_ways() {
        let read = |text: &str| parse_gpus(text).map(|request| (request.count, request.devices));
        assert_eq!(read("all"), Ok((-1, vec![])));
        assert_eq!(read("2"), Ok((2, vec![])));
        assert_eq!(read("device=0"), Ok((0, vec!["0".into()])));
        assert_eq!(read("\"device=0,2\""), Ok((0, vec!["0".into(), "2".into()])));
        assert_eq!(
            read("driver=nvidia,\"capabilities=compute,utility\""),
            Ok((1, vec![]))
        );
        for wrong in ["foo=bar", "some", "-2", "2,device=0", "\"device=0"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
