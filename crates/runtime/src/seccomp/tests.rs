//! The filter's shape, run by a small interpreter; the real kernel runs it in the integration tests.

use super::*;
use crate::capabilities::{Capability, DEFAULT};

const ALLOW: u32 = 0x7fff_0000;

fn errno(number: i32) -> u32 {
    0x0005_0000 | number as u32
}

/// What the kernel would do: classic BPF over `struct seccomp_data`.
fn run(program: &[Instruction], machine: Machine, number: u32, argument: u64) -> u32 {
    let mut data = [0u8; 64];
    data[0..4].copy_from_slice(&number.to_le_bytes());
    data[4..8].copy_from_slice(&machine.audit_number().to_le_bytes());
    data[16..24].copy_from_slice(&argument.to_le_bytes());
    let (mut at, mut accumulator) = (0usize, 0u32);
    loop {
        let Instruction {
            code,
            jump_true,
            jump_false,
            value,
        } = program[at];
        at += 1;
        let holds = match code {
            0x20 => {
                let offset = value as usize;
                accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().expect("four bytes"));
                continue;
            }
            0x05 => {
                at += value as usize;
                continue;
            }
            0x15 => accumulator == value,
            0x35 => accumulator >= value,
            0x45 => accumulator & value != 0,
            0x06 => return value,
            other => panic!("instruction {other:#x}"),
        };
        at += usize::from(if holds { jump_true } else { jump_false });
    }
}

#[test]
fn every_number_gets_the_verdict_of_its_rule() {
    for set in [
        CapabilitySet::of(&DEFAULT),
        CapabilitySet::default(),
        CapabilitySet::of(&[Capability::SysAdmin]),
    ] {
        let program = default_filter(set);
        for machine in MACHINES {
            let verdicts = verdicts(machine, set);
            for number in 0..600 {
                let expected = match verdicts.get(&number) {
                    None => errno(libc::EPERM),
                    Some(Verdict::Allow) => ALLOW,
                    Some(Verdict::Fail(errno_)) => errno(i32::from(*errno_)),
                    Some(Verdict::Examine(_)) => continue,
                };
                assert_eq!(
                    run(&program, machine, number, 0),
                    expected,
                    "{machine:?} {number}"
                );
            }
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn arguments_are_examined() {
    let program = default_filter(CapabilitySet::of(&DEFAULT));
    let cases = [
        (Machine::X86_64, 41, 2, ALLOW),
        (Machine::X86_64, 41, 39, ALLOW),
        (Machine::X86_64, 41, 38, errno(libc::EPERM)),
        (Machine::X86_64, 41, 40, errno(libc::EPERM)),
        (Machine::X86_64, 41, 38 | 1 << 32, errno(libc::EPERM)),
        (Machine::I386, 359, 38, errno(libc::EPERM)),
        (Machine::I386, 102, 1, errno(libc::ENOSYS)),
        (Machine::I386, 102, 3, ALLOW),
        (Machine::X86_64, 56, 0x11, ALLOW),
        (Machine::X86_64, 56, 0x1000_0011, errno(libc::EPERM)),
        (Machine::X86_64, 435, 0, errno(libc::ENOSYS)),
        (Machine::X86_64, 135, 0x2_0008, ALLOW),
        (Machine::X86_64, 135, 0x40_0000, errno(libc::EPERM)),
        (Machine::X86_64, 0x4000_0001, 0, errno(libc::ENOSYS)),
    ];
    for (machine, number, argument, expected) in cases {
        assert_eq!(
            run(&program, machine, number, argument),
            expected,
            "{machine:?} {number} {argument:#x}"
        );
    }
    assert_eq!(
        run(&program, Machine::Arm, 1, 0),
        0x8000_0000,
        "another machine ends the process"
    );
}

#[test]
fn names_are_sorted_and_known() {
    assert!(NUMBERS.is_sorted_by_key(|(name, _)| *name));
    for rule in RULES {
        let names: Vec<&str> = rule.calls.split_ascii_whitespace().collect();
        assert!(names.is_sorted(), "{}", names[0]);
        for name in names {
            assert!(NUMBERS.iter().any(|(known, _)| *known == name), "{name}");
        }
        assert!(!rule.reason.is_empty());
    }
}

#[test]
fn the_program_is_small() {
    let length = default_filter(CapabilitySet::of(&DEFAULT)).len();
    assert!(length < 700, "{length} instructions");
}

#[test]
fn each_machine_has_its_own_numbers() {
    let set = CapabilitySet::of(&DEFAULT);
    for (machine, openat) in [
        (Machine::X86_64, 257),
        (Machine::I386, 295),
        (Machine::Aarch64, 56),
        (Machine::Arm, 322),
    ] {
        assert_eq!(
            verdicts(machine, set).get(&openat),
            Some(&Verdict::Allow),
            "{machine:?}"
        );
    }
}
