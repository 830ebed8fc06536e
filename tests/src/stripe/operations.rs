//! Every call that the simulator answers, on one screen: its permission, what it accepts, and what it does.

use std::sync::LazyLock;

use serde_json::Value;

use super::parameters::{Parameter, parse};
use super::refusal::Refusal;
use super::world::{Call, World};
use super::{account, checkout, collection, customers, invoices, lines};

const ADDRESS: &str = "address={city country line1 line2 postal_code state}?";
const CUSTOMER: &str = "description email=512 name=256 phone=20 metadata=meta? invoice_settings={default_payment_method}";
const SESSION: &str = "mode!=(payment|setup|subscription) customer customer_email=800 currency=cur success_url cancel_url \
    client_reference_id=200 metadata=meta setup_intent_data={description=1000 metadata=meta} expires_at=int locale=10 \
    allowed_payment_method_types=[(card)] billing_address_collection=(auto|required) ui_mode=(hosted_page) \
    customer_update={address=(auto|never) name=(auto|never)} payment_method_data={allow_redisplay=(always|limited|unspecified)}";
const INVOICE: &str = "auto_advance=bool automatic_tax={enabled!=bool} collection_method=(charge_automatically|send_invoice) \
    default_payment_method description=1500 footer metadata=meta? number=26 statement_descriptor=22";
const LINES: &str = "invoice_metadata=meta? lines!=[{amount=int description discountable=bool metadata=meta? period={start!=int end!=int} \
    price_data={currency!=cur product product_data={name!} unit_amount=int} quantity=int}]";
const PAGE: &str = "limit=int starting_after ending_before";
const ENDPOINT: &str = "description=5000? metadata=meta?";

/// Who may call what, and what it takes.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    Run,
);
type Run = fn(&mut World, &Call) -> Result<Value, Refusal>;

/// Method, path, the key's permission, parameters, and what is done.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("GET", "/v1/account", "accounts_kyc_basic_read", &[], account::retrieve),
    ("POST", "/v1/customers", "customer_write", &[CUSTOMER, ADDRESS], customers::create),
    ("GET", "/v1/customers", "customer_read", &[PAGE, "email=512 created=range"], customers::list_all),
    ("GET", "/v1/customers/{customer}", "customer_read", &[], customers::retrieve),
    ("POST", "/v1/customers/{customer}", "customer_write", &[CUSTOMER, ADDRESS], customers::update),
    ("DELETE", "/v1/customers/{customer}", "customer_write", &[], customers::delete),
    ("GET", "/v1/customers/{customer}/payment_methods", "payment_method_read", &[PAGE, "type=30"], customers::list_methods),
    ("GET", "/v1/customers/{customer}/payment_methods/{method}", "payment_method_read", &[], customers::retrieve_method_of),
    ("GET", "/v1/payment_methods", "payment_method_read", &[PAGE, "customer type=30"], customers::list_all_methods),
    ("GET", "/v1/payment_methods/{method}", "payment_method_read", &[], customers::retrieve_method),
    ("POST", "/v1/payment_methods/{method}/detach", "payment_method_write", &[], customers::detach_method),
    ("POST", "/v1/checkout/sessions", "checkout_session_write", &[SESSION], checkout::create),
    ("GET", "/v1/checkout/sessions", "checkout_session_read", &[PAGE, "customer status=(complete|expired|open) created=range"], checkout::list_all),
    ("GET", "/v1/checkout/sessions/{session}", "checkout_session_read", &[], checkout::retrieve),
    ("POST", "/v1/checkout/sessions/{session}", "checkout_session_write", &["metadata=meta?"], checkout::update),
    ("POST", "/v1/checkout/sessions/{session}/expire", "checkout_session_write", &[], checkout::expire),
    ("GET", "/v1/setup_intents", "setup_intent_read", &[PAGE, "customer payment_method created=range"], checkout::list_intents),
    ("GET", "/v1/setup_intents/{intent}", "setup_intent_read", &[], checkout::retrieve_intent),
    ("POST", "/v1/billing_portal/sessions", "customer_portal_write", &["customer return_url locale=10 flow_data={type!=(payment_method_update)}"], account::open_portal),
    ("POST", "/v1/invoices", "invoice_write", &[INVOICE, "customer currency=cur pending_invoice_items_behavior=(exclude|include)"], invoices::create),
    ("GET", "/v1/invoices", "invoice_read", &[PAGE, "customer status=(draft|open|paid|uncollectible|void) created=range"], invoices::list_all),
    ("GET", "/v1/invoices/{invoice}", "invoice_read", &[], invoices::retrieve),
    ("POST", "/v1/invoices/{invoice}", "invoice_write", &[INVOICE], invoices::update),
    ("DELETE", "/v1/invoices/{invoice}", "invoice_write", &[], invoices::delete),
    ("GET", "/v1/invoices/{invoice}/lines", "invoice_read", &[PAGE], lines::list_all),
    ("POST", "/v1/invoices/{invoice}/add_lines", "invoice_write", &[LINES], lines::add),
    ("POST", "/v1/invoices/{invoice}/finalize", "invoice_write", &["auto_advance=bool"], invoices::finalize),
    ("POST", "/v1/invoices/{invoice}/pay", "invoice_write", &["off_session=bool paid_out_of_band=bool payment_method"], invoices::pay),
    ("POST", "/v1/invoices/{invoice}/void", "invoice_write", &[], invoices::void),
    ("POST", "/v1/invoices/{invoice}/mark_uncollectible", "invoice_write", &[], invoices::mark_uncollectible),
    ("GET", "/v1/invoice_payments", "invoice_read", &[PAGE, "invoice status=(canceled|open|paid) created=range"], collection::list_payments),
    ("GET", "/v1/invoice_payments/{payment}", "invoice_read", &[], collection::retrieve_payment),
    ("POST", "/v1/webhook_endpoints", "webhook_write", &[ENDPOINT, "url! enabled_events!=[100] api_version=30"], account::create_endpoint),
    ("GET", "/v1/webhook_endpoints", "webhook_read", &[PAGE], account::list_endpoints),
    ("GET", "/v1/webhook_endpoints/{endpoint}", "webhook_read", &[], account::retrieve_endpoint),
    ("POST", "/v1/webhook_endpoints/{endpoint}", "webhook_write", &[ENDPOINT, "url enabled_events=[100] disabled=bool"], account::update_endpoint),
    ("DELETE", "/v1/webhook_endpoints/{endpoint}", "webhook_write", &[], account::delete_endpoint),
    ("GET", "/v1/events", "event_read", &[PAGE, "type types=[100] created=range"], account::list_events),
    ("GET", "/v1/events/{event}", "event_read", &[], account::retrieve_event),
];

/// A call, ready to be matched.
#[derive(Debug)]
pub struct Operation {
    /// Its method.
    pub method: &'static str,
    /// Its path, ids in braces.
    pub path: &'static str,
    /// The permission that a restricted key needs, without `rak_`.
    pub permission: &'static str,
    /// What it accepts.
    pub parameters: Vec<Parameter>,
    /// What it does.
    pub run: Run,
}

/// All of them.
pub static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
    let operation = |(method, path, permission, parameters, run): &Row| Operation {
        method,
        path,
        permission,
        parameters: parse(&parameters.join(" ")),
        run: *run,
    };
    ROWS.iter().map(operation).collect()
});

/// The call of this method and path, and the ids in it.
#[must_use]
pub fn find<'a>(method: &str, path: &'a str) -> Option<(&'static Operation, Vec<&'a str>)> {
    OPERATIONS
        .iter()
        .filter(|operation| operation.method == method)
        .find_map(|operation| Some((operation, ids(operation.path, path)?)))
}

/// The parts of `path` where the pattern has braces, if the rest is equal.
fn ids<'a>(pattern: &str, path: &'a str) -> Option<Vec<&'a str>> {
    if pattern.matches('/').count() != path.matches('/').count() {
        return None;
    }
    let pairs = || pattern.split('/').zip(path.split('/'));
    let fits =
        pairs().all(|(known, part)| known == part || (known.starts_with('{') && !part.is_empty()));
    fits.then(|| {
        let named = pairs().filter(|(known, _)| known.starts_with('{'));
        named.map(|(_, part)| part).collect()
    })
}
