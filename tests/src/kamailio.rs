//! Kamailio in front of the exchange, as carriers put it: it takes what telephones send, marks its place (Path,
//! Record-Route), and relays to the exchange and back.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

/// A running Kamailio. Dropping it ends its processes.
#[derive(Debug)]
pub struct Kamailio {
    folder: tempfile::TempDir,
    process: Child,
    address: SocketAddr,
}

impl Kamailio {
    /// Starts one on an address of its own, before this exchange.
    #[track_caller]
    pub fn start(exchange: SocketAddr) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("strowger-kamailio-")
            .tempdir()
            .expect("a temporary folder");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, crate::free_port()));
        let path = folder.path().join("kamailio.cfg");
        std::fs::write(&path, configuration(exchange, address)).expect("Kamailio's configuration");
        let log = std::fs::File::create(folder.path().join("log")).expect("Kamailio's log");
        let process = Command::new("/usr/sbin/kamailio")
            .args(["-DD", "-E", "-m", "32", "-M", "4", "-f"])
            .arg(&path)
            .arg("-Y")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log twice"))
            .stderr(log)
            .spawn()
            .expect("Kamailio is installed (`make setup-test`)");
        let kamailio = Self {
            folder,
            process,
            address,
        };
        let own = format!(" 0100007F:{:04X} ", address.port());
        let begun = crate::wait_until(crate::SOON, || {
            let sockets = std::fs::read_to_string("/proc/net/udp").unwrap_or_default();
            sockets.contains(&own).then_some(())
        });
        assert!(
            begun.is_some(),
            "Kamailio did not start:\n{}",
            kamailio.log()
        );
        kamailio
    }

    /// Where telephones reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its log: a line for each message that it relayed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// How many requests of that method it relayed from that address.
    pub fn relayed(&self, method: &str, from: IpAddr) -> usize {
        let mark = format!("relays {method} from {from}");
        self.log().lines().filter(|l| l.contains(&mark)).count()
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // It ends its other processes itself.
        let _ = Command::new("kill")
            .arg(self.process.id().to_string())
            .status();
        let ended = crate::wait_until(crate::SOON, || self.process.try_wait().ok().flatten());
        if ended.is_none() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

fn configuration(exchange: SocketAddr, own: SocketAddr) -> String {
    let next = format!("sip:{exchange}");
    let server = exchange.ip();
    format!(
        r#"debug=2
log_stderror=yes
children=2
disable_tcp=yes
auto_aliases=no
listen=udp:{own}
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "path.so"
loadmodule "xlog.so"

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (has_totag()) {{
        if (loose_route()) {{ route(RELAY); exit; }}
        if (is_method("ACK") && t_check_trans()) {{ route(RELAY); exit; }}
        if (!is_method("ACK")) {{ sl_send_reply("404", "Not here"); }}
        exit;
    }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) {{ route(RELAY); }} exit; }}
    t_check_trans();
    if (is_method("REGISTER")) {{ add_path(); $du = "{next}"; route(RELAY); exit; }}
    if ($si == "{server}") {{ loose_route(); record_route(); route(RELAY); exit; }}
    remove_hf("Route");
    record_route();
    $du = "{next}";
    route(RELAY);
}}

route[RELAY] {{
    xlog("L_ALERT", "relays $rm from $si\n");
    if (!t_relay()) {{ sl_reply_error(); }}
    exit;
}}
"#
    )
}
