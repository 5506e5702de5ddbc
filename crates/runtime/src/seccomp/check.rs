//! Rules that look at an argument of the call.

use super::program::{Assembler, argument_low};

/// A look at an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// `socket`: any family but AF_ALG (38) and AF_VSOCK (40).
    SocketFamily,
    /// `socketcall`: anything but making a socket or a pair.
    SocketCall,
    /// `personality`: Linux, 32 bits, UNAME26, or a question.
    Personality,
    /// `clone`: no namespace flags.
    CloneFlags,
}

const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;
const SYS_SOCKET: u32 = 1;
const SYS_SOCKETPAIR: u32 = 8;
/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NAMESPACES: u32 = 0x7e02_0000;

impl Check {
    /// Writes the instructions; they end by themselves. `denied` is the error of a call that fails the look.
    ///
    /// The kernel takes these arguments as 32-bit integers, so the low half alone decides
    /// (`personality` too: its argument is an `unsigned int`).
    pub(super) fn emit(self, denied: u16) -> Assembler {
        let mut a = Assembler::default();
        match self {
            Check::SocketFamily => {
                a.load(argument_low(0));
                a.fail_if_equal(AF_ALG, denied);
                a.fail_if_equal(AF_VSOCK, denied);
                a.allow();
            }
            Check::SocketCall => {
                // "No such call" instead of "not permitted": what is refused is this way, not the socket.
                a.load(argument_low(0));
                a.fail_if_equal(SYS_SOCKET, libc::ENOSYS as u16);
                a.fail_if_equal(SYS_SOCKETPAIR, libc::ENOSYS as u16);
                a.allow();
            }
            Check::Personality => {
                a.load(argument_low(0));
                for domain in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
                    a.allow_if_equal(domain);
                }
                a.fail(denied);
            }
            Check::CloneFlags => {
                a.load(argument_low(0));
                a.fail_if_any_bit(NAMESPACES, denied);
                a.allow();
            }
        }
        a
    }
}
