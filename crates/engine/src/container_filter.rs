//! Which containers a list shows: Docker's filters of `ps`.

use std::collections::BTreeSet;
use std::fmt;

use coil_oci::Digest;
use coil_runtime::state::Status;
use regex::Regex;

use crate::record::Container;
use crate::{Engine, FindError};

/// The filters that there are.
pub const FILTERS: [&str; 14] = [
    "ancestor", "before", "exited", "expose", "health", "id", "label", "name", "network", "publish", "since",
    "status", "volume", "is-task",
];

/// A filter that can't be used; the words are Docker's.
#[derive(Debug)]
pub enum FilterError {
    /// There is no filter of this name.
    Unknown(String),
    /// Its value is none.
    Value {
        /// The filter.
        name: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// It needs what coil hasn't.
    Refused(&'static str),
    /// It names a container that isn't there.
    Container(FindError),
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterError::Unknown(name) => write!(f, "invalid filter '{name}'"),
            FilterError::Value { name, value, why } if why.is_empty() => {
                write!(f, "invalid filter '{name}=[{value}]'")
            }
            FilterError::Value { name, value, why } => write!(f, "invalid filter '{name}={value}': {why}"),
            FilterError::Refused(name) => write!(f, "the filter {name} is about swarms, which coil hasn't"),
            FilterError::Container(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for FilterError {}

impl FilterError {
    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            FilterError::Unknown(_) => Some(format!("the filters are {}", FILTERS[..13].join(", "))),
            FilterError::Container(error) => Some(error.help().to_owned()),
            FilterError::Value { name, .. } => Some(
                match name.as_str() {
                    "exited" => "give an exit code, such as exited=0",
                    "status" => "give a state, such as status=exited",
                    "health" => "give a state, such as health=healthy",
                    _ => "give a port such as 80, 53/udp or 8000-8010",
                }
                .to_owned(),
            ),
            FilterError::Refused(name) => Some(format!("leave {name} out")),
        }
    }
}

/// Ports that a filter asks for.
#[derive(Debug, PartialEq, Eq)]
struct Ports {
    first: u16,
    last: u16,
    protocol: String,
}

/// The filters of one list: all of them hold, by any one of each one's values (of labels by all).
#[derive(Debug, Default)]
pub struct ContainerFilters {
    ids: Vec<Pattern>,
    names: Vec<Pattern>,
    labels: Vec<String>,
    exits: Vec<i32>,
    states: Vec<String>,
    healths: Vec<String>,
    networks: Vec<String>,
    volumes: Vec<String>,
    published: Vec<Ports>,
    exposed: Vec<Ports>,
    ancestors: Vec<Ancestor>,
    /// Made before this time.
    before: Option<(u64, u32)>,
    /// Made after this time.
    since: Option<(u64, u32)>,
}

/// A text, or an expression that finds it.
#[derive(Debug)]
struct Pattern {
    text: String,
    expression: Option<Regex>,
}

#[derive(Debug)]
struct Ancestor {
    text: String,
    id: Option<Digest>,
    layers: Vec<Digest>,
}

impl Pattern {
    fn new(text: &str) -> Pattern {
        Pattern {
            text: text.to_owned(),
            expression: Regex::new(text).ok(),
        }
    }

    fn finds(&self, text: &str) -> bool {
        self.text == text
            || self
                .expression
                .as_ref()
                .is_some_and(|expression| expression.is_match(text))
    }
}

const STATES: [&str; 7] = [
    "created",
    "running",
    "paused",
    "restarting",
    "removing",
    "exited",
    "dead",
];
const HEALTHS: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];

impl ContainerFilters {
    /// Reads names and values, in the order in which they were given.
    ///
    /// # Errors
    /// When there is no such filter, or its value is none.
    pub fn new(engine: &Engine, pairs: &[(String, String)]) -> Result<ContainerFilters, FilterError> {
        let mut filters = ContainerFilters::default();
        for (name, value) in pairs {
            let bad = |why: &str| FilterError::Value {
                name: name.clone(),
                value: value.clone(),
                why: why.to_owned(),
            };
            match name.as_str() {
                "id" => filters.ids.push(Pattern::new(value)),
                "name" => filters.names.push(Pattern::new(value)),
                "label" => filters.labels.push(value.clone()),
                "exited" => filters.exits.push(
                    value
                        .parse()
                        .map_err(|_| bad(&format!("strconv.Atoi: parsing {value:?}: invalid syntax")))?,
                ),
                "status" if STATES.contains(&value.as_str()) => filters.states.push(value.clone()),
                "status" => {
                    let all = STATES.join(", ");
                    return Err(bad(&format!(
                        "invalid value for state ({value}): must be one of {all}"
                    )));
                }
                "health" if HEALTHS.contains(&value.as_str()) => filters.healths.push(value.clone()),
                "health" => {
                    let all = HEALTHS.join(", ");
                    return Err(bad(&format!(
                        "invalid value for health ({value}): must be one of {all}"
                    )));
                }
                "network" => filters.networks.push(value.clone()),
                "volume" => filters.volumes.push(value.clone()),
                "publish" => filters
                    .published
                    .push(ports(value).ok_or_else(|| bad("no port or range of ports"))?),
                "expose" => filters
                    .exposed
                    .push(ports(value).ok_or_else(|| bad("no port or range of ports"))?),
                "ancestor" => filters.ancestors.push(Ancestor::find(engine, value)),
                "before" | "since" => {
                    let container = engine.container(value).map_err(FilterError::Container)?;
                    let made = Some(container.record.created);
                    if name == "before" {
                        filters.before = made;
                    } else {
                        filters.since = made;
                    }
                }
                "is-task" => return Err(FilterError::Refused("is-task")),
                other => return Err(FilterError::Unknown(other.to_owned())),
            }
        }
        Ok(filters)
    }

    /// Whether they ask for containers that don't run too.
    pub fn name_states(&self) -> bool {
        !self.states.is_empty()
    }

    /// Whether a container passes all filters.
    pub fn pass(&self, engine: &Engine, container: &Container) -> bool {
        let record = &container.record;
        let state = &container.state;
        let any = |patterns: &[Pattern], finds: &dyn Fn(&Pattern) -> bool| {
            patterns.is_empty() || patterns.iter().any(finds)
        };
        let health = state
            .health
            .as_ref()
            .map_or("none", |health| health.status.name());
        any(&self.ids, &|pattern| pattern.finds(&record.id))
            && any(&self.names, &|pattern| {
                pattern.finds(&record.name) || pattern.finds(&format!("/{}", record.name))
            })
            && self.labels.iter().all(|label| match label.split_once('=') {
                Some((key, value)) => record.labels.get(key).is_some_and(|found| found == value),
                None => record.labels.contains_key(label),
            })
            && (self.exits.is_empty()
                || (state.status == Status::Exited && self.exits.contains(&state.exit_code)))
            && (self.states.is_empty()
                || self
                    .states
                    .iter()
                    .any(|wanted| wanted == state_name(state.status)))
            && (self.healths.is_empty() || self.healths.iter().any(|wanted| wanted == health))
            && self.before.is_none_or(|time| record.created < time)
            && self.since.is_none_or(|time| record.created > time)
            && (self.ancestors.is_empty() || self.ancestors.iter().any(|ancestor| ancestor.bore(container)))
            && (self.networks.is_empty() || {
                let names = container.network_names();
                let known = |wanted: &String| {
                    names.contains(wanted.as_str())
                        || engine
                            .network(wanted)
                            .is_ok_and(|network| names.contains(network.name.as_str()))
                };
                self.networks.iter().any(known)
            })
            && (self.volumes.is_empty() || {
                let places = mounted(container);
                self.volumes.iter().any(|wanted| places.contains(wanted.as_str()))
            })
            && (self.published.is_empty() || self.published.iter().any(|ports| publishes(container, ports)))
            && (self.exposed.is_empty() || self.exposed.iter().any(|ports| exposes(container, ports)))
    }
}

impl Ancestor {
    fn find(engine: &Engine, text: &str) -> Ancestor {
        let found = engine.image(text).ok().map(|(_, image)| image);
        Ancestor {
            text: text.to_owned(),
            id: found.as_ref().map(|image| image.id().clone()),
            layers: found
                .map(|image| image.config.rootfs.diff_ids)
                .unwrap_or_default(),
        }
    }

    /// Whether a container's image is this one, or stands on it.
    fn bore(&self, container: &Container) -> bool {
        let record = &container.record;
        match &self.id {
            Some(id) => {
                *id == record.image_id
                    // An image of the same layers is beside it, not above.
                    || (!self.layers.is_empty()
                        && record.diff_ids.len() > self.layers.len()
                        && record.diff_ids.starts_with(&self.layers))
            }
            None => record.image == self.text,
        }
    }
}

/// A state in Docker's word.
pub fn state_name(status: Status) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Running => "running",
        Status::Paused => "paused",
        Status::Restarting => "restarting",
        Status::Exited => "exited",
    }
}

impl Container {
    /// The names of the networks that it is in, or is to be in.
    pub fn network_names(&self) -> BTreeSet<&str> {
        let record = &self.record;
        if record.networks.is_empty() {
            return BTreeSet::from([match record.network.as_str() {
                "default" => "bridge",
                mode => mode,
            }]);
        }
        record
            .networks
            .iter()
            .map(|wish| match wish.network.as_str() {
                "default" => "bridge",
                name => name,
            })
            .collect()
    }
}

/// Names and folders of what is mounted, and where it is.
fn mounted(container: &Container) -> BTreeSet<&str> {
    let points = container.record.points.iter();
    points
        .flat_map(|point| {
            [
                point.name.as_deref(),
                point.source.to_str(),
                Some(point.destination.as_str()),
            ]
        })
        .flatten()
        .filter(|text| !text.is_empty())
        .collect()
}

fn publishes(container: &Container, wanted: &Ports) -> bool {
    container.record.ports.iter().any(|port| {
        port.protocol.to_string() == wanted.protocol && (wanted.first..=wanted.last).contains(&port.host_port)
    })
}

fn exposes(container: &Container, wanted: &Ports) -> bool {
    let record = &container.record;
    let published = record.ports.iter().any(|port| {
        port.protocol.to_string() == wanted.protocol
            && (wanted.first..=wanted.last).contains(&port.container_port)
    });
    let named = |text: &String| {
        ports(text).is_some_and(|port| {
            port.protocol == wanted.protocol && port.first <= wanted.last && wanted.first <= port.last
        })
    };
    published || record.exposed.iter().any(named)
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn ports(text: &str) -> Option<Ports> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && ["tcp", "udp", "sctp"].contains(&protocol)).then(|| Ports {
        first,
        last,
        protocol: protocol.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_may_be_ranges_and_have_protocols() {
        let some = |first, last, protocol: &str| {
            Some(Ports {
                first,
                last,
                protocol: protocol.into(),
            })
        };
        for (text, found) in [
            ("80", some(80, 80, "tcp")),
            ("53/udp", some(53, 53, "udp")),
            ("8000-8010/tcp", some(8000, 8010, "tcp")),
            ("8010-8000", None),
            ("x", None),
            ("80/xyz", None),
            ("70000", None),
        ] {
            assert_eq!(ports(text), found, "{text}");
        }
    }

    #[test]
    fn names_are_found_by_expressions_or_as_they_are() {
        assert!(Pattern::new("^we.$").finds("web") && Pattern::new("e").finds("web"));
        assert!(!Pattern::new("^e").finds("web") && Pattern::new("a(").finds("a("));
    }
}
