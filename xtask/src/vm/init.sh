#!/bin/busybox sh
# First process of the guest. Makes a root that looks like the build machine's: its /usr, its /etc (a copy) and this workspace
# over 9p, read-only; everything that is written is on an ext4 disk, which can map owners, or on a tmpfs. Filled in by
# `cargo xtask vm-test`: @WORKSPACE@. Replies go to ttyS1, what the kernel says to ttyS0.
B=/bin/busybox
say() { echo "vm: $*" >/dev/ttyS1; }
die() { say "broken $*"; $B poweroff -f; }

$B mount -t proc proc /proc && $B mount -t sysfs sysfs /sys && $B mount -t devtmpfs devtmpfs /dev || $B poweroff -f
$B stty -F /dev/ttyS1 raw -echo
for module in $($B cat /vm/modules/order); do
    $B insmod "/vm/modules/$module" || die "cannot load $module"
done
share() { $B mount -t 9p -o trans=virtio,version=9p2000.L,cache=loose,msize=524288,ro "$1" "$2" || die "cannot mount $1"; }

N=/new
$B mount -t ext4 /dev/vda $N || die "cannot mount the disk"
cd $N || die "no root"
$B mkdir -p usr etc proc sys dev run mnt opt root home srv tmp var/log var/lib var/tmp var/cache vm "./@WORKSPACE@" /etc-of-host
$B chmod 700 root
$B chmod 1777 tmp var/tmp
for link in bin lib lib64 sbin; do $B ln -s usr/$link $link; done
share usr $N/usr
share etc /etc-of-host
$B cp -a /etc-of-host/. etc/ || die "cannot copy /etc"
$B umount /etc-of-host
share workspace "$N/@WORKSPACE@"
# As on a stock system root can write a program into everybody's path; what is written goes to the disk.
$B mkdir -p var/over/upper var/over/work
$B mount -t overlay -o lowerdir=usr/local/bin,upperdir=var/over/upper,workdir=var/over/work overlay usr/local/bin ||
    die "cannot lay a writable folder over /usr/local/bin"
$B cp /bin/busybox /vm/run.sh vm/

$B mount -t proc proc proc && $B mount -t sysfs sysfs sys && $B mount -t devtmpfs devtmpfs dev || die "no /proc, /sys or /dev"
$B mkdir -p dev/pts dev/shm
$B mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts dev/pts || die "no devpts"
$B mount -t tmpfs -o mode=1777 tmpfs dev/shm || die "no /dev/shm"
$B mount -t tmpfs -o mode=755 tmpfs run || die "no /run"
# One tree, version 2, with every controller: what stock systems have today.
$B mount -t cgroup2 cgroup2 sys/fs/cgroup || die "no cgroup2"
$B mount -t bpf bpf sys/fs/bpf || die "no bpffs"
$B mount -t securityfs securityfs sys/kernel/security || die "no securityfs"
# What a stock system's first process mounts besides, and attacks aim at.
$B mount -t debugfs debugfs sys/kernel/debug && $B mount -t tracefs tracefs sys/kernel/tracing || die "no debugfs or tracefs"
$B mount -t binfmt_misc binfmt_misc proc/sys/fs/binfmt_misc || die "no binfmt_misc"
for link in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
    [ -e "dev/${link%%:*}" ] || $B ln -s "${link#*:}" "dev/${link%%:*}"
done
$B hostname vm
$B ip link set lo up
$B umount /proc /sys
exec $B switch_root $N /vm/busybox sh /vm/run.sh
