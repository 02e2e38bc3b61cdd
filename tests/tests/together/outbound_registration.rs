//! An exchange that registers with another one as its trunk: calls come in, rows are followed, the end is told.

use std::time::Duration;
use strowger_tests::{Bank, Ending, Exchange, SOON, Settings, wait_until};

/// A provider with one customer, and the customer's exchange.
fn provider_and_customer(line: &str) -> (Exchange, Exchange) {
    let mut provider = Exchange::new();
    provider.subscriber("customer", "secret", "none");
    provider.subscriber("caller", "secret", "calls");
    provider.extension("calls", "7495", &[("Dial", "PJSIP/customer,20")]);
    provider.start();
    let mut customer = Exchange::prepare(Settings {
        refresh_ms: 200,
        ..Settings::default()
    });
    let server = format!("sip:{}", provider.sip());
    let rows = [
        ("ps_aors", vec![("id", "provider"), ("contact", &server)]),
        (
            "ps_auths",
            vec![
                ("id", "provider"),
                ("auth_type", "userpass"),
                ("username", "customer"),
                ("password", "secret"),
            ],
        ),
        (
            "ps_endpoints",
            vec![
                ("id", "provider"),
                ("aors", "provider"),
                ("context", "from-provider"),
                ("disallow", "all"),
                ("allow", "alaw"),
            ],
        ),
    ];
    for (table, row) in &rows {
        customer.database.insert(table, row);
    }
    let client = format!("sip:customer@{}", provider.sip());
    customer.database.insert(
        "ps_registrations",
        &[
            ("id", "provider"),
            ("client_uri", &client),
            ("server_uri", &server),
            ("contact_user", "7495"),
            ("outbound_auth", "provider"),
            ("max_random_initial_delay", "0"),
            ("retry_interval", "1"),
            ("expiration", "120"),
            ("line", line),
            ("endpoint", "provider"),
        ],
    );
    if line == "no" {
        let row = [
            ("id", "provider"),
            ("endpoint", "provider"),
            ("match", &provider.ip().to_string()),
        ];
        customer.database.insert("ps_endpoint_id_ips", &row);
    }
    customer.extension("from-provider", "7495", &[("Answer", ""), ("Echo", "")]);
    customer.start();
    (provider, customer)
}

fn contacts(provider: &Exchange) -> Vec<String> {
    provider
        .database
        .select("ps_contacts", &["uri"], "ORDER BY uri")
        .into_iter()
        .filter_map(|row| row.into_iter().next().flatten())
        .collect()
}

#[track_caller]
fn expect_contacts(provider: &Exchange, what: &str, good: impl Fn(&[String]) -> bool) {
    let found = wait_until(SOON, || good(&contacts(provider)).then_some(()));
    assert!(found.is_some(), "{what}: {:?}", contacts(provider));
}

fn a_call_from_the_provider_finds_its_extension(line: &str) {
    let (provider, customer) = provider_and_customer(line);
    expect_contacts(&provider, "registered", |list| {
        list.len() == 1 && list[0].contains("7495@") && list[0].contains("line=") == (line == "yes")
    });
    let bank = Bank::new();
    let caller = bank.phone("caller", "secret", provider.sip());
    caller.register();
    let call = caller.call("7495");
    call.expect_answered(SOON);
    call.hang_up();
    assert_eq!(call.expect_ended(SOON), Ending::WeHungUp);
    let registered = "strowger_outbound_registrations_registered";
    assert_eq!(customer.metric(registered), 1);
    assert!(customer.metric("strowger_outbound_registers_sent_total") >= 2);
}

#[test]
fn a_call_under_a_line_finds_its_extension() {
    a_call_from_the_provider_finds_its_extension("yes");
}

#[test]
fn a_call_from_a_known_address_finds_its_extension() {
    a_call_from_the_provider_finds_its_extension("no");
}

#[test]
fn rows_are_followed_and_the_end_is_told() {
    let (provider, mut customer) = provider_and_customer("yes");
    expect_contacts(&provider, "registered", |list| list.len() == 1);
    customer
        .database
        .execute("UPDATE ps_registrations SET contact_user = '7812'");
    expect_contacts(&provider, "under the new number alone", |list| {
        list.len() == 1 && list[0].contains("7812@")
    });
    customer.database.execute("DELETE FROM ps_registrations");
    expect_contacts(&provider, "taken back", <[String]>::is_empty);
    let client = format!("sip:customer@{}", provider.sip());
    let server = format!("sip:{}", provider.sip());
    let row = [
        ("id", "again"),
        ("client_uri", client.as_str()),
        ("server_uri", server.as_str()),
        ("outbound_auth", "provider"),
    ];
    customer.database.insert("ps_registrations", &row);
    expect_contacts(&provider, "registered anew", |list| list.len() == 1);
    assert!(customer.terminate(Duration::from_secs(30)).is_some());
    expect_contacts(&provider, "taken back at the end", <[String]>::is_empty);
}

#[test]
fn a_wrong_password_is_not_tried_again_until_it_is_put_right() {
    let (provider, customer) = provider_and_customer("no");
    expect_contacts(&provider, "registered", |list| list.len() == 1);
    customer
        .database
        .execute("UPDATE ps_auths SET password = 'wrong' WHERE id = 'provider'");
    customer
        .database
        .execute("UPDATE ps_registrations SET contact_user = '7812'");
    let rejected = "strowger_outbound_registrations_rejected";
    assert!(wait_until(SOON, || (customer.metric(rejected) == 1).then_some(())).is_some());
    let refused = provider.metric("strowger_authentication_failures_total");
    assert!(refused >= 1);
    customer
        .database
        .execute("UPDATE ps_auths SET password = 'secret' WHERE id = 'provider'");
    expect_contacts(&provider, "registered", |list| {
        list.iter().any(|uri| uri.contains("7812@"))
    });
}
