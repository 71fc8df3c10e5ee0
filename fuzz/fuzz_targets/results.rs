#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tokmerge_hostile::fuzz("results", input));
