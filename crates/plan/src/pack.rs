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
}

/// What a layer of a packed image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerKind {
    /// The operating system and the interpreter.
    Base,
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
    /// Installs packages into layers; its inputs are the base, which has the interpreter that compiles them, and
    /// the wheels.
    Packages,
}

impl PackOp {
    /// What the layer holds.
    pub fn kind(&self) -> LayerKind {
        match self {
            PackOp::Base => LayerKind::Base,
            PackOp::Bytecode => LayerKind::Bytecode,
            PackOp::Environment => LayerKind::Environment,
            PackOp::Fetch | PackOp::Packages => LayerKind::Packages,
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
    if !plan.packages.is_empty() {
        graph.add("packages", PackOp::Packages, &[base, wheels]);
    }
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
        };
        let graph = lower(&plan);
        let free: Vec<_> = graph
            .vertices()
            .iter()
            .filter(|v| v.inputs.is_empty())
            .map(|v| v.name.as_str())
            .collect();
        assert_eq!(free, ["base debian trixie", "wheels", "environment"]);
    }
}
