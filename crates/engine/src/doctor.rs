//! What this machine can and can't do for coil, and what to do about it.

use std::path::PathBuf;

use coil_runtime::probe::{ProbeSettings, facts};

pub use coil_runtime::probe::{Answer, Fact};

use crate::Engine;

impl Engine {
    /// Looks at the machine; nothing is changed by it.
    ///
    /// `search_path` is where programs are, `user_name` whose subordinate ids are looked for, and `scratch` a
    /// folder that may be written.
    pub fn doctor(
        &self,
        search_path: Vec<PathBuf>,
        user_name: Option<String>,
        scratch: PathBuf,
    ) -> Vec<Fact> {
        facts(&ProbeSettings {
            search_path,
            user_name,
            data_root: self.store.root().to_owned(),
            scratch,
        })
    }
}
