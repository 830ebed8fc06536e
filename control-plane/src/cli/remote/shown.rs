//! What commands print: tables for people, JSON for programs.

use serde_json::Value;

/// What was answered, and which of it people see.
#[derive(Debug)]
pub(super) struct Shown {
    value: Value,
    columns: &'static [&'static str],
}

impl Shown {
    /// A list, of whose items the fields with these names make columns; or one object, of which they make lines.
    pub(super) fn new(value: Value, columns: &'static [&'static str]) -> Self {
        Self { value, columns }
    }

    /// All of it.
    pub(super) fn json(&self) -> String {
        format!("{:#}", self.value)
    }

    /// A table.
    pub(super) fn table(&self) -> String {
        let rows: Vec<Vec<String>> = match &self.value {
            Value::Array(items) => {
                let heads = self.columns.iter().map(|name| heading(name)).collect();
                let cells = |item| self.columns.iter().map(|name| cell(item, name)).collect();
                std::iter::once(heads)
                    .chain(items.iter().map(cells))
                    .collect()
            }
            one => {
                let line = |name: &&str| vec![heading(name), cell(one, name)];
                self.columns.iter().map(line).collect()
            }
        };
        align(&rows)
    }
}

/// `activeFrom` as `ACTIVE FROM`.
fn heading(name: &str) -> String {
    let mut heading = String::new();
    for character in name.chars() {
        if character.is_uppercase() {
            heading.push(' ');
        }
        heading.extend(character.to_uppercase());
    }
    heading
}

fn cell(item: &Value, name: &str) -> String {
    match &item[name] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row: &Vec<String>| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths);
        let line: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        line.join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_tables_and_objects_are_lines() {
        let items =
            json!([{"id": "a", "activeTo": null, "epoch": 1}, {"id": "bcd", "activeTo": "x"}]);
        let list = Shown::new(items, &["id", "activeTo", "epoch"]);
        assert_eq!(
            list.table(),
            "ID   ACTIVE TO  EPOCH\na    -          1\nbcd  x          -"
        );
        let one = Shown::new(json!({"id": "a", "name": "Ännchen"}), &["id", "name"]);
        assert_eq!(one.table(), "ID    a\nNAME  Ännchen");
        assert_eq!(Shown::new(json!([]), &["id"]).table(), "ID");
        assert_eq!(
            one.json(),
            "{\n  \"id\": \"a\",\n  \"name\": \"Ännchen\"\n}"
        );
    }
}
