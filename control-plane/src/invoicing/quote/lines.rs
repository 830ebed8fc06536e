//! Quotes without a server: JSON line by line.
//!
//! A file of quotes holds few rate cards and many quantities: a card is read once, and a line that is
//! right is reckoned without building its document.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tollgate_engine::units::Units;

use super::{Quote, QuoteDocument, Request, is_by_usage, read_credits};
use crate::catalog::currency::Currency;
use crate::catalog::plans::{self, RateCard, RateCardDocument};
use crate::error::{Error, Result};
use crate::http::document::{self, Mistakes, Place};
use crate::money::Minor;

const INPUT_BUFFER_BYTES: usize = 1 << 16;
/// Rate cards that are kept at a time.
const CARDS_MAX: usize = 1_024;

/// How the lines were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Every one was priced.
    Priced,
    /// Some were not, and say why.
    Refused,
}

#[derive(Serialize)]
struct Refusal<'a> {
    error: Mistake<'a>,
}

#[derive(Serialize)]
struct Mistake<'a> {
    code: &'a str,
    detail: &'a str,
    path: &'a str,
}

/// Writes for each line, in order, what it costs, or the first mistake in it. What was read is answered
/// before more is waited for.
///
/// # Errors
/// When nothing can be read or written.
pub fn quote_lines(input: impl Read, mut output: impl Write) -> io::Result<Lines> {
    let mut input = BufReader::with_capacity(INPUT_BUFFER_BYTES, input);
    let mut outcome = Lines::Priced;
    let mut cards = Cards::default();
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        match cards.quote(line.trim_ascii()) {
            Ok(quote) => serde_json::to_writer(&mut output, &quote)?,
            Err(error) => {
                outcome = Lines::Refused;
                serde_json::to_writer(&mut output, &refusal(&error))?;
            }
        }
        output.write_all(b"\n")?;
        line.clear();
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
    output.flush()?;
    Ok(outcome)
}

/// A line whose parts are not read yet.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line<'a> {
    currency: &'a str,
    #[serde(borrow)]
    rate_card: &'a RawValue,
    #[serde(borrow)]
    quantity: Option<&'a RawValue>,
    #[serde(borrow)]
    credits: Option<&'a RawValue>,
}

/// Rate cards that hold every rule, by their JSON.
#[derive(Debug, Default)]
struct Cards(HashMap<Box<str>, RateCard>);

impl Cards {
    fn quote(&mut self, line: &[u8]) -> Result<Quote> {
        if let Some(quote) = self.at_once(line) {
            return Ok(quote);
        }
        if line.is_empty() {
            return Err(document::no_json());
        }
        document::read::<QuoteDocument>(line)?.check(QuoteDocument::check)
    }

    /// The quote of a line in which nothing is wrong or unusual.
    fn at_once(&mut self, line: &[u8]) -> Option<Quote> {
        let Line {
            currency,
            rate_card,
            quantity,
            credits,
        } = serde_json::from_slice(line).ok()?;
        let currency: Currency = currency.parse().ok()?;
        let card = self.card(rate_card.get())?;
        let units = match quantity {
            Some(quantity) => text(quantity)?.parse().ok()?,
            None if is_by_usage(card) => return None,
            None => Units::ZERO,
        };
        let credits = match credits {
            Some(credits) => read_credits(text(credits)?, currency).ok()?,
            None => Minor::ZERO,
        };
        let request = Request {
            currency,
            card,
            units,
            credits,
        };
        request.quote().ok()
    }

    fn card(&mut self, json: &str) -> Option<&RateCard> {
        if !self.0.contains_key(json) {
            let document = document::read::<RateCardDocument>(json.as_bytes()).ok()?;
            let check = |document: RateCardDocument, mistakes: &mut Mistakes| {
                plans::check_rate_card(&document, &Place::root(), mistakes)
            };
            let card = document.check(check).ok()?;
            if self.0.len() == CARDS_MAX {
                self.0.clear();
            }
            self.0.insert(json.into(), card);
        }
        self.0.get(json)
    }
}

/// A number or text without anything escaped.
fn text(json: &RawValue) -> Option<&str> {
    let json = json.get();
    let text = match json.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?,
        None => json,
    };
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_plain.then_some(text)
}

fn refusal(error: &Error) -> Refusal<'_> {
    let mistake = match error.violations().first() {
        Some(first) => Mistake {
            code: &first.code,
            detail: &first.detail,
            path: &first.path,
        },
        None => Mistake {
            code: error.code(),
            detail: error.detail(),
            path: "$",
        },
    };
    Refusal { error: mistake }
}
