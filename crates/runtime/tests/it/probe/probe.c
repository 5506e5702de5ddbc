/* What runs inside the tests' containers: one static program, a word for each thing to try. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static void result(const char *name, long value) {
    printf("%s %s\n", name, value < 0 ? strerrorname_np(errno) : "ok");
}

static int cat(const char *path) {
    char buffer[65536];
    int fd = open(path, O_RDONLY);
    if (fd < 0) { printf("%s %s\n", path, strerrorname_np(errno)); return 1; }
    ssize_t n;
    while ((n = read(fd, buffer, sizeof buffer)) > 0) fwrite(buffer, 1, n, stdout);
    close(fd);
    return 0;
}

static void list(const char *path, int links) {
    DIR *dir = opendir(path);
    if (!dir) { printf("%s %s\n", path, strerrorname_np(errno)); return; }
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(dir)) { if (!links || entry->d_name[0] == '.') goto plain; continue; }
        if (links) {
            char target[4096]; ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
            if (n >= 0) { target[n] = 0; printf("%s %s\n", entry->d_name, target); }
            continue;
        }
plain:
        if (!links && entry->d_name[0] != '.') printf("%s\n", entry->d_name);
    }
    closedir(dir);
}

/* Looks into every other process till /stop is there; what can be had of one that isn't ours is a leak. */
static void spy(void) {
    const char *names[] = { "exe", "root", "cwd", "mem", "environ", "fd" };
    while (access("/stop", F_OK)) for (int pid = 2; pid < 200; pid++) for (int k = 0; k < 6; k++) {
        char path[64], target[256] = "";
        snprintf(path, sizeof path, "/proc/%d/exe", pid);
        ssize_t n = readlink(path, target, sizeof target - 1);
        int foreign = n > 0 && strcmp(target, "/bin/probe");
        snprintf(path, sizeof path, "/proc/%d/%s", pid, names[k]);
        if (foreign) printf("leak %s %s\n", path, target);
        int fd = open(path, k == 3 ? O_RDWR : O_RDONLY);
        if (fd >= 0) {
            /* Opened: fine only when it is a program of the container by now. */
            snprintf(path, sizeof path, "/proc/%d/exe", pid);
            memset(target, 0, sizeof target);
            if (readlink(path, target, sizeof target - 1) > 0 && strcmp(target, "/bin/probe")) printf("leak %s %s\n", path, names[k]);
            close(fd);
        }
    }
}

static long socketcall32(int family) {
#ifdef __x86_64__
    /* i386's socketcall(SYS_SOCKET): its arguments must lie below 4 GiB; the filter answers before they are read. */
    long r;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(102), "b"(1), "c"(0) : "memory", "r8", "r9", "r10", "r11");
    (void)family;
    if (r < 0) { errno = -r; return -1; }
    return r;
#else
    (void)family; errno = ENOSYS; return -1;
#endif
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(word, "cat")) { cat(next); i++; }
        else if (!strcmp(word, "spy")) spy();
        else if (!strcmp(word, "echo")) { printf("%s\n", next); i++; }
        else if (!strcmp(word, "err")) { fprintf(stderr, "%s\n", next); i++; }
        else if (!strcmp(word, "exit")) { fflush(stdout); exit(atoi(next)); }
        else if (!strcmp(word, "list")) { list(next, 0); i++; }
        else if (!strcmp(word, "fds")) list("/proc/self/fd", 1);
        else if (!strcmp(word, "link")) { char t[4096]; ssize_t n = readlink(next, t, 4095); if (n < 0) result(next, -1); else { t[n] = 0; printf("%s\n", t); } i++; }
        else if (!strcmp(word, "cwd")) { char t[4096]; long n = syscall(SYS_getcwd, t, 4096); printf("cwd %s\n", n < 0 ? strerrorname_np(errno) : t); }
        else if (!strcmp(word, "env")) { for (char **e = environ; *e; e++) printf("%s\n", *e); }
        else if (!strcmp(word, "args")) { for (; i < argc; i++) printf("%s\n", argv[i]); }
        else if (!strcmp(word, "id")) { gid_t g[64]; int n = getgroups(64, g); printf("uid %d gid %d groups", getuid(), getgid()); for (int k = 0; k < n; k++) printf(" %d", g[k]); printf(" pid %d\n", getpid()); }
        else if (!strcmp(word, "write")) { int fd = open(next, O_WRONLY | O_CREAT, 0644); if (fd >= 0) fd = write(fd, "x", 1) < 0 ? -1 : 0; printf("write "); result(next, fd); i++; }
        else if (!strcmp(word, "open")) { int fd = open(next, O_WRONLY); printf("open "); result(next, fd); i++; }
        else if (!strcmp(word, "mkdir")) { printf("mkdir "); result(next, mkdir(next, 0755)); i++; }
        else if (!strcmp(word, "mode")) { struct stat s; int r = stat(next, &s); if (r < 0) result(next, r); else printf("%s %o %d:%d\n", next, s.st_mode, s.st_uid, s.st_gid); i++; }
        else if (!strcmp(word, "calls")) {
            result("af_inet", socket(AF_INET, SOCK_STREAM, 0));
            result("af_alg", socket(38, SOCK_SEQPACKET, 0));
            result("af_vsock", socket(40, SOCK_STREAM, 0));
            result("socketcall", socketcall32(38));
            result("unshare", unshare(CLONE_NEWUSER));
            result("clone_newuser", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
            result("clone3", syscall(SYS_clone3, 0, 0));
            result("keyctl", syscall(SYS_keyctl, 0, 0));
            result("bpf", syscall(SYS_bpf, 0, 0, 0));
            result("io_uring", syscall(SYS_io_uring_setup, 1, 0));
            result("mount", syscall(SYS_mount, "x", "/tmp", "tmpfs", 0, 0));
            result("mknod", mknod("/sda", S_IFBLK | 0600, makedev(8, 0)));
            result("raw", socket(AF_INET, SOCK_RAW, 1));
            result("ping", socket(AF_INET, SOCK_DGRAM, 1));
            result("personality", syscall(SYS_personality, 0x0040000));
            result("ptrace", syscall(SYS_ptrace, 0, 0, 0, 0));
        }
        else if (!strcmp(word, "fork")) { int n = atoi(next), made = 0; for (int k = 0; k < n; k++) { pid_t p = fork(); if (p == 0) pause(); if (p > 0) made++; } printf("forked %d\n", made); i++; }
        else if (!strcmp(word, "eat")) { size_t n = (size_t)atoi(next) << 20; volatile char *m = malloc(n); for (size_t k = 0; k < n; k += 4096) m[k] = 1; printf("ate %s\n", next); i++; }
        else if (!strcmp(word, "pause")) { fflush(stdout); for (;;) pause(); }
        else if (!strcmp(word, "default-term")) signal(SIGTERM, SIG_DFL);
        else if (!strcmp(word, "ignored")) { for (int s = 1; s < 32; s++) { struct sigaction a; sigaction(s, 0, &a); if (a.sa_handler == SIG_IGN) printf("ignored %d\n", s); } sigset_t m; sigprocmask(0, 0, &m); for (int s = 1; s < 64; s++) if (sigismember(&m, s) == 1) printf("blocked %d\n", s); }
        else if (!strcmp(word, "trap-term")) { sigset_t m; sigemptyset(&m); sigaddset(&m, SIGTERM); sigprocmask(SIG_BLOCK, &m, 0); printf("ready\n"); fflush(stdout); int s; sigwait(&m, &s); printf("got %d\n", s); fflush(stdout); exit(7); }
        else if (!strcmp(word, "copy")) { char b[4096]; ssize_t n; fflush(stdout); while ((n = read(0, b, sizeof b)) > 0) if (write(1, b, n) < 0) return 1; printf("end\n"); }
        else if (!strcmp(word, "line")) { char b[256]; fflush(stdout); if (fgets(b, sizeof b, stdin)) printf("line %s", b); }
        else if (!strcmp(word, "tty")) { struct winsize w = {0}; int r = ioctl(0, TIOCGWINSZ, &w); printf("tty %d %d %d x %d %s\n", isatty(0), isatty(2), w.ws_row, w.ws_col, r < 0 ? "no" : ttyname(0) ? ttyname(0) : "nameless"); char c[8]; int fd = open("/dev/tty", O_RDWR); result("/dev/tty", fd); (void)c; result("console", open("/dev/console", O_WRONLY)); }
        else if (!strcmp(word, "flood")) { long n = atol(next) << 10; char b[1024]; memset(b, 'y', sizeof b); b[1023] = '\n'; fflush(stdout); for (long k = 0; k < n; k++) if (write(1, b, sizeof b) < 0) return 1; i++; }
        else if (!strcmp(word, "daemon")) { fflush(stdout); if (fork() == 0) { setsid(); for (;;) pause(); } }
        else { printf("what is %s?\n", word); return 99; }
        fflush(stdout);
    }
    return 0;
}
