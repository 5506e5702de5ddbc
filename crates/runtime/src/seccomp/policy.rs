//! The default system call policy: Docker's profile, as data with a reason for each rule.
//!
//! A rule's names are sorted, and a call that no rule names fails with `EPERM`.

use super::check::Check;
use crate::capabilities::Capability;

/// When a rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// In every container.
    Always,
    /// In a container that was given this capability.
    With(Capability),
    /// In a container that was not given this capability.
    Without(Capability),
}

/// What happens to the calls of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes through.
    Allow,
    /// It fails with this error number.
    Fail(u16),
    /// It depends on an argument.
    Examine(Check),
}

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub when: When,
    pub verdict: Verdict,
    /// Names, sorted, separated by white space.
    pub calls: &'static str,
    /// Why; read by people who audit this file.
    #[cfg_attr(not(test), expect(dead_code, reason = "a reason is for the reader"))]
    pub reason: &'static str,
}

const fn rule(when: When, verdict: Verdict, calls: &'static str, reason: &'static str) -> Rule {
    Rule {
        when,
        verdict,
        calls,
        reason,
    }
}

use Capability as C;
use Verdict::{Allow, Examine, Fail};
use When::{Always, With, Without};

/// The rules. A later one that holds takes the place of an earlier one for the same call.
pub(super) const RULES: &[Rule] = &[
    rule(
        Always,
        Allow,
        "
            _llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown
            chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
            clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
            epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
            eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark
            fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock
            fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex
            futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu
            getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer
            getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32
            getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat
            inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents
            io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule
            landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr
            listxattrat llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier
            memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect
            mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
            mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep
            newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect
            poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64
            pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64
            recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq
            rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
            rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
            sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
            sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop
            semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area
            set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid
            setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid
            setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4
            sigprocmask sigreturn socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync
            sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime
            timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
            timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat utime utimensat
            utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev",
        "what programs live on, and what only concerns the caller's own resources",
    ),
    rule(Always, Allow, "process_vm_readv process_vm_writev ptrace", "debuggers; safe with seccomp since Linux 4.8"),
    rule(Always, Allow, "uretprobe", "only ever entered from the kernel's own trampoline"),
    rule(
        Always,
        Allow,
        "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls",
        "what 32-bit arm needs to run at all",
    ),
    rule(Always, Allow, "arch_prctl modify_ldt", "thread-local storage on x86"),
    rule(
        Always,
        Examine(Check::SocketFamily),
        "socket",
        "AF_ALG reaches kernel crypto with a record of holes (CVE-2026-31431); AF_VSOCK reaches the hypervisor",
    ),
    rule(
        Always,
        Examine(Check::SocketCall),
        "socketcall",
        "its arguments lie in memory, where a filter can't look: making a socket this way would go round the rule above",
    ),
    rule(Always, Examine(Check::Personality), "personality", "only the harmless execution domains: some lift protections"),
    rule(
        Without(C::SysAdmin),
        Examine(Check::CloneFlags),
        "clone",
        "a new user namespace opens most of the kernel to an ordinary user",
    ),
    rule(
        Without(C::SysAdmin),
        Fail(libc::ENOSYS as u16),
        "clone3",
        "its flags lie in memory, where a filter can't look; the C library falls back to clone on this error",
    ),
    rule(With(C::DacReadSearch), Allow, "open_by_handle_at", "opens any file by number; the capability says as much"),
    rule(
        With(C::SysAdmin),
        Allow,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
        "administration",
    ),
    rule(With(C::SysBoot), Allow, "reboot", "asked for"),
    rule(With(C::SysChroot), Allow, "chroot", "servers that lock themselves in"),
    rule(With(C::SysModule), Allow, "delete_module finit_module init_module", "asked for"),
    rule(With(C::SysPacct), Allow, "acct", "asked for"),
    rule(
        With(C::SysPtrace),
        Allow,
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
        "looking into other processes",
    ),
    rule(With(C::SysRawio), Allow, "ioperm iopl", "asked for"),
    rule(With(C::SysTime), Allow, "clock_settime clock_settime64 settimeofday stime", "asked for"),
    rule(With(C::SysTtyConfig), Allow, "vhangup", "asked for"),
    rule(
        With(C::SysNice),
        Allow,
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
        "memory placement can starve neighbours",
    ),
    rule(With(C::Syslog), Allow, "syslog", "reads the host's kernel log"),
    rule(With(C::Bpf), Allow, "bpf", "asked for"),
    rule(With(C::Perfmon), Allow, "perf_event_open", "asked for"),
];
