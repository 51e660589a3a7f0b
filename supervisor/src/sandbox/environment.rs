//! The server's environment, constructed from the policy. Nothing of the caller's comes along by itself.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::bounds::{ENVIRONMENT_VALUE_BYTES_MAX, ENVIRONMENT_VARIABLES_MAX};
use crate::policy::SandboxSection;

/// What every server has, before `env.set` and `env.pass`.
pub const BASE: [(&str, &str); 3] = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/tmp"), ("LANG", "C.UTF-8")];

/// Variables that make a loader or a runtime run code of whoever wrote the value. The policy's author may set them; the
/// caller, who may be less trusted than the policy, may not bring them.
const LOADS_CODE: [&str; 19] = [
    "BASH_ENV",
    "DOTNET_STARTUP_HOOKS",
    "ENV",
    "GCONV_PATH",
    "GEM_PATH",
    "GLIBC_TUNABLES",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PATH",
    "PERL5LIB",
    "PERL5OPT",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RUBYLIB",
    "RUBYOPT",
    "_JAVA_OPTIONS",
];

/// Why an environment cannot be constructed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// `env.pass` names a variable that the caller does not have.
    #[error("env.pass: {name} (line {line}) is not set; set it, or write {{name: {name}, optional: true}}")]
    Unset {
        /// The variable.
        name: String,
        /// Line of the policy.
        line: u32,
    },
    /// `env.pass` would let the caller run code in the server.
    #[error("env.pass: {name} (line {line}) makes a runtime load code; write its value under env.set instead")]
    LoadsCode {
        /// The variable.
        name: String,
        /// Line of the policy.
        line: u32,
    },
    /// Both `env.set` and `env.pass` name it.
    #[error("env.pass: {name} (line {line}) is also under env.set")]
    Twice {
        /// The variable.
        name: String,
        /// Line of the policy.
        line: u32,
    },
    /// Empty, or with `=` or NUL in it.
    #[error("{0:?} is not a name of an environment variable")]
    Name(String),
    /// A NUL byte, which execve(2) would take for the end.
    #[error("the value of {0} has a NUL byte")]
    Nul(String),
    /// A value over its bound.
    #[error("the value of {0} is longer than {ENVIRONMENT_VALUE_BYTES_MAX} bytes")]
    Long(String),
    /// Too many variables.
    #[error("{0} environment variables; {ENVIRONMENT_VARIABLES_MAX} are the most")]
    Many(usize),
}

/// Constructs the environment from [`BASE`], `env.set` and those of the caller's variables that `env.pass` names, sorted
/// by name. `caller` is the caller's environment; of duplicates in it the first counts, as for getenv(3).
///
/// # Errors
/// The first variable that cannot be given as the policy says.
pub fn construct(
    section: &SandboxSection,
    caller: &[(OsString, OsString)],
) -> Result<Vec<(OsString, OsString)>, EnvError> {
    let mut variables: BTreeMap<OsString, OsString> = BTreeMap::new();
    if !crate::weaken::in_force("environment") {
        variables.extend(caller.iter().cloned());
    }
    variables.extend(BASE.map(|(name, value)| (name.into(), value.into())));
    for (name, value) in &section.env_set {
        check(name, OsStr::new(value))?;
        variables.insert(name.into(), value.into());
    }
    for pass in &section.env_pass {
        let (name, line) = (pass.name.clone(), pass.line);
        if loads_code(&name) {
            return Err(EnvError::LoadsCode { name, line });
        }
        if section.env_set.contains_key(&name) {
            return Err(EnvError::Twice { name, line });
        }
        match caller.iter().find(|(candidate, _)| *candidate == *name) {
            Some((_, value)) => {
                check(&name, value)?;
                variables.insert(name.into(), value.clone());
            }
            None if pass.optional => check(&name, OsStr::new(""))?,
            None => return Err(EnvError::Unset { name, line }),
        }
    }
    if variables.len() > ENVIRONMENT_VARIABLES_MAX {
        return Err(EnvError::Many(variables.len()));
    }
    Ok(variables.into_iter().collect())
}

fn loads_code(name: &str) -> bool {
    name.starts_with("LD_") || LOADS_CODE.contains(&name)
}

fn check(name: &str, value: &OsStr) -> Result<(), EnvError> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(EnvError::Name(name.to_owned()));
    }
    if value.as_bytes().contains(&0) {
        return Err(EnvError::Nul(name.to_owned()));
    }
    if value.len() > ENVIRONMENT_VALUE_BYTES_MAX {
        return Err(EnvError::Long(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::EnvPass;

    fn pairs(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        list.iter().map(|&(name, value)| (name.into(), value.into())).collect()
    }

    fn pass(name: &str, optional: bool) -> EnvPass {
        EnvPass { name: name.to_owned(), optional, line: 7 }
    }

    #[test]
    fn nothing_is_inherited() {
        let caller =
            pairs(&[("AWS_SECRET_ACCESS_KEY", "s"), ("LD_PRELOAD", "/x.so"), ("PATH", "/evil"), ("HOME", "/root")]);
        let expected = pairs(&[("HOME", "/tmp"), ("LANG", "C.UTF-8"), ("PATH", "/usr/local/bin:/usr/bin:/bin")]);
        assert_eq!(construct(&SandboxSection::default(), &caller), Ok(expected));
    }

    #[test]
    fn set_and_pass_are_given() {
        let mut section = SandboxSection::default();
        section.env_set.insert("HOME".into(), "/work".into());
        section.env_set.insert("NODE_OPTIONS".into(), "--no-warnings".into());
        section.env_pass = vec![pass("TOGETHER_API_KEY", false), pass("HTTP_DEBUG", true), pass("LANG", false)];
        let caller = pairs(&[
            ("TOGETHER_API_KEY", "k"),
            ("TOGETHER_API_KEY", "second"),
            ("LANG", "de_DE.UTF-8"),
            ("OTHER", "x"),
        ]);
        let expected = pairs(&[
            ("HOME", "/work"),
            ("LANG", "de_DE.UTF-8"),
            ("NODE_OPTIONS", "--no-warnings"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("TOGETHER_API_KEY", "k"),
        ]);
        assert_eq!(construct(&section, &caller), Ok(expected));
    }

    #[test]
    fn refuses_what_it_cannot_give_as_written() {
        let refused = |change: &dyn Fn(&mut SandboxSection)| {
            let mut section = SandboxSection::default();
            change(&mut section);
            construct(&section, &pairs(&[("NUL", "a\0b"), ("LD_AUDIT", "x"), ("A=B", "x"), ("BOTH", "x")])).unwrap_err()
        };
        assert_eq!(
            refused(&|s| s.env_pass = vec![pass("ABSENT", false)]),
            EnvError::Unset { name: "ABSENT".into(), line: 7 }
        );
        for name in ["LD_AUDIT", "LD_PRELOAD", "NODE_OPTIONS", "PATH", "PYTHONPATH"] {
            assert_eq!(
                refused(&|s| s.env_pass = vec![pass(name, true)]),
                EnvError::LoadsCode { name: name.into(), line: 7 }
            );
        }
        assert_eq!(refused(&|s| s.env_pass = vec![pass("NUL", false)]), EnvError::Nul("NUL".into()));
        for name in ["A=B", "", "A\0"] {
            assert_eq!(refused(&|s| s.env_pass = vec![pass(name, true)]), EnvError::Name(name.into()));
            assert_eq!(refused(&|s| drop(s.env_set.insert(name.into(), String::new()))), EnvError::Name(name.into()));
        }
        let both = refused(&|s| {
            s.env_set.insert("BOTH".into(), "y".into());
            s.env_pass = vec![pass("BOTH", false)];
        });
        assert_eq!(both, EnvError::Twice { name: "BOTH".into(), line: 7 });
    }

    #[test]
    fn bounds_hold_to_the_byte_and_the_variable() {
        let with_value = |length: usize| {
            let mut section = SandboxSection::default();
            section.env_set.insert("V".into(), "x".repeat(length));
            construct(&section, &[])
        };
        assert!(with_value(ENVIRONMENT_VALUE_BYTES_MAX).is_ok());
        assert_eq!(with_value(ENVIRONMENT_VALUE_BYTES_MAX + 1), Err(EnvError::Long("V".into())));
        let with_variables = |count: usize| {
            let mut section = SandboxSection::default();
            section.env_set.extend((0..count).map(|index| (format!("V{index}"), String::new())));
            construct(&section, &[])
        };
        assert_eq!(
            with_variables(ENVIRONMENT_VARIABLES_MAX - BASE.len()).map(|all| all.len()),
            Ok(ENVIRONMENT_VARIABLES_MAX)
        );
        assert_eq!(
            with_variables(ENVIRONMENT_VARIABLES_MAX - BASE.len() + 1),
            Err(EnvError::Many(ENVIRONMENT_VARIABLES_MAX + 1))
        );
    }
}
