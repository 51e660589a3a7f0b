//! The main job, end to end: the ready policy, a real MCP server, a real limit, a real wall.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;

use harness::arena::{self, NOBODY, ROOT};
use harness::run::Run;
use harness::session::{Session, denial_code, is_allowed, text_of};
use harness::together::Together;
use harness::{image, neighbour, policies, records, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn draw(session: &mut Session) -> Value {
    session.call("generate_image", json!({"prompt": "a lighthouse at dusk"}))
}

#[test]
fn the_handshake_passes_and_an_unlisted_tool_is_not_shown() {
    arena::run(|arena| {
        let stage = Together::stage(arena);
        let mut session = stage.run.start();
        let result = session.initialize();
        assert_eq!(result["serverInfo"]["name"], "together-ts");
        assert_eq!(session.tool_names(), ["generate_image"]);
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn an_api_that_asks_for_a_second_client_hello_is_reached() {
    arena::run(|arena| {
        let stage = Together::asking_again(arena);
        let mut session = stage.run.begin();
        let answer = session.call("generate_image", json!({"prompt": "a lighthouse", "response_format": "b64_json"}));
        assert!(is_allowed(&answer), "{answer}\n{}", session.stderr());
        assert_eq!((stage.stand_in.requests().len(), stage.stand_in.asked_again()), (1, 1));
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn an_allowed_call_reaches_the_api_and_its_image_arrives() {
    arena::run(|arena| {
        let stage = Together::stage(arena);
        let mut session = stage.run.begin();
        let asked = json!({"prompt": "a lighthouse", "width": 1024, "height": 768, "steps": 4, "n": 1,
            "response_format": "b64_json", "image_path": "/var/lib/together/images/lighthouse.png"});
        let answer = session.call("generate_image", asked);
        assert!(is_allowed(&answer), "{answer}\n{}", session.stderr());
        let picture = image::png(200, 40, 120);
        assert_eq!(answer["result"]["content"][0]["data"], image::base64(&picture));

        let file = stage.images.join("lighthouse.png");
        assert_eq!(fs::read(&file).expect("the server wrote it"), picture);
        assert_eq!(fs::metadata(&file).expect("there").uid(), NOBODY, "it belongs to the folder's owner");
        let requests = stage.stand_in.requests();
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].headers["authorization"], "Bearer isb-test-key");
        assert_eq!(requests[0].body["width"], 1024);
        let id = answer["id"].clone();
        assert_eq!(session.finish().code, 0);

        let decisions = records::of_type(records::DEFAULT_DIRECTORY, "mcp.request");
        let call = decisions.iter().find(|record| record["mcp"]["tool"] == "generate_image").expect("recorded");
        assert_eq!(call["effect"], "allowed", "{call}");
        assert_eq!(call["mcp"]["id"], id, "the client's own id");
        let whole = fs::read_to_string(&records::segments(records::DEFAULT_DIRECTORY)[0]).expect("a log");
        for secret in ["isb-test-key", "a lighthouse"] {
            assert!(!whole.contains(secret), "{secret:?} stands in the log in clear");
        }
    });
}

#[test]
fn the_eleventh_call_in_a_minute_is_refused_with_the_time_to_wait() {
    arena::run(|arena| {
        let stage = Together::stage(arena);
        let mut session = stage.run.begin();
        for number in 1..=10 {
            let answer = draw(&mut session);
            assert!(is_allowed(&answer), "call {number}: {answer}");
        }
        let answer = draw(&mut session);
        assert_eq!(denial_code(&answer), Some("rate_limited"), "{answer}");
        assert_eq!(answer["result"]["isError"], true);
        let text = text_of(&answer);
        let expected = "[INTERCEPT POLICY DENIED] Rate limit of 10 per 60 s reached. Try again in ";
        let seconds = text.strip_prefix(expected).and_then(|rest| rest.strip_suffix(" s."));
        let seconds: u64 = seconds.unwrap_or_else(|| panic!("{text:?}")).parse().expect("whole seconds");
        assert!((1..=60).contains(&seconds), "{text}");
        let wait_ms = answer["result"]["_meta"]["intercept-sandbox/decision"]["retry_after_ms"].as_u64();
        assert!(wait_ms.is_some_and(|ms| ms > 0 && ms <= 60_000), "{answer}");
        assert_eq!(stage.stand_in.requests().len(), 10, "the eleventh never left");
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn kill_and_restart_do_not_reset_the_limit() {
    arena::run(|arena| {
        let stage = Together::stage(arena);
        let mut session = stage.run.begin();
        for number in 1..=10 {
            let answer = draw(&mut session);
            assert!(is_allowed(&answer), "call {number}: {answer}");
        }
        session.signal(Signal::SIGKILL);
        assert_eq!(session.ended().code, 128 + 9);

        let mut session = stage.run.begin();
        assert_eq!(denial_code(&draw(&mut session)), Some("rate_limited"));
        assert_eq!(stage.stand_in.requests().len(), 10);
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn two_supervisors_on_one_state_directory_allow_ten_together() {
    arena::run(|arena| {
        let stage = Together::stage(arena);
        let mut sessions = [stage.run.start(), stage.run.start()];
        sessions.iter_mut().for_each(|session| drop(session.initialize()));
        let mut allowed = 0;
        for round in 0..24 {
            let answer = draw(&mut sessions[round % 2]);
            match denial_code(&answer) {
                None => allowed += usize::from(is_allowed(&answer)),
                Some(code) => assert_eq!(code, "rate_limited"),
            }
        }
        assert_eq!(allowed, 10);
        assert_eq!(stage.stand_in.requests().len(), 10);
        for session in sessions {
            assert_eq!(session.finish().code, 0);
        }
    });
}

#[test]
fn arguments_out_of_bounds_never_reach_the_server() {
    arena::run(|arena| {
        let stage = Together::stage(arena);
        let mut session = stage.run.begin();
        let one_over = [
            json!({"prompt": "p", "width": 127}),
            json!({"prompt": "p", "width": 2049}),
            json!({"prompt": "p", "height": 127}),
            json!({"prompt": "p", "height": 2049}),
            json!({"prompt": "p", "steps": 0}),
            json!({"prompt": "p", "steps": 101}),
            json!({"prompt": "p", "n": 0}),
            json!({"prompt": "p", "n": 5}),
            json!({"prompt": "p", "response_format": "exe"}),
            json!({"prompt": "p", "model": "attacker/model"}),
            json!({"prompt": "p", "image_path": "/etc/cron.d/x"}),
            json!({"prompt": "p", "image_path": "/var/lib/together/images/../../../../etc/passwd"}),
            json!({"prompt": "p", "image_path": "relative.png"}),
        ];
        for arguments in one_over {
            let answer = session.call("generate_image", arguments.clone());
            assert_eq!(denial_code(&answer), Some("condition_failed"), "{arguments}: {answer}");
        }
        let answer = session.call("generate_image", json!({"width": 512}));
        assert_eq!(denial_code(&answer), Some("missing_argument"), "{answer}");
        assert_eq!(stage.stand_in.requests().len(), 0);
        assert_eq!(fs::read_dir(&stage.images).expect("planted").count(), 0);
        assert!(is_allowed(&draw(&mut session)), "a denial spends no quota and the session goes on");
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn an_unlisted_tool_is_refused_and_not_executed() {
    arena::run(|arena| {
        let stage = Together::stage(arena);
        let mut session = stage.run.begin();
        let answer = session.call("purge_images", json!({}));
        assert_eq!(denial_code(&answer), Some("not_listed"), "{answer}");
        assert!(text_of(&answer).contains("Tool \"purge_images\" is not permitted by policy"), "{answer}");
        assert_eq!(fs::read_dir(&stage.images).expect("planted").count(), 0, "it left no mark");
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn the_ready_policy_needs_two_more_lines_for_the_stand_in() {
    let added = policies::together().changes.iter().filter(|change| change.starts_with('+')).count();
    assert_eq!(added, 2);
}

/// Who is asked for the name of an allowed host may answer with the host's own address: behind its firewall, from itself.
#[test]
fn an_allowed_name_that_comes_to_stand_for_this_host_is_not_dialled() {
    const ASKS: &str = "import socket\nfor name in ['own', 'own', 'other']:\n    try:\n        \
                        print(socket.create_connection((name + '.example.com', 8443), 30).recv(99))\n    \
                        except OSError as error:\n        print(error)\n";
    arena::run(|arena| {
        let service = TcpListener::bind("8.8.8.8:8443").expect("the arena has the address");
        service.set_nonblocking(true).expect("own socket");
        let neighbour = neighbour::open(&[8443]).pop().expect("a door for each port");
        let hosts = format!("127.0.0.1 localhost\n8.8.8.8 own.example.com\n{} other.example.com\n", neighbour::ADDRESS);
        fs::write("/etc/hosts", hosts).expect("the arena's own file");
        let folder = arena.folder("server");
        let script = arena.file("server/asks.py", ASKS);
        let allowed =
            ["own", "other"].map(|it| format!("{{host: {it}.example.com, ports: [8443], tls: none, reason: test}}"));
        let network = format!("network: {{allow: [{}]}}", allowed.join(", "));
        let policy = format!("{}  {network}\n", policies::plain(&[], &format!("{ROOT}/server")));
        let session = Run::new(arena, &policy).command(["python3".as_ref(), script.as_os_str()]).start();
        // Asked for last: the answers to the other questions are there by then.
        let reached = wait::becomes_true(wait::COMES_LIMIT, || neighbour.accept().is_ok());
        assert!(reached, "an address that is another's is not dialled: {}", session.stderr());
        let ended = session.finish();
        assert_eq!(ended.code, 0, "{}: {}", folder.display(), ended.stderr);
        let reached = service.accept();
        assert!(reached.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "{reached:?}");
        let egress = records::of_type(records::DEFAULT_DIRECTORY, "net.connect");
        let told = egress.iter().any(|record| record.to_string().contains("an address of this host"));
        assert!(told, "{:#?}", records::read(records::DEFAULT_DIRECTORY));
    });
}
