//! Calls that wait for their pins, through the gate: the list is the server's, the monitor's answers are the test's.

use serde_json::{Value, json};

use super::*;
use crate::relay::messages::{Attached, PinAnswer};
use crate::relay::stage::{Said, Stage, at, call, pinned_stage};

const FIRST_USE: &str = "{default: allow, server: {pins: first_use}}";

/// A session whose server has listed `tools`, none of them filed yet.
fn listed(observe: bool, tools: &[String]) -> Stage {
    let mut stage = pinned_stage(FIRST_USE, observe);
    let (server, _) = stage.says(1, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let id = server.last().unwrap()["id"].clone();
    let tools: Vec<Value> = tools.iter().map(|name| json!({"name": name})).collect();
    stage.answers(1, &json!({"jsonrpc": "2.0", "id": id, "result": {"tools": tools}}));
    stage.ticks(1);
    stage
}

fn names(count: usize) -> Vec<String> {
    // Letters alone: digits make names that look like others.
    let letter = |n: usize| char::from(b'a' + u8::try_from(n % 16).unwrap());
    (0..count).map(|n| format!("tool_{}{}{}{}", letter(n >> 12), letter(n >> 8), letter(n >> 4), letter(n))).collect()
}

/// The monitor answers about the pin that it was handed; whose it was.
fn filed(stage: &mut Stage, answer: PinAnswer) -> String {
    let errand = stage.gate.pins.next_errand().expect("a pin waits").clone();
    let tool = String::from_utf8(errand.blob).unwrap();
    let tool = serde_json::from_str::<Value>(&tool).unwrap()["tool"].as_str().unwrap().to_owned();
    stage.gate.hear_of_pin(answer, Attached { bytes: 0, sha256: errand.key }, None).unwrap();
    tool
}

fn code(said: &Said) -> &str {
    said.1[0]["result"]["_meta"]["intercept-sandbox/decision"]["code"].as_str().unwrap_or_default()
}

#[test]
fn a_filed_pin_wakes_the_calls_of_its_tool_and_no_others() {
    let tools = names(3);
    let mut stage = listed(false, &tools);
    for (id, tool) in [(1, 0), (2, 1), (3, 2), (4, 1)] {
        assert_eq!(stage.says(2, &call(id, &tools[tool], json!({}))), (vec![], vec![]));
    }
    stage.gate.parking.taken = 0;
    assert_eq!(filed(&mut stage, PinAnswer::Kept), tools[0]);
    assert_eq!(stage.ticks(2).0.len(), 1);
    assert_eq!(stage.gate.parking.taken, 1, "calls of another tool are not judged again");
    assert_eq!(filed(&mut stage, PinAnswer::Kept), tools[1]);
    let (server, _) = stage.ticks(2);
    assert_eq!(server.iter().map(|line| &line["params"]["name"]).collect::<Vec<_>>(), [&tools[1], &tools[1]]);
    assert_eq!((stage.gate.parking.taken, stage.gate.has_parked()), (3, true));
    assert_eq!(filed(&mut stage, PinAnswer::Failed), tools[2]);
    assert_eq!(code(&stage.ticks(2)), "pin_unavailable");
    assert!(!stage.gate.has_parked() && stage.gate.parking.bytes == 0 && stage.gate.deadline_ns().is_none());
}

#[test]
fn each_call_is_judged_again_once_however_many_pins_are_filed() {
    let tools = names(1200);
    let mut stage = listed(false, &tools);
    let calls = 500;
    for (id, tool) in tools.iter().rev().take(calls).enumerate() {
        stage.says(2, &call(id as u64, tool, json!({"text": "x".repeat(1000)})));
    }
    stage.gate.parking.taken = 0;
    let mut forwarded = 0;
    for _ in &tools {
        filed(&mut stage, PinAnswer::Kept);
        forwarded += stage.ticks(2).0.len();
    }
    assert_eq!((forwarded, stage.gate.parking.taken), (calls, calls));
    assert!(stage.gate.pins.next_errand().is_none());
}

#[test]
fn the_pin_of_a_tool_that_is_called_goes_before_the_others() {
    let tools = names(50);
    let mut stage = listed(false, &tools);
    for (id, tool) in [(1, 40), (2, 20)] {
        stage.says(2, &call(id, &tools[tool], json!({})));
    }
    let first: Vec<String> = (0..3).map(|_| filed(&mut stage, PinAnswer::Kept)).collect();
    assert_eq!(first, [&tools[40], &tools[20], &tools[0]].map(String::clone));
}

#[test]
fn a_call_whose_pin_is_not_written_in_time_is_refused_and_recorded() {
    let tools = names(2);
    let mut stage = listed(false, &tools);
    stage.says(2, &call(1, &tools[0], json!({})));
    stage.says(3, &call(2, &tools[1], json!({})));
    assert_eq!(stage.gate.deadline_ns(), Some(at(7).boot_ns), "five seconds from the call, not from the list");
    assert_eq!(stage.ticks(6), (vec![], vec![]));
    let said = stage.ticks(7);
    assert_eq!((said.0.len(), said.1.len(), &said.1[0]["id"], code(&said)), (0, 1, &json!(1), "pin_unavailable"));
    let record = stage.records().pop().unwrap();
    assert_eq!((&record["effect"], &record["reason"]["code"]), (&json!("denied"), &json!("pin_unavailable")));
    assert_eq!(record["mcp"]["tool"], json!(tools[0]));
    assert_eq!(stage.gate.deadline_ns(), Some(at(8).boot_ns));
    assert_eq!(
        (filed(&mut stage, PinAnswer::Kept), filed(&mut stage, PinAnswer::Kept)),
        (tools[0].clone(), tools[1].clone())
    );
    assert_eq!(stage.ticks(8).0.len(), 1, "what was filed meanwhile goes on");
    assert_eq!(stage.says(9, &call(3, &tools[0], json!({}))).0.len(), 1, "a pin that comes late holds for later calls");
}

#[test]
fn a_call_that_only_is_observed_goes_on_when_its_pin_does_not_come() {
    let tools = names(1);
    let mut stage = listed(true, &tools);
    stage.says(2, &call(1, &tools[0], json!({})));
    assert_eq!(stage.ticks(7).0.len(), 1);
    let record = stage.records().pop().unwrap();
    assert_eq!((&record["effect"], &record["reason"]["code"]), (&json!("observed"), &json!("pin_unavailable")));
}

#[test]
fn a_list_that_changes_all_the_time_puts_nobodys_end_off() {
    let tools = names(1);
    let mut stage = listed(false, &tools);
    stage.says(2, &call(1, &tools[0], json!({})));
    for second in 3..7 {
        let (server, _) =
            stage.answers(second, &json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
        let list = json!({"jsonrpc": "2.0", "id": server[0]["id"], "result": {"tools": [{"name": tools[0]}]}});
        stage.answers(second, &list);
        assert_eq!(stage.ticks(second).0, Vec::<Value>::new());
    }
    assert_eq!(code(&stage.ticks(7)), "pin_unavailable");
    assert_eq!(pin_due_ns(at(1).boot_ns, at(30).boot_ns), at(11).boot_ns, "nor one that is put back again and again");
}

#[test]
fn a_call_is_cancelled_wherever_it_waits() {
    let tools = names(1);
    let mut stage = listed(false, &tools);
    stage.says(2, &call(1, &tools[0], json!({})));
    stage.says(2, &call(2, &tools[0], json!({})));
    let cancel = |id: u64| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
    assert_eq!(stage.says(3, &cancel(1)), (vec![], vec![]));
    filed(&mut stage, PinAnswer::Kept);
    assert_eq!(stage.says(3, &cancel(2)), (vec![], vec![]), "it may go on and has not yet");
    assert_eq!(stage.ticks(60), (vec![], vec![]));
    assert!(!stage.gate.has_parked() && stage.gate.parking.bytes == 0 && stage.gate.parking.for_pins.is_empty());
}

#[test]
fn what_waits_is_bounded_in_bytes_whatever_it_waits_for() {
    let mut parking = Parking::default();
    let parked = |number: i64| Parked { ours: RequestId::Integer(number), line: vec![b'x'; PARKED_BYTES_MAX / 2] };
    parking.for_tools(parked(2));
    assert!(parking.has_room(PARKED_BYTES_MAX / 2));
    parking.for_pin(parked(1), "t", 5);
    assert!(parking.has_room(0) && !parking.has_room(1));
    let all: Vec<_> = parking.take_all().into_iter().map(|parked| parked.ours).collect();
    assert_eq!(all, [1, 2].map(RequestId::Integer), "in the order in which they came");
    assert!(parking.is_empty() && parking.has_room(PARKED_BYTES_MAX) && parking.deadline_ns().is_none());
}
