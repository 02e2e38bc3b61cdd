//! Functions of the dialplan that read and change the database, on every engine.

use strowger_tests::{Bank, Ending, Engine, Exchange, SOON, Settings};

/// Lines of `func_odbc.conf` and `extconfig.conf`.
const LINES: &[(&str, &str, &str, &str)] = &[
    ("func_odbc.conf", "PASSWORD", "dsn", "asterisk"),
    (
        "func_odbc.conf",
        "PASSWORD",
        "readsql",
        "SELECT password, maxmsg FROM voicemail WHERE mailbox = '${SQL_ESC(${ARG1})}' AND maxmsg >= ${ARG2}",
    ),
    (
        "func_odbc.conf",
        "PASSWORD",
        "writesql",
        "UPDATE voicemail SET password = '${SQL_ESC(${VALUE})}', maxmsg = '${VAL2}' WHERE mailbox = '${ARG1}'",
    ),
    ("func_odbc.conf", "BOXES", "dsn", "asterisk"),
    ("func_odbc.conf", "BOXES", "mode", "multirow"),
    (
        "func_odbc.conf",
        "BOXES",
        "readsql",
        "SELECT mailbox FROM voicemail WHERE context = '${ARG1}' AND mailbox LIKE '2%' ORDER BY mailbox",
    ),
    ("extconfig.conf", "settings", "boxes", "odbc,pbx,voicemail"),
];

fn functions_work_on(engine: Engine) {
    let mut exchange = Exchange::prepare(Settings {
        engine,
        ..Settings::default()
    });
    exchange.subscriber("alice", "secret", "internal");
    for (file, category, name, value) in LINES {
        exchange.database.insert(
            "static_extensions",
            &[
                ("filename", file),
                ("category", category),
                ("var_name", name),
                ("var_val", value),
            ],
        );
    }
    exchange.extension(
        "internal",
        "1",
        &[
            ("Set", "REALTIME_STORE(boxes,context,mailbox,password,maxmsg,attach)=office,200,4711,5,yes"),
            ("Set", "REALTIME_STORE(boxes,context,mailbox,password)=office,201,O'Hara"),
            ("Set", "REALTIME(boxes,mailbox,201,fullname)=Jane \"JD\" O'Hara \\ 50%"),
            ("Set", "REALTIME(boxes,mailbox,200,maxmsg)=7"),
            ("Set", "REALTIME(boxes,mailbox,200,attach)=no"),
            ("Set", "A=${REALTIME_FIELD(boxes,mailbox,200,maxmsg)}${REALTIME_FIELD(boxes,mailbox,200,attach)}"),
            ("GotoIf", "$[\"${A}\" != \"7no\"]?20"),
            ("GotoIf", "$[\"${ODBC_PASSWORD(200,7)}\" != \"4711,7\"]?21"),
            ("GotoIf", "$[\"${ODBC_PASSWORD(200,8)}${ODBCSTATUS}\" != \"NODATA\"]?22"),
            ("GotoIf", "$[\"${ODBC_PASSWORD(x' OR '1'='1,0)}${ODBCROWS}\" != \"0\"]?23"),
            ("Set", "ODBC_PASSWORD(200)=it's \\ new,9"),
            ("GotoIf", "$[\"${ODBCROWS}\" != \"1\"]?24"),
            ("Set", "ALL=${ODBC_BOXES(office)}"),
            ("Set", "LIST=${ODBCROWS}:${ODBC_FETCH(${ALL})}:${ODBC_FETCH(${ALL})}:${ODBC_FETCH(${ALL})}"),
            ("GotoIf", "$[\"${LIST}\" != \"2:200:201:\"]?25"),
            ("Set", "REALTIME_STORE(boxes,context,mailbox)=office,299"),
            ("GotoIf", "$[\"${REALTIME_DESTROY(boxes,mailbox,299)}\" =~ \"mailbox=299\"]?26:19"),
            ("NoOp", ""),
            ("Hangup", "1"),
            ("Hangup", "34"),
            ("Hangup", "18"),
            ("Hangup", "21"),
            ("Hangup", "22"),
            ("Hangup", "28"),
            ("Hangup", "29"),
            ("Hangup", "17"),
        ],
    );
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    assert_eq!(
        alice.call("1").expect_ended(SOON),
        Ending::Status(486),
        "the cause tells the step that found something wrong: {}",
        exchange.log()
    );
    let rows = exchange.database.select(
        "voicemail",
        &["mailbox", "password", "fullname", "maxmsg"],
        "ORDER BY mailbox",
    );
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        rows,
        [
            [text("200"), text("it's \\ new,9"), None, text("9")],
            [
                text("201"),
                text("O'Hara"),
                text("Jane \"JD\" O'Hara \\ 50%"),
                None
            ],
        ]
    );
}

#[test]
fn functions_work_on_sqlite() {
    functions_work_on(Engine::Sqlite);
}

#[test]
fn functions_work_on_mariadb() {
    functions_work_on(Engine::MariaDb);
}

#[test]
fn functions_work_on_postgresql() {
    functions_work_on(Engine::Postgres);
}
