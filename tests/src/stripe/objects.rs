//! The objects that the simulator keeps, as the JSON that Stripe shows.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::form::Node;
use super::refusal::Refusal;

/// How many objects a page has when the call says nothing.
const PAGE: usize = 10;

/// All objects of an account.
#[derive(Debug, Default)]
pub struct Objects {
    all: Vec<Value>,
    places: HashMap<String, usize>,
}

impl Objects {
    /// Keeps an object under its id, in the place of the one that had it.
    pub fn put(&mut self, object: Value) {
        let id = text(&object, "id").to_owned();
        match self.places.get(&id) {
            Some(place) => self.all[*place] = object,
            None => {
                self.places.insert(id, self.all.len());
                self.all.push(object);
            }
        }
    }

    /// The object with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Value> {
        self.all.get(*self.places.get(id)?)
    }

    /// The object of this kind that a path names.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, kind: &str, id: &str) -> Result<Value, Refusal> {
        let found = self.get(id).filter(|object| object["object"] == kind);
        found
            .cloned()
            .ok_or_else(|| Refusal::not_found(noun(kind), id))
    }

    /// The object of this kind that a parameter names, unless it was deleted.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(&self, kind: &str, id: &str, param: &str) -> Result<Value, Refusal> {
        let found = self.find(kind, id).ok();
        found
            .filter(|object| object["deleted"] != true)
            .ok_or_else(|| Refusal::no_such(noun(kind), id, param))
    }

    /// Objects of a kind, the oldest first, without the deleted ones.
    pub fn of_kind(&self, kind: &str) -> impl DoubleEndedIterator<Item = &Value> {
        self.all
            .iter()
            .filter(move |object| object["object"] == kind && object["deleted"] != true)
    }

    /// A page of the objects of a kind, the newest first, that `fits` and the form's `created` let through.
    ///
    /// # Errors
    /// When the cursor names nothing.
    pub fn page(
        &self,
        kind: &str,
        url: &str,
        form: &Node,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Value, Refusal> {
        let fitting = self
            .of_kind(kind)
            .rev()
            .filter(|object| fits(object) && is_created_within(object, form));
        page(&fitting.collect::<Vec<_>>(), url, form)
    }
}

/// A page of these objects, which are in the order of the list.
///
/// # Errors
/// When the cursor names none of them, or the limit is out of bounds.
pub fn page(all: &[&Value], url: &str, form: &Node) -> Result<Value, Refusal> {
    let place = |name: &str| match form.text(name) {
        None => Ok(None),
        Some(id) => {
            let place = all.iter().position(|object| object["id"] == id);
            place
                .map(Some)
                .ok_or_else(|| Refusal::no_such("object", id, name))
        }
    };
    let limit = form
        .text("limit")
        .map_or(Some(PAGE), |limit| limit.parse().ok());
    let limit = limit
        .filter(|limit| (1..=100).contains(limit))
        .ok_or_else(|| Refusal::invalid("Invalid limit: between 1 and 100").about("limit"))?;
    let (shown, more) = match (place("starting_after")?, place("ending_before")?) {
        (_, Some(end)) => (&all[end.saturating_sub(limit)..end], end > limit),
        (start, None) => {
            let rest = start.map_or(all, |start| &all[start + 1..]);
            (&rest[..limit.min(rest.len())], rest.len() > limit)
        }
    };
    Ok(list(shown.iter().copied().cloned().collect(), url, more))
}

/// A list as Stripe shows it.
#[must_use]
pub fn list(data: Vec<Value>, url: &str, has_more: bool) -> Value {
    json!({ "object": "list", "url": url, "has_more": has_more, "data": data })
}

fn is_created_within(object: &Value, form: &Node) -> bool {
    let created = object["created"].as_i64().unwrap_or_default();
    let holds = |name: &str, rule: fn(&i64, &i64) -> bool| {
        let bound = form.integer(&format!("created.{name}"));
        bound.is_none_or(|bound| rule(&created, &bound))
    };
    let exactly = form.integer("created").is_none_or(|bound| created == bound);
    exactly
        && holds("gt", i64::gt)
        && holds("gte", i64::ge)
        && holds("lt", i64::lt)
        && holds("lte", i64::le)
}

/// A text of an object, empty when it is null or missing.
#[must_use]
pub fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name].as_str().unwrap_or_default()
}

/// A number of an object, 0 when it is null or missing.
#[must_use]
pub fn integer(object: &Value, name: &str) -> i64 {
    object[name].as_i64().unwrap_or_default()
}

/// Writes the form's `metadata` over an object's: an empty value removes a key, an empty text all of them.
pub fn merge_metadata(object: &mut Value, form: &Node, place: &str) {
    if !object["metadata"].is_object() || form.text(place) == Some("") {
        object["metadata"] = Value::Object(Map::new());
    }
    let Some(metadata) = object["metadata"].as_object_mut() else {
        return;
    };
    for (name, value) in form.entries(place) {
        match value {
            Node::Text(value) if value.is_empty() => {
                metadata.remove(name);
            }
            Node::Text(value) => {
                metadata.insert(name.clone(), json!(value));
            }
            Node::Hash(_) => {}
        }
    }
}

/// Writes the form's texts of these names over an object's; an empty one unsets it.
pub fn set_texts(object: &mut Value, form: &Node, names: &[&str]) {
    for name in names {
        if let Some(text) = form.text(name) {
            object[*name] = if text.is_empty() {
                Value::Null
            } else {
                json!(text)
            };
        }
    }
}

/// The form's address at this place, null when there is none.
#[must_use]
pub fn address(form: &Node, place: &str) -> Value {
    if form.entries(place).is_empty() {
        return Value::Null;
    }
    let parts = ["city", "country", "line1", "line2", "postal_code", "state"];
    let parts = parts.map(|name| {
        let text = form.text(&format!("{place}.{name}"));
        (name.to_owned(), json!(text))
    });
    Value::Object(Map::from_iter(parts))
}

/// An object in which these are null.
#[must_use]
pub fn nulls(names: &[&str]) -> Value {
    let entries = names.iter().map(|name| ((*name).to_owned(), Value::Null));
    Value::Object(Map::from_iter(entries))
}

/// How a message calls an object of this kind.
fn noun(kind: &str) -> &str {
    match kind {
        "payment_method" => "PaymentMethod",
        "checkout.session" => "checkout.session",
        "setup_intent" => "setupintent",
        kind => kind,
    }
}
