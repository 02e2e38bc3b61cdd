//! How many descriptors a process may have.

use anyhow::{Result, ensure};

/// Takes as many as the system allows; an error if that is less than what is needed.
pub fn expect(needed: u64) -> Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit is written to a variable that outlives the call.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    ensure!(got == 0, std::io::Error::last_os_error());
    ensure!(
        limit.rlim_max >= needed,
        "{needed} descriptors are needed, {} are allowed (ulimit -Hn)",
        limit.rlim_max
    );
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the limit is read from a variable that outlives the call.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    ensure!(set == 0, std::io::Error::last_os_error());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::expect;

    #[test]
    fn what_is_allowed_is_taken_and_what_is_not_is_said() {
        assert!(expect(16).is_ok());
        let error = expect(u64::MAX - 1).map_err(|error| error.to_string());
        assert!(error.is_err_and(|error| error.contains("descriptors are needed")));
    }
}
