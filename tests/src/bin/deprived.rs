//! `deprived LAYER CMD [ARG...]`: a kernel that refuses what a layer of the sandbox is made of (seccomp, EPERM), then the
//! command. For the tests that a run refuses to start there.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use intercept_sandbox::sys::seccomp::{Instruction, install};

/// A system call, refused always, or where the low half of an argument has one of `bits`, or is `value`.
struct Refused {
    layer: &'static str,
    call: libc::c_long,
    only: Option<(u32, Only)>,
}

#[derive(Clone, Copy)]
enum Only {
    Bits(i32),
    Value(u32),
}

const fn all(layer: &'static str, call: libc::c_long) -> Refused {
    Refused { layer, call, only: None }
}

const fn only(layer: &'static str, call: libc::c_long, argument: u32, only: Only) -> Refused {
    Refused { layer, call, only: Some((argument, only)) }
}

/// One line a layer; the cgroup is not here, for that is a mount and not a call.
const TABLE: &[Refused] = &[
    only("namespaces", libc::SYS_unshare, 0, Only::Bits(libc::CLONE_NEWUSER)),
    all("rootfs", libc::SYS_pivot_root),
    // The workload's own, and none of those that our processes take.
    only("identity", libc::SYS_setresuid, 0, Only::Value(1000)),
    all("capabilities", libc::SYS_capset),
    only("no-new-privs", libc::SYS_prctl, 0, Only::Value(libc::PR_SET_NO_NEW_PRIVS.cast_unsigned())),
    all("seccomp", libc::SYS_seccomp),
    only("netns", libc::SYS_unshare, 0, Only::Bits(libc::CLONE_NEWNET)),
    all("gateway", libc::SYS_listen),
    all("cgroup-bpf", libc::SYS_bpf),
    all("landlock", libc::SYS_landlock_restrict_self),
];

// linux/bpf_common.h and linux/seccomp.h
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_BITS: u16 = 0x45;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const ARGUMENTS_AT: u32 = 16;

fn program(refused: &Refused) -> Vec<Instruction> {
    let say = |code, jt, jf, k| Instruction { code, jt, jf, k };
    let eperm = say(RETURN, 0, 0, ERRNO | libc::EPERM.cast_unsigned());
    let allow = say(RETURN, 0, 0, ALLOW);
    let number = u32::try_from(refused.call).expect("numbers of calls are small");
    let mut program = vec![say(LOAD, 0, 0, 0)];
    match refused.only {
        None => program.extend([say(JUMP_EQUAL, 0, 1, number)]),
        Some((argument, only)) => {
            let compare = match only {
                Only::Bits(bits) => say(JUMP_BITS, 0, 1, bits.cast_unsigned()),
                Only::Value(value) => say(JUMP_EQUAL, 0, 1, value),
            };
            program.extend([say(JUMP_EQUAL, 0, 3, number), say(LOAD, 0, 0, ARGUMENTS_AT + 8 * argument), compare]);
        }
    }
    program.extend([eperm, allow]);
    program
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let layer = arguments.next().unwrap_or_default();
    let row = TABLE.iter().find(|row| layer == row.layer);
    let (Some(row), Some(command)) = (row, arguments.next()) else {
        eprintln!(
            "usage: deprived LAYER CMD [ARG...]; layers: {:?}",
            TABLE.iter().map(|row| row.layer).collect::<Vec<_>>()
        );
        return ExitCode::from(2);
    };
    if let Err(errno) = install(&program(row)) {
        eprintln!("deprived: {errno}");
        return ExitCode::from(2);
    }
    let error = Command::new(command).args(arguments).exec();
    eprintln!("deprived: {error}");
    ExitCode::from(2)
}
