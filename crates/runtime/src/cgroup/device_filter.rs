//! The device program of a v2 group: nodes may be made, the standard devices may be opened, nothing else.
//!
//! The kernel calls it with `struct bpf_cgroup_dev_ctx { access_type, major, minor }`, where the low half of
//! `access_type` is the kind of node (1 block, 2 character) and the high half the access (1 mknod, 2 read,
//! 4 write); 1 allows.

use crate::spec::Devices;
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
const READ: i32 = 2;
const WRITE: i32 = 4;
const BLOCK: i32 = 1;
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

pub(super) fn program(devices: &Devices) -> Vec<ExtendedInstruction> {
    let (context, result) = (1, 0);
    let (kind, access, major, minor) = (2, 3, 4, 5);
    // Caller-saved like the others: this program calls nothing.
    let scratch = 0;
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
    for rule in devices.nodes.iter().map(|node| &node.rule).chain(&devices.rules) {
        // Each comparison that fails jumps behind the rule.
        let mut checks = vec![(kind, if rule.block { BLOCK } else { CHARACTER })];
        checks.extend(rule.major.map(|number| (major, number as i32)));
        checks.extend(rule.minor.map(|number| (minor, number as i32)));
        let forbidden = [('m', MKNOD), ('r', READ), ('w', WRITE)]
            .into_iter()
            .filter(|(letter, _)| !rule.access.contains(*letter))
            .fold(0, |bits, (_, bit)| bits | bit);
        let rest = checks.len() as i16 + 3 + 2;
        for (at, (register, value)) in checks.into_iter().enumerate() {
            program.push(instruction(
                JUMP_NOT_EQUAL,
                register,
                0,
                rest - at as i16 - 1,
                value,
            ));
        }
        program.push(instruction(MOVE_REGISTER, scratch, access, 0, 0));
        program.push(instruction(AND, scratch, 0, 0, forbidden));
        program.push(instruction(JUMP_NOT_EQUAL, scratch, 0, 2, 0));
        program.extend(allow);
    }
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
