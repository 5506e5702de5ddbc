//! The kernel's network interfaces, in network namespaces made by the tests, checked with the kernel's usual tools.

#![expect(clippy::unwrap_used, reason = "a test that meets a surprise stops there")]

mod network;
