//! Which files of a project go into its image: `.dockerignore`, or careful defaults.

use std::sync::LazyLock;

use coil_dockerfile::ignore::{self, Matcher};

/// The rules for a project's files.
#[derive(Debug, Clone)]
pub struct IgnoreRules {
    matcher: Matcher,
    /// Reasons, one for each pattern, where they are defaults.
    reasons: Vec<Option<&'static str>>,
    is_default: bool,
}

/// What becomes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes into the image.
    Ship,
    /// It stays out, for this reason.
    Leave(String),
    /// Nothing leaves it out, and it looks like a secret, for this reason: not to be shipped in silence.
    SecretLike(&'static str),
}

/// What is left out where there is no `.dockerignore`, each with the reason.
pub const DEFAULTS: &[(&str, &str)] = &[
    ("**/.git", "version control"),
    ("**/.hg", "version control"),
    ("**/.svn", "version control"),
    ("**/.gitignore", "version control"),
    ("**/.gitattributes", "version control"),
    ("**/.gitmodules", "version control"),
    ("**/.venv", "a virtual environment of this machine"),
    ("**/venv", "a virtual environment of this machine"),
    ("**/__pycache__", "bytecode of this machine's Python"),
    ("**/*.pyc", "bytecode of this machine's Python"),
    ("**/*.pyo", "bytecode of this machine's Python"),
    ("**/.pytest_cache", "a tool's cache"),
    ("**/.mypy_cache", "a tool's cache"),
    ("**/.ruff_cache", "a tool's cache"),
    ("**/.hypothesis", "a tool's cache"),
    ("**/.ipynb_checkpoints", "a tool's cache"),
    ("**/.tox", "a test tool's environments"),
    ("**/.nox", "a test tool's environments"),
    ("**/.coverage", "a test's result"),
    ("**/.coverage.*", "a test's result"),
    ("htmlcov", "a test's result"),
    ("**/.eggs", "a build's leftovers"),
    ("**/*.egg-info", "a build's leftovers"),
    ("**/node_modules", "another language's packages for this machine"),
    ("**/.env", "a file of secrets"),
    ("**/.env.*", "a file of secrets"),
    ("**/*.pem", "a key or certificate"),
    ("**/*.key", "a private key"),
    ("**/*.p12", "a private key"),
    ("**/*.pfx", "a private key"),
    ("**/id_rsa*", "a private key"),
    ("**/id_dsa*", "a private key"),
    ("**/id_ecdsa*", "a private key"),
    ("**/id_ed25519*", "a private key"),
    ("**/.netrc", "credentials"),
    ("**/.pypirc", "credentials"),
    ("**/.npmrc", "credentials"),
    ("**/.aws", "credentials"),
    ("**/.ssh", "credentials"),
    ("**/.docker", "credentials"),
    ("**/.gnupg", "credentials"),
    ("**/.kube", "credentials"),
    (".idea", "an editor's settings"),
    (".vscode", "an editor's settings"),
    ("**/.DS_Store", "a file manager's notes"),
    ("**/*.swp", "an editor's leftovers"),
    (".github", "continuous integration"),
    (".gitlab-ci.yml", "continuous integration"),
    (".dockerignore", "packaging"),
    ("Dockerfile*", "packaging"),
    ("*.Dockerfile", "packaging"),
    ("compose*.yaml", "packaging"),
    ("compose*.yml", "packaging"),
    ("docker-compose*.yaml", "packaging"),
    ("docker-compose*.yml", "packaging"),
    ("coil.lock", "packaging"),
    ("*.log", "a log"),
];

/// Files that look like secrets even where no rule names them.
const SECRETS: &[(&str, &str)] = &[
    ("**/.env", "a file of secrets"),
    ("**/.env.*", "a file of secrets"),
    ("!**/.env.example", ""),
    ("!**/.env.sample", ""),
    ("!**/.env.template", ""),
    ("**/*.key", "a private key"),
    ("**/*.p12", "a private key"),
    ("**/*.pfx", "a private key"),
    ("**/*-key.pem", "a private key"),
    ("**/key.pem", "a private key"),
    ("**/privkey*.pem", "a private key"),
    ("**/id_rsa", "a private key"),
    ("**/id_dsa", "a private key"),
    ("**/id_ecdsa", "a private key"),
    ("**/id_ed25519", "a private key"),
    ("**/.netrc", "credentials"),
    ("**/.pypirc", "credentials"),
    ("**/.npmrc", "credentials"),
    ("**/.aws/credentials", "credentials"),
    ("**/.docker/config.json", "credentials"),
    ("**/.kube/config", "credentials"),
];

impl Default for IgnoreRules {
    /// The rules of a project without a `.dockerignore`.
    fn default() -> Self {
        IgnoreRules {
            matcher: Matcher::lenient(DEFAULTS.iter().map(|(line, _)| *line)),
            reasons: DEFAULTS.iter().map(|(_, reason)| Some(*reason)).collect(),
            is_default: true,
        }
    }
}

impl IgnoreRules {
    /// The rules of a `.dockerignore`: only what it says.
    pub fn from_text(text: &str) -> Self {
        let mut rules = IgnoreRules {
            matcher: Matcher::default(),
            reasons: Vec::new(),
            is_default: false,
        };
        for pattern in ignore::patterns(text) {
            rules.push(&pattern);
        }
        rules
    }

    /// Adds `[tool.coil] exclude` and then `include`, which has the last word.
    #[must_use]
    pub fn with_settings(mut self, exclude: &[String], include: &[String]) -> Self {
        for line in exclude {
            self.push(line);
        }
        for line in include {
            self.push(&format!("!{line}"));
        }
        self
    }

    fn push(&mut self, line: &str) {
        if let Some(pattern) = ignore::pattern(line)
            && self.matcher.push_lenient(&pattern)
        {
            self.reasons.push(None);
        }
    }

    /// Whether these are the defaults, and no `.dockerignore`.
    pub fn is_default(&self) -> bool {
        self.is_default
    }

    /// Whether a path (relative, with `/`) is left out, as BuildKit decides: the last pattern that matches it or a directory above.
    ///
    /// Patterns make no difference between files and directories, as Docker's don't.
    pub fn matches(&self, path: &str, _is_dir: bool) -> bool {
        self.deciding(path).is_some()
    }

    /// The place of the pattern that leaves a path out.
    fn deciding(&self, path: &str) -> Option<usize> {
        // `.env.example` is shipped by a default's exception and not by a `!` pattern, which would make every
        // directory one that must be entered.
        let is_example = is_example(path);
        self.matcher
            .deciding(path, &|place| !is_example || self.reasons[place].is_none())
    }

    /// Whether a directory need not be entered: it is left out, and no `!` pattern could take back what is in it.
    pub fn can_skip_dir(&self, path: &str) -> bool {
        self.deciding(path)
            .is_some_and(|place| !self.matcher.may_keep_below(path, place))
    }

    /// Whether a directory is a virtual environment to leave out, by the `pyvenv.cfg` in it.
    ///
    /// A `.dockerignore` is taken at its word, so this is only ever so with the defaults.
    pub fn is_environment_left_out(&self, path: &str, has_pyvenv_cfg: bool) -> bool {
        self.is_default && has_pyvenv_cfg && !path.is_empty() && !self.matcher.has_exception_for(path)
    }

    /// What becomes of a file, with the reason.
    pub fn verdict(&self, path: &str) -> Verdict {
        if let Some(place) = self.deciding(path) {
            return Verdict::Leave(match self.reasons[place] {
                Some(reason) => reason.to_owned(),
                None => format!("the pattern `{}`", self.matcher.text(place)),
            });
        }
        match secret_like(path) {
            // Someone asked for this very file by `!` or `include`.
            Some(reason) if !self.matcher.is_asked_for(path) => Verdict::SecretLike(reason),
            _ => Verdict::Ship,
        }
    }
}

/// Whether it is an example of an environment file, outside of anything hidden.
fn is_example(path: &str) -> bool {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    matches!(name, ".env.example" | ".env.sample" | ".env.template")
        && !directory
            .split('/')
            .any(|part| part.starts_with('.') || part == "venv" || part == "node_modules")
}

/// Why a file looks like a secret, if it does.
pub fn secret_like(path: &str) -> Option<&'static str> {
    static PATTERNS: LazyLock<Matcher> =
        LazyLock::new(|| Matcher::lenient(SECRETS.iter().map(|(line, _)| *line)));
    let place = PATTERNS.deciding(path, &|_| true)?;
    SECRETS.get(place).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults() {
        let rules = IgnoreRules::default();
        for (path, left_out) in [
            (".git/config", true),
            ("main.py", false),
            ("src/pkg/__pycache__/a.cpython-311.pyc", true),
            (".env", true),
            (".env.production", true),
            (".env.example", false),
            ("deploy/.env.sample", false),
            (".venv/.env.sample", true),
            ("certs/server.pem", true),
            ("deploy/id_rsa", true),
            ("app/environment.py", false),
            ("static/build/app.js", false),
            ("env/settings.py", false),
            ("dist/app.js", false),
            ("Dockerfile.prod", true),
            ("compose.override.yaml", true),
            ("templates/compose.html", false),
            ("logs.py", false),
            ("debug.log", true),
            ("README.md", false),
            ("tests/test_a.py", false),
            (".venv/lib/x.py", true),
            ("uv.lock", false),
        ] {
            assert_eq!(rules.matches(path, false), left_out, "{path}");
        }
        assert!(rules.can_skip_dir(".git"));
        assert!(rules.is_environment_left_out("env", true));
        assert!(!rules.is_environment_left_out("env", false));
    }

    #[test]
    fn a_dockerignore_is_taken_at_its_word() {
        let rules = IgnoreRules::from_text("*\n!src\n!*.toml\nsrc/secret\n");
        for (path, left_out) in [
            ("x.py", true),
            ("src/a.py", false),
            ("pyproject.toml", false),
            ("src/secret/k", true),
        ] {
            assert_eq!(rules.matches(path, false), left_out, "{path}");
        }
        assert!(rules.can_skip_dir("docs"));
        assert!(!rules.can_skip_dir("src"));
        assert!(!IgnoreRules::from_text("a").matches(".git/x", false));
    }

    #[test]
    fn secrets_are_not_shipped_in_silence() {
        let rules = IgnoreRules::from_text("docs\n");
        assert_eq!(rules.verdict(".env"), Verdict::SecretLike("a file of secrets"));
        assert_eq!(rules.verdict(".env.example"), Verdict::Ship);
        assert_eq!(
            rules.verdict("docs/a"),
            Verdict::Leave("the pattern `docs`".to_owned())
        );
        assert_eq!(
            IgnoreRules::default().verdict(".env"),
            Verdict::Leave("a file of secrets".to_owned())
        );
        let asked = IgnoreRules::default().with_settings(
            &["data".to_owned()],
            &["certs/ca.pem".to_owned(), ".env".to_owned()],
        );
        assert_eq!(asked.verdict("certs/ca.pem"), Verdict::Ship);
        assert_eq!(asked.verdict(".env"), Verdict::Ship);
        assert_eq!(
            asked.verdict("data/x"),
            Verdict::Leave("the pattern `data`".to_owned())
        );
    }
}
