//! What an inspected object may lack and a template may ask for all the same: Docker's types have these fields always.

use serde_json::{Value, json};

/// The object with every field that Docker's has, empty where it was absent.
pub fn filled(object: &Value) -> Value {
    let mut object = object.clone();
    if object.get("State").is_some() {
        fill(&mut object, json!({ "SizeRw": null, "SizeRootFs": null }));
        fill(&mut object["State"], json!({ "Health": null }));
        fill(
            &mut object["HostConfig"],
            json!({ "Tmpfs": null, "Mounts": null, "StorageOpt": null, "Annotations": null }),
        );
        if let Some(points) = object["Mounts"].as_array_mut() {
            for point in points {
                let empty = json!({
                    "Type": "", "Name": "", "Source": "", "Destination": "", "Driver": "", "Mode": "", "RW": false, "Propagation": ""
                });
                fill(point, empty);
            }
        }
        fill_config(&mut object["Config"]);
    } else if object.get("RootFS").is_some() {
        let empty = json!({ "Parent": "", "Comment": "", "Author": "", "DockerVersion": "", "Variant": "", "OsVersion": "" });
        fill(&mut object, empty);
        fill_config(&mut object["Config"]);
    }
    object
}

fn fill_config(config: &mut Value) {
    let empty = json!({
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": false, "AttachStderr": false,
        "ExposedPorts": null, "Tty": false, "OpenStdin": false, "StdinOnce": false, "Env": null, "Cmd": null,
        "Healthcheck": null, "ArgsEscaped": false, "Image": "", "Volumes": null, "WorkingDir": "", "Entrypoint": null,
        "OnBuild": null, "Labels": null, "StopSignal": "", "StopTimeout": null, "Shell": null, "MacAddress": "",
        "NetworkDisabled": false,
    });
    fill(config, empty);
}

fn fill(object: &mut Value, with: Value) {
    if object.is_null() {
        *object = json!({});
    }
    if let (Value::Object(object), Value::Object(with)) = (object, with) {
        for (name, value) in with {
            object.entry(name).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays() {
        let image = json!({ "RootFS": {}, "Config": { "Cmd": ["x"] }, "Author": "A" });
        let filled = filled(&image);
        assert_eq!(filled["Author"], "A");
        assert_eq!(filled["Config"]["Cmd"], json!(["x"]));
        assert_eq!(
            (&filled["Config"]["User"], &filled["Config"]["Entrypoint"]),
            (&json!(""), &Value::Null)
        );
        assert_eq!(filled.get("State"), None);
        let container = json!({ "State": {}, "Mounts": [{ "Type": "bind" }] });
        assert_eq!(super::filled(&container)["Mounts"][0]["Name"], "");
    }
}
