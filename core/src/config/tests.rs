//! Configuration: defaults, faults, variables of the environment.

use super::*;

fn parse(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::parse(
        text,
        "test",
        environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    )
}

#[test]
fn an_empty_file_gives_the_documented_defaults_on_loopback() {
    let config = parse("", &[]).unwrap();
    assert_eq!(config.sip.udp, ["127.0.0.1:5060".parse().unwrap()]);
    assert_eq!(config.http.bind, "127.0.0.1:8088".parse().unwrap());
    assert_eq!(config.rtp.range().unwrap(), (10_000, 20_000));
    assert_eq!(config.database.url, "sqlite://strowger.db");
    assert_eq!(config.data.0, PathBuf::from("./var"));
}

#[test]
fn the_environment_wins_over_the_file() {
    let config = parse(
        "[rtp]\nports = \"30000-30100\"",
        &[
            ("STROWGER_RTP_PORTS", "40000-40100"),
            ("STROWGER_SIP_UDP", "127.0.0.2:5070,127.0.0.3:5070"),
            ("STROWGER_DATABASE_REFRESH_MS", "500"),
            ("STROWGER_SHARDS_CORES", "[0]"),
            ("STROWGER_TEST_MYSQL_URL", "ignored"),
        ],
    )
    .unwrap();
    assert_eq!(config.rtp.ports, "40000-40100");
    assert_eq!(config.sip.udp.len(), 2);
    assert_eq!(config.database.refresh_ms, 500);
    assert_eq!(config.shards.cores, Cores::List(vec![0]));
}

#[test]
fn wrong_settings_are_named() {
    for (text, expected) in [
        ("[sip]\nupd = []", "upd"),
        ("[sip]\ntls = [\"127.0.0.1:5061\"]", "tls.certificate"),
        ("[sip]\ndns = [\"here\"]", "sip.dns"),
        ("[limits]\nhandshake_s = 0", "limits.handshake_s"),
        ("[rtp]\nports = \"20000\"", "rtp.ports"),
        ("[rtp]\nports = \"20000-20001\"", "rtp.ports"),
        ("[rtp]\naddress = \"here\"", "rtp.address"),
        ("[database]\nrefresh_ms = 1", "database.refresh_ms"),
        ("[shards]\ncores = \"some\"", "some"),
        ("[agi]\nprocesses_max = 0", "agi.processes_max"),
        ("[mail]\nsmtp = \"smtp://host\"", "mail.from"),
        ("[mail]\nfrom = \"nobody\"", "mail.from"),
        ("[mail]\nfrom = \"a@b.c\"\nsmtp = \"host\"", "mail.smtp"),
        ("[agi]\nafter_hangup_s = 0", "agi.after_hangup_s"),
        ("[agi]\nshells_max = 0", "agi.shells_max"),
        ("[agi]\nshell_s = 0", "agi.shell_s"),
        ("[agi]\nsystem_s = 0", "agi.system_s"),
        ("[protection]\nfailures = 0", "protection.failures"),
        ("[protection]\nallow = [\"office\"]", "protection.allow"),
        ("[protection]\nscanners = [\"\"]", "protection.scanners"),
        ("nonsense", "line 1"),
    ] {
        let message = parse(text, &[]).unwrap_err().to_string();
        assert!(message.contains(expected), "{text}: {message}");
    }
}
