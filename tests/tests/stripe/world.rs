//! A client of the simulator that speaks as the product does.

use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::Method;
use serde_json::Value;
use tollgate_tests::http::{Answer, Connections, HttpClient, send};
use tollgate_tests::stripe::cards::GOOD;
use tollgate_tests::stripe::world::VERSION;
use tollgate_tests::stripe::{Exchanges, StripeOptions, StripeSimulator};

/// A simulator and somebody who has its key.
pub struct World {
    pub stripe: StripeSimulator,
    client: HttpClient,
    keys: AtomicU32,
}

impl World {
    pub fn new() -> Self {
        Self::with(StripeOptions::default())
    }

    /// The same with a simulator as given; who asks for nothing wrong checks the exchanges itself.
    pub fn with(options: StripeOptions) -> Self {
        let stripe = StripeSimulator::start(StripeOptions {
            exchanges: Exchanges::Free,
            ..options
        });
        Self {
            client: HttpClient::new(stripe.url(), Connections::Fresh),
            stripe,
            keys: AtomicU32::new(0),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        let request = self.client.request(Method::GET, path);
        let request = request
            .bearer_auth(self.stripe.key())
            .header("stripe-version", VERSION);
        send(request).await.expect("the simulator answers")
    }

    /// Posts a form under an idempotency key of its own.
    pub async fn post(&self, path: &str, form: &str) -> Answer {
        let key = format!("key-{}", self.keys.fetch_add(1, Ordering::Relaxed));
        self.post_as(path, form, &key)
            .await
            .expect("the simulator answers")
    }

    pub async fn post_as(&self, path: &str, form: &str, key: &str) -> reqwest::Result<Answer> {
        let request = self.client.request(Method::POST, path);
        let request = request
            .bearer_auth(self.stripe.key())
            .header("stripe-version", VERSION)
            .header("idempotency-key", key)
            .header("content-type", "application/x-www-form-urlencoded");
        send(request.body(form.to_owned())).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        let request = self.client.request(Method::DELETE, path);
        let request = request
            .bearer_auth(self.stripe.key())
            .header("stripe-version", VERSION);
        send(request).await.expect("the simulator answers")
    }

    /// Posts what must succeed.
    pub async fn made(&self, path: &str, form: &str) -> Value {
        let answer = self.post(path, form).await;
        assert_eq!(answer.status, 200, "{path} {form}: {answer}");
        answer.json()
    }

    /// The id of a new customer.
    pub async fn customer(&self) -> String {
        id(&self
            .made("/v1/customers", "email=ada%40example.com&name=Ada")
            .await)
    }

    /// A Checkout Session of this customer.
    pub async fn session(&self, customer: &str) -> Value {
        let form = format!(
            "mode=setup&currency=usd&customer={customer}&success_url=http%3A%2F%2Flocalhost%2Fdone%3Fsession%3D%7BCHECKOUT_SESSION_ID%7D\
             &cancel_url=http%3A%2F%2Flocalhost%2Fback&client_reference_id=chk_1&metadata[checkout]=chk_1\
             &setup_intent_data[metadata][checkout]=chk_1"
        );
        self.made("/v1/checkout/sessions", &form).await
    }

    /// A customer whose invoices this card pays.
    pub async fn customer_with(&self, card: &str) -> String {
        let customer = self.customer().await;
        let session = self.session(&customer).await;
        self.stripe.enter_card(&url(&session), card).await;
        let methods = self
            .get(&format!("/v1/customers/{customer}/payment_methods"))
            .await;
        let method = id(&methods.json()["data"][0]);
        let form = format!("invoice_settings[default_payment_method]={method}");
        self.made(&format!("/v1/customers/{customer}"), &form).await;
        customer
    }

    pub async fn paying_customer(&self) -> String {
        self.customer_with(GOOD).await
    }

    /// A draft with two lines of together 31.50.
    pub async fn draft(&self, customer: &str) -> String {
        let form = format!(
            "customer={customer}&currency=usd&auto_advance=false&collection_method=charge_automatically\
             &pending_invoice_items_behavior=exclude&automatic_tax[enabled]=false&metadata[invoice]=inv_1"
        );
        let invoice = id(&self.made("/v1/invoices", &form).await);
        let lines = "lines[0][amount]=2900&lines[0][description]=Starter&lines[0][period][start]=1760000000\
            &lines[0][period][end]=1762592000&lines[0][metadata][line]=a&lines[1][amount]=250&lines[1][description]=Usage\
            &lines[1][quantity]=1250";
        self.made(&format!("/v1/invoices/{invoice}/add_lines"), lines)
            .await;
        invoice
    }

    /// The same, open.
    pub async fn open_invoice(&self, customer: &str) -> String {
        let invoice = self.draft(customer).await;
        let form = "auto_advance=false";
        self.made(&format!("/v1/invoices/{invoice}/finalize"), form)
            .await;
        invoice
    }

    pub async fn invoice(&self, id: &str) -> Value {
        self.get(&format!("/v1/invoices/{id}")).await.json()
    }
}

pub fn id(object: &Value) -> String {
    object["id"].as_str().unwrap_or_default().to_owned()
}

pub fn url(object: &Value) -> String {
    object["url"].as_str().unwrap_or_default().to_owned()
}

/// The code of an error, or its type when it has none.
pub fn code(answer: &Answer) -> String {
    let error = &answer.json()["error"];
    let code = error["code"].as_str().or(error["type"].as_str());
    code.unwrap_or_default().to_owned()
}
