//! One guest, from its start to its end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use super::folder;
use super::kernel::Kernel;
use super::said::Said;
use super::suites::Suite;
use crate::say;
use crate::shell::{Outcome, as_root, command, run, workspace};

/// Beyond what the suites may take: boot, and the copy of /etc.
const BOOT_SECONDS: u32 = 600;
/// A sparse file: only what tests write takes room.
const DISK_SIZE: &str = "4G";
/// Node.js reserves a lot; the sandbox's own ceilings are below it.
const MEMORY: &str = "2048";

/// Everything that a guest said: the scripts' and tests' lines, then the kernel's.
pub(super) fn log(kernel: &Kernel) -> PathBuf {
    folder().join(&kernel.release).join("said.log")
}

/// Boots `kernel` and listens to the end, at most as long as all suites together may take.
///
/// # Errors
/// Only where no guest could be started; what a guest lacks is in [`Said`].
pub(super) fn boot(kernel: &Kernel, initrd: &Path, kvm: bool, suites: &[Suite]) -> Outcome<Said> {
    let home = folder().join(&kernel.release);
    let (disk, console) = (home.join("disk.img"), home.join("console.log"));
    if disk.exists() {
        fs::remove_file(&disk).map_err(|error| format!("{}: {error}", disk.display()))?;
    }
    run(command("truncate", &["--size", DISK_SIZE, &disk.to_string_lossy()]))?;
    // No journal: nobody needs this disk after a crash.
    run(command("/sbin/mkfs.ext4", &["-q", "-F", "-O", "^has_journal", &disk.to_string_lossy()]))?;
    let seconds = BOOT_SECONDS + suites.iter().map(|suite| suite.seconds).sum::<u32>();
    say::step(&format!("booting {} for at most {seconds} s", kernel.release));
    // Through timeout(1), for behind sudo the machine is not ours to kill.
    let mut machine = as_root("timeout", &["--kill-after=10", &seconds.to_string()]);
    machine.args(arguments(kernel, initrd, &disk, &console, kvm)).stdin(Stdio::null()).stdout(Stdio::piped());
    #[expect(clippy::disallowed_methods, reason = "a developer's machine, not the supervisor")]
    let mut child = machine.spawn().map_err(|error| format!("qemu: {error}"))?;
    let output = child.stdout.take().ok_or("qemu has no output")?;
    let said = listen(BufReader::new(output), &log(kernel))?;
    let status = child.wait().map_err(|error| format!("qemu: {error}"))?;
    if !status.success() {
        say::note(&format!("{}: qemu ended with {status}", kernel.release));
    }
    append(&console, &log(kernel))?;
    fs::remove_file(&disk).map_err(|error| format!("{}: {error}", disk.display()))?;
    Ok(said)
}

/// Reads to the end, shows what is worth it, keeps all.
fn listen(mut output: impl BufRead, log: &Path) -> Outcome<Said> {
    let failed = |error: std::io::Error| format!("{}: {error}", log.display());
    let mut kept = File::create(log).map_err(failed)?;
    let mut said = Said::default();
    let mut line = Vec::new();
    let begun = Instant::now();
    while output.read_until(b'\n', &mut line).map_err(|error| format!("qemu's output: {error}"))? > 0 {
        kept.write_all(&line).map_err(failed)?;
        if let Some(shown) = said.line(&String::from_utf8_lossy(&line)) {
            say::note(&format!("{:>6} s  {shown}", begun.elapsed().as_secs()));
        }
        line.clear();
    }
    Ok(said)
}

/// Puts the kernel's console behind the rest; its last lines tell of a panic.
fn append(console: &Path, log: &Path) -> Outcome {
    let text = fs::read(console).unwrap_or_default();
    let mut kept =
        fs::OpenOptions::new().append(true).open(log).map_err(|error| format!("{}: {error}", log.display()))?;
    let written = kept.write_all(b"\n--- console ---\n").and_then(|()| kept.write_all(&text));
    written.map_err(|error| format!("{}: {error}", log.display()))
}

fn arguments(kernel: &Kernel, initrd: &Path, disk: &Path, console: &Path, kvm: bool) -> Vec<String> {
    let accelerator = if kvm { "kvm" } else { "tcg,thread=multi" };
    // Five levels of page tables cost an emulated processor a lot.
    let processor = if kvm { "host" } else { "max,la57=off" };
    let workspace = workspace();
    let mut words: Vec<String> = [
        "qemu-system-x86_64",
        "-accel",
        accelerator,
        "-cpu",
        processor,
        "-m",
        MEMORY,
        "-smp",
        "2",
        "-nodefaults",
        "-no-user-config",
        "-nic",
        "none",
        "-display",
        "none",
        "-no-reboot",
        "-device",
        "virtio-rng-pci",
        // The first is the kernel's, the second the scripts'.
        "-serial",
    ]
    .map(str::to_owned)
    .into();
    words.extend([format!("file:{}", console.display()), "-serial".into(), "stdio".into()]);
    words.extend(["-kernel".into(), kernel.image.display().to_string()]);
    words.extend(["-initrd".into(), initrd.display().to_string()]);
    // Debian's own list of security modules has bpf and landlock in it. An oops is a failure like a panic. Debian's kernels have the
    // x32 entry, switched off: on, a filter that forgot it would show.
    words.extend(["-append".into(), "console=ttyS0 quiet loglevel=4 panic=-1 oops=panic syscall.x32=y".into()]);
    words.extend(["-drive".into(), format!("file={},if=virtio,format=raw,cache=unsafe", disk.display())]);
    for (tag, path) in [("usr", Path::new("/usr")), ("etc", Path::new("/etc")), ("workspace", &workspace)] {
        let share = format!("local,id={tag},path={},security_model=none,readonly=on,multidevs=remap", path.display());
        words.extend(["-fsdev".into(), share]);
        words.extend(["-device".into(), format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}")]);
    }
    words
}
