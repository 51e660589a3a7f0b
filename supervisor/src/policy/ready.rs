//! The ready policies load without a warning and decide as their comments say.

use super::testing::{loaded_at, value};
use super::verdict::{Call, DenialCode, KnownTool, Limited, SchemaKnowledge, Verdict, Visibility};
use super::{Policy, Source, TlsMode, load};
use crate::limits::Quota;

const TOGETHER: &str = include_str!("../../../policies/together-ai.yaml");

/// The deciding rule and code, or none where the call is allowed.
fn together(arguments: &str) -> Option<(String, DenialCode)> {
    let policy = loaded_at("/etc/intercept-sandbox/policies/together-ai.yaml", TOGETHER);
    let required = vec!["prompt".to_owned()];
    let arguments = value(arguments);
    let schema = SchemaKnowledge::Known(KnownTool::requiring(&required));
    match policy.judge(&Call { tool: "generate_image", arguments: Some(&arguments), schema }) {
        Verdict::Allow(allowance) => {
            assert_eq!(allowance.limits.len(), 1);
            let quota = Quota::Sliding { max: 10, window_ms: 60_000 };
            assert!(matches!(allowance.limits[0].what, Limited::Calls(found) if found == quota));
            None
        }
        Verdict::Deny(denial) => Some((denial.rule.map(|rule| rule.id.clone()).unwrap_or_default(), denial.code)),
        Verdict::NeedsSchema => panic!("the schema is known"),
    }
}

#[test]
fn together_allows_what_the_server_documents() {
    for arguments in [
        r#"{"prompt": "a fox"}"#,
        r#"{"prompt": "a fox", "model": "black-forest-labs/FLUX.1-schnell-Free", "width": 1024, "height": 768, "steps": 1, "n": 1, "response_format": "b64_json"}"#,
        r#"{"prompt": "x", "model": "black-forest-labs/FLUX.1-schnell", "width": 128, "height": 2048, "steps": 100, "n": 4, "response_format": "url"}"#,
        r#"{"prompt": "x", "image_path": "/var/lib/together/images/fox.png"}"#,
    ] {
        assert_eq!(together(arguments), None, "{arguments}");
    }
    assert_eq!(together(&format!(r#"{{"prompt": "{}"}}"#, "é".repeat(4000))), None);
}

#[test]
fn together_refuses_one_step_beyond_each_bound() {
    let cases = [
        (r#"{}"#, "generate_image.rules[0]", DenialCode::MissingArgument),
        (r#"{"prompt": null}"#, "generate_image.rules[0]", DenialCode::MissingArgument),
        (r#"{"prompt": " "}"#, "generate_image.prompt", DenialCode::ConditionFailed),
        (r#"{"prompt": ["a fox"]}"#, "generate_image.prompt", DenialCode::ConditionFailed),
        (r#"{"prompt": "x", "model": "other/model"}"#, "generate_image.model", DenialCode::ConditionFailed),
        (r#"{"prompt": "x", "width": 127}"#, "generate_image.size", DenialCode::ConditionFailed),
        (r#"{"prompt": "x", "width": 2049}"#, "generate_image.size", DenialCode::ConditionFailed),
        (r#"{"prompt": "x", "height": 127.9}"#, "generate_image.size", DenialCode::ConditionFailed),
        (r#"{"prompt": "x", "height": "1024"}"#, "generate_image.size", DenialCode::ConditionFailed),
        (r#"{"prompt": "x", "steps": 0}"#, "generate_image.effort", DenialCode::ConditionFailed),
        (r#"{"prompt": "x", "steps": 101}"#, "generate_image.effort", DenialCode::ConditionFailed),
        (r#"{"prompt": "x", "n": 5}"#, "generate_image.effort", DenialCode::ConditionFailed),
        (r#"{"prompt": "x", "n": null}"#, "generate_image.effort", DenialCode::ConditionFailed),
        (r#"{"prompt": "x", "response_format": "png"}"#, "generate_image.output", DenialCode::ConditionFailed),
        (r#"{"prompt": "x", "image_path": "/etc/cron.d/x"}"#, "generate_image.output", DenialCode::ConditionFailed),
        (
            r#"{"prompt": "x", "image_path": "/var/lib/together/images/../x"}"#,
            "generate_image.output",
            DenialCode::ConditionFailed,
        ),
        (r#"{"prompt": "x", "image_path": "fox.png"}"#, "generate_image.output", DenialCode::ConditionFailed),
    ];
    for (arguments, rule, code) in cases {
        assert_eq!(together(arguments), Some((rule.to_owned(), code)), "{arguments}");
    }
    let long = format!(r#"{{"prompt": "{}"}}"#, "x".repeat(4001));
    assert_eq!(together(&long), Some(("generate_image.prompt".to_owned(), DenialCode::ConditionFailed)));
}

#[test]
fn together_opens_one_host_and_one_folder_and_lists_one_tool() {
    let policy: Policy = loaded_at("/p/together-ai.yaml", TOGETHER);
    assert_eq!(policy.visibility("generate_image"), Visibility::Listed);
    assert_eq!(policy.visibility("delete_image"), Visibility::Unlisted);
    let [host] = policy.sandbox.hosts.as_slice() else { panic!("{:?}", policy.sandbox.hosts) };
    assert_eq!(
        (host.host.as_str(), host.ports.as_slice(), host.tls),
        ("api.together.xyz", [443].as_slice(), TlsMode::Passthrough)
    );
    let [write] = policy.sandbox.write.as_slice() else { panic!("{:?}", policy.sandbox.write) };
    assert_eq!(write.path.to_str(), Some("/var/lib/together/images"));
    assert_eq!(write.from, write.path);
    assert_eq!(policy.sandbox.env_pass.iter().map(|pass| pass.name.as_str()).collect::<Vec<_>>(), ["TOGETHER_API_KEY"]);
    assert!(policy.argument_names("generate_image").eq([
        "height",
        "image_path",
        "model",
        "n",
        "prompt",
        "response_format",
        "steps",
        "width",
    ]));
}

#[test]
fn ready_policies_load_without_warnings_and_deny_what_they_do_not_name() {
    for (name, text) in [
        ("together-ai", TOGETHER),
        ("filesystem", include_str!("../../../policies/filesystem.yaml")),
        ("fetch", include_str!("../../../policies/fetch.yaml")),
        ("github", include_str!("../../../policies/github.yaml")),
    ] {
        let path = format!("/p/{name}.yaml");
        let loaded = load(&Source { path: std::path::Path::new(&path), text }).expect(name);
        assert_eq!(loaded.warnings, [], "{name}");
        assert_eq!(loaded.policy.name, name);
        assert_eq!(loaded.policy.visibility("a_tool_of_tomorrow"), Visibility::Unlisted, "{name}");
    }
}
