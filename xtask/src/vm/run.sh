# Runs in the guest's real root, as its first process. `cargo xtask vm-test` fills in the names between two @.
B=/vm/busybox
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 NO_COLOR=1
export ISB_TEST_PATIENCE=@PATIENCE@
exec </dev/null >/dev/ttyS1 2>/dev/ttyS0

say() { echo "vm: $*"; }

# suite NAME FOLDER SECONDS PROGRAM. A test program's own lines are on its standard output; what the programs it starts say besides
# goes to a file, shown after it. `cases` is the same for those that are their own harness: they say everything on standard error.
suite() {
    say "begin $1"
    cd "$2" || { say "end $1 125"; return; }
    # One test at a time: two would share the emulated processor, and a deadline that is missed then tells nothing.
    $B timeout -k 10 "$3" "$4" --color=never --test-threads=1 2>/tmp/vm-stderr
    code=$?
    echo
    $B sed 's/^/vm: stderr /' /tmp/vm-stderr
    say "end $1 $code"
    cd /
}

cases() {
    say "begin $1"
    cd "$2" || { say "end $1 125"; return; }
    $B timeout -k 10 "$3" "$4" 2>&1
    say "end $1 $?"
    cd /
}

# table NAME FOLDER SECONDS PROGRAM [ARGUMENT]... What the program says on standard output is its result.
table() {
    name=$1 seconds=$3
    say "begin $name"
    cd "$2" || { say "end $name 125"; return; }
    shift 3
    $B timeout -k 10 "$seconds" "$@" >/tmp/vm-table 2>/tmp/vm-stderr
    code=$?
    $B sed 's/^/vm: table /' /tmp/vm-table
    $B sed 's/^/vm: stderr /' /tmp/vm-stderr
    say "end $name $code"
    cd /
}

say "kernel $($B uname -r)"
say "lsm $($B cat /sys/kernel/security/lsm)"
say "cgroup $($B cat /sys/fs/cgroup/cgroup.controllers)"
say "begin doctor"
@SUPERVISOR@ doctor 2>&1 | $B sed 's/^/vm: note /'
@SUPERVISOR@ doctor >/dev/null 2>&1
say "end doctor $?"
@JOBS@
$B sync
say "done"
$B sleep 1
$B poweroff -f
