//! `methods:`.

use std::collections::BTreeMap;

use super::read::{Fields, Reader};
use super::suggest::nearest;
use super::top::EFFECTS;
use crate::bounds::{METHOD_BYTES_MAX, POLICY_METHODS_MAX};
use crate::policy::codes::Code;
use crate::policy::methods::Methods;
use crate::policy::model::DefaultEffect;
use crate::policy::yaml::Span;
use crate::wire::methods::{Standing, names, standing};

/// The key for the methods of MCP that no other key names.
const OTHERS: &str = "*";

/// Reads `methods:`. Without it, version 1 lets pass what is no tools/call, as Intercept does, with a warning.
pub(super) fn methods(reader: &mut Reader<'_>, fields: &Fields<'_>, default: DefaultEffect) -> Methods {
    let mut methods = Methods { named: BTreeMap::new(), others: default };
    let Some(entry) = fields.entry("methods") else {
        if let Some(version) = fields.entry("version") {
            let message = "no `methods`, which version 1 reads as allow: resources, prompts, sampling and all that is no \
                           tools/call pass unjudged";
            reader.warning(Code::UnjudgedMethods, version.key_span, message).help = Some(
                "write `methods: {}` to have `default` decide, or `methods: {\"*\": allow}` to silence this".into(),
            );
            methods.others = DefaultEffect::Allow;
        }
        return methods;
    };
    if entry.value.is_null() {
        return methods;
    }
    let Some(entries) = reader.named_entries(&entry.value, "methods") else { return methods };
    if entries.len() > POLICY_METHODS_MAX {
        let message = format!("{} methods; a policy names at most {POLICY_METHODS_MAX}", entries.len());
        reader.error(Code::TooMany, entry.value.span, message);
        return methods;
    }
    for entry in entries {
        let effect = reader.choice(&entry.value, "methods", EFFECTS, &[]);
        if !method_key(reader, &entry.key, entry.key_span) {
            continue;
        }
        warn_of_a_slip(reader, &entry.key, entry.key_span);
        match effect {
            Some(effect) if entry.key == OTHERS => methods.others = effect,
            Some(effect) => drop(methods.named.insert(entry.key.clone(), effect)),
            None => {}
        }
    }
    methods
}

/// Whether `key` can stand under `methods`: `*`, a name, or `PREFIX/*`, and nothing that always passes.
fn method_key(reader: &mut Reader<'_>, key: &str, span: Span) -> bool {
    let stem = key.strip_suffix("/*").unwrap_or(key);
    let is_plain = |c: char| c.is_ascii_graphic() && c != '*';
    if key != OTHERS && (stem.is_empty() || key.len() > METHOD_BYTES_MAX || !stem.chars().all(is_plain)) {
        reader.error(Code::BadName, span, format!("\"{key}\" names no method")).help =
            Some("a name such as resources/read, a prefix such as \"prompts/*\", or \"*\" for all that MCP has".into());
        return false;
    }
    let is_covered = |name: &str| match key.strip_suffix('*') {
        Some(prefix) if key != OTHERS => name.starts_with(prefix),
        _ => name == key,
    };
    let fixed = names().find(|name| is_covered(name) && standing(name) == Some(Standing::Essential));
    if let Some(name) = fixed {
        let message = format!("\"{key}\" covers {name}, which `methods` cannot open or close");
        let help = match name {
            "tools/call" | "tools/list" => "name the tools under `tools` and `hide`",
            _ => "no session works without it: leave it out",
        };
        reader.error(Code::BadName, span, message).help = Some(help.into());
        return false;
    }
    true
}

/// A vendor's method is his own business; one that differs from MCP's by a letter or two is a slip that opens or closes
/// nothing.
fn warn_of_a_slip(reader: &mut Reader<'_>, key: &str, span: Span) {
    let prefix = key.strip_suffix('*').filter(|prefix| !prefix.is_empty());
    let is_known = match prefix {
        Some(prefix) => names().any(|name| name.starts_with(prefix)),
        None => key == OTHERS || standing(key).is_some(),
    };
    if is_known {
        return;
    }
    let near = match prefix {
        Some(prefix) => nearest(prefix, names().filter_map(|name| name.split_inclusive('/').next())),
        None => nearest(key, names()),
    };
    if let Some(near) = near {
        let star = if prefix.is_some() { "*" } else { "" };
        let message = format!("no revision of MCP has \"{key}\"");
        reader.warning(Code::NearMethod, span, message).help = Some(format!("did you mean \"{near}{star}\"?"));
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::testing::{errors, loaded, warnings};

    #[test]
    fn a_slip_is_told_and_a_vendors_name_is_not() {
        let told = |key: &str| {
            let found = warnings(&format!("version: \"1\"\ndefault: deny\nsandbox: {{}}\nmethods: {{{key}: allow}}\n"));
            found.into_iter().find(|warning| warning.code == "ISB-P068").and_then(|warning| warning.help)
        };
        for (slip, meant) in [
            ("resource/read", "resources/read"),
            ("Resources/read", "resources/read"),
            ("'prompt/*'", "prompts/*"),
            ("sampling/createmessage", "sampling/createMessage"),
        ] {
            assert_eq!(told(slip).as_deref(), Some(&*format!("did you mean \"{meant}\"?")), "{slip}");
        }
        for fine in ["resources/read", "'resources/*'", "'*'", "vendor/thing", "'acme/*'"] {
            assert_eq!(told(fine), None, "{fine}");
        }
    }

    #[test]
    fn names_prefixes_and_the_star_load_in_any_order() {
        let one = loaded("methods: {resources/read: allow, 'prompts/*': deny, '*': allow, vendor/thing: allow}");
        let other = loaded(
            "{default: deny, methods: {vendor/thing: allow, '*': allow, 'prompts/*': deny, resources/read: allow}}",
        );
        assert_eq!(one.methods, other.methods);
        assert_eq!(loaded("methods:\n").methods, loaded("methods: {}").methods);
    }

    #[test]
    fn what_always_passes_cannot_be_named() {
        for (key, hint) in [
            ("tools/call", "under `tools`"),
            ("tools/list", "under `tools`"),
            ("'tools/*'", "under `tools`"),
            ("initialize", "leave it out"),
            ("ping", "leave it out"),
            ("'notifications/*'", "leave it out"),
            ("'subscriptions/*'", "leave it out"),
        ] {
            let found = errors(&format!("methods: {{{key}: allow}}"));
            assert_eq!(found[0].code, "ISB-P026", "{key}");
            assert!(found[0].help.as_deref().unwrap_or_default().contains(hint), "{key}: {:?}", found[0].help);
        }
    }

    #[test]
    fn keys_that_name_nothing_and_other_words_are_refused() {
        for key in ["'/*'", "'a*'", "'a/*/b'", "'a b'", "'**'", "''"] {
            assert_eq!(errors(&format!("methods: {{{key}: allow}}"))[0].code, "ISB-P026", "{key}");
        }
        assert_eq!(errors("methods: {resources/read: maybe}")[0].code, "ISB-P014");
        assert_eq!(errors("methods: [resources/read]")[0].code, "ISB-P013");
        let many: String = (0..=super::POLICY_METHODS_MAX).map(|n| format!("v/{n}: allow, ")).collect();
        assert_eq!(errors(&format!("methods: {{{many}}}"))[0].code, "ISB-P019");
    }

    #[test]
    fn version_1_without_methods_is_warned_of() {
        assert_eq!(warnings("{version: '1', default: deny, sandbox: {}}")[0].code, "ISB-P067");
        assert_eq!(warnings("{version: '1', default: deny, methods: {}}").len(), warnings("default: deny").len());
    }
}
