//! `coil port`: where a container's published ports are reached.

use clap::Args;
use coil_engine::inspect::port_table;

use crate::output;
use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil port`.
#[derive(Debug, Args)]
pub struct Port {
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// One port of its own: PORT[/udp]
    #[arg(value_name = "PORT")]
    port: Option<String>,
}

impl Port {
    /// Prints `80/tcp -> 0.0.0.0:8080`, or the host's side alone when a port is named.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        let container = engine.container(&self.container)?;
        let mut table = Vec::new();
        if container.is_running() {
            table.extend(port_table(&container.state.ports));
        }
        // By number, as Docker lists them.
        let number = |name: &str| name.split('/').next().and_then(|port| port.parse::<u32>().ok());
        table.sort_by(|(a, _), (b, _)| (number(a), a).cmp(&(number(b), b)));
        let place = |ip: &str, port: u16| match ip.contains(':') {
            true => format!("[{ip}]:{port}"),
            false => format!("{ip}:{port}"),
        };
        let Some(wanted) = &self.port else {
            for (name, places) in &table {
                for place in in_order(places.iter().map(|(ip, port)| place(ip, *port))) {
                    output::line(&format!("{name} -> {place}"));
                }
            }
            return Ok(0);
        };
        let (port, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
        if port.parse::<u16>().map_or(true, |port| port == 0) {
            return Err(
                Failure::new(format!("invalid port '{port}'")).help("give a port such as 80 or 53/udp")
            );
        }
        let name = format!("{port}/{}", protocol.to_ascii_lowercase());
        let found = table.iter().find(|(key, _)| *key == name);
        let Some((_, places)) = found else {
            return Err(Failure::new(format!(
                "No public port '{wanted}' published for {}",
                self.container
            ))
            .help(format!("`coil port {}` lists those that are", self.container)));
        };
        for place in in_order(places.iter().map(|(ip, port)| place(ip, *port))) {
            output::line(&place);
        }
        Ok(0)
    }
}

/// Places as Docker lists them: by their text, in which a number counts as one.
fn in_order(places: impl Iterator<Item = String>) -> Vec<String> {
    let key = |place: &String| -> Vec<(bool, u64, String)> {
        let mut parts: Vec<(bool, u64, String)> = Vec::new();
        let mut rest = place.as_str();
        while let Some(first) = rest.chars().next() {
            let of_digits = first.is_ascii_digit();
            let end = rest
                .find(|c: char| c.is_ascii_digit() != of_digits)
                .unwrap_or(rest.len());
            let (part, behind) = rest.split_at(end);
            parts.push((!of_digits, part.parse().unwrap_or(0), part.to_owned()));
            rest = behind;
        }
        parts
    };
    let mut places: Vec<String> = places.collect();
    places.sort_by_key(key);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_in_the_order() {
        let places = [
            "[::]:80",
            "127.0.0.1:80",
            "0.0.0.0:800",
            "0.0.0.0:80",
            "10.0.0.1:1",
        ];
        let ordered = in_order(places.into_iter().map(str::to_owned));
        assert_eq!(
            ordered,
            [
                "0.0.0.0:80",
                "0.0.0.0:800",
                "10.0.0.1:1",
                "127.0.0.1:80",
                "[::]:80"
            ]
        );
    }
}
