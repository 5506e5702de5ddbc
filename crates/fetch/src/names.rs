//! Names looked up once: many requests go to few servers, and each would ask for the same name again.
//!
//! The library below asks before each request, even where a connection is kept open; name servers that are asked a hundred
//! times in a second begin to leave questions unanswered, and each of those costs the system's resolver five seconds.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long an answer is believed: the system doesn't tell how long it is valid.
const BELIEVED: Duration = Duration::from_secs(60);

/// A resolver that remembers; clones share what they know.
pub(crate) struct Names<R = DefaultResolver> {
    shared: Arc<Shared<R>>,
}

struct Shared<R> {
    inner: R,
    /// By host and port. Who looks a name up holds its lock, so that others wait for the same answer.
    known: Mutex<BTreeMap<String, Arc<Mutex<Last>>>>,
}

/// How a name's last look-up ended, and when.
enum Last {
    None,
    Found(Box<ResolvedSocketAddrs>, Instant),
    Failed(Failure, Instant),
}

/// A failed look-up, for all who waited for it.
#[derive(Clone)]
enum Failure {
    NotFound,
    System(io::ErrorKind, String),
}

impl<R> Clone for Names<R> {
    fn clone(&self) -> Names<R> {
        Names {
            shared: self.shared.clone(),
        }
    }
}

impl<R> fmt::Debug for Names<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

impl Default for Names {
    fn default() -> Names {
        Names::of(DefaultResolver::default())
    }
}

impl<R> Names<R> {
    fn of(inner: R) -> Names<R> {
        Names {
            shared: Arc::new(Shared {
                inner,
                known: Mutex::new(BTreeMap::new()),
            }),
        }
    }

    /// Believes no answer any longer: nobody answers at an address, so that the server may have moved.
    pub(crate) fn forget(&self) {
        lock(&self.shared.known).clear();
    }
}

impl<R: Resolver> Resolver for Names<R> {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let asked = Instant::now();
        let named = uri
            .scheme()
            .zip(uri.authority())
            .and_then(|(scheme, authority)| DefaultResolver::host_and_port(scheme, authority));
        let Some(name) = named else {
            return self.shared.inner.resolve(uri, config, timeout);
        };
        let slot = lock(&self.shared.known)
            .entry(name)
            .or_insert_with(|| Arc::new(Mutex::new(Last::None)))
            .clone();
        let mut last = lock(&slot);
        match &*last {
            Last::Found(addresses, when) if when.elapsed() < BELIEVED => {
                return Ok(ResolvedSocketAddrs::clone(addresses));
            }
            // It failed while this one waited for it; who asks later has it tried again.
            Last::Failed(failure, when) if *when >= asked => return Err(failure.clone().into()),
            _ => {}
        }
        let found = self.shared.inner.resolve(uri, config, timeout);
        *last = match &found {
            Ok(addresses) => Last::Found(Box::new(addresses.clone()), Instant::now()),
            Err(error) => match Failure::of(error) {
                Some(failure) => Last::Failed(failure, Instant::now()),
                None => Last::None,
            },
        };
        found
    }
}

impl Failure {
    fn of(error: &Error) -> Option<Failure> {
        match error {
            Error::HostNotFound => Some(Failure::NotFound),
            Error::Io(error) => Some(Failure::System(error.kind(), error.to_string())),
            _ => None,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::NotFound => Error::HostNotFound,
            Failure::System(kind, text) => Error::Io(io::Error::new(kind, text)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use ureq::Timeout;

    /// Knows every name but `nowhere`, and counts the questions.
    #[derive(Debug, Default)]
    struct Counting {
        asked: AtomicUsize,
        /// Met within the first question of all, where there is one.
        meeting: Option<Barrier>,
    }

    impl Resolver for Counting {
        fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
            if self.asked.fetch_add(1, Ordering::SeqCst) == 0
                && let Some(meeting) = &self.meeting
            {
                meeting.wait();
            }
            if uri.host() == Some("nowhere") {
                return Err(Error::Io(io::Error::other("failed to lookup address")));
            }
            let mut addresses = self.empty();
            let port = 1 + uri.host().map_or(0, |host| host.len() as u16);
            addresses.push(SocketAddr::from(([127, 0, 0, 1], port)));
            Ok(addresses)
        }
    }

    fn ask(names: &Names<Counting>, uri: &str) -> Result<u16, String> {
        let config = ureq::Agent::config_builder().build();
        let timeout = NextTimeout {
            after: std::time::Duration::from_secs(9).into(),
            reason: Timeout::Resolve,
            ..NextTimeout::default()
        };
        let found = names.resolve(&uri.parse().unwrap(), &config, timeout);
        found
            .map(|addresses| addresses[0].port())
            .map_err(|error| error.to_string())
    }

    fn asked(names: &Names<Counting>) -> usize {
        names.shared.inner.asked.load(Ordering::SeqCst)
    }

    #[test]
    fn each_name_is_looked_up_once() {
        let names = Names::of(Counting::default());
        for _ in 0..5 {
            assert_eq!(ask(&names, "http://four/a"), Ok(5));
            assert_eq!(ask(&names.clone(), "http://three/b"), Ok(6));
        }
        assert_eq!(asked(&names), 2);
        // Another port may be another way there.
        assert_eq!(ask(&names, "http://four:81/"), Ok(5));
        assert_eq!(asked(&names), 3);
        names.forget();
        assert_eq!(ask(&names, "http://four/"), Ok(5));
        assert_eq!(asked(&names), 4);
    }

    #[test]
    fn a_failure_is_told_and_asked_for_again() {
        let names = Names::of(Counting::default());
        for number in 1..3 {
            let error = ask(&names, "http://nowhere/").unwrap_err();
            assert!(error.contains("lookup address"), "{error}");
            assert_eq!(asked(&names), number);
        }
    }

    #[test]
    fn who_asks_meanwhile_waits_for_the_same_answer() {
        let names = Names::of(Counting {
            meeting: Some(Barrier::new(2)),
            ..Counting::default()
        });
        std::thread::scope(|scope| {
            let asking: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| ask(&names, "http://four/")))
                .collect();
            names.shared.inner.meeting.as_ref().unwrap().wait();
            for one in asking {
                assert_eq!(one.join().unwrap(), Ok(5));
            }
        });
        assert_eq!(asked(&names), 1);
    }
}
