//! The build graph: what must be made, from what, in which order.
//!
//! Pure. A pack plan is lowered into a [`Graph`] here, and `build` solves graphs without knowing what they came
//! from.

pub mod graph;
pub mod pack;

pub use graph::{Graph, Vertex, VertexId};
pub use pack::{LayerKind, PackOp, PackPlan, lower};
