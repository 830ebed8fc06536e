//! Statements around a list of rows.

use std::fmt::Write;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, FromRow};

use super::Cell;
use crate::database::{Connection, Failure};

/// Rows of one statement: few enough that a row may have a hundred columns.
const ROWS_PER_STATEMENT: usize = 200;

/// Runs a statement for rows: `before`, `VALUES` with all of them, `after`.
///
/// # Errors
/// When the database refuses.
pub async fn insert<const COLUMNS: usize>(
    connection: &mut Connection,
    before: &str,
    rows: &[[Cell; COLUMNS]],
    after: &str,
) -> Result<(), Failure> {
    for page in rows.chunks(ROWS_PER_STATEMENT) {
        let places = Places::of(connection);
        let insertion = query(before, page, after, places);
        insertion.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Asks about rows: `before`, `VALUES` with all of them, `after`. Many are asked about in several
/// statements, whose answers come one after another.
///
/// # Errors
/// When the database refuses.
pub async fn fetch<T, const COLUMNS: usize>(
    connection: &mut Connection,
    before: &str,
    rows: &[[Cell; COLUMNS]],
    after: &str,
) -> Result<Vec<T>, Failure>
where
    T: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
{
    let mut found = Vec::new();
    for page in rows.chunks(ROWS_PER_STATEMENT) {
        let places = Places::of(connection);
        let question = query(before, page, after, places);
        let rows = question.fetch_all(&mut *connection).await?;
        for row in &rows {
            found.push(T::from_row(row)?);
        }
    }
    Ok(found)
}

fn query<const COLUMNS: usize>(
    before: &str,
    rows: &[[Cell; COLUMNS]],
    after: &str,
    places: Places,
) -> Query<'static, Any, AnyArguments> {
    // Nothing but places is added to what stands in the program.
    let text = text(before, (rows.len(), COLUMNS), after, places);
    let mut query = sqlx::query(AssertSqlSafe(text));
    for cell in rows.iter().flatten() {
        query = match cell.clone() {
            Cell::Text(text) => query.bind(text),
            Cell::Number(number) => query.bind(number),
        };
    }
    query
}

/// How a statement names the places of its values.
#[derive(Clone, Copy, Debug)]
enum Places {
    /// `$1`, `$2` and so on, as PostgreSQL wants them.
    Numbered,
    /// `?`, one after another: to SQLite a number is a name, and each is looked for among all names.
    InOrder,
}

impl Places {
    fn of(connection: &Connection) -> Self {
        match connection.backend_name() {
            "SQLite" => Self::InOrder,
            _ => Self::Numbered,
        }
    }
}

fn text(before: &str, (rows, columns): (usize, usize), after: &str, places: Places) -> String {
    let mut sql = format!("{before} VALUES ");
    for place in 1..=rows * columns {
        sql += match place {
            1 => "(",
            _ if place % columns == 1 || columns == 1 => "), (",
            _ => ", ",
        };
        // Writing to a text does not fail.
        let _ = match places {
            Places::Numbered => write!(sql, "${place}"),
            Places::InOrder => write!(sql, "?"),
        };
    }
    sql + ") " + after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_numbered_through_all_rows() {
        let numbered = |before, size, after| text(before, size, after, Places::Numbered);
        let two = numbered("INSERT INTO t (a, b)", (2, 2), "RETURNING a");
        assert_eq!(
            two,
            "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4) RETURNING a"
        );
        let one = numbered("WITH wanted (id) AS (", (2, 1), ") SELECT id FROM wanted");
        assert_eq!(
            one,
            "WITH wanted (id) AS ( VALUES ($1), ($2) ) SELECT id FROM wanted"
        );
        let in_order = text("INSERT INTO t (a, b)", (2, 2), "", Places::InOrder);
        assert_eq!(in_order, "INSERT INTO t (a, b) VALUES (?, ?), (?, ?) ");
    }
}
