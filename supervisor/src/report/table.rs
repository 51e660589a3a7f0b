//! Small tables of text.

/// Lines of `rows`, columns padded to the widest cell (in characters) and parted by two spaces; no trailing spaces.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_to_the_widest_cell() {
        let rows =
            [vec!["a".to_owned(), "b".to_owned()], vec!["long".to_owned(), "c".to_owned()], vec!["x".to_owned()]];
        assert_eq!(table(&rows), "a     b\nlong  c\nx\n");
        assert_eq!(table(&[]), "");
    }
}
