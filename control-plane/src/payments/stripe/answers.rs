//! Stripe's objects, with only what this program uses: what is unknown is kept or ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Names of our ids in the metadata of Stripe's objects.
pub mod metadata {
    /// A customer's id.
    pub const CUSTOMER: &str = "tollgate_customer";
    /// The id of an opening of a Checkout.
    pub const CHECKOUT: &str = "tollgate_checkout";
    /// An invoice's id.
    pub const INVOICE: &str = "tollgate_invoice";
    /// An invoice line's identity.
    pub const LINE: &str = "tollgate_line";
}

/// What every object of Stripe that is ours carries.
pub type StripeMetadata = BTreeMap<String, String>;

/// Where an invoice is in Stripe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StripeInvoiceStatus {
    /// It can still be changed.
    #[default]
    Draft,
    /// It is issued and to be paid.
    Open,
    /// It is paid.
    Paid,
    /// Nobody is expected to pay it.
    Uncollectible,
    /// It was a mistake.
    Void,
    /// Something this program does not know.
    Other(String),
}

impl<'de> Deserialize<'de> for StripeInvoiceStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        Ok(match text.as_deref().unwrap_or("draft") {
            "draft" => Self::Draft,
            "open" => Self::Open,
            "paid" => Self::Paid,
            "uncollectible" => Self::Uncollectible,
            "void" => Self::Void,
            other => Self::Other(other.to_owned()),
        })
    }
}

/// An invoice as Stripe has it; amounts in minor units of its currency.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct StripeInvoice {
    /// Its id, `in_…`.
    pub id: String,
    /// Where it is.
    #[serde(default)]
    pub status: StripeInvoiceStatus,
    /// Sum of the lines before discounts and tax.
    #[serde(default)]
    pub subtotal: i64,
    /// How often Stripe tried to collect it.
    #[serde(default)]
    pub attempt_count: i64,
    /// Whether Stripe tried to collect it.
    #[serde(default)]
    pub attempted: bool,
    /// Where the customer can pay it.
    pub hosted_invoice_url: Option<String>,
    /// What the customer calls it.
    pub number: Option<String>,
    /// Whether it is about real money.
    #[serde(default)]
    pub livemode: bool,
    /// Our ids.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: StripeMetadata,
    /// How many lines it has: 0 when Stripe did not say.
    #[serde(default, rename = "lines", deserialize_with = "count")]
    pub line_count: usize,
}

/// A customer as Stripe has it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct StripeCustomer {
    /// Its id, `cus_…`.
    pub id: String,
    /// Whether it was deleted.
    #[serde(default)]
    pub deleted: bool,
    /// Whether it is about real money.
    #[serde(default)]
    pub livemode: bool,
    /// Our ids.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: StripeMetadata,
    #[serde(default, deserialize_with = "or_default")]
    invoice_settings: InvoiceSettings,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
struct InvoiceSettings {
    #[serde(default, deserialize_with = "reference")]
    default_payment_method: Option<String>,
}

impl StripeCustomer {
    /// The payment method that invoices are collected from.
    #[must_use]
    pub fn default_payment_method(&self) -> Option<&str> {
        self.invoice_settings.default_payment_method.as_deref()
    }
}

/// A payment method as Stripe has it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct StripePaymentMethod {
    /// Its id, `pm_…`.
    pub id: String,
    /// Such as `card`.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// When it was made, in Unix seconds.
    #[serde(default)]
    pub created: i64,
    card: Option<Card>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
struct Card {
    brand: Option<String>,
    last4: Option<String>,
}

impl StripePaymentMethod {
    /// What people call it, such as `visa 4242`.
    #[must_use]
    pub fn label(&self) -> String {
        let card = self.card.as_ref();
        let brand = card.and_then(|card| card.brand.as_deref());
        match card.and_then(|card| card.last4.as_deref()) {
            Some(last4) => format!("{} {last4}", brand.unwrap_or("card")),
            None => self.kind.clone(),
        }
    }
}

/// A Checkout Session as Stripe has it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct StripeCheckoutSession {
    /// Its id, `cs_…`.
    pub id: String,
    /// `open`, `complete` or `expired`.
    pub status: Option<String>,
    /// `setup`, `payment` or `subscription`.
    #[serde(default)]
    pub mode: String,
    /// Where the customer goes while it is open.
    pub url: Option<String>,
    /// Whose it is.
    #[serde(default, deserialize_with = "reference")]
    pub customer: Option<String>,
    /// Whether it is about real money.
    #[serde(default)]
    pub livemode: bool,
    /// Our ids.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: StripeMetadata,
}

impl StripeCheckoutSession {
    /// Whether the customer has done what it asked for.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.status.as_deref() == Some("complete")
    }
}

/// A session of the customer portal as Stripe has it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct StripePortalSession {
    /// Where the customer goes.
    pub url: String,
}

/// A page of a list.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    #[serde(default)]
    pub(super) has_more: bool,
}

/// An object's id, whether the object itself is there or only its id.
fn reference<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Reference {
        Id(String),
        Object { id: String },
        None(()),
    }
    Ok(match Reference::deserialize(deserializer)? {
        Reference::Id(id) | Reference::Object { id } => Some(id),
        Reference::None(()) => None,
    })
}

/// The default in place of null.
fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let list = Option::<List<serde::de::IgnoredAny>>::deserialize(deserializer)?;
    Ok(list.map_or(0, |list| list.data.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_kept_and_what_is_missing_is_nothing() {
        let invoice: StripeInvoice = serde_json::from_str(
            r#"{"id": "in_1", "status": "held", "metadata": null,
                "lines": {"object": "list", "data": [{"id": "il_1"}]}, "later": [1]}"#,
        )
        .unwrap();
        assert_eq!(
            invoice.status,
            StripeInvoiceStatus::Other("held".to_owned())
        );
        assert_eq!((invoice.subtotal, invoice.line_count), (0, 1));
        let customer: StripeCustomer =
            serde_json::from_str(r#"{"id": "cus_1", "deleted": true}"#).unwrap();
        assert!(customer.deleted && customer.default_payment_method().is_none());
        let customer: StripeCustomer = serde_json::from_str(
            r#"{"id": "cus_1", "invoice_settings": {"default_payment_method": {"id": "pm_1"}}}"#,
        )
        .unwrap();
        assert_eq!(customer.default_payment_method(), Some("pm_1"));
    }

    #[test]
    fn a_payment_method_is_called_by_its_last_digits() {
        let label = |text: &str| {
            serde_json::from_str::<StripePaymentMethod>(text)
                .unwrap()
                .label()
        };
        let card = r#"{"id": "pm_1", "type": "card", "card": {"brand": "visa", "last4": "4242"}}"#;
        assert_eq!(label(card), "visa 4242");
        assert_eq!(
            label(r#"{"id": "pm_1", "type": "sepa_debit"}"#),
            "sepa_debit"
        );
    }
}
