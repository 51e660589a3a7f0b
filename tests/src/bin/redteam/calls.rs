//! Calls whose mere answer tells: arguments that no kernel takes, so that nothing is harmed where the call can be made. A refusal
//! for what was asked (EINVAL, EFAULT, ENOENT) is the answer of a kernel that would have done it for better arguments.

use std::ffi::c_long;

use nix::errno::Errno;

use crate::folder::at;
use crate::raw::{At, reach, syscall};
use crate::{Probe, Told};

const NONE: &std::ffi::CStr = c"/isb-none";
const WRONG: usize = usize::MAX;

pub(crate) const PROBES: &[(&str, Probe)] = &[
    ("init-module", |_| bad(libc::SYS_init_module, [0, 0, 0, 0, 0, 0], &[Errno::ENOEXEC, Errno::EFAULT])),
    ("finit-module", |_| bad(libc::SYS_finit_module, [WRONG, 0, 0, 0, 0, 0], &[Errno::EBADF, Errno::EFAULT])),
    ("delete-module", |_| bad(libc::SYS_delete_module, [name(), 0x800, 0, 0, 0, 0], &[Errno::ENOENT])),
    ("kexec-load", |_| bad(libc::SYS_kexec_load, [0, 1000, 0, 0, 0, 0], &[Errno::EINVAL, Errno::EFAULT])),
    ("kexec-file-load", |_| bad(libc::SYS_kexec_file_load, [WRONG, WRONG, 0, 0, 0xffff, 0], &[Errno::EINVAL])),
    ("reboot", |_| bad(libc::SYS_reboot, [0xdead, 0xbeef, 0, 0, 0, 0], &[Errno::EINVAL])),
    ("swapon", |_| bad(libc::SYS_swapon, [path(), 0, 0, 0, 0, 0], &[Errno::ENOENT])),
    ("swapoff", |_| bad(libc::SYS_swapoff, [path(), 0, 0, 0, 0, 0], &[Errno::ENOENT, Errno::EINVAL])),
    ("acct", |_| bad(libc::SYS_acct, [path(), 0, 0, 0, 0, 0], &[Errno::ENOENT])),
    ("kernel-log", |_| {
        let mut text = [0u8; 64];
        bad(libc::SYS_syslog, [3, text.as_mut_ptr() as usize, text.len(), 0, 0, 0], &[])
    }),
    ("quotactl", |_| {
        bad(libc::SYS_quotactl, [0x80_0004 << 8, path(), 0, 0, 0, 0], &[Errno::ENOENT, Errno::ENODEV, Errno::EINVAL])
    }),
    ("quotactl-fd", |_| bad(libc::SYS_quotactl_fd, [WRONG, 0, 0, 0, 0, 0], &[Errno::EBADF])),
    ("set-clock", |_| set_clock()),
    ("set-time-of-day", |_| bad(libc::SYS_settimeofday, [0, 0, 0, 0, 0, 0], &[])),
    ("adjust-clock", |_| adjust_clock(libc::SYS_adjtimex)),
    ("clock-adjtime", |_| adjust_clock(libc::SYS_clock_adjtime)),
    ("set-hostname", |_| set_name(libc::SYS_sethostname, "/proc/sys/kernel/hostname")),
    ("set-domainname", |_| set_name(libc::SYS_setdomainname, "/proc/sys/kernel/domainname")),
    ("modify-ldt", |_| {
        let mut table = [0u8; 64];
        bad(libc::SYS_modify_ldt, [0, table.as_mut_ptr() as usize, table.len(), 0, 0, 0], &[])
    }),
    ("iopl", |_| bad(libc::SYS_iopl, [3, 0, 0, 0, 0, 0], &[])),
    ("ioperm", |_| bad(libc::SYS_ioperm, [0x80, 1, 1, 0, 0, 0], &[])),
    ("mbind", |_| bad(libc::SYS_mbind, [0, 0, 0xff, 0, 0, 0], &[Errno::EINVAL])),
    ("set-mempolicy", |_| bad(libc::SYS_set_mempolicy, [0xff, 0, 0, 0, 0, 0], &[Errno::EINVAL])),
    ("vmsplice", |_| bad(libc::SYS_vmsplice, [WRONG, 0, 0, 0, 0, 0], &[Errno::EBADF])),
    ("remap-file-pages", |_| bad(libc::SYS_remap_file_pages, [0, 0, 1, 0, 0, 0], &[Errno::EINVAL])),
    ("set-mm", |_| {
        bad(libc::SYS_prctl, [libc::PR_SET_MM as usize, 0xff, 0x1000, 0, 0, 0], &[Errno::EINVAL, Errno::EFAULT])
    }),
    ("securebits", |_| bad(libc::SYS_prctl, [libc::PR_SET_SECUREBITS as usize, 0, 0, 0, 0, 0], &[])),
    ("bounding-set", |_| bad(libc::SYS_prctl, [libc::PR_CAPBSET_DROP as usize, 0xff, 0, 0, 0, 0], &[Errno::EINVAL])),
    ("speculation", |_| bad(libc::SYS_prctl, [53, 0xff, 0, 0, 0, 0], &[Errno::ENODEV, Errno::EINVAL])), // PR_SET_SPECULATION_CTRL
    ("machine-check-policy", |_| bad(libc::SYS_prctl, [33, 0xff, 0, 0, 0, 0], &[Errno::EINVAL])),       // PR_MCE_KILL
    ("terminal-input", |_| ioctl(libc::TIOCSTI as usize)),
    ("terminal-linux", |_| ioctl(0x541C)),
    ("line-discipline", |_| ioctl(0x5423)),
    ("terminal-console", |_| ioctl(libc::TIOCCONS as usize)),
    ("terminal-input-64", |_| ioctl(libc::TIOCSTI as usize | 1 << 32)),
    ("file-system-key", |_| of_file_system(0xC050_6617)), // FS_IOC_ADD_ENCRYPTION_KEY
    ("file-verity", |_| of_file_system(0x4080_6685)),     // FS_IOC_ENABLE_VERITY
    ("subvolume", |_| of_file_system(0x5000_940E)),       // BTRFS_IOC_SUBVOL_CREATE
    ("lease", |_| lease()),
    ("fanotify-mark", |_| bad(libc::SYS_fanotify_mark, [WRONG, 1, 1, WRONG, 0, 0], &[Errno::EBADF])),
    ("uselib", |_| bad(libc::SYS_uselib, [path(), 0, 0, 0, 0, 0], &[Errno::ENOENT])),
    ("ustat", |_| bad(libc::SYS_ustat, [WRONG, 0, 0, 0, 0, 0], &[Errno::EINVAL])),
    ("sysfs-call", |_| bad(libc::SYS_sysfs, [3, 0, 0, 0, 0, 0], &[])),
    ("mount-list", |_| {
        let request = [0u64; 4]; // struct mnt_id_req of size 0: EINVAL where it is looked at
        bad(458, [request.as_ptr() as usize, 0, 0, 0, 0, 0], &[Errno::EINVAL, Errno::EFAULT])
    }),
];

fn bad(number: c_long, arguments: [usize; 6], reached: &[Errno]) -> Told {
    reach(number, arguments, reached)
}

fn path() -> usize {
    NONE.as_ptr() as usize
}

fn name() -> usize {
    c"isb_none".as_ptr() as usize
}

/// On a pipe: ENOTTY is the answer of a kernel that looked what it is asked of.
fn ioctl(request: usize) -> Told {
    let byte = b"x".as_ptr() as usize;
    reach(libc::SYS_ioctl, [0, request, byte, 0, 0, 0], &[Errno::ENOTTY, Errno::EINVAL])
}

/// On its own folder: what the file system answers shows that it was asked.
fn of_file_system(request: usize) -> Told {
    let folder = crate::raw::open(&at(""), libc::O_RDONLY)?;
    let mut argument = [0u8; 4096];
    let reached = [Errno::EOPNOTSUPP, Errno::ENOTTY, Errno::EINVAL, Errno::EISDIR, Errno::EACCES];
    reach(libc::SYS_ioctl, [folder as usize, request, argument.as_mut_ptr() as usize, 0, 0, 0], &reached)
}

/// Whoever opens the file then waits for us.
fn lease() -> Told {
    let name = at("lease");
    std::fs::write(&name, "held").at("write")?;
    let file = crate::raw::open(&name, libc::O_RDONLY)?;
    syscall(libc::SYS_fcntl, [file as usize, libc::F_SETLEASE as usize, libc::F_WRLCK as usize, 0, 0, 0])
        .map(|_| "held".into())
        .at("F_SETLEASE")
}

/// Sets the clock to what it says.
fn set_clock() -> Told {
    let mut time = [0i64; 2];
    syscall(libc::SYS_clock_gettime, [0, time.as_mut_ptr() as usize, 0, 0, 0, 0]).at("clock_gettime")?;
    bad(libc::SYS_clock_settime, [0, time.as_ptr() as usize, 0, 0, 0, 0], &[])
}

/// Sets the clock's frequency to what it is: struct timex has modes first, then offset and freq.
fn adjust_clock(number: c_long) -> Told {
    let mut state = [0i64; 26];
    let arguments =
        |pointer| if number == libc::SYS_adjtimex { [pointer, 0, 0, 0, 0, 0] } else { [0, pointer, 0, 0, 0, 0] };
    syscall(number, arguments(state.as_mut_ptr() as usize)).at("read")?;
    state[0] = 2; // ADJ_FREQUENCY
    syscall(number, arguments(state.as_mut_ptr() as usize)).map(|_| "set".into()).at("set")
}

/// Sets a name to what it is.
fn set_name(number: c_long, file: &str) -> Told {
    let name = std::fs::read_to_string(file).at("read")?;
    let name = name.trim_end();
    bad(number, [name.as_ptr() as usize, name.len(), 0, 0, 0, 0], &[])
}
