//! The table against what is published.

use Direction::{ClientToServer, ServerToClient};
use Kind::{Notification, Request};

use super::*;

fn known(method: &str, direction: Direction, kind: Kind, era: Option<Era>) -> bool {
    lookup(method, direction, kind, era) == Knowledge::Known
}

#[test]
fn methods_hold_in_their_direction_and_kind_alone() {
    assert!(known("tools/call", ClientToServer, Request, None));
    assert!(!known("tools/call", ServerToClient, Request, None));
    assert!(!known("tools/call", ClientToServer, Notification, None));
    assert!(known("sampling/createMessage", ServerToClient, Request, None));
    assert!(!known("sampling/createMessage", ClientToServer, Request, None));
    assert!(known("ping", ClientToServer, Request, None) && known("ping", ServerToClient, Request, None));
}

#[test]
fn methods_hold_from_their_revision_on() {
    assert!(!known("elicitation/create", ServerToClient, Request, Some(Era::V2025_03_26)));
    assert!(known("elicitation/create", ServerToClient, Request, Some(V2025_06_18)));
    assert!(!known("tasks/get", ClientToServer, Request, Some(V2025_06_18)));
    assert!(known("tasks/get", ClientToServer, Request, Some(V2025_11_25)));
    assert!(known("tasks/get", ClientToServer, Request, None));
    assert!(Era::ALL.iter().all(|era| known("initialize", ClientToServer, Request, Some(*era)) == era.has_handshake()));
}

#[test]
fn methods_end_with_the_revision_that_takes_them_away() {
    let new = Some(V2026_07_28);
    for gone in ["initialize", "ping", "resources/subscribe", "logging/setLevel", "tasks/get"] {
        assert!(!known(gone, ClientToServer, Request, new) && known(gone, ClientToServer, Request, None), "{gone}");
    }
    for asked in INPUT_REQUESTS {
        assert!(!known(asked, ServerToClient, Request, new), "{asked}");
        assert!(known(asked, ServerToClient, Request, Some(V2025_11_25)), "{asked}");
    }
    assert!(
        !METHODS.iter().any(|row| row.kind == Request && row.ways.include(ServerToClient) && row.is_in(V2026_07_28))
    );
    assert!(!known("notifications/progress", ClientToServer, Notification, new));
    assert!(known("subscriptions/listen", ClientToServer, Request, new));
    assert!(!known("subscriptions/listen", ClientToServer, Request, Some(V2025_11_25)));
}

#[test]
fn a_name_of_mcp_in_another_place_is_told_from_one_of_nobody() {
    assert_eq!(lookup("tools/call", ServerToClient, Request, None), Knowledge::Misplaced);
    assert_eq!(lookup("tools/call", ClientToServer, Notification, None), Knowledge::Misplaced);
    assert_eq!(lookup("vendor/x", ServerToClient, Request, None), Knowledge::Unknown);
    assert_eq!(lookup("tasks/get", ClientToServer, Request, Some(V2026_07_28)), Knowledge::Unknown);
}

#[test]
fn a_request_names_its_revision_and_an_unknown_one_is_told() {
    let of = |text: &str| Era::of_request(Some(&crate::wire::json::parse(text.as_bytes()).unwrap()));
    assert_eq!(of(r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#), Ok(Some(V2026_07_28)));
    assert_eq!(of(r#"{"_meta":{"progressToken":1}}"#), Ok(None));
    assert_eq!(of(r#"{"x":1}"#), Ok(None));
    assert_eq!(Era::of_request(None), Ok(None));
    for (text, requested) in [("\"2027-01-01\"", "2027-01-01"), ("\"\"", ""), ("1", ""), ("null", "")] {
        let line = format!(r#"{{"_meta":{{"io.modelcontextprotocol/protocolVersion":{text}}}}}"#);
        assert_eq!(of(&line), Err(UnknownRevision { requested: requested.to_owned() }), "{text}");
    }
}

#[test]
fn who_decides_on_a_method() {
    assert!(ESSENTIAL.iter().all(|name| standing(name) == Some(Standing::Essential)));
    assert_eq!(standing("notifications/message"), Some(Standing::Free));
    assert_eq!(standing("resources/read"), Some(Standing::Judged));
    assert_eq!(standing("sampling/createMessage"), Some(Standing::Judged));
    assert_eq!(standing("vendor/x"), None);
    assert_eq!(places("ping").count(), 2);
    assert_eq!(places("roots/list").collect::<Vec<_>>(), [(ServerToClient, Request)]);
}

#[test]
fn other_names_are_unknown() {
    for method in ["", "Tools/call", "tools/call ", "tools/\u{441}all", "server/Discover", "rpc.discover"] {
        assert!(!known(method, ClientToServer, Request, None), "{method:?}");
    }
}

#[test]
fn only_spoken_revisions_have_an_era() {
    assert_eq!(Era::of("2025-06-18"), Some(V2025_06_18));
    assert_eq!(Era::of("2026-07-28"), Some(V2026_07_28));
    assert_eq!(Era::of("2026-07-29"), None);
    assert_eq!(Era::of(""), None);
}

#[test]
fn parameter_names_are_the_methods_own() {
    let names = |era| parameters_in("tools/call", era).collect::<Vec<_>>();
    assert_eq!(names(V2025_11_25), ["arguments", "name", "task", "_meta"]);
    assert_eq!(names(V2026_07_28), ["arguments", "inputResponses", "name", "requestState", "_meta"]);
    assert!(parameter_names("tools/call").any(|name| name == "task"));
    let every: Vec<_> = parameter_names("x/unknown").collect();
    assert!(every.contains(&"uri") && every.contains(&"requestId"));
}

/// Revision, union, method, parameters.
fn published() -> impl Iterator<Item = (&'static str, &'static str, &'static str, Vec<&'static str>)> {
    let lines = include_str!("published.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap();
        (word(), word(), word(), words.collect())
    })
}

const UNIONS: [(&str, Direction, Kind); 4] = [
    ("ClientRequest", ClientToServer, Request),
    ("ClientNotification", ClientToServer, Notification),
    ("ServerRequest", ServerToClient, Request),
    ("ServerNotification", ServerToClient, Notification),
];

#[test]
fn table_is_that_of_the_schemas() {
    for era in Era::ALL {
        for (union, direction, kind) in UNIONS {
            let mut theirs: Vec<&str> = published()
                .filter(|(revision, of, ..)| *revision == era.as_str() && *of == union)
                .map(|(_, _, method, _)| method)
                .collect();
            let fits = |row: &&Method| row.kind == kind && row.ways.include(direction) && row.is_in(era);
            let mut ours: Vec<&str> = METHODS.iter().filter(fits).map(|row| row.name).collect();
            theirs.sort_unstable();
            ours.sort_unstable();
            assert_eq!(ours, theirs, "{union} of {}", era.as_str());
        }
    }
    let mut asked: Vec<&str> =
        published().filter(|(_, union, ..)| *union == "InputRequest").map(|(_, _, method, _)| method).collect();
    asked.sort_unstable();
    assert_eq!(asked, INPUT_REQUESTS);
}

#[test]
fn parameters_are_those_of_the_schemas() {
    use std::collections::BTreeSet;
    // What 2026-07-28 asks for inside a result has the parameters that the request had before.
    let of = |method: &str, new: bool| -> BTreeSet<&str> {
        let rows = published().filter(|(revision, union, name, _)| {
            *name == method && *union != "InputRequest" && (*revision == V2026_07_28.as_str()) == new
        });
        rows.flat_map(|(.., params)| params).collect()
    };
    for row in METHODS {
        let ours: BTreeSet<&str> = row.params.iter().copied().collect();
        let theirs = match (row.is_in(V2025_11_25), row.is_in(V2026_07_28)) {
            (true, true) => {
                assert_eq!(of(row.name, true), of(row.name, false), "{}", row.name);
                of(row.name, false)
            }
            (old, _) => of(row.name, !old),
        };
        assert_eq!(ours, theirs, "{}", row.name);
    }
}

/// The checked-in names against the schemas themselves, where these lie beside the checkout. The two tests above need none.
#[test]
fn published_names_are_those_of_the_schemas_at_hand() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/mcp-schema");
    for era in Era::ALL {
        let Ok(text) = std::fs::read_to_string(folder.join(format!("{}.json", era.as_str()))) else { continue };
        let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
        let types = schema.get("$defs").or(schema.get("definitions")).unwrap();
        for (union, ..) in UNIONS {
            let refs = match types.get(union) {
                None => Vec::new(),
                Some(union) => union["anyOf"].as_array().cloned().unwrap_or_else(|| vec![union.clone()]),
            };
            let method = |entry: &serde_json::Value| {
                let of = match entry["$ref"].as_str() {
                    Some(path) => &types[path.rsplit('/').next().unwrap()],
                    None => entry,
                };
                of["properties"]["method"]["const"].as_str().unwrap().to_owned()
            };
            let mut theirs: Vec<String> = refs.iter().map(method).collect();
            theirs.sort_unstable();
            let mut ours: Vec<&str> = published()
                .filter(|(revision, of, ..)| *revision == era.as_str() && *of == union)
                .map(|(_, _, method, _)| method)
                .collect();
            ours.sort_unstable();
            assert_eq!(ours, theirs, "{union} of {}", era.as_str());
        }
    }
}
