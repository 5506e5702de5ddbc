//! The device program of a v2 group: nodes may be made, the standard devices may be opened, nothing else.
//!
//! The kernel calls it with `struct bpf_cgroup_dev_ctx { access_type, major, minor }`, where the low half of
//! `access_type` is the kind of node (1 block, 2 character) and the high half the access (1 mknod, 2 read,
//! 4 write); 1 allows.

use coil_sys::privilege::ExtendedInstruction;

const LOAD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbc;
const MOVE: u8 = 0xb7;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

const MKNOD: i32 = 1;
const CHARACTER: i32 = 2;

/// Major and minor numbers of character devices; -1 for every minor.
const ALLOWED: [(i32, i32); 8] = [
    (1, 3),    // null
    (1, 5),    // zero
    (1, 7),    // full
    (1, 8),    // random
    (1, 9),    // urandom
    (5, 0),    // tty
    (5, 2),    // ptmx
    (136, -1), // terminals
];

fn instruction(code: u8, destination: u8, source: u8, offset: i16, value: i32) -> ExtendedInstruction {
    ExtendedInstruction {
        code,
        registers: destination | source << 4,
        offset,
        value,
    }
}

pub(super) fn program() -> Vec<ExtendedInstruction> {
    let (context, result) = (1, 0);
    let (kind, access, major, minor) = (2, 3, 4, 5);
    let mut program = vec![
        instruction(LOAD, kind, context, 0, 0),
        instruction(MOVE_REGISTER, access, kind, 0, 0),
        instruction(AND, kind, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, access, 0, 0, 16),
        instruction(LOAD, major, context, 4, 0),
        instruction(LOAD, minor, context, 8, 0),
    ];
    let allow = [instruction(MOVE, result, 0, 0, 1), instruction(EXIT, 0, 0, 0, 0)];
    let deny = [instruction(MOVE, result, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)];
    program.push(instruction(JUMP_NOT_EQUAL, access, 0, 2, MKNOD));
    program.extend(allow);
    program.push(instruction(JUMP_EQUAL, kind, 0, 2, CHARACTER));
    program.extend(deny);
    for (allowed_major, allowed_minor) in ALLOWED {
        if allowed_minor < 0 {
            program.push(instruction(JUMP_NOT_EQUAL, major, 0, 2, allowed_major));
        } else {
            program.push(instruction(JUMP_NOT_EQUAL, major, 0, 3, allowed_major));
            program.push(instruction(JUMP_NOT_EQUAL, minor, 0, 2, allowed_minor));
        }
        program.extend(allow);
    }
    program.extend(deny);
    program
}
