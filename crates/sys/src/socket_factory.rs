//! A forked helper that stands in other namespaces, or stays behind in those that its parent leaves, and makes sockets
//! there for its parent.
#![expect(unsafe_code, reason = "fork, setns and the helper's life without the runtime")]

use crate::socket::{Transport, check, message_pair, own, receive_message, send_message};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Asks for sockets in another network namespace and receives them without blocking.
///
/// The helper dies with its parent (`PR_SET_PDEATHSIG`, and the end of its socket), can't be traced, and holds no
/// other descriptors. Answers come in the order of the requests.
#[derive(Debug)]
pub struct SocketFactory {
    channel: OwnedFd,
    process: OwnedFd,
    pid: libc::pid_t,
}

impl AsFd for SocketFactory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl SocketFactory {
    /// Forks the helper, which joins `user` first (when given) and then `net`.
    ///
    /// # Errors
    /// The fork's own failure. A failure to join comes with the first answer.
    pub fn spawn(user: Option<BorrowedFd<'_>>, net: BorrowedFd<'_>) -> io::Result<Self> {
        Self::fork(user, Some(net))
    }

    /// Forks a helper that stays in the namespaces of this moment, whatever its parent joins afterwards.
    ///
    /// # Errors
    /// The fork's own failure.
    pub fn spawn_here() -> io::Result<Self> {
        Self::fork(None, None)
    }

    fn fork(user: Option<BorrowedFd<'_>>, net: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        let (ours, theirs) = message_pair()?;
        // SAFETY: no pointers are passed.
        let parent = unsafe { libc::getpid() };
        // SAFETY: the child calls nothing but async-signal-safe functions and never returns.
        let pid = check(unsafe { libc::fork() })?;
        if pid == 0 {
            // SAFETY: this is the forked child with one thread; see `serve`.
            unsafe {
                serve(
                    parent,
                    theirs.as_raw_fd(),
                    user.map(|fd| fd.as_raw_fd()),
                    net.map(|fd| fd.as_raw_fd()),
                );
            }
        }
        // SAFETY: no pointers are passed; the child can't have been reaped yet, so the pid is its own.
        let process = own(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as libc::c_int)?;
        Ok(Self {
            channel: ours,
            process,
            pid,
        })
    }

    /// The helper's process id: to tell its end from others' when reaping.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Asks for one socket.
    pub fn request(&self, ipv6: bool, transport: Transport) -> io::Result<()> {
        let request = [u8::from(ipv6), u8::from(transport == Transport::Udp)];
        send_message(self.channel.as_fd(), &request, None).map(drop)
    }

    /// Asks for one socket and waits for it; only for who has no other request under way.
    ///
    /// # Errors
    /// What the helper met, or that it is gone.
    pub fn make(&self, ipv6: bool, transport: Transport) -> io::Result<OwnedFd> {
        self.request(ipv6, transport)?;
        let mut wait = libc::pollfd {
            fd: self.channel.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        loop {
            match self.receive() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                answer => return answer?,
            }
            // SAFETY: the pointer is to one local entry. An interruption is met by asking again.
            unsafe { libc::poll(&raw mut wait, 1, -1) };
        }
    }

    /// Takes the next answer: a non-blocking socket, or why there is none.
    ///
    /// # Errors
    /// `WouldBlock` when no answer is there yet; `BrokenPipe` when the helper is gone.
    pub fn receive(&self) -> io::Result<io::Result<OwnedFd>> {
        let mut answer = [0; 4];
        match receive_message(self.channel.as_fd(), &mut answer)? {
            (4, Some(socket)) => Ok(Ok(socket)),
            (4, None) => Ok(Err(io::Error::from_raw_os_error(i32::from_ne_bytes(answer)))),
            _ => Err(io::Error::from(io::ErrorKind::BrokenPipe)),
        }
    }
}

impl Drop for SocketFactory {
    fn drop(&mut self) {
        // SAFETY: the pidfd names our own child whatever became of its number; a failure means that it was reaped.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.process.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            );
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(
                libc::P_PIDFD,
                self.process.as_raw_fd() as libc::id_t,
                &raw mut info,
                libc::WEXITED,
            );
        }
    }
}

/// The helper: joins the namespaces and answers requests until its channel ends. Allocates nothing.
///
/// # Safety
/// Only for a freshly forked child; it closes every other descriptor and never returns.
unsafe fn serve(parent: libc::pid_t, channel: RawFd, user: Option<RawFd>, net: Option<RawFd>) -> ! {
    // SAFETY: plain system calls on numbers; pointers are to locals; nothing here allocates or takes a lock.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != parent {
            libc::_exit(0);
        }
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
        libc::prctl(libc::PR_SET_NAME, c"coil-ports".as_ptr());
        // The parent's signal handling is not ours; a blocked mask would keep SIGTERM away.
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::fcntl(channel, libc::F_SETFL, 0);
        let mut failure = 0;
        if let Some(user) = user
            && libc::setns(user, libc::CLONE_NEWUSER) != 0
        {
            failure = *libc::__errno_location();
        }
        if let Some(net) = net
            && failure == 0
            && libc::setns(net, libc::CLONE_NEWNET) != 0
        {
            failure = *libc::__errno_location();
        }
        // Joining a user namespace clears the death signal and restores the dumpable mark.
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if channel > 0 {
            libc::syscall(libc::SYS_close_range, 0, channel - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, channel + 1, libc::c_uint::MAX, 0);
        let channel = BorrowedFd::borrow_raw(channel);
        loop {
            let mut request = [0u8; 2];
            match libc::recv(channel.as_raw_fd(), request.as_mut_ptr().cast(), 2, 0) {
                2 => {}
                -1 if *libc::__errno_location() == libc::EINTR => continue,
                _ => libc::_exit(0),
            }
            let mut answer = failure;
            let mut socket = None;
            if failure == 0 {
                let transport = if request[1] == 1 {
                    Transport::Udp
                } else {
                    Transport::Tcp
                };
                match crate::socket::open(request[0] == 1, transport) {
                    Ok(made) => socket = Some(made),
                    Err(error) => answer = error.raw_os_error().unwrap_or(libc::EIO),
                }
            }
            let bytes = answer.to_ne_bytes();
            if send_message(channel, &bytes, socket.as_ref().map(|s| s.as_fd())).is_err() {
                libc::_exit(0);
            }
        }
    }
}
