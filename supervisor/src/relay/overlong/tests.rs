//! Both ends, the id before and behind what is too long.

use crate::relay::ground::Ground;

const BYTES_MAX: usize = 1000;

/// A ground whose server has been asked `{"id":"q"}` under our id 1.
fn asked() -> Ground {
    let mut ground = Ground::new(BYTES_MAX, BYTES_MAX);
    ground.client_says("{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"method\":\"ping\"}\n");
    assert_eq!(ground.server_heard(), "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n");
    ground
}

fn long() -> String {
    "x".repeat(BYTES_MAX + 1)
}

/// The session goes on: the next request is answered.
fn lives(ground: &mut Ground) {
    ground.client_says("{\"jsonrpc\":\"2.0\",\"id\":\"next\",\"method\":\"ping\"}\n");
    let sent = ground.server_heard();
    let ours = sent.split("\"id\":").nth(1).unwrap().split(',').next().unwrap();
    ground.server_says(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{ours},\"result\":{{}}}}\n"));
    assert_eq!(ground.client_heard(), "{\"jsonrpc\":\"2.0\",\"id\":\"next\",\"result\":{}}\n");
}

#[test]
fn a_client_is_told_under_its_own_id() {
    let text = long();
    for line in [
        format!(r#"{{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{{"name":"t","x":"{text}"}}}}"#),
        format!(r#"{{"method":"tools/call","params":{{"name":"t","id":1,"x":"{text}"}},"jsonrpc":"2.0","id":"a"}}"#),
    ] {
        let mut ground = Ground::new(BYTES_MAX, BYTES_MAX);
        ground.client_says(&format!("{line}\n"));
        let bytes = line.len();
        let said = format!(
            r#"{{"jsonrpc":"2.0","id":"a","error":{{"code":-32600,"message":"a line of {bytes} bytes; at most 1000 are accepted"}}}}"#
        );
        assert_eq!(ground.client_heard(), said + "\n");
        assert_eq!(ground.server_heard(), "");
        assert!(ground.log().contains("\"line_too_long\""), "{}", ground.log());
        lives(&mut ground);
    }
}

#[test]
fn a_notification_gets_no_answer_and_what_cannot_be_told_gets_one_without_an_id() {
    let text = long();
    let mut ground = Ground::new(BYTES_MAX, BYTES_MAX);
    ground.client_says(&format!("{{\"jsonrpc\":\"2.0\",\"method\":\"n\",\"params\":{{\"id\":1,\"x\":\"{text}\"}}}}\n"));
    assert_eq!(ground.client_heard(), "");
    assert!(ground.log().contains("\"line_too_long\""), "{}", ground.log());
    for line in [
        text.clone(),
        format!("[{{\"id\":1,\"method\":\"{text}\"}}]"),
        format!("{{\"id\":1,\"id\":1,\"method\":\"{text}\"}}"),
    ] {
        ground.client_says(&format!("{line}\n"));
        assert!(ground.client_heard().starts_with(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"#), "{line}");
    }
    lives(&mut ground);
}

#[test]
fn the_client_is_told_when_the_answer_is_too_long() {
    let text = long();
    for line in [
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":"{text}","id":7}}}}"#),
        format!(r#"{{"result":{{"content":"{text}","id":7}},"jsonrpc":"2.0","id":1}}"#),
        format!(r#"{{"error":{{"code":1,"message":"{text}"}},"jsonrpc":"2.0","id":1}}"#),
    ] {
        let mut ground = asked();
        ground.server_says(&format!("{line}\n"));
        let heard = ground.client_heard();
        assert!(
            heard.starts_with(r#"{"jsonrpc":"2.0","id":"q","error":{"code":-31003,"message":"a line of "#),
            "{heard}"
        );
        assert_eq!(heard.matches('\n').count(), 1);
        assert!(ground.log().contains("\"code\":\"line_too_long\""), "{}", ground.log());
        ground.server_says("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n");
        assert_eq!(ground.client_heard(), "", "it was answered: a second answer is to no request");
        lives(&mut ground);
    }
}

#[test]
fn a_servers_line_that_answers_nothing_is_recorded_alone() {
    let text = long();
    let mut ground = asked();
    for line in [
        format!(r#"{{"jsonrpc":"2.0","id":2,"result":"{text}"}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{text}","id":1}}"#),
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"data":"{text}"}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{text}"#),
        text.clone(),
    ] {
        ground.server_says(&format!("{line}\n"));
        assert_eq!((ground.client_heard(), ground.server_heard()), (String::new(), String::new()), "{}", &line[..60]);
    }
    assert_eq!(ground.log().matches("\"line_too_long\"").count(), 5);
    ground.server_says("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n");
    assert_eq!(
        ground.client_heard(),
        "{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"result\":{}}\n",
        "the question is still open"
    );
}

#[test]
fn a_server_that_asks_too_much_is_told_and_so_is_one_whose_answer_is_too_long() {
    let text = long();
    let mut ground = Ground::new(BYTES_MAX, BYTES_MAX);
    ground
        .server_says(&format!(r#"{{"jsonrpc":"2.0","id":9,"method":"roots/list","params":{{"x":"{text}"}}}}{}"#, "\n"));
    assert!(ground.server_heard().starts_with(r#"{"jsonrpc":"2.0","id":9,"error":{"code":-32600,"#));
    assert_eq!(ground.client_heard(), "");

    ground.client_says(
        "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\"}}\n",
    );
    ground.server_says(
        r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}
"#,
    );
    ground.server_says("{\"jsonrpc\":\"2.0\",\"id\":\"s\",\"method\":\"roots/list\"}\n");
    let (asked, _) = (ground.client_heard(), ground.server_heard());
    assert!(asked.ends_with("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"roots/list\"}\n"), "{asked}");
    ground.client_says(&format!("{{\"jsonrpc\":\"2.0\",\"result\":{{\"roots\":\"{text}\"}},\"id\":1}}\n"));
    assert!(ground.server_heard().starts_with(r#"{"jsonrpc":"2.0","id":"s","error":{"code":-31003,"#));
    assert_eq!(ground.client_heard(), "", "an answer gets no answer");
}
