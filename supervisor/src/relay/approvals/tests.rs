use std::time::Duration;

use super::*;
use crate::wire::tools::ToolCall;

const SECOND: u64 = 1_000_000_000;
const TERMS: Terms = Terms { timeout: Duration::from_secs(50), valid: Duration::from_secs(600) };

fn print(tool: &str) -> Fingerprint {
    Fingerprint::of(ToolCall::plain(tool, None), None, "p")
}

fn asking(tool: &str) -> Asking {
    Asking {
        print: print(tool),
        id: print(tool).hex(),
        tool: tool.to_owned(),
        shown: "{}".to_owned(),
        rule: "r".to_owned(),
        policy_sha256: "p".to_owned(),
    }
}

fn ask(table: &mut Approvals, tool: &str, number: i64, now_ns: u64) {
    assert!(table.has_room(print(tool), 1));
    table.ask(asking(tool), (RequestId::Integer(number), vec![b'x']), now_ns, now_ns, TERMS);
}

fn released(table: &mut Approvals) -> Option<i64> {
    number(table.next_released().as_ref())
}

fn number(waiting: Option<&Waiting>) -> Option<i64> {
    waiting.map(|waiting| match waiting.ours {
        RequestId::Integer(number) => number,
        RequestId::String(_) => unreachable!("the tests use numbers"),
    })
}

#[test]
fn one_approval_lets_the_oldest_call_go_and_no_other() {
    let mut table = Approvals::default();
    ask(&mut table, "pay", 1, 0);
    ask(&mut table, "pay", 2, SECOND);
    ask(&mut table, "other", 3, SECOND);
    assert_eq!(table.listed(SECOND).count(), 2, "a retry stands under one listing");
    assert_eq!(table.find(&print("pay").hex(), SECOND).unwrap().asks, 2);
    assert_eq!(released(&mut table), None, "nobody approved");

    table.approve(print("pay"), 2 * SECOND, TERMS);
    assert_eq!(table.in_hand(print("other"), 2 * SECOND), None, "an approval is for one call");
    assert_eq!(released(&mut table), Some(1));
    assert!(table.in_hand(print("pay"), 2 * SECOND).is_some());
    table.spend(print("pay"));
    assert_eq!(table.in_hand(print("pay"), 2 * SECOND), None, "used once");
    assert_eq!(released(&mut table), None, "the second goes on waiting");
    assert_eq!(table.waiting().count(), 2);
}

#[test]
fn a_late_approval_is_kept_lets_one_call_through_and_ends() {
    let mut table = Approvals::default();
    ask(&mut table, "pay", 1, 0);
    assert_eq!(table.deadline_ns(), Some(50 * SECOND));
    assert!(table.next_timed_out(50 * SECOND - 1).is_none());
    let (late, waiting) = table.next_timed_out(50 * SECOND).unwrap();
    assert_eq!((late, number(Some(&waiting))), (print("pay"), Some(1)));
    assert_eq!(table.deadline_ns(), Some(600 * SECOND), "the question stays listed");
    assert!(table.next_expired(599 * SECOND).is_none());

    table.approve(print("pay"), 100 * SECOND, TERMS);
    assert!(table.in_hand(print("pay"), 700 * SECOND).is_some());
    assert_eq!(table.in_hand(print("pay"), 700 * SECOND + 1), None, "`valid` is over");
    table.spend(print("pay"));
    assert_eq!(table.find(&print("pay").hex(), 100 * SECOND).err(), Some(FindError::Unknown));
    assert_eq!(table.deadline_ns(), None);
}

#[test]
fn an_unanswered_question_and_an_unused_approval_expire() {
    let mut table = Approvals::default();
    ask(&mut table, "pay", 1, 0);
    ask(&mut table, "other", 2, 0);
    while table.next_timed_out(60 * SECOND).is_some() {}
    table.approve(print("other"), 60 * SECOND, TERMS);
    assert_eq!(table.find(&print("pay").hex(), 600 * SECOND).err(), Some(FindError::Unknown), "before the sweep too");
    let expired = table.next_expired(600 * SECOND).unwrap();
    assert_eq!((expired.tool.as_str(), expired.approved), ("pay", false));
    assert!(table.next_expired(600 * SECOND).is_none());
    let expired = table.next_expired(660 * SECOND).unwrap();
    assert_eq!((expired.tool.as_str(), expired.approved), ("other", true));
}

#[test]
fn an_approval_that_ran_out_is_not_revived_by_asking_again() {
    let mut table = Approvals::default();
    ask(&mut table, "pay", 1, 0);
    while table.next_timed_out(50 * SECOND).is_some() {}
    table.approve(print("pay"), 60 * SECOND, TERMS);
    ask(&mut table, "pay", 2, 661 * SECOND);
    assert_eq!(table.in_hand(print("pay"), 661 * SECOND), None);
    assert_eq!(released(&mut table), None, "nobody approved this one");
    let listed = table.find(&print("pay").hex(), 661 * SECOND).unwrap();
    assert_eq!((listed.asks, listed.approved, listed.asked_ns), (1, false, 661 * SECOND), "a question of its own");
}

#[test]
fn a_cancelled_call_leaves_and_its_question_stays() {
    let mut table = Approvals::default();
    ask(&mut table, "pay", 1, 0);
    assert!(!table.cancel(&RequestId::Integer(7)));
    assert!(table.cancel(&RequestId::Integer(1)));
    assert_eq!(table.waiting().count(), 0);
    table.approve(print("pay"), SECOND, TERMS);
    assert_eq!(released(&mut table), None, "no call is there to be let go");
    assert!(table.in_hand(print("pay"), SECOND).is_some());
}

#[test]
fn a_refusal_hands_back_every_call_and_forgets_the_question() {
    let mut table = Approvals::default();
    ask(&mut table, "pay", 1, 0);
    ask(&mut table, "pay", 2, 0);
    let question = table.forget(print("pay")).unwrap();
    assert_eq!(question.waiting.len(), 2);
    assert!(table.forget(print("pay")).is_none());
    ask(&mut table, "pay", 3, SECOND);
    assert_eq!(table.in_hand(print("pay"), SECOND), None, "a retry asks anew");
}

#[test]
fn another_policy_makes_the_questions_moot() {
    let mut table = Approvals::default();
    ask(&mut table, "pay", 1, 0);
    table.approve(print("pay"), 0, TERMS);
    assert!(table.next_stale("p").is_none());
    assert_eq!(table.next_stale("q").unwrap().waiting.len(), 1);
    assert_eq!(table.in_hand(print("pay"), 0), None);
}

#[test]
fn ids_are_prefixes_of_at_least_the_bound_and_name_one_question() {
    let mut table = Approvals::default();
    ask(&mut table, "pay", 1, 0);
    ask(&mut table, "other", 2, 0);
    let id = print("pay").hex();
    assert_eq!(table.find(&id[..APPROVAL_ID_DIGITS_MIN], 0).unwrap().tool, "pay");
    assert_eq!(table.find(&id[..APPROVAL_ID_DIGITS_MIN - 1], 0).err(), Some(FindError::NoId));
    for wrong in ["", "%%%%%%%%", "ABCDEF0123", "*"] {
        assert_eq!(table.find(wrong, 0).err(), Some(FindError::NoId), "{wrong}");
    }
    let twin = Asking { id: id.clone(), ..asking("twin") };
    table.ask(twin, (RequestId::Integer(3), Vec::new()), 0, 0, TERMS);
    assert_eq!(table.find(&id, 0).err(), Some(FindError::Ambiguous));
}

#[test]
fn the_table_holds_its_bounds_and_not_one_more() {
    let mut table = Approvals::default();
    for number in 0..APPROVALS_LISTED_MAX {
        ask(&mut table, &format!("t{number}"), 1, 0);
    }
    assert!(!table.has_room(print("one more"), 1));
    assert!(table.has_room(print("t0"), 1), "a retry of a listed one needs no listing");
    assert!(table.has_room(print("t0"), APPROVALS_BYTES_MAX - APPROVALS_LISTED_MAX));
    assert!(!table.has_room(print("t0"), APPROVALS_BYTES_MAX - APPROVALS_LISTED_MAX + 1));
    for _ in APPROVALS_LISTED_MAX..APPROVALS_WAITING_MAX {
        ask(&mut table, "t0", 1, 0);
    }
    assert!(!table.has_room(print("t0"), 1));
}

#[test]
fn a_questions_line_is_held_until_calls_that_wait_need_the_room() {
    let mut table = Approvals::default();
    let half = APPROVALS_BYTES_MAX / 2;
    let big = |table: &mut Approvals, tool: &str, number: i64, now_ns: u64| {
        assert!(table.has_room(print(tool), half), "{tool}");
        table.ask(asking(tool), (RequestId::Integer(number), vec![b'x'; half]), now_ns, now_ns, TERMS);
    };
    let held = |table: &Approvals, tool: &str| table.find(&print(tool).hex(), 60 * SECOND).unwrap().line.is_some();
    big(&mut table, "first", 1, 0);
    big(&mut table, "second", 2, 0);
    assert!(!table.has_room(print("third"), 1), "what waits is never dropped");
    while table.next_timed_out(50 * SECOND).is_some() {}
    assert!(held(&table, "first") && held(&table, "second"), "nobody waits, and a person can still read");
    big(&mut table, "third", 3, 60 * SECOND);
    assert!(!held(&table, "first"), "the oldest made room");
    assert!(held(&table, "second") && held(&table, "third"));
    big(&mut table, "first", 4, 60 * SECOND);
    assert!(held(&table, "first") && !held(&table, "second") && held(&table, "third"), "made again, it is held again");
    let held: usize = table.questions.iter().filter_map(|question| question.line.as_ref()).map(|line| line.len()).sum();
    assert!(held <= APPROVALS_BYTES_MAX);
}
