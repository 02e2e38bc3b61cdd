//! The WAV container (RIFF/WAVE, PCM 16 bit, 8000 Hz, mono): its header, and finding the end of the sound in a file that
//! is to be continued.

/// Length of the header we write, in bytes.
pub(super) const HEADER_LEN: usize = 44;
const RATE_HZ: u32 = 8000;
/// RIFF sizes count from here.
const RIFF_OFFSET: u64 = 8;

/// A header for `data_len` bytes of samples that begin right after it. Sizes beyond 4 GiB stay at the largest value,
/// which players take for "until the end".
pub(super) fn header(data_len: u64) -> [u8; HEADER_LEN] {
    let mut h = [0; HEADER_LEN];
    let mut put = |at: usize, bytes: &[u8]| h[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"RIFF");
    put(4, &size(data_len + HEADER_LEN as u64 - RIFF_OFFSET));
    put(8, b"WAVEfmt ");
    put(16, &16_u32.to_le_bytes());
    put(20, &1_u16.to_le_bytes());
    put(22, &1_u16.to_le_bytes());
    put(24, &RATE_HZ.to_le_bytes());
    put(28, &(RATE_HZ * 2).to_le_bytes());
    put(32, &2_u16.to_le_bytes());
    put(34, &16_u16.to_le_bytes());
    put(36, b"data");
    put(40, &size(data_len));
    h
}

/// A size field.
pub(super) fn size(bytes: u64) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

/// Where the samples of an existing file lie.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Layout {
    /// Byte offset of the first sample.
    pub(super) start: u64,
    /// Bytes of samples.
    pub(super) len: u64,
}

/// Reads the head of a file of `file_len` bytes. A data size that is larger than the file, or zero as an unfinished
/// recording has it, means "until the end".
pub(super) fn parse(head: &[u8], file_len: u64) -> Result<Layout, &'static str> {
    if head.get(..4) != Some(b"RIFF") || head.get(8..12) != Some(b"WAVE") {
        return Err("it is not a WAV file");
    }
    let mut at = 12;
    let mut known_format = false;
    loop {
        let chunk = head
            .get(at..at + 8)
            .ok_or("its WAV header has no sound, or sound too far behind")?;
        let len = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
        let body = at + 8;
        match &chunk[..4] {
            b"fmt " => {
                let format = head
                    .get(body..body + 16)
                    .ok_or("its WAV header is cut off")?;
                let ours = header(0);
                if format != &ours[20..36] {
                    return Err("it is not 16 bit PCM, 8000 Hz, mono");
                }
                known_format = true;
            }
            b"data" if known_format => {
                let start = body as u64;
                let there = file_len.saturating_sub(start);
                let len = match u64::from(len) {
                    0 => there,
                    len => len.min(there),
                };
                // Half a sample at the end would turn all that follows into noise.
                return Ok(Layout {
                    start,
                    len: len & !1,
                });
            }
            _ => {}
        }
        at = usize::try_from(len)
            .ok()
            .and_then(|len| body.checked_add(len)?.checked_add(len & 1))
            .ok_or("its WAV header is broken")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_header_is_understood() {
        for len in [0, 2, 16000] {
            let h = header(len);
            assert_eq!(
                parse(&h, len + 44),
                Ok(Layout { start: 44, len }),
                "{len} bytes"
            );
        }
    }

    #[test]
    fn a_header_that_promises_more_than_there_is_means_until_the_end() {
        assert_eq!(
            parse(&header(16000), 44 + 8001),
            Ok(Layout {
                start: 44,
                len: 8000
            })
        );
        assert_eq!(
            parse(&header(0), 44 + 320),
            Ok(Layout {
                start: 44,
                len: 320
            })
        );
    }

    #[test]
    fn chunks_before_the_sound_are_skipped() {
        let plain = header(100);
        let mut file = plain[..36].to_vec();
        file.extend_from_slice(b"LIST\x03\0\0\0abc\0");
        file.extend_from_slice(&plain[36..]);
        assert_eq!(
            parse(&file, 156),
            Ok(Layout {
                start: 56,
                len: 100
            })
        );
    }

    #[test]
    fn other_files_are_refused() {
        assert!(parse(b"", 0).is_err());
        assert!(parse(b"RIFF\0\0\0\0WAVE", 12).is_err());
        let mut stereo = header(4);
        stereo[22] = 2;
        assert!(parse(&stereo, 48).is_err());
        let mut endless = header(4);
        endless[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(parse(&endless, 48).is_err());
    }
}
