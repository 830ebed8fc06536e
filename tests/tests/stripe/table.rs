//! The table of calls says nothing that the contract does not.

use serde_json::{Value, json};
use tollgate_tests::stripe::conformance::check;
use tollgate_tests::stripe::operations::OPERATIONS;
use tollgate_tests::stripe::parameters::{Kind, Parameter};
use tollgate_tests::stripe::world::VERSION;

#[test]
fn every_call_and_parameter_of_the_table_is_in_the_contract() {
    let requests = OPERATIONS.iter().flat_map(|operation| {
        let required = operation
            .parameters
            .iter()
            .filter(|parameter| parameter.required);
        let required: Vec<String> = required
            .flat_map(|parameter| samples(parameter, ""))
            .collect();
        // What can be expanded differs from call to call: the other tests expand what is used.
        let forms = operation
            .parameters
            .iter()
            .filter(|parameter| parameter.name != "expand")
            .map(|parameter| form(parameter, &required));
        let forms: Vec<String> = if operation.method == "DELETE" {
            vec![String::new()]
        } else {
            forms.chain([required.join("&")]).collect()
        };
        forms
            .into_iter()
            .map(|form| request(operation.method, operation.path, &form))
    });
    eprintln!("{}", check(&requests.collect::<Vec<_>>()));
}

/// A form with everything the parameter can hold, and what is required besides.
fn form(parameter: &Parameter, required: &[String]) -> String {
    let mut parts = samples(parameter, "");
    let others = required
        .iter()
        .filter(|part| !part.starts_with(&parameter.name));
    parts.extend(others.cloned());
    parts.join("&")
}

fn request(method: &str, path: &str, form: &str) -> Value {
    let path = path.replace(['{', '}'], "");
    let (query, body) = if method == "POST" {
        ("", form)
    } else {
        (form, "")
    };
    let mut headers = json!({ "authorization": "Bearer hidden", "stripe-version": VERSION });
    if method == "POST" {
        headers["idempotency-key"] = "key".into();
        headers["content-type"] = "application/x-www-form-urlencoded".into();
    }
    json!({ "method": method, "path": path, "query": query, "body": body, "headers": headers })
}

fn samples(parameter: &Parameter, place: &str) -> Vec<String> {
    let name = match place {
        "" => parameter.name.clone(),
        place => format!("{place}[{}]", parameter.name),
    };
    samples_of(&parameter.kind, &name)
}

fn samples_of(kind: &Kind, name: &str) -> Vec<String> {
    match kind {
        Kind::Text(length) => vec![format!("{name}={}", word(name, *length))],
        Kind::Integer | Kind::Range => vec![format!("{name}=1")],
        Kind::Boolean => vec![format!("{name}=true")],
        Kind::Currency => vec![format!("{name}=usd")],
        Kind::Metadata => vec![format!("{name}[key]=value")],
        Kind::Choice(words) => vec![format!("{name}={}", words[0])],
        Kind::List(kind) => samples_of(kind, &format!("{name}[0]")),
        Kind::Hash(parameters) => parameters
            .iter()
            .flat_map(|parameter| samples(parameter, name))
            .collect(),
    }
}

/// A word where any would do, and one of the contract's where it wants one of its own; as long as may be.
fn word(name: &str, length: usize) -> String {
    match name {
        "locale" => "de".to_owned(),
        "type" => "card".to_owned(),
        "api_version" => VERSION.to_owned(),
        "enabled_events[0]" => "invoice.paid".to_owned(),
        _ => "a".repeat(length),
    }
}
