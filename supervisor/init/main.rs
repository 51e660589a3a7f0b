//! PID 1 of the sandbox: a static program without libc, so that /proc/1/exe is no binary of the host.
//!
//! Started as `init PID` with descriptor 0 the lifeline (a pipe that hangs up when the monitor dies), 1 the status pipe,
//! all signals blocked, no capability, no_new_privs set, and the workload PID already forked. It says READY, narrows
//! itself to the calls below, reaps every orphan, passes SIGTERM and SIGINT on to the workload, reports how the workload
//! ended, and ends. When pid 1 ends, the kernel kills everything else in the namespace (pid_namespaces(7)).
#![no_std]
#![no_main]
#![allow(unsafe_code)]
#![deny(clippy::undocumented_unsafe_blocks)]

mod filter;
mod kernel;

use kernel::{PollFd, SignalInfo};

const LIFELINE: i32 = 0;
const STATUS: i32 = 1;

/// First half of each 8-byte message on the status pipe; the second is a wait status.
const READY: i32 = 1;
const ENDED: i32 = 2;

const SIGINT: u32 = 2;
const SIGTERM: u32 = 15;
const SIGCHLD: u32 = 17;
const POLLIN: i16 = 1;

/// Exit codes: nobody reads them but a person with strace.
const USAGE: i32 = 2;
const REFUSED: i32 = 3;
const ORPHANED: i32 = 4;

/// The stack as the kernel leaves it (x86-64 and AArch64 ABI): argc, then argv.
#[unsafe(no_mangle)]
extern "C" fn init_main(stack: *const usize) -> ! {
    let Some(workload) = argument(stack) else { kernel::exit(USAGE) };
    if kernel::set_not_dumpable() < 0 {
        kernel::exit(REFUSED);
    }
    let signals = kernel::signalfd(&[SIGCHLD, SIGTERM, SIGINT]);
    if signals < 0 || filter::install() < 0 || kernel::write_pair(STATUS, READY, 0) != 8 {
        kernel::exit(REFUSED);
    }
    serve(workload, signals)
}

fn serve(workload: i32, signals: i32) -> ! {
    loop {
        // First, because the workload may have ended before signals were watched.
        reap(workload);
        let mut watched = [PollFd::new(LIFELINE, 0), PollFd::new(signals, POLLIN)];
        if kernel::poll(&mut watched) < 0 {
            continue; // EINTR alone is possible, and no handler exists
        }
        // Nobody ever writes to the lifeline: whatever happens on it means that the monitor is gone.
        if watched[0].happened != 0 {
            kernel::exit(ORPHANED);
        }
        if watched[1].happened != 0 {
            let mut info = SignalInfo::new();
            if kernel::read_signal(signals, &mut info) && info.number != SIGCHLD {
                kernel::kill(workload, info.number);
            }
        }
    }
}

/// Reaps all that has ended; ends the namespace with the workload.
fn reap(workload: i32) {
    let mut status = 0;
    loop {
        let pid = kernel::wait_any(&mut status);
        if pid == workload {
            kernel::write_pair(STATUS, ENDED, status);
            kernel::exit(0);
        }
        if pid <= 0 {
            return;
        }
    }
}

/// argv[1] as a pid above 1.
fn argument(stack: *const usize) -> Option<i32> {
    // SAFETY: the kernel put argc at the stack pointer of a fresh process.
    if unsafe { stack.read() } != 2 {
        return None;
    }
    // SAFETY: argv[0] follows argc, argv[1] follows argv[0]; argc is 2.
    let mut text = unsafe { stack.add(2).read() } as *const u8;
    let mut pid: i32 = 0;
    loop {
        // SAFETY: argument strings are NUL-terminated, and the loop ends at the NUL.
        let byte = unsafe { text.read() };
        if byte == 0 {
            return if pid > 1 { Some(pid) } else { None };
        }
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        pid = pid.checked_mul(10)?.checked_add(i32::from(digit))?;
        // SAFETY: not yet at the NUL, so the next byte belongs to the string, too.
        text = unsafe { text.add(1) };
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    kernel::exit(REFUSED)
}
