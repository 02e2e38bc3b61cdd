use std::sync::Arc;

use parking_lot::Mutex;

use super::super::test_support::snapshot;
use super::*;

/// Remembers what it was told to store.
#[derive(Clone, Default)]
pub(in super::super) struct Memory(pub(in super::super) Arc<Mutex<Vec<String>>>);

impl ContactWriter for Memory {
    fn upsert(&self, contact: Row) {
        self.0.lock().push(format!(
            "set {} {} {}",
            contact.uri, contact.expiration_time, contact.reg_server
        ));
    }

    fn delete(&self, id: &str, _: &str) {
        self.0.lock().push(format!("delete {id}"));
    }
}

fn table() -> (Contacts, Memory) {
    let memory = Memory::default();
    (Contacts::new("pbx1", Box::new(memory.clone())), memory)
}

fn row(aor: &str, uri: &str, expires: i64) -> Row {
    Row {
        id: contact_id(aor, uri),
        uri: uri.to_owned(),
        expiration_time: expires,
        ..Row::default()
    }
}

fn set(contacts: &Contacts, row: Row) {
    let contact = Contact::from_row(row).unwrap();
    let aor = contact.aor.clone();
    contacts.update(&aor, |_| (vec![Change::Set(Box::new(contact))], ()));
}

#[test]
fn changes_are_seen_at_once_and_stored() {
    let (c, memory) = table();
    set(&c, row("100", "sip:100@10.0.0.1", 50));
    set(&c, row("100", "sip:100@10.0.0.1", 90));
    assert_eq!(c.len(), 1);
    assert_eq!(c.of("100")[0].row.expiration_time, 90);
    let id = c.of("100")[0].row.id.clone();
    let before = c.generation();
    c.update("100", |current| {
        (vec![Change::Remove(current[0].row.id.clone())], ())
    });
    assert!(c.is_empty() && c.of("100").is_empty());
    assert!(c.generation() > before);
    assert_eq!(
        *memory.0.lock(),
        [
            "set sip:100@10.0.0.1 50 pbx1".to_owned(),
            "set sip:100@10.0.0.1 90 pbx1".to_owned(),
            format!("delete {id}")
        ]
    );
}

#[test]
fn a_restart_takes_back_what_is_alive_and_ours() {
    let (c, memory) = table();
    let mut other = row("100", "sip:100@10.0.0.9", 1000);
    other.reg_server = "pbx2".into();
    let mut with_path = row("a;@b", "sip:100@10.0.0.2", 1000);
    with_path.path = Some("<sip:p1;lr>, <sip:p2;lr>".into());
    let rows = [
        row("100", "sip:100@10.0.0.1", 1000),
        row("100", "sip:100@10.0.0.1", 1000),
        row("100", "sip:100@10.0.0.3", 99),
        row("100", "nonsense", 1000),
        Row {
            id: "100".into(),
            uri: "sip:x@y".into(),
            expiration_time: 1000,
            ..Row::default()
        },
        other,
        with_path,
    ];
    assert_eq!(c.restore(&rows, 100), 2);
    assert_eq!(c.of("100").len(), 1);
    assert_eq!(c.of("a;@b")[0].path, ["<sip:p1;lr>", "<sip:p2;lr>"]);
    assert!(memory.0.lock().is_empty());
}

#[test]
fn the_best_contact_comes_first() {
    let (c, _) = table();
    let mut s = snapshot(&["100"]);
    let edit = |s: &mut Snapshot, uri: &str| {
        let aors = Arc::make_mut(&mut s.aors);
        Arc::make_mut(aors.get_mut("100").unwrap()).contact =
            vec![uri.to_owned(), "not a uri".to_owned()];
        s.versions[Table::Aors as usize] += 1;
    };
    edit(&mut s, "sip:desk@192.0.2.50");
    let future = epoch_now() + 1000;
    let first = c.first(&s, "100").map(|contact| contact.row.uri.clone());
    assert_eq!(first.as_deref(), Some("sip:desk@192.0.2.50"));
    for (uri, expires) in [
        ("sip:old@h", future),
        ("sip:new@h", future + 10),
        ("sip:gone@h", future + 20),
        ("sip:dead@h", 5),
    ] {
        set(&c, row("100", uri, expires));
    }
    c.of("100")
        .iter()
        .find(|x| x.row.uri.contains("gone"))
        .unwrap()
        .set_status(Status::Unreachable, 0);
    let order: Vec<String> = c.all(&s, "100").iter().map(|x| x.row.uri.clone()).collect();
    assert_eq!(
        order,
        [
            "sip:new@h",
            "sip:old@h",
            "sip:desk@192.0.2.50",
            "sip:gone@h"
        ]
    );
    edit(&mut s, "sip:other@192.0.2.51");
    let uris = |s: &Snapshot| {
        c.all(s, "100")
            .iter()
            .map(|x| x.row.uri.clone())
            .collect::<Vec<_>>()
    };
    assert!(uris(&s).contains(&"sip:other@192.0.2.51".to_owned()));
    assert!(!uris(&s).contains(&"sip:desk@192.0.2.50".to_owned()));
    Arc::make_mut(&mut s.aors).clear();
    s.versions[Table::Aors as usize] += 1;
    assert!(c.first(&s, "100").is_none());
    assert!(c.collect(|x| x.is_static).is_empty());
}

#[test]
fn the_expired_and_the_disconnected_are_removed() {
    let (c, memory) = table();
    set(&c, row("100", "sip:a@h", 10));
    set(&c, row("100", "sip:b@h", 20));
    let mut over_tcp = Contact::from_row(row("200", "sip:c@h", 99)).unwrap();
    over_tcp.connection = 7;
    over_tcp.row.prune_on_boot = true;
    c.update("200", |_| (vec![Change::Set(Box::new(over_tcp))], ()));
    memory.0.lock().clear();
    assert_eq!(c.sweep(9).len(), 0);
    let gone = c.sweep(10);
    assert_eq!((gone.len(), gone[0].row.uri.as_str()), (1, "sip:a@h"));
    let closed = |number| c.connections_closed(&[number].into_iter().collect()).len();
    assert_eq!((closed(0), closed(8)), (0, 0));
    assert_eq!(closed(7), 1);
    assert_eq!(c.len(), 1);
    assert_eq!(memory.0.lock().len(), 2);
    assert_eq!(c.counters()[1], ("contacts_expired", 2));
}

#[test]
fn a_refreshed_contact_keeps_its_status() {
    let (c, _) = table();
    set(&c, row("100", "sip:a@h", 10));
    assert_eq!(c.of("100")[0].status(), (Status::NonQualified, None));
    c.of("100")[0].set_status(Status::Reachable, 1234);
    set(&c, row("100", "sip:a@h", 20));
    assert_eq!(c.of("100")[0].status(), (Status::Reachable, Some(1234)));
}

#[test]
fn many_threads_change_one_address_of_record_and_none_is_lost() {
    let (c, _) = table();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let c = &c;
            scope.spawn(move || {
                for i in 0..50 {
                    set(c, row("100", &format!("sip:{thread}-{i}@h"), 10));
                }
            });
        }
    });
    assert_eq!(c.of("100").len(), 200);
}

/// A call that comes while somebody else makes the contacts of new rows finds them: it waits for him.
#[test]
fn who_needs_static_contacts_while_they_are_made_has_them() {
    let names: Vec<String> = (0..2000).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut rows = snapshot(&names);
    for (name, aor) in Arc::make_mut(&mut rows.aors) {
        Arc::make_mut(aor).contact = vec![format!("sip:{name}@10.0.0.1")];
    }
    for version in 1..=20 {
        rows.versions[Table::Aors as usize] = version;
        let (contacts, _) = table();
        let both = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    both.wait();
                    let found = names.iter().map(|name| contacts.all(&rows, name).len());
                    assert_eq!(found.sum::<usize>(), names.len(), "version {version}");
                });
            }
        });
    }
}

#[test]
fn rows_that_are_older_than_the_static_contacts_change_nothing() {
    let (contacts, _) = table();
    let mut rows = snapshot(&["100"]);
    rows.versions[Table::Aors as usize] = 2;
    contacts.sync_static(&rows);
    let generation = contacts.generation();
    rows.versions[Table::Aors as usize] = 1;
    contacts.sync_static(&rows);
    assert_eq!(contacts.generation(), generation);
}
