//! Files of an Asterisk that have no tables here: what to do about each, and about some of their settings.

use super::conf::Conf;
use super::report::{Findings, Verdict};

/// A file, and what to do.
const FILES: [(&str, &str); 36] = [
    ("adsi.conf", "there is no analogue telephone here"),
    (
        "agents.conf",
        "agents are members of queues: AddQueueMember, or lines `member`",
    ),
    ("ari.conf", "there is no ARI here; the Manager and AGI are"),
    (
        "asterisk.conf",
        "see [log], [limits] and `data` of strowger.toml",
    ),
    ("ccss.conf", "completion of calls is not offered"),
    ("cdr_beanstalkd.conf", "call records go to the table `cdr`"),
    ("cdr_csv.conf", "call records go to the table `cdr`"),
    (
        "cdr_mysql.conf",
        "call records go to the table `cdr` of [database]",
    ),
    (
        "cdr_odbc.conf",
        "call records go to the table `cdr` of [database]",
    ),
    (
        "cdr_pgsql.conf",
        "call records go to the table `cdr` of [database]",
    ),
    (
        "cdr_sqlite3_custom.conf",
        "call records go to the table `cdr` of [database]",
    ),
    ("cdr_syslog.conf", "call records go to the table `cdr`"),
    (
        "cdr_tds.conf",
        "call records go to the table `cdr` of [database]",
    ),
    (
        "cel.conf",
        "there are call records, and no events of channels beside them",
    ),
    (
        "chan_dahdi.conf",
        "there are no lines but SIP here: a gateway makes them endpoints",
    ),
    ("cli.conf", "there is no console here"),
    (
        "codecs.conf",
        "codecs have no settings but `allow` of an endpoint",
    ),
    ("dnsmgr.conf", "names are looked up as their records say"),
    (
        "extensions.ael",
        "AEL is not read: write it as extensions.conf (an Asterisk shows it so with `dialplan show`) or in Lua",
    ),
    (
        "iax.conf",
        "IAX2 is not spoken: make the other side an endpoint of pjsip.conf",
    ),
    ("logger.conf", "see [log] of strowger.toml"),
    ("minivm.conf", "see mailboxes of voicemail.conf"),
    ("modules.conf", "there are no modules"),
    ("pjproject.conf", "see [log] of strowger.toml"),
    (
        "res_fax.conf",
        "see [fax] of strowger.toml; what a call wants otherwise is said by FAXOPT in the dialplan",
    ),
    ("res_ldap.conf", "LDAP is not asked"),
    (
        "res_mysql.conf",
        "name the database in [database] of strowger.toml",
    ),
    (
        "res_odbc.conf",
        "name each database for func_odbc.conf as [sql.NAME] in strowger.toml",
    ),
    (
        "res_pgsql.conf",
        "name the database in [database] of strowger.toml",
    ),
    (
        "sip.conf",
        "chan_sip is not read: write the peers as endpoint, aor and auth into pjsip.conf (`sip_to_pjsip.py` of Asterisk does it)",
    ),
    (
        "sorcery.conf",
        "this command writes the lines that it needs into static_sorcery",
    ),
    ("statsd.conf", "see /metrics"),
    ("stir_shaken.conf", "calls are not signed"),
    (
        "udptl.conf",
        "UDPTL uses the ports of [rtp] in strowger.toml",
    ),
    (
        "users.conf",
        "write its users as endpoint, aor and auth into pjsip.conf, and their mailboxes into voicemail.conf",
    ),
    ("xmpp.conf", "XMPP is not spoken"),
];

/// Files whose settings are told one by one.
pub(crate) const READ: [&str; 5] = [
    "cdr.conf",
    "cdr_adaptive_odbc.conf",
    "cdr_custom.conf",
    "http.conf",
    "rtp.conf",
];

/// A file that is not read.
pub(crate) fn unread(name: &str, findings: &mut Findings) {
    let place = super::conf::Place {
        file: name.into(),
        line: 0,
    };
    let known = FILES.iter().find(|(file, _)| *file == name);
    let advice = known.map_or("nothing here reads it", |(_, advice)| *advice);
    findings.none(&place, advice);
}

/// What each setting of a file comes to here.
pub(crate) fn read(name: &str, conf: &Conf, findings: &mut Findings) {
    for section in conf.real() {
        if name == "cdr_adaptive_odbc.conf" {
            let table = section
                .get("table")
                .map_or("cdr", |table| table.value.as_str());
            let what = format!(
                "[{}]: call records go to the table `cdr` of [database], columns under Asterisk's names; \
                 where others read `{table}`, make it a view of that",
                section.name
            );
            findings.section(section, Verdict::Decision, what);
            continue;
        }
        for setting in &section.settings {
            let (option, value) = (setting.name.to_ascii_lowercase(), setting.value.as_str());
            let no = ["no", "false", "off", "0"]
                .iter()
                .any(|no| no.eq_ignore_ascii_case(value));
            let (verdict, what) = match (name, option.as_str()) {
                ("cdr.conf", "enable") if no => (
                    Verdict::Decision,
                    "call records are always written; set CDR_PROP(disable) in the dialplan to leave one out"
                        .to_owned(),
                ),
                ("cdr.conf", "enable" | "batch" | "size" | "time" | "scheduleronly" | "safeshutdown") => (
                    Verdict::NoEquivalent,
                    format!("{option}: records are always written, through a spool on disk that loses none"),
                ),
                ("cdr.conf", _) => (
                    Verdict::NoEquivalent,
                    format!("{option}: what is in a record cannot be chosen here"),
                ),
                ("cdr_custom.conf", _) => (
                    Verdict::NoEquivalent,
                    format!("{option}: no files of records are written; ask the table `cdr`"),
                ),
                ("rtp.conf", "rtpstart" | "rtpend") => (
                    Verdict::Decision,
                    format!("{option}={value}: write `ports = \"first-last\"` into [rtp] of strowger.toml"),
                ),
                ("http.conf", "enabled" | "bindaddr" | "bindport") => (
                    Verdict::Decision,
                    format!("{option}={value}: write `bind = \"address:port\"` into [http] of strowger.toml"),
                ),
                _ => (
                    Verdict::NoEquivalent,
                    format!("{option}: nothing here reads it"),
                ),
            };
            findings.add(&setting.place, verdict, what);
        }
    }
}
