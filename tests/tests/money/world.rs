//! A control plane that sells a plan for money, and customers who come to it.

use reqwest::Method;
use serde_json::{Value, json};
use tollgate_tests::control_plane::{ControlPlane, ControlPlaneOptions};
use tollgate_tests::http::{Answer, Connections, HttpClient, send};
use tollgate_tests::redis::{RedisOptions, RedisServer};
use tollgate_tests::stripe::{MAIN_FLOW, Permissions, StripeOptions, StripeSimulator};
use tollgate_tests::wait;

/// What is posted from the link to the paid invoice.
pub const POSTS: [&str; 7] = [
    "/v1/customers",
    "/v1/checkout/sessions",
    "/v1/customers/*",
    "/v1/invoices",
    "/v1/invoices/*/add_lines",
    "/v1/invoices/*/finalize",
    "/v1/invoices/*/pay",
];

/// A shop with one plan: `starter`, 29.00 a month in advance.
pub struct World {
    pub stripe: StripeSimulator,
    pub control_plane: ControlPlane,
    browser: HttpClient,
    _redis: RedisServer,
}

/// A Checkout of ours.
pub struct Checkout {
    pub id: String,
    pub url: String,
    pub claim_token: String,
}

/// A Checkout that a customer has opened: Stripe's page, and the browser's cookie.
pub struct Opening {
    pub page: String,
    pub cookie: String,
}

impl World {
    /// One whose key has the permissions of the main flow and no others.
    pub async fn open() -> Self {
        Self::with(StripeOptions::default(), &[]).await
    }

    /// The same with a simulator and settings of the control plane as given.
    pub async fn with(options: StripeOptions, settings: &[(&str, &str)]) -> Self {
        let stripe = StripeSimulator::start(StripeOptions {
            key: "rk_test_simulator0000000000000000".to_owned(),
            permissions: Permissions::only(&MAIN_FLOW),
            ..options
        });
        let redis = RedisServer::start(RedisOptions::default());
        let mut options = ControlPlaneOptions::new(redis.address());
        options.environment = stripe.environment();
        let settings = settings.iter();
        let settings = settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        options.environment.extend(settings);
        let control_plane = ControlPlane::start(options).await;
        control_plane.wait_until_ready().await;
        stripe.send_webhooks_to(&format!("{}/webhooks/stripe", control_plane.url()));
        let world = Self {
            browser: HttpClient::new(control_plane.url(), Connections::Fresh),
            stripe,
            control_plane,
            _redis: redis,
        };
        world.fill().await;
        world
    }

    async fn fill(&self) {
        let meter = json!({"slug": "api_requests", "name": "API requests", "eventType": "request", "aggregation": "SUM", "valueProperty": "$.units"});
        self.control_plane.post("/v1/meters", &meter).await;
        let feature =
            json!({"key": "api_requests", "name": "API requests", "meterSlug": "api_requests"});
        self.control_plane.post("/v1/features", &feature).await;
        self.sell("starter", "29.00").await;
    }

    /// Publishes a plan with a monthly fee in advance.
    pub async fn sell(&self, plan: &str, fee: &str) {
        let card = json!({"type": "flat_fee", "key": "api_requests", "name": "API requests", "featureKey": "api_requests",
            "billingCadence": "P1M", "price": {"type": "flat", "amount": fee, "paymentTerm": "in_advance"},
            "entitlementTemplate": {"type": "metered", "issueAfterReset": 10_000, "isSoftLimit": false}});
        let phase =
            json!({"key": "default", "name": "Default", "duration": null, "rateCards": [card]});
        let document = json!({"key": plan, "name": plan, "currency": "USD", "billingCadence": "P1M", "phases": [phase]});
        self.control_plane.post("/v1/plans", &document).await;
        let path = format!("/v1/plans/{plan}/publish");
        self.control_plane.post(&path, &json!({})).await;
    }

    /// A new customer.
    pub async fn customer(&self, key: &str) {
        let email = format!("{key}@example.com");
        let customer = json!({"key": key, "name": key, "email": email});
        self.control_plane.post("/v1/customers", &customer).await;
    }

    /// A Checkout of `starter` for a customer.
    pub async fn checkout(&self, customer: &str) -> Checkout {
        let document = json!({"plan": "starter", "customer": customer,
            "successUrl": "https://example.com/welcome", "cancelUrl": "https://example.com/pricing"});
        let made = self
            .control_plane
            .post("/v1/checkout-sessions", &document)
            .await;
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Checkout {
            id: text("id"),
            url: text("url"),
            claim_token: text("claimToken"),
        }
    }

    /// A new customer with a Checkout.
    pub async fn newcomer(&self) -> Checkout {
        self.customer("ada").await;
        self.checkout("ada").await
    }

    /// Opens a Checkout as a browser does, without cookies of earlier openings.
    pub async fn visit(&self, checkout: &Checkout) -> Opening {
        let answer = self.try_visit(checkout).await;
        answer.unwrap_or_else(|answer| panic!("{answer}"))
    }

    /// The same, or the page that says why not.
    pub async fn try_visit(&self, checkout: &Checkout) -> Result<Opening, Answer> {
        let path = format!("/portal/checkout/{}", checkout.id);
        let answer = self.page(Method::GET, &path, "").await;
        if answer.status != 303 {
            return Err(answer);
        }
        let cookie = answer.header("set-cookie").split(';').next();
        Ok(Opening {
            page: answer.header("location").to_owned(),
            cookie: cookie.unwrap().to_owned(),
        })
    }

    /// Asks for one of our pages with a cookie.
    pub async fn page(&self, method: Method, path: &str, cookie: &str) -> Answer {
        let request = self.browser.request(method, path).header("cookie", cookie);
        send(request).await.unwrap()
    }

    /// The page that Stripe sends a customer to who has given a card.
    pub async fn success(&self, checkout: &Checkout, cookie: &str) -> Answer {
        let path = format!("/portal/checkout/{}/success", checkout.id);
        self.page(Method::GET, &path, cookie).await
    }

    /// Presses the button that shows the key.
    pub async fn claim(&self, checkout: &Checkout, cookie: &str) -> Answer {
        let path = format!("/portal/checkout/{}/claim", checkout.id);
        self.page(Method::POST, &path, cookie).await
    }

    /// Claims a key without a browser.
    pub async fn claim_with(&self, checkout: &Checkout, token: &str) -> Answer {
        let path = format!("/portal/checkout/{}/claim", checkout.id);
        let request = self.browser.request(Method::POST, &path);
        send(request.json(&json!({ "claimToken": token })))
            .await
            .unwrap()
    }

    /// A Checkout as it is now.
    pub async fn look(&self, checkout: &Checkout) -> Value {
        let path = format!("/v1/checkout-sessions/{}", checkout.id);
        self.control_plane.get(&path).await
    }

    /// Waits until a Checkout has this status.
    pub async fn wait_until(&self, checkout: &Checkout, status: &str) {
        let what = format!("a Checkout that is {status}");
        wait::until(&what, async || {
            let seen = self.look(checkout).await;
            if seen["status"] == status {
                Ok(())
            } else {
                Err(seen.to_string())
            }
        })
        .await;
    }

    /// Waits until nothing that Stripe told waits to be handled.
    pub async fn wait_until_handled(&self) {
        wait::until("handled events", async || {
            let waiting = self
                .control_plane
                .get("/v1/stripe-events?status=pending")
                .await;
            let items = waiting["items"].as_array().map(Vec::len);
            if items == Some(0) {
                Ok(())
            } else {
                Err(waiting.to_string())
            }
        })
        .await;
    }

    /// Posts an event to our endpoint, and what is answered.
    pub async fn deliver(&self, payload: &str, signature: &str) -> Answer {
        let request = self.browser.request(Method::POST, "/webhooks/stripe");
        let request = request
            .header("stripe-signature", signature)
            .body(payload.to_owned());
        send(request).await.unwrap()
    }

    /// The only invoice, once it has this status.
    pub async fn invoice_that_is(&self, status: &str) -> Value {
        let what = format!("an invoice that is {status}");
        wait::until(&what, async || {
            let invoices = self.control_plane.get("/v1/invoices").await;
            let invoice = invoices["items"][0].clone();
            if invoice["status"] == status {
                Ok(invoice)
            } else {
                Err(invoices.to_string())
            }
        })
        .await
    }

    /// What must be true in the end, whatever went wrong: one subscription, one invoice, which is paid by one charge,
    /// and nothing for the doctor to find.
    pub async fn assert_settled(&self) {
        let invoice = self.invoice_that_is("paid").await;
        assert_eq!(invoice["total"], "29.00", "{invoice}");
        self.wait_until_handled().await;
        let count = async |path: &str| {
            let list = self.control_plane.get(path).await;
            list["items"].as_array().map_or(0, Vec::len)
        };
        let counts = (
            count("/v1/subscriptions").await,
            count("/v1/invoices").await,
            count("/v1/stripe-events?status=dead").await,
        );
        assert_eq!(counts, (1, 1, 0), "subscriptions, invoices and dead events");
        let subscription = self.control_plane.get("/v1/subscriptions").await["items"][0].clone();
        assert_eq!(subscription["status"], "active", "{subscription}");
        let theirs = self.stripe.objects("invoice");
        assert_eq!(theirs.len(), 1, "{theirs:?}");
        assert_eq!(theirs[0]["id"], invoice["stripeInvoiceId"]);
        let mut charges = self.stripe.charges();
        charges.retain(|charge| charge.paid);
        assert_eq!(charges.len(), 1, "{charges:?}");
        assert_eq!(charges[0].amount, 2900);
        assert_eq!(self.stripe.objects("customer").len(), 1);
        self.assert_healthy();
    }

    /// The doctor finds nothing. Whether every exchange is as the contract has it is looked at when the simulator goes.
    pub fn assert_healthy(&self) {
        let doctor = self.control_plane.run(&["doctor"]);
        let found = String::from_utf8_lossy(&doctor.stdout);
        assert!(doctor.status.success(), "{found}");
    }
}

/// The key that a page shows.
pub fn shown_key(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once("<code id=\"api-key\"")?;
    let (_, rest) = rest.split_once('>')?;
    Some(rest.split_once('<')?.0)
}
