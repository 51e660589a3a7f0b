//! The filters of our own processes.

use super::*;

#[test]
fn our_own_processes_die_of_a_call_that_is_not_theirs() {
    let inet = [2, 1, 0, 0, 0, 0];
    let number = |constant: libc::c_long| u32::try_from(constant).unwrap();
    let dies = |filter: fn(Pid) -> Result<Filter, FilterError>, constant, args| {
        let status = under(filter(OTHER), || {
            let _ = crate::sys::sigsys::report_violations();
            i32::from(raw_call(number(constant), args).is_ok())
        });
        assert!(
            matches!(status, WaitStatus::Signaled(_, Signal::SIGSYS, _)),
            "{:?}: {status:?}",
            name_of(number(constant))
        );
    };
    for filter in [Filter::relay, Filter::egress, Filter::dialer, Filter::janitor, Filter::meter] {
        for constant in [libc::SYS_execve, libc::SYS_clone, libc::SYS_ptrace, libc::SYS_unshare, libc::SYS_setresuid] {
            dies(filter, constant, [0; 6]);
        }
        dies(filter, libc::SYS_mmap, [0, 4096, 4, 0x22, u64::MAX, 0]); // PROT_EXEC
        dies(filter, libc::SYS_tgkill, [1, 1, 9, 0, 0, 0]);
    }
    for filter in [Filter::relay, Filter::egress, Filter::janitor, Filter::meter] {
        for constant in [libc::SYS_socket, libc::SYS_socketpair, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen] {
            dies(filter, constant, inet);
        }
    }
    for filter in [Filter::relay, Filter::dialer, Filter::janitor, Filter::meter] {
        dies(filter, libc::SYS_bpf, [1, 0, 0, 0, 0, 0]);
    }
    dies(Filter::egress, libc::SYS_openat, [0; 6]);
    dies(Filter::meter, libc::SYS_kill, [0; 6]);
    for constant in [libc::SYS_openat, libc::SYS_accept4, libc::SYS_listen] {
        dies(Filter::dialer, constant, [0; 6]);
    }
    dies(Filter::dialer, libc::SYS_socket, [1, 1, 0, 0, 0, 0]);
    dies(Filter::egress, libc::SYS_bpf, [5, 0, 0, 0, 0, 0]); // BPF_PROG_LOAD
    dies(Filter::egress, libc::SYS_sendto, [0, 0, 0, 0x2000_0000, 0, 0]);
    let allowed = under(Filter::dialer(OTHER), || i32::from(raw_call(number(libc::SYS_socket), inet).is_err()));
    assert!(matches!(allowed, WaitStatus::Exited(_, 0)), "{allowed:?}");
}

/// What one of our own filters says to a call, for the process `own`.
pub(in crate::sandbox::seccomp) fn ours_says(
    filter: fn(Pid) -> Result<Filter, FilterError>,
    own: i32,
    number: libc::c_long,
    args: [u64; 6],
) -> u32 {
    let filter = filter(Pid::from_raw(own)).unwrap();
    interpret(&filter.program, assemble::ARCH, u32::try_from(number).unwrap(), args)
}

#[test]
fn our_own_processes_abort_themselves_and_nobody_else() {
    for filter in [Filter::relay, Filter::egress, Filter::dialer, Filter::janitor, Filter::meter] {
        let says = |own, number, args| ours_says(filter, own, number, args);
        for (own, target, signal, expected) in [
            (4711, 4711, 6, Action::Allow),
            (4711, 4712, 6, ours::VIOLATION),
            (4711, 0, 6, ours::VIOLATION),
            (4711, 4711, 9, ours::VIOLATION),
            (1, 4711, 6, ours::VIOLATION),
        ] {
            let got = says(own, libc::SYS_tgkill, [target, target, signal, 0, 0, 0]);
            assert_eq!(got, expected.value(), "{own} to {target}, signal {signal}");
        }
        assert_eq!(says(4711, libc::SYS_tkill, [4711, 6, 0, 0, 0, 0]), ours::VIOLATION.value());
    }
    let aborts = ask_child(|| match Filter::relay(Pid::this()) {
        Ok(filter) if set_no_new_privs().is_ok() && filter.install().is_ok() => std::process::abort(),
        _ => 120,
    });
    assert!(matches!(aborts, Ok(WaitStatus::Signaled(_, Signal::SIGABRT, _))), "{aborts:?}");
}

#[test]
fn relay_accepts_in_one_way_and_opens_no_socket() {
    let accept =
        |flags: i32| ours_says(Filter::relay, 1, libc::SYS_accept4, [3, 0, 0, u64::from(flags.unsigned_abs()), 0, 0]);
    assert_eq!(accept(libc::SOCK_CLOEXEC), Action::Allow.value());
    for flags in [0, libc::SOCK_NONBLOCK, libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, -1] {
        assert_eq!(accept(flags), ours::VIOLATION.value(), "{flags:#x}");
    }
    for refused in [libc::SYS_accept, libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen] {
        assert_eq!(ours_says(Filter::relay, 1, refused, [0; 6]), ours::VIOLATION.value(), "{refused}");
    }
}

#[test]
fn relay_allocates_blocks_for_its_log_and_no_more() {
    let keep = libc::FALLOC_FL_KEEP_SIZE as u64;
    let allocate = |mode: u64, from: u64, bytes: u64| {
        ours_says(Filter::relay, 1, libc::SYS_fallocate, [3, mode, from, bytes, 0, 0])
    };
    let full = crate::bounds::AUDIT_SESSION_BYTES_MAX;
    for (from, bytes) in [(0, 1), (0, 320 << 10), (full, 320 << 10), (full - 1, 64 << 20)] {
        assert_eq!(allocate(keep, from, bytes), Action::Allow.value(), "{bytes} from {from}");
    }
    for (mode, from, bytes) in [
        (0, 0, 1),
        (keep | libc::FALLOC_FL_PUNCH_HOLE as u64, 0, 1),
        (keep, 2 * full, 1),
        (keep, 1 << 32, 1),
        (keep, 1 << 63, 1),
        (keep, 0, 1 << 28),
        (keep, 0, 1 << 32),
        (keep, 0, u64::MAX),
    ] {
        assert_eq!(allocate(mode, from, bytes), ours::VIOLATION.value(), "{mode}: {bytes} from {from}");
    }
}

#[test]
fn relay_makes_sealable_memory_and_no_other() {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let memfd = |flags: u32| ours_says(Filter::relay, 1, libc::SYS_memfd_create, [1, u64::from(flags), 0, 0, 0, 0]);
    for allowed in [flags, flags | 0x8] {
        assert_eq!(memfd(allowed), Action::Allow.value(), "{allowed:#x}");
    }
    for refused in [0, libc::MFD_CLOEXEC, libc::MFD_ALLOW_SEALING, flags | libc::MFD_HUGETLB, flags | 0x10] {
        assert_eq!(memfd(refused), ours::VIOLATION.value(), "{refused:#x}");
    }
    assert_eq!(
        ours_says(Filter::egress, 1, libc::SYS_memfd_create, [1, u64::from(flags), 0, 0, 0, 0]),
        ours::VIOLATION.value()
    );
}

#[test]
fn the_meter_opens_folders_and_nothing_else() {
    let open =
        |flags: i32| ours_says(Filter::meter, 1, libc::SYS_openat, [3, 1, u64::from(flags.unsigned_abs()), 0, 0, 0]);
    let folder = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    assert_eq!(open(folder), Action::Allow.value());
    for refused in
        [0, libc::O_PATH, libc::O_WRONLY, libc::O_TMPFILE | libc::O_RDWR, folder | libc::O_RDWR, folder | libc::O_CREAT]
    {
        assert_eq!(open(refused), ours::VIOLATION.value(), "{refused:#o}");
    }
    let compare = |filter, kind| ours_says(filter, 1, libc::SYS_kcmp, [1, 1, kind, 0, 0, 0]);
    assert_eq!(compare(Filter::meter, 2), Action::Allow.value(), "tables of descriptors");
    for refused in [0, 1, 3, 7] {
        assert_eq!(compare(Filter::meter, refused), ours::VIOLATION.value(), "{refused}");
    }
    assert_eq!(compare(Filter::relay, 2), ours::VIOLATION.value());
}

#[test]
fn relay_cannot_change_the_flags_of_the_segment() {
    let fcntl =
        |filter, command: i32| ours_says(filter, 1, libc::SYS_fcntl, [3, u64::try_from(command).unwrap(), 0, 0, 0, 0]);
    assert_eq!(fcntl(Filter::relay, libc::F_SETFL), ours::VIOLATION.value());
    for filter in [Filter::relay, Filter::egress] {
        for refused in [libc::F_SETOWN, 15] {
            assert_eq!(fcntl(filter, refused), ours::VIOLATION.value(), "{refused}");
        }
        for allowed in [libc::F_GETFL, libc::F_SETLK, libc::F_GETFD, libc::F_SETFD] {
            assert_eq!(fcntl(filter, allowed), Action::Allow.value(), "{allowed}");
        }
    }
}
