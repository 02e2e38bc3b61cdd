//! `Range` of RFC 9110 §14: which bytes of a file somebody wants. One range is served; several are answered with the whole file.

/// What of a file is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// The first byte and the last.
    Bytes(u64, u64),
    /// Nothing of it lies within the file.
    Nothing,
}

/// Reads the header for a file of `size` bytes. What is no range of bytes is ignored, as the RFC wants it.
pub(super) fn read(header: &str, size: u64) -> Part {
    let Some((unit, wanted)) = header.split_once('=') else {
        return Part::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") || wanted.contains(',') {
        return Part::Whole;
    }
    let Some((first, last)) = wanted.trim().split_once('-') else {
        return Part::Whole;
    };
    let number = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // More digits than a number has mean "far behind the end".
        plain.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (first.trim(), last.trim()) {
        ("", last) => match number(last) {
            None => Part::Whole,
            Some(0) => Part::Nothing,
            Some(_) if size == 0 => Part::Nothing,
            Some(count) => Part::Bytes(size.saturating_sub(count), size - 1),
        },
        (first, last) => {
            let Some(first) = number(first) else {
                return Part::Whole;
            };
            let last = match last {
                "" => Some(u64::MAX),
                last => number(last),
            };
            match last {
                None => Part::Whole,
                Some(last) if last < first => Part::Whole,
                Some(_) if first >= size => Part::Nothing,
                Some(last) => Part::Bytes(first, last.min(size - 1)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_read_as_the_rfc_has_them() {
        for (header, wanted) in [
            ("bytes=0-", Part::Bytes(0, 99)),
            ("bytes=0-0", Part::Bytes(0, 0)),
            ("bytes=10-19", Part::Bytes(10, 19)),
            ("Bytes = 90-200", Part::Bytes(90, 99)),
            ("bytes=-10", Part::Bytes(90, 99)),
            ("bytes=-1000", Part::Bytes(0, 99)),
            ("bytes=-0", Part::Nothing),
            ("bytes=100-", Part::Nothing),
            ("bytes=99999999999999999999999-", Part::Nothing),
            ("bytes=5-99999999999999999999999", Part::Bytes(5, 99)),
            ("bytes=20-10", Part::Whole),
            ("bytes=0-1,5-6", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes", Part::Whole),
            ("lines=1-2", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(read(header, 100), wanted, "{header}");
        }
        assert_eq!(read("bytes=0-", 0), Part::Nothing);
        assert_eq!(read("bytes=-5", 0), Part::Nothing);
    }

    proptest! {
        #[test]
        fn what_is_given_lies_within_the_file(header in "bytes=[0-9]{0,21}-[0-9]{0,21}", size in any::<u64>()) {
            if let Part::Bytes(first, last) = read(&header, size) {
                prop_assert!(first <= last && last < size);
            }
        }

        #[test]
        fn nothing_is_too_strange(header in "\\PC*", size in any::<u64>()) {
            let _ = read(&header, size);
        }
    }
}
