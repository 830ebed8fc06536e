//! Reads JSON by hand, so that every mistake of a document is found at once and told with its path.
//!
//! A reader returns `None` after it has recorded a mistake; the caller reads on and gives up at the
//! end. Values stay text until they are read, so numbers are exact and repeated fields are seen.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits::{FIELDS_PER_OBJECT_MAX, MISTAKES_MAX};
use crate::units::Units;

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where, such as `rules[2].match.pathPrefix`; `$` is the document itself.
    pub path: String,
    /// What, for the person who wrote it.
    pub detail: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.detail)
    }
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Mistakes(RefCell<Vec<Mistake>>);

impl Mistakes {
    pub(super) fn add(&self, path: &str, detail: impl Into<String>) {
        let mut mistakes = self.0.borrow_mut();
        if mistakes.len() < MISTAKES_MAX {
            mistakes.push(Mistake {
                path: path.to_owned(),
                detail: detail.into(),
            });
        }
    }

    pub(super) fn into_vec(self) -> Vec<Mistake> {
        self.0.into_inner()
    }
}

/// A value of the document and where it stands.
pub(super) struct Node<'a> {
    raw: &'a RawValue,
    path: String,
    mistakes: &'a Mistakes,
}

impl<'a> Node<'a> {
    /// The document itself, if it is JSON.
    pub(super) fn document(text: &'a str, mistakes: &'a Mistakes) -> Option<Self> {
        match serde_json::from_str(text) {
            Ok(raw) => Some(Self {
                raw,
                path: String::new(),
                mistakes,
            }),
            Err(error) => {
                mistakes.add("$", format!("is not JSON: {error}"));
                None
            }
        }
    }

    /// Where the value stands.
    fn path(&self) -> &str {
        if self.path.is_empty() {
            "$"
        } else {
            &self.path
        }
    }

    /// Records a mistake about this value.
    pub(super) fn mistake(&self, detail: impl Into<String>) {
        self.mistakes.add(self.path(), detail);
    }

    fn read<T: Deserialize<'a>>(&self, first: impl Fn(u8) -> bool, expected: &str) -> Option<T> {
        if !self.raw.get().bytes().next().is_some_and(first) {
            self.mistake(format!("must be {expected}"));
            return None;
        }
        match serde_json::from_str(self.raw.get()) {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistake(format!("must be {expected}: {error}"));
                None
            }
        }
    }

    pub(super) fn is_text(&self) -> bool {
        self.raw.get().starts_with('"')
    }

    pub(super) fn is_null(&self) -> bool {
        self.raw.get() == "null"
    }

    pub(super) fn text(&self) -> Option<String> {
        self.read(|first| first == b'"', "a string")
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        self.read(|first| matches!(first, b't' | b'f'), "true or false")
    }

    /// A string of 1 to `max` bytes that `allowed` takes; `expected` says which those are.
    pub(super) fn text_of(
        &self,
        max: usize,
        allowed: impl Fn(u8) -> bool,
        expected: &str,
    ) -> Option<String> {
        let text = self.text()?;
        if text.is_empty() || text.len() > max || !text.bytes().all(allowed) {
            self.mistake(format!("must be 1 to {max} of {expected}"));
            return None;
        }
        Some(text)
    }

    /// One of `choices`, by name.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let chosen = choices.iter().find(|(name, _)| *name == text);
        if chosen.is_none() {
            let names: Vec<_> = choices
                .iter()
                .map(|(name, _)| format!("\"{name}\""))
                .collect();
            self.mistake(format!("must be {}", names.join(" or ")));
        }
        chosen.map(|(_, value)| *value)
    }

    /// A whole number within `range`.
    pub(super) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let number = self.raw.get().parse().ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (first, last) = range.into_inner();
            self.mistake(format!("must be a whole number from {first} to {last}"));
        }
        number
    }

    /// An amount of units up to `max`, as a number or a decimal string.
    pub(super) fn units(&self, max: Units) -> Option<Units> {
        let text = if self.is_text() {
            self.text()?
        } else {
            self.raw.get().to_owned()
        };
        match text.parse::<Units>() {
            Ok(units) if units <= max => Some(units),
            Ok(_) => {
                self.mistake(format!("is greater than {max} units"));
                None
            }
            Err(error) => {
                self.mistake(error.to_string());
                None
            }
        }
    }

    /// The members of a list whose length is within `lengths`.
    pub(super) fn list(&self, lengths: RangeInclusive<usize>) -> Option<Vec<Self>> {
        let members: Vec<&RawValue> = self.read(|first| first == b'[', "a list")?;
        if !lengths.contains(&members.len()) {
            let (least, most) = lengths.into_inner();
            self.mistake(format!("must have {least} to {most} members"));
            return None;
        }
        let node = |(index, raw)| Self {
            raw,
            path: format!("{}[{index}]", self.path),
            mistakes: self.mistakes,
        };
        Some(members.into_iter().enumerate().map(node).collect())
    }

    /// The fields of an object; a field given twice is a mistake.
    pub(super) fn object(&self) -> Option<Object<'a>> {
        let Fields(fields) = self.read(|first| first == b'{', "an object")?;
        if fields.len() > FIELDS_PER_OBJECT_MAX {
            self.mistake(format!("has more than {FIELDS_PER_OBJECT_MAX} fields"));
            return None;
        }
        let mut object = Object {
            path: self.path.clone(),
            fields: Vec::with_capacity(fields.len()),
            mistakes: self.mistakes,
        };
        for (name, raw) in fields {
            let path = object.path_of(&name);
            if object.fields.iter().any(|(other, _)| *other == name) {
                self.mistakes.add(&path, "is given twice");
                continue;
            }
            let node = Self {
                raw,
                path,
                mistakes: self.mistakes,
            };
            object.fields.push((name, node));
        }
        Some(object)
    }
}

/// The fields of an object that were not taken yet.
pub(super) struct Object<'a> {
    path: String,
    fields: Vec<(String, Node<'a>)>,
    mistakes: &'a Mistakes,
}

impl<'a> Object<'a> {
    /// Where the field stands, whether or not it is there.
    fn path_of(&self, name: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        match (
            self.path.as_str(),
            name.bytes().all(plain) && !name.is_empty(),
        ) {
            ("", true) => name.to_owned(),
            (path, true) => format!("{path}.{name}"),
            (path, false) => format!("{path}[{name:?}]"),
        }
    }

    /// Records a mistake about a field, whether or not it is there.
    pub(super) fn mistake(&self, name: &str, detail: impl Into<String>) {
        self.mistakes.add(&self.path_of(name), detail);
    }

    /// The empty object that stands for a field that was left out.
    pub(super) fn absent(&self, name: &str) -> Self {
        Self {
            path: self.path_of(name),
            fields: Vec::new(),
            mistakes: self.mistakes,
        }
    }

    /// Takes a field out, if it is there.
    pub(super) fn take(&mut self, name: &str) -> Option<Node<'a>> {
        let at = self.fields.iter().position(|(other, _)| other == name)?;
        Some(self.fields.remove(at).1)
    }

    /// Reads a field that must be there.
    pub(super) fn required<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Node<'a>) -> Option<T>,
    ) -> Option<T> {
        let Some(node) = self.take(name) else {
            self.mistake(name, "is missing");
            return None;
        };
        read(&node)
    }

    /// Reads a field, or takes `default` when it is not there.
    pub(super) fn or<T>(
        &mut self,
        name: &str,
        default: T,
        read: impl FnOnce(&Node<'a>) -> Option<T>,
    ) -> Option<T> {
        self.take(name).map_or(Some(default), |node| read(&node))
    }

    /// Reads a field that may be null, or takes `default` when it is not there.
    pub(super) fn nullable<T>(
        &mut self,
        name: &str,
        default: Option<T>,
        read: impl FnOnce(&Node<'a>) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.take(name) {
            None => Some(default),
            Some(node) if node.is_null() => Some(None),
            Some(node) => read(&node).map(Some),
        }
    }

    /// The fields left, for objects whose field names are data.
    pub(super) fn into_fields(self) -> Vec<(String, Node<'a>)> {
        self.fields
    }

    /// Ends the object: what was not taken is not known.
    pub(super) fn finish(self) {
        for (_, node) in self.fields {
            node.mistake("is not a known field");
        }
    }
}

/// The fields of an object in order, values unread.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}
