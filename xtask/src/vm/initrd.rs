//! The guest's first files: a shell, the modules, and two scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::folder;
use super::kernel::Kernel;
use super::suites::Suite;
use crate::shell::{Outcome, command, run, workspace};

const INIT: &str = include_str!("init.sh");
const RUN: &str = include_str!("run.sh");
/// Statically linked, from busybox-static.
const SHELL: &str = "/bin/busybox";

/// Packs the initial file system of one guest; returns the archive's path.
pub(super) fn make(kernel: &Kernel, supervisor: &Path, suites: &[Suite], patience: u32) -> Outcome<PathBuf> {
    let home = folder().join(&kernel.release);
    let (tree, archive) = (home.join("initrd"), home.join("initrd.cpio"));
    let failed = |error: std::io::Error| format!("{}: {error}", tree.display());
    if tree.exists() {
        fs::remove_dir_all(&tree).map_err(failed)?;
    }
    for name in ["bin", "dev", "new", "proc", "sys", "vm/modules"] {
        fs::create_dir_all(tree.join(name)).map_err(failed)?;
    }
    fs::copy(SHELL, tree.join("bin/busybox")).map_err(failed)?;
    let mut order = String::new();
    for module in &kernel.modules {
        let name = module.file_name().and_then(|name| name.to_str()).ok_or("a module without a name")?;
        fs::copy(module, tree.join("vm/modules").join(name)).map_err(failed)?;
        order += &format!("{name}\n");
    }
    fs::write(tree.join("vm/modules/order"), order).map_err(failed)?;
    let place = workspace();
    let init = INIT.replace("@WORKSPACE@", in_guest(&place)?.trim_start_matches('/'));
    fs::write(tree.join("init"), init).map_err(failed)?;
    fs::set_permissions(tree.join("init"), fs::Permissions::from_mode(0o755)).map_err(failed)?;
    let jobs: Vec<String> = suites.iter().map(line).collect::<Outcome<_>>()?;
    let script = RUN
        .replace("@PATIENCE@", &patience.to_string())
        .replace("@SUPERVISOR@", in_guest(supervisor)?)
        .replace("@JOBS@", &jobs.join("\n"));
    fs::write(tree.join("vm/run.sh"), script).map_err(failed)?;
    let mut pack = command("sh", &["-c", "find . -print | cpio --quiet --create --format=newc > ../initrd.cpio"]);
    pack.current_dir(&tree);
    run(pack)?;
    Ok(archive)
}

fn line(suite: &Suite) -> Outcome<String> {
    let (folder, program) = (in_guest(&suite.folder)?, in_guest(&suite.program)?);
    let mut line = format!("{} {} {folder} {} {program}", suite.kind.word(), suite.name, suite.seconds);
    for argument in &suite.arguments {
        if argument.is_empty() || !argument.bytes().all(is_plain) {
            return Err(format!("{argument:?}: a guest takes only plain words"));
        }
        line += &format!(" {argument}");
    }
    Ok(line)
}

/// A path that the guest has too, and that a shell script can hold.
fn in_guest(path: &Path) -> Outcome<&str> {
    let text = path.to_str().filter(|text| path.starts_with(workspace()) && text.bytes().all(is_plain));
    text.ok_or_else(|| format!("{}: a guest sees the workspace alone, and only plain paths", path.display()))
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-' | b'+')
}

#[cfg(test)]
mod tests {
    use super::super::suites::Kind;
    use super::*;

    #[test]
    fn arguments_reach_a_guest_as_plain_words() {
        let program = workspace().join("target/debug/redteam_table");
        let table = |argument: &str| {
            let (name, arguments) = ("t".to_owned(), vec![argument.to_owned()]);
            Suite { name, folder: workspace(), program: program.clone(), kind: Kind::Table, arguments, seconds: 9 }
        };
        let (folder, shown) = (workspace().display().to_string(), program.display().to_string());
        assert_eq!(line(&table("--json")), Ok(format!("table t {folder} 9 {shown} --json")));
        for hostile in ["", "a b", "$(x)", "a;b", "a\nb"] {
            assert!(line(&table(hostile)).is_err(), "{hostile:?}");
        }
    }

    #[test]
    fn only_plain_paths_of_the_workspace_reach_a_guest() {
        let inside = workspace().join("target/debug/x");
        assert_eq!(in_guest(&inside), Ok(inside.to_str().unwrap()));
        assert!(in_guest(Path::new("/elsewhere/x")).is_err());
        assert!(in_guest(&workspace().join("a b")).is_err());
        assert!(in_guest(&workspace().join("$(x)")).is_err());
    }
}
