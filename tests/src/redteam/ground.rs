//! The ground that every run stands on: secrets, canaries, folders, the allowed host.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use crate::arena::{self, API_ADDRESS, API_HOST, Arena, NOBODY, ROOT};
use crate::canary::Canaries;
use crate::stand_in::StandIn;

/// The rest of the policy of a run under us; small limits, so that going over them is quick.
const RESOURCES: &str = "  resources: {memory: 200M, cpu: 0.3, open_files: 256, tmp: 16M, server_line: 1M}\n";

/// Where a secret is open for whoever inherits it: above the numbers that a launch gives to descriptors of its own.
const INHERITED: i32 = 200;

/// What every run stands on.
pub struct Ground {
    /// Sockets that count who reaches them.
    pub canaries: Canaries,
    /// The one allowed host.
    pub stand_in: StandIn,
    pub(super) policy: PathBuf,
    /// The same with a `max` for the writable folder.
    pub(super) bounded: PathBuf,
    secrets: Vec<(&'static str, String)>,
    /// Not close-on-exec, as careless parents leave descriptors.
    _inherited: OwnedFd,
}

impl Ground {
    /// The hostile program.
    pub const PROGRAM: &'static str = "/mnt/arena/bin/redteam";
    /// The folder that the server may read.
    pub const SHOWN: &'static str = "/mnt/arena/shown";
    /// The folder that the server may write.
    pub const IMAGES: &'static str = "/mnt/arena/images";
    /// The folder that nobody shows it.
    pub const PRIVATE: &'static str = "/mnt/arena/private";

    /// Lays it in an arena.
    ///
    /// # Panics
    /// When a step of it fails.
    #[must_use]
    pub fn lay(arena: &Arena) -> Self {
        arena.program("redteam");
        arena.writable_folder("images");
        let in_view = arena.folder("shown");
        let private = arena.folder("private");
        mount(Some("tmpfs"), "/dev/shm", Some("tmpfs"), MsFlags::empty(), Some("mode=1777")).expect("root can mount");
        for folder in ["/mnt/arena/home/alice/.ssh", "/mnt/arena/home/alice/.aws"] {
            fs::create_dir_all(folder).expect("the arena's folder is ours");
        }
        let shadow = fs::read_to_string("/etc/shadow").expect("root reads shadow");
        let secret = |path: &str| arena::plant_secret(Path::new(path));
        let secrets = vec![
            ("shadow", shadow.lines().next().expect("root has a line").to_owned()),
            ("private", arena::plant_secret(&private.join("secret"))),
            ("inherited", arena::plant_secret(&private.join("inherited-secret"))),
            ("stand", arena::plant_secret(&private.join("secret-of-stand"))),
            ("environment", "isb-secret-of-the-environment".to_owned()),
            ("ssh", secret("/mnt/arena/home/alice/.ssh/id_ed25519")),
            ("aws", secret("/mnt/arena/home/alice/.aws/credentials")),
            ("shm", secret("/dev/shm/isb-secret-in-memory")),
        ];
        let canaries = Canaries::open(&private.join("canary.sock")).in_view(&in_view);
        let stand_in = StandIn::serve(API_HOST, &format!("{API_ADDRESS}:443")).expect("the arena has the address");
        let text = crate::policies::hostile() + RESOURCES;
        let folder = format!("write: [{}]", Self::IMAGES);
        assert!(text.contains(&folder), "the policy has {folder}");
        let with_max = text.replace(&folder, &format!("write: [{{path: {}, max: 16M}}]", Self::IMAGES));
        let (policy, bounded) = (arena.file("redteam.yaml", text), arena.file("redteam-bounded.yaml", with_max));
        // As where somebody logged in as root: a container's root may have no group beside its own.
        nix::unistd::setgroups(&[nix::unistd::Gid::from_raw(0)]).expect("root can");
        let inherited = inheritable(&private.join("inherited-secret"));
        let mut ground = Self { canaries, stand_in, policy, bounded, secrets, _inherited: inherited };
        ground.reset();
        let shown = Path::new(Self::SHOWN);
        ground.secrets.push(("root-only", arena::plant_secret(&shown.join("root-only"))));
        ground.secrets.push(("group-only", arena::plant_secret(&shown.join("group-only"))));
        fs::set_permissions(shown.join("group-only"), fs::Permissions::from_mode(0o640)).expect("own file");
        ground
    }

    /// A secret's text.
    ///
    /// # Panics
    /// When there is none of that name.
    #[must_use]
    pub fn secret(&self, name: &str) -> &str {
        &self.secrets.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no secret {name}")).1
    }

    /// Puts the folders back as they were, and takes away what attacks left elsewhere.
    ///
    /// # Panics
    /// When root cannot.
    pub fn reset(&self) {
        clear(Path::new(Self::IMAGES));
        chown(Self::IMAGES, Some(NOBODY), Some(NOBODY)).expect("root can chown");
        for name in ["note", "changed", "cut", "gone", "moved", "loosened", "owned"] {
            let path = format!("{}/{name}", Self::SHOWN);
            fs::write(&path, "shown to the server\n").expect("the arena's folder is ours");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("own file");
            chown(&path, Some(0), Some(0)).expect("root can chown");
        }
        fs::create_dir_all(format!("{}/hollow", Self::SHOWN)).expect("the arena's folder is ours");
        for name in ["planted", "planted-folder"] {
            remove(&Path::new(Self::SHOWN).join(name));
        }
        for path in super::rows::PLANTED.iter().chain(super::rows::LEFT_BEHIND) {
            remove(Path::new(path));
        }
        self.canaries.take_all();
    }

    /// The server's root folder in the arena.
    #[must_use]
    pub fn image(name: &str) -> PathBuf {
        Path::new(ROOT).join("images").join(name)
    }
}

fn inheritable(path: &Path) -> OwnedFd {
    let file = fs::File::open(path).expect("just planted");
    let copy = rustix::io::fcntl_dupfd_cloexec(&file, INHERITED).expect("numbers are left");
    rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty()).expect("it is open");
    copy
}

fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).expect("planted").flatten() {
        loosen(&entry.path());
        remove(&entry.path());
    }
}

/// Takes the immutable flag off, which only a bare run can have set.
fn loosen(path: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
        && let Ok(file) = fs::File::open(path)
    {
        let _ = rustix::fs::ioctl_setflags(&file, rustix::fs::IFlags::empty());
    }
}

fn remove(path: &Path) {
    // What is not there needs no removing; what stays shows in the next verdict.
    let _ = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).or_else(|_| fs::remove_dir(path)),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
}
