//! A record as one line for people: class first, then when, whose, what and why.

use serde_json::Value;

use crate::audit::text::visible;

/// Longest text of one member on a line, characters.
const TEXT_CHARS_MAX: usize = 240;

/// A record as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// The class: the effect, or how much it matters where there is none.
    pub(super) class: String,
    /// Everything after it.
    pub(super) rest: String,
    /// Sorts records of several sessions: RFC 3339 with nine digits sorts as text.
    pub(super) time: String,
}

/// Describes a line of the log; what is no JSON object is shown as `broken`.
pub(super) fn describe(line: &[u8]) -> Shown {
    let Ok(record @ Value::Object(_)) = serde_json::from_slice::<Value>(line) else {
        let text = short(&String::from_utf8_lossy(line));
        return Shown { class: "broken".into(), rest: text, time: String::new() };
    };
    let time = text(&record, "/time").unwrap_or_default();
    let class = text(&record, "/effect").or_else(|| text(&record, "/severity")).unwrap_or_default();
    let session: String = text(&record, "/session").unwrap_or_default().chars().take(8).collect();
    let clock = time.get(..23).map_or_else(|| time.clone(), |head| format!("{}Z", head.replace('T', " ")));
    let seq = record["seq"].as_u64().unwrap_or(0);
    let mut words = vec![clock, format!("{session}#{seq}"), text(&record, "/type").unwrap_or_default()];
    words.extend(what(&record));
    words.extend(why(&record));
    Shown { class, rest: words.join("  "), time }
}

/// What it was about: the members that name it, in the order in which one reads them.
fn what(record: &Value) -> Vec<String> {
    const NAMING: [(&str, &str); 23] = [
        ("/mcp/method", ""),
        ("/mcp/tool", ""),
        ("/pin/tool", ""),
        ("/mcp/id", "id "),
        ("/mcp/bytes", "bytes "),
        ("/mcp/result/latency_ms", "ms "),
        ("/net/host", ""),
        ("/net/sni", "sni "),
        ("/net/comm", "by "),
        ("/proc/exe", ""),
        ("/proc/interpreter", "run by "),
        ("/proc/op", ""),
        ("/proc/call", ""),
        ("/proc/comm", "by "),
        ("/proc/exit_code", "exit "),
        ("/proc/signal", "signal "),
        ("/fs/path", ""),
        ("/fs/comm", "by "),
        ("/policy/name", "policy "),
        ("/mode", "mode "),
        ("/approval/id", "approval "),
        ("/approval/by_uid", "by uid "),
        ("/gap/count", "lost "),
    ];
    let mut words: Vec<String> =
        NAMING.iter().filter_map(|(at, prefix)| Some(format!("{prefix}{}", text(record, at)?))).collect();
    if let Some(address) = text(record, "/net/dst_ip") {
        let port = text(record, "/net/dst_port").map_or_else(String::new, |port| format!(" port {port}"));
        words.push(format!("{address}{port}"));
    }
    if record.pointer("/net/self_test") == Some(&Value::Bool(true)) {
        words.push("(our own self-test, before the server ran)".to_owned());
    }
    for count in ["/net/count", "/proc/count", "/fs/count"].iter().filter_map(|at| record.pointer(at)?.as_u64()) {
        words.extend((count > 1).then(|| format!("x{count}")));
    }
    if ["/proc/others", "/fs/others"].iter().any(|at| record.pointer(at) == Some(&Value::Bool(true))) {
        words.push("(and others)".to_owned());
    }
    if let Some(argv) = record.pointer("/server/argv").and_then(Value::as_array) {
        words.push(short(&argv.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")));
    }
    if let Some(layers) = record.pointer("/sandbox/layers").and_then(Value::as_array) {
        words.push(layers_of(layers));
    }
    words
}

/// Why: rule, limit, reason.
fn why(record: &Value) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(rule) = text(record, "/rule/id") {
        words.push(format!("rule {rule}"));
    }
    if let (Some(used), Some(max)) = (text(record, "/limit/used"), text(record, "/limit/max")) {
        words.push(format!("{used} of {max}"));
    }
    if let Some(code) = text(record, "/reason/code") {
        words.push(format!("{code}: {}", text(record, "/reason/text").unwrap_or_default()));
    } else if let Some(reason) = text(record, "/net/reason") {
        words.push(reason);
    }
    words
}

fn layers_of(layers: &[Value]) -> String {
    let (enforced, others): (Vec<_>, Vec<_>) = layers.iter().partition(|layer| layer["state"] == "enforced");
    let named =
        others.iter().filter_map(|layer| Some(format!("{} {}", text(layer, "/layer")?, text(layer, "/state")?)));
    std::iter::once(format!("{} enforced", enforced.len())).chain(named).collect::<Vec<_>>().join(", ")
}

/// A string or number member, safe to show.
fn text(record: &Value, at: &str) -> Option<String> {
    match record.pointer(at)? {
        Value::String(text) => Some(short(text)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn short(text: &str) -> String {
    let cut: String = text.chars().take(TEXT_CHARS_MAX).collect();
    let mark = if cut.len() < text.len() { "…" } else { "" };
    format!("{}{mark}", visible(&cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_call() {
        let shown = describe(
            br#"{"v":1,"seq":17,"time":"2024-12-31T23:59:59.123456789Z","type":"mcp.request","severity":"warning","effect":"denied","session":"0123456789abcdef","rule":{"id":"r1","name":"ten a minute","line":3},"reason":{"code":"rate_limited","text":"wait \u001b[2J12 s"},"limit":{"key":"k","max":10,"window_s":60,"used":10},"mcp":{"dir":"c2s","method":"tools/call","id":7,"tool":"generate_image"}}"#,
        );
        assert_eq!(shown.class, "denied");
        assert_eq!(
            shown.rest,
            "2024-12-31 23:59:59.123Z  01234567#17  mcp.request  tools/call  generate_image  id 7  rule r1  \
             10 of 10  rate_limited: wait \\u{1b}[2J12 s"
        );
    }

    #[test]
    fn a_denied_connection_and_the_layers() {
        let shown = describe(
            br#"{"seq":1,"type":"net.connect","effect":"denied","net":{"op":"connect","reason":"not a host of the policy","dst_ip":"203.0.113.9","dst_port":443,"comm":"curl","count":3}}"#,
        );
        assert!(shown.rest.ends_with("by curl  203.0.113.9 port 443  x3  not a host of the policy"), "{}", shown.rest);
        let shown = describe(
            br#"{"seq":1,"type":"sandbox.applied","severity":"info","sandbox":{"layers":[{"layer":"seccomp","state":"enforced"},{"layer":"lsm","state":"unsupported","reason":"x"}]}}"#,
        );
        assert_eq!(shown.class, "info");
        assert!(shown.rest.ends_with("1 enforced, lsm unsupported"), "{}", shown.rest);
    }

    #[test]
    fn a_refused_call() {
        let shown = describe(
            br#"{"seq":1,"type":"proc.denied","effect":"denied","reason":{"code":"refused_call","text":"the view is built once"},"proc":{"op":"call","call":"mount","tid":4711,"comm":"a\u001b[2J","count":12}}"#,
        );
        assert_eq!(shown.class, "denied");
        let wanted = "proc.denied  call  mount  by a\\u{1b}[2J  x12  refused_call: the view is built once";
        assert!(shown.rest.ends_with(wanted), "{}", shown.rest);
    }

    #[test]
    fn a_started_program() {
        let shown = describe(
            br#"{"seq":1,"type":"proc.exec","effect":"allowed","proc":{"op":"exec","pid":7,"ppid":6,"comm":"run.sh","count":12,"exe":"./run\u001b.sh","interpreter":"/bin/sh","others":true}}"#,
        );
        let wanted = "proc.exec  ./run\\u{1b}.sh  run by /bin/sh  exec  by run.sh  x12  (and others)";
        assert!(shown.rest.ends_with(wanted), "{}", shown.rest);
    }

    #[test]
    fn a_file_that_was_opened() {
        let shown = describe(
            br#"{"seq":1,"type":"fs.open","effect":"allowed","fs":{"op":"open","path":"/out/\u001ba","pid":7,"comm":"cp","count":12,"others":true}}"#,
        );
        assert!(shown.rest.ends_with("fs.open  /out/\\u{1b}a  by cp  x12  (and others)"), "{}", shown.rest);
    }

    #[test]
    fn garbage_is_shown_as_broken_and_harmless() {
        assert_eq!(
            describe(b"\x1b[31m\xff"),
            Shown { class: "broken".into(), rest: "\\u{1b}[31m\u{fffd}".into(), time: String::new() }
        );
    }
}
