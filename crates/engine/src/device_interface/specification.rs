//! A file that describes devices, in JSON or YAML (CDI specification, 1.0).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Number, Value};
use yaml_rust2::{Yaml, YamlLoader};

/// A file.
#[derive(Debug, Deserialize)]
pub(super) struct Specification {
    /// `vendor.com/class`.
    pub(super) kind: String,
    /// The devices.
    #[serde(default)]
    pub(super) devices: Vec<Device>,
    /// What goes with each of them.
    #[serde(default, rename = "containerEdits")]
    pub(super) container_edits: Edits,
}

/// A device.
#[derive(Debug, Deserialize)]
pub(super) struct Device {
    /// Its name.
    pub(super) name: String,
    /// What a container gets.
    #[serde(default, rename = "containerEdits")]
    pub(super) container_edits: Edits,
}

/// What a container gets.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Edits {
    /// Variables.
    pub(super) env: Vec<String>,
    /// Nodes.
    pub(super) device_nodes: Vec<NodeEdit>,
    /// Files and folders of the host.
    pub(super) mounts: Vec<MountEdit>,
    /// Programs of the vendor's.
    pub(super) hooks: Vec<HookEdit>,
    /// Groups.
    pub(super) additional_gids: Vec<u32>,
    /// What we don't know.
    #[serde(flatten)]
    pub(super) other: BTreeMap<String, Value>,
}

/// A node.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NodeEdit {
    /// Its path inside.
    pub(super) path: String,
    /// Its path on the host, where that is another.
    pub(super) host_path: Option<PathBuf>,
    /// `b` or `c`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Major number.
    pub(super) major: Option<u32>,
    /// Minor number.
    pub(super) minor: Option<u32>,
    /// Permission bits.
    pub(super) file_mode: Option<u32>,
    /// Letters of `rwm`.
    pub(super) permissions: String,
    /// Owner.
    pub(super) uid: Option<u32>,
    /// Group.
    pub(super) gid: Option<u32>,
}

/// A mount.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct MountEdit {
    /// On the host.
    pub(super) host_path: PathBuf,
    /// Inside.
    pub(super) container_path: String,
    /// As `mount -o` has them.
    pub(super) options: Vec<String>,
    /// `bind` or nothing.
    #[serde(rename = "type")]
    pub(super) kind: String,
}

/// A program.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct HookEdit {
    /// When it is run.
    pub(super) hook_name: String,
    /// Where it is on the host.
    pub(super) path: PathBuf,
    /// Its arguments, its name first.
    pub(super) args: Vec<String>,
    /// Its variables.
    pub(super) env: Vec<String>,
    /// Most seconds that it may take.
    pub(super) timeout: Option<u64>,
}

impl Specification {
    /// Reads a file's text.
    pub(super) fn parse(text: &str, is_json: bool) -> Result<Self, String> {
        let value = match is_json {
            true => serde_json::from_str(text).map_err(|error| error.to_string())?,
            false => {
                let documents = YamlLoader::load_from_str(text).map_err(|error| error.to_string())?;
                plain(documents.first().unwrap_or(&Yaml::Null))
            }
        };
        serde_json::from_value(value).map_err(|error| error.to_string())
    }
}

/// YAML's values as JSON's.
fn plain(value: &Yaml) -> Value {
    match value {
        Yaml::Integer(number) => Value::from(*number),
        Yaml::Real(text) => text
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .map_or(Value::Null, Value::Number),
        Yaml::String(text) => Value::from(text.as_str()),
        Yaml::Boolean(truth) => Value::from(*truth),
        Yaml::Array(list) => list.iter().map(plain).collect(),
        Yaml::Hash(table) => {
            let pairs = table.iter().filter_map(|(key, value)| {
                let key = match key {
                    Yaml::String(text) => text.clone(),
                    Yaml::Integer(number) => number.to_string(),
                    _ => return None,
                };
                Some((key, plain(value)))
            });
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        Yaml::Alias(_) | Yaml::Null | Yaml::BadValue => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let yaml = "cdiVersion: 0.6.0\nkind: vendor.com/class\ncontainerEdits:\n  env: [A=1]\ndevices:\n  - name: \"0\"\n    \
                    containerEdits:\n      deviceNodes:\n        - {path: /dev/x, hostPath: /dev/null, permissions: r}\n      \
                    hooks:\n        - {hookName: createContainer, path: /bin/true, args: [true-hook, a]}\n";
        let json = r#"{"cdiVersion":"0.6.0","kind":"vendor.com/class","containerEdits":{"env":["A=1"]},"devices":[{"name":"0",
            "containerEdits":{"deviceNodes":[{"path":"/dev/x","hostPath":"/dev/null","permissions":"r"}],"hooks":[{"hookName":
            "createContainer","path":"/bin/true","args":["true-hook","a"]}]}}]}"#;
        for (text, is_json) in [(yaml, false), (json, true)] {
            let found = Specification::parse(text, is_json).expect("a file");
            assert_eq!(
                (found.kind.as_str(), found.container_edits.env.len()),
                ("vendor.com/class", 1)
            );
            let edits = &found.devices[0].container_edits;
            assert_eq!(edits.device_nodes[0].host_path, Some("/dev/null".into()));
            assert_eq!(edits.hooks[0].args, ["true-hook", "a"]);
            assert!(edits.other.is_empty());
        }
        assert!(Specification::parse("kind: [", false).is_err() && Specification::parse("{}", true).is_err());
        let odd = Specification::parse("kind: a/b\ncontainerEdits: {intelRdt: {closID: x}}", false)
            .expect("a file");
        assert_eq!(odd.container_edits.other.len(), 1);
    }
}
