//! What `meterOnStatusCodes` may say.

use super::configuration::{LEAST, demand};
use crate::policy::{Policy, Statuses};

fn statuses_of(json: &str) -> Result<Statuses, Vec<String>> {
    let rules = format!(
        r#"[{{"match":{{"pathPrefix":"/"}},"meters":{{"api":1}},"meterOnStatusCodes":{json}}}]"#
    );
    let document = LEAST.replace(r#"[{"match": {"pathPrefix": "/"}}]"#, &rules);
    let policy = Policy::parse(&document)
        .map_err(|found| found.0.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    Ok(demand(policy.rules().next().unwrap())
        .metered_statuses
        .clone())
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn status_codes_take_every_documented_form() {
    type Case<'a> = (&'a str, &'a [u16], &'a [u16]);
    let table: &[Case<'_>] = &[
        (r#""200-299""#, &[200, 204, 299], &[101, 199, 300, 500]),
        (r#""200""#, &[200], &[199, 201]),
        // As Zuplo documents it.
        (r#""200-399""#, &[200, 302, 399], &[199, 400]),
        (r#""200-599""#, &[200, 404, 599], &[100, 199, 600]),
        (
            r#""200, 201, 300-304""#,
            &[200, 201, 300, 304],
            &[202, 299, 305],
        ),
        (r#"" 200 - 201,404 ""#, &[200, 201, 404], &[202, 403]),
        ("[200, 201]", &[200, 201], &[202]),
        (r#""100-599""#, &[100, 599], &[0, 99, 600, u16::MAX]),
    ];
    for (json, metered, not_metered) in table {
        let statuses = statuses_of(json).unwrap();
        assert!(
            metered.iter().all(|status| statuses.contains(*status)),
            "{json}"
        );
        assert!(
            !not_metered.iter().any(|status| statuses.contains(*status)),
            "{json}"
        );
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn status_codes_that_mean_nothing_are_refused() {
    let neither = "is neither a status from 100 to 599 nor a range such as \"200-299\"";
    let table = [
        (
            r#""*""#,
            "\"*\" would also count failures: name the statuses, such as \"200-299\"".to_owned(),
        ),
        (r#""""#, format!("\"\" {neither}")),
        (r#""200,""#, format!("\"\" {neither}")),
        (r#""2xx""#, format!("\"2xx\" {neither}")),
        (r#""99""#, format!("\"99\" {neither}")),
        (r#""600""#, format!("\"600\" {neither}")),
        (r#""+200""#, format!("\"+200\" {neither}")),
        (r#""200-""#, format!("\"200-\" {neither}")),
        (
            r#""299-200""#,
            "\"299-200\" ends before it begins".to_owned(),
        ),
        ("200", "must be a list".to_owned()),
        ("[]", "must have 1 to 64 members".to_owned()),
    ];
    for (json, expected) in table {
        let expected = vec![format!("rules[0].meterOnStatusCodes: {expected}")];
        assert_eq!(statuses_of(json), Err(expected), "{json}");
    }
    let both = vec![
        "rules[0].meterOnStatusCodes[0]: must be a whole number from 100 to 599".to_owned(),
        "rules[0].meterOnStatusCodes[1]: must be a whole number from 100 to 599".to_owned(),
    ];
    assert_eq!(statuses_of(r#"[99, "200"]"#), Err(both));
}
