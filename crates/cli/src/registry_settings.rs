//! Image registries: mirrors, plain HTTP, and the logins of Docker's configuration.

use std::path::{Path, PathBuf};

use coil_registry::{CredentialError, Credentials, DockerConfig, DockerCredentials, Login, RegistrySettings};

use crate::environment::Environment;

/// Where registries are and who the user is there.
pub struct RegistryAccess {
    /// Mirrors, and registries without TLS.
    pub settings: RegistrySettings,
    /// The logins.
    pub credentials: ConfiguredLogins,
}

/// The logins of Docker's configuration, which is read when a registry asks for one.
pub struct ConfiguredLogins {
    file: Option<PathBuf>,
    search_path: Vec<PathBuf>,
    environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
}

impl RegistryAccess {
    /// Reads the variables: `COIL_REGISTRY_MIRRORS`, `COIL_INSECURE_REGISTRIES` (lists with blanks or commas) and `DOCKER_CONFIG`.
    pub fn read(environment: &Environment) -> Self {
        let list = |name: &str| {
            let text = environment.text(name).unwrap_or_default();
            let words = text.split([',', ' ']).filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        };
        let folder = environment
            .path("DOCKER_CONFIG")
            .or_else(|| environment.home().map(|home| home.join(".docker")));
        Self {
            settings: RegistrySettings {
                mirrors: list("COIL_REGISTRY_MIRRORS"),
                insecure: list("COIL_INSECURE_REGISTRIES"),
            },
            credentials: ConfiguredLogins {
                file: folder.map(|folder| folder.join("config.json")),
                search_path: environment.search_path(),
                environment: environment.all(),
            },
        }
    }
}

impl ConfiguredLogins {
    fn read(&self, file: &Path) -> Result<DockerConfig, CredentialError> {
        match std::fs::read_to_string(file) {
            Ok(text) => DockerConfig::parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(DockerConfig::default()),
            Err(error) => Err(CredentialError {
                message: format!("{} cannot be read: {error}", file.display()),
            }),
        }
    }
}

impl Credentials for ConfiguredLogins {
    fn login(&self, registry: &str) -> Result<Option<Login>, CredentialError> {
        let Some(file) = &self.file else {
            return Ok(None);
        };
        let credentials = DockerCredentials {
            config: self.read(file)?,
            search_path: self.search_path.clone(),
            environment: self.environment.clone(),
        };
        credentials.login(registry)
    }
}
