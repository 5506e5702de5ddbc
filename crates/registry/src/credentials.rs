//! Logins for registries, and where they come from.

use std::fmt;

/// A login.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// A token that is exchanged for others (OAuth 2's refresh token).
    IdentityToken(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Login::Password { user, .. } => write!(f, "Login({user}, …)"),
            Login::IdentityToken(_) => f.write_str("Login(token)"),
        }
    }
}

/// Why the logins that are configured cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialError {
    /// What is wrong, without any secret.
    pub message: String,
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CredentialError {}

/// Knows the user's logins.
pub trait Credentials: Sync {
    /// The login for a registry as it stands in references (`docker.io`, `ghcr.io`, `127.0.0.1:5000`); none where there is none.
    ///
    /// Asked only after the registry has refused a request without a login.
    ///
    /// # Errors
    /// When a login is configured and cannot be had.
    fn login(&self, registry: &str) -> Result<Option<Login>, CredentialError>;
}

/// No logins at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCredentials;

impl Credentials for NoCredentials {
    fn login(&self, _registry: &str) -> Result<Option<Login>, CredentialError> {
        Ok(None)
    }
}
