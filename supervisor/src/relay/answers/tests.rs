//! Large answers: as they came, out of the buffer they came in, and not before their record.

use super::*;
use crate::clock;
use crate::relay::ground::{Ground, feed};

const LARGE: usize = 1_500_000;

fn asked() -> Ground {
    let mut ground = Ground::new(4 << 20, 64 << 20);
    ground.client_says("{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"method\":\"ping\"}\n");
    ground
}

fn answer(text: &str, id_last: bool) -> String {
    let result = format!("\"result\":{{\"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}]}}");
    if id_last {
        format!("{{{result},\"jsonrpc\":\"2.0\",\"id\":1}}")
    } else {
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,{result}}}")
    }
}

#[test]
fn a_large_answer_goes_on_as_it_came_under_the_askers_id() {
    for (id_last, end) in [(false, "\n"), (true, "\n"), (true, "\r\n")] {
        let mut ground = asked();
        let line = answer(&"x".repeat(LARGE), id_last);
        ground.server_says(&format!("{line}{end}"));
        assert!(ground.client_heard() == line.replace("\"id\":1", "\"id\":\"q\"") + "\n");
    }
}

/// Between read(2) and write(2) the bytes stay in the buffer they were read into: nothing of the line's size is allocated.
#[test]
fn a_large_answer_is_not_copied() {
    for id_last in [false, true] {
        let mut ground = asked();
        feed(&mut ground.server_frames, &format!("{}\n", answer(&"x".repeat(LARGE), id_last)));
        let cost = allocation_counter::measure(|| ground.handle_server());
        assert!(cost.bytes_total < LARGE as u64 / 8, "{cost:?}");
        assert!(ground.to_client.waiting_bytes() > LARGE - (1 << 20), "it waits, and is not lost");
        assert_eq!(ground.client_heard().len(), answer(&"x".repeat(LARGE), id_last).len() + 3);
    }
}

/// From the judged value to write(2): written once, and what waits for the server is that.
#[test]
fn a_large_call_is_copied_once() {
    let mut ground = Ground::new(4 << 20, 64 << 20);
    let call = |id: u32| {
        let params = format!("{{\"name\":\"t\",\"arguments\":{{\"text\":\"{}\"}}}}", "x".repeat(LARGE));
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{params}}}\n")
    };
    feed(&mut ground.client_frames, &call(7));
    let cost = allocation_counter::measure(|| ground.client_says(""));
    assert!(cost.bytes_total < LARGE as u64 * 5 / 4, "{cost:?}");
    assert!(ground.to_server.waiting_bytes() > LARGE - (1 << 20), "it waits, and is not lost");
    ground.client_says("{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"ping\"}\n");
    let behind = "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}\n";
    assert!(ground.server_heard() == call(1) + behind, "all of it, in order");
}

#[test]
fn an_answer_that_some_reader_would_split_is_escaped() {
    let mut ground = asked();
    let line = answer(&format!("{}\u{2028}", "x".repeat(LARGE)), false);
    ground.server_says(&format!("{line}\n"));
    let heard = ground.client_heard();
    assert!(heard.ends_with("x\\u2028\"}]}}\n") && heard.len() > LARGE, "{}", &heard[heard.len() - 40..]);
}

#[test]
fn nothing_of_a_large_answer_leaves_without_its_record() {
    let mut ground = asked();
    let line = answer(&"x".repeat(LARGE), false);
    let asked = jsonrpc::read_server_line(line.as_bytes());
    let Ok(ServerLine::Answer(read)) = asked else { panic!("an answer") };
    // Staged by a step whose record failed: never committed.
    ground.outbox.pass_on(&read.raw, Some(&RequestId::Integer(1)));
    feed(&mut ground.server_frames, &format!("{line}\n"));
    assert!(ground.server_frames.next().is_some());
    let take = || ground.server_frames.take();
    ground.outbox.release_line(&mut ground.to_server, &mut ground.to_client, take).unwrap();
    assert_eq!(ground.client_heard(), "");
    // And it does not leave with the next step's record either.
    let frame = Frame::Line(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}");
    ground.gate.server_frame(frame, clock::now(), &mut ground.journal, &mut ground.outbox).unwrap();
    ground.outbox.release(&mut ground.to_server, &mut ground.to_client).unwrap();
    assert_eq!(ground.client_heard(), "{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"result\":{}}\n");
}

#[test]
fn what_a_record_says_of_an_answer_is_read_without_a_tree() {
    let fields = |line: &str| match jsonrpc::read_server_line(line.as_bytes()) {
        Ok(ServerLine::Answer(answer)) => answer.fields(),
        other => panic!("{other:?}"),
    };
    let said = |is_error, code| jsonrpc::Fields { is_error, code };
    assert_eq!(fields(r#"{"jsonrpc":"2.0","id":1,"result":{"is\u0045rror":true}}"#), said(true, None));
    assert_eq!(
        fields(r#"{"jsonrpc":"2.0","id":1,"result":{"isError":false,"a":{"isError":true}}}"#),
        said(false, None)
    );
    assert_eq!(fields(r#"{"jsonrpc":"2.0","id":1,"result":{"isError":"true"}}"#), said(false, None));
    assert_eq!(fields(r#"{"jsonrpc":"2.0","id":1,"error":{"message":"m","code":-32601}}"#), said(true, Some(-32_601)));
    assert_eq!(fields(r#"{"jsonrpc":"2.0","id":1,"error":{"code":"x","isError":false}}"#), said(true, None));
    assert_eq!(fields(r#"{"jsonrpc":"2.0","id":1,"result":[]}"#), said(false, None));
}
