//! Attacks from inside a container, each played as it was once found to work somewhere: none gets through.

use coil_testkit::{Context, wait_until};

use crate::shared;

/// Runs Python as root in a container of its own and gives what it printed.
fn inside(context: &Context, flags: &[&str], script: &str) -> String {
    let image = context.python_image();
    let run = context
        .coil(["run", "--rm", "--network", "none", "-u", "0"])
        .args(flags);
    run.args([image, "python3", "-c", script])
        .run()
        .success()
        .word()
        .to_owned()
}

/// A container that waits, as root.
fn waiting(context: &Context, name: &str, flags: &[&str]) {
    let image = context.python_image();
    let run = context
        .coil(["run", "-d", "--network", "none", "-u", "0", "--name", name])
        .args(flags);
    run.args([image, "sleep", "600"]).run().success();
}

fn exec(context: &Context, name: &str, flags: &[&str], script: &str) -> String {
    let run = context
        .coil(["exec"])
        .args(flags)
        .args([name, "python3", "-c", script])
        .run();
    run.success().word().to_owned()
}

/// CVE-2024-21626, for commands that join: no descriptor of the host's is open, whatever the caller's are.
#[test]
fn a_command_gets_nothing_of_the_host_but_pipes() {
    let context = shared();
    waiting(&context, "no-doors", &[]);
    let look = "import os\nfor f in sorted(os.listdir('/proc/self/fd')):\n  try: print(f, os.readlink('/proc/self/fd/' + f).split(':')[0])\n  \
                except OSError: pass";
    let script = context.path().join("look.py");
    std::fs::write(&script, look).expect("a file");
    let file = context.path().join("output");
    // Input and output are files, and the caller has more of them open.
    let command = format!(
        "exec 5</ 6</etc/passwd; coil exec -i no-doors python3 - <'{0}' >'{1}' 2>>'{1}'",
        script.display(),
        file.display()
    );
    context.shell(&command).run().success();
    let seen = std::fs::read_to_string(&file).expect("output");
    for line in seen.lines() {
        let allowed = line.ends_with(" pipe") || line.ends_with("/dev/null") || line.contains(" /proc/");
        assert!(allowed, "a descriptor of the host: {seen}");
    }
    assert!(seen.starts_with("0 pipe\n1 pipe\n2 pipe\n"), "{seen}");
    // Without input it has the container's own empty device, whose mode is not the host's.
    let chmod = "import os; os.fchmod(0, 0o600); print(os.readlink('/proc/self/fd/0'))";
    assert_eq!(exec(&context, "no-doors", &[], chmod), "/dev/null");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata("/dev/null").expect("/dev/null").permissions(),
    );
    assert_eq!(mode & 0o777, 0o666, "the host's /dev/null");
    // A working directory among descriptors leads nowhere.
    for number in 3..12 {
        let place = format!("/proc/self/fd/{number}");
        let run = context
            .coil([
                "exec",
                "-w",
                &place,
                "no-doors",
                "python3",
                "-c",
                "import os; print(os.path.exists('../../etc/shadow-'))",
            ])
            .run();
        assert!(
            run.code() != 0 || run.word() == "False",
            "{place} leads out\n{run}"
        );
    }
}

/// The terminal of who calls is never handed on: a program could read what is typed later, or type itself (TIOCSTI).
#[test]
fn a_callers_terminal_is_not_handed_to_a_command() {
    let context = shared();
    waiting(&context, "no-terminal", &[]);
    let script = "import fcntl, os, termios\nkinds = [os.isatty(f) for f in (0, 1, 2)]\n\
                  def inject(f):\n  try: fcntl.ioctl(f, termios.TIOCSTI, b'x'); return True\n  except OSError: return False\n\
                  try: own = os.open('/dev/tty', os.O_RDWR)\nexcept OSError: own = None\n\
                  print('answer', kinds, [inject(f) for f in (0, 1, 2)], own, os.getsid(0) == os.getpid())";
    let file = context.path().join("inject.py");
    std::fs::write(&file, script).expect("a file");
    context
        .coil(["cp"])
        .arg(&file)
        .arg("no-terminal:/inject.py")
        .run()
        .success();
    let binary = context.binary().display().to_string();
    let command = format!("'{binary}' exec no-terminal python3 /inject.py");
    let run = context
        .program("/usr/bin/script")
        .args(["-qec", &command, "/dev/null"])
        .run()
        .success();
    let expected = "answer [False, False, False] [False, False, False] None True";
    assert!(run.stdout().contains(expected), "{run}");
}

/// CVE-2019-5736: an entry point that runs what runs it.
#[test]
fn an_entry_point_that_runs_the_engine_changes_nothing() {
    let context = shared();
    let image = context.python_image();
    let before = std::fs::read(context.binary()).expect("the binary").len();
    let folder = context.project("evil", &[("loop", "#!/proc/self/exe\nrun --rm x\n")]);
    context
        .shell(&format!("chmod 755 '{}/loop'", folder.display()))
        .run()
        .success();
    let mount = format!("{}:/evil", folder.display());
    let run = context
        .coil(["run", "--rm", "-u", "0", "-v", &mount, image, "/evil/loop"])
        .run();
    assert_ne!(run.code(), 0, "{run}");
    // While one is at it, another looks for a way to write.
    let script = "import os, subprocess\nfor _ in range(20):\n  c = subprocess.Popen(['/evil/loop'], stderr=-3, stdout=-3)\n  \
                  for p in ('/proc/1/exe', f'/proc/{c.pid}/exe'):\n    try: os.open(p, os.O_WRONLY | os.O_APPEND); print('opened', os.readlink(p))\n    \
                  except OSError: pass\n  c.wait()\nprint('tried')";
    let text = inside(&context, &["-v", &mount], script);
    let opened: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("opened") && line.contains("coil"))
        .collect();
    assert!(opened.is_empty(), "{text}");
    assert_eq!(std::fs::read(context.binary()).expect("the binary").len(), before);
}

/// CVE-2022-24769, CVE-2022-27649, CVE-2022-27651: nothing is inherited, by commands that join neither.
#[test]
fn no_capability_is_inherited_by_a_command() {
    let context = shared();
    waiting(&context, "bare", &[]);
    let look = "print(*[l.split()[1] for l in open('/proc/self/status') if l.split(':')[0] in ('CapInh', 'CapAmb', 'Seccomp')])";
    for flags in [&[][..], &["-u", "1000"], &["--privileged"]] {
        let text = exec(&context, "bare", flags, look);
        assert!(
            text.starts_with("0000000000000000 0000000000000000 "),
            "{flags:?}: {text}"
        );
        assert_eq!(
            text.ends_with(" 2"),
            flags != ["--privileged"],
            "{flags:?}: {text}"
        );
    }
}

/// CVE-2022-0492, CVE-2023-25809: no program of the host is run by way of control groups.
#[test]
fn control_groups_run_nothing_on_the_host() {
    let context = shared();
    let script = "import ctypes, os\nwritten = []\nfor folder, _, names in os.walk('/sys/fs/cgroup'):\n  for name in names:\n    \
                  if name in ('release_agent', 'notify_on_release', 'cgroup.procs', 'tasks', 'devices.allow', 'memory.limit_in_bytes', \
                  'memory.max', 'cgroup.subtree_control'):\n      try: os.close(os.open(os.path.join(folder, name), os.O_WRONLY)); \
                  written.append(os.path.join(folder, name))\n      except OSError: pass\n\
                  c = ctypes.CDLL(None, use_errno=True)\nos.mkdir('/mnt/g')\n\
                  mounted = [k for k in (b'cgroup', b'cgroup2', b'proc', b'sysfs', b'tmpfs') if c.mount(b'none', b'/mnt/g', k, 0, None) == 0]\n\
                  names = [c.unshare(f) == 0 for f in (0x10000000, 0x02000000, 0x00020000)]\n\
                  print(written, mounted, names)";
    assert_eq!(inside(&context, &[], script), "[] [] [False, False, False]");
}

/// CVE-2026-31431 and its kind: families of sockets that open the kernel, by each door to system calls.
#[test]
fn dangerous_families_are_refused_by_every_door() {
    let context = shared();
    // 64-bit, x32, 32-bit and 32-bit `socketcall`, whose arguments no filter sees. A kernel without 32-bit calls ends the try.
    let script = r"
import ctypes, os, platform
c = ctypes.CDLL(None, use_errno=True)
tries = []
def attempt(name, call):
    child = os.fork()
    if child == 0:
        os._exit(0 if call() >= 0 else 1)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        tries.append(name)
for family in (38, 40):
    attempt(f'socket {family}', lambda: c.socket(family, 5, 0))
    if platform.machine() == 'x86_64':
        attempt(f'x32 {family}', lambda: c.syscall(0x40000000 | 41, family, 5, 0))
        c.mmap.restype = ctypes.c_void_p
        page = c.mmap(None, 4096, 7, 0x62, -1, 0)
        def int80(number, one, two, three):
            w = lambda n: n.to_bytes(4, 'little')
            code = b'\x53\xb8' + w(number) + b'\xbb' + w(one) + b'\xb9' + w(two) + b'\xba' + w(three) + b'\xcd\x80\x5b\xc3'
            ctypes.memmove(page, code, len(code))
            return ctypes.CFUNCTYPE(ctypes.c_int)(page)()
        words = (ctypes.c_uint32 * 3)(family, 5, 0)
        ctypes.memmove(page + 2048, words, 12)
        attempt(f'32-bit {family}', lambda: int80(359, family, 5, 0))
        attempt(f'socketcall {family}', lambda: int80(102, 1, page + 2048, 0))
print('open:', tries)
";
    assert_eq!(inside(&context, &[], script), "open: []");
    assert_eq!(inside(&context, &["--cap-add", "NET_ADMIN"], script), "open: []");
}

/// Calls that have opened the kernel before, or reach behind a container's back.
#[test]
fn calls_with_a_history_are_refused() {
    let context = shared();
    let script = r"
import ctypes, errno, platform
c = ctypes.CDLL(None, use_errno=True)
both = {'io_uring_setup': 425, 'open_tree': 428, 'move_mount': 429, 'fsopen': 430, 'fspick': 433, 'mount_setattr': 442}
here = {
    'x86_64': {'userfaultfd': 323, 'bpf': 321, 'perf_event_open': 298, 'open_by_handle_at': 304, 'init_module': 175,
               'finit_module': 313, 'setns': 308, 'add_key': 248, 'request_key': 249, 'keyctl': 250, 'swapon': 167, 'reboot': 169,
               'settimeofday': 164, 'iopl': 172, 'ioperm': 173, 'pivot_root': 155, 'acct': 163, 'kexec_load': 246,
               'kexec_file_load': 320, 'syslog': 103, 'quotactl': 179, 'fanotify_init': 300},
    'aarch64': {'userfaultfd': 282, 'bpf': 280, 'perf_event_open': 241, 'open_by_handle_at': 265, 'init_module': 105,
                'finit_module': 273, 'setns': 268, 'add_key': 217, 'request_key': 218, 'keyctl': 219, 'swapon': 224, 'reboot': 142,
                'settimeofday': 170, 'pivot_root': 41, 'acct': 89, 'kexec_load': 104, 'kexec_file_load': 294, 'syslog': 116,
                'quotactl': 60, 'fanotify_init': 262},
}[platform.machine()]
wrong = []
for name, number in {**both, **here}.items():
    ctypes.set_errno(0)
    if c.syscall(number, 0, 0, 0, 0, 0) != -1 or ctypes.get_errno() != errno.EPERM:
        wrong.append((name, errno.errorcode.get(ctypes.get_errno())))
ctypes.set_errno(0)
if c.syscall(435, 0, 0) != -1 or ctypes.get_errno() != errno.ENOSYS:
    wrong.append('clone3')
print(wrong)
";
    assert_eq!(inside(&context, &[], script), "[]");
}

/// CVE-2026-46680, CVE-2024-9676: who a command runs as is said by a hostile container's own files.
#[test]
fn a_containers_user_files_are_read_without_trust() {
    let context = shared();
    waiting(&context, "liar", &[]);
    let claim = "open('/etc/passwd', 'a').write('1000:x:0:0::/:/bin/sh\\nevil:x:4294967296:0::/:/bin/sh\\n')";
    exec(&context, "liar", &[], claim);
    let own = "import os; print(os.getuid())";
    assert_eq!(exec(&context, "liar", &["-u", "1000"], own), "1000");
    context
        .coil(["exec", "-u", "evil", "liar", "true"])
        .run()
        .refusal(&["evil"]);
    // A pipe that nobody writes to, a link to the host's file, a file without end.
    for make in [
        "os.mkfifo('/etc/passwd')",
        "os.symlink('/proc/1/root/etc/shadow', '/etc/passwd')",
        "os.symlink('/dev/zero', '/etc/passwd')",
        "open('/etc/passwd', 'w').truncate(1 << 40)",
        "os.mkdir('/etc/passwd')",
    ] {
        let script = format!(
            "import os, shutil\np = '/etc/passwd'\nshutil.rmtree(p) if os.path.isdir(p) else os.path.lexists(p) and os.remove(p)\n{make}"
        );
        exec(&context, "liar", &["-u", "0:0"], &script);
        let run = context.coil(["exec", "-u", "somebody", "liar", "true"]).run();
        assert_ne!(run.code(), 0, "{make}\n{run}");
        context.coil(["rm", "-f", "liar"]).run().success();
        waiting(&context, "liar", &[]);
    }
}

/// CVE-2018-15664, CVE-2026-42306: a folder becomes a link to the host's while files are copied.
#[test]
fn files_are_copied_past_a_link_that_comes_and_goes() {
    let context = shared();
    let host = context.project("precious", &[("secret", "of the host")]);
    waiting(&context, "swapper", &[]);
    let script = format!(
        "import ctypes, os, platform\nos.makedirs('/data/here'); open('/data/here/own', 'w').write('of the container')\n\
         os.symlink('{}', '/data/there')\nc = ctypes.CDLL(None)\nnumber = {{'x86_64': 316, 'aarch64': 276}}[platform.machine()]\n\
         open('/data/ready', 'w')\nwhile True: c.syscall(number, -100, b'/data/here', -100, b'/data/there', 2)",
        host.display()
    );
    context
        .coil(["exec", "-d", "swapper", "python3", "-c", &script])
        .run()
        .success();
    wait_until("it swaps", || {
        context
            .coil(["exec", "swapper", "test", "-e", "/data/ready"])
            .run()
            .code()
            == 0
    });
    let plant = context.project("plant", &[("planted", "by the container")]);
    let (mut came, mut went) = (0, 0);
    for round in 0..25 {
        let out = context.path().join(format!("out-{round}"));
        std::fs::create_dir(&out).expect("a folder");
        let read = context.coil(["cp", "swapper:/data/here/."]).arg(&out).run();
        came += u32::from(read.code() == 0);
        assert!(!out.join("secret").exists(), "the host's file came out\n{read}");
        let write = context
            .coil(["cp"])
            .arg(plant.join("planted"))
            .arg("swapper:/data/here/")
            .run();
        went += u32::from(write.code() == 0);
    }
    assert!(!host.join("planted").exists(), "written on the host");
    assert_eq!(
        std::fs::read_to_string(host.join("secret")).expect("it is there"),
        "of the host"
    );
    // The race was on, in both directions.
    assert!(came > 0 || went > 0, "nothing was copied at all");
}

/// CVE-2019-14271 and its like: nothing that lies in a container is run on the host.
#[test]
fn copying_runs_no_program_of_the_container() {
    let context = shared();
    let image = context.python_image();
    let script = "import os\nfor name in ('xz', 'unxz', 'gzip', 'unpigz', 'tar', 'zstd', 'bzip2'):\n  p = '/usr/local/bin/' + name\n  \
                  os.makedirs('/usr/local/bin', exist_ok=True); open(p, 'w').write('#!/bin/sh\\necho ran >> /ran\\n'); os.chmod(p, 0o755)\n\
                  open('/etc/nsswitch.conf', 'w').write('passwd: evil\\ngroup: evil\\n')\nopen('/data', 'w').write('x' * 100)";
    context
        .coil([
            "run", "-u", "0", "--name", "trapped", image, "python3", "-c", script,
        ])
        .run()
        .success();
    let folder = context.project("packed", &[("inner/file", "text")]);
    for (flag, ending) in [("-cJf", "xz"), ("-czf", "gz"), ("-cjf", "bz2")] {
        let archive = context.path().join(format!("packed.tar.{ending}"));
        let made = context
            .program("/usr/bin/tar")
            .arg(flag)
            .arg(&archive)
            .arg("-C")
            .arg(&folder)
            .arg("inner")
            .env("PATH", "/usr/bin:/bin")
            .run();
        if made.code() != 0 {
            continue;
        }
        // Whether it is taken or refused, nothing is run.
        let input = std::fs::read(&archive).expect("an archive");
        context.coil(["cp", "-", "trapped:/tmp"]).input(input).run();
    }
    let out = context.path().join("data");
    context
        .coil(["cp", "-a", "trapped:/data"])
        .arg(&out)
        .run()
        .success();
    context.coil(["cp", "trapped:/ran", "-"]).run().refusal(&["/ran"]);
}

/// Nodes in an image, and set-id programs of it, give nothing.
#[test]
fn nodes_of_an_image_open_nothing() {
    let context = shared();
    let folder = context.path().join("nodes");
    let command = format!(
        "mkdir -p '{0}/root' && cd '{0}' && mknod root/memory c 1 1 && mknod root/kmsg c 1 11 && mknod root/disk b 254 0 && \
         mknod root/null c 1 3 && tar -C root -cf nodes.tar .",
        folder.display()
    );
    context
        .program("/bin/sh")
        .args(["-c", &command])
        .env("PATH", "/usr/bin:/bin")
        .run()
        .success();
    waiting(&context, "with-nodes", &["--cap-add", "MKNOD"]);
    let archive = std::fs::read(folder.join("nodes.tar")).expect("an archive");
    context.coil(["cp", "-", "with-nodes:/opt"]).input(archive).run();
    let script = "import os\nfound = []\nfor n, m in (('memory', (0o20600, 1, 1)), ('kmsg', (0o20600, 1, 11)), ('disk', (0o60600, 254, 0)), ('made', (0o60600, 8, 0))):\n  \
                  p = '/opt/' + n\n  try: os.path.lexists(p) or os.mknod(p, m[0], os.makedev(m[1], m[2]))\n  except OSError: pass\n  \
                  for flag in (os.O_RDONLY, os.O_WRONLY):\n    try: os.open(p, flag); found.append(n)\n    except OSError: pass\nprint(found)";
    assert_eq!(exec(&context, "with-nodes", &[], script), "[]");
}

/// What a container mounts stays its own, and with it what is mounted below a folder that it shares with the host.
#[test]
fn mounts_do_not_spread_to_the_host() {
    let context = shared();
    let folder = context.project("spread", &[("below/", "")]);
    let mount = format!("{}:/shared", folder.display());
    let script = "import ctypes; print(ctypes.CDLL(None).mount(b'none', b'/shared/below', b'tmpfs', 0, None)); open('/shared/below/inside', 'w')";
    assert_eq!(inside(&context, &["--privileged", "-v", &mount], script), "0");
    assert!(!folder.join("below/inside").exists());
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
    assert!(
        !table.contains(&folder.join("below").display().to_string()),
        "mounted on the host"
    );
}

/// A container's names for itself are not obeyed by the terminal of who looks.
#[test]
fn what_a_container_calls_itself_is_not_obeyed() {
    let context = shared();
    let image = context.python_image();
    let script = "import os; os.execv('/usr/bin/sleep', ['\\x1b]0;owned\\x07\\x1b[31mred', '600'])";
    context
        .coil([
            "run",
            "-d",
            "--network",
            "none",
            "--name",
            "painted",
            image,
            "python3",
            "-c",
            script,
        ])
        .run()
        .success();
    context
        .coil([
            "run",
            "-d",
            "--network",
            "none",
            "--name",
            "painted-too",
            image,
            "sh",
            "-c",
            "sleep 600 # \u{1b}[31mred",
        ])
        .run()
        .success();
    wait_until("it has its other name", || {
        context.coil(["top", "painted"]).run().stdout().contains("owned")
    });
    for words in [
        &["top", "painted"][..],
        &["ps"],
        &["ps", "--no-trunc"],
        &["inspect", "painted-too"],
        &["events", "--since", "1h", "--until", "0s"],
    ] {
        let run = context.coil(words).run();
        assert!(
            !run.stdout().contains('\u{1b}'),
            "{words:?}: {}",
            run.stdout().escape_debug()
        );
    }
}

/// Names lead nowhere.
#[test]
fn names_with_steps_upwards_are_refused() {
    let context = shared();
    let image = context.python_image();
    for words in [
        &["volume", "create", "../x"][..],
        &["volume", "create", "a/b"],
        &["volume", "create", ".."],
        &["network", "create", "../x"],
        &["create", "--name", "../x", image],
        &["create", "--name", "..", image],
        &["tag", image, "../x"],
        &["create", "--cgroup-parent", "/a/../../b", image],
        &["create", "--mount", "type=volume,src=../x,dst=/y", image],
    ] {
        let run = context.coil(words).run();
        assert_ne!(run.code(), 0, "{words:?}\n{run}");
    }
    for words in [
        &["inspect", "../../etc"][..],
        &["rm", "../x"],
        &["volume", "rm", "../volumes-v1"],
        &["logs", "../x"],
    ] {
        context.coil(words).run().refusal(&["../"]);
    }
}
