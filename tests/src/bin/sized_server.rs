//! A server whose messages are as large as it is asked, and that does next to nothing else: for the bench and for limits of lines.
//!
//! `take` swallows its arguments, `give {"bytes": N}` answers with a text of N bytes. With `last` as its argument the id is the last
//! member of an answer, as servers built with the TypeScript SDK write it. It looks at the start of a line only, so a request must have
//! its members in the usual order: jsonrpc, id, method, params.

use std::io::{self, BufRead, BufReader, Write};

/// Where an id stands in an answer: right-aligned, so that one answer serves every request.
const ID_WIDTH: usize = 24;
/// Bytes of a request that are looked at.
const HEAD_BYTES: usize = 512;

/// An answer that is written again and again, with another id each time.
struct Prepared {
    bytes: usize,
    line: Vec<u8>,
    id_at: usize,
}

impl Prepared {
    fn new(result: &str, bytes: usize, id_last: bool) -> Self {
        let id = " ".repeat(ID_WIDTH);
        let (line, id_at) = if id_last {
            let start = format!(r#"{{"result":{result},"jsonrpc":"2.0","id":"#);
            (format!("{start}{id}}}\n"), start.len())
        } else {
            let start = r#"{"jsonrpc":"2.0","id":"#;
            (format!("{start}{id},\"result\":{result}}}\n"), start.len())
        };
        Self { bytes, line: line.into_bytes(), id_at }
    }

    fn write(&mut self, id: &str) -> io::Result<()> {
        let place = &mut self.line[self.id_at..self.id_at + ID_WIDTH];
        place.fill(b' ');
        place[ID_WIDTH - id.len()..].copy_from_slice(id.as_bytes());
        let mut stdout = io::stdout().lock();
        stdout.write_all(&self.line)?;
        stdout.flush()
    }
}

fn main() -> io::Result<()> {
    let id_last = std::env::args().nth(1).is_some_and(|mode| mode == "last");
    let text = |bytes| format!(r#"{{"content":[{{"type":"text","text":"{}"}}]}}"#, "x".repeat(bytes));
    let (mut taken, mut given) = (Prepared::new(&text(2), 2, id_last), Prepared::new(&text(0), 0, id_last));
    let mut stdin = BufReader::with_capacity(256 << 10, io::stdin().lock());
    let mut line = Vec::new();
    while stdin.read_until(b'\n', &mut line)? > 0 {
        let head = String::from_utf8_lossy(&line[..line.len().min(HEAD_BYTES)]).into_owned();
        line.clear();
        let after = |mark: &str| head.split_once(mark).map(|(_, rest)| rest);
        let Some(id) = after("\"id\":").and_then(|rest| rest.split([',', '}']).next()).map(str::trim) else { continue };
        if head.contains("\"initialize\"") {
            let version = after("\"protocolVersion\":\"").and_then(|rest| rest.split('"').next()).unwrap_or_default();
            let result = format!(
                r#"{{"protocolVersion":"{version}","capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"sized","version":"1"}}}}"#
            );
            Prepared::new(&result, 0, id_last).write(id)?;
        } else if head.contains("\"tools/list\"") {
            let list = r#"{"tools":[{"name":"take","inputSchema":{}},{"name":"give","inputSchema":{}}]}"#;
            Prepared::new(list, 0, id_last).write(id)?;
        } else if let Some(bytes) = after("\"bytes\":").and_then(|rest| rest.split('}').next()?.trim().parse().ok()) {
            if given.bytes != bytes {
                given = Prepared::new(&text(bytes), bytes, id_last);
            }
            given.write(id)?;
        } else {
            taken.write(id)?;
        }
    }
    Ok(())
}
