//! What will be executed, and why an exec that fails did.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::{Plan, programs};

/// Bytes of a program that are looked at: the kernel reads 256 for `#!`, ELF headers fit one page in practice.
pub(super) const HEAD_BYTES: u64 = 4096;

/// The arguments of execve(2), made before the fork.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) path: CString,
    pub(super) argv: Vec<CString>,
    pub(super) environment: Vec<CString>,
}

impl Image {
    /// `None` when a string contains NUL, or argv is empty.
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        let text = |s: &OsStr| CString::new(s.as_bytes()).ok();
        let variable = |(name, value): &(std::ffi::OsString, std::ffi::OsString)| {
            CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
        };
        let argv: Vec<CString> = plan.argv.iter().map(|argument| text(argument)).collect::<Option<_>>()?;
        if argv.is_empty() {
            return None;
        }
        Some(Self {
            path: text(plan.executable.as_os_str())?,
            argv,
            environment: plan.environment.iter().map(variable).collect::<Option<_>>()?,
        })
    }
}

/// The loader or interpreter without which `program` cannot start, when it is absent here; called in the view after
/// execve has said `ENOENT` of a file that exists.
pub(super) fn missing_interpreter(program: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    File::open(program).ok()?.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    let (Interpreter::Script { path: wanted, .. } | Interpreter::Loader(wanted)) = interpreter(&head)?;
    (!wanted.exists()).then_some(wanted)
}

/// What the kernel executes in place of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Interpreter {
    /// The program of a `#!` line, and the one that it looks up in turn where it is `env`.
    Script { path: PathBuf, looked_up: Option<String> },
    /// The loader of an ELF file.
    Loader(PathBuf),
}

/// `#!` line (execve(2)) or PT_INTERP (elf(5)), little-endian ELF.
pub(super) fn interpreter(head: &[u8]) -> Option<Interpreter> {
    let path = |bytes: &[u8]| Some(PathBuf::from(OsStr::from_bytes(bytes))).filter(|path| path.is_absolute());
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|&byte| byte == b'\n').next()?;
        let mut words = line.split(|byte| b" \t".contains(byte)).filter(|word| !word.is_empty());
        let path = path(words.next()?)?;
        let looked_up = programs::looked_up(&path, words);
        return Some(Interpreter::Script { path, looked_up });
    }
    let wide = match head.get(..6)? {
        b"\x7fELF\x02\x01" => true,
        b"\x7fELF\x01\x01" => false,
        _ => return None,
    };
    let number = |at: usize, bytes: usize| -> Option<usize> {
        let field = head.get(at..at.checked_add(bytes)?)?;
        field.iter().rev().try_fold(0_usize, |value, &byte| value.checked_mul(256)?.checked_add(usize::from(byte)))
    };
    // e_phoff, e_phentsize, e_phnum; then in each entry p_offset and p_filesz.
    let (table, entry_bytes, entries) = if wide {
        (number(32, 8)?, number(54, 2)?, number(56, 2)?)
    } else {
        (number(28, 4)?, number(42, 2)?, number(44, 2)?)
    };
    for index in 0..entries {
        let entry = table.checked_add(index.checked_mul(entry_bytes)?)?;
        const PT_INTERP: usize = 3;
        if number(entry, 4)? == PT_INTERP {
            let (offset, length) = if wide {
                (number(entry.checked_add(8)?, 8)?, number(entry.checked_add(32)?, 8)?)
            } else {
                (number(entry.checked_add(4)?, 4)?, number(entry.checked_add(16)?, 4)?)
            };
            let text = head.get(offset..offset.checked_add(length)?)?;
            return path(text.split(|&byte| byte == 0).next()?).map(Interpreter::Loader);
        }
    }
    None
}

/// The exit code that an errno of execve stands for (cli.md): 127 not found, 126 found and not executable.
#[must_use]
pub(super) fn code(errno: Errno, interpreter_missing: bool) -> u8 {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR if !interpreter_missing => 127,
        _ => 126,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shebangs() {
        let script = |path: &str, looked_up: Option<&str>| {
            Some(Interpreter::Script { path: path.into(), looked_up: looked_up.map(str::to_owned) })
        };
        assert_eq!(interpreter(b"#!/usr/bin/env node\nrest"), script("/usr/bin/env", Some("node")));
        assert_eq!(interpreter(b"#!/usr/bin/env -S A=1 node -x\n"), script("/usr/bin/env", Some("node")));
        assert_eq!(interpreter(b"#!/usr/bin/env\n"), script("/usr/bin/env", None));
        assert_eq!(interpreter(b"#! \t/bin/sh"), script("/bin/sh", None));
        assert_eq!(interpreter(b"#!/bin/sh -e\n"), script("/bin/sh", None));
        for bad in [&b"#!\n"[..], b"#!node\n", b"", b"#", b"\x7fELF"] {
            assert_eq!(interpreter(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_loader_of_this_very_program() {
        let mut head = vec![0; 4096];
        File::open("/proc/self/exe").unwrap().read_exact(&mut head).unwrap();
        let Some(Interpreter::Loader(loader)) = interpreter(&head) else { panic!("no loader") };
        assert!(loader.to_str().unwrap().contains("/ld-"), "{}", loader.display());
    }

    #[test]
    fn an_elf_that_lies_about_its_tables_is_no_panic() {
        let mut head = vec![0xFF; 4096];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert_eq!(interpreter(&head), None);
        head[32..40].copy_from_slice(&64_u64.to_le_bytes());
        assert_eq!(interpreter(&head), None);
    }

    #[test]
    fn codes_of_the_manual() {
        assert_eq!(code(Errno::ENOENT, false), 127);
        assert_eq!(code(Errno::ENOENT, true), 126);
        assert_eq!(code(Errno::EACCES, false), 126);
        assert_eq!(code(Errno::ENOEXEC, false), 126);
    }

    #[test]
    fn nul_has_no_place_in_arguments() {
        let mut plan = crate::sandbox::test_plan();
        assert!(Image::of(&plan).is_some());
        plan.argv.push("a\0b".into());
        assert!(Image::of(&plan).is_none());
        plan.argv.clear();
        assert!(Image::of(&plan).is_none());
    }
}
