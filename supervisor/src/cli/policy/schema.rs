//! `policy schema`.

use std::io::Write;

use super::Done;

pub(super) fn run(out: &mut impl Write) -> Done {
    writeln!(out, "{:#}", crate::policy::json_schema())?;
    Ok(0)
}
