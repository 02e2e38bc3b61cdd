//! Configuration files by the Manager: what is written is there at once and whole, and nobody writes himself more rights.

use strowger_tests::manager::{Block, ManagerClient};
use strowger_tests::{Exchange, SOON, wait_until};

use crate::manager::{address, admin, exchange};

fn house() -> Exchange {
    exchange(&[
        ("clerk", "secret", "c"),
        ("clerk", "write", "config"),
        ("boss", "secret", "b"),
        ("boss", "write", "config,system"),
    ])
}

fn login(exchange: &Exchange, user: &str, secret: &str) -> ManagerClient {
    ManagerClient::login(address(exchange), user, secret)
}

/// `UpdateConfig` of a file in place.
fn update(client: &mut ManagerClient, file: &str, changes: &[&[(&str, &str)]]) -> Block {
    let mut headers = vec![
        ("Action".to_owned(), "UpdateConfig"),
        ("SrcFilename".to_owned(), file),
        ("DstFilename".to_owned(), file),
    ];
    for (number, change) in changes.iter().enumerate() {
        for (name, value) in *change {
            headers.push((format!("{name}-{number:06}"), value));
        }
    }
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    client.ask(&headers)
}

/// The lines of a file as `GetConfig` gives them.
fn config(client: &mut ManagerClient, file: &str) -> Vec<String> {
    let block = client.ask(&[("Action", "GetConfig"), ("Filename", file)]);
    let lines = block.0.iter().filter(|(name, _)| name != "Response");
    lines
        .map(|(name, value)| format!("{name}: {value}"))
        .collect()
}

#[test]
fn a_file_is_made_filled_changed_and_copied() {
    let exchange = house();
    let mut admin = admin(&exchange);
    let create = [("Action", "CreateConfig"), ("Filename", "app.conf")];
    let answer = admin.ask(&create);
    assert_eq!(
        answer.get("Message"),
        "New configuration file created successfully"
    );
    assert_eq!(admin.ask(&create).get("Message"), "File exists");
    assert_eq!(config(&mut admin, "app.conf"), [] as [String; 0]);
    assert_eq!(
        config(&mut admin, "none.conf"),
        ["Message: Config file not found"]
    );

    let one = ("Cat", "one");
    let answer = update(
        &mut admin,
        "app.conf",
        &[
            &[("Action", "NewCat"), one],
            &[("Action", "Append"), one, ("Var", "zebra"), ("Value", "1")],
            &[
                ("Action", "Append"),
                one,
                ("Var", "ape"),
                ("Value", "=> 2, \"x\""),
            ],
            &[("Action", "NewCat"), ("Cat", "two")],
            &[
                ("Action", "Insert"),
                one,
                ("Var", "mole"),
                ("Value", "3"),
                ("Line", "1"),
            ],
        ],
    );
    assert_eq!(
        (answer.get("Response"), answer.get("Message")),
        ("Success", "")
    );
    let first = [
        "Category-000000: one",
        "Line-000000-000000: zebra=1",
        "Line-000000-000001: mole=3",
        "Line-000000-000002: ape==> 2, \"x\"",
        "Category-000001: two",
    ];
    // Without waiting: who is told that it is done finds it done.
    assert_eq!(config(&mut admin, "app.conf"), first[..]);

    // One wrong action, and nothing is done of the others.
    let answer = update(
        &mut admin,
        "app.conf",
        &[
            &[("Action", "DelCat"), ("Cat", "two")],
            &[("Action", "Update"), one, ("Var", "bear"), ("Value", "9")],
        ],
    );
    assert_eq!(
        answer.get("Message"),
        "Update did not complete successfully"
    );
    assert_eq!(config(&mut admin, "app.conf"), first[..]);
    for (change, wanted) in [
        (&[("Action", "Paint"), one][..], "Unknown action command"),
        (&[("Action", "DelCat")], "Category not specified"),
        (
            &[("Action", "DelCat"), ("Cat", "x")],
            "Given category does not exist",
        ),
        (
            &[("Action", "Append"), one],
            "Problem with category, value, or line (if required)",
        ),
        (
            &[("Action", "NewCat"), one],
            "Create category did not complete successfully",
        ),
    ] {
        let answer = update(&mut admin, "app.conf", &[change]);
        assert_eq!(answer.get("Message"), wanted);
    }

    let answer = admin.ask(&[
        ("Action", "UpdateConfig"),
        ("SrcFilename", "app.conf"),
        ("DstFilename", "copy.conf"),
        ("Action-000000", "RenameCat"),
        ("Cat-000000", "two"),
        ("Value-000000", "second"),
    ]);
    assert_eq!(answer.get("Response"), "Success", "{answer:?}");
    let categories = admin.ask(&[("Action", "ListCategories"), ("Filename", "copy.conf")]);
    assert_eq!(
        (
            categories.get("Category-000000"),
            categories.get("Category-000001")
        ),
        ("one", "second")
    );
    assert_eq!(config(&mut admin, "app.conf"), first[..]);
}

#[test]
fn sections_begin_with_lines_of_others_and_are_found_by_what_they_say() {
    let exchange = house();
    let mut admin = admin(&exchange);
    let create = [("Action", "CreateConfig"), ("Filename", "app.conf")];
    assert_eq!(admin.ask(&create).get("Response"), "Success");
    let (base, desk) = (("Cat", "base"), ("Cat", "desk"));
    let answer = update(
        &mut admin,
        "app.conf",
        &[
            &[("Action", "NewCat"), base],
            &[
                ("Action", "Append"),
                base,
                ("Var", "type"),
                ("Value", "endpoint"),
            ],
            &[
                ("Action", "Append"),
                base,
                ("Var", "allow"),
                ("Value", "ulaw"),
            ],
            &[("Action", "NewCat"), desk, ("Options", "inherit=\"base\"")],
            &[
                ("Action", "Append"),
                desk,
                ("Var", "context"),
                ("Value", "inside"),
            ],
            &[
                ("Action", "Update"),
                desk,
                ("Var", "allow"),
                ("Value", "alaw"),
                ("Options", "catfilter=\"type=^endpoint$,context=in\""),
            ],
        ],
    );
    assert_eq!(answer.get("Response"), "Success", "{answer:?}");
    let all = [
        "Category-000000: base",
        "Line-000000-000000: type=endpoint",
        "Line-000000-000001: allow=ulaw",
        "Category-000001: desk",
        "Line-000001-000000: type=endpoint",
        "Line-000001-000001: allow=alaw",
        "Line-000001-000002: context=inside",
    ];
    assert_eq!(config(&mut admin, "app.conf"), all);
    for (change, wanted) in [
        (
            &[
                ("Action", "DelCat"),
                desk,
                ("Options", "catfilter=\"type=aor\""),
            ][..],
            "Given category does not exist",
        ),
        (
            &[
                ("Action", "NewCat"),
                ("Cat", "x"),
                ("Options", "inherit=none"),
            ],
            "Template category not found",
        ),
        (
            &[("Action", "NewCat"), ("Cat", "x"), ("Options", "template")],
            "Template category not found",
        ),
    ] {
        let answer = update(&mut admin, "app.conf", &[change]);
        assert_eq!(answer.get("Message"), wanted);
    }
    assert_eq!(config(&mut admin, "app.conf"), all);
    // Names in a filter are expressions, too; the tables have no templates.
    for (filter, categories) in [
        ("^type$=endpoint", &["base", "desk"][..]),
        ("cont|nothing=^in", &["desk"]),
        ("TEMPLATES=include,type=end", &["base", "desk"]),
        ("TEMPLATES=restrict", &[]),
    ] {
        let asked = [
            ("Action", "GetConfig"),
            ("Filename", "app.conf"),
            ("Filter", filter),
        ];
        let block = admin.ask(&asked);
        let lines = block.0.iter();
        let found: Vec<&str> = lines
            .filter(|(name, _)| name.starts_with("Category-"))
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!(found, categories, "{filter}");
    }
    let asked = [
        ("Action", "GetConfigJSON"),
        ("Filename", "app.conf"),
        ("Filter", "context=inside"),
    ];
    let told: serde_json::Value =
        serde_json::from_str(admin.ask(&asked).get("JSON")).expect("an object");
    assert_eq!(
        told,
        serde_json::json!({"desk": {"type": "endpoint", "allow": "alaw", "context": "inside"}})
    );
}

#[test]
fn what_is_written_into_the_dialplan_is_called_at_once() {
    let exchange = house();
    let mut boss = login(&exchange, "boss", "b");
    let mut admin = admin(&exchange);
    let here = ("Cat", "written");
    // However its name is written, it is the file that is read.
    let create = [("Action", "CreateConfig"), ("Filename", "Extensions.CONF")];
    assert_eq!(boss.ask(&create).get("Response"), "Success");
    let answer = update(
        &mut boss,
        "extensions.conf",
        &[
            &[("Action", "NewCat"), here],
            &[
                ("Action", "Append"),
                here,
                ("Var", "exten"),
                ("Value", ">777,1,UserEvent(Written,Number: ${EXTEN})"),
            ],
            &[
                ("Action", "Append"),
                here,
                ("Var", "same"),
                ("Value", ">n,Wait(1)"),
            ],
        ],
    );
    assert_eq!(answer.get("Response"), "Success", "{answer:?}");
    let reached = wait_until(SOON, || {
        let show = [
            ("Action", "Command"),
            ("Command", "dialplan show 777@written"),
        ];
        let shown = admin.ask(&show);
        (shown.get("Response") == "Success").then_some(())
    });
    assert!(reached.is_some());
    admin.send(&[
        ("Action", "Originate"),
        ("Channel", "Local/777@written"),
        ("Application", "Wait"),
        ("Data", "1"),
        ("Async", "yes"),
    ]);
    admin.blocks_until("the written step", |block| {
        block.event() == "UserEvent" && block.get("Number") == "777"
    });
}

#[test]
fn nobody_writes_himself_rights_and_secrets_are_not_told() {
    let exchange = house();
    let mut clerk = login(&exchange, "clerk", "c");
    let mut boss = login(&exchange, "boss", "b");
    let before =
        exchange
            .database
            .select("static_manager", &["category", "var_name", "var_val"], "");
    let rights: &[&[(&str, &str)]] = &[&[
        ("Action", "Update"),
        ("Cat", "clerk"),
        ("Var", "write"),
        ("Value", "all"),
    ]];
    let refused = "File requires escalated priveledges";
    for file in [
        "manager.conf",
        "Manager.CONF",
        "acl.conf",
        "./manager.conf",
        "/etc/asterisk/manager.conf",
    ] {
        for client in [&mut clerk, &mut boss] {
            assert_eq!(
                update(client, file, rights).get("Message"),
                refused,
                "{file}"
            );
        }
    }
    // Nor does a copy from there, or to there.
    for (from, to) in [("manager.conf", "amd.conf"), ("amd.conf", "manager.conf")] {
        let copy = [
            ("Action", "UpdateConfig"),
            ("SrcFilename", from),
            ("DstFilename", to),
        ];
        assert_eq!(boss.ask(&copy).get("Message"), refused, "{from} {to}");
    }
    for file in [
        "extensions.conf",
        "voicemail.conf",
        "pjsip.conf",
        "own.conf",
    ] {
        let create = [("Action", "CreateConfig"), ("Filename", file)];
        assert_eq!(clerk.ask(&create).get("Message"), refused, "{file}");
    }
    let create = [("Action", "CreateConfig"), ("Filename", "amd.conf")];
    assert_eq!(clerk.ask(&create).get("Response"), "Success");
    let after =
        exchange
            .database
            .select("static_manager", &["category", "var_name", "var_val"], "");
    assert_eq!(before, after);

    let shown = config(&mut clerk, "manager.conf").join("\n");
    assert!(
        shown.contains("write=config") && !shown.contains("secret"),
        "{shown}"
    );
    let json = clerk.ask(&[("Action", "GetConfigJSON"), ("Filename", "manager.conf")]);
    let json = json.get("JSON").to_owned();
    assert!(
        json.contains("config,system") && !json.contains("secret"),
        "{json}"
    );
    // A filter does not tell them letter by letter either.
    let guess = clerk.ask(&[
        ("Action", "GetConfig"),
        ("Filename", "manager.conf"),
        ("Filter", "secret=^b"),
    ]);
    assert_eq!(guess.0.len(), 1, "{guess:?}");
    let shown = config(&mut boss, "manager.conf").join("\n");
    assert!(shown.contains("secret=c"), "{shown}");
}
