//! The test cards of Stripe's documentation: what each does when it is saved and when it is charged later.

use Reaction::{Accepts, Declines, WantsAuthentication};

use super::refusal::Refusal;

/// A test card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its number, without spaces.
    pub number: &'static str,
    /// What happens when a customer enters it.
    pub entered: Reaction,
    /// What happens when it is charged while the customer is away.
    pub charged: Reaction,
}

/// What the bank of a card says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Yes.
    Accepts,
    /// Only with 3-D Secure.
    WantsAuthentication,
    /// No, for this reason.
    Declines(&'static str),
}

/// Pays.
pub const GOOD: &str = "4242424242424242";
/// Can be saved, and is declined whenever it is charged.
pub const FAILS_LATER: &str = "4000000000000341";
/// Wants 3-D Secure each time.
pub const ALWAYS_AUTHENTICATES: &str = "4000000000003220";
/// Wants 3-D Secure when it is saved, and pays from then on.
pub const AUTHENTICATES_ONCE: &str = "4000002500003155";
/// Is declined.
pub const DECLINED: &str = "4000000000000002";
/// Has no funds.
pub const NO_FUNDS: &str = "4000000000009995";

/// All cards that the simulator knows.
pub const CARDS: [Card; 7] = [
    card(GOOD, Accepts, Accepts),
    card("5555555555554444", Accepts, Accepts),
    card(FAILS_LATER, Accepts, Declines("generic_decline")),
    card(
        ALWAYS_AUTHENTICATES,
        WantsAuthentication,
        WantsAuthentication,
    ),
    card(AUTHENTICATES_ONCE, WantsAuthentication, Accepts),
    card(
        DECLINED,
        Declines("generic_decline"),
        Declines("generic_decline"),
    ),
    card(
        NO_FUNDS,
        Declines("insufficient_funds"),
        Declines("insufficient_funds"),
    ),
];

const fn card(number: &'static str, entered: Reaction, charged: Reaction) -> Card {
    Card {
        number,
        entered,
        charged,
    }
}

impl Card {
    /// The card with this number, which may be written with spaces.
    ///
    /// # Errors
    /// When it is no test card.
    pub fn find(number: &str) -> Result<Self, Refusal> {
        let digits: String = number.split_whitespace().collect();
        let known = CARDS.into_iter().find(|card| card.number == digits);
        known.ok_or_else(|| {
            let message = "Your card number is invalid: only Stripe's test cards work here.";
            Refusal::declined("incorrect_number", "incorrect_number", message)
        })
    }

    /// The brand by its first digit.
    #[must_use]
    pub fn brand(&self) -> &'static str {
        match self.number.as_bytes().first() {
            Some(b'5') => "mastercard",
            _ => "visa",
        }
    }

    /// The last four digits.
    #[must_use]
    pub fn last4(&self) -> &'static str {
        self.number.get(12..).unwrap_or_default()
    }
}

/// The refusal of a bank that declines.
#[must_use]
pub fn declined(decline_code: &'static str) -> Refusal {
    let message = match decline_code {
        "insufficient_funds" => "Your card has insufficient funds.",
        _ => "Your card was declined.",
    };
    Refusal::declined("card_declined", decline_code, message)
}
