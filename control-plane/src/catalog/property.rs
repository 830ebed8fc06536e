//! Where in an event's data something is: the JSONPaths that name one place.

use std::str::FromStr;

use serde_json::Value;

/// A way into a JSON value: `$.usage.tokens`, `$['usage'][0]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Item(usize),
}

impl Property {
    /// What is there.
    #[must_use]
    pub fn find<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(value, |value, step| match step {
            Step::Field(name) => value.get(name),
            Step::Item(index) => value.get(index),
        })
    }
}

impl FromStr for Property {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut rest = text.strip_prefix('$').ok_or(())?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, left) = next_step(rest).ok_or(())?;
            steps.push(step);
            rest = left;
        }
        Ok(Self(steps))
    }
}

/// The first step of a path, and what follows it.
fn next_step(path: &str) -> Option<(Step, &str)> {
    if let Some(rest) = path.strip_prefix('.') {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let is_name = !name.is_empty() && !name.contains(['*', '\'', '"', ']']);
        return is_name.then(|| (Step::Field(name.to_owned()), rest));
    }
    let (inner, rest) = path.strip_prefix('[')?.split_once(']')?;
    let quoted = ['\'', '"']
        .into_iter()
        .find_map(|quote| inner.strip_prefix(quote)?.strip_suffix(quote));
    match quoted {
        Some("") => None,
        Some(name) => Some((Step::Field(name.to_owned()), rest)),
        None => Some((Step::Item(inner.parse().ok()?), rest)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_names_one_place() {
        let value = json!({"usage": {"tokens": 3, "a b": [1, {"c": "x"}]}, "n": 1});
        for (path, expected) in [
            ("$", Some(value.clone())),
            ("$.n", Some(json!(1))),
            ("$.usage.tokens", Some(json!(3))),
            ("$['usage']['tokens']", Some(json!(3))),
            ("$.usage[\"a b\"][1].c", Some(json!("x"))),
            ("$.usage.other", None),
            ("$.n.m", None),
            ("$.usage[0]", None),
        ] {
            let property: Property = path.parse().unwrap();
            assert_eq!(property.find(&value), expected.as_ref(), "{path}");
        }
    }

    #[test]
    fn what_names_no_place_or_several_is_refused() {
        for path in [
            "", "n", "$n", "$.", "$..n", "$.*", "$[", "$[]", "$['']", "$[*]", "$[-1]", "$['a'",
        ] {
            assert_eq!(path.parse::<Property>(), Err(()), "{path}");
        }
    }
}
