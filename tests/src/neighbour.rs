//! Another host, one hop from an arena. Whatever else an arena has stands on addresses of its own, which a dialer refuses.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

/// Its address: public, and nowhere in an arena.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);

/// Doors of a neighbour, open at [`ADDRESS`] on each of `ports`, that the calling thread's network namespace has a route to.
/// It is there for as long as one of them is.
///
/// # Panics
/// When the kernel refuses a step. Call it in an arena, once.
#[must_use]
pub fn open(ports: &[u16]) -> Vec<TcpListener> {
    let (tell, told) = mpsc::channel();
    let (joined, is_joined) = mpsc::channel();
    let ports = ports.to_vec();
    let host = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root can unshare");
        tell.send(gettid()).expect("somebody waits for it");
        is_joined.recv().expect("the link was made");
        ip("link set lo up\naddr add 10.255.0.2/30 dev isb-in\naddr add 9.9.9.9/32 dev isb-in\nlink set isb-in up\n");
        ports.iter().map(|port| TcpListener::bind((ADDRESS, *port)).expect("its own address")).collect::<Vec<_>>()
    });
    let thread = told.recv().expect("it has a namespace");
    ip(&format!("link add isb-out type veth peer name isb-in netns {thread}\n"));
    joined.send(()).expect("it waits for it");
    let doors = host.join().expect("it opens its doors");
    ip("addr add 10.255.0.1/30 dev isb-out\nlink set isb-out up\nroute add 9.9.9.9/32 via 10.255.0.2 dev isb-out\n");
    for door in &doors {
        // A link that just came up loses its first packets; TCP sends them again.
        let visit = TcpStream::connect(door.local_addr().expect("it is bound")).expect("the link is up");
        drop((door.accept().expect("somebody knocked"), visit));
        door.set_nonblocking(true).expect("sockets can be made non-blocking");
    }
    doors
}

/// Has iproute2 do `script` in the calling thread's namespace.
///
/// # Panics
/// When a line of it fails.
pub(crate) fn ip(script: &str) {
    #[expect(clippy::disallowed_methods, reason = "the harness is not the supervisor: it starts helpers")]
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("iproute2 is installed");
    ip.stdin.take().expect("piped").write_all(script.as_bytes()).expect("ip reads its script");
    assert!(ip.wait().expect("ip ends").success(), "ip -batch failed");
}
