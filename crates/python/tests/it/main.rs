//! What coil reads from locks, held against what uv and PyPA's `packaging` say of the same files.

mod locks;
