//! Columns of text.

use comfy_table::{CellAlignment, ContentArrangement, presets};

/// Rows under headings. Columns that are only for the wide form come last.
#[derive(Debug)]
pub struct Table {
    narrow: usize,
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new<T: Into<String>>(headings: impl IntoIterator<Item = T>) -> Self {
        let headings: Vec<String> = headings.into_iter().map(Into::into).collect();
        Self { narrow: headings.len(), headings, rows: Vec::new() }
    }

    /// Adds columns that only the wide form has.
    #[must_use]
    pub fn wide<T: Into<String>>(mut self, headings: impl IntoIterator<Item = T>) -> Self {
        self.headings.extend(headings.into_iter().map(Into::into));
        self
    }

    /// Adds a row: a cell for each column, the wide ones included.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// As text, one line per row. Empty cells are shown as a dash.
    pub fn render(&self, wide: bool) -> String {
        let columns = if wide { self.headings.len() } else { self.narrow };
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.headings.iter().take(columns));
        for row in &self.rows {
            table.add_row(row.iter().take(columns).map(|cell| if cell.is_empty() { "-" } else { cell }));
        }
        for number in 0..columns {
            let numeric = |row: &Vec<String>| row.get(number).is_some_and(|cell| is_number(cell));
            if let Some(column) = table.column_mut(number) {
                let last = number + 1 == columns;
                column.set_padding((0, if last { 0 } else { 2 }));
                if number > 0 && !self.rows.is_empty() && self.rows.iter().all(numeric) {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
        lines.collect()
    }
}

/// A number, perhaps with a unit after it, or nothing.
fn is_number(cell: &str) -> bool {
    let first = cell.split(' ').next().unwrap_or_default().trim_end_matches('%');
    cell.is_empty() || first.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["NAME", "REQUESTS", "P99"]).wide(["IDENTITY"]);
        table.row(["shop", "1200", "3.1 ms", "shop.default"]);
        table.row(["prices-1", "7", "", ""]);
        table
    }

    #[test]
    fn columns_line_up_and_numbers_stand_right() {
        let expected = "\
NAME      REQUESTS     P99
shop          1200  3.1 ms
prices-1         7       -
";
        assert_eq!(table().render(false), expected);
    }

    #[test]
    fn the_wide_form_has_more_columns() {
        let expected = "\
NAME      REQUESTS     P99  IDENTITY
shop          1200  3.1 ms  shop.default
prices-1         7       -  -
";
        assert_eq!(table().render(true), expected);
    }

    #[test]
    fn no_rows_leave_the_headings() {
        assert_eq!(Table::new(["NAME", "READY"]).render(false), "NAME  READY\n");
    }
}
