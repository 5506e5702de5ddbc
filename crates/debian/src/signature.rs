//! Whether an InRelease file is signed by someone who is trusted (RFC 9580, section 7).

use std::fmt;

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, VerifyingKey};

/// Debian's archive keys; public data, exported without third parties' signatures.
const DEBIAN_KEYS: [&[u8]; 8] = [
    include_bytes!("../keys/bullseye-automatic.gpg"),
    include_bytes!("../keys/bullseye-security-automatic.gpg"),
    include_bytes!("../keys/bookworm-automatic.gpg"),
    include_bytes!("../keys/bookworm-security-automatic.gpg"),
    include_bytes!("../keys/bookworm-stable.gpg"),
    include_bytes!("../keys/trixie-automatic.gpg"),
    include_bytes!("../keys/trixie-security-automatic.gpg"),
    include_bytes!("../keys/trixie-stable.gpg"),
];

/// Why a signed text is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureFault {
    /// It is no clear-signed text at all.
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// None of the signers is known.
    UnknownKey {
        /// The signers' key ids or fingerprints.
        signers: Vec<String>,
    },
    /// A known key signed something else: the text was changed.
    Tampered {
        /// The key's fingerprint.
        signer: String,
    },
    /// The only known signer's key has expired or was revoked.
    KeyNoLongerValid {
        /// The key's fingerprint.
        signer: String,
    },
}

impl fmt::Display for SignatureFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignatureFault::Malformed { reason } => write!(f, "it is not a signed text: {reason}"),
            SignatureFault::UnknownKey { signers } => {
                write!(
                    f,
                    "it is signed by a key that is not trusted ({})",
                    signers.join(", ")
                )
            }
            SignatureFault::Tampered { signer } => {
                write!(
                    f,
                    "its text is not what the key {signer} has signed: it was changed"
                )
            }
            SignatureFault::KeyNoLongerValid { signer } => {
                write!(f, "its key {signer} has expired or was revoked")
            }
        }
    }
}

impl std::error::Error for SignatureFault {}

/// A set of trusted keys.
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

impl Keyring {
    /// Debian's archive keys.
    pub fn debian() -> Keyring {
        let mut keyring = Keyring { keys: Vec::new() };
        for bytes in DEBIAN_KEYS {
            keyring.add(bytes);
        }
        keyring
    }

    /// The keys of a file, armoured or not; `None` where there is none in it.
    pub fn parse(bytes: &[u8]) -> Option<Keyring> {
        let mut keyring = Keyring { keys: Vec::new() };
        keyring.add(bytes);
        (!keyring.keys.is_empty()).then_some(keyring)
    }

    fn add(&mut self, bytes: &[u8]) {
        if let Ok((keys, _)) = SignedPublicKey::from_reader_many(bytes) {
            self.keys.extend(keys.flatten());
        }
    }

    /// Adds another set.
    pub fn join(&mut self, other: Keyring) {
        self.keys.extend(other.keys);
    }

    /// Checks a clear-signed text and gives back what was signed, and only that.
    ///
    /// One good signature of a trusted key is enough. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// The most telling fault among the signatures.
    pub fn verify(&self, armoured: &str, now: u64) -> Result<String, SignatureFault> {
        let malformed = |reason: String| SignatureFault::Malformed { reason };
        let (message, _) =
            CleartextSignedMessage::from_string(armoured).map_err(|e| malformed(e.to_string()))?;
        if message.signatures().is_empty() {
            return Err(malformed("it has no signature".into()));
        }
        let text = message.signed_text();
        let mut signers = Vec::new();
        let mut fault = None;
        for signature in message.signatures() {
            match self.check(signature, text.as_bytes(), now) {
                Ok(()) => return Ok(text.replace("\r\n", "\n")),
                Err(Some(found)) => fault = fault.or(Some(found)),
                Err(None) => {
                    let prints = signature
                        .issuer_fingerprint()
                        .into_iter()
                        .map(ToString::to_string);
                    let ids = signature.issuer_key_id().into_iter().map(ToString::to_string);
                    signers.extend(prints.chain(ids).next());
                }
            }
        }
        Err(fault.unwrap_or(SignatureFault::UnknownKey { signers }))
    }

    /// `Err(None)` when no key here made the signature.
    fn check(&self, signature: &Signature, text: &[u8], now: u64) -> Result<(), Option<SignatureFault>> {
        let strong = [
            HashAlgorithm::Sha256,
            HashAlgorithm::Sha384,
            HashAlgorithm::Sha512,
        ];
        let of_text = matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary));
        if !of_text || !signature.hash_alg().is_some_and(|hash| strong.contains(&hash)) {
            return Err(None);
        }
        for key in &self.keys {
            if is_issuer(signature, &key.primary_key) {
                return verdict(signature, &key.primary_key, text, primary_is_valid(key, now)).map_err(Some);
            }
            for subkey in &key.public_subkeys {
                if is_issuer(signature, &subkey.key) {
                    let revoked = subkey
                        .signatures
                        .iter()
                        .any(|s| s.typ() == Some(SignatureType::SubkeyRevocation));
                    let bound = subkey.verify_bindings(&key.primary_key).is_ok();
                    let signs = subkey
                        .signatures
                        .iter()
                        .any(|s| s.key_flags().sign() && in_time(&subkey.key, s, now));
                    let valid = bound && signs && !revoked && primary_is_valid(key, now);
                    return verdict(signature, &subkey.key, text, valid).map_err(Some);
                }
            }
        }
        Err(None)
    }
}

fn verdict(
    signature: &Signature,
    key: &impl VerifyingKey,
    text: &[u8],
    valid: bool,
) -> Result<(), SignatureFault> {
    let signer = key.fingerprint().to_string();
    if signature.verify(key, text).is_err() {
        return Err(SignatureFault::Tampered { signer });
    }
    if valid {
        Ok(())
    } else {
        Err(SignatureFault::KeyNoLongerValid { signer })
    }
}

fn is_issuer(signature: &Signature, key: &impl KeyDetails) -> bool {
    let (print, id) = (key.fingerprint(), key.legacy_key_id());
    signature
        .issuer_fingerprint()
        .into_iter()
        .any(|one| *one == print)
        || signature.issuer_key_id().into_iter().any(|one| *one == id)
}

fn primary_is_valid(key: &SignedPublicKey, now: u64) -> bool {
    let mut own = key
        .details
        .users
        .iter()
        .flat_map(|user| &user.signatures)
        .chain(&key.details.direct_signatures);
    key.details.revocation_signatures.is_empty()
        && own.any(|signature| {
            is_issuer(signature, &key.primary_key) && in_time(&key.primary_key, signature, now)
        })
}

/// Whether a self-signature lets the key live now.
fn in_time(key: &impl KeyDetails, signature: &Signature, now: u64) -> bool {
    let created = u64::from(key.created_at().as_secs());
    match signature.key_expiration_time() {
        Some(life) if life.as_secs() > 0 => now <= created + u64::from(life.as_secs()),
        _ => true,
    }
}
