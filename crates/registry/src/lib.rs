//! The OCI distribution protocol: images from registries, as `docker pull` gets them.
//!
//! Specification: OCI Distribution 1.1, with the token flow of the Docker registry's documentation. The credentials of a
//! registry go to that registry and to the token server that it names, never to where a redirect leads. Whatever comes is
//! checked by digest before it has a name.

mod challenge;
mod client;
mod credentials;
mod docker_config;
mod endpoint;
mod error;
mod pull;

pub use client::Registries;
pub use credentials::{CredentialError, Credentials, Login, NoCredentials};
pub use docker_config::{DockerConfig, DockerCredentials};
pub use endpoint::RegistrySettings;
pub use error::PullError;
pub use pull::{LayerState, PullEvents, PullRequest, Pulled, Quiet};
