//! A small assembler for classic BPF, and the search tree over call numbers.

use coil_sys::privilege::Instruction;

const LOAD_WORD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const RETURN_ALLOW: u32 = 0x7fff_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;

/// Where the call's number lies in `struct seccomp_data`.
pub(super) const NUMBER: u32 = 0;
/// Where the machine lies.
pub(super) const MACHINE: u32 = 4;

/// Where the low half of an argument lies (little-endian machines, all four of ours).
pub(super) fn argument_low(index: u32) -> u32 {
    16 + 8 * index
}

/// Instructions being written.
#[derive(Debug, Default, Clone)]
pub(super) struct Assembler {
    pub(super) code: Vec<Instruction>,
}

impl Assembler {
    fn push(&mut self, code: u16, jump_true: u8, jump_false: u8, value: u32) {
        self.code.push(Instruction {
            code,
            jump_true,
            jump_false,
            value,
        });
    }

    pub(super) fn load(&mut self, offset: u32) {
        self.push(LOAD_WORD, 0, 0, offset);
    }

    pub(super) fn allow(&mut self) {
        self.push(RETURN, 0, 0, RETURN_ALLOW);
    }

    pub(super) fn fail(&mut self, errno: u16) {
        self.push(RETURN, 0, 0, RETURN_ERRNO | u32::from(errno));
    }

    pub(super) fn fail_if_equal(&mut self, value: u32, errno: u16) {
        self.push(JUMP_EQUAL, 0, 1, value);
        self.fail(errno);
    }

    pub(super) fn allow_if_equal(&mut self, value: u32) {
        self.push(JUMP_EQUAL, 0, 1, value);
        self.allow();
    }

    pub(super) fn fail_if_any_bit(&mut self, mask: u32, errno: u16) {
        self.push(JUMP_ANY_BIT, 0, 1, mask);
        self.fail(errno);
    }

    pub(super) fn append(&mut self, other: Assembler) {
        self.code.extend(other.code);
    }

    /// `then` runs when the loaded value equals `value`; otherwise what comes after it.
    pub(super) fn when_equal(&mut self, value: u32, then: Assembler) {
        // A long jump, since `then` may be longer than the 255 that a comparison can skip.
        self.push(JUMP_EQUAL, 1, 0, value);
        self.push(JUMP, 0, 0, then.code.len() as u32);
        self.append(then);
    }
}

/// A run of call numbers from `first` on that share what happens to them.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub first: u32,
    pub body: Assembler,
}

/// A binary search over spans that are sorted by their first number and cover everything from 0.
pub(super) fn search(spans: &[Span]) -> Assembler {
    if let [only] = spans {
        return only.body.clone();
    }
    let (low, high) = spans.split_at(spans.len() / 2);
    let (left, right) = (search(low), search(high));
    let mut tree = Assembler::default();
    match u8::try_from(left.code.len()) {
        Ok(skip) => tree.push(JUMP_AT_LEAST, skip, 0, high[0].first),
        Err(_) => {
            tree.push(JUMP_AT_LEAST, 0, 1, high[0].first);
            tree.push(JUMP, 0, 0, left.code.len() as u32);
        }
    }
    tree.append(left);
    tree.append(right);
    tree
}
