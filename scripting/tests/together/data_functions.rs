//! Functions that reach data outside of the call: `CURL`, `REALTIME...`, `ODBC_...`, in real calls. `tests/` does the same for
//! rows with servers of MariaDB and PostgreSQL.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::exchange::{Exchange, Manner, Phone, Row};
use strowger_store::{Cell, Database};

/// A web server that answers by path, and keeps what it was asked.
struct Web {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Web {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                // Heads, and bodies of the length that they tell.
                while let Ok(read) = stream.read(&mut buffer) {
                    request.extend_from_slice(&buffer[..read]);
                    let text = String::from_utf8_lossy(&request);
                    let length = text
                        .to_ascii_lowercase()
                        .split("content-length: ")
                        .nth(1)
                        .and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok())
                        .unwrap_or(0);
                    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
                    if read == 0 || body.is_some_and(|body| body >= length) {
                        break;
                    }
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                let (status, body) = match path.as_str() {
                    "/plain" => ("200 OK", "first line\nsecond, line\n\n".to_owned()),
                    "/form" => ("200 OK", "name=Jane%20Doe&town=A%2C+B".to_owned()),
                    "/missing" => ("404 Not Found", "nothing here".to_owned()),
                    "/moved" => ("302 Found\r\nLocation: /plain", String::new()),
                    "/slow" => {
                        std::thread::sleep(Duration::from_secs(3));
                        ("200 OK", "late".to_owned())
                    }
                    "/large" => ("200 OK", "x".repeat(70_000)),
                    _ => ("200 OK", "ok".to_owned()),
                };
                kept.lock().expect("the test did not fail").push(request);
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("the server did not fail").clone()
    }
}

/// Runs the steps as one call and gives back its exchange.
fn call(steps: &[(&str, &str)]) -> Exchange {
    let rows: Vec<Row<'_>> = steps.iter().map(|(app, data)| ("1", *app, *data)).collect();
    let exchange = Exchange::start(&rows, &[]);
    exchange.call("1", "");
    exchange
}

#[test]
fn curl_reads_posts_and_fails_as_its_options_say() {
    let web = Web::start();
    let at = web.address;
    let steps: Vec<(&str, String)> = [
        ("Set", format!("GLOBAL(PLAIN)=${{CURL(http://{at}/plain)}}")),
        ("Set", "CURLOPT(userpwd)=bob:secret".to_owned()),
        ("Set", "CURLOPT(useragent)=Desk/2".to_owned()),
        ("Set", "CURLOPT(httpheader)=X-Call: ${EXTEN}".to_owned()),
        ("Set", "CURLOPT(referer)=http://here/".to_owned()),
        ("Set", "CURLOPT(cookie)=a=b".to_owned()),
        (
            "Set",
            format!("GLOBAL(POSTED)=${{CURL({at}/post,number=${{EXTEN}}&name=x,y)}}"),
        ),
        ("Set", "GLOBAL(AGENT)=${CURLOPT(useragent)}".to_owned()),
        (
            "Set",
            format!("GLOBAL(MOVED)=[${{CURL(http://{at}/moved)}}]"),
        ),
        ("Set", "CURLOPT(followlocation)=1".to_owned()),
        (
            "Set",
            format!("GLOBAL(FOLLOWED)=${{CURL(http://{at}/moved)}}"),
        ),
        (
            "Set",
            format!("GLOBAL(MISSING)=${{CURL(http://{at}/missing)}}"),
        ),
        ("Set", "CURLOPT(failurecodes)=404,500".to_owned()),
        (
            "Set",
            format!("GLOBAL(FAILED)=[${{CURL(http://{at}/missing)}}]"),
        ),
        ("Set", "CURLOPT(header)=yes".to_owned()),
        (
            "Set",
            format!("GLOBAL(HEADED)=${{CURL(http://{at}/plain)}}"),
        ),
        ("Set", "CURLOPT(header)=no".to_owned()),
        ("Set", "CURLOPT(hashcompat)=yes".to_owned()),
        ("Set", format!("HASH(person)=${{CURL(http://{at}/form)}}")),
        ("Set", "GLOBAL(NAME)=${HASH(person,name)}".to_owned()),
        ("Set", "GLOBAL(TOWN)=${HASH(person,town)}".to_owned()),
        ("Set", "CURLOPT(hashcompat)=legacy".to_owned()),
        ("Set", format!("HASH(person)=${{CURL(http://{at}/form)}}")),
        ("Set", "GLOBAL(LEGACY)=${HASH(person,town)}".to_owned()),
        ("Set", "CURLOPT(hashcompat)=no".to_owned()),
        ("Set", "CURLOPT(httptimeout)=0.3".to_owned()),
        ("Set", format!("GLOBAL(SLOW)=[${{CURL(http://{at}/slow)}}]")),
        ("Set", "CURLOPT(httptimeout)=600".to_owned()),
        ("Set", "GLOBAL(TIMEOUT)=${CURLOPT(httptimeout)}".to_owned()),
        (
            "Set",
            "GLOBAL(REFUSED)=[${CURL(http://127.0.0.1:1/)}]".to_owned(),
        ),
        ("Set", "GLOBAL(FTP)=[${CURL(ftp://127.0.0.1/)}]".to_owned()),
    ]
    .to_vec();
    let steps: Vec<(&str, &str)> = steps
        .iter()
        .map(|(app, data)| (*app, data.as_str()))
        .collect();
    let exchange = call(&steps);
    for (name, wanted) in [
        ("PLAIN", "first line\nsecond, line"),
        ("POSTED", "ok"),
        ("AGENT", "Desk/2"),
        ("MOVED", "[]"),
        ("FOLLOWED", "first line\nsecond, line"),
        ("MISSING", "nothing here"),
        ("FAILED", "[]"),
        ("NAME", "Jane Doe"),
        ("TOWN", "A,+B"),
        ("LEGACY", "A, B"),
        ("SLOW", "[]"),
        ("TIMEOUT", "0.3"),
        ("REFUSED", "[]"),
        ("FTP", "[]"),
    ] {
        assert_eq!(exchange.global(name), wanted, "{name}");
    }
    let headed = exchange.global("HEADED");
    assert!(
        headed.starts_with("HTTP/1.1 200\r\n") && headed.contains("content-type: text/plain"),
        "{headed}"
    );
    let asked = web.asked();
    let posted = asked
        .iter()
        .find(|request| request.starts_with("POST /post"))
        .expect("posted")
        .to_ascii_lowercase();
    for line in [
        "authorization: basic ym9ionnly3jlda==",
        "user-agent: desk/2",
        "x-call: 1",
        "referer: http://here/",
        "cookie: a=b",
        "content-type: application/x-www-form-urlencoded",
    ] {
        assert!(posted.contains(line), "{line} in {posted}");
    }
    assert!(posted.ends_with("number=1&name=x,y"), "{posted}");
}

#[test]
fn an_answer_that_is_too_large_is_none() {
    let web = Web::start();
    let step = format!("GLOBAL(LARGE)=[${{CURL(http://{}/large)}}]", web.address);
    let exchange = call(&[("Set", &step)]);
    assert_eq!(exchange.global("LARGE"), "[]");
}

/// An exchange with a SQLite database of its own that has these tables.
fn with_tables(rows: &[Row<'_>], tables: &[&str], lines: &[(&str, &str, &str, &str)]) -> Exchange {
    let exchange = Exchange::start_with_config(rows, &[], &[], |config, data| {
        for file in ["strowger.db", "crm.db"] {
            std::fs::File::create(data.join(file)).expect("a file");
        }
        config.sql.insert(
            "crm".to_owned(),
            strowger_core::config::SqlDatabase {
                url: "sqlite://crm.db".to_owned(),
                connections: 2,
                read_only: false,
            },
        );
    });
    for (file, statement) in tables
        .iter()
        .map(|text| text.split_once(": ").expect("a file"))
    {
        change(&exchange, file, statement);
    }
    exchange.statics(lines);
    exchange
}

fn change(exchange: &Exchange, file: &str, statement: &str) {
    let database = open(exchange, file);
    let changed = database.change(statement, Vec::new());
    exchange.runtime().block_on(changed).expect(statement);
}

fn open(exchange: &Exchange, file: &str) -> Database {
    let url = format!("sqlite://{file}.db");
    Database::new(&url, exchange.data.path(), 1, false).expect("a database")
}

fn select(exchange: &Exchange, file: &str, statement: &str) -> Vec<Vec<Cell>> {
    let database = open(exchange, file);
    let rows = database.query(statement, Vec::new(), 100);
    exchange.runtime().block_on(rows).expect(statement).rows
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

#[test]
fn realtime_reads_changes_makes_and_deletes_rows() {
    let rows: Vec<Row<'_>> = [
        ("Set", "GLOBAL(ROW)=${REALTIME(ps_aors,id,100)}"),
        ("Set", "GLOBAL(OTHER)=${REALTIME(ps_aors,id,100,|,:)}"),
        ("Set", "GLOBAL(LIKE)=${REALTIME(ps_aors,id LIKE,2%)}"),
        ("Set", "GLOBAL(NONE)=[${REALTIME(ps_aors,id,nobody)}]"),
        (
            "Set",
            "GLOBAL(FIELD)=${REALTIME_FIELD(ps_aors,id,100,contact)}",
        ),
        (
            "Set",
            "GLOBAL(WRONG)=[${REALTIME_FIELD(ps_aors,id,100,nothing)}]",
        ),
        ("Set", "HASH(aor)=${REALTIME_HASH(ps_aors,id,100)}"),
        (
            "Set",
            "GLOBAL(HASHED)=${HASH(aor,contact)}/${HASH(aor,max_contacts)}",
        ),
        ("Set", "REALTIME(ps_aors,id,100,contact)=sip:o'hara@x,y"),
        (
            "Set",
            "REALTIME_STORE(customers,number,name)=7,Jane \\, Doe",
        ),
        ("Set", "GLOBAL(STORED)=${REALTIMESTOREID}"),
        (
            "ExecIf",
            "1?Set(REALTIME_STORE(customers,number,name)=8,Bob)",
        ),
        ("MSet", "A=1,REALTIME(customers,number,8,name)=Rob,B=2"),
        ("Set", "GLOBAL(BOTH)=${A}${B}"),
        (
            "Set",
            "GLOBAL(TAKEN)=${REALTIME_DESTROY(customers,number,7)}",
        ),
        ("Set", "REALTIME_DESTROY(ps_aors,id,200)="),
        ("Set", "GLOBAL(UNKNOWN)=[${REALTIME(secrets,id,1)}]"),
        (
            "Set",
            "GLOBAL(INJECTED)=[${REALTIME(ps_aors,id = id --,x)}]",
        ),
        ("Set", "GLOBAL(DONE)=yes"),
    ]
    .iter()
    .map(|(app, data)| ("1", *app, *data))
    .collect();
    let exchange = with_tables(
        &rows,
        &[
            "strowger: CREATE TABLE ps_aors (id TEXT, contact TEXT, max_contacts INTEGER, mailboxes TEXT)",
            "strowger: INSERT INTO ps_aors VALUES ('100', 'sip:a@b', 2, NULL), ('200', '', 1, 'm')",
            "strowger: CREATE TABLE crm_customers (number TEXT, name TEXT)",
            "strowger: CREATE TABLE secrets (id TEXT)",
        ],
        &[(
            "extconfig.conf",
            "settings",
            "customers",
            "mysql,pbx,crm_customers",
        )],
    );
    exchange.call("1", "");
    for (name, wanted) in [
        ("ROW", "id=100,contact=sip:a@b,max_contacts=2"),
        ("OTHER", "id:100|contact:sip:a@b|max_contacts:2"),
        ("LIKE", "id=200,contact=,max_contacts=1,mailboxes=m"),
        ("NONE", "[]"),
        ("FIELD", "sip:a@b"),
        ("WRONG", "[]"),
        ("HASHED", "sip:a@b/2"),
        ("STORED", "1"),
        ("BOTH", "12"),
        ("TAKEN", "number=7,name=Jane , Doe"),
        ("UNKNOWN", "[]"),
        ("INJECTED", "[]"),
        ("DONE", "yes"),
    ] {
        assert_eq!(exchange.global(name), wanted, "{name}");
    }
    assert_eq!(
        select(&exchange, "strowger", "SELECT id, contact FROM ps_aors"),
        [[text("100"), text("sip:o'hara@x,y")]]
    );
    assert_eq!(
        select(&exchange, "strowger", "SELECT * FROM crm_customers"),
        [[text("8"), text("Rob")]]
    );
}

#[test]
fn functions_of_func_odbc_read_write_and_fetch() {
    let rows: Vec<Row<'_>> = [
        ("Set", "GLOBAL(NAME)=${ODBC_NAME(7)}"),
        ("Set", "GLOBAL(NAMED)=${ODBCSTATUS}/${ODBCROWS}"),
        ("Set", "GLOBAL(NOBODY)=[${ODBC_NAME(9)}]"),
        ("Set", "GLOBAL(EMPTY)=${ODBCSTATUS}/${ODBCROWS}"),
        ("Set", "GLOBAL(EVIL)=[${ODBC_NAME(7' OR '1'='1)}]"),
        ("Set", "HASH(c)=${ODBC_CUSTOMER(7)}"),
        ("Set", "GLOBAL(HASHED)=${HASH(c,name)}|${HASH(c,balance)}"),
        ("Set", "ALL=${ODBC_ALL(balance)}"),
        ("Set", "GLOBAL(COUNT)=${ODBCROWS}"),
        (
            "Set",
            "GLOBAL(FIRST)=${ODBC_FETCH(${ALL})}/${ODBC_FETCH_STATUS}",
        ),
        (
            "Set",
            "GLOBAL(SECOND)=${ODBC_FETCH(${ALL})}/${ODBC_FETCH_STATUS}",
        ),
        (
            "Set",
            "GLOBAL(END)=${ODBC_FETCH(${ALL})}/${ODBC_FETCH_STATUS}",
        ),
        ("Set", "ODBC_NAME(7)=O'Hara"),
        ("Set", "GLOBAL(WROTE)=${ODBCSTATUS}/${ODBCROWS}"),
        ("Set", "ODBC_NAME(12)=New one"),
        ("Set", "GLOBAL(INSERTED)=${ODBCSTATUS}/${ODBCROWS}"),
        ("Set", "CRM_BALANCE(8)=5,ignored"),
        (
            "Set",
            "GLOBAL(SORTED)=[${ODBC_ALL(name; DROP TABLE customers)}]",
        ),
        ("Set", "GLOBAL(FAILED)=${ODBCSTATUS}"),
        ("Set", "GLOBAL(BROKEN)=[${ODBC_BROKEN()}]${ODBCSTATUS}"),
        ("Set", "GLOBAL(NODSN)=[${ODBC_NODSN()}]${ODBCSTATUS}"),
        ("Set", "GLOBAL(OWN)=${ODBC_OWN()}"),
        ("Set", "GLOBAL(ARG)=[${ARG1}]"),
        ("Set", "GLOBAL(DONE)=yes"),
    ]
    .iter()
    .map(|(app, data)| ("1", *app, *data))
    .collect();
    let file = "func_odbc.conf";
    let exchange = with_tables(
        &rows,
        &[
            "crm: CREATE TABLE customers (number TEXT, name TEXT, balance INTEGER)",
            "crm: INSERT INTO customers VALUES ('7', 'Jane, D', 20), ('8', 'Bob', 10)",
            "strowger: CREATE TABLE ps_globals (id TEXT)",
            "strowger: INSERT INTO ps_globals VALUES ('global')",
        ],
        &[
            (file, "NAME", "dsn", "crm"),
            (
                file,
                "NAME",
                "readsql",
                "SELECT name FROM customers WHERE number = '${SQL_ESC(${ARG1})}'",
            ),
            (
                file,
                "NAME",
                "writesql",
                "UPDATE customers SET name = '${SQL_ESC(${VALUE})}' WHERE number = '${ARG1}'",
            ),
            (
                file,
                "NAME",
                "insertsql",
                "INSERT INTO customers VALUES ('${ARG1}', '${VAL1}', 0)",
            ),
            (file, "CUSTOMER", "dsn", "crm"),
            (
                file,
                "CUSTOMER",
                "read",
                "SELECT name, balance FROM customers WHERE number = '${ARG1}'",
            ),
            (file, "ALL", "dsn", "crm"),
            (
                file,
                "ALL",
                "readsql",
                "SELECT number, balance FROM customers ORDER BY ${ARG1}",
            ),
            (file, "ALL", "mode", "multirow"),
            (file, "BALANCE", "prefix", "CRM"),
            (file, "BALANCE", "dsn", "crm"),
            (
                file,
                "BALANCE",
                "writesql",
                "UPDATE customers SET balance = ${VAL1} WHERE number = '${ARG1}'",
            ),
            (file, "BROKEN", "dsn", "crm"),
            (file, "BROKEN", "readsql", "SELECT nothing FROM nowhere"),
            (file, "NODSN", "dsn", "elsewhere"),
            (file, "NODSN", "readsql", "SELECT 1"),
            (file, "OWN", "dsn", "asterisk"),
            (file, "OWN", "readsql", "SELECT id FROM ps_globals"),
        ],
    );
    exchange.call("1", "");
    for (name, wanted) in [
        ("NAME", "Jane\\, D"),
        ("NAMED", "SUCCESS/1"),
        ("NOBODY", "[]"),
        ("EMPTY", "NODATA/0"),
        ("EVIL", "[]"),
        ("HASHED", "Jane, D|20"),
        ("COUNT", "2"),
        ("FIRST", "8,10/SUCCESS"),
        ("SECOND", "7,20/SUCCESS"),
        ("END", "/FAILURE"),
        ("WROTE", "SUCCESS/1"),
        ("INSERTED", "SUCCESS/1"),
        ("SORTED", "[]"),
        ("FAILED", "FAILURE"),
        ("BROKEN", "[]FAILURE"),
        ("NODSN", "[]FAILURE"),
        ("OWN", "global"),
        ("ARG", "[]"),
        ("DONE", "yes"),
    ] {
        assert_eq!(exchange.global(name), wanted, "{name}");
    }
    assert_eq!(
        select(&exchange, "crm", "SELECT * FROM customers ORDER BY number"),
        [
            [text("12"), text("New one"), Cell::Integer(0)],
            [text("7"), text("O'Hara"), Cell::Integer(20)],
            [text("8"), text("Bob"), Cell::Integer(5)],
        ]
    );
}

#[test]
fn a_hang_up_does_not_leave_a_write_half_done_and_h_writes_too() {
    let exchange = with_tables(
        &[
            ("1", "Set", "REALTIME_STORE(customers,number,name)=1,first"),
            ("1", "Hangup", ""),
            (
                "h",
                "Set",
                "REALTIME_STORE(customers,number,name)=2,${REALTIME_FIELD(customers,number,1,name)}",
            ),
            ("h", "Set", "GLOBAL(OVER)=yes"),
        ],
        &["strowger: CREATE TABLE customers (number TEXT, name TEXT)"],
        &[("extconfig.conf", "settings", "customers", "odbc,pbx")],
    );
    exchange.call("1", "");
    crate::exchange::wait_until("h has run", || exchange.global("OVER") == "yes");
    assert_eq!(
        select(
            &exchange,
            "strowger",
            "SELECT * FROM customers ORDER BY number"
        ),
        [[text("1"), text("first")], [text("2"), text("first")]]
    );
}

#[test]
fn files_are_written_below_the_data_directory_only() {
    let exchange = call(&[
        ("Set", "FILE(notes.txt,,,l)=first, line"),
        ("Set", "FILE(notes.txt,,,al)=second"),
        ("Set", "FILE(notes.txt,0,1,l)=changed"),
        ("Set", "GLOBAL(READ)=${FILE(notes.txt,1,1,l)}"),
        ("Set", "FILE(/tmp/strowger-never-written,,,l)=x"),
        ("Set", "FILE(../escaped,,,l)=x"),
        ("Set", "FILE(notes.txt,,,q)=gone"),
        ("Set", "GLOBAL(DONE)=yes"),
    ]);
    assert_eq!(exchange.global("READ"), "second\n");
    assert_eq!(exchange.global("DONE"), "yes");
    let written = std::fs::read_to_string(exchange.data.path().join("notes.txt"));
    assert_eq!(written.expect("the file"), "changed\nsecond\n");
    assert!(!std::path::Path::new("/tmp/strowger-never-written").exists());
}

#[test]
fn endpoints_contacts_and_headers_are_read() {
    let phone = Phone::start("desk", Manner::Ring);
    let rows: Vec<Row<'_>> = [
        ("Set", "GLOBAL(CONTEXT)=${PJSIP_ENDPOINT(desk,context)}"),
        (
            "Set",
            "GLOBAL(CODECS)=${PJSIP_ENDPOINT(desk,allow)}/${PJSIP_ENDPOINT(desk,direct_media)}",
        ),
        ("Set", "GLOBAL(NOFIELD)=[${PJSIP_ENDPOINT(desk,colour)}]"),
        ("Set", "GLOBAL(NOBODY)=[${PJSIP_ENDPOINT(nobody,context)}]"),
        ("Set", "GLOBAL(AOR)=${PJSIP_AOR(desk,maximum_expiration)}"),
        ("Set", "ID=${PJSIP_AOR(desk,contact)}"),
        ("Set", "GLOBAL(ID)=${ID}"),
        ("Set", "GLOBAL(URI)=${PJSIP_CONTACT(${ID},uri)}"),
        (
            "Set",
            "GLOBAL(STATUS)=${PJSIP_CONTACT(${ID},status)}/${PJSIP_CONTACT(${ID},rtt)}",
        ),
        (
            "Set",
            "GLOBAL(NOCONTACT)=[${PJSIP_CONTACT(desk@@gone,uri)}]",
        ),
        ("Set", "GLOBAL(FROM)=${PJSIP_HEADER(read,from)}"),
        ("Set", "GLOBAL(NAMES)=${PJSIP_HEADERS(c)}"),
        (
            "Set",
            "GLOBAL(SECOND)=[${PJSIP_HEADER(read,From,2)}${PJSIP_HEADER(read,From,-2)}]",
        ),
        ("Set", "GLOBAL(LAST)=${PJSIP_HEADER(read,Fr*,-1)}"),
        (
            "Set",
            "GLOBAL(CALLID)=${CHANNEL(pjsip,call-id)}/${PJSIP_HEADER(read,Call-ID)}",
        ),
        ("Set", "GLOBAL(REMOTE)=${CHANNEL(pjsip,remote_uri)}"),
        ("Set", "GLOBAL(REQUEST)=${CHANNEL(pjsip,request_uri)}"),
        ("Set", "GLOBAL(NOITEM)=[${CHANNEL(pjsip,mood)}]"),
        ("Set", "GLOBAL(IP)=${CHANNEL(peerip)}"),
        ("Answer", ""),
        ("Set", "GLOBAL(AFTER)=${PJSIP_HEADER(read,CSeq)}"),
        (
            "Set",
            "GLOBAL(MODULES)=${IFMODULE(app_dial.so)}${IFMODULE(chan_dahdi.so)}",
        ),
        ("Set", "GLOBAL(FREE)=${BLACKLIST()}"),
        ("Set", "DB(blacklist/${CALLERID(num)})=1"),
        ("Set", "GLOBAL(LISTED)=${BLACKLIST()}"),
    ]
    .iter()
    .map(|(app, data)| ("1", *app, *data))
    .collect();
    let exchange = Exchange::start(&rows, &[&phone]);
    exchange
        .shared
        .contacts
        .sync_static(&exchange.shared.snapshot());
    exchange.call("1", "");
    let global = |name: &str| exchange.global(name);
    for (name, wanted) in [
        ("CONTEXT", "test"),
        ("CODECS", "alaw/no"),
        ("NOFIELD", "[]"),
        ("NOBODY", "[]"),
        ("AOR", "7200"),
        ("STATUS", "NonQualified/0"),
        ("NOCONTACT", "[]"),
        ("SECOND", "[]"),
        ("NOITEM", "[]"),
        ("IP", "127.0.0.1"),
        ("AFTER", "1 INVITE"),
        ("MODULES", "10"),
        ("FREE", "0"),
        ("LISTED", "1"),
    ] {
        assert_eq!(global(name), wanted, "{name}");
    }
    assert!(global("ID").starts_with("desk@@"), "{}", global("ID"));
    assert_eq!(global("URI"), format!("sip:desk@{}", phone.address));
    assert!(
        global("FROM").starts_with("\"Tester\" <sip:tester@"),
        "{}",
        global("FROM")
    );
    assert_eq!(global("LAST"), global("FROM"));
    assert_eq!(
        global("NAMES"),
        "Call-ID,CSeq,Contact,Content-Type,Content-Length"
    );
    let call_id = global("CALLID");
    let (dialog, header) = call_id.split_once('/').expect("both");
    assert_eq!(dialog, header);
    assert!(
        global("REMOTE").starts_with("sip:tester@"),
        "{}",
        global("REMOTE")
    );
    assert!(
        global("REQUEST").starts_with("sip:1@127.0.0.1"),
        "{}",
        global("REQUEST")
    );
}

#[test]
fn hints_come_by_themselves_where_a_context_wants_them() {
    let phone = Phone::start("desk", Manner::Ring);
    let other = Phone::start("lamp", Manner::Ring);
    let exchange = Exchange::start_with(
        &[
            ("1", "Set", "GLOBAL(DESK)=${HINT(desk@test)}"),
            ("1", "Set", "GLOBAL(LAMP)=${HINT(lamp@test)}"),
            ("1", "Set", "GLOBAL(NONE)=[${HINT(desk@elsewhere)}]"),
        ],
        &[&phone, &other],
        &[
            ("test", "switch", "Realtime/test@extensions"),
            ("test", "autohints", "yes"),
            ("test", "exten", "lamp,hint,Custom:lamp"),
            ("elsewhere", "exten", "1,1,NoOp()"),
        ],
    );
    exchange.call("1", "");
    assert_eq!(exchange.global("DESK"), "PJSIP/desk");
    assert_eq!(exchange.global("LAMP"), "Custom:lamp");
    assert_eq!(exchange.global("NONE"), "[]");
}

#[test]
fn a_switch_to_another_number_takes_the_call_there() {
    let exchange = Exchange::start_with(
        &[
            ("_1XX@numbers", "Set", "GLOBAL(GOT)=${EXTEN}@${CONTEXT}"),
            ("_1XX@numbers", "Wait", "0.01"),
            ("_1XX@numbers", "Set", "GLOBAL(DONE)=${PRIORITY}"),
            ("5@numbers", "NoOp", ""),
            ("5@numbers", "Wait", "0.01"),
            ("5@numbers", "Set", "GLOBAL(LATER)=${EXTEN}:${PRIORITY}"),
        ],
        &[],
        &[
            ("test", "lswitch", "Loopback/5@numbers:2/_7"),
            ("test", "lswitch", "Loopback/1${EXTEN}@numbers"),
        ],
    );
    exchange.call("23", "");
    assert_eq!(exchange.global("GOT"), "123@numbers");
    assert_eq!(exchange.global("DONE"), "3");
    exchange.call("7", "");
    assert_eq!(exchange.global("LATER"), "5:3");
    assert_eq!(exchange.call("99", "").status, 603);
    assert_eq!(exchange.call("9876", "").status, 404);
}

#[test]
fn a_hang_up_handler_that_pushes_itself_ends() {
    let push = "CHANNEL(hangup_handler_push)=test,again,1";
    let exchange = Exchange::start(
        &[
            ("1", "Set", push),
            ("again", "Set", "GLOBAL(RUNS)=$[0${RUNS} + 1]"),
            ("again", "Set", push),
            ("again", "Return", ""),
            ("2", "Set", "GLOBAL(SECOND)=yes"),
        ],
        &[],
    );
    exchange.call("1", "");
    exchange.call("2", "");
    assert_eq!(exchange.global("SECOND"), "yes");
    assert_eq!(exchange.global("RUNS"), "256");
}

#[test]
fn a_channel_knows_of_which_type_it_is() {
    let exchange = Exchange::start(
        &[
            ("1", "Set", "GLOBAL(OWN)=${CHANNEL(channeltype)}"),
            ("1", "Originate", "Local/2@test,app,NoOp,x,,5"),
            ("2", "Set", "GLOBAL(HALF)=${CHANNEL(channeltype)}"),
            ("2", "Answer", ""),
        ],
        &[],
    );
    exchange.call("1", "");
    assert_eq!(exchange.global("OWN"), "PJSIP");
    assert_eq!(exchange.global("HALF"), "Local");
}
