//! Tables for people. They go to standard error past libtest's capture: a passing run shows what it saw.

use std::io::Write;

/// Prints rows under headings, columns aligned.
pub fn print(title: &str, headings: &[&str], rows: &[Vec<String>]) {
    print_lines(title, &lines(headings, rows));
}

/// Prints lines under a title.
pub fn print_lines(title: &str, lines: &[String]) {
    let mut text = format!("\n{title}\n");
    for line in lines {
        text += &format!("  {line}\n");
    }
    // A closed standard error loses the table, not the verdict.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The lines of [`print`], without a margin.
#[must_use]
pub fn lines(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut out = vec![line(headings.to_vec())];
    out.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    out
}
