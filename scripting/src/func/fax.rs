//! `FAXOPT`: how a fax is to be sent or received, and what came of the last one.

use strowger_core::channel::{Channel, setting_variable};

use super::Function;
use super::text::{is_no, is_yes};

pub(crate) const FUNCTIONS: &[Function] = &[Function::read_write(
    "FAXOPT",
    "FAXOPT(ecm|modem|maxrate|minrate|localstationid|headerinfo|faxdetect|gateway|t38timeout|negotiate_both|status|statusstr|error|pages|rate|resolution|mode|remotestationid|sessionid|filename|filenames)",
    "how a fax is sent or received, and what came of it",
    |task, args| {
        let name = item_of(args);
        if !WRITTEN.contains(&name.as_str()) && !READ.contains(&name.as_str()) {
            return Err(unknown(&name));
        }
        if name == "faxdetect" {
            let listens = task.channel.listens_for_fax();
            return Ok(if listens { "yes" } else { "no" }.to_owned());
        }
        Ok(get(&task.channel, &name))
    },
    |task, args, value| {
        let name = item_of(args);
        let value = value.trim();
        if !WRITTEN.contains(&name.as_str()) {
            return Err(unknown(&name));
        }
        if name == "faxdetect" {
            return detect(&task.channel, value);
        }
        let kept = checked(&name, value)
            .map_err(|allowed| format!("FAXOPT({name})=\"{value}\": {allowed}"))?;
        set(&task.channel, &name, &kept);
        Ok(())
    },
)];

/// What the dialplan may set.
const WRITTEN: &[&str] = &[
    "ecm",
    "modem",
    "maxrate",
    "minrate",
    "localstationid",
    "headerinfo",
    "faxdetect",
    "gateway",
    "t38timeout",
    "negotiate_both",
];
/// What it reads besides.
const READ: &[&str] = &[
    "status",
    "statusstr",
    "error",
    "pages",
    "rate",
    "resolution",
    "mode",
    "remotestationid",
    "sessionid",
    "filename",
    "filenames",
];
/// All modems, the fastest first, with the rate at which each begins, in bits a second.
const MODEMS: [(&str, u32); 3] = [("v17", 14_400), ("v29", 9600), ("v27", 4800)];
/// Rates that may be asked for, in bits a second; those of V.34 are as good as no limit.
const RATES: [u32; 8] = [2400, 4800, 7200, 9600, 12_000, 14_400, 28_800, 33_600];
/// Rates where nothing else is said (`res_fax.conf` of Asterisk).
pub const RATE_MAX: u32 = 14_400;
pub const RATE_MIN: u32 = 4800;
/// How long an answer to an offer of T.38 is waited for in Asterisk, ms.
const T38_TIMEOUT_MS: &str = "5000";

/// The item, by its first name.
fn item_of(args: &str) -> String {
    let name = args.trim().to_ascii_lowercase();
    match name.as_str() {
        "modems" => "modem".to_owned(),
        "t38gateway" | "t38_gateway" | "faxgateway" => "gateway".to_owned(),
        _ => name,
    }
}

fn unknown(name: &str) -> String {
    format!(
        "FAXOPT({name}): known are {} and, to be read, {}",
        WRITTEN.join(", "),
        READ.join(", ")
    )
}

/// What is kept of a value; what is allowed where it is not.
fn checked(name: &str, value: &str) -> Result<String, String> {
    let yes_or_no = || match (is_yes(value), is_no(value)) {
        (true, _) => Ok("yes".to_owned()),
        (_, true) => Ok("no".to_owned()),
        _ => Err("yes or no".to_owned()),
    };
    match name {
        "ecm" | "negotiate_both" => yes_or_no(),
        "modem" if modems(value, u32::MAX).is_empty() => {
            Err("known are v17, v27 and v29, with commas between them".to_owned())
        }
        "maxrate" | "minrate" => {
            let rate = value.parse().ok().filter(|rate| RATES.contains(rate));
            rate.map(|rate| rate.to_string()).ok_or_else(|| {
                let known: Vec<String> = RATES.iter().map(u32::to_string).collect();
                format!("known are {} bits a second", known.join(", "))
            })
        }
        "gateway" if is_no(value.split(',').next().unwrap_or_default()) => Ok("no".to_owned()),
        "gateway" => Err(
            "fax is not changed from audio to T.38 or back between two sides; only \"no\" is allowed"
                .to_owned(),
        ),
        "t38timeout" => match value.parse::<u32>() {
            Ok(ms) => Ok(ms.to_string()),
            Err(_) => Err("a number of milliseconds".to_owned()),
        },
        _ => Ok(value.to_owned()),
    }
}

/// `FAXOPT(faxdetect)`: `yes` or `cng`, with a limit in seconds behind a comma; `no`.
fn detect(channel: &Channel, value: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("FAXOPT(faxdetect)=\"{value}\": {why}"));
    let (wanted, limit) = value.split_once(',').unwrap_or((value, "0"));
    let wanted = wanted.trim();
    if is_no(wanted) {
        channel.ignore_fax();
        return Ok(());
    }
    if !is_yes(wanted) && !wanted.eq_ignore_ascii_case("cng") {
        return wrong("yes, cng or no; offers of T.38 lead to no extension");
    }
    let Ok(seconds) = limit.trim().parse::<u32>() else {
        return wrong("the limit is a number of seconds");
    };
    if channel.listen_for_fax(seconds.saturating_mul(1000)) {
        Ok(())
    } else {
        wrong("the channel has no media yet")
    }
}

fn item(name: &str) -> String {
    format!("fax-{name}")
}

/// What is said of a fax on this channel.
pub(crate) fn get(channel: &Channel, name: &str) -> String {
    let kept = channel.setting(&item(name));
    kept.unwrap_or_else(|| match name {
        "ecm" => "yes".to_owned(),
        "modem" => MODEMS.map(|(modem, _)| modem).join(","),
        "maxrate" => RATE_MAX.to_string(),
        "minrate" => RATE_MIN.to_string(),
        "gateway" | "negotiate_both" => "no".to_owned(),
        "t38timeout" => T38_TIMEOUT_MS.to_owned(),
        _ => String::new(),
    })
}

/// A rate that was set, in bits a second.
pub(crate) fn rate(channel: &Channel, name: &str, otherwise: u32) -> u32 {
    get(channel, name).parse().unwrap_or(otherwise)
}

/// Says it.
pub(crate) fn set(channel: &Channel, name: &str, value: &str) {
    let variable = setting_variable(&item(name));
    let mut data = channel.data_mut();
    if value.is_empty() {
        data.variables.remove(&variable);
    } else {
        // The channel has its own limit of variables.
        let _ = data.variables.set(&variable, value);
    }
}

/// The fastest modem of a list and all that are slower, to fall back on, as far as they begin at no more than this rate.
pub(crate) fn modems(list: &str, rate_max: u32) -> Vec<&'static str> {
    let named = |modem: &str| {
        let mut names = list.split(',').map(str::trim);
        names.any(|name| name.trim_end_matches("ter").eq_ignore_ascii_case(modem))
    };
    let usable = MODEMS.into_iter().skip_while(|(modem, _)| !named(modem));
    let fit = usable.filter(|(_, rate)| *rate <= rate_max);
    fit.map(|(modem, _)| modem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_modem_of_a_list_counts_and_the_slower_ones_are_there_to_fall_back_on() {
        assert_eq!(modems("v27,v17", u32::MAX), ["v17", "v29", "v27"]);
        assert_eq!(modems(" V29 , v27ter", u32::MAX), ["v29", "v27"]);
        assert_eq!(modems("v27ter", u32::MAX), ["v27"]);
        assert!(modems("v34,", u32::MAX).is_empty());
    }

    #[test]
    fn modems_that_begin_faster_than_allowed_are_left_out() {
        let all = "v17,v29,v27";
        assert_eq!(modems(all, 14_400), ["v17", "v29", "v27"]);
        assert_eq!(modems(all, 12_000), ["v29", "v27"]);
        assert_eq!(modems(all, 7200), ["v27"]);
        assert!(modems(all, 2400).is_empty());
    }

    #[test]
    fn what_is_set_is_held_against_what_is_allowed() {
        assert_eq!(checked("ecm", "OFF").as_deref(), Ok("no"));
        assert_eq!(checked("maxrate", "9600").as_deref(), Ok("9600"));
        assert_eq!(checked("gateway", "no,10").as_deref(), Ok("no"));
        assert_eq!(checked("headerinfo", "a b").as_deref(), Ok("a b"));
        for (name, value, allowed) in [
            ("ecm", "perhaps", "yes or no"),
            ("maxrate", "9601", "2400, 4800, 7200"),
            ("minrate", "", "14400"),
            ("modem", "v34", "v17, v27 and v29"),
            ("gateway", "yes", "only \"no\""),
            ("t38timeout", "-1", "milliseconds"),
        ] {
            let why = checked(name, value).expect_err(name);
            assert!(why.contains(allowed), "{name}: {why}");
        }
        assert_eq!(item_of(" Modems "), "modem");
        assert_eq!(item_of("t38gateway"), "gateway");
    }
}
