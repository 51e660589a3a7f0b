//! Why a line is not JSON that every parser reads alike.

/// A refused line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} at byte {offset}", .code.text())]
pub struct Reject {
    /// What is wrong.
    pub code: RejectCode,
    /// Where, bytes from the start of the line.
    pub offset: usize,
}

/// The reasons, one a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectCode {
    /// The line starts with U+FEFF (RFC 8259 section 8.1 forbids adding it).
    ByteOrderMark,
    /// A byte below 0x20 stands raw in the line, whitespace ones included: CR and VT split lines for some readers.
    ControlByte,
    /// Not UTF-8 (RFC 3629).
    InvalidUtf8,
    /// A key twice in one object, after unescaping. Parsers take the first, the last or both.
    DuplicateKey,
    /// A key holds U+0000, where C readers end it.
    NulInKey,
    /// A `\ud800`..`\udfff` escape without its other half.
    LoneSurrogate,
    /// A backslash with no escape of RFC 8259 behind it.
    BadEscape,
    /// `NaN`, `Infinity`, `-Infinity`: no JSON, but some parsers take them.
    NonFinite,
    /// An integer beyond 2^53-1 in magnitude (RFC 8259 section 6): JavaScript reads another one.
    IntegerTooLarge,
    /// `-0`: integer readers lose its sign.
    NegativeZero,
    /// A decimal that is not the shortest text of its double's value: exact readers see another number.
    InexactDecimal,
    /// Digits that are no JSON number: leading zeros, a bare point, a plus sign.
    BadNumber,
    /// A number longer than [`crate::bounds::JSON_NUMBER_BYTES_MAX`].
    NumberTooLong,
    /// Nesting over [`crate::bounds::JSON_DEPTH_MAX`].
    TooDeep,
    /// More values than [`crate::bounds::JSON_VALUES_MAX`].
    TooManyValues,
    /// Something stands behind the value: a second value, or rubbish.
    TrailingData,
    /// The line ends inside the value (the other half may be on the next line).
    Truncated,
    /// Anything else.
    Syntax,
}

impl RejectCode {
    /// The code as it stands in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByteOrderMark => "byte_order_mark",
            Self::ControlByte => "control_byte",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::DuplicateKey => "duplicate_key",
            Self::NulInKey => "nul_in_key",
            Self::LoneSurrogate => "lone_surrogate",
            Self::BadEscape => "bad_escape",
            Self::NonFinite => "non_finite",
            Self::IntegerTooLarge => "integer_too_large",
            Self::NegativeZero => "negative_zero",
            Self::InexactDecimal => "inexact_decimal",
            Self::BadNumber => "bad_number",
            Self::NumberTooLong => "number_too_long",
            Self::TooDeep => "too_deep",
            Self::TooManyValues => "too_many_values",
            Self::TrailingData => "trailing_data",
            Self::Truncated => "truncated",
            Self::Syntax => "syntax",
        }
    }

    /// What a person reads.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::ByteOrderMark => "the line starts with a byte order mark",
            Self::ControlByte => "raw control byte",
            Self::InvalidUtf8 => "not UTF-8",
            Self::DuplicateKey => "key occurs twice in one object",
            Self::NulInKey => "key holds U+0000",
            Self::LoneSurrogate => "half of a surrogate pair",
            Self::BadEscape => "unknown escape",
            Self::NonFinite => "NaN and Infinity are not JSON",
            Self::IntegerTooLarge => "integer beyond 2^53-1",
            Self::NegativeZero => "-0 is not an integer that every reader keeps",
            Self::InexactDecimal => "decimal that a double does not hold",
            Self::BadNumber => "malformed number",
            Self::NumberTooLong => "number of more than 64 bytes",
            Self::TooDeep => "nested more than 64 deep",
            Self::TooManyValues => "more than 1048576 values",
            Self::TrailingData => "something stands behind the value; one message a line",
            Self::Truncated => "the line ends inside the value; one message a line",
            Self::Syntax => "not JSON",
        }
    }
}
