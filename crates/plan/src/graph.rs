//! A graph of operations without cycles: a vertex may only build on vertices that came before it.

/// A vertex's place in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexId(usize);

impl VertexId {
    /// The place, counted from zero.
    pub fn index(self) -> usize {
        self.0
    }
}

/// One operation and what it builds on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vertex<O> {
    /// What a user sees of it, in a few words.
    pub name: String,
    /// What is to be done.
    pub op: O,
    /// Whose results it needs, in the order in which it wants them.
    pub inputs: Vec<VertexId>,
}

/// Vertices in an order in which they can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph<O> {
    vertices: Vec<Vertex<O>>,
}

impl<O> Graph<O> {
    /// A graph with nothing in it.
    pub fn new() -> Graph<O> {
        Graph { vertices: Vec::new() }
    }

    /// Adds an operation on the results of earlier ones.
    pub fn add(&mut self, name: impl Into<String>, op: O, inputs: &[VertexId]) -> VertexId {
        debug_assert!(inputs.iter().all(|input| input.0 < self.vertices.len()));
        self.vertices.push(Vertex {
            name: name.into(),
            op,
            inputs: inputs.to_vec(),
        });
        VertexId(self.vertices.len() - 1)
    }

    /// The vertices, each after those that it builds on.
    pub fn vertices(&self) -> &[Vertex<O>] {
        &self.vertices
    }
}

impl<O> Default for Graph<O> {
    fn default() -> Self {
        Graph::new()
    }
}
