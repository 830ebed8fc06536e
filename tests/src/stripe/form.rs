//! Forms in Stripe's bracket notation: `lines[0][amount]=2900`, `expand[]=customer`.

use super::refusal::Refusal;

/// A decoded form, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A value.
    Text(String),
    /// Parts by name, in the order in which they came; an array's names are its indexes.
    Hash(Vec<(String, Self)>),
}

/// Decodes a body or a query.
///
/// # Errors
/// When a name is no bracket notation, or comes twice.
pub fn decode(text: &str) -> Result<Node, Refusal> {
    let mut root = Node::Hash(Vec::new());
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let put = segments(&name).is_some_and(|path| root.put(&path, &value));
        if !put {
            return Err(Refusal::invalid(format!("Invalid parameter name: {name}")));
        }
    }
    Ok(root)
}

/// The parts of `a[b][]`: `a`, `b` and an empty one.
fn segments(name: &str) -> Option<Vec<&str>> {
    let (first, rest) = name.split_at(name.find('[').unwrap_or(name.len()));
    let mut path = vec![first];
    if !rest.is_empty() {
        let inner = rest.strip_prefix('[')?.strip_suffix(']')?;
        path.extend(inner.split("]["));
    }
    let plain = path.iter().all(|part| !part.contains(['[', ']']));
    (plain && !first.is_empty()).then_some(path)
}

impl Node {
    fn put(&mut self, path: &[&str], value: &str) -> bool {
        let (Self::Hash(entries), Some((first, rest))) = (self, path.split_first()) else {
            return false;
        };
        let name = match *first {
            "" => next_index(entries, rest),
            first => first.to_owned(),
        };
        let known = entries.iter().position(|(known, _)| *known == name);
        let Some(position) = known else {
            let mut node = match rest {
                [] => Self::Text(value.to_owned()),
                _ => Self::Hash(Vec::new()),
            };
            let put = rest.is_empty() || node.put(rest, value);
            entries.push((name, node));
            return put;
        };
        !rest.is_empty() && entries[position].1.put(rest, value)
    }

    /// The part at this place, names parted by dots.
    #[must_use]
    pub fn get(&self, place: &str) -> Option<&Self> {
        place.split('.').try_fold(self, |node, name| match node {
            Self::Text(_) => None,
            Self::Hash(entries) => {
                let entry = entries.iter().find(|(known, _)| known == name);
                entry.map(|(_, node)| node)
            }
        })
    }

    /// The value, if it is one.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Hash(_) => None,
        }
    }

    /// The value at this place.
    #[must_use]
    pub fn text(&self, place: &str) -> Option<&str> {
        self.get(place)?.value()
    }

    /// The number at this place.
    #[must_use]
    pub fn integer(&self, place: &str) -> Option<i64> {
        self.text(place)?.parse().ok()
    }

    /// The truth at this place.
    #[must_use]
    pub fn boolean(&self, place: &str) -> Option<bool> {
        self.text(place)?.parse().ok()
    }

    /// The parts of the hash at this place, none when there is no hash.
    #[must_use]
    pub fn entries(&self, place: &str) -> &[(String, Self)] {
        match self.get(place) {
            Some(Self::Hash(entries)) => entries,
            Some(Self::Text(_)) | None => &[],
        }
    }
}

/// Where `a[]=x` and `a[][b]=x` go: the last element that has no such part yet, else a new one.
fn next_index(entries: &[(String, Node)], rest: &[&str]) -> String {
    let open = entries.last().filter(|(_, last)| {
        let part = rest.first().copied().unwrap_or_default();
        matches!(last, Node::Hash(_)) && !part.is_empty() && last.get(part).is_none()
    });
    open.map_or_else(|| entries.len().to_string(), |(index, _)| index.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_make_hashes_and_arrays() {
        let form = decode("a=1&b[c]=2&b[d][e]=3&f[]=4&f[]=5&g[][h]=6&g[][i]=7&g[][h]=8");
        let form = form.expect("it is a form");
        let places = ["a", "b.c", "b.d.e", "f.0", "f.1", "g.0.h", "g.0.i", "g.1.h"];
        let values = places.map(|place| form.integer(place));
        assert_eq!(values, [1, 2, 3, 4, 5, 6, 7, 8].map(Some));
        assert_eq!(form.text("b"), None);
        assert_eq!(form.entries("g").len(), 2);
    }

    #[test]
    fn what_is_no_form_is_refused() {
        for text in ["a=1&a=2", "a[=1", "a]=1", "[a]=1", "a=1&a[b]=2", "a[b]c=1"] {
            assert!(decode(text).is_err(), "{text}");
        }
    }
}
