//! Paths of a container's proc and sysfs that are hidden or can't be written, each with its reason.

/// Hidden: a directory becomes an empty one, a file becomes empty.
pub const MASKED: &[(&str, &str)] = &[
    ("/proc/acpi", "power events and settings of the host"),
    ("/proc/asound", "sound hardware of the host"),
    (
        "/proc/interrupts",
        "interrupt counts tell keystrokes and neighbours' work apart",
    ),
    ("/proc/kcore", "the host's memory"),
    ("/proc/keys", "keyrings are not namespaced"),
    ("/proc/latency_stats", "timing of the host's kernel"),
    ("/proc/sched_debug", "names the host's processes"),
    ("/proc/scsi", "can take disks away from the host"),
    ("/proc/timer_list", "timing of the host's kernel and processes"),
    ("/proc/timer_stats", "timing of the host's kernel and processes"),
    (
        "/sys/devices/virtual/powercap",
        "power readings give keys away (CVE-2020-8694)",
    ),
    ("/sys/firmware", "hardware tables and secrets of the firmware"),
];

/// For each processor, below `/sys/devices/system/cpu/cpuN`: heat tells of neighbours' work.
pub const MASKED_OF_EACH_PROCESSOR: &str = "thermal_throttle";

/// Not to be written.
pub const READ_ONLY: &[(&str, &str)] = &[
    ("/proc/bus", "configuration of the host's buses"),
    ("/proc/fs", "settings of the host's file systems"),
    ("/proc/irq", "interrupt placement of the host"),
    ("/proc/sys", "kernel settings, most of them the host's"),
    ("/proc/sysrq-trigger", "reboots and crashes the host"),
];
