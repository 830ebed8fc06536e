//! Quotes: what a quantity of one rate card would cost, as an invoice would say it.

mod lines;
pub mod routes;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize, Serializer};
use tollgate_engine::units::Units;
use utoipa::ToSchema;

pub use lines::{Lines, quote_lines};

use super::pricing::{self, Cycle, LineId, PricedLine, Rating};
use crate::catalog::currency::Currency;
use crate::catalog::plans::{self, PlanDocument, Price, RateCard, RateCardDocument};
use crate::http::document::{Document, Mistakes, Place, Scalar};
use crate::money::{self, Minor, Money, TooGreat};

/// What to send for a quote.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuoteDocument {
    /// Three letters of ISO 4217.
    #[serde(default)]
    #[schema(examples("USD"))]
    currency: String,
    /// As plans have it.
    #[schema(value_type = RateCardDocument)]
    rate_card: Option<RateCardDocument>,
    /// What was used in one period; a flat price does without.
    #[schema(value_type = Option<String>)]
    quantity: Option<Scalar>,
    /// Money that is spent first; none when left out.
    #[schema(value_type = Option<String>)]
    credits: Option<Scalar>,
}

impl Document for QuoteDocument {
    const TOLERATED: &'static [&'static str] = PlanDocument::TOLERATED;
}

/// What a quantity of one rate card would cost.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quote {
    /// What it is made of.
    lines: Vec<QuoteLine>,
    /// What is to be paid: the sum of the lines.
    #[schema(value_type = String)]
    total: Money,
}

/// A line of a quote: total = amount + charges - discounts - credits.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuoteLine {
    /// Which part of the price it is.
    #[schema(value_type = String)]
    #[serde(serialize_with = "as_text")]
    id: LineId,
    /// For people.
    description: String,
    /// How many.
    #[schema(value_type = String)]
    #[serde(serialize_with = "as_text")]
    quantity: Decimal,
    /// The price of one.
    #[schema(value_type = String)]
    #[serde(serialize_with = "as_text")]
    unit_amount: Decimal,
    /// What the quantity comes to.
    #[schema(value_type = String)]
    amount: Money,
    /// What is charged beside: up to the minimum spend.
    #[schema(value_type = String)]
    charges: Money,
    /// What is taken off.
    #[schema(value_type = String)]
    discounts: Money,
    /// What of the rest is paid with credits.
    #[schema(value_type = String)]
    credits: Money,
    /// What is left to pay.
    #[schema(value_type = String)]
    total: Money,
}

/// What is to be quoted: a document that holds every rule.
#[derive(Clone, Copy, Debug)]
struct Request<'a> {
    currency: Currency,
    card: &'a RateCard,
    units: Units,
    credits: Minor,
}

impl QuoteDocument {
    /// What the rate card charges, or every mistake.
    fn check(self, mistakes: &mut Mistakes) -> Option<Quote> {
        let root = Place::root();
        let currency = self.currency.parse().ok();
        if currency.is_none() {
            let place = root.field("currency");
            mistakes.add(&place, "currency_invalid", "currency is invalid");
        }
        let place = root.field("rateCard");
        let card = match &self.rate_card {
            Some(document) => plans::check_rate_card(document, &place, mistakes),
            None => {
                mistakes.add(&place, "rate_card_missing", "there is no rate card");
                None
            }
        };
        let by_usage = card.as_ref().is_some_and(is_by_usage);
        let place = root.field("quantity");
        let units = match &self.quantity {
            Some(Scalar(text)) => text
                .parse()
                .map_err(|error| mistakes.add(&place, "invalid_units", format!("{text} {error}")))
                .ok(),
            None if by_usage => {
                mistakes.add(&place, "quantity_missing", "there is no quantity");
                None
            }
            None => Some(Units::ZERO),
        };
        let credits = currency.and_then(|currency| self.credits(currency, mistakes));
        let (currency, card) = (currency?, card?);
        let request = Request {
            currency,
            card: &card,
            units: units?,
            credits: credits?,
        };
        request
            .quote()
            .map_err(|error| mistakes.add(&place, "amount_too_great", error.to_string()))
            .ok()
    }

    fn credits(&self, currency: Currency, mistakes: &mut Mistakes) -> Option<Minor> {
        let Some(Scalar(text)) = &self.credits else {
            return Some(Minor::ZERO);
        };
        let place = Place::root().field("credits");
        read_credits(text, currency)
            .map_err(|detail| mistakes.add(&place, "credits_invalid", detail))
            .ok()
    }
}

/// Whether what a card costs depends on a quantity.
fn is_by_usage(card: &RateCard) -> bool {
    matches!(card.price, Some(Price::Usage(_)))
}

fn read_credits(text: &str, currency: Currency) -> Result<Minor, String> {
    let amount = money::parse_amount(text).map_err(|error| format!("{text:?} {error}"))?;
    money::round(amount, currency).map_err(|error| error.to_string())
}

impl Request<'_> {
    fn quote(self) -> Result<Quote, TooGreat> {
        let currency = self.currency;
        let lines = match &self.card.price {
            None => Vec::new(),
            Some(Price::Flat(price)) => vec![pricing::flat(price, currency, 1, price.amount)?],
            Some(Price::Usage(price)) => {
                let mut rating = Rating::new(currency);
                let cycle = Cycle {
                    carried: Units::ZERO,
                    units: self.units,
                    minimum: price.minimum,
                };
                rating.add(price, &cycle)?;
                rating.into_lines()
            }
        };
        let mut credits = self.credits;
        let lines: Vec<_> = lines
            .iter()
            .map(|line| {
                let paid = credits.min(line.total());
                credits -= paid;
                QuoteLine::new(line, paid, &self.card.name, currency)
            })
            .collect();
        let total: Minor = lines.iter().map(|line| line.total.minor).sum();
        Ok(Quote {
            lines,
            total: total.of(currency),
        })
    }
}

impl QuoteLine {
    fn new(line: &PricedLine, credits: Minor, card: &str, currency: Currency) -> Self {
        let (amount, charges) = match line.id {
            LineId::MinimumSpend => (Minor::ZERO, line.amount),
            _ => (line.amount, Minor::ZERO),
        };
        Self {
            id: line.id,
            description: line.id.describe(card),
            quantity: line.quantity.normalize(),
            unit_amount: line.unit_amount.unwrap_or_default().normalize(),
            amount: amount.of(currency),
            charges: charges.of(currency),
            discounts: line.discount().of(currency),
            credits: credits.of(currency),
            total: (line.total() - credits).of(currency),
        }
    }
}

fn as_text<T: std::fmt::Display, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
