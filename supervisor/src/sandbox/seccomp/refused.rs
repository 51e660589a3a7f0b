//! The calls that the server is refused by name, each with the reason. What no table names answers `ENOSYS`.
//!
//! What is [`told`] leaves a record. What runtimes and everyday tools try on their way is [`refused`] without one: a record of
//! each start says nothing, and hides what does.

use super::table::{ENOSYS, Group, UNSUPPORTED, always, calls, refused, ruled, told};

pub(super) const REFUSED: &[Group] = &[
    Group {
        calls: calls![SYS_clone3, SYS_openat2],
        rule: always(ENOSYS),
        reason: "their arguments stand in memory, where a filter cannot look; libraries fall back to clone and openat",
    },
    refused(
        calls![SYS_io_uring_setup],
        "runs calls that no filter sees; refused and not killed, because libuv probes it",
    ),
    told(
        calls![SYS_io_uring_enter, SYS_io_uring_register],
        "the same; no library comes this far when it was refused a ring",
    ),
    told(calls![SYS_userfaultfd], "stops the kernel in the middle of a copy: the helper of most race exploits"),
    told(calls![SYS_bpf], "programs in the kernel"),
    told(calls![SYS_perf_event_open], "side channels and a long record of kernel bugs"),
    told(calls![SYS_add_key, SYS_request_key, SYS_keyctl], "keyrings are in no namespace"),
    told(calls![SYS_ptrace], "the init and other children are not its to hold"),
    told(calls![SYS_process_vm_readv, SYS_process_vm_writev, SYS_process_madvise], "memory of other processes"),
    told(calls![SYS_pidfd_getfd, SYS_kcmp], "descriptors of other processes, and addresses of kernel objects"),
    told(calls![SYS_name_to_handle_at, SYS_open_by_handle_at], "opens files by number, past every mount and path"),
    told(
        calls![
            SYS_mount,
            SYS_umount2,
            SYS_pivot_root,
            SYS_chroot,
            SYS_open_tree,
            SYS_move_mount,
            SYS_fsopen,
            SYS_fsconfig,
            SYS_fsmount,
            SYS_fspick,
            SYS_mount_setattr,
        ],
        "the view is built once",
    ),
    told(calls![SYS_setns, SYS_unshare], "the namespaces are built once"),
    told(calls![SYS_quotactl, SYS_quotactl_fd], "quotas of the host's file systems"),
    // As a file system without them answers: cp(1) and tar(1) then keep the mode alone, where EPERM would end them.
    ruled(
        calls![SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr],
        &[],
        UNSUPPORTED,
        "file capabilities and access lists would stay on the host's files",
    ),
    told(
        calls![SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_kexec_file_load, SYS_reboot],
        "the kernel itself",
    ),
    told(
        calls![SYS_swapon, SYS_swapoff, SYS_acct, SYS_syslog, SYS_vhangup, SYS_lookup_dcookie],
        "the machine's administration",
    ),
    told(
        calls![SYS_settimeofday, SYS_clock_settime, SYS_adjtimex, SYS_clock_adjtime],
        "the machine's clock is in no namespace",
    ),
    told(calls![SYS_sethostname, SYS_setdomainname], "its own name space, and still nothing that a server needs"),
    refused(calls![SYS_setgroups, SYS_capset], "ids and capabilities are given once"),
    refused(
        calls![
            SYS_sched_setscheduler,
            SYS_sched_setparam,
            SYS_sched_setattr,
            SYS_ioprio_set,
            SYS_mbind,
            SYS_set_mempolicy,
            SYS_migrate_pages,
            SYS_move_pages,
        ],
        "real-time classes and page placement take from others",
    ),
    refused(calls![SYS_mlockall, SYS_munlockall], "pins all memory at once"),
    told(calls![SYS_vmsplice], "gifts pages to a pipe: page cache bugs"),
    told(
        calls![SYS_mq_open, SYS_mq_unlink, SYS_mq_timedsend, SYS_mq_timedreceive, SYS_mq_notify, SYS_mq_getsetattr],
        "message queues: no runtime uses them and the kernel's copy of them has a record of bugs",
    ),
    told(
        calls![
            SYS_msgget,
            SYS_msgsnd,
            SYS_msgrcv,
            SYS_msgctl,
            SYS_semget,
            SYS_semop,
            SYS_semctl,
            SYS_semtimedop,
            SYS_shmget,
            SYS_shmat,
            SYS_shmctl,
            SYS_shmdt,
        ],
        "System V queues, semaphores and memory: the spray of choice for heap exploits, and POSIX ones are there",
    ),
    told(calls![SYS_fanotify_init, SYS_fanotify_mark], "watches of whole mounts"),
    told(calls![SYS_memfd_secret], "memory that nobody can look into"),
    told(calls![SYS_nfsservctl], "gone from the kernel"),
    told(calls![SYS_remap_file_pages], "superseded, and a source of bugs"),
    told(
        calls![SYS_io_setup, SYS_io_submit, SYS_io_cancel, SYS_io_getevents, SYS_io_destroy],
        "old asynchronous I/O: attack surface that no runtime here needs",
    ),
];

#[cfg(target_arch = "x86_64")]
pub(super) const REFUSED_HERE: &[Group] = &[
    told(calls![SYS_modify_ldt], "16-bit segments: a record of kernel bugs"),
    told(calls![SYS_iopl, SYS_ioperm], "hardware ports"),
    told(calls![SYS_uselib, SYS_ustat, SYS_sysfs, SYS__sysctl], "obsolete; no library calls them"),
];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const REFUSED_HERE: &[Group] = &[];
