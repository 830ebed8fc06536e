use super::*;

#[test]
fn counter_fields_and_windows_read_back_what_they_write() {
    let window = WindowId {
        epoch: 3,
        meter: "api_requests".to_owned(),
        start_ms: 1_790_000_000_000,
    };
    for field in [
        CounterField::Base(window.clone()),
        CounterField::Hour(window.clone(), 497_222, "key_01".to_owned()),
        CounterField::Late,
    ] {
        assert_eq!(field.to_string().parse(), Ok(field));
    }
    assert_eq!(window.to_string().parse(), Ok(window));
    assert!("h/1/api_requests".parse::<CounterField>().is_err());
}

#[test]
fn script_digests_are_those_of_redis() {
    // printf '' | sha1sum would be da39…; the digests of the scripts are compared with Redis's own in the
    // tests of the protocol. Here only: 40 hex digits, all different.
    let mut digests: Vec<_> = Script::ALL.iter().map(|script| script.sha1()).collect();
    assert!(digests.iter().all(|digest| digest.len() == 40));
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), Script::ALL.len());
}
