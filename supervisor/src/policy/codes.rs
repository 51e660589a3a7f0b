//! The codes of every problem a policy can have. Stable: a code is never given another meaning. docs/errors.md lists them.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// A problem's code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $name,)+ }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$name,)+];

            /// The code as printed, `ISB-Pnnn`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)+ }
            }
        }
    };
}

codes! {
    /// The text is not YAML.
    Syntax = "ISB-P001",
    /// The file is larger than `POLICY_BYTES_MAX`.
    TooLarge = "ISB-P002",
    /// Nested deeper than `POLICY_DEPTH_MAX`.
    TooDeep = "ISB-P003",
    /// More than `POLICY_NODES_MAX` values once aliases are expanded.
    TooManyNodes = "ISB-P004",
    /// A control, invisible or reordering character stands raw in the text, or the bytes are not UTF-8.
    ForbiddenCharacter = "ISB-P005",
    /// A YAML feature that policies do without: tags, merge keys, directives, several documents, keys that are not text.
    YamlFeature = "ISB-P006",
    /// Nothing stands in the file.
    Empty = "ISB-P007",
    /// A key stands twice in one mapping.
    DuplicateKey = "ISB-P010",
    /// A key that the language does not know.
    UnknownKey = "ISB-P011",
    /// An operator that the language does not know.
    UnknownOperator = "ISB-P012",
    /// A value of the wrong type.
    WrongType = "ISB-P013",
    /// A word that is not among those allowed here.
    UnknownValue = "ISB-P014",
    /// A key that must be there is not.
    MissingKey = "ISB-P015",
    /// Two keys that exclude each other.
    Exclusive = "ISB-P016",
    /// A number outside its range.
    OutOfRange = "ISB-P017",
    /// A plain scalar that YAML readers take for different values.
    Ambiguous = "ISB-P018",
    /// More of something than a policy may hold.
    TooMany = "ISB-P019",
    /// A condition's path that names no argument.
    BadArgumentPath = "ISB-P020",
    /// A condition's value does not fit its operator.
    OperandType = "ISB-P021",
    /// A regular expression that does not compile, or compiles too large.
    BadRegex = "ISB-P022",
    /// A rate limit or window that cannot be read.
    BadRateLimit = "ISB-P023",
    /// `action: deny` with checks that would never be read.
    DenyWithChecks = "ISB-P024",
    /// Two rules of one policy with the same identity.
    DuplicateRule = "ISB-P025",
    /// A name that cannot be used as one.
    BadName = "ISB-P026",
    /// A `state.` path that names no counter of the policy, or several.
    BadStatePath = "ISB-P027",
    /// A `state` block whose counter no condition reads.
    UnreadCounter = "ISB-P028",
    /// Two `state` blocks with the same counter under one tool.
    DuplicateCounter = "ISB-P029",
    /// A key of the language that this build does not enforce yet.
    KeyNotEnforced = "ISB-P030",
    /// A value of the language that this build does not enforce yet.
    ValueNotEnforced = "ISB-P031",
    /// A group of conditions that is empty, too deep, or holds what no group can.
    BadGroup = "ISB-P032",
    /// An entry that stands twice in a list of names.
    DuplicateEntry = "ISB-P033",
    /// Not a host name that the gateway can hold a server to.
    BadHost = "ISB-P040",
    /// The same host and port twice.
    DuplicateHost = "ISB-P041",
    /// Not an absolute, normalised path.
    BadPath = "ISB-P042",
    /// A path that no policy may give a server.
    ProtectedPath = "ISB-P043",
    /// Two entries that claim the same path.
    PathConflict = "ISB-P044",
    /// An amount whose unit cannot be read.
    BadUnit = "ISB-P045",
    /// `tls: none` without its reason, or a reason without it.
    PlainTcpReason = "ISB-P046",
    /// A variable that is given twice, or that the supervisor sets itself.
    VariableConflict = "ISB-P047",
    /// A write folder owned by root.
    RootOwner = "ISB-P048",
    /// Warning: `default` is absent and version 1 makes that allow.
    DefaultAllow = "ISB-P060",
    /// Warning: a plain word that YAML 1.1 reads as a boolean was read as text.
    BooleanLookingText = "ISB-P061",
    /// Warning: rules of a hidden tool, which no call reaches.
    HiddenRules = "ISB-P062",
    /// Warning: no `sandbox:` section, so no network, no writes, and no code of the server outside /usr, /bin, /sbin and /lib*.
    NoSandbox = "ISB-P063",
    /// Warning: an `approvals` section without a rule that asks for one.
    UnusedApprovals = "ISB-P064",
    /// Warning: `if_present` inside `any`, where an absent argument makes the whole group hold.
    OpenAny = "ISB-P065",
    /// Warning: version 1 without `methods`, where every method but tools/call passes.
    UnjudgedMethods = "ISB-P067",
    /// Warning: a key of `methods` that MCP does not have, near one that it has.
    NearMethod = "ISB-P068",
    /// More problems than are listed.
    More = "ISB-P099",
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn every_code_is_unique_and_documented() {
        let listed = include_str!("../../../docs/errors.md");
        for (index, code) in Code::ALL.iter().enumerate() {
            assert!(listed.contains(&format!("| {} |", code.as_str())), "{} is not in docs/errors.md", code.as_str());
            assert!(Code::ALL[..index].iter().all(|other| other.as_str() != code.as_str()), "{} twice", code.as_str());
        }
        let documented = listed.lines().filter(|line| line.starts_with("| ISB-P")).count();
        assert_eq!(documented, Code::ALL.len(), "docs/errors.md lists a code that does not exist");
    }
}
