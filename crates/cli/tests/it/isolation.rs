//! What a container can't do: the safe defaults, looked at from inside.

use coil_testkit::Context;

use crate::shared;

fn inside(context: &Context, flags: &[&str], script: &str) -> String {
    let image = context.python_image();
    let run = context
        .coil(["run", "--rm"])
        .args(flags)
        .args([image, "python3", "-c", script]);
    run.run().success().word().to_owned()
}

#[test]
fn filter_and_capabilities_are_set() {
    let context = shared();
    let status = "print(*[l.strip() for l in open('/proc/self/status') if l.split(':')[0] in ('Seccomp', 'NoNewPrivs', \
                  'CapEff', 'CapBnd', 'CapInh', 'CapAmb')], sep='\\n')";
    // chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, sys_chroot, setfcap
    let eleven: u64 = [0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 31]
        .iter()
        .map(|bit| 1 << bit)
        .sum();
    let root = inside(&context, &["-u", "0"], status);
    for (name, value) in [
        ("CapEff", eleven),
        ("CapBnd", eleven),
        ("CapInh", 0),
        ("CapAmb", 0),
    ] {
        assert!(
            root.contains(&format!("{name}:\t{value:016x}")),
            "{name} is not {value:016x}\n{root}"
        );
    }
    assert!(root.contains("Seccomp:\t2"), "{root}");
    let user = inside(&context, &[], status);
    assert!(
        user.contains("CapEff:\t0000000000000000") && user.contains("Seccomp:\t2"),
        "{user}"
    );
}

#[test]
fn dangerous_sockets_and_calls_are_refused() {
    let context = shared();
    let script = "import ctypes, errno, os, socket\n\
                  def tried(f):\n  try: f(); return 'done'\n  except OSError as e: return errno.errorcode[e.errno]\n\
                  print(tried(lambda: socket.socket(38, socket.SOCK_SEQPACKET)), tried(lambda: socket.socket(40, socket.SOCK_STREAM)))\n\
                  c = ctypes.CDLL(None, use_errno=True)\n\
                  def call(*a):\n  ctypes.set_errno(0); c.syscall(*a); return errno.errorcode.get(ctypes.get_errno(), 'done')\n\
                  print(call(165, 0, 0, 0, 0, 0), call(272, 0x10000000), call(246, 0, 0, 0, 0), call(250, 0, 0, 0, 0, 0))";
    let text = inside(&context, &["-u", "0"], script);
    assert!(
        !text.contains("done"),
        "AF_ALG, AF_VSOCK, mount, unshare, kexec_load, keyctl: {text}"
    );
}

#[test]
fn no_descriptor_is_inherited() {
    let context = shared();
    let script = "import os; print(sorted(int(f) for f in os.listdir('/proc/self/fd')))";
    // The listing itself has one open.
    assert_eq!(inside(&context, &[], script), "[0, 1, 2, 3]");
}

#[test]
fn the_kernels_files_are_masked() {
    let context = shared();
    let script = "import os\n\
                  def size(p):\n  try: return len(open(p, 'rb').read()) if os.path.isfile(p) else len(os.listdir(p))\n  except OSError as e: return -1\n\
                  print([p for p in ('/proc/kcore', '/proc/keys', '/proc/timer_list', '/proc/scsi', '/sys/firmware', '/proc/acpi') \
                  if os.path.exists(p) and size(p) > 0])\n\
                  def write(p):\n  try: open(p, 'w'); return True\n  except OSError: return False\n\
                  print([p for p in ('/proc/sysrq-trigger', '/proc/sys/kernel/core_pattern', '/sys/kernel/uevent_helper', \
                  '/proc/irq/0/smp_affinity') if write(p)])";
    assert_eq!(inside(&context, &["-u", "0"], script), "[]\n[]");
}

#[test]
fn devices_and_mounts_are_the_usual_few() {
    let context = shared();
    let script = "import os; print(sorted(set(os.listdir('/dev')) - {'console', 'core'}))";
    let devices = inside(&context, &[], script);
    let usual = "['fd', 'full', 'mqueue', 'null', 'ptmx', 'pts', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'tty', \
                 'urandom', 'zero']";
    assert_eq!(devices, usual);
    let pids = "import os; print(len([p for p in os.listdir('/proc') if p.isdigit()]))";
    assert_eq!(inside(&context, &[], pids), "1");
    let paths = "print(open('/proc/self/mountinfo').read())";
    let table = inside(&context, &[], paths);
    assert!(
        table
            .lines()
            .any(|line| line.contains(" / / ") && line.contains("overlay")),
        "{table}"
    );
}

#[test]
fn the_hosts_binary_can_not_be_written() {
    let context = shared();
    let before = std::fs::metadata(context.binary()).expect("the binary").len();
    let script = "import os\nfor p in ('/proc/1/exe', '/proc/self/exe'):\n  try: os.open(p, os.O_WRONLY); print('opened')\n  except OSError: print('refused')";
    let text = inside(&context, &["-u", "0"], script);
    assert!(!text.contains("opened"), "{text}");
    assert_eq!(
        std::fs::metadata(context.binary()).expect("the binary").len(),
        before
    );
}

#[test]
fn the_image_stays_as_it_is() {
    let context = shared();
    let write = "import os\nfor p in ('/etc/made', '/opt/made'): open(p, 'w').write('x')\nos.remove('/etc/passwd')\nprint('ok')";
    assert_eq!(inside(&context, &["-u", "0"], write), "ok");
    let look = "import os; print(os.path.exists('/etc/made'), os.path.exists('/etc/passwd'))";
    assert_eq!(inside(&context, &[], look), "False True");
}

#[test]
fn a_working_directory_among_descriptors_leads_nowhere() {
    let context = shared();
    let image = context.python_image();
    let look = "import os; print(os.readlink('/proc/self/cwd'), os.path.exists('/proc/self/cwd/etc/passwd'))";
    for number in 3..12 {
        let place = format!("/proc/self/fd/{number}");
        let run = context
            .coil(["run", "--rm", "-w", &place, image, "python3", "-c", look])
            .run();
        let inside = run.code() == 0 && run.word().starts_with("/proc/") && run.word().ends_with("False");
        assert!(
            run.code() != 0 || inside,
            "{place} leads out of the container\n{run}"
        );
    }
}

#[test]
fn a_bind_over_a_link_stays_inside() {
    let context = shared();
    let image = context.python_image();
    let host = context.path().join("precious");
    std::fs::create_dir(&host).expect("our own directory");
    let trap = context.project(
        "trap",
        &[
            ("link", &format!("-> {}", host.display())),
            ("up", "-> ../../../.."),
        ],
    );
    let data = context.project("data", &[("file.txt", "mounted")]);
    let (trap, data) = (format!("{}:/trap", trap.display()), data.display().to_string());
    for target in ["/trap/link/deep", "/trap/up/deep"] {
        let bind = format!("{data}:{target}");
        let script = "print('ran')";
        let run = context
            .coil([
                "run", "--rm", "-v", &trap, "-v", &bind, image, "python3", "-c", script,
            ])
            .run();
        assert!(
            std::fs::read_dir(&host).expect("it is there").next().is_none(),
            "made on the host\n{run}"
        );
        assert!(!std::path::Path::new("/deep").exists(), "made on the host\n{run}");
    }
}
