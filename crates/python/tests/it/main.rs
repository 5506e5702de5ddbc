//! What coil reads from locks, held against what their tools and PyPA's `packaging` say of the same files.

mod folder;
mod locks;
mod mutation;
mod oracles;
mod reference;
