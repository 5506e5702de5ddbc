//! Plain http through a proxy, in the form that every proxy accepts.
//!
//! For http URLs the library below opens a tunnel (CONNECT), which proxies commonly refuse for port 80. What they want is the
//! whole URL in the request line (RFC 9112 section 3.2.2), so this transport rewrites that one line.

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, NextTimeout, TcpConnector, Transport,
};

use crate::names::Names;

/// Makes an agent whose requests all go to the proxy.
pub(crate) fn agent(config: Config, names: Names, proxy: Uri, authorization: Option<String>) -> ureq::Agent {
    let connector = TcpConnector::default().chain(Forward { authorization });
    ureq::Agent::with_parts(config, connector, ToProxy { proxy, inner: names })
}

/// Resolves every name to the proxy's address.
#[derive(Debug)]
struct ToProxy {
    proxy: Uri,
    inner: Names,
}

impl Resolver for ToProxy {
    fn resolve(&self, _: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        self.inner.resolve(&self.proxy, config, timeout)
    }
}

struct Forward {
    authorization: Option<String>,
}

impl std::fmt::Debug for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Forward")
    }
}

impl<In: Transport> Connector<In> for Forward {
    type Out = Either<In, Rewriting<In>>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        let authority = details
            .uri
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        let authorization = self.authorization.clone();
        Ok(chained.map(|inner| {
            Either::B(Rewriting {
                inner,
                authority,
                authorization,
            })
        }))
    }
}

/// A connection that puts `http://host` before the path of each request.
struct Rewriting<T> {
    inner: T,
    authority: String,
    authorization: Option<String>,
}

impl<T> std::fmt::Debug for Rewriting<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rewriting")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

impl<T: Transport> Transport for Rewriting<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let output = self.inner.buffers().output();
        // Only GET is sent by this crate and it has no body, so that a request always begins at the buffer's start.
        let rewritten = output[..amount].strip_prefix(b"GET /").and_then(|rest| {
            let line_end = rest.windows(2).position(|pair| pair == b"\r\n")?;
            let (line, headers) = rest.split_at(line_end + 2);
            let mut head = format!("GET http://{}/", self.authority).into_bytes();
            head.extend_from_slice(line);
            if let Some(value) = &self.authorization {
                head.extend_from_slice(format!("Proxy-Authorization: {value}\r\n").as_bytes());
            }
            head.extend_from_slice(headers);
            Some(head)
        });
        let Some(head) = rewritten else {
            return self.inner.transmit_output(amount, timeout);
        };
        let Some(room) = output.get_mut(..head.len()) else {
            return Err(Error::Io(std::io::Error::other(
                "the request's head is too long for the proxy",
            )));
        };
        room.copy_from_slice(&head);
        self.inner.transmit_output(head.len(), timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}
