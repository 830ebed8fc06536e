//! Every route on one screen, each with what it takes to call it.

use axum::http::{HeaderValue, Method, header};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Json, Router};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::admin::Scope::{self, Billing, Catalog, Customers, Read, Setup};
use crate::app::{App, Role};
use crate::catalog::{configuration, invites, plans};
use crate::error::Error;
use crate::http::authorize::authorize;
use crate::http::{observe, openapi};
use crate::idempotency::IDEMPOTENCY_KEY;
use crate::payments::{checkout, webhooks};
use crate::{
    admin, catalog, customers, health, invoicing, keys, payments, portal, sandbox, subscriptions,
    usage,
};

/// The routes of the API that are about what is sold, each with the scope that opens it.
fn catalogue() -> Vec<(Scope, UtoipaMethodRouter<App>)> {
    vec![
        (Catalog, routes!(catalog::routes::create_meter)),
        (Read, routes!(catalog::routes::list_meters)),
        (Read, routes!(catalog::routes::get_meter)),
        (Catalog, routes!(catalog::routes::archive_meter)),
        (Catalog, routes!(catalog::routes::create_feature)),
        (Read, routes!(catalog::routes::list_features)),
        (Read, routes!(catalog::routes::get_feature)),
        (Catalog, routes!(catalog::routes::archive_feature)),
        (Catalog, routes!(plans::routes::create_plan)),
        (Read, routes!(plans::routes::list_plans)),
        (Read, routes!(plans::routes::get_plan)),
        (Read, routes!(plans::routes::list_plan_versions)),
        (Catalog, routes!(plans::routes::update_plan)),
        (Catalog, routes!(plans::routes::publish_plan)),
        (Catalog, routes!(plans::routes::archive_plan)),
        (Customers, routes!(invites::routes::create_plan_invite)),
        (Read, routes!(invites::routes::list_plan_invites)),
        (Read, routes!(invites::routes::get_plan_invite)),
        (Customers, routes!(invites::routes::revoke_plan_invite)),
        (Read, routes!(configuration::routes::get_configuration)),
        (
            Catalog,
            routes!(configuration::routes::update_configuration),
        ),
    ]
}

/// The routes of the API that are about customers and what they use, each with the scope that opens it.
fn api() -> Vec<(Scope, UtoipaMethodRouter<App>)> {
    vec![
        (Customers, routes!(customers::routes::create_customer)),
        (Read, routes!(customers::routes::list_customers)),
        (Read, routes!(customers::routes::get_customer)),
        (Customers, routes!(customers::routes::update_customer)),
        (
            Customers,
            routes!(subscriptions::routes::create_subscription),
        ),
        (Read, routes!(subscriptions::routes::list_subscriptions)),
        (
            Read,
            routes!(subscriptions::routes::list_customer_subscriptions),
        ),
        (Read, routes!(subscriptions::routes::get_subscription)),
        (
            Customers,
            routes!(subscriptions::routes::change_subscription),
        ),
        (Read, routes!(subscriptions::routes::estimate_change)),
        (
            Customers,
            routes!(subscriptions::routes::cancel_subscription),
        ),
        (
            Customers,
            routes!(subscriptions::routes::unschedule_cancelation),
        ),
        (
            Customers,
            routes!(subscriptions::routes::update_overage_limit),
        ),
        (
            Read,
            routes!(subscriptions::routes::get_subscription_access),
        ),
        (Read, routes!(usage::routes::get_subscription_usage)),
        (Read, routes!(usage::query::routes::get_meter_usage)),
        (Customers, routes!(usage::events::routes::create_events)),
        (Setup, routes!(admin::routes::create_admin_key)),
        (Read, routes!(admin::routes::list_admin_keys)),
        (Setup, routes!(admin::routes::revoke_admin_key)),
        (Read, routes!(sandbox::routes::get_clock)),
        (Setup, routes!(sandbox::routes::advance_clock)),
    ]
}

/// The routes of the API that are about keys, each with the scope that opens it.
fn api_keys() -> Vec<(Scope, UtoipaMethodRouter<App>)> {
    vec![
        (Customers, routes!(keys::routes::create_key)),
        (Customers, routes!(keys::routes::import_keys)),
        (Read, routes!(keys::routes::list_keys)),
        (Read, routes!(keys::routes::get_key)),
        (Customers, routes!(keys::routes::revoke_key)),
        (Customers, routes!(keys::routes::roll_key)),
    ]
}

/// The routes of the API that are about money, each with the scope that opens it.
fn money() -> Vec<(Scope, UtoipaMethodRouter<App>)> {
    vec![
        (Read, routes!(invoicing::quote::routes::create_quote)),
        (
            Read,
            routes!(invoicing::profile::routes::get_billing_profile),
        ),
        (
            Billing,
            routes!(invoicing::profile::routes::update_billing_profile),
        ),
        (Read, routes!(invoicing::routes::list_invoices)),
        (Read, routes!(invoicing::routes::get_invoice)),
        (Read, routes!(invoicing::routes::list_customer_invoices)),
        (Read, routes!(invoicing::routes::preview_invoices)),
        (Billing, routes!(invoicing::routes::retry_invoice)),
        (Billing, routes!(invoicing::routes::void_invoice)),
        (
            Customers,
            routes!(checkout::routes::create_checkout_session),
        ),
        (Read, routes!(checkout::routes::get_checkout_session)),
        (Customers, routes!(payments::routes::create_portal_session)),
        (Read, routes!(payments::routes::get_billing_readiness)),
        (Read, routes!(webhooks::routes::list_stripe_events)),
        (Read, routes!(webhooks::routes::get_stripe_event)),
        (Billing, routes!(webhooks::routes::replay_stripe_event)),
    ]
}

/// The routes that anyone may call.
fn public() -> Vec<UtoipaMethodRouter<App>> {
    vec![
        routes!(health::get_health),
        routes!(health::get_readiness),
        routes!(health::get_metrics),
    ]
}

/// What is no part of the API: Stripe's way in, and pages for customers.
fn others() -> Router<App> {
    use portal::routes as pages;
    Router::new()
        .route(
            "/webhooks/stripe",
            post(webhooks::routes::receive_stripe_event),
        )
        .route("/portal/checkout/{checkout}", get(pages::open_checkout))
        .route(
            "/portal/checkout/{checkout}/success",
            get(pages::show_success),
        )
        .route(
            "/portal/checkout/{checkout}/cancel",
            get(pages::show_cancel),
        )
        .route("/portal/checkout/{checkout}/claim", post(pages::claim_key))
        .route("/portal/return", get(pages::show_return))
        .route("/portal/style.css", get(pages::get_style))
}

/// The router for `roles`, with everything that stands around a request.
pub fn router(app: &App, roles: &[Role]) -> Router {
    let (mut routes, document) = assemble(app, roles);
    if roles.contains(&Role::Api) {
        let document = Json(document);
        routes = routes
            .merge(others())
            .route("/openapi.json", get(async move || document))
            .merge(
                SwaggerUi::new("/docs").config(utoipa_swagger_ui::Config::from("/openapi.json")),
            );
    }
    surround(app, routes)
}

/// What stands around every route: ids, logs, metrics, problems, time limit, panics, CORS.
pub fn surround(app: &App, routes: Router<App>) -> Router {
    let server = &app.config.server;
    let routes = routes
        .fallback(async || Error::no_such_path())
        .layer(CatchPanicLayer::custom(observe::panicked))
        .layer(from_fn_with_state(app.clone(), observe::observe));
    let routes = match cors(&server.cors_origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes.with_state(app.clone())
}

/// The routes and the document that describes them, made by the same registration.
fn assemble(app: &App, roles: &[Role]) -> (Router<App>, OpenApi) {
    let mut router = OpenApiRouter::with_openapi(openapi::base());
    for route in public() {
        router = router.routes(openapi::describe_public(route));
    }
    if roles.contains(&Role::Api) {
        let routes = catalogue().into_iter().chain(api());
        for (scope, route) in routes.chain(api_keys()).chain(money()) {
            let (schemas, paths, handler) = openapi::describe_scoped(scope, route);
            let guard = from_fn_with_state((app.clone(), scope), authorize);
            router = router.routes((schemas, paths, handler.layer(guard)));
        }
    }
    router.split_for_parts()
}

/// Nothing for other origins unless they are configured.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = origins
        .iter()
        .filter_map(|origin| origin.parse().ok())
        .collect();
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, IDEMPOTENCY_KEY])
        .expose_headers([observe::REQUEST_ID]);
    (!origins.is_empty()).then(|| layer.allow_origin(AllowOrigin::list(origins)))
}
