//! The configuration of an Envoy: the reference `envoy/envoy.yaml` with what a test has of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use super::{
    AccessLog, EnvoyOptions, Listener, Module, Normalisation, Protocol, Trailers, Upgrades,
    filter_module,
};
use crate::process::repository;

fn reference() -> String {
    let path = repository().join("envoy/envoy.yaml");
    fs::read_to_string(path).expect("the reference configuration can be read")
}

/// The filter's configuration in the reference.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn reference_policy() -> Value {
    let text = reference();
    let (_, policy, _) = split_policy(&text);
    serde_json::from_str(policy).expect("the reference configuration of the filter is JSON")
}

/// Writes what an Envoy with these options starts with; a watched listener is replaced in one step.
///
/// # Panics
/// When the reference is not as expected.
pub(super) fn write(options: &EnvoyOptions, folder: &Path, port: u16, admin_port: u16) {
    let text = adapt(&reference(), options, port, admin_port);
    let put = |name: &str, text: &str| {
        let (new, path) = (folder.join("new.yaml"), folder.join(name));
        fs::write(&new, text).expect("a file can be written");
        fs::rename(new, path).expect("a file can be renamed");
    };
    match options.listener {
        Listener::Fixed => put("envoy.yaml", &text),
        Listener::Watched => {
            let watched = folder.join("listener.yaml");
            let (start, listener) = apart(&text, &watched);
            put("listener.yaml", &listener);
            put("envoy.yaml", &start);
        }
    }
}

/// The configuration without its listener, which is then to be found in the file `watched`, and what belongs there.
fn apart(text: &str, watched: &Path) -> (String, String) {
    let listener = between(text, "  listeners:\n", "\n  clusters:\n");
    let without = text.replace(&format!("  listeners:\n{listener}"), "");
    let start = format!(
        "node: {{id: test, cluster: test}}\ndynamic_resources: {{lds_config: {{path_config_source: {{path: {}}}}}}}\n{without}",
        watched.display()
    );
    let kind =
        "  - \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n    name: public";
    let listener = replace_once(listener, "  - name: public", kind);
    (start, format!("resources:\n{listener}\n"))
}

fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    let rest = text.split_once(from).map(|(_, rest)| rest);
    let found = rest.and_then(|rest| rest.split_once(to));
    found.map_or_else(
        || panic!("{from} and then {to} in envoy/envoy.yaml"),
        |(found, _)| found,
    )
}

/// The reference with a test's own addresses, ports, module and configuration of the filter.
fn adapt(reference: &str, options: &EnvoyOptions, port: u16, admin_port: u16) -> String {
    let (before, _, after) = split_policy(reference);
    let mut text = format!("{before}{}\n{after}", options.policy);
    let address =
        |address: SocketAddr| format!("address: {}, port_value: {}", address.ip(), address.port());
    let listener = SocketAddr::from((options.address, port));
    let admin = SocketAddr::from((options.address, admin_port));
    for (from, to) in [
        ("address: 0.0.0.0, port_value: 10000", address(listener)),
        ("address: 127.0.0.1, port_value: 9901", address(admin)),
        (
            "address: 127.0.0.1, port_value: 8080",
            address(options.upstream),
        ),
        (
            "address: 127.0.0.1, port_value: 6379",
            address(options.redis),
        ),
    ] {
        text = replace_once(&text, from, &to);
    }
    text = match &options.module {
        Module::Tollgate => with_module(&text, &filter_module()),
        Module::Other(path) => with_module(&text, path),
        Module::None => without(&text, "- name: tollgate\n", "- name: envoy.filters.http.r"),
    };
    text = match options.normalisation {
        Normalisation::Reference => text,
        Normalisation::None => without(&text, "normalize_path:", "# A refusal's"),
    };
    text = match options.trailers {
        Trailers::Reference => text,
        Trailers::Read => replace_once(&text, UPSTREAM, &format!("{UPSTREAM}{READ_TRAILERS}")),
    };
    text = match options.protocol {
        Protocol::Reference => text,
        Protocol::Http2 => replace_once(&text, UPSTREAM, &format!("{UPSTREAM}{SPEAK_HTTP2}")),
    };
    text = match options.upgrades {
        Upgrades::Reference => text,
        Upgrades::Allowed => with_upgrades(&text),
    };
    match options.access_log {
        AccessLog::Reference => text,
        AccessLog::Fields => with_fields(&text),
        AccessLog::None => without(&text, "access_log:\n", "route_config:\n"),
    }
}

const UPSTREAM: &str = "  - name: upstream\n";
const READ_TRAILERS: &str = r#"    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http_protocol_options: {enable_trailers: true}}
"#;

const SPEAK_HTTP2: &str = r#"    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
"#;

/// The reference's access log with what the filter leaves for it, as its comments say.
fn with_fields(text: &str) -> String {
    let line = between(text, "inline_string: >\n", "          route_config:\n");
    let field = |name: &str| format!("%FILTER_STATE(wasm.tollgate_{name}:PLAIN)%");
    let fields = ["decision", "subscription", "units"].map(field).join(" ");
    let line_of_fields = format!("                    fields %PATH(NQ)% {fields}\n");
    text.replace(line, &line_of_fields)
}

fn with_upgrades(text: &str) -> String {
    let (listener, route) = ("          stat_prefix: public\n", "              routes:\n");
    let allowed =
        "          upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: CONNECT}]\n";
    let tunnel = "              - match: {connect_matcher: {}}\n                route: {cluster: upstream, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}\n";
    let text = replace_once(text, listener, &format!("{listener}{allowed}"));
    replace_once(&text, route, &format!("{route}{tunnel}"))
}

fn with_module(text: &str, path: &Path) -> String {
    let reference = "/etc/tollgate/tollgate_filter.wasm";
    replace_once(text, reference, &path.display().to_string())
}

fn replace_once(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from} in envoy/envoy.yaml");
    text.replace(from, to)
}

/// The text without what begins with `from` and ends before the next `to`.
fn without(text: &str, from: &str, to: &str) -> String {
    let cut = text.split_once(from).and_then(|(before, rest)| {
        let end = rest.find(to)?;
        Some(format!("{before}{}", &rest[end..]))
    });
    cut.unwrap_or_else(|| panic!("{from} and then {to} in envoy/envoy.yaml"))
}

/// What stands before the filter's configuration, that itself, and what stands after it.
fn split_policy(text: &str) -> (&str, &str, &str) {
    let start = text.find("value: |\n").map(|at| at + "value: |\n".len());
    let start = start.expect("the filter's configuration is a block of text");
    let end = text[start..].find("\n          - name: ");
    let end = start + end.expect("another filter follows") + 1;
    let indent = text[start..].len() - text[start..].trim_start().len();
    (
        &text[..start + indent],
        &text[start + indent..end],
        &text[end..],
    )
}
