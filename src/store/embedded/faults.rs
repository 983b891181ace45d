//! The place where the tests of the promises put their faults. Without the feature `faults` every function here is empty.
//!
//! Owns: a count of the disk operations of this process, one fault that is armed for one of them, and the planted bugs by which
//! the fault tests show that they find what they look for (`FAULTS_PLANT` names one, `FAULTS_ARM` arms a fault as
//! `NUMBER:ERROR`).
//! Never does: anything in a program that is built for users; with optimisations the feature does not compile.
//!
//! Invariants: one fault at a time, for the whole process; whoever arms it in a test runs alone in that process.

#[cfg(all(feature = "faults", not(debug_assertions)))]
compile_error!("the feature `faults` plants bugs; it is for tests and does not build for users");

/// A bug that the fault tests must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Files are not synced.
    NoFileSync,
    /// An object's file gets its name after its sync, and the folder is not synced.
    NoFolderSync,
    /// The index is neither flushed nor synced.
    NoIndexFlush,
    /// The index is flushed, but its file is not synced.
    NoIndexSync,
    /// Jobs of the index are answered before they are durable.
    AnswerBeforeSync,
    /// A form is committed before its closing delimiter was seen.
    NoClosingDelimiter,
    /// A file is removed before the index gives up its name.
    UnlinkFirst,
    /// An object's label is left to a sync that need not carry it.
    LabelBySyncData,
    /// The digest that a client announced is not compared.
    NoChecksum,
    /// After a crash an object that was acknowledged by its label is not named.
    ForgetRecent,
    /// A place in the main file is given to two writers.
    SharedClaim,
    /// An upload is aborted without a look at its state.
    AbortAny,
    /// What is read is not compared with its checksum.
    NoReadCheck,
    /// A change of an object's record is answered before it is durable in the index.
    ChangeUnsynced,
    /// `catalog.json` is written before what it tells is durable in the index.
    NoSettle,
}

#[cfg(not(feature = "faults"))]
mod place {
    use super::Bug;

    /// No bug is planted here.
    pub const fn is_planted(_: Bug) -> bool {
        false
    }

    /// Runs the operation.
    #[inline]
    pub(in super::super) fn around<T>(
        _: &'static str,
        verb: impl FnOnce() -> std::io::Result<T>,
    ) -> std::io::Result<T> {
        verb()
    }

    /// Writes are as long as the kernel makes them.
    pub(in super::super) const fn is_short() -> bool {
        false
    }
}

#[cfg(feature = "faults")]
mod place {
    use std::io;
    use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

    use super::Bug;

    /// What goes wrong.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Fault {
        /// This operation fails with this number of the system's, and none after it.
        Fail(i32),
        /// This write is cut short once, which is no error, and none after it.
        Short,
        /// The process is as if dead: this operation and all after it fail and change nothing.
        Freeze,
    }

    /// Operations that are noted at most.
    const MAX_NOTED: usize = 10_000;

    #[derive(Debug, Default)]
    struct State {
        number: u64,
        done: Vec<&'static str>,
        armed: Option<(u64, Fault)>,
        /// What is armed when an operation of this name comes.
        awaited: Option<(&'static str, Fault)>,
        short: bool,
        hit: Option<&'static str>,
    }

    static STATE: Mutex<Option<State>> = Mutex::new(None);

    fn state() -> MutexGuard<'static, Option<State>> {
        STATE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Arms a fault for the operation of this number, counted from 0 from now on.
    pub fn arm(number: u64, fault: Fault) {
        *state() = Some(State {
            armed: Some((number, fault)),
            ..State::default()
        });
    }

    /// Arms a fault for the first operation of this name from now on.
    pub fn arm_first(operation: &'static str, fault: Fault) {
        *state() = Some(State {
            awaited: Some((operation, fault)),
            ..State::default()
        });
    }

    /// Ends the fault. Which operations there were since it was armed, at most [`MAX_NOTED`], and which one it met.
    pub fn disarm() -> (Vec<&'static str>, Option<&'static str>) {
        let state = state().take().unwrap_or_default();
        (state.done, state.hit)
    }

    /// Whether `bug` is the one that the environment names.
    pub fn is_planted(bug: Bug) -> bool {
        static PLANTED: OnceLock<Option<String>> = OnceLock::new();
        let planted = PLANTED.get_or_init(|| std::env::var("FAULTS_PLANT").ok());
        planted
            .as_ref()
            .is_some_and(|name| *name == format!("{bug:?}"))
    }

    /// Runs the operation, unless the fault is armed for it.
    pub(in super::super) fn around<T>(
        operation: &'static str,
        verb: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        super::super::sync::point();
        meet(operation)?;
        verb()
    }

    /// Whether this write is to be cut short; true once.
    pub(in super::super) fn is_short() -> bool {
        state()
            .as_mut()
            .is_some_and(|state| std::mem::take(&mut state.short))
    }

    fn meet(operation: &'static str) -> io::Result<()> {
        arm_from_environment();
        let mut state = state();
        let Some(state) = state.as_mut() else {
            return Ok(());
        };
        let number = state.number;
        state.number += 1;
        if state.done.len() < MAX_NOTED {
            state.done.push(operation);
        }
        if let Some((_, fault)) = state.awaited.take_if(|(name, _)| *name == operation) {
            state.armed = Some((number, fault));
        }
        match state.armed {
            Some((at, Fault::Fail(error))) if at == number => {
                state.hit = Some(operation);
                Err(io::Error::from_raw_os_error(error))
            }
            Some((at, Fault::Short)) if at == number => {
                state.hit = Some(operation);
                state.short = true;
                Ok(())
            }
            Some((at, Fault::Freeze)) if at <= number => {
                state.hit = state.hit.or(Some(operation));
                Err(io::Error::other("the process is frozen"))
            }
            _ => Ok(()),
        }
    }

    /// `FAULTS_ARM=NUMBER:ERROR` arms a failure from the start of the process.
    fn arm_from_environment() {
        static ONCE: OnceLock<()> = OnceLock::new();
        ONCE.get_or_init(|| {
            let armed = std::env::var("FAULTS_ARM").ok();
            let numbers = armed.as_deref().and_then(|armed| armed.split_once(':'));
            if let Some((at, error)) = numbers
                && let (Ok(at), Ok(error)) = (at.parse(), error.parse())
            {
                arm(at, Fault::Fail(error));
            }
        });
    }
}

pub use place::is_planted;
#[cfg(feature = "faults")]
pub use place::{Fault, arm, arm_first, disarm};
pub(super) use place::{around, is_short};
