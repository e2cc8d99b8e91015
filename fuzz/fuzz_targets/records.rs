//! Feeds libFuzzer's inputs to [`backhaul_fuzz::records::check`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| backhaul_fuzz::records::check(bytes));
