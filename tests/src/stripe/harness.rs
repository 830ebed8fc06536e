//! The simulator in a test or a demo: on a thread of its own until dropped, with a customer who clicks.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use serde_json::Value;
use tokio::sync::oneshot;

use super::account::add_endpoint;
use super::conformance::{self, Conformance};
use super::faults::{RequestFault, RequestTrouble, WebhookFault, WebhookTrouble};
use super::server::{Exchanges, Permissions, Simulator, StripeOptions, serve};
use super::webhooks::{Attempt, signature};
use super::world::{Charge, now};
use crate::http::{Answer, Connections, HttpClient, send};
use crate::wait;

/// A running simulator. When it is dropped, what it was asked is checked against Stripe's contract: no test can forget.
#[derive(Debug)]
pub struct StripeSimulator {
    address: SocketAddr,
    simulator: Arc<Simulator>,
    client: HttpClient,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Default for StripeOptions {
    /// On a free port, with a secret key that may do everything.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            key: "sk_test_simulator0000000000000000".to_owned(),
            permissions: Permissions::All,
            webhook_secret: "whsec_simulator00000000000000000".to_owned(),
            collection_delay_ms: 50,
            exchanges: Exchanges::Checked,
        }
    }
}

impl StripeSimulator {
    /// Starts one.
    ///
    /// # Panics
    /// When its address is taken.
    #[must_use]
    pub fn start(options: StripeOptions) -> Self {
        let listener = TcpListener::bind(options.listen).expect("the address is free");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let base = format!("http://{address}");
        let simulator = Arc::new(Simulator::new(options, base.clone()));
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&simulator);
        let thread = thread::spawn(move || run(served, listener, stopped));
        Self {
            address,
            simulator,
            client: HttpClient::new(base, Connections::Fresh),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where its API and its pages are.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The key that it takes.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.simulator.options().key
    }

    /// What it signs webhooks with that go where [`Self::send_webhooks_to`] says.
    #[must_use]
    pub fn webhook_secret(&self) -> &str {
        &self.simulator.options().webhook_secret
    }

    /// The environment of a control plane that is to use it.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let secret = self.webhook_secret().to_owned();
        vec![
            ("STRIPE_API_KEY".to_owned(), self.key().to_owned()),
            ("STRIPE_API_BASE".to_owned(), self.url()),
            ("STRIPE_WEBHOOK_SECRET".to_owned(), secret),
        ]
    }

    /// Sends all events to `url` from now on.
    ///
    /// # Panics
    /// When it is no URL.
    pub fn send_webhooks_to(&self, url: &str) {
        self.send_some_webhooks_to(url, &["*"]);
    }

    /// Sends events of these types to `url` from now on.
    ///
    /// # Panics
    /// When it is no URL.
    pub fn send_some_webhooks_to(&self, url: &str, kinds: &[&str]) {
        let secret = self.webhook_secret();
        let added = add_endpoint(&mut self.simulator.world(), url, kinds, secret);
        added.expect("it is a URL");
    }

    /// Lets something go wrong with the next request of this method and path (`*` stands for one part of it).
    pub fn fault(&self, method: &str, path: &str, what: RequestTrouble) {
        self.simulator.faults().add_request(RequestFault {
            method: Some(method.to_owned()),
            path: path.to_owned(),
            what,
            after: 0,
            times: 1,
        });
    }

    /// Lets something go wrong with requests as this fault says.
    pub fn request_fault(&self, fault: RequestFault) {
        self.simulator.faults().add_request(fault);
    }

    /// Lets something go wrong with the next `times` webhooks of this type (`invoice.*` stands for all that begin so).
    pub fn webhook_fault(&self, kind: &str, what: WebhookTrouble, times: u32) {
        let kind = kind.to_owned();
        self.simulator
            .faults()
            .add_webhook(WebhookFault { kind, what, times });
    }

    /// Lets all go well again.
    pub fn clear_faults(&self) {
        self.simulator.faults().clear();
    }

    /// All objects of a kind, such as `invoice`, the oldest first.
    #[must_use]
    pub fn objects(&self, kind: &str) -> Vec<Value> {
        self.simulator
            .world()
            .objects
            .of_kind(kind)
            .cloned()
            .collect()
    }

    /// The lines of an invoice.
    #[must_use]
    pub fn lines(&self, invoice: &str) -> Vec<Value> {
        self.simulator
            .world()
            .lines
            .get(invoice)
            .cloned()
            .unwrap_or_default()
    }

    /// All attempts to take money, in order.
    #[must_use]
    pub fn charges(&self) -> Vec<Charge> {
        self.simulator.world().charges.clone()
    }

    /// All attempts to deliver webhooks, in order.
    #[must_use]
    pub fn attempts(&self) -> Vec<Attempt> {
        self.simulator.attempts().clone()
    }

    /// All calls of its API with their answers.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Value> {
        self.simulator.exchanges().clone()
    }

    /// Waits until a request has met trouble.
    pub async fn wait_for_trouble(&self) {
        wait::until("a request that meets trouble", async || {
            match self.simulator.faults().met() {
                0 => Err(format!("{} calls without any", self.exchanges().len())),
                _ => Ok(()),
            }
        })
        .await;
    }

    /// Checks every exchange so far against Stripe's published contract, and says what came of it.
    ///
    /// # Panics
    /// When one breaks it.
    pub fn check_exchanges(&self) -> Conformance {
        let conformance = conformance::check(&self.exchanges());
        eprintln!("{conformance}");
        conformance
    }

    /// The body and the signature of an event as the simulator would send it, for a test that sends it itself.
    #[must_use]
    pub fn signed(&self, event: &Value) -> (String, String) {
        let payload = event.to_string();
        let signature = signature(self.webhook_secret(), now(), &payload);
        (payload, signature)
    }

    /// Has Stripe try again by itself to collect an open invoice, as it does days after a failure.
    pub async fn retry(&self, invoice: &str) {
        let path = format!("/_simulator/invoices/{invoice}/retry");
        self.page(reqwest::Method::POST, &path, &[]).await;
    }

    /// Has a person void an open invoice (`void`) or give it up (`mark_uncollectible`) in Stripe's dashboard.
    ///
    /// # Panics
    /// When it is not open.
    pub async fn by_hand(&self, invoice: &str, step: &str) {
        let path = format!("/_simulator/invoices/{invoice}/{step}");
        let answer = self.page(reqwest::Method::POST, &path, &[]).await;
        assert_eq!(answer.status, 200, "{answer}");
    }

    /// Delivers an event once more, as a person can in Stripe's dashboard.
    pub async fn send_again(&self, event: &str) {
        let path = format!("/_simulator/events/{event}/send");
        self.page(reqwest::Method::POST, &path, &[]).await;
    }

    /// Opens a page that the simulator links to.
    pub async fn open(&self, url: &str) -> Answer {
        self.page(reqwest::Method::GET, url, &[]).await
    }

    /// Enters a card on a Checkout page, the portal or a hosted invoice, passes 3-D Secure if it is asked for, and says
    /// where the customer is sent then.
    ///
    /// # Panics
    /// When the card is not taken.
    pub async fn enter_card(&self, url: &str, number: &str) -> String {
        let mut answer = self.try_card(url, number).await;
        let mut target = answer.header("location").to_owned();
        if target.ends_with("/authenticate") {
            answer = self
                .page(reqwest::Method::POST, &target, &[("result", "complete")])
                .await;
            answer.header("location").clone_into(&mut target);
        }
        assert_eq!(answer.status, 303, "{answer}");
        target
    }

    /// Enters a card on such a page, whatever comes of it.
    pub async fn try_card(&self, url: &str, number: &str) -> Answer {
        self.page(reqwest::Method::POST, url, &[("cardNumber", number)])
            .await
    }

    async fn page(&self, method: reqwest::Method, url: &str, form: &[(&str, &str)]) -> Answer {
        let path = url.strip_prefix(&self.url()).unwrap_or(url);
        let body: String = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = self
            .client
            .request(method, path)
            .header("content-type", "application/x-www-form-urlencoded");
        send(request.body(body))
            .await
            .expect("the simulator answers")
    }
}

impl Drop for StripeSimulator {
    fn drop(&mut self) {
        // Either is gone already when its thread has failed, which the test has noticed by then.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
        if self.simulator.options().exchanges == Exchanges::Checked && !thread::panicking() {
            // Without a contract, the end of the test run says so.
            let _ = conformance::check(&self.exchanges());
        }
    }
}

fn run(simulator: Arc<Simulator>, listener: TcpListener, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .expect("a runtime can be built")
        .block_on(async move {
            tokio::select! {
                () = serve(simulator, listener) => {}
                _ = stopped => {}
            }
        });
}
