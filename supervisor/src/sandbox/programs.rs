//! `process.exec`: the files behind the names, with what the kernel executes on their behalf.
//!
//! A program brings its interpreters: those of its `#!` line (and what `env` looks up there) and the loader of its ELF
//! header. The kernel opens each of them for execution, so each needs the right.

use std::collections::BTreeSet;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::exec::{self, Interpreter};
use super::plan::FilesystemPlan;
use super::resolve::{PlanError, SEARCH_PATH, in_view, line_to_add};
use super::shown_twice;
use super::sight::Sight;

/// Interpreters of interpreters that the kernel follows (fs/exec.c, `exec_binprm`).
const CHAIN_MAX: usize = 5;

/// One file that may be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The file itself, behind every symbolic link, inside and outside the same.
    pub path: PathBuf,
    /// What it is there for.
    pub part: Part,
}

/// What the cgroup of a run with a list may execute.
#[derive(Clone, Copy, Debug)]
pub struct Executables<'a> {
    /// The list.
    pub listed: &'a [Program],
    /// The image of the sandbox's pid 1, a file of the kernel's own memory.
    pub init: BorrowedFd<'a>,
}

/// Why a program is on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The server's command: it must start.
    Command,
    /// The policy names it.
    Listed,
    /// A `#!` line names it.
    Interpreter,
    /// An ELF header names it. Called by itself, it runs any ELF file that can be read.
    Loader,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            Part::Command => "the command",
            Part::Listed => "listed",
            Part::Interpreter => "interpreter",
            Part::Loader => "loader: runs any ELF file that can be read",
        };
        write!(f, "{} ({part})", self.path.display())
    }
}

/// The command, the `listed` programs and what they need, each file once. Names are looked up as the command is.
///
/// # Errors
/// [`PlanError::Program`] for one that is not there, not in the view, not executable, or where the server may write, and for a
/// writable folder that can be executed from by another path.
pub fn resolve(
    command: &Path,
    listed: &BTreeSet<String>,
    filesystem: &FilesystemPlan,
    sight: Sight,
) -> Result<Vec<Program>, PlanError> {
    shown_twice::refuse(filesystem)?;
    let mut list = List { programs: Vec::new(), filesystem, sight };
    list.add(&command.to_string_lossy(), command, Part::Command)?;
    for name in listed {
        list.add(name, &list.find(name)?, Part::Listed)?;
    }
    Ok(list.programs)
}

struct List<'p> {
    programs: Vec<Program>,
    filesystem: &'p FilesystemPlan,
    sight: Sight,
}

impl List<'_> {
    fn find(&self, name: &str) -> Result<PathBuf, PlanError> {
        let candidates: Vec<PathBuf> = if name.starts_with('/') {
            vec![name.into()]
        } else {
            SEARCH_PATH.iter().map(|directory| Path::new(directory).join(name)).collect()
        };
        let fail = || PlanError::Program { program: name.to_owned(), why: "no such program".to_owned() };
        candidates.into_iter().find(|path| self.sight.look(path, self.filesystem).is_ok()).ok_or_else(fail)
    }

    /// Adds the file at `path` and its interpreters. `program` is what the policy says, for messages.
    fn add(&mut self, program: &str, path: &Path, part: Part) -> Result<(), PlanError> {
        let mut next = Some((path.to_owned(), part));
        for _ in 0..CHAIN_MAX {
            let Some((path, part)) = next else { return Ok(()) };
            let (real, head) = self.look(program, &path)?;
            if self.programs.iter().any(|known| known.path == real) {
                return Ok(()); // and what it needs is there, too
            }
            self.programs.push(Program { path: real, part });
            next = match exec::interpreter(&head) {
                Some(Interpreter::Script { path, looked_up }) => {
                    if let Some(name) = looked_up {
                        self.add(program, &self.find(&name)?, Part::Interpreter)?;
                    }
                    Some((path, Part::Interpreter))
                }
                Some(Interpreter::Loader(path)) => Some((path, Part::Loader)),
                None => None,
            };
        }
        Err(PlanError::Program {
            program: program.to_owned(),
            why: "its interpreters have too many of their own".into(),
        })
    }

    /// Whether the server may write what stands at `path`, under the name that it has inside or on the host.
    fn is_written(&self, path: &Path) -> Result<bool, PlanError> {
        for folder in &self.filesystem.write {
            let source = shown_twice::source(folder)?;
            let names = [Some(&folder.inside), Some(&folder.source), source.as_ref()];
            if names.into_iter().flatten().any(|name| path.starts_with(name)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The file behind `path`, checked, and its first bytes.
    fn look(&self, program: &str, path: &Path) -> Result<(PathBuf, Vec<u8>), PlanError> {
        let fail = |why: String| PlanError::Program { program: program.to_owned(), why };
        let shown = path.display();
        if self.sight == Sight::Server && !in_view(path, self.filesystem) {
            let hint = line_to_add(&[path], self.filesystem);
            return Err(fail(format!("{shown} is not in the server's view; {hint}")));
        }
        let seen = self.sight.look(path, self.filesystem).map_err(|error| fail(format!("{shown}: {error}")))?;
        let real = seen.real.clone();
        if !in_view(path, self.filesystem) || !in_view(&real, self.filesystem) {
            let hint = line_to_add(&[path, &real], self.filesystem);
            return Err(fail(format!("{shown} is not in the server's view; {hint}")));
        }
        if self.is_written(path)? || self.is_written(&real)? {
            return Err(fail(format!("{shown} lies where the server may write, and nothing there is executed")));
        }
        if !seen.is_program() {
            return Err(fail(format!("{shown} is not an executable file")));
        }
        match seen.head(exec::HEAD_BYTES) {
            Ok(Some(head)) => Ok((real, head)),
            Ok(None) => Err(fail(format!("{shown} cannot be read by the server"))),
            Err(error) => Err(fail(format!("{shown}: {error}"))),
        }
    }
}

/// The program that `env` looks up for a `#!` line with these `words` after it: the first that is neither an option nor
/// an assignment (env(1)).
pub(super) fn looked_up<'a>(interpreter: &Path, words: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    if interpreter.file_name()?.as_bytes() != b"env" {
        return None;
    }
    let mut words = words.filter(|word| !word.starts_with(b"-") && !word.contains(&b'='));
    String::from_utf8(words.next()?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::sandbox::plan::{FolderId, WritableFolder};

    fn script(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn resolved(command: &str, listed: &[&str], filesystem: &FilesystemPlan) -> Result<Vec<Program>, String> {
        let listed = listed.iter().map(|name| (*name).to_owned()).collect();
        resolve(Path::new(command), &listed, filesystem, Sight::Root).map_err(|error| error.to_string())
    }

    #[test]
    fn a_program_brings_its_loader_and_each_file_stands_once() {
        let found = resolved("/bin/sh", &["sh", "true", "/usr/bin/true"], &FilesystemPlan::default()).unwrap();
        let parts: Vec<Part> = found.iter().map(|program| program.part).collect();
        assert_eq!(parts, [Part::Command, Part::Loader, Part::Listed], "{found:?}");
        for program in &found {
            assert_eq!(fs::canonicalize(&program.path).unwrap(), program.path, "links are followed");
        }
    }

    #[test]
    fn a_script_brings_its_interpreters_and_what_env_looks_up() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let filesystem = FilesystemPlan { read: vec![folder.clone()], ..FilesystemPlan::default() };
        script(&folder.join("one"), "#!/usr/bin/env -S A=b sh -e\n");
        script(&folder.join("two"), &format!("#!{} x\n", folder.join("one").display()));
        symlink(folder.join("two"), folder.join("link")).unwrap();
        let found = resolved(folder.join("link").to_str().unwrap(), &[], &filesystem).unwrap();
        let has = |path: &Path, part| found.contains(&Program { path: path.canonicalize().unwrap(), part });
        assert!(has(&folder.join("two"), Part::Command), "{found:?}");
        for path in [&folder.join("one"), Path::new("/usr/bin/env"), Path::new("/bin/sh")] {
            assert!(has(path, Part::Interpreter), "{}: {found:?}", path.display());
        }
        assert_eq!(found.iter().filter(|program| program.part == Part::Loader).count(), 1, "{found:?}");
        script(&folder.join("self"), &format!("#!{}\n", folder.join("self").display()));
        assert!(resolved(folder.join("self").to_str().unwrap(), &[], &filesystem).is_ok(), "a ring ends");
        for number in 0..6 {
            script(
                &folder.join(number.to_string()),
                &format!("#!{}\n", folder.join((number + 1).to_string()).display()),
            );
        }
        script(&folder.join("6"), "x");
        assert!(resolved(folder.join("0").to_str().unwrap(), &[], &filesystem).unwrap_err().contains("too many"));
    }

    #[test]
    fn what_cannot_be_executed_is_refused_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        script(&folder.join("tool"), "x");
        fs::write(folder.join("plain"), "x").unwrap();
        let (owner_uid, owner_gid) = (1, 1);
        let write = WritableFolder {
            inside: folder.clone(),
            source: folder.clone(),
            id: FolderId::of(&folder.metadata().unwrap()),
            owner_uid,
            owner_gid,
            max_bytes: None,
            by_quota: false,
        };
        let written = FilesystemPlan { write: vec![write], ..FilesystemPlan::default() };
        let read = FilesystemPlan { read: vec![folder.clone()], ..FilesystemPlan::default() };
        let none = FilesystemPlan::default();
        let tool = folder.join("tool").display().to_string();
        let plain = folder.join("plain").display().to_string();
        for (filesystem, listed, why) in [
            (&none, "no-such-program-anywhere", "no such program"),
            (&none, "/no/such", "no such program"),
            (&none, tool.as_str(), "sandbox.filesystem.read"),
            (&written, tool.as_str(), "may write"),
            (&read, plain.as_str(), "not an executable file"),
            (&read, "/usr/bin", "not an executable file"),
        ] {
            let error = resolved("/bin/sh", &[listed], filesystem).unwrap_err();
            assert!(error.contains(why) && error.contains("process.exec"), "{listed}: {error}");
        }
        assert!(resolved(&tool, &[], &written).unwrap_err().contains("may write"), "the command itself");
        let link = folder.join("link");
        symlink(&folder, &link).unwrap();
        let elsewhere = WritableFolder { inside: "/out".into(), source: link, ..written.write[0].clone() };
        let elsewhere = FilesystemPlan { write: vec![elsewhere], ..FilesystemPlan::default() };
        let list = List { programs: Vec::new(), filesystem: &elsewhere, sight: Sight::Root };
        assert!(list.is_written(&folder.join("tool")).unwrap(), "by its path on the host");
        assert!(
            list.is_written(Path::new("/out/tool")).unwrap() && !list.is_written(Path::new("/usr/bin/env")).unwrap()
        );
    }
}
