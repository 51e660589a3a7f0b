//! Outer namespaces for one test: nothing real is reached, nothing of the host is changed, tests run side by side.

use std::fs;
use std::net::Ipv6Addr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{geteuid, gethostname};
use tempfile::TempDir;

use crate::{neighbour, paths, wait};

/// The arena's folder inside its mount namespace, the same in every test. Root-owned all the way down.
pub const ROOT: &str = "/mnt/arena";
/// Address that stands for the API host when nothing is in between.
pub const API_ADDRESS: &str = "203.0.113.10";
/// Name of the API host.
pub const API_HOST: &str = "api.together.xyz";
/// A host that no policy names.
pub const OTHER_HOST: &str = "exfil.example";
/// Address of [`OTHER_HOST`].
pub const OTHER_ADDRESS: &str = "203.0.113.9";
/// Uid and gid that own the image folder: `nobody`, what a root caller's files default to.
pub const NOBODY: u32 = 65_534;

/// Directories that belong to the product; each is an empty tmpfs in the arena.
const OWN_DIRECTORIES: [&str; 4] =
    ["/etc/intercept-sandbox", "/var/log/intercept-sandbox", "/var/lib/intercept-sandbox", "/run/intercept-sandbox"];

/// Where the ready policy expects the server.
pub const TOGETHER_SERVER: &str = "/opt/together-mcp";
/// Where the ready policy lets images be written.
pub const TOGETHER_IMAGES: &str = "/var/lib/together/images";

/// Addresses of `lo` that attacks aim at.
const ADDRESSES: [&str; 15] = [
    "1.1.1.1/32",
    "8.8.8.8/32",
    "169.254.169.254/32",
    "10.0.0.5/32",
    "172.16.7.7/32",
    "192.168.7.7/32",
    "100.100.100.200/32",
    "203.0.113.9/32",
    "203.0.113.10/32",
    "2001:db8::53/128",
    "2606:4700:4700::1111/128",
    "::101:101/128",
    "64:ff9b::101:101/128",
    "2002:101:101::1/128",
    "fd00:ec2::254/128",
];

/// The namespaces that the current thread and its children live in.
#[derive(Debug)]
pub struct Arena {
    _backing: TempDir,
}

/// Runs `test` in an arena. A thread of its own carries the namespaces, so that it holds under `--test-threads=1` too,
/// where libtest uses the main thread.
///
/// # Panics
/// When `test` does, or without root: a test that cannot see must not pass.
pub fn run(test: impl FnOnce(&Arena) + Send + 'static) {
    assert!(geteuid().is_root(), "this suite needs root: run it with `cargo xtask test`");
    let body = move || test(&Arena::enter());
    let outcome = thread::Builder::new().name("arena".into()).spawn(body).expect("a thread can be started").join();
    if let Err(payload) = outcome {
        panic::resume_unwind(payload);
    }
}

/// A login uid, set where a developer logged in, would make us a caller behind sudo (audit(8)'s loginuid, per thread).
fn forget_the_login() {
    const UNSET: &str = "4294967295";
    let path = "/proc/thread-self/loginuid";
    // A kernel without audit has no such file: then there is nothing to forget.
    if fs::read_to_string(path).is_ok_and(|login| login.trim() != UNSET) {
        fs::write(path, UNSET).expect("root can unset the login uid, unless the audit rules made it immutable");
    }
}

impl Arena {
    /// Moves the calling thread, and whatever it starts from now on, into fresh namespaces.
    ///
    /// # Panics
    /// When the kernel refuses a step.
    #[must_use]
    pub fn enter() -> Self {
        for directory in OWN_DIRECTORIES {
            fs::create_dir_all(directory).expect("root can create the product's directories");
        }
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("root can unshare");
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).expect("private /");
        for directory in OWN_DIRECTORIES {
            tmpfs(Path::new(directory), "mode=755");
        }
        let backing = tempfile::Builder::new().prefix("isb-arena-").tempdir().expect("a temporary folder");
        fs::set_permissions(backing.path(), fs::Permissions::from_mode(0o755)).expect("own folder");
        tmpfs(Path::new("/mnt"), "mode=755");
        fs::create_dir(ROOT).expect("fresh /mnt");
        bind(backing.path(), Path::new(ROOT));
        bring_up_network();
        forget_the_login();
        let arena = Self { _backing: backing };
        let own = gethostname().expect("a host has a name").to_string_lossy().into_owned();
        let hosts = format!(
            "127.0.0.1 localhost {own}
{API_ADDRESS} {API_HOST}
{OTHER_ADDRESS} {OTHER_HOST}
"
        );
        arena.replace("/etc/hosts", &hosts);
        arena.replace("/etc/resolv.conf", "nameserver 8.8.8.8\noptions timeout:1 attempts:1\n");
        arena
    }

    /// A path in the arena's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(ROOT).join(name)
    }

    /// Writes a root-owned file into the arena's folder, mode 0644.
    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("the arena's folder is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("own file");
        path
    }

    /// Makes a folder that `nobody` owns, for a server to write.
    pub fn writable_folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("the arena's folder is ours");
        chown(&path, Some(NOBODY), Some(NOBODY)).expect("root can chown");
        path
    }

    /// Makes a root-owned folder, mode 0755.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("the arena's folder is ours");
        path
    }

    /// Copies a helper program to where a policy can show it, mode 0755.
    pub fn program(&self, name: &str) -> PathBuf {
        let folder = self.folder("bin");
        let target = folder.join(name);
        if !target.exists() {
            // By a process of its own: what another test's thread forks meanwhile would hold the copy open for writing, and the
            // kernel executes no such file (ETXTBSY).
            let mut install = Command::new("install");
            let status = install.args(["-m", "0755"]).arg(paths::helper(name)).arg(&target).status();
            assert!(status.expect("coreutils are there").success(), "{name} can be copied");
        }
        target
    }

    /// Shows a fixture server under `/mnt/arena/NAME`, wherever the checkout is.
    pub fn fixture(&self, name: &str) -> PathBuf {
        let target = self.folder(name);
        bind(&paths::server(name), &target);
        target
    }

    /// Puts the TypeScript fixture and an empty image folder where the ready policy expects them; returns the folder.
    pub fn together(&self) -> PathBuf {
        tmpfs(Path::new("/opt"), "mode=755");
        fs::create_dir_all(TOGETHER_SERVER).expect("fresh /opt");
        bind(&paths::server("together-ts"), Path::new(TOGETHER_SERVER));
        let parent = Path::new(TOGETHER_IMAGES).parent().expect("an absolute path");
        fs::create_dir_all(parent).expect("root can create a mount point");
        // A folder of the disk, not a tmpfs: older kernels cannot map the owners of a tmpfs.
        bind(&self.folder("together"), parent);
        fs::create_dir_all(TOGETHER_IMAGES).expect("just mounted");
        chown(TOGETHER_IMAGES, Some(NOBODY), Some(NOBODY)).expect("root can chown");
        TOGETHER_IMAGES.into()
    }

    /// Mounts a tmpfs of `size` on `path`, for full-disk tests.
    pub fn small_disk(&self, path: &str, size: &str) {
        fs::create_dir_all(path).expect("root can create a mount point");
        tmpfs(Path::new(path), &format!("mode=755,size={size}"));
    }

    fn replace(&self, path: &str, text: &str) {
        let name = format!("replaced{}", path.replace('/', "-"));
        bind(&self.file(&name, text), Path::new(path));
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // A folder that something is mounted on cannot be removed; detaching the outermost takes all of them. What fails
        // here leaves an empty folder in /tmp and no mount: those end with the namespace.
        let _ = umount2("/mnt", MntFlags::MNT_DETACH);
    }
}

/// Makes a root-only file whose text is a secret; returns the secret.
///
/// # Panics
/// When the file cannot be written.
pub fn plant_secret(path: &Path) -> String {
    let secret = format!("isb-secret-{:016x}", path.as_os_str().len() as u64 ^ u64::from(std::process::id()) << 20);
    fs::write(path, &secret).expect("root can write");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("own file");
    secret
}

fn tmpfs(path: &Path, options: &str) {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options)).expect("root can mount a tmpfs");
}

fn bind(source: &Path, target: &Path) {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .unwrap_or_else(|error| panic!("bind {} on {}: {error}", source.display(), target.display()));
}

/// `lo` up with every address; iproute2 does it in one call.
fn bring_up_network() {
    let mut script = String::from("link set lo up\n");
    for address in ADDRESSES {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        script += &format!("addr add {address} dev lo{nodad}\n");
    }
    neighbour::ip(&script);
    // What makes an attack work bare: data in a SYN, ping sockets for all, frames from anywhere. This namespace alone.
    let settings = [
        ("tcp_fastopen", "1027"),
        ("ping_group_range", "0 2147483647"),
        ("conf/all/rp_filter", "0"),
        ("conf/lo/rp_filter", "0"),
    ];
    for (name, value) in settings {
        fs::write(format!("/proc/sys/net/ipv4/{name}"), value).expect("root can set sysctls of its own namespace");
    }
    // The kernel adds IPv6 local routes from a work queue; a packet that is earlier than its route is lost.
    let missing = || {
        let routes = fs::read_to_string("/proc/thread-self/net/ipv6_route").expect("procfs");
        let v6 = ADDRESSES.iter().filter_map(|address| address.strip_suffix("/128"));
        v6.filter(|address| !routes.lines().any(|line| is_local_route(line, address))).collect::<Vec<_>>()
    };
    assert!(wait::becomes_true(wait::COMES_LIMIT, || missing().is_empty()), "no local route: {:?}", missing());
}

/// Whether a line of `/proc/net/ipv6_route` (destination first, flags ninth, all hex) is the local route of `address`.
fn is_local_route(line: &str, address: &str) -> bool {
    const RTF_LOCAL: u32 = 0x8000_0000; // linux/ipv6_route.h
    let address: Ipv6Addr = address.parse().expect("a literal of this file");
    let digits: String = address.octets().iter().map(|byte| format!("{byte:02x}")).collect();
    let flags = line.split_whitespace().nth(8).and_then(|flags| u32::from_str_radix(flags, 16).ok());
    line.starts_with(&digits) && flags.is_some_and(|flags| flags & RTF_LOCAL != 0)
}
