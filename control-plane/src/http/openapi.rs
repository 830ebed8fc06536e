//! What every operation of the OpenAPI document has in common.

use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ComponentsBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required,
    ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::admin::Scope;
use crate::app::App;
use crate::error::{Problem, Violation};
use crate::idempotency::KEY_MAX_BYTES;

/// The security scheme's name in the document.
pub const ADMIN_KEY: &str = "adminKey";

/// The document before any operation is in it.
#[must_use]
pub fn base() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Tollgate")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Plans, customers, subscriptions, API keys and usage."))
        .license(Some(
            LicenseBuilder::new()
                .name("Apache-2.0")
                .identifier(Some("Apache-2.0"))
                .build(),
        ))
        .build();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "An admin key, `tga_…`, that has the scope the operation names.",
        ))
        .build();
    let components = ComponentsBuilder::new()
        .security_scheme(ADMIN_KEY, SecurityScheme::Http(bearer))
        .schema(Problem::name(), Problem::schema())
        .schema(Violation::name(), Violation::schema())
        .build();
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .build()
}

/// Completes operations that anyone may call.
pub fn describe_public(mut route: UtoipaMethodRouter<App>) -> UtoipaMethodRouter<App> {
    for item in route.1.paths.values_mut() {
        for operation in operations(item) {
            // An empty list, unlike none, says that no credential is needed.
            operation.security = Some(Vec::new());
            add_problem(operation, "default", "Any error.");
        }
    }
    route
}

/// Completes operations that need an admin key with `scope`.
pub fn describe_scoped(
    scope: Scope,
    mut route: UtoipaMethodRouter<App>,
) -> UtoipaMethodRouter<App> {
    for item in route.1.paths.values_mut() {
        if let Some(post) = &mut item.post {
            post.parameters
                .get_or_insert_default()
                .push(RefOr::T(idempotency_key()));
            add_problem(
                post,
                "422",
                "The idempotency key came with another request before.",
            );
        }
        for operation in operations(item) {
            operation.security = Some(vec![SecurityRequirement::new(ADMIN_KEY, [scope.name()])]);
            let text = operation
                .description
                .take()
                .or_else(|| operation.summary.clone());
            let text = text.unwrap_or_default();
            operation.description = Some(format!("{text}\n\nScope: `{}`.", scope.name()));
            add_problem(operation, "401", "No valid admin key.");
            add_problem(operation, "403", "The key does not open this.");
            add_problem(operation, "429", "Too many requests.");
            add_problem(operation, "default", "Any other error.");
        }
    }
    route
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem {
        get,
        put,
        post,
        delete,
        patch,
        ..
    } = item;
    [get, put, post, delete, patch]
        .into_iter()
        .filter_map(Option::as_mut)
}

fn add_problem(operation: &mut Operation, status: &str, description: &str) {
    let content = ContentBuilder::new()
        .schema(Some(RefOr::Ref(Ref::from_schema_name(Problem::name()))))
        .build();
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content)
        .build();
    operation
        .responses
        .responses
        .insert(status.to_owned(), RefOr::T(response));
}

fn idempotency_key() -> Parameter {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .max_length(Some(KEY_MAX_BYTES))
        .build();
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "A repeat with the same key within 48 hours gets the first answer.",
        ))
        .schema(Some(schema))
        .build()
}
