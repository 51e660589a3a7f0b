//! `process.exec`: what a server with a list of programs can execute, and what is left to it.

use std::os::unix::fs::PermissionsExt;

use super::run::shell;

/// Every case of this file.
pub(crate) const ALL: &[(&str, fn())] = &[
    ("a_program_that_is_not_listed_is_not_executed", a_program_that_is_not_listed_is_not_executed),
    ("a_memory_file_is_not_executed", a_memory_file_is_not_executed),
    ("what_the_server_wrote_is_not_code", what_the_server_wrote_is_not_code),
    ("a_listed_script_runs_with_its_interpreters", a_listed_script_runs_with_its_interpreters),
    ("what_a_list_of_programs_leaves_open", what_a_list_of_programs_leaves_open),
];

/// Runs `script` without a list, where each of its attempts works, and with the list.
fn with_and_without(options: &[&str], listed: &[&str], script: &str, bare: &str, held: &str) {
    let ended = shell(options, script);
    assert_eq!(ended.out, bare, "without a list: {}", ended.err);
    let lists = listed.iter().flat_map(|program| ["--exec", program]);
    let with: Vec<&str> = options.iter().copied().chain(lists).collect();
    let ended = shell(&with, script);
    assert_eq!(ended.out, held, "with the list: {}", ended.err);
}

fn a_program_that_is_not_listed_is_not_executed() {
    // /proc/self/exe is the shell, which is the command; env is listed, what it executes is not.
    let script = "/usr/bin/id -u; /proc/self/exe -c 'echo itself'; env id -u; env sh -c 'echo listed';
        cd /proc/self/root/usr/bin && ./id -u; exec 9</usr/bin/id; /proc/self/fd/9 -u; true";
    let all = "1000\nitself\n1000\nlisted\n1000\n1000\n";
    with_and_without(&[], &["env"], script, all, "itself\nlisted\n");
}

/// perl(1), for it can make system calls by number.
const MEMORY_FILE: &str = r#"
    my ($memfd, $execveat) = `uname -m` =~ /x86_64/ ? (319, 322) : (279, 281);
    my $name = "x"; my $fd = syscall($memfd, $name, 0);
    if ($fd < 0) { print "no memory file: ", $!{EPERM} ? "EPERM" : $!, "\n"; exit 0 }
    open(my $in, "<:raw", "/usr/bin/echo"); open(my $out, ">&=:raw", $fd); local $/; print {$out} scalar(<$in>); $out->flush;
    my $child = fork; if (!$child) { exec("/proc/self/fd/$fd", "by its link"); exit 1 } waitpid($child, 0);
    my $empty = ""; my $argv = pack("p p Q", "echo", "by its descriptor", 0); my $envp = pack("Q", 0);
    syscall($execveat, $fd, $empty, $argv, $envp, 0x1000);
"#;

fn a_memory_file_is_not_executed() {
    // The descriptor must outlive the exec: perl closes those above $^F.
    let script = format!("exec perl -MErrno -MIO::Handle -e '$^F = 99; {MEMORY_FILE}'");
    let bare = "by its link\nby its descriptor\n";
    with_and_without(&[], &["perl", "uname"], &script, bare, "no memory file: EPERM\n");
}

fn what_the_server_wrote_is_not_code() {
    let folder = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o700)).tempdir_in("/var/tmp").unwrap();
    std::os::unix::fs::chown(folder.path(), Some(4242), Some(4242)).unwrap();
    let options = ["--write", "/out", folder.path().to_str().unwrap(), "4242"];
    let loader = "ld=$(ls /lib64/ld-linux-*.so.* /lib/ld-linux-*.so.* 2>/dev/null | head -1)";
    let script = format!(
        "{loader}; for d in /tmp /out; do cp /usr/bin/id $d/id; $d/id -u; $ld $d/id -u;
         printf '#!/bin/sh\necho script\n' > $d/s; chmod +x $d/s; $d/s; ln $d/id $d/hard && $d/hard -u; done; true"
    );
    let one = "1000\n1000\nscript\n1000\n";
    // /dev/shm is not executable for anybody.
    with_and_without(&options, &["cp", "ls", "head", "chmod", "ln"], &script, &format!("{one}{one}"), "");
}

fn a_listed_script_runs_with_its_interpreters() {
    let folder = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o755)).tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let listed = write("listed", "#!/usr/bin/env perl\nprint \"perl\\n\";\n");
    let other = write("other", "#!/usr/bin/env perl\nprint \"other\\n\";\n");
    let unlisted = write("unlisted", "#!/usr/bin/awk -f\nBEGIN { print \"awk\" }\n");
    let options = ["--read", folder.path().to_str().unwrap()];
    let script = format!("{listed}; {other}; {unlisted}; true");
    with_and_without(&options, &[&listed], &script, "perl\nother\nawk\n", "perl\n");
}

/// Said in docs/policy.md: a loader that may be executed, because a listed program needs it, maps any ELF file that can be
/// read; and an interpreter that may be executed reads any text.
fn what_a_list_of_programs_leaves_open() {
    let script = "$(ls /lib64/ld-linux-*.so.* /lib/ld-linux-*.so.* 2>/dev/null | head -1) /usr/bin/id -u;
        printf 'echo text' > /tmp/s; sh /tmp/s";
    with_and_without(&[], &["ls", "head"], script, "1000\ntext\n", "1000\ntext\n");
}
