//! The filters against an interpreter of classic BPF, and against the kernel.

mod of_ours;

pub(super) use of_ours::ours_says;

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::prctl::set_no_new_privs;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use proptest::prelude::*;

use super::table::{ENOSYS, EPERM, Rule};
use super::*;
use crate::sys::fork::{ask_child, leave_child};
use crate::sys::listener::{Heard, hear, refuse, still_waits};
use crate::sys::pass;
use crate::sys::pidfd::readable;
use crate::sys::raw::raw_call;

/// A process that a filter is for and that is not the one that runs.
const OTHER: Pid = Pid::from_raw(1);

const KILL: u32 = 0x8000_0000;

/// Runs a program as the kernel would (net/core/filter.c), for the instructions that the assembler uses.
fn interpret(program: &[Instruction], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let load = |offset: u32| match offset {
        0 => number,
        4 => arch,
        16.. if (offset - 16).is_multiple_of(4) => {
            let half = args[(offset as usize - 16) / 8] >> (8 * ((offset - 16) % 8));
            u32::try_from(half & 0xffff_ffff).unwrap()
        }
        _ => panic!("load of offset {offset}"),
    };
    let (mut at, mut a) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let mut branch = |taken: bool| at += usize::from(if taken { jt } else { jf });
        match code {
            0x20 => a = load(k),
            0x54 => a &= k,
            0x05 => at += k as usize,
            0x15 => branch(a == k),
            0x35 => branch(a >= k),
            0x45 => branch(a & k != 0),
            0x06 => return k,
            _ => panic!("instruction {code:#x}"),
        }
    }
}

fn workload(number: libc::c_long, args: [u64; 6]) -> u32 {
    let filter = Filter::workload().unwrap();
    interpret(&filter.program, assemble::ARCH, u32::try_from(number).unwrap(), args)
}

fn says(number: libc::c_long, args: [u64; 6], expected: Action) {
    let got = workload(number, args);
    let name = name_of(u32::try_from(number).unwrap()).unwrap_or("?");
    assert_eq!(got, expected.value(), "{name}{args:x?}: {got:#x}");
}

/// What the rules say, without the assembler.
fn evaluate(rules: &BTreeMap<u32, Rule>, otherwise: Action, own: u32, number: u32, args: [u64; 6]) -> Action {
    let Some(rule) = rules.get(&number) else { return otherwise };
    let holds = |condition: &table::Condition| {
        let (arg, high) = (condition.arg % table::HIGH_HALF, condition.arg >= table::HIGH_HALF);
        let half = (args[usize::from(arg)].rotate_left(if high { 32 } else { 0 }) & 0xffff_ffff) as u32;
        ((half & condition.mask) == condition.value.of(own)) == condition.equal
    };
    rule.clauses.iter().find(|clause| clause.when.iter().all(holds)).map_or(rule.last, |clause| clause.then)
}

proptest! {
    #[test]
    fn the_program_means_what_the_table_says(number in 0_u32..600, picks in proptest::array::uniform6(0_usize..16), noise: u32) {
        // Values that the rules look at, so that clauses do match.
        let values: [u64; 16] = [0, 1, 2, 3, 5, 6, 10, 16, 17, 0x5412, 0o4755, 0o20666, 0o2_000_101, 0x1000_0000, 0xffff_ffff, 0x2000_0001];
        let args = picks.map(|pick| values[pick] | (u64::from(noise) << 32));
        let (telling, plain) = both(libc::c_long::from(number), args);
        prop_assert_eq!(plain, if telling == Action::Tell.value() { EPERM.value() } else { telling });
        for (table, otherwise) in [(workload::TABLE, ENOSYS), (Who::Relay.groups(), ours::VIOLATION), (Who::Egress.groups(), ours::VIOLATION)] {
            let rules = rules(table).unwrap();
            let program = assemble::assemble(&rules, otherwise, 17);
            prop_assert_eq!(interpret(&program, assemble::ARCH, number, args), evaluate(&rules, otherwise, 17, number, args).value());
        }
    }
}

#[test]
fn other_architectures_and_x32_are_killed() {
    let filter = Filter::workload().unwrap();
    let run = |arch, number| interpret(&filter.program, arch, number, [0; 6]);
    let getpid = u32::try_from(libc::SYS_getpid).unwrap();
    assert_eq!(run(assemble::ARCH, getpid), Action::Allow.value());
    for arch in [0x4000_0003, 0x4000_0028, 0, assemble::ARCH ^ 1] {
        assert_eq!(run(arch, getpid), KILL, "arch {arch:#x}");
    }
    if cfg!(target_arch = "x86_64") {
        assert_eq!(run(assemble::ARCH, 0x4000_0000 | getpid), KILL);
        assert_eq!(run(assemble::ARCH, 0x4000_0200), KILL);
        assert_eq!(run(assemble::ARCH, 0x8000_0000), ENOSYS.value(), "a number of neither table");
    }
    assert_eq!(run(assemble::ARCH, u32::MAX), ENOSYS.value(), "a cancelled call");
    assert_eq!(run(assemble::ARCH, 599), ENOSYS.value());
}

#[test]
fn every_filter_assembles_and_fits() {
    for filter in
        [Filter::workload(), Filter::relay(OTHER), Filter::egress(OTHER), Filter::link(OTHER), Filter::janitor(OTHER)]
            .into_iter()
            .chain([Filter::dialer(OTHER)])
    {
        let filter = filter.unwrap();
        assert!(filter.instructions() < 1500, "{} instructions", filter.instructions());
    }
}

#[test]
fn every_group_has_a_reason_and_no_call_stands_twice() {
    for group in workload_groups() {
        assert!(group.reason.len() > 8 && !group.calls.is_empty(), "{:?}", group.calls.first());
    }
    const TWICE: &[Group] = &[
        table::allowed(table::calls![SYS_read], "first"),
        table::refused(table::calls![SYS_write, SYS_read], "second"),
    ];
    assert!(matches!(rules(&[TWICE]), Err(FilterError::Twice("read"))));
}

#[test]
fn the_list_is_far_shorter_than_the_kernels() {
    // Docker's default profile lets more than 360 calls through.
    let allowed = Filter::workload().unwrap().allowed();
    assert!((150..=215).contains(&allowed), "{allowed} calls");
}

#[test]
fn set_id_modes_are_refused_and_others_pass() {
    let creates = u64::try_from(libc::O_CREAT | libc::O_WRONLY).unwrap();
    for (call, before) in [
        (libc::SYS_fchmod, 1),
        (libc::SYS_fchmodat, 2),
        (452, 2),
        (libc::SYS_mkdirat, 2),
        (libc::SYS_mknodat, 2),
        (libc::SYS_openat, 3),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_chmod, 1),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_mkdir, 1),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_mknod, 1),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_creat, 1),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, 2),
    ] {
        let mut args = [0; 6];
        args[before - 1] = creates; // the flags of open and openat; a descriptor or a path elsewhere
        for mode in [0o4755, 0o2755, 0o6755, 0o4000, 0o2000, 0xffff_0000_0000_0000 | 0o4755] {
            args[before] = mode;
            says(call, args, EPERM);
        }
        for mode in [0o755, 0o1777, 0o644, 0] {
            args[before] = mode;
            says(call, args, Action::Allow);
        }
    }
    let tmpfile = u64::try_from(libc::O_TMPFILE | libc::O_WRONLY).unwrap();
    says(libc::SYS_openat, [0, 0, tmpfile, 0o4755, 0, 0], EPERM);
    says(libc::SYS_openat, [0, 0, u64::try_from(libc::O_DIRECTORY).unwrap(), 0o4755, 0, 0], Action::Allow);
    says(libc::SYS_openat2, [0; 6], ENOSYS);
}

#[test]
fn device_nodes_are_refused() {
    for kind in [libc::S_IFCHR, libc::S_IFBLK] {
        says(libc::SYS_mknodat, [0, 0, u64::from(kind | 0o600), 0, 0, 0], EPERM);
    }
    for kind in [0, libc::S_IFREG, libc::S_IFIFO, libc::S_IFSOCK] {
        says(libc::SYS_mknodat, [0, 0, u64::from(kind | 0o600), 0, 0, 0], Action::Allow);
    }
}

#[test]
fn sockets_are_stream_and_datagram_of_four_families() {
    let flags = u64::try_from(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).unwrap();
    for (family, kind, protocol) in
        [(1, 1, 0), (1, 2, 0), (2, 1, 0), (2, 1, 6), (2, 2, 0), (2, 2, 17), (10, 1, 6), (10, 2, 17), (16, 3, 0)]
    {
        for kind in [kind, kind | flags] {
            says(libc::SYS_socket, [family, kind, protocol, 0, 0, 0], Action::Allow);
            says(libc::SYS_socket, [family | 1 << 40, kind, protocol, 0, 0, 0], Action::Allow); // an int for the kernel
        }
    }
    let refused = [
        (2, 3, 0),
        (2, 3, 1),
        (2, 2, 1),
        (10, 2, 58), // raw and ping
        (2, 1, 262),
        (2, 1, 132),
        (2, 5, 132),
        (2, 2, 136),
        (2, 6, 33), // MPTCP, SCTP, UDP-Lite, DCCP
        (1, 5, 0),
        (16, 3, 4),
        (16, 3, 9),
        (16, 3, 12),
        (16, 3, 15),
        (16, 2, 0), // seqpacket, other netlink
        (2, 0x11, 0),
        (2, 1 | 1 << 30, 0), // unknown type bits
    ];
    for (family, kind, protocol) in refused {
        says(libc::SYS_socket, [family, kind, protocol, 0, 0, 0], EPERM);
    }
    for family in (0..=46_u64).filter(|family| ![1, 2, 10, 16].contains(family)) {
        for kind in 1..=5 {
            says(libc::SYS_socket, [family, kind, 0, 0, 0, 0], EPERM);
        }
    }
    says(libc::SYS_socketpair, [1, 1 | flags, 0, 0, 0, 0], Action::Allow);
    for (family, kind) in [(1, 2), (1, 5), (2, 1)] {
        says(libc::SYS_socketpair, [family, kind, 0, 0, 0, 0], EPERM);
    }
}

#[test]
fn other_arguments_that_decide() {
    let namespaces: [u64; 7] = [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
    for flag in namespaces {
        says(libc::SYS_clone, [flag | 17, 0, 0, 0, 0, 0], EPERM);
    }
    says(libc::SYS_clone, [0x3d_0f00, 0, 0, 0, 0, 0], Action::Allow); // pthread_create
    says(libc::SYS_clone, [0x120_0011, 0, 0, 0, 0, 0], Action::Allow); // fork
    says(libc::SYS_clone3, [0; 6], ENOSYS);
    for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmmsg, 3), (libc::SYS_sendmsg, 2)] {
        let mut args = [0; 6];
        for (value, expected) in [(0, Action::Allow), (0x4040, Action::Allow), (1, EPERM), (0x2000_0000, EPERM)] {
            args[flags] = value;
            says(call, args, expected);
        }
    }
    for request in [0x5412, 0x541C, 0x541D, 0x5423, 0x4008_6602, 0x401C_5820, 0xffff_ffff_0000_5412] {
        says(libc::SYS_ioctl, [0, request, 0, 0, 0, 0], EPERM);
    }
    for request in [0x5401, 0x5413, 0x5421, 0x541B] {
        says(libc::SYS_ioctl, [0, request, 0, 0, 0, 0], Action::Allow);
    }
    for (option, expected) in [
        (15, Action::Allow),
        (38, Action::Allow),
        (35, EPERM),
        (0x5961_6d61, EPERM),
        (7, EPERM),
        (24, EPERM),
        (27, EPERM),
        (28, EPERM),
        (29, EPERM),
        (47, EPERM),
    ] {
        says(libc::SYS_prctl, [option, 0, 0, 0, 0, 0], expected);
    }
    for (persona, expected) in
        [(0, Action::Allow), (0xffff_ffff, Action::Allow), (0x004_0000, EPERM), (0x040_0000, EPERM), (8, EPERM)]
    {
        says(libc::SYS_personality, [persona, 0, 0, 0, 0, 0], expected);
    }
    says(libc::SYS_seccomp, [1, 8, 0, 0, 0, 0], EPERM);
    says(libc::SYS_seccomp, [1, 9, 0, 0, 0, 0], EPERM);
    says(libc::SYS_seccomp, [1, 1, 0, 0, 0, 0], Action::Allow);
    for (level, option, expected) in [
        (6, 23, EPERM),
        (6, 30, EPERM),
        (6, 31, EPERM),
        (6, 19, EPERM),
        (6, 1, Action::Allow),
        (1, 26, EPERM),
        (1, 36, EPERM),
        (1, 25, EPERM),
        (1, 2, Action::Allow),
        (0, 64, EPERM),
        (0, 96, EPERM),
        (0, 1, Action::Allow),
        (41, 64, EPERM),
        (41, 26, Action::Allow),
        (41, 67, Action::Allow),
    ] {
        says(libc::SYS_setsockopt, [0, level, option, 0, 0, 0], expected);
    }
}

/// Installs the filter in a child and asks there. 120 and 121 are the child's own trouble.
fn under(filter: Result<Filter, FilterError>, question: impl FnOnce() -> i32) -> WaitStatus {
    let filter = filter.unwrap();
    ask_child(|| {
        if set_no_new_privs().is_err() {
            return 120;
        }
        if filter.install().is_err() {
            return 121;
        }
        question()
    })
    .unwrap()
}

#[test]
fn the_kernel_refuses_every_refused_call() {
    let status = under(Filter::workload(), || {
        // Without a filter some of these would do what they say: look first with one that is harmless.
        if raw_call(u32::try_from(libc::SYS_unshare).unwrap_or(0), [0; 6]) != Err(Errno::EPERM) {
            return 1;
        }
        let refuses = |rule: &Rule| rule.clauses.is_empty() && matches!(rule.last, EPERM | Action::Tell);
        let refused = workload_groups().filter(|group| refuses(&group.rule));
        for call in refused.flat_map(|group| group.calls) {
            if raw_call(call.number, [u64::MAX; 6]) != Err(Errno::EPERM) {
                return 2;
            }
        }
        i32::from(raw_call(435, [0; 6]) != Err(Errno::ENOSYS) || raw_call(599, [0; 6]) != Err(Errno::ENOSYS)) * 3
    });
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "1: no filter, 2: one passed, 3: not ENOSYS: {status:?}");
}

/// What the program says that a listener hears, and what the one says that refuses without.
fn both(number: libc::c_long, args: [u64; 6]) -> (u32, u32) {
    let filter = Filter::workload().unwrap();
    let number = u32::try_from(number).unwrap();
    let run = |program| interpret(program, assemble::ARCH, number, args);
    (run(&filter.telling), run(&filter.program))
}

#[test]
fn nothing_is_asked_of_a_file_system_that_outlives_the_run() {
    // linux/fscrypt.h, fsverity.h, btrfs.h and the like: keys, policies, verity, subvolumes, snapshots, an inode's generation.
    let leaves =
        [0xC050_6617, 0xC040_6618, 0x800C_6613, 0x4080_6685, 0x4008_6604, 0x5000_940E, 0x5000_9401, 0x5000_9418];
    for request in leaves.into_iter().chain([0x4004_F50D, 0x4028_BC02, 0xFFFF_FFFF_C050_6617]) {
        says(libc::SYS_ioctl, [0, request, 0, 0, 0, 0], EPERM);
    }
    for request in [0x8008_6601, 0x4004_9409, 0x8008_4301] {
        says(libc::SYS_ioctl, [0, request, 0, 0, 0, 0], Action::Allow);
    }
    for (command, expected) in
        [(0, Action::Allow), (6, Action::Allow), (1033, Action::Allow), (1024, EPERM), (1026, EPERM)]
    {
        says(libc::SYS_fcntl, [0, command, 0, 0, 0, 0], expected);
    }
}

#[test]
fn what_is_told_is_what_no_runtime_does() {
    let (told, silent) = ((Action::Tell.value(), EPERM.value()), (EPERM.value(), EPERM.value()));
    for (call, args, expected) in [
        (libc::SYS_ptrace, [0; 6], told),
        (libc::SYS_mount, [u64::MAX; 6], told),
        (libc::SYS_bpf, [0; 6], told),
        (libc::SYS_unshare, [0x1000_0000, 0, 0, 0, 0, 0], told),
        (libc::SYS_clone, [0x1000_0011, 0, 0, 0, 0, 0], told),
        (libc::SYS_ioctl, [0, 0xffff_ffff_0000_5412, 0, 0, 0, 0], told),
        (libc::SYS_fchmod, [0, 0o4755, 0, 0, 0, 0], told),
        (libc::SYS_mknodat, [0, 0, u64::from(libc::S_IFBLK), 0, 0, 0], told),
        (libc::SYS_socket, [38, 5, 0, 0, 0, 0], told),
        (libc::SYS_seccomp, [1, 8, 0, 0, 0, 0], told),
        // libuv at every start, Go's listeners, ping and our own self-test, cp -a, Python's user=.
        (libc::SYS_io_uring_setup, [0; 6], silent),
        (libc::SYS_socket, [2, 1, 262, 0, 0, 0], silent),
        (libc::SYS_socket, [2, 3, 1, 0, 0, 0], silent),
        (libc::SYS_ioctl, [0, 0x4008_6602, 0, 0, 0, 0], silent),
        (libc::SYS_setgroups, [0; 6], silent),
        (libc::SYS_capset, [0; 6], silent),
        (libc::SYS_sched_setscheduler, [0; 6], silent),
    ] {
        assert_eq!(both(call, args), expected, "{:?}{args:x?}", name_of(u32::try_from(call).unwrap()));
    }
    for group in workload_groups().filter(|group| group.rule.last == Action::Tell) {
        for call in group.calls {
            assert_eq!(refusal_of(call.number), Some((call.name, group.reason)));
        }
    }
}

#[test]
fn a_listener_hears_of_a_refused_call_and_its_thread_gets_eperm() {
    let filter = Filter::workload().unwrap();
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let child = leave_child(|| {
        let Ok(listener) = set_no_new_privs().and_then(|()| filter.install_telling()) else { return 120 };
        if pass::send(theirs.as_fd(), b"x", Some(listener.as_fd())).is_err() {
            return 121;
        }
        drop(listener);
        let number = |constant: libc::c_long| u32::try_from(constant).unwrap_or(0);
        if raw_call(number(libc::SYS_unshare), [0; 6]) != Err(Errno::EPERM) {
            return 1;
        }
        if raw_call(number(libc::SYS_io_uring_setup), [0; 6]) != Err(Errno::EPERM) {
            return 2;
        }
        // The listener is closed: nobody hears it, and it does nothing.
        if pass::send(theirs.as_fd(), b"x", None).is_err()
            || pass::receive(theirs.as_fd(), &mut [0], MsgFlags::empty()).is_err()
        {
            return 122;
        }
        i32::from(raw_call(number(libc::SYS_unshare), [0; 6]) != Err(Errno::ENOSYS)) * 3
    })
    .unwrap();
    let (_, listener) = pass::receive(ours.as_fd(), &mut [0], MsgFlags::empty()).unwrap();
    let listener = listener.expect("the kernel has listeners");
    assert!(readable(listener.as_fd(), PollTimeout::from(10_000_u16)).unwrap(), "no call came");
    let Heard::Call(notice) = hear(listener.as_fd()).unwrap() else { panic!("poll(2) said that one waits") };
    assert_eq!((notice.call, notice.tid), (u32::try_from(libc::SYS_unshare).unwrap(), child.as_raw().unsigned_abs()));
    assert!(still_waits(listener.as_fd(), &notice));
    refuse(listener.as_fd(), &notice).unwrap();
    assert!(!still_waits(listener.as_fd(), &notice));
    pass::receive(ours.as_fd(), &mut [0], MsgFlags::empty()).unwrap();
    assert_eq!(hear(listener.as_fd()), Ok(Heard::Nothing), "a silent refusal is not heard");
    drop(listener);
    pass::send(ours.as_fd(), b"x", None).unwrap();
    let status = waitpid(child, None).unwrap();
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "1: told, 2: silent, 3: without a listener: {status:?}");
}

#[test]
fn the_kernel_refuses_by_argument() {
    let status = under(Filter::workload(), || {
        let call = |number: libc::c_long, args| raw_call(u32::try_from(number).unwrap_or(0), args);
        let refused = [
            call(libc::SYS_socket, [40, 1, 0, 0, 0, 0]),
            call(libc::SYS_socket, [2, 1, 262, 0, 0, 0]),
            call(libc::SYS_fchmod, [u64::MAX, 0o4755, 0, 0, 0, 0]),
            call(libc::SYS_clone, [0x1000_0011, 0, 0, 0, 0, 0]),
            call(libc::SYS_ioctl, [u64::MAX, 0xff_0000_5412, 0, 0, 0, 0]),
            call(libc::SYS_sendto, [u64::MAX, 0, 0, 0x2000_0000, 0, 0]),
        ];
        if let Some(place) = refused.iter().position(|answer| *answer != Err(Errno::EPERM)) {
            return 1 + i32::try_from(place).unwrap_or(99);
        }
        // The same calls with arguments that pass reach the kernel proper.
        let passed = [
            call(libc::SYS_fchmod, [u64::MAX, 0o755, 0, 0, 0, 0]),
            call(libc::SYS_ioctl, [u64::MAX, 0x5401, 0, 0, 0, 0]),
            call(libc::SYS_sendto, [u64::MAX, 0, 0, 0, 0, 0]),
        ];
        if passed.iter().any(|answer| *answer != Err(Errno::EBADF))
            || call(libc::SYS_socket, [1, 1, 0, 0, 0, 0]).is_err()
        {
            return 50;
        }
        0
    });
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_kernel_kills_x32_and_the_32_bit_entry() {
    let x32 = under(Filter::workload(), || i32::from(raw_call(0x4000_0000 | 39, [0; 6]).is_ok()));
    assert!(matches!(x32, WaitStatus::Signaled(_, Signal::SIGSYS, _)), "{x32:?}");
    let int_0x80 = under(Filter::workload(), || i32::from(crate::sys::raw::getpid_by_int_0x80() > 0));
    assert!(matches!(int_0x80, WaitStatus::Signaled(_, Signal::SIGSYS, _)), "{int_0x80:?}");
}
