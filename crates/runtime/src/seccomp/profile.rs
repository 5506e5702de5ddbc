//! A profile of the user's: Docker's JSON, made into a BPF program like the default one.

use super::numbers::NUMBERS;
use super::program::{Assembler, MACHINE, NUMBER, Span, search};
use super::{MACHINES, Machine, X32};
use crate::capabilities::{Capability, CapabilitySet};
use coil_sys::privilege::Instruction;
use serde::Deserialize;
use std::collections::BTreeMap;

/// System calls that the default policy never names, since it lets none of them through; numbers as in [`NUMBERS`].
#[rustfmt::skip]
const MORE: &[(&str, [i32; 4])] = &[
    ("_sysctl", [156, 149, -1, 149]), ("add_key", [248, 286, 217, 309]), ("create_module", [174, 127, -1, -1]),
    ("get_kernel_syms", [177, 130, -1, -1]), ("io_uring_enter", [426, 426, 426, 426]),
    ("io_uring_register", [427, 427, 427, 427]), ("io_uring_setup", [425, 425, 425, 425]),
    ("kexec_file_load", [320, -1, 294, 401]), ("kexec_load", [246, 283, 104, 347]), ("keyctl", [250, 288, 219, 311]),
    ("migrate_pages", [256, 294, 238, 400]), ("move_pages", [279, 317, 239, 344]),
    ("nfsservctl", [180, 169, 42, 169]), ("pivot_root", [155, 217, 41, 218]), ("query_module", [178, 167, -1, -1]),
    ("request_key", [249, 287, 218, 310]), ("swapoff", [168, 115, 225, 115]), ("swapon", [167, 87, 224, 87]),
    ("sysfs", [139, 135, -1, 135]), ("uselib", [134, 86, -1, 86]), ("userfaultfd", [323, 374, 282, 388]),
    ("ustat", [136, 62, -1, 62]), ("vm86", [-1, 166, -1, -1]), ("vm86old", [-1, 113, -1, -1]),
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u16>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    name: String,
    action: String,
    #[serde(default)]
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    caps: Vec<String>,
    arches: Vec<String>,
    min_kernel: String,
}

/// One rule for one call: what must hold of its arguments, and what happens then.
struct Clause {
    arguments: Vec<Argument>,
    action: u32,
}

/// Reads a profile for a container that has these capabilities.
///
/// # Errors
/// What is wrong with it, for the user.
pub fn compile(
    text: &str,
    capabilities: CapabilitySet,
    kernel: (u32, u32),
) -> Result<Vec<Instruction>, String> {
    let profile: Profile =
        serde_json::from_str(text).map_err(|error| format!("it is no seccomp profile: {error}"))?;
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let mut filter = Assembler::default();
    filter.load(MACHINE);
    for machine in MACHINES {
        let program = calls(&profile, default, machine, capabilities, kernel)?;
        filter.when_equal(machine.audit_number(), program);
    }
    filter.code.push(instruction(0x06, 0, 0, 0x8000_0000));
    if filter.code.len() > 4096 {
        return Err("it becomes more than the 4096 instructions that a kernel takes".to_owned());
    }
    Ok(filter.code)
}

fn instruction(code: u16, jump_true: u8, jump_false: u8, value: u32) -> Instruction {
    Instruction {
        code,
        jump_true,
        jump_false,
        value,
    }
}

fn action(name: &str, errno: Option<u16>) -> Result<u32, String> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | u32::from(errno.unwrap_or(libc::EPERM as u16)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | u32::from(errno.unwrap_or_default()),
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        other => return Err(format!("its action `{other}` is not known")),
    })
}

fn numbers(name: &str) -> Option<[i32; 4]> {
    let find = |table: &[(&str, [i32; 4])]| table.iter().find(|(known, _)| *known == name).map(|(_, n)| *n);
    find(NUMBERS).or_else(|| find(MORE))
}

fn calls(
    profile: &Profile,
    default: u32,
    machine: Machine,
    capabilities: CapabilitySet,
    kernel: (u32, u32),
) -> Result<Assembler, String> {
    let mut clauses: BTreeMap<u32, Vec<Clause>> = BTreeMap::new();
    for rule in &profile.syscalls {
        let meant = action(&rule.action, rule.errno_ret.or(profile.default_errno_ret))?;
        if !holds(&rule.includes, machine, capabilities, kernel, true)
            || !holds(&rule.excludes, machine, capabilities, kernel, false)
        {
            continue;
        }
        for name in rule
            .names
            .iter()
            .chain(Some(&rule.name).filter(|name| !name.is_empty()))
        {
            let Some(numbers) = numbers(name) else {
                if meant != default && default == 0x7fff_0000 {
                    return Err(format!(
                        "it forbids the system call `{name}`, which coil doesn't know"
                    ));
                }
                continue;
            };
            if let Ok(number) = u32::try_from(numbers[machine.column()]) {
                clauses.entry(number).or_default().push(Clause {
                    arguments: rule.args.clone().unwrap_or_default(),
                    action: meant,
                });
            }
        }
    }
    let mut spans = vec![Span {
        first: 0,
        body: verdict(default),
    }];
    for (number, clauses) in clauses {
        let mut body = Assembler::default();
        for clause in &clauses {
            body.append(clause_code(clause)?);
        }
        body.append(verdict(default));
        if spans.last().is_some_and(|span| span.first == number) {
            spans.pop();
        }
        spans.push(Span { first: number, body });
        spans.push(Span {
            first: number + 1,
            body: verdict(default),
        });
    }
    if machine == Machine::X86_64 {
        spans.push(Span {
            first: X32,
            body: verdict(0x0005_0000 | libc::ENOSYS as u32),
        });
    }
    let mut program = Assembler::default();
    program.load(NUMBER);
    program.append(search(&spans));
    Ok(program)
}

fn verdict(action: u32) -> Assembler {
    Assembler {
        code: vec![instruction(0x06, 0, 0, action)],
    }
}

/// Whether a rule applies; `wanted` for what must hold, and not for what must not.
fn holds(
    condition: &Condition,
    machine: Machine,
    capabilities: CapabilitySet,
    kernel: (u32, u32),
    wanted: bool,
) -> bool {
    let has = |name: &String| Capability::parse(name).is_some_and(|c| capabilities.contains(c));
    let is = |name: &String| {
        let names: &[&str] = match machine {
            Machine::X86_64 => &["amd64", "x86_64"],
            Machine::I386 => &["amd64", "x86", "386"],
            Machine::Aarch64 => &["arm64", "aarch64"],
            Machine::Arm => &["arm64", "arm"],
        };
        names.contains(&name.as_str())
    };
    if wanted {
        let new_enough = || {
            let mut parts = condition
                .min_kernel
                .split('.')
                .map(|part| part.parse::<u32>().unwrap_or(0));
            let least = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
            kernel >= least
        };
        condition.caps.iter().all(has)
            && (condition.arches.is_empty() || condition.arches.iter().any(is))
            && (condition.min_kernel.is_empty() || new_enough())
    } else {
        !condition.caps.iter().any(has) && !condition.arches.iter().any(is)
    }
}

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const AT_LEAST: u16 = 0x35;

/// Where a jump goes: on, to the end of the comparison with success, or to the next clause.
#[derive(Clone, Copy, PartialEq)]
enum To {
    On,
    Holds,
    Fails,
}

/// Instructions that return the action when every condition holds, and fall behind themselves otherwise.
fn clause_code(clause: &Clause) -> Result<Assembler, String> {
    let mut code = vec![instruction(0x06, 0, 0, clause.action)];
    for argument in clause.arguments.iter().rev() {
        let mut steps = comparison(argument)?;
        let length = steps.len();
        for (at, (step, yes, no)) in steps.iter_mut().enumerate() {
            let behind = length - at - 1;
            let distance = |to: To| match to {
                To::On => 0,
                To::Holds => behind,
                To::Fails => behind + code.len(),
            };
            if step.code != LOAD && step.code != AND {
                let short =
                    |to: To| u8::try_from(distance(to)).map_err(|_| "a rule of it is too long".to_owned());
                (step.jump_true, step.jump_false) = (short(*yes)?, short(*no)?);
            }
        }
        let mut whole: Vec<Instruction> = steps.into_iter().map(|(step, _, _)| step).collect();
        whole.append(&mut code);
        code = whole;
    }
    Ok(Assembler { code })
}

fn comparison(argument: &Argument) -> Result<Vec<(Instruction, To, To)>, String> {
    if argument.index > 5 {
        return Err(format!("a system call has no argument {}", argument.index));
    }
    let low = 16 + 8 * argument.index;
    let load = |offset| (instruction(LOAD, 0, 0, offset), To::On, To::On);
    let step = |code, value, yes, no| (instruction(code, 0, 0, value), yes, no);
    let halves = |value: u64| ((value >> 32) as u32, value as u32);
    let (high_value, low_value) = halves(argument.value);
    let ordered = |last: u16, yes: To, no: To| {
        vec![
            load(low + 4),
            step(GREATER, high_value, yes, To::On),
            step(EQUAL, high_value, To::On, no),
            load(low),
            step(
                last,
                low_value,
                if yes == To::Holds { To::On } else { yes },
                if no == To::Holds { To::On } else { no },
            ),
        ]
    };
    Ok(match argument.op.as_str() {
        "SCMP_CMP_EQ" => vec![
            load(low + 4),
            step(EQUAL, high_value, To::On, To::Fails),
            load(low),
            step(EQUAL, low_value, To::On, To::Fails),
        ],
        "SCMP_CMP_NE" => vec![
            load(low + 4),
            step(EQUAL, high_value, To::On, To::Holds),
            load(low),
            step(EQUAL, low_value, To::Fails, To::On),
        ],
        "SCMP_CMP_MASKED_EQ" => {
            let (high_wanted, low_wanted) = halves(argument.value_two);
            vec![
                load(low + 4),
                step(AND, high_value, To::On, To::On),
                step(EQUAL, high_wanted, To::On, To::Fails),
                load(low),
                step(AND, low_value, To::On, To::On),
                step(EQUAL, low_wanted, To::On, To::Fails),
            ]
        }
        "SCMP_CMP_GT" => ordered(GREATER, To::Holds, To::Fails),
        "SCMP_CMP_GE" => ordered(AT_LEAST, To::Holds, To::Fails),
        "SCMP_CMP_LE" => ordered(GREATER, To::Fails, To::Holds),
        "SCMP_CMP_LT" => ordered(AT_LEAST, To::Fails, To::Holds),
        other => return Err(format!("its comparison `{other}` is not known")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capabilities;

    const KERNEL: (u32, u32) = (6, 1);

    /// What a program says of a call on this machine.
    fn run(program: &[Instruction], number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [0u8; 64];
        data[..4].copy_from_slice(&number.to_le_bytes());
        data[4..8].copy_from_slice(&MACHINES[0].audit_number().to_le_bytes());
        for (at, argument) in arguments.iter().enumerate() {
            data[16 + 8 * at..24 + 8 * at].copy_from_slice(&argument.to_le_bytes());
        }
        let (mut at, mut register) = (0, 0u32);
        loop {
            let step = program[at];
            at += 1;
            let value = step.value;
            let mut jump =
                |holds: bool| at += usize::from(if holds { step.jump_true } else { step.jump_false });
            match step.code {
                LOAD => {
                    let from = value as usize;
                    register = u32::from_le_bytes(data[from..from + 4].try_into().expect("four bytes"));
                }
                AND => register &= value,
                EQUAL => jump(register == value),
                GREATER => jump(register > value),
                AT_LEAST => jump(register >= value),
                0x45 => jump(register & value != 0),
                0x05 => at += value as usize,
                0x06 => return value,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn number(name: &str) -> u32 {
        u32::try_from(numbers(name).expect("it is known")[MACHINES[0].column()]).expect("it is here")
    }

    #[test]
    fn rules_look_at_names_and_arguments() {
        let rule = |op: &str, value: u64, two: u64| {
            format!(
                r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["socket"],"action":"SCMP_ACT_ERRNO","errnoRet":5,
                "args":[{{"index":1,"value":{value},"valueTwo":{two},"op":"SCMP_CMP_{op}"}}]}},
                {{"names":["mkdirat","no_such_call_at_all_allowed"],"action":"SCMP_ACT_ALLOW"}}]}}"#
            )
        };
        let big = 0x1_0000_0005_u64;
        for (op, value, two, hits, misses) in [
            ("EQ", big, 0, vec![big], vec![5, big + 1]),
            ("NE", big, 0, vec![5, big + 1], vec![big]),
            ("GT", big, 0, vec![big + 1, big << 1], vec![big, 5]),
            ("GE", big, 0, vec![big, big + 1], vec![big - 1, 5]),
            ("LT", big, 0, vec![big - 1, 5], vec![big, big << 1]),
            ("LE", big, 0, vec![big, 5], vec![big + 1]),
            ("MASKED_EQ", 0xff, 5, vec![big, 5], vec![6]),
        ] {
            let text = rule(op, value, two);
            let program = compile(&text, CapabilitySet::default(), KERNEL).expect("a program");
            for argument in hits {
                let verdict = run(&program, number("socket"), [0, argument, 0, 0, 0, 0]);
                assert_eq!(verdict, 0x0005_0005, "{op} {argument}");
            }
            for argument in misses {
                let verdict = run(&program, number("socket"), [0, argument, 0, 0, 0, 0]);
                assert_eq!(verdict, 0x7fff_0000, "{op} {argument}");
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let compile = |text: &str| compile(text, CapabilitySet::default(), KERNEL);
        assert!(compile("{").is_err());
        assert!(compile(r#"{"defaultAction":"SCMP_ACT_MAYBE"}"#).is_err());
        let unknown = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["no_such"],"action":"SCMP_ACT_KILL"}]}"#;
        assert!(compile(unknown).is_err());
    }

    #[test]
    fn capabilities_choose_rules() {
        let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["reboot"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN"]}}]}"#;
        let admin = CapabilitySet::of(&[Capability::SysAdmin]);
        let with = compile(text, admin, KERNEL).expect("a program");
        let without = compile(text, CapabilitySet::of(&capabilities::DEFAULT), KERNEL).expect("a program");
        let allowed = |program: &[Instruction], name: &str| run(program, number(name), [0; 6]) == 0x7fff_0000;
        assert!(allowed(&with, "mount") && !allowed(&with, "reboot"));
        assert!(!allowed(&without, "mount") && allowed(&without, "reboot"));
    }
}
