//! What `coil pack` makes for one platform, and its graph.

use std::fmt;

use coil_oci::Arch;
use coil_python::Pinned;
use serde::Serialize;

use crate::Graph;

/// One platform's image, planned.
#[derive(Debug, Clone, Serialize)]
pub struct PackPlan {
    /// The processor.
    pub arch: Arch,
    /// The base in a few words: `debian trixie`.
    pub base: String,
    /// The exact interpreter, `3.13.5`.
    pub python: String,
    /// Whether the interpreter's own standard library gets its bytecode.
    pub bytecode: bool,
    /// The packages to install, sorted by name.
    pub packages: Vec<Pinned>,
    /// Those of them that have no wheel and are built from their sources, `name version`.
    pub builds: Vec<String>,
}

/// What a layer of a packed image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerKind {
    /// The operating system and the interpreter.
    Base,
    /// Libraries of the operating system that packages need and the base has not.
    Libraries,
    /// The standard library's bytecode.
    Bytecode,
    /// The empty virtual environment.
    Environment,
    /// Installed packages.
    Packages,
    /// The project's own files.
    App,
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LayerKind::Base => "base",
            LayerKind::Libraries => "libraries",
            LayerKind::Bytecode => "bytecode",
            LayerKind::Environment => "environment",
            LayerKind::Packages => "packages",
            LayerKind::App => "app",
        })
    }
}

/// An operation of a pack graph.
#[derive(Debug, Clone)]
pub enum PackOp {
    /// Takes the base.
    Base,
    /// Compiles the standard library of its input, the base.
    Bytecode,
    /// Makes the empty virtual environment.
    Environment,
    /// Brings the packages' wheels onto the disk; makes no layer.
    Fetch,
    /// Builds the wheels that nobody offers, in containers of its input, the base; makes no layer.
    Build,
    /// Adds libraries to the base; its inputs are the base, the wheels, the wheels that were built, where there are any, and
    /// the packages, whose files were looked at while they were installed.
    Libraries,
    /// Installs packages into layers; its inputs are the base, which has the interpreter that compiles them, the wheels,
    /// and the wheels that were built, where there are any.
    Packages,
}

impl PackOp {
    /// What the layer holds.
    pub fn kind(&self) -> LayerKind {
        match self {
            PackOp::Base => LayerKind::Base,
            PackOp::Libraries => LayerKind::Libraries,
            PackOp::Bytecode => LayerKind::Bytecode,
            PackOp::Environment => LayerKind::Environment,
            PackOp::Fetch | PackOp::Build | PackOp::Packages => LayerKind::Packages,
        }
    }
}

/// The graph of everything below the app, which comes last and alone and changes with every edit.
pub fn lower(plan: &PackPlan) -> Graph<PackOp> {
    let mut graph = Graph::new();
    let base = graph.add(format!("base {}", plan.base), PackOp::Base, &[]);
    let wheels = graph.add("wheels", PackOp::Fetch, &[]);
    if plan.bytecode {
        graph.add("standard library bytecode", PackOp::Bytecode, &[base]);
    }
    graph.add("environment", PackOp::Environment, &[]);
    let mut inputs = vec![base, wheels];
    if !plan.builds.is_empty() {
        let name = format!("builds of {}", plan.builds.join(", "));
        inputs.push(graph.add(name, PackOp::Build, &[base]));
    }
    let mut after = inputs.clone();
    if !plan.packages.is_empty() {
        after.push(graph.add("packages", PackOp::Packages, &inputs));
    }
    graph.add("libraries", PackOp::Libraries, &after);
    graph
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wheels_are_fetched_beside_the_base() {
        let plan = PackPlan {
            arch: Arch::Amd64,
            base: "debian trixie".into(),
            python: "3.13.5".into(),
            bytecode: true,
            packages: vec![Pinned::new("idna", "3.10")],
            builds: vec!["uwsgi 2.0".into()],
        };
        let graph = lower(&plan);
        let packages = graph.vertices().iter().find(|v| v.name == "packages");
        assert_eq!(packages.map(|v| v.inputs.len()), Some(3));
        let free: Vec<_> = graph
            .vertices()
            .iter()
            .filter(|v| v.inputs.is_empty())
            .map(|v| v.name.as_str())
            .collect();
        assert_eq!(free, ["base debian trixie", "wheels", "environment"]);
    }
}
