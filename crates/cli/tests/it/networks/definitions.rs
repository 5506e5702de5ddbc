//! Networks that are made of another's definition, and addresses that are no container's.

use super::networks;
use crate::shared;

#[test]
fn a_network_is_made_of_a_definition() {
    let context = shared();
    let mut made = networks(&context);
    let flags = [
        "--config-only",
        "--subnet",
        "10.233.7.0/24",
        "--aux-address",
        "router=10.233.7.2",
    ];
    made.make("definition", &flags);
    let network = |words: &[&str]| context.coil(["network"]).args(words).run();
    network(&["create", "--config-from", "definition", "of-it"]).success();
    // In the order in which they can be removed.
    made.names.insert(0, "of-it".to_owned());
    let format = "{{.ConfigFrom.Network}} {{.ConfigOnly}} {{(index .IPAM.Config 0).Subnet}}";
    let shown = network(&["inspect", "-f", format, "of-it"]);
    assert_eq!(shown.word(), "definition false 10.233.7.0/24");
    network(&["rm", "definition"]).refusal(&["configuration network \"definition\" is in use"]);
    let image = context.python_image();
    let look = "grep -o '^10.233.7[.0-9]*' /etc/hosts";
    let inside = context.coil(["run", "--rm", "--network", "of-it", image, "sh", "-c", look]);
    // The first is the gateway's, and the second somebody else's.
    assert_eq!(inside.run().word(), "10.233.7.3");
    let inside = context.coil(["run", "--rm", "--network", "definition", image, "true"]);
    let refused = inside.run();
    assert!(
        refused.stderr().contains("configuration-only network"),
        "{refused}"
    );
}
