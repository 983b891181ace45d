//! Any bytes as keys and records of the index: read or refused, never a panic; keys of time sort as time does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillarbox::store::embedded::fuzzing::try_laws;

fuzz_target!(|data: &[u8]| try_laws(data));
