//! What becomes of single requests: keys, paths and headers on the way in, answers on the way out.

mod credentials;
mod forged;
mod golden;
mod grpc;
mod observed;
mod paths;
mod refusals;
mod responses;
mod told;
mod upgrades;

use serde_json::Value;
use tollgate_tests::envoy::{Envoy, EnvoyOptions};
use tollgate_tests::http::{Answer, Connections, HttpClient};

use crate::customer::{Customer, Quota};
use crate::world::World;

/// The meter of the reference's rule for everything.
const METER: &str = "api_requests";
const PLENTY: Quota = Quota::Hard(1_000_000);

/// A gateway and a customer with units to spare.
struct Scene {
    world: World,
    envoy: Envoy,
    client: HttpClient,
    customer: Customer,
}

impl Scene {
    async fn set() -> Self {
        Self::set_with(|_| {}).await
    }

    /// The same with options of the gateway.
    async fn set_with(change: impl FnOnce(&mut EnvoyOptions)) -> Self {
        let mut world = World::open();
        let customer = world.customer(&[(METER, PLENTY)]);
        let mut options = world.options();
        change(&mut options);
        let envoy = Envoy::start(options).await;
        Self {
            client: envoy.client(Connections::Kept),
            envoy,
            world,
            customer,
        }
    }

    /// Gets a path with a customer's key.
    async fn get(&self, path: &str, customer: &Customer) -> Answer {
        self.client.get_with_key(path, &customer.key).await.unwrap()
    }

    /// Gets a path with these header lines.
    async fn get_with(&self, target: &str, headers: &[&str]) -> Answer {
        self.client.get_as_spelled(target, headers).await.unwrap()
    }
}

/// A header as the upstream saw it, if it did.
fn seen<'a>(answer: &'a Value, header: &str) -> Option<&'a str> {
    answer["headers"][header].as_str()
}
