//! The system call filter: Docker's policy, made into one BPF program by a binary search over call numbers.
//!
//! The program knows the native machine and the 32-bit one that its processors also run; a call made as any
//! other machine ends the process.

mod check;
mod numbers;
mod policy;
mod profile;
mod program;

use crate::capabilities::CapabilitySet;
use coil_sys::privilege::Instruction;
use numbers::NUMBERS;
use policy::{RULES, Rule, Verdict, When};
use program::{Assembler, MACHINE, NUMBER, Span, search};
use std::collections::BTreeMap;

pub use profile::compile;

/// A machine whose call numbers are known, with the kernel's `AUDIT_ARCH_*` number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Machine {
    #[cfg_attr(
        all(target_arch = "aarch64", not(test)),
        expect(dead_code, reason = "of the other processor")
    )]
    X86_64,
    #[cfg_attr(
        all(target_arch = "aarch64", not(test)),
        expect(dead_code, reason = "of the other processor")
    )]
    I386,
    #[cfg_attr(
        all(target_arch = "x86_64", not(test)),
        expect(dead_code, reason = "of the other processor")
    )]
    Aarch64,
    #[cfg_attr(
        all(target_arch = "x86_64", not(test)),
        expect(dead_code, reason = "of the other processor")
    )]
    Arm,
}

impl Machine {
    fn audit_number(self) -> u32 {
        match self {
            Machine::X86_64 => 0xc000_003e,
            Machine::I386 => 0x4000_0003,
            Machine::Aarch64 => 0xc000_00b7,
            Machine::Arm => 0x4000_0028,
        }
    }

    /// The column in the table of numbers.
    fn column(self) -> usize {
        self as usize
    }
}

#[cfg(target_arch = "x86_64")]
const MACHINES: [Machine; 2] = [Machine::X86_64, Machine::I386];
#[cfg(target_arch = "aarch64")]
const MACHINES: [Machine; 2] = [Machine::Aarch64, Machine::Arm];

/// On x86-64, call numbers from here on belong to the x32 machine, which nothing of ours runs.
const X32: u32 = 0x4000_0000;

const DENIED: u16 = libc::EPERM as u16;

/// The filter for a container that has these capabilities.
pub fn default_filter(capabilities: CapabilitySet) -> Vec<Instruction> {
    let mut filter = Assembler::default();
    filter.load(MACHINE);
    for machine in MACHINES {
        filter.when_equal(machine.audit_number(), calls(machine, capabilities));
    }
    // A machine that we know nothing of: end the process, as libseccomp does.
    filter.code.push(Instruction {
        code: 0x06,
        jump_true: 0,
        jump_false: 0,
        value: 0x8000_0000,
    });
    filter.code
}

/// What happens to each call number of a machine, in order.
fn verdicts(machine: Machine, capabilities: CapabilitySet) -> BTreeMap<u32, Verdict> {
    let mut verdicts = BTreeMap::new();
    for rule in RULES.iter().filter(|rule| holds(rule, capabilities)) {
        let mut table = NUMBERS.iter();
        for name in rule.calls.split_ascii_whitespace() {
            // Both lists are sorted, so the search goes on where it stopped.
            if let Some((_, numbers)) = table.find(|(known, _)| *known == name)
                && let Ok(number) = u32::try_from(numbers[machine.column()])
            {
                verdicts.insert(number, rule.verdict);
            }
        }
    }
    verdicts
}

fn holds(rule: &Rule, capabilities: CapabilitySet) -> bool {
    match rule.when {
        When::Always => true,
        When::With(capability) => capabilities.contains(capability),
        When::Without(capability) => !capabilities.contains(capability),
    }
}

fn calls(machine: Machine, capabilities: CapabilitySet) -> Assembler {
    let mut spans: Vec<Span> = Vec::new();
    let mut last: Option<Option<Verdict>> = None;
    let mut begin = |first: u32, verdict: Option<Verdict>| {
        if last != Some(verdict) {
            last = Some(verdict);
            spans.push(Span {
                first,
                body: body(verdict),
            });
        }
    };
    let mut next = 0;
    for (number, verdict) in verdicts(machine, capabilities) {
        if number > next {
            begin(next, None);
        }
        begin(number, Some(verdict));
        next = number + 1;
    }
    begin(next, None);
    let mut program = Assembler::default();
    program.load(NUMBER);
    if machine == Machine::X86_64 {
        spans.push(Span {
            first: X32,
            body: body(Some(Verdict::Fail(libc::ENOSYS as u16))),
        });
    }
    program.append(search(&spans));
    program
}

fn body(verdict: Option<Verdict>) -> Assembler {
    let mut body = Assembler::default();
    match verdict {
        None => body.fail(DENIED),
        Some(Verdict::Allow) => body.allow(),
        Some(Verdict::Fail(errno)) => body.fail(errno),
        Some(Verdict::Examine(check)) => return check.emit(DENIED),
    }
    body
}

#[cfg(test)]
mod tests;
