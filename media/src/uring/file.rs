//! The writer thread's ring: open, write, truncate and close of files, each done by the kernel's own workers, so that a
//! slow disk never stops the thread. Memory of an operation belongs to this ring until its completion.

use super::ring::{Ring, Wait};
use super::wake::Wake;
use io_uring::types::Fd;
use io_uring::{cqueue, opcode, squeue};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::time::Duration;

const SUBMISSIONS: u32 = 512;
const COMPLETIONS: u32 = 4096;
/// Kernel threads that write for us at the same time; files beyond that wait in the kernel.
const WORKERS_MAX: u32 = 4;
/// Token of the wake-up descriptor; operations are numbered from 0.
const WAKE: u64 = u64::MAX;

/// A finished operation.
#[derive(Debug)]
pub(crate) struct Done {
    /// As given at its start.
    pub(crate) token: u64,
    pub(crate) outcome: Outcome,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    Opened(io::Result<File>),
    /// How many bytes were written, and the bytes.
    Written(io::Result<usize>, Vec<u8>),
    Truncated(io::Result<()>),
    Closed(io::Result<()>),
}

enum Memory {
    Path(#[expect(dead_code, reason = "keeps the path alive for the kernel")] CString),
    Bytes(Vec<u8>),
    Length,
    Nothing,
}

struct InFlight {
    token: u64,
    memory: Memory,
}

/// See the module's text. Usable only on the thread that made it.
pub(crate) struct FileRing {
    ring: Ring,
    in_flight: Vec<Option<InFlight>>,
    free: Vec<usize>,
    completions: Vec<cqueue::Entry>,
    wake: Wake,
}

impl FileRing {
    pub(crate) fn new(wake: Wake) -> io::Result<Self> {
        let ring = Ring::new(SUBMISSIONS, COMPLETIONS)?;
        // A hint: without it the kernel's own limit holds.
        let _ = ring
            .submitter()
            .register_iowq_max_workers(&mut [WORKERS_MAX, WORKERS_MAX]);
        let mut this = Self {
            completions: Vec::with_capacity(ring.completion_capacity()),
            ring,
            in_flight: Vec::new(),
            free: Vec::new(),
            wake,
        };
        this.watch()?;
        Ok(this)
    }

    /// Opens a file for writing: created when missing (mode 0644), cut to nothing unless `keep`.
    pub(crate) fn open(&mut self, token: u64, path: CString, keep: bool) -> io::Result<()> {
        // Readable too, because appending looks at what is there.
        let access = if keep {
            libc::O_RDWR
        } else {
            libc::O_WRONLY | libc::O_TRUNC
        };
        let entry = opcode::OpenAt::new(Fd(libc::AT_FDCWD), path.as_ptr())
            .flags(libc::O_CREAT | libc::O_CLOEXEC | access)
            .mode(0o644)
            .build();
        self.start(entry, token, Memory::Path(path))
            .map_err(|(error, _)| error)
    }

    /// Writes `bytes` at byte `offset` of the file. The caller keeps `file` until the outcome. Bytes that cannot even be
    /// submitted come back with the error.
    pub(crate) fn write(
        &mut self,
        token: u64,
        file: &File,
        bytes: Vec<u8>,
        offset: u64,
    ) -> Result<(), (io::Error, Vec<u8>)> {
        let entry = opcode::Write::new(Fd(file.as_raw_fd()), bytes.as_ptr(), bytes.len() as u32)
            .offset(offset)
            .build();
        self.start(entry, token, Memory::Bytes(bytes))
            .map_err(|(error, memory)| match memory {
                Memory::Bytes(bytes) => (error, bytes),
                _ => (error, Vec::new()),
            })
    }

    /// Cuts or extends the file to `length` bytes.
    pub(crate) fn truncate(&mut self, token: u64, file: &File, length: u64) -> io::Result<()> {
        let entry = opcode::Ftruncate::new(Fd(file.as_raw_fd()), length).build();
        self.start(entry, token, Memory::Length)
            .map_err(|(error, _)| error)
    }

    /// Closes the file.
    pub(crate) fn close(&mut self, token: u64, file: File) -> io::Result<()> {
        let entry = opcode::Close::new(Fd(file.into_raw_fd())).build();
        self.start(entry, token, Memory::Nothing)
            .map_err(|(error, _)| error)
    }

    /// Operations that have not ended.
    pub(crate) fn pending(&self) -> usize {
        self.in_flight.len() - self.free.len()
    }

    /// Submits what was started, waits for an outcome, a wake-up or the timeout, and hands every outcome to `f`.
    pub(crate) fn run(&mut self, timeout: Duration, mut f: impl FnMut(Done)) -> io::Result<()> {
        self.ring.enter(Wait {
            gather: Duration::from_millis(1).min(timeout),
            timeout,
        })?;
        let mut completions = std::mem::take(&mut self.completions);
        completions.clear();
        self.ring.harvest(&mut completions);
        let mut result = Ok(());
        for completion in &completions {
            if completion.user_data() == WAKE {
                if !cqueue::more(completion.flags()) {
                    result = self.watch();
                }
                continue;
            }
            if let Some(done) = self.finish(completion) {
                f(done);
            }
        }
        self.completions = completions;
        result
    }

    fn finish(&mut self, completion: &cqueue::Entry) -> Option<Done> {
        let index = completion.user_data() as usize;
        let InFlight { token, memory } = self.in_flight.get_mut(index)?.take()?;
        self.free.push(index);
        let code = completion.result();
        let result = if code < 0 {
            Err(io::Error::from_raw_os_error(-code))
        } else {
            Ok(code)
        };
        let outcome = match memory {
            Memory::Path(_) => Outcome::Opened(result.map(|fd| {
                // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
                unsafe { File::from_raw_fd(fd) }
            })),
            Memory::Bytes(bytes) => Outcome::Written(result.map(|n| n as usize), bytes),
            Memory::Length => Outcome::Truncated(result.map(drop)),
            Memory::Nothing => Outcome::Closed(result.map(drop)),
        };
        Some(Done { token, outcome })
    }

    fn start(
        &mut self,
        entry: squeue::Entry,
        token: u64,
        memory: Memory,
    ) -> Result<(), (io::Error, Memory)> {
        let in_flight = InFlight { token, memory };
        let index = match self.free.pop() {
            Some(index) => {
                self.in_flight[index] = Some(in_flight);
                index
            }
            None => {
                self.in_flight.push(Some(in_flight));
                self.in_flight.len() - 1
            }
        };
        // SAFETY: path and bytes are on the heap and stay in `in_flight` until the completion.
        let pushed = unsafe { self.ring.push(&entry.user_data(index as u64)) };
        pushed.map_err(|error| {
            self.free.push(index);
            let memory = self.in_flight[index].take().map(|flight| flight.memory);
            (error, memory.unwrap_or(Memory::Nothing))
        })
    }

    fn watch(&mut self) -> io::Result<()> {
        let entry = opcode::PollAdd::new(Fd(self.wake.fd()), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(WAKE);
        // SAFETY: a poll points to no memory.
        unsafe { self.ring.push(&entry) }
    }
}

impl Drop for FileRing {
    fn drop(&mut self) {
        // Only after a failure of the ring itself can anything be pending here: its memory is then given up, because the
        // kernel may still use it.
        if self.pending() > 0 {
            std::mem::forget(std::mem::take(&mut self.in_flight));
        }
    }
}
