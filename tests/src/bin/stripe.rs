//! Runs the Stripe simulator on its own until Ctrl-C.

use std::net::SocketAddr;

use clap::Parser;
use tollgate_tests::stripe::{Exchanges, MAIN_FLOW, Permissions, StripeOptions, StripeSimulator};

/// A simulator of Stripe, for development and demos. No money moves.
#[derive(Parser)]
struct Arguments {
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:12111")]
    listen: SocketAddr,
    /// The only API key that it takes.
    #[arg(long, default_value = "sk_test_simulator0000000000000000")]
    key: String,
    /// What the key may do: `all`, `main-flow`, or names such as `customer_write,invoice_write`.
    #[arg(long, default_value = "all")]
    permissions: String,
    /// Where webhooks go.
    #[arg(long)]
    webhook_url: Option<String>,
    /// What webhooks are signed with.
    #[arg(long, default_value = "whsec_simulator00000000000000000")]
    webhook_secret: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let permissions = match arguments.permissions.as_str() {
        "all" => Permissions::All,
        "main-flow" => Permissions::only(&MAIN_FLOW),
        names => Permissions::only(&names.split(',').collect::<Vec<_>>()),
    };
    let simulator = StripeSimulator::start(StripeOptions {
        listen: arguments.listen,
        key: arguments.key,
        permissions,
        webhook_secret: arguments.webhook_secret,
        exchanges: Exchanges::Free,
        ..StripeOptions::default()
    });
    println!(
        "Stripe simulator, not Stripe: listens on {}",
        simulator.url()
    );
    println!(
        "Stripe simulator, not Stripe: STRIPE_API_KEY={} STRIPE_WEBHOOK_SECRET={}",
        simulator.key(),
        simulator.webhook_secret()
    );
    if let Some(url) = &arguments.webhook_url {
        simulator.send_webhooks_to(url);
        println!("Stripe simulator, not Stripe: sends webhooks to {url}");
    }
    tokio::signal::ctrl_c().await?;
    Ok(())
}
