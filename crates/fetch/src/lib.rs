//! The HTTP client: the only crate that reaches out to the network.
//!
//! It knows retries, resumed downloads, proxies, certificate roots, credentials and progress; it knows nothing
//! of what it fetches. Settings come in as [`FetchSettings`], the environment is never read.
//!
//! Rules that hold for every request:
//! - Redirects are followed here, not in the HTTP library, so that a credential never reaches another host.
//! - A credential in a URL (`https://user:secret@host/`) becomes an `Authorization` header, is remembered for that
//!   host and port as long as the [`Fetcher`] lives (indices link to files of their own without repeating it),
//!   and never stands in an error or in [`Page::url`].
//! - What may pass by itself (a refused connection, a time-out, 429, 5xx, a body cut short) is tried again with
//!   growing pauses; what can't (a bad certificate, 404, a wrong hash) is told at once.

mod address;
mod agents;
mod client;
mod download;
mod error;
mod exchange;
mod forward;
mod names;
mod netrc;
mod progress;
mod proxy;
mod tls;

pub use address::{base64, join_url, percent_decode, redact_url};
pub use client::{FetchSettings, Fetcher, LoginSource, Page};
pub use download::{Download, Downloaded};
pub use error::FetchError;
pub use exchange::{Answer, Exchange, basic_authorization, percent_encode};
pub use netrc::{NetrcEntry, parse_netrc};
pub use progress::{NoProgress, Progress};
