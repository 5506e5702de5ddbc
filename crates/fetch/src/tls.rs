//! Which certificate authorities are trusted.

use std::path::Path;
use std::sync::Arc;

use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Makes the TLS settings; reads the bundle, so it is called at the first https request only.
///
/// A named file or folder is the whole truth: when nothing can be read from it, that is an error and not a reason to
/// trust something else. Without either, the system's store is used, and Mozilla's list where there is none.
pub(crate) fn config(file: Option<&Path>, folder: Option<&Path>) -> Result<TlsConfig, String> {
    let roots = if file.is_some() || folder.is_some() {
        let found = rustls_native_certs::load_certs_from_paths(file, folder);
        if found.certs.is_empty() {
            let named = file.or(folder).unwrap_or(Path::new(""));
            let why = found
                .errors
                .first()
                .map_or_else(|| "it has no certificate".to_string(), ToString::to_string);
            return Err(format!(
                "the certificate bundle {} cannot be used: {why}",
                named.display()
            ));
        }
        specific(&found.certs)
    } else {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            RootCerts::WebPki
        } else {
            specific(&found.certs)
        }
    };
    Ok(TlsConfig::builder()
        .root_certs(roots)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

fn specific<C: AsRef<[u8]>>(certificates: &[C]) -> RootCerts {
    let owned: Vec<_> = certificates
        .iter()
        .map(|der| Certificate::from_der(der.as_ref()).to_owned())
        .collect();
    RootCerts::new_with_certs(&owned)
}
