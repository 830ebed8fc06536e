//! What a call accepts, in a notation of ours, and the check of a form against it.
//!
//! `customer! email=512 lines!=[{amount=int description}] mode=(payment|setup) metadata=meta?`: a name, `!` when it is
//! required, its kind after `=` (a text of at most 5,000 characters when left out), and `?` when an empty text unsets it.

use std::iter::Peekable;
use std::str::Chars;

use super::form::Node;
use super::refusal::Refusal;

/// What every call but a deletion accepts besides its own parameters.
const EXPAND: &str = "expand=[5000]";
/// The length of a text whose parameter says none.
const TEXT: usize = 5000;

/// A parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Whether it must be given.
    pub required: bool,
    /// Its values.
    pub kind: Kind,
    clearable: bool,
}

/// The values of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text of at most so many characters.
    Text(usize),
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// Three lower-case letters.
    Currency,
    /// At most 50 texts by name.
    Metadata,
    /// A moment in seconds, or `gt`, `gte`, `lt` and `lte`.
    Range,
    /// One of these words.
    Choice(Vec<String>),
    /// Any number of these.
    List(Box<Self>),
    /// Parts by name.
    Hash(Vec<Parameter>),
}

/// Reads the notation.
///
/// # Panics
/// When it is none: it is part of this program.
#[must_use]
pub fn parse(notation: &str) -> Vec<Parameter> {
    let text = format!("{notation} {EXPAND}");
    let mut reader = Reader(text.chars().peekable());
    let parameters = reader.parameters();
    assert!(reader.0.next().is_none(), "no notation: {notation}");
    parameters
}

struct Reader<'a>(Peekable<Chars<'a>>);

impl Reader<'_> {
    fn parameters(&mut self) -> Vec<Parameter> {
        let mut parameters = Vec::new();
        loop {
            while self.skips(' ') || self.skips('\n') {}
            let name = self.word();
            if name.is_empty() {
                return parameters;
            }
            let required = self.skips('!');
            let kind = if self.skips('=') {
                self.kind()
            } else {
                Kind::Text(TEXT)
            };
            let clearable = self.skips('?');
            parameters.push(Parameter {
                name,
                required,
                kind,
                clearable,
            });
        }
    }

    fn kind(&mut self) -> Kind {
        if self.skips('[') {
            let kind = self.kind();
            self.expect(']');
            Kind::List(Box::new(kind))
        } else if self.skips('{') {
            let parameters = self.parameters();
            self.expect('}');
            Kind::Hash(parameters)
        } else if self.skips('(') {
            let mut words = vec![self.word()];
            while self.skips('|') {
                words.push(self.word());
            }
            self.expect(')');
            Kind::Choice(words)
        } else {
            named(&self.word())
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(letter) = self
            .0
            .next_if(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.' | '*'))
        {
            word.push(letter);
        }
        word
    }

    fn skips(&mut self, letter: char) -> bool {
        self.0.next_if_eq(&letter).is_some()
    }

    fn expect(&mut self, letter: char) {
        assert!(self.skips(letter), "{letter} is missing");
    }
}

fn named(word: &str) -> Kind {
    match word {
        "int" => Kind::Integer,
        "bool" => Kind::Boolean,
        "cur" => Kind::Currency,
        "meta" => Kind::Metadata,
        "range" => Kind::Range,
        length => Kind::Text(length.parse().expect("a kind or a length")),
    }
}

/// Checks a form, as Stripe does before anything is done.
///
/// # Errors
/// The first mistake.
pub fn check(form: &Node, parameters: &[Parameter]) -> Result<(), Refusal> {
    check_hash(form, parameters, "")
}

fn check_hash(form: &Node, parameters: &[Parameter], place: &str) -> Result<(), Refusal> {
    let Node::Hash(entries) = form else {
        return Err(
            Refusal::invalid(format!("Invalid object: {place} must be a hash")).about(place),
        );
    };
    for (name, node) in entries {
        let place = inside(place, name);
        let Some(parameter) = parameters.iter().find(|known| known.name == *name) else {
            let message = format!("Received unknown parameter: {place}");
            return Err(Refusal::parameter("parameter_unknown", &place, message));
        };
        if !(parameter.clearable && *node == Node::Text(String::new())) {
            check_kind(node, &parameter.kind, &place)?;
        }
    }
    let missing = parameters
        .iter()
        .find(|parameter| parameter.required && form.get(&parameter.name).is_none());
    match missing {
        Some(parameter) => Err(Refusal::missing(&inside(place, &parameter.name))),
        None => Ok(()),
    }
}

fn inside(place: &str, name: &str) -> String {
    match place {
        "" => name.to_owned(),
        place => format!("{place}[{name}]"),
    }
}

fn check_kind(node: &Node, kind: &Kind, place: &str) -> Result<(), Refusal> {
    match (kind, node) {
        (Kind::Hash(parameters), _) => check_hash(node, parameters, place),
        (Kind::Metadata, _) => check_metadata(node, place),
        (Kind::List(kind), Node::Hash(entries)) => check_list(entries, kind, place),
        (Kind::Range, Node::Hash(_)) => check_hash(node, &parse_bounds(), place),
        (Kind::List(_), Node::Text(_)) => Err(Refusal::invalid(format!(
            "Invalid array: {place} must be an array"
        ))),
        (_, Node::Hash(_)) => Err(Refusal::invalid(format!(
            "Invalid string: {place} must be a single value"
        ))),
        (_, Node::Text(text)) if text.is_empty() => Err(Refusal::parameter(
            "parameter_invalid_empty",
            place,
            format!(
                "You passed an empty string for '{place}'. We assume empty values are an attempt to unset a parameter; however '{place}' cannot be unset. You should remove '{place}' from your request or supply a non-empty value."
            ),
        )),
        (kind, Node::Text(text)) => check_text(text, kind, place),
    }
}

fn parse_bounds() -> Vec<Parameter> {
    Reader("gt=int gte=int lt=int lte=int".chars().peekable()).parameters()
}

fn check_list(entries: &[(String, Node)], kind: &Kind, place: &str) -> Result<(), Refusal> {
    for (position, (name, node)) in entries.iter().enumerate() {
        if *name != position.to_string() {
            return Err(Refusal::invalid(format!(
                "Invalid array: {place} has no element {position}"
            )));
        }
        check_kind(node, kind, &inside(place, name))?;
    }
    Ok(())
}

fn check_metadata(node: &Node, place: &str) -> Result<(), Refusal> {
    let Node::Hash(entries) = node else {
        return Err(Refusal::invalid(format!(
            "Invalid object: {place} must be a hash"
        )));
    };
    let fits = |(name, node): &(String, Node)| {
        let short = |text: &String| text.chars().count() <= 500;
        name.chars().count() <= 40 && matches!(node, Node::Text(text) if short(text))
    };
    if entries.len() > 50 || !entries.iter().all(fits) {
        return Err(Refusal::invalid(format!(
            "Invalid {place}: at most 50 keys of at most 40 characters, with values of at most 500 characters"
        )));
    }
    Ok(())
}

fn check_text(text: &str, kind: &Kind, place: &str) -> Result<(), Refusal> {
    let (fits, expected) = match kind {
        Kind::Text(length) => (
            text.chars().count() <= *length,
            format!("string: at most {length} characters"),
        ),
        Kind::Integer | Kind::Range => (text.parse::<i64>().is_ok(), "integer".to_owned()),
        Kind::Boolean => (matches!(text, "true" | "false"), "boolean".to_owned()),
        Kind::Currency => (is_currency(text), "currency".to_owned()),
        Kind::Choice(words) => (
            words.iter().any(|word| word == text),
            format!("value: must be one of {}", words.join(", ")),
        ),
        Kind::Metadata | Kind::List(_) | Kind::Hash(_) => (false, "value".to_owned()),
    };
    if fits {
        return Ok(());
    }
    let refusal = Refusal::invalid(format!("Invalid {expected}: {place}={text}")).about(place);
    Err(match kind {
        Kind::Integer | Kind::Range => refusal.coded("parameter_invalid_integer"),
        _ => refusal,
    })
}

fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_lowercase())
}
