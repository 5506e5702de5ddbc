//! Debian's `docker-registry`, public and with logins.

use coil_oci::{Arch, Digest};
use coil_registry::{DockerConfig, DockerCredentials, NoCredentials, RegistrySettings};
use coil_testkit::registry::Registry;

use crate::images::{Content, Scratch};

fn push(registry: &Registry, repository: &str, tag: &str, content: &Content) {
    for bytes in content.blobs.values() {
        registry.put_blob(repository, bytes);
    }
    for (digest, (media_type, bytes)) in &content.manifests {
        let name = if *digest == content.top {
            tag
        } else {
            digest.as_str()
        };
        registry.put_manifest(repository, name, media_type, bytes);
    }
}

#[test]
fn an_image_of_a_public_registry() {
    let registry = Registry::start().expect("Debian's package docker-registry is installed");
    let content = Content::image("amd64", &["gzip", "gzip"], true);
    push(&registry, "team/app", "1.0", &content);
    let scratch = Scratch::new();
    let settings = RegistrySettings::default();
    let image = format!("{}/team/app", registry.address());
    let pulled = scratch
        .pull(&format!("{image}:1.0"), &[Arch::Amd64], &settings, &NoCredentials)
        .unwrap();
    assert_eq!(pulled.descriptor.digest.to_string(), content.top);
    for layer in content.layers() {
        let digest = Digest::parse(&layer).unwrap();
        assert!(scratch.store.verify_blob(&digest).unwrap());
    }
    let by_digest = format!("{image}@{}", content.top);
    let again = Scratch::new()
        .pull(&by_digest, &[Arch::Amd64], &settings, &NoCredentials)
        .unwrap();
    assert_eq!(again.descriptor.digest, pulled.descriptor.digest);
    for (missing, words) in [
        (format!("{image}:2.0"), "not found: manifest unknown"),
        (
            format!("{}/nobody/app:1", registry.address()),
            "pull access denied for",
        ),
    ] {
        let error = scratch
            .pull(&missing, &[Arch::Amd64], &settings, &NoCredentials)
            .unwrap_err()
            .to_string();
        // An old registry says of a missing repository that the manifest is unknown.
        assert!(
            error.contains(words) || error.contains("manifest unknown"),
            "{error}"
        );
    }
}

#[test]
fn an_image_behind_a_login() {
    let registry = Registry::start_protected().expect("Debian's package docker-registry is installed");
    let content = Content::image("amd64", &["gzip"], false);
    push(&registry, "team/private", "latest", &content);
    let scratch = Scratch::new();
    let settings = RegistrySettings::default();
    let image = format!("{}/team/private", registry.address());
    let error = scratch
        .pull(&image, &[Arch::Amd64], &settings, &NoCredentials)
        .unwrap_err();
    assert!(error.to_string().starts_with("pull access denied for"), "{error}");
    assert!(
        error
            .help()
            .unwrap()
            .contains(&format!("docker login {}", registry.address()))
    );
    let login = |coded: &str| DockerCredentials {
        config: DockerConfig::parse(&format!(
            r#"{{"auths":{{"{}":{{"auth":"{coded}"}}}}}}"#,
            registry.address()
        ))
        .unwrap(),
        ..DockerCredentials::default()
    };
    // me:wrong
    let error = scratch
        .pull(&image, &[Arch::Amd64], &settings, &login("bWU6d3Jvbmc="))
        .unwrap_err();
    assert!(
        error
            .help()
            .unwrap()
            .contains("the login in ~/.docker/config.json"),
        "{error}"
    );
    // me:s3cret
    scratch
        .pull(&image, &[Arch::Amd64], &settings, &login("bWU6czNjcmV0"))
        .unwrap();
}
