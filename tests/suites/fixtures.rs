//! The fixtures themselves, bare: if these fail, no other suite's verdict means anything.

use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;

use harness::arena::{self, API_ADDRESS, API_HOST};
use harness::canary::{Canaries, TCP, UDP};
use harness::session::{Session, text_of};
use harness::stand_in::StandIn;
use harness::{image, paths, run};
use serde_json::json;

#[test]
fn each_canary_counts_one_hit_once() {
    arena::run(|arena| {
        let socket = arena.path("canary.sock");
        let canaries = Canaries::open(&socket);
        assert!(canaries.take_all().is_empty());
        for address in TCP {
            TcpStream::connect(address).expect("a canary listens");
            assert_eq!(canaries.take(&format!("tcp {address}")), 1);
        }
        for address in UDP {
            let local = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
            UdpSocket::bind(local).expect("any port").send_to(b"x", address).expect("a canary listens");
            assert_eq!(canaries.take(&format!("udp {address}")), 1);
        }
        UnixStream::connect(&socket).expect("a canary listens");
        assert_eq!(canaries.take("unix path"), 1);
        assert!(canaries.take_all().is_empty(), "each hit is counted once");
    });
}

#[test]
fn an_arena_hides_the_hosts_network_and_directories() {
    let host_network = fs::read_link("/proc/self/ns/net").expect("procfs");
    arena::run(move |_| {
        assert_ne!(fs::read_link("/proc/thread-self/ns/net").expect("procfs"), host_network);
        for directory in ["/etc/intercept-sandbox", "/var/log/intercept-sandbox", "/var/lib/intercept-sandbox"] {
            assert_eq!(fs::read_dir(directory).expect("mounted").count(), 0, "{directory} is empty");
        }
        let interfaces: Vec<_> = fs::read_to_string("/proc/thread-self/net/dev")
            .expect("procfs")
            .lines()
            .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
            .collect();
        assert_eq!(interfaces, ["lo"]);
    });
}

#[test]
fn the_typescript_server_draws_and_writes_through_the_stand_in() {
    arena::run(|arena| {
        let images = arena.writable_folder("images");
        let server = arena.fixture("together-ts");
        let stand_in = StandIn::serve(API_HOST, &format!("{API_ADDRESS}:443")).expect("the arena has the address");
        let ca = arena.file("ca.pem", stand_in.ca_pem());
        let mut command = run::bare(["node".as_ref(), server.join("server.js").as_os_str()]);
        command.env("NODE_EXTRA_CA_CERTS", ca).env("TOGETHER_API_KEY", "isb-key").env("IMAGES_DIR", &images);
        let mut session = Session::start(command);
        session.initialize();
        assert_eq!(session.tool_names(), ["generate_image", "purge_images"]);

        let path = images.join("a.png");
        // Far beyond what the ready policy allows: the fixture checks none of it.
        let answer =
            session.call("generate_image", json!({"prompt": "p", "width": 99_999, "n": 3, "image_path": path}));
        assert_eq!(answer["result"]["content"].as_array().map(Vec::len), Some(4), "{answer}");
        assert_eq!(fs::read(&path).expect("written"), image::png(200, 40, 120));
        let requests = stand_in.requests();
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].line, "POST /v1/images/generations");
        assert_eq!(requests[0].headers["authorization"], "Bearer isb-key");
        assert_eq!(requests[0].body["width"], 99_999);
        assert_eq!(stand_in.names(), [Some(API_HOST.to_owned())]);

        session.call("purge_images", json!({}));
        assert_eq!(marks(&images, "purge_images"), 1, "an execution shows on the host");
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn the_python_server_marks_each_execution() {
    arena::run(|arena| {
        let images = arena.writable_folder("images");
        let server = arena.fixture("images-py");
        let mut command = run::bare([server.join(".venv/bin/python"), server.join("server.py")]);
        command.env("IMAGES_DIR", &images);
        let mut session = Session::start(command);
        session.initialize();
        assert_eq!(session.tool_names(), ["generate_image", "purge_images"]);
        let answer = session.call("generate_image", json!({"prompt": "p", "steps": 7}));
        assert_eq!(text_of(&answer), "1 image(s) of 1024x768 in 7 step(s): p");
        session.call("purge_images", json!({}));
        assert_eq!(marks(&images, "generate_image"), 1);
        assert_eq!(marks(&images, "purge_images"), 1);
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn the_echo_server_answers() {
    let mut session = Session::start(run::bare([paths::helper("echo_server")]));
    session.initialize();
    assert_eq!(session.tool_names(), ["echo"]);
    assert_eq!(text_of(&session.call("echo", json!({"text": "abc"}))), "abc");
    let ended = session.finish();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}

fn marks(folder: &std::path::Path, tool: &str) -> usize {
    let prefix = format!("ran.{tool}.");
    let entries = fs::read_dir(folder).expect("planted").flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count()
}
