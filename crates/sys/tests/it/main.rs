//! The kernel's network interfaces, in network namespaces made by the tests, checked with the kernel's usual tools.

mod network;
