//! Which of the passed variables hold a secret. docs/policy.md has the rule in words.

use std::ffi::OsStr;

/// Words in a name that make its value a secret, whatever it looks like.
const SECRET_WORDS: [&str; 10] =
    ["KEY", "TOKEN", "SECRET", "PASS", "CRED", "AUTH", "PRIVATE", "COOKIE", "SESSION", "DSN"];

/// Variables that say where and how a program runs. Their values are ordinary words, and blanking them would spoil answers.
const PLAIN_NAMES: [&str; 22] = [
    "COLORTERM",
    "DISPLAY",
    "EDITOR",
    "HOME",
    "HOSTNAME",
    "LANG",
    "LANGUAGE",
    "LOGNAME",
    "LOG_LEVEL",
    "NODE_ENV",
    "NO_COLOR",
    "OLDPWD",
    "PAGER",
    "PATH",
    "PWD",
    "RUST_LOG",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
    "VISUAL",
];

/// First folders of a path. A base64 value can begin with a slash too, but hardly with one of these.
const ROOTS: [&str; 16] = [
    "app", "bin", "data", "dev", "etc", "home", "lib", "mnt", "opt", "proc", "root", "run", "srv", "tmp", "usr", "var",
];

/// Whether `value`, which the caller passes to the server as `name`, is to be blanked wherever the server says it.
///
/// A name with a word such as KEY or TOKEN: yes. A name that every system knows, or a value that is a path, a locale or a
/// bare origin (`https://host:port`): no. Everything else: yes.
#[must_use]
pub fn is_secret(name: &OsStr, value: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let upper = name.to_ascii_uppercase();
    // PWD is the shell's; DB_PWD is a password.
    if SECRET_WORDS.iter().any(|word| upper.contains(word)) || upper.ends_with("_PWD") {
        return true;
    }
    if PLAIN_NAMES.contains(&&*name) || name.starts_with("LC_") || name.starts_with("XDG_") {
        return false;
    }
    !value.to_str().is_some_and(|value| is_path(value) || is_locale(value) || is_origin(value))
}

fn is_path(value: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let root = value.strip_prefix('/').and_then(|rest| rest.split_once('/')).map(|(root, _)| root);
    root.is_some_and(|root| ROOTS.contains(&root)) && value.bytes().all(is_plain)
}

/// `de_DE.UTF-8`, `C.UTF-8`
fn is_locale(value: &str) -> bool {
    let Some((language, charset)) = value.split_once('.') else { return false };
    let is_charset = matches!(charset, "UTF-8" | "utf8" | "utf-8" | "ISO-8859-1" | "ISO-8859-15");
    let is_language = match language.split_once('_') {
        None => language == "C" || language == "POSIX",
        Some((language, land)) => {
            matches!(language.len(), 2 | 3)
                && language.bytes().all(|byte| byte.is_ascii_lowercase())
                && land.len() == 2
                && land.bytes().all(|byte| byte.is_ascii_uppercase())
        }
    };
    is_charset && is_language
}

/// A scheme, a host and a port. A path can be a secret (webhooks have it there), and so can what stands before an `@`.
fn is_origin(value: &str) -> bool {
    let rest = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    rest.is_some_and(|rest| {
        let host = rest.strip_suffix('/').unwrap_or(rest);
        !host.is_empty() && host.bytes().all(is_plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, value: &str) -> bool {
        is_secret(OsStr::new(name), OsStr::new(value))
    }

    #[test]
    fn what_is_named_a_secret_is_one_whatever_it_looks_like() {
        for name in ["TOGETHER_API_KEY", "GITHUB_TOKEN", "db_password", "DB_PWD", "PGPASSWORD", "SENTRY_DSN"] {
            for value in ["/home/agent/key", "https://api.example", "de_DE.UTF-8", "production"] {
                assert!(secret(name, value), "{name}={value}");
            }
        }
    }

    #[test]
    fn ordinary_words_are_none() {
        for (name, value) in [
            ("LANG", "de_DE.UTF-8"),
            ("LC_ALL", "anything at all"),
            ("TZ", "Europe/Berlin"),
            ("HOME", "/work/agent"),
            ("NODE_ENV", "production"),
            ("PWD", "/somewhere"),
            ("IMAGES_DIR", "/var/lib/images"),
            ("MY_LOCALE", "C.UTF-8"),
            ("API_BASE", "https://api.together.xyz:443/"),
        ] {
            assert!(!secret(name, value), "{name}={value}");
        }
    }

    #[test]
    fn everything_else_is_one() {
        for (name, value) in [
            ("HTTP_DEBUG", "hunter2-hunter2"),
            ("WEBHOOK", "https://hooks.example/services/T0/B0/xyz"),
            ("PROXY", "http://user:hunter2@proxy.example"),
            ("VALUE", "/9j/4AAQSkZJRgABAQEAYABgAAD"),
            ("VALUE", "/home/agent/a b"),
            ("VALUE", "x.UTF-8"),
            ("lang", "hunter2-hunter2"),
        ] {
            assert!(secret(name, value), "{name}={value}");
        }
    }
}
