//! The data of `Dial`, read: devices, time limits, options.

use std::time::Duration;

use strowger_dialplan::args::{self, Options};

use super::seconds;

/// All letters `Dial` knows, those without effect included.
pub(super) const KNOWN: &str = "AaBbCcdDeEfFgGhHiIjkKLmMnNoOpPQrRsStTuUwWxXz";

/// Letters that are accepted and do nothing here: MF digits are never sent (`E`), and there are no operators of analogue
/// lines (`O`). What `I` and `j` ask for is so in any case: who is talked with is never changed in the middle of a call, and
/// the callee is offered the one stream that the caller has.
const WITHOUT_EFFECT: &str = "EO";

/// Option `L`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeLimit {
    pub(super) total: Duration,
    /// Warn when so much is left.
    pub(super) warn_before: Option<Duration>,
    pub(super) repeat: Option<Duration>,
}

/// What `Dial` is asked to do.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) devices: Vec<String>,
    pub(super) timeout: Option<Duration>,
    pub(super) options: Options,
    pub(super) limit: Option<TimeLimit>,
    /// Things to log.
    pub(super) warnings: Vec<String>,
    /// What `strowger check` tells, and nobody needs to hear with every call.
    pub(super) notes: Vec<String>,
}

impl Request {
    /// Reads the arguments of `Dial`; None when no device is named at all.
    pub(super) fn parse(args: &[String]) -> Option<Self> {
        let argument = |index: usize| {
            args.get(index)
                .map(|argument| argument.trim())
                .unwrap_or_default()
        };
        let devices: Vec<String> = argument(0)
            .split('&')
            .map(str::trim)
            .filter(|device| !device.is_empty())
            .map(str::to_owned)
            .collect();
        if devices.is_empty() {
            return None;
        }
        let mut request = Self {
            devices,
            ..Self::default()
        };
        request.read_timeout(argument(1));
        request.options = match Options::parse(argument(2)) {
            Ok(options) => options,
            Err((letter, options)) => {
                request.warnings.push(format!(
                    "the argument of option {letter} has no closing parenthesis"
                ));
                options
            }
        };
        let unknown = request.options.unknown(KNOWN);
        if !unknown.is_empty() {
            request
                .warnings
                .push(format!("options \"{unknown}\" are not known and ignored"));
        }
        let idle = without_effect(&request.options);
        if !idle.is_empty() {
            request
                .notes
                .push(format!("options \"{idle}\" have no effect here"));
        }
        request.read_limits();
        Some(request)
    }

    /// `timeout[^overall]`: the shorter one counts, because all devices ring from the start.
    fn read_timeout(&mut self, text: &str) {
        let limits: Vec<Duration> = text
            .split('^')
            .filter(|part| !part.trim().is_empty())
            .filter_map(|part| {
                let read = seconds(part);
                if read.is_none() {
                    self.warnings
                        .push(format!("\"{part}\" is no number of seconds"));
                }
                read
            })
            .filter(|limit| !limit.is_zero())
            .collect();
        self.timeout = limits.into_iter().min();
    }

    fn read_limits(&mut self) {
        if let Some(text) = self.options.argument('L') {
            match time_limit(text) {
                Ok(limit) => self.limit = Some(limit),
                Err(error) => self.warnings.push(error),
            }
        }
        if let Some(text) = self.options.argument('S') {
            match seconds(text).filter(|limit| !limit.is_zero()) {
                Some(total) if self.limit.is_none_or(|limit| total < limit.total) => {
                    self.limit = Some(TimeLimit {
                        total,
                        warn_before: None,
                        repeat: None,
                    });
                }
                Some(_) => {}
                None => self
                    .warnings
                    .push(format!("option S({text}): this is no number of seconds")),
            }
        }
    }
}

/// Letters of these options that do nothing here.
pub(crate) fn without_effect(options: &Options) -> String {
    options
        .iter()
        .map(|(letter, _)| letter)
        .filter(|letter| WITHOUT_EFFECT.contains(*letter))
        .collect()
}

/// `x[:y[:z]]` in milliseconds.
fn time_limit(text: &str) -> Result<TimeLimit, String> {
    let mut parts = text.split(':').map(|part| part.trim().parse::<u64>().ok());
    let total = parts.next().flatten().filter(|total| *total > 0);
    let Some(total) = total else {
        return Err(format!(
            "option L({text}): the limit is a number of milliseconds, as in L(60000:30000:10000)"
        ));
    };
    let warn = parts
        .next()
        .flatten()
        .filter(|warn| *warn > 0 && *warn < total);
    let repeat = parts.next().flatten().filter(|repeat| *repeat > 0);
    Ok(TimeLimit {
        total: Duration::from_millis(total),
        warn_before: warn.map(Duration::from_millis),
        repeat: warn.and(repeat).map(Duration::from_millis),
    })
}

/// A place written with `^` (`ctx^ext^pri(arg1^arg2)`) as `Goto` and `Gosub` read it.
pub(super) fn place(text: &str) -> String {
    text.replace('^', ",")
}

/// Option `U`: `name[^arg...]`, the subroutine `name,s,1` with its arguments.
pub(super) fn subroutine(text: &str) -> (String, Vec<String>) {
    let mut parts = text.split('^').map(|part| args::unquote(part.trim()));
    let name = parts.next().unwrap_or_default();
    (name, parts.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(data: &str) -> Request {
        Request::parse(&args::split_at_most(data, 4)).expect(data)
    }

    #[test]
    fn the_documented_forms_are_read() {
        let request = parse("PJSIP/user-101-domain&PJSIP/user-102-domain,60,tT");
        assert_eq!(
            request.devices,
            ["PJSIP/user-101-domain", "PJSIP/user-102-domain"]
        );
        assert_eq!(request.timeout, Some(Duration::from_secs(60)));
        assert!(request.options.has('t') && request.options.has('T'));
        assert!(request.notes.is_empty());

        let request = parse("SIP/81234567890@peer-71234567890-office,60");
        assert_eq!(request.devices, ["SIP/81234567890@peer-71234567890-office"]);
        assert_eq!(parse("PJSIP/100").timeout, None);
        assert_eq!(
            parse("PJSIP/100,1.5").timeout,
            Some(Duration::from_millis(1500))
        );
        assert_eq!(
            parse("PJSIP/100,30^20").timeout,
            Some(Duration::from_secs(20))
        );
        assert_eq!(parse("PJSIP/100&&,").devices, ["PJSIP/100"]);
    }

    #[test]
    fn time_limits_are_read_in_their_units() {
        let limit = parse("PJSIP/1,,L(60000:30000:10000)").limit.unwrap();
        assert_eq!(limit.total, Duration::from_secs(60));
        assert_eq!(limit.warn_before, Some(Duration::from_secs(30)));
        assert_eq!(limit.repeat, Some(Duration::from_secs(10)));
        let limit = parse("PJSIP/1,,S(5)").limit.unwrap();
        assert_eq!(
            (limit.total, limit.warn_before),
            (Duration::from_secs(5), None)
        );
        assert_eq!(
            parse("PJSIP/1,,L(60000)S(5)").limit.unwrap().total,
            Duration::from_secs(5)
        );
        assert!(parse("PJSIP/1,,L(soon)").limit.is_none());
    }

    #[test]
    fn options_may_have_arguments_with_commas_and_parentheses() {
        let request = parse("PJSIP/1,20,b(pre^s^1(a^b))gm(default)U(check^x^y)");
        assert_eq!(
            request.options.argument('b').map(place).as_deref(),
            Some("pre,s,1(a,b)")
        );
        assert_eq!(request.options.argument('m'), Some("default"));
        assert!(request.options.has('g'));
        assert_eq!(
            request.options.argument('U').map(subroutine),
            Some(("check".to_owned(), vec!["x".to_owned(), "y".to_owned()]))
        );
    }

    #[test]
    fn what_is_not_known_is_told_and_ignored() {
        assert!(Request::parse(&args::split_at_most("", 4)).is_none());
        assert!(Request::parse(&args::split_at_most(",20", 4)).is_none());
        assert_eq!(parse("PJSIP/1,,gZ").warnings.len(), 1);
        assert_eq!(parse("PJSIP/1,,EgIj").notes.len(), 1);
        assert!(parse("PJSIP/1,,gm(t)").warnings.is_empty());
        assert_eq!(parse("PJSIP/1,soon").warnings.len(), 1);
        assert_eq!(parse("PJSIP/1,,m(x").warnings.len(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(data in ".{0,80}") {
            let _ = Request::parse(&args::split_at_most(&data, 4));
            let _ = subroutine(&data);
        }
    }
}
