//! Deaths at random, over a run of many files. The long form is one command:
//! `LARDER_KILLS=2000 LARDER_SEED=100 cargo test --locked --release --test it crash_long -- --ignored --nocapture`

use std::time::Duration;

use super::harness::{Case, WORKERS};

/// Posts of one archive.
const POSTS: usize = 2000;
/// Deaths of one archive.
const KILLS: usize = 50;

/// Kills larder at random over one archive. Returns how often it was alive to be killed, and how many files were asked for
/// again.
fn killed_at_random(posts: usize, kills: usize, seed: u64) -> (usize, usize) {
    let case = Case::new(posts);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut marks: Vec<_> = (0..kills).map(|_| rng.usize(0..posts * 9 / 10)).collect();
    marks.sort_unstable();
    let mut killed = 0;
    for mark in marks {
        let pause = Duration::from_micros(rng.u64(0..40_000));
        killed += usize::from(case.kill_after(mark, pause));
        assert_eq!(case.claims_hold(), Ok(()), "seed {seed}, at {mark} files");
    }
    assert_eq!(case.finish(), Ok(()), "seed {seed}");
    let failures = case.world.larder(&["failures"]).text();
    assert_eq!(case.is_whole(), Ok(()), "seed {seed}: {failures}");
    let again = case.asked_again();
    assert!(
        again <= killed * WORKERS,
        "seed {seed}: {again} of {killed} kills"
    );
    (killed, again)
}

#[test]
fn fault_01_kills_at_random_moments_lose_nothing() {
    let (killed, again) = killed_at_random(POSTS, KILLS, 1);
    println!("{killed} kills, {again} files asked for again");
    assert!(killed > KILLS / 2, "{killed}");
}

#[test]
#[ignore = "takes a while: a number of kills of one's own choice"]
fn kills_at_random_moments_lose_nothing() {
    let kills = std::env::var("LARDER_KILLS").ok();
    let kills: usize = kills.map_or(2000, |kills| {
        kills.parse().expect("LARDER_KILLS is a number")
    });
    let seed = std::env::var("LARDER_SEED").ok();
    let mut seed: u64 = seed.map_or(100, |seed| seed.parse().expect("LARDER_SEED is a number"));
    let (mut killed, mut again) = (0, 0);
    while killed < kills {
        let (more, asked) = killed_at_random(POSTS, KILLS, seed);
        killed += more;
        again += asked;
        seed += 1;
        println!("{killed} kills, {again} files asked for again");
    }
}

#[cfg(not(debug_assertions))]
#[test]
fn a_release_build_has_no_faults_on_purpose() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_larder")).expect("larder");
    let word = b"LARDER_FAULTS";
    assert!(!binary.windows(word.len()).any(|bytes| bytes == word));
}
