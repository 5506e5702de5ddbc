//! Answers of all kinds, from a server that gives them on purpose.

use std::sync::atomic::{AtomicUsize, Ordering};

use coil_oci::{Arch, Platform};
use coil_registry::{CredentialError, Credentials, Login, NoCredentials, PullError, RegistrySettings};
use coil_store::Ownership;
use serde_json::json;

use crate::images::{Content, DOCKER_MANIFEST, MANIFEST, Scratch};
use crate::server::{Answer, Asked, Server};

const REPOSITORY: &str = "team/app";

/// A name and a password for every registry.
struct Me;

impl Credentials for Me {
    fn login(&self, _registry: &str) -> Result<Option<Login>, CredentialError> {
        Ok(Some(Login::Password {
            user: "me".into(),
            password: "s3cret".into(),
        }))
    }
}

/// An OAuth token for every registry.
struct Refresh;

impl Credentials for Refresh {
    fn login(&self, _registry: &str) -> Result<Option<Login>, CredentialError> {
        Ok(Some(Login::IdentityToken("refresh+me".into())))
    }
}

/// What a registry with this content answers; its only tag is `latest`.
fn serve(content: &Content, asked: &Asked) -> Answer {
    let rest = asked
        .path
        .strip_prefix(&format!("/v2/{REPOSITORY}/"))
        .unwrap_or_default();
    if let Some(name) = rest.strip_prefix("manifests/") {
        let name = if name == "latest" {
            content.top.as_str()
        } else {
            name
        };
        if let Some((media_type, bytes)) = content.manifests.get(name) {
            return Answer::new(200, bytes.clone())
                .header("Content-Type", media_type)
                .header("Docker-Content-Digest", name);
        }
        return error(404, "MANIFEST_UNKNOWN", "manifest unknown");
    }
    match rest
        .strip_prefix("blobs/")
        .and_then(|digest| content.blobs.get(digest))
    {
        Some(bytes) => ranged(bytes, asked),
        None => error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
    }
}

fn ranged(bytes: &[u8], asked: &Asked) -> Answer {
    let from = asked
        .range
        .strip_prefix("bytes=")
        .and_then(|range| range.strip_suffix('-'));
    match from.map(|from| from.parse::<usize>().unwrap()) {
        Some(from) => Answer::new(206, &bytes[from..]).header(
            "Content-Range",
            &format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()),
        ),
        None => Answer::new(200, bytes),
    }
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    let body = json!({ "errors": [{ "code": code, "message": message }] });
    Answer::new(status, body.to_string())
}

fn registry(content: &Content, change: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static) -> Server {
    let content = content.clone();
    Server::start(move |_| Box::new(move |asked| change(asked, serve(&content, asked))))
}

fn pull(server: &Server, scratch: &Scratch) -> Result<coil_registry::Pulled, PullError> {
    let image = format!("{}/{REPOSITORY}", server.address());
    scratch.pull(
        &image,
        &[Arch::Amd64],
        &RegistrySettings::default(),
        &NoCredentials,
    )
}

#[test]
fn every_form_of_image_is_unpacked() {
    for (forms, docker) in [(&["gzip", "tar"][..], false), (&["gzip", "gzip"], true)] {
        let content = Content::image("amd64", forms, docker);
        let server = registry(&content, |_, answer| answer);
        let scratch = Scratch::new();
        let pulled = pull(&server, &scratch).unwrap();
        assert_eq!(pulled.descriptor.digest.to_string(), content.top);
        assert!(pulled.is_new);
        let image = scratch.image(
            &format!("{}/{REPOSITORY}", server.address()),
            &pulled,
            Arch::Amd64,
        );
        for (number, (diff_id, layer)) in image
            .config
            .rootfs
            .diff_ids
            .iter()
            .zip(&image.manifest.layers)
            .enumerate()
        {
            let tree = scratch
                .store
                .ensure_snapshot(diff_id, layer, Ownership::Unpacker)
                .unwrap();
            assert!(tree.join(format!("file-{number}")).is_file());
        }
        let before = server.asked().len();
        assert!(!pull(&server, &scratch).is_ok_and(|again| again.images.is_empty()));
        assert_eq!(
            server.asked().len(),
            before + 1,
            "the tag alone is asked for again"
        );
    }
}

#[test]
fn one_platform_of_several_is_pulled() {
    let images = [
        Content::image("amd64", &["gzip"], false),
        Content::image("arm64", &["tar"], false),
        Content::image("amd64", &["tar"], false),
    ];
    let list = [
        ("amd64", Some("v3"), &images[2]),
        ("arm64", Some("v8"), &images[1]),
        ("amd64", None, &images[0]),
    ];
    for docker in [false, true] {
        let content = Content::index(&list, docker);
        let server = registry(&content, |_, answer| answer);
        let scratch = Scratch::new();
        let pulled = pull(&server, &scratch).unwrap();
        assert_eq!(
            pulled.descriptor.digest.to_string(),
            content.top,
            "the name stands for the index"
        );
        assert_eq!(
            pulled.images[0].1.digest.to_string(),
            images[0].top,
            "every machine's variant"
        );
        let name = format!("{}/{REPOSITORY}", server.address());
        let image = scratch.image(&name, &pulled, Arch::Amd64);
        assert_eq!(image.config.architecture, "amd64");
        // The other platforms are not here, and nothing that reads the image stumbles over them.
        let named = scratch.store.find(&name).unwrap();
        assert_eq!(scratch.store.images_of(&named.descriptor).unwrap().len(), 1);
        assert_eq!(scratch.store.blobs_of(&named.descriptor).unwrap().len(), 4);
        let error = scratch
            .store
            .image(&named, &Platform::linux(Arch::Arm64))
            .unwrap_err();
        assert!(error.to_string().contains("linux/arm64"), "{error}");
        let image = format!("{}/{REPOSITORY}", server.address());
        let both = [Arch::Amd64, Arch::Arm64];
        let pulled = scratch
            .pull(&image, &both, &RegistrySettings::default(), &NoCredentials)
            .unwrap();
        assert_eq!(pulled.images.len(), 2);
        assert_eq!(scratch.store.images_of(&named.descriptor).unwrap().len(), 2);
    }
    let content = Content::index(&list[1..2], false);
    let server = registry(&content, |_, answer| answer);
    let error = pull(&server, &Scratch::new()).unwrap_err().to_string();
    assert!(error.contains("no matching manifest for linux/amd64"), "{error}");
    assert!(
        error.contains("linux/arm64/v8") && !error.contains("unknown"),
        "{error}"
    );
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let content = Content::image("amd64", &["gzip"], false);
    let cuts = AtomicUsize::new(0);
    let layer = content.layers().remove(0);
    let server = registry(&content, move |asked, mut answer| {
        if asked.path.ends_with(&layer) && cuts.fetch_add(1, Ordering::Relaxed) == 0 {
            answer.cut = Some(5_000);
        }
        answer
    });
    pull(&server, &Scratch::new()).unwrap();
    let ranges: Vec<String> = server.asked().into_iter().map(|asked| asked.range).collect();
    assert!(ranges.contains(&"bytes=5000-".to_owned()), "{ranges:?}");
}

#[test]
fn what_is_not_what_it_should_be_is_refused() {
    let content = Content::image("amd64", &["gzip"], false);
    let layer = content.layers().remove(0);
    let is_layer = {
        let layer = layer.clone();
        move |asked: &Asked| asked.path.ends_with(&layer)
    };
    // Other bytes of the same length.
    let swapped = is_layer.clone();
    let server = registry(&content, move |asked, mut answer| {
        if swapped(asked) {
            answer.body.iter_mut().for_each(|byte| *byte ^= 1);
        }
        answer
    });
    let scratch = Scratch::new();
    let error = pull(&server, &scratch).unwrap_err();
    assert!(error.to_string().contains("not what it should be"), "{error}");
    let digest = coil_oci::Digest::parse(&layer).unwrap();
    assert!(!scratch.store.has_blob(&digest), "nothing of it is kept");
    // Always cut off.
    let cut = is_layer.clone();
    let server = registry(&content, move |asked, mut answer| {
        answer.cut = cut(asked).then_some(0);
        answer
    });
    let error = pull(&server, &Scratch::new()).unwrap_err().to_string();
    assert!(error.contains("cut off"), "{error}");
    // Gone.
    let gone = is_layer.clone();
    let server = registry(&content, move |asked, answer| match gone(asked) {
        true => error_gone(),
        false => answer,
    });
    let error = pull(&server, &Scratch::new()).unwrap_err().to_string();
    assert!(
        error.contains("incomplete on the registry") && error.contains(&layer),
        "{error}"
    );
    // A manifest that is another than its digest.
    let server = registry(&content, |asked, mut answer| {
        if asked.path.contains("/manifests/") {
            answer.body.push(b' ');
        }
        answer
    });
    let error = pull(&server, &Scratch::new()).unwrap_err().to_string();
    assert!(error.contains("not what it should be"), "{error}");
}

fn error_gone() -> Answer {
    error(404, "BLOB_UNKNOWN", "blob unknown to registry")
}

#[test]
fn what_is_no_image_is_refused_by_name() {
    let schema_1 = json!({ "schemaVersion": 1, "name": "a", "fsLayers": [] });
    let chart = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
        "config": { "mediaType": "application/vnd.cncf.helm.config.v1+json", "size": 2,
            "digest": coil_oci::Digest::of(b"{}").to_string() },
    });
    let artifact =
        json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.artifact.manifest.v1+json" });
    for (media_type, manifest, word) in [
        (
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            schema_1,
            "manifest.v1+prettyjws",
        ),
        (MANIFEST, chart, "helm"),
        (
            "application/vnd.oci.artifact.manifest.v1+json",
            artifact,
            "artifact",
        ),
        (DOCKER_MANIFEST, json!({ "schemaVersion": 2 }), "cannot be read"),
    ] {
        let mut content = Content::default();
        content.manifest(media_type, &manifest);
        let server = registry(&content, |_, answer| answer);
        let error = pull(&server, &Scratch::new()).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        assert!(error.help().is_some(), "{error}");
    }
}

#[test]
fn refusals_are_told_in_dockers_words() {
    let content = Content::image("amd64", &["gzip"], false);
    let denied = r#"Bearer realm="http://HOST/token",service="s",scope="repository:team/app:pull""#;
    for (status, code, message, words) in [
        (
            404,
            "MANIFEST_UNKNOWN",
            "manifest unknown",
            "not found: manifest unknown: manifest unknown",
        ),
        (
            404,
            "NAME_UNKNOWN",
            "no such repository",
            "pull access denied for",
        ),
        (
            403,
            "DENIED",
            "requested access to the resource is denied",
            "may require 'docker login': denied: requested",
        ),
        (
            401,
            "UNAUTHORIZED",
            "authentication required",
            "pull access denied for",
        ),
        (
            429,
            "TOOMANYREQUESTS",
            "You have reached your pull rate limit.",
            "pull rate limit",
        ),
        (400, "", "", "status 400"),
    ] {
        let server = registry(&content, move |asked, _| match asked.path.starts_with("/token") {
            true => error(401, "UNAUTHORIZED", "incorrect username or password"),
            false if status == 401 => error(status, code, message)
                .header("WWW-Authenticate", &denied.replace("HOST", "127.0.0.1:1")),
            false => error(status, code, message),
        });
        if status == 401 {
            // The token server is out of reach.
            let error = pull(&server, &Scratch::new()).unwrap_err().to_string();
            assert!(error.contains("127.0.0.1:1"), "{error}");
            continue;
        }
        let error = pull(&server, &Scratch::new()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.help().is_some());
    }
}

/// A registry that wants a token, which its own token server gives to whom it may.
fn guarded(content: &Content, accept: impl Fn(&Asked) -> bool + Send + Sync + 'static) -> Server {
    let content = content.clone();
    Server::start(move |address| {
        let challenge = format!(
            r#"Bearer realm="http://{address}/token?x=1",service="the registry",scope="repository:{REPOSITORY}:pull""#
        );
        Box::new(move |asked| {
            if asked.path.starts_with("/token") {
                return match accept(asked) {
                    true => Answer::new(200, json!({ "access_token": "t0ken" }).to_string()),
                    false => error(401, "UNAUTHORIZED", "incorrect username or password"),
                };
            }
            match asked.authorization == "Bearer t0ken" {
                true => serve(&content, asked),
                false => error(401, "UNAUTHORIZED", "authentication required")
                    .header("WWW-Authenticate", &challenge),
            }
        })
    })
}

#[test]
fn tokens_are_asked_for_where_the_registry_says() {
    let content = Content::image("amd64", &["gzip"], false);
    let server = guarded(&content, |asked| asked.authorization.is_empty());
    pull(&server, &Scratch::new()).unwrap();
    let asked = server.asked();
    let token = asked
        .iter()
        .find(|asked| asked.path.starts_with("/token"))
        .unwrap();
    assert_eq!(
        token.path,
        "/token?x=1&service=the%20registry&scope=repository%3Ateam%2Fapp%3Apull"
    );
    let tokens = asked
        .iter()
        .filter(|asked| asked.path.starts_with("/token"))
        .count();
    assert_eq!(tokens, 1, "one token serves the whole pull");

    let settings = RegistrySettings::default();
    let name = |server: &Server| format!("{}/{REPOSITORY}", server.address());
    let server = guarded(&content, |asked| asked.authorization == "Basic bWU6czNjcmV0");
    Scratch::new()
        .pull(&name(&server), &[Arch::Amd64], &settings, &Me)
        .unwrap();
    assert!(
        server
            .asked()
            .iter()
            .any(|asked| asked.path.ends_with("account=me"))
    );
    let error = pull(&server, &Scratch::new()).unwrap_err();
    assert!(error.to_string().contains("pull access denied"), "{error}");

    let server = guarded(&content, |asked| {
        asked.method == "POST" && asked.body.contains("refresh_token=refresh%2Bme")
    });
    Scratch::new()
        .pull(&name(&server), &[Arch::Amd64], &settings, &Refresh)
        .unwrap();

    let server = guarded(&content, |_| false);
    let error = Scratch::new()
        .pull(&name(&server), &[Arch::Amd64], &settings, &Me)
        .unwrap_err();
    let text = format!("{error} {error:?} {}", error.help().unwrap());
    assert!(text.contains("incorrect username or password"), "{text}");
    assert!(!text.contains("s3cret") && !text.contains("bWU6"), "{text}");
}

#[test]
fn a_login_goes_nowhere_else() {
    let content = Content::image("amd64", &["gzip"], false);
    let layer = content.layers().remove(0);
    let storage = registry(&content, |_, answer| answer);
    let elsewhere = format!(
        "http://localhost:{}",
        storage.address().rsplit(':').next().unwrap()
    );
    let server = Server::start({
        let (content, layer) = (content.clone(), layer.clone());
        move |_| {
            Box::new(move |asked| {
                if asked.authorization != "Basic bWU6czNjcmV0" {
                    return error(401, "UNAUTHORIZED", "authentication required")
                        .header("WWW-Authenticate", r#"Basic realm="here""#);
                }
                match asked.path.ends_with(&layer) {
                    true => Answer::new(307, "").header("Location", &format!("{elsewhere}{}", asked.path)),
                    false => serve(&content, asked),
                }
            })
        }
    });
    let image = format!("{}/{REPOSITORY}", server.address());
    Scratch::new()
        .pull(&image, &[Arch::Amd64], &RegistrySettings::default(), &Me)
        .unwrap();
    let asked = storage.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].authorization, "", "the storage is another server");
}

#[test]
fn a_token_that_ran_out_is_renewed() {
    let content = Content::image("amd64", &["gzip"], false);
    let layer = content.layers().remove(0);
    let given = std::sync::Arc::new(AtomicUsize::new(0));
    let server = Server::start({
        let content = content.clone();
        move |address| {
            let challenge = format!(r#"Bearer realm="http://{address}/token""#);
            Box::new(move |asked| {
                if asked.path.starts_with("/token") {
                    let number = given.fetch_add(1, Ordering::Relaxed);
                    return Answer::new(200, json!({ "token": format!("t{number}") }).to_string());
                }
                let fresh = match asked.path.ends_with(&layer) {
                    true => asked.authorization == "Bearer t1",
                    false => !asked.authorization.is_empty(),
                };
                match fresh {
                    true => serve(&content, asked),
                    false => {
                        error(401, "UNAUTHORIZED", "token expired").header("WWW-Authenticate", &challenge)
                    }
                }
            })
        }
    });
    pull(&server, &Scratch::new()).unwrap();
}

#[test]
fn mirrors_come_first_and_may_fail() {
    let content = Content::image("amd64", &["gzip"], false);
    let down = registry(&content, |_, _| Answer::new(404, "nothing here"));
    let mirror = {
        let content = content.clone();
        Server::start(move |_| {
            Box::new(move |asked| {
                let mut asked = asked.clone();
                asked.path = asked.path.replace("/v2/library/python/", "/v2/team/app/");
                serve(&content, &asked)
            })
        })
    };
    let settings = RegistrySettings {
        mirrors: vec![down.address(), format!("http://{}/", mirror.address())],
        ..RegistrySettings::default()
    };
    let scratch = Scratch::new();
    let pulled = scratch
        .pull("python", &[Arch::Amd64], &settings, &NoCredentials)
        .unwrap();
    assert_eq!(pulled.descriptor.digest.to_string(), content.top);
    assert!(
        down.asked()[0]
            .path
            .starts_with("/v2/library/python/manifests/latest")
    );
}

#[test]
fn a_foreign_layer_comes_from_where_its_maker_has_it() {
    let mut content = Content::image("amd64", &["gzip"], false);
    let layer = content.layers().remove(0);
    let bytes = content.blobs.remove(&layer).unwrap();
    let maker = Server::start(move |_| Box::new(move |asked| ranged(&bytes, asked)));
    let (media_type, manifest) = content.manifests[&content.top].clone();
    let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    manifest["layers"][0]["urls"] = json!([format!("http://{}/layer", maker.address())]);
    content.manifest(&media_type, &manifest);
    let server = registry(&content, |_, answer| answer);
    pull(&server, &Scratch::new()).unwrap();
    assert_eq!(maker.asked()[0].path, "/layer");
}
