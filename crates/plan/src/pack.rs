//! What `coil pack` makes for one platform, and its graph.

use std::fmt;

use coil_oci::Arch;
use coil_python::Pinned;
use serde::Serialize;

use crate::{Graph, VertexId};

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
    /// Which packages go into one layer together, in the layers' order.
    pub groups: Vec<WheelGroup>,
}

/// Packages that share a layer.
#[derive(Debug, Clone, Serialize)]
pub struct WheelGroup {
    /// What a user sees: the package's name, or which bucket it is.
    pub name: String,
    /// The packages, sorted by name.
    pub packages: Vec<Pinned>,
}

/// What a layer of a packed image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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

/// An operation of a pack graph; each makes one layer.
#[derive(Debug, Clone)]
pub enum PackOp {
    /// Takes the base.
    Base,
    /// Compiles the standard library of its input, the base.
    Bytecode,
    /// Makes the empty virtual environment.
    Environment,
    /// Installs packages; its input, the base, has the interpreter that compiles them.
    Packages(WheelGroup),
    /// Packs the project's own files; its input, the base, has the interpreter that compiles them.
    App,
}

impl PackOp {
    /// What the layer holds.
    pub fn kind(&self) -> LayerKind {
        match self {
            PackOp::Base => LayerKind::Base,
            PackOp::Bytecode => LayerKind::Bytecode,
            PackOp::Environment => LayerKind::Environment,
            PackOp::Packages(_) => LayerKind::Packages,
            PackOp::App => LayerKind::App,
        }
    }
}

/// The graph of a plan; the image's layers are its vertices in their order, the app last and alone.
pub fn lower(plan: &PackPlan) -> Graph<PackOp> {
    let mut graph = Graph::new();
    let base = graph.add(format!("base {}", plan.base), PackOp::Base, &[]);
    let on_base: &[VertexId] = &[base];
    if plan.bytecode {
        graph.add("standard library bytecode", PackOp::Bytecode, on_base);
    }
    graph.add("environment", PackOp::Environment, &[]);
    for group in &plan.groups {
        graph.add(
            format!("packages {}", group.name),
            PackOp::Packages(group.clone()),
            on_base,
        );
    }
    graph.add("app", PackOp::App, on_base);
    graph
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_is_last_and_alone() {
        let group = WheelGroup {
            name: "numpy".into(),
            packages: vec![],
        };
        let plan = PackPlan {
            arch: Arch::Amd64,
            base: "debian trixie".into(),
            python: "3.13.5".into(),
            bytecode: true,
            groups: vec![group],
        };
        let kinds: Vec<_> = lower(&plan)
            .vertices()
            .iter()
            .map(|vertex| vertex.op.kind())
            .collect();
        let expected = [
            LayerKind::Base,
            LayerKind::Bytecode,
            LayerKind::Environment,
            LayerKind::Packages,
            LayerKind::App,
        ];
        assert_eq!(kinds, expected);
    }
}
